/* log - one line per event on standard error. */

#include <config.h>

#include "log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/text.h"

void svc_log(enum svc_level level, const char *format, ...)
{
    static const char *const names[] = { "error", "warning", "info" };
    char sentence[2048], line[2048], when[24];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);
    im_text_printable(line, sizeof(line), sentence);
    im_clock_iso8601(when, sizeof(when), im_clock_now_ms());
    /* one fprintf, so that lines of several threads do not mix */
    fprintf(stderr, "%s %s: %s\n", when, names[level], line);
}

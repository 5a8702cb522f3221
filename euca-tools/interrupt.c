/* interrupt - signals as a flag; nothing else happens in the handler. */

#include <config.h>

#include "interrupt.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/text.h"

#include "command.h"

volatile bool euca_interrupted;

static void handle(int signal_number)
{
    (void)signal_number;
    euca_interrupted = true;
}

void euca_interrupt_catch(void)
{
    /* No SA_RESTART: a read that waits for somebody returns. */
    struct sigaction action = { .sa_handler = handle, .sa_flags = (int)SA_RESETHAND };

    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

void euca_say(const char *program, const char *format, ...)
{
    char text[2 * IM_ERROR_MAX];
    char line[2 * IM_ERROR_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "%s: %s\n", program, im_text_printable(line, sizeof(line), text));
}

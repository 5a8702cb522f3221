/* fuzz-fault - how targets of plain bytes tell a finding, and take an input for a text. */

#include <config.h>

#include "fuzz/fuzz-bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/xmlerror.h>

bool fuzz_refused;

_Noreturn void fault(const char *what)
{
    (void)fprintf(stderr, "FINDING: %s\n", what);
    abort();
}

void fault_unless_told(int r, const struct im_error *err)
{
    if (r < 0 && (!err->code || !*err->message))
        fault("refused without a code and a sentence");
}

static void loud(void *arg, const char *format, ...)
{
    (void)arg;
    (void)format;
    fault("libxml2 writes to standard error");
}

void fault_if_xml_is_loud(void)
{
    xmlSetGenericErrorFunc(NULL, loud);
}

char *fuzz_text(const uint8_t *data, size_t len)
{
    char *text = malloc(len + 1);

    if (!text)
        return NULL;
    if (len > 0)
        memcpy(text, data, len);
    text[len] = '\0';
    return text;
}

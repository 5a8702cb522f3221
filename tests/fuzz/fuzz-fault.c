/* fuzz-fault - how targets of plain bytes tell a finding, and take an input for a text or a disk.
 */

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

uint8_t fuzz_disk_bytes[FUZZ_DISK_MAX];

static int disk_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                     struct im_error *err)
{
    (void)disk;
    (void)err;
    memcpy(buf, fuzz_disk_bytes + offset, len);
    return 0;
}

const struct im_disk_ops fuzz_disk_ops = { .name = "input", .read = disk_read };

void fuzz_disk_fill(const uint8_t *data, size_t len)
{
    if (len > 0)
        memcpy(fuzz_disk_bytes, data, len);
    memset(fuzz_disk_bytes + len, 0, FUZZ_DISK_MAX - len);
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

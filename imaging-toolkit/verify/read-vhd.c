/* read-vhd - a VHD or VHDX image as libvhdi reads it: a second opinion, and nothing but that.
 *
 * The image is standard input; the disk goes to standard output.  At its end standard error names
 * the reader, "libvhdi 20210425", and the exit status is 0; else it holds one line with the reason
 * and the status is 1.  A program of its own, because libvhdi and libvmdk export the same names. */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <libvhdi.h>

#include "verify/pour.h"

static int fail(const char *what, libvhdi_error_t *error)
{
    char text[4096] = "no reason given"; /* a line for each level, the deepest first */

    if (error)
        (void)libvhdi_error_backtrace_sprint(error, text, sizeof(text));
    fprintf(stderr, "%s: %.*s\n", what, (int)strcspn(text, "\n"), text);
    return -1;
}

struct reading {
    libvhdi_file_t *file;
    libvhdi_error_t *error;
};

static ssize_t read_disk(void *arg, void *buf, size_t len, uint64_t offset)
{
    struct reading *reading = arg;

    return libvhdi_file_read_buffer_at_offset(reading->file, buf, len, (off64_t)offset,
                                              &reading->error);
}

static int give(struct reading *reading)
{
    uint64_t at = 0;
    size64_t size;
    char what[64];
    int r;

    if (libvhdi_file_open(reading->file, POUR_INPUT, LIBVHDI_OPEN_READ, &reading->error) != 1)
        return fail("cannot open", reading->error);
    if (libvhdi_file_get_media_size(reading->file, &size, &reading->error) != 1)
        return fail("no size", reading->error);
    r = pour(read_disk, reading, size, &at);
    (void)snprintf(what, sizeof(what), "cannot read byte %" PRIu64, at);
    if (r > 0)
        return fail(what, reading->error);
    if (r < 0)
        fprintf(stderr, "cannot hand on the disk: %s\n", strerrordesc_np(-r));
    return r;
}

int main(void)
{
    struct reading reading = { 0 };
    int r;

    if (libvhdi_file_initialize(&reading.file, &reading.error) == 1)
        r = give(&reading);
    else
        r = fail("cannot start", reading.error);
    libvhdi_error_free(&reading.error);
    if (reading.file)
        (void)libvhdi_file_free(&reading.file, NULL);
    if (r == 0)
        fprintf(stderr, "libvhdi %s\n", libvhdi_get_version());
    return r < 0;
}

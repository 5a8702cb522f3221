/* fuzz-guest - partition tables, file systems of ext2 to ext4, and the operating system on them.
 *
 * An input is a disk, as it is; what is past its end up to a whole 64 KiB reads as zeros.  Programs
 * are not run: what needs one is as if it were missing.  A finding is a report of a sanitizer, a
 * hang, a partition outside the disk, or a text that is not printable.
 *
 * A program of its own beside those of fuzz-image.h; without libFuzzer main is fuzz-bytes.c's. */

#include <config.h>

#include "fuzz/fuzz-bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "box/box.h"
#include "guest/guest.h"
#include "guest/os.h"

int __wrap_im_box_run(struct im_box *box, struct im_error *err);

int __wrap_im_box_run(struct im_box *box, struct im_error *err)
{
    return im_fail(err, ENOPKG, "%s is not run here", box->name);
}

static void check_text(const char *text, size_t size)
{
    char printable[512];

    if (strnlen(text, size) == size ||
        strcmp(im_text_printable(printable, sizeof(printable), text), text) != 0)
        fault("a text is not printable");
}

static void check_guest(const struct im_guest *guest)
{
    for (unsigned i = 0; i < guest->part_count; i++)
        if (guest->part[i].offset > FUZZ_DISK_MAX ||
            guest->part[i].len > FUZZ_DISK_MAX - guest->part[i].offset)
            fault("a partition is outside the disk");
    for (unsigned i = 0; i < guest->fs_count; i++)
        if (guest->fs[i].offset > FUZZ_DISK_MAX ||
            guest->fs[i].len > FUZZ_DISK_MAX - guest->fs[i].offset)
            fault("a file system is outside the disk");
}

static void check_os(const struct im_os *os)
{
    check_text(os->distribution, sizeof(os->distribution));
    check_text(os->name, sizeof(os->name));
    check_text(os->version, sizeof(os->version));
    check_text(os->datasources, sizeof(os->datasources));
    for (unsigned i = 0; i < os->user_count; i++)
        check_text(os->user[i].name, sizeof(os->user[i].name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct im_report report;
    static struct im_os os;
    struct im_disk disk = { .ops = &fuzz_disk_ops, .size = FUZZ_DISK_MAX };
    struct im_context context = { .scratch = "/nowhere", .jobs = 1 };
    struct im_look look = { .disk = &disk, .fd = -1, .context = &context, .report = &report };
    struct im_guest *guest = NULL;
    struct im_error err = { 0 };

    if (len > FUZZ_DISK_MAX)
        return 0;
    fuzz_disk_fill(data, len);
    if (im_guest_of(&look, &guest, &err) == 0) {
        check_guest(guest);
        if (im_os_of(guest, &os, &err) == 0)
            check_os(&os);
    }
    im_look_done(&look);
    return 0;
}

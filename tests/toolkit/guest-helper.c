/* guest-helper - what guest/guest.h finds on an image, for tests.
 *
 *   guest-helper IMAGE SCRATCH table | read PATH [MAX] | stat PATH | list PATH | find SPEC
 *
 * table: one line for the table, one per partition, one per file system.  A failure is a line
 * "failed: CODE: sentence" and exit status 1. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/format.h"
#include "guest/guest.h"

static void print_table(const struct im_guest *guest)
{
    static const char *const tables[] = { "none", "mbr", "gpt" };
    static const char *const clean[] = { "unknown", "clean", "dirty" };

    printf("table %s trees=%u windows=%d fault=%s\n", tables[guest->table], guest->tree_count,
           guest->windows, guest->table_fault);
    for (unsigned i = 0; i < guest->part_count; i++) {
        const struct im_part *part = &guest->part[i];

        printf("part %u at=%" PRIu64 " len=%" PRIu64 " type=%s%02x uuid=%s name=%s active=%d\n",
               part->number, part->offset, part->len, part->gpt_type, part->mbr_type, part->uuid,
               part->name, part->active);
    }
    for (unsigned i = 0; i < guest->fs_count; i++) {
        const struct im_fs *fs = &guest->fs[i];

        printf("fs %u type=%s label=%s uuid=%s %s%s%s%s%s dirt=%s\n",
               fs->part ? fs->part->number : 0, fs->type, fs->label, fs->uuid, clean[fs->clean],
               fs->ambivalent ? " ambivalent" : "", fs->tree ? " tree" : "",
               fs == guest->root ? " root" : "", fs->top, fs->dirt);
    }
    printf("unread %s\n", guest->unread);
}

static int ask(struct im_guest *guest, int argc, char **argv, struct im_error *err)
{
    size_t max = argc > 5 ? (size_t)strtoul(argv[5], NULL, 10) : 16u << 20;
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER((size_t)17 << 20);
    struct im_file file = { 0 };
    size_t count = 0;
    int r = 0;

    if (strcmp(argv[3], "table") == 0) {
        print_table(guest);
    } else if (argc < 5) {
        r = im_fail(err, EINVAL, "no path");
    } else if (strcmp(argv[3], "read") == 0) {
        r = im_guest_read(guest, argv[4], max, &text, err);
        (void)fwrite(text.data, 1, r < 0 ? 0 : text.len, stdout);
    } else if (strcmp(argv[3], "stat") == 0) {
        r = im_guest_stat(guest, argv[4], &file, err);
        if (r == 0)
            printf("kind=%d size=%" PRIu64 " mode=%o\n", file.kind, file.size, file.mode);
    } else if (strcmp(argv[3], "list") == 0) {
        r = im_guest_list(guest, argv[4], &text, &count, err);
        for (size_t at = 0; r == 0 && at < text.len; at += strlen(text.data + at) + 1)
            printf("%s\n", text.data + at);
    } else {
        const struct im_fs *fs = im_guest_find(guest, argv[4]);

        printf("%u\n", fs && fs->part ? fs->part->number : 0);
    }
    return r;
}

int main(int argc, char **argv)
{
    struct im_open open = { .max_size = UINT64_MAX };
    struct im_context context = { .jobs = 1 };
    static struct im_report report;
    const struct im_format *format;
    struct im_source *source = NULL;
    struct im_disk *disk = NULL;
    struct im_guest *guest = NULL;
    struct im_look look = { .fd = -1, .context = &context, .report = &report };
    struct im_error err = { 0 };
    int r = argc < 4 ? -EINVAL : im_source_open(argv[1], &source, &err);

    open.scratch = context.scratch = argv[2];
    if (r == 0)
        r = im_format_probe(source, &format, &err);
    if (r == 0)
        r = im_format_open(format, source, &open, &disk, &err);
    look.disk = disk;
    if (r == 0)
        r = im_guest_of(&look, &guest, &err);
    if (r == 0)
        r = ask(guest, argc, argv, &err);
    if (r < 0)
        printf("failed: %s: %s\n", strerrorname_np(-r), err.message);
    im_look_done(&look);
    im_disk_close(disk);
    im_source_close(source);
    return r < 0;
}

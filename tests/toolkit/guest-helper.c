/* guest-helper - what guest/guest.h finds on an image, for tests.
 *
 *   guest-helper IMAGE SCRATCH table | read PATH [MAX] | head PATH MAX | stat PATH | list PATH |
 *                              find SPEC | storm FIRST COUNT
 *
 * table: one line for the table, one per partition, one per file system.  A failure is a line
 * "failed: CODE: sentence" and exit status 1.
 * storm: the image, which is raw and small, is damaged in memory in COUNT ways, each the same at
 * each run, and looked at each time; the last line counts what came of it. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/format.h"
#include "guest/guest.h"
#include "guest/os.h"

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

/* ---- storm ---- */

#define BLOCK 1024u

struct memory {
    struct im_disk disk;
    uint8_t *bytes;
};

static int memory_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                       struct im_error *err)
{
    (void)err;
    memcpy(buf, ((const struct memory *)disk)->bytes + offset, len);
    return 0;
}

static const struct im_disk_ops memory_ops = { .name = "memory", .read = memory_read };

static uint64_t state;

static uint64_t dice(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

/* A few blocks of those that hold something, changed as damage and malice change them. */
static void damage(uint8_t *bytes, const uint64_t *used, size_t count)
{
    static const uint32_t values[] = { 0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe };

    for (uint64_t times = 1 + dice(24); times > 0; times--) {
        uint8_t *block = bytes + used[dice(count)];
        uint32_t value = values[dice(sizeof(values) / sizeof(values[0]))];
        size_t at = dice(BLOCK / 4) * 4;

        switch (dice(4)) {
        case 0:
            block[dice(BLOCK)] ^= (uint8_t)(1u << dice(8));
            break;
        case 1:
            memcpy(block + at, &value, 4);
            break;
        case 2: /* numbers of other blocks and inodes */
            value = (uint32_t)dice(2048);
            memcpy(block + at, &value, 4);
            break;
        default:
            memcpy(block, bytes + used[dice(count)], BLOCK);
            break;
        }
    }
}

static int look_once(struct memory *memory, const struct im_context *context, unsigned *found)
{
    static const char *const lists[] = { "/", "/boot", "/etc", "/usr/lib/modules", "/root/.ssh" };
    static struct im_report report;
    static struct im_os os;
    struct im_look look = {
        .disk = &memory->disk, .fd = -1, .context = context, .report = &report
    };
    struct im_guest *guest = NULL;
    struct im_error err = { 0 };
    int r = im_guest_of(&look, &guest, &err);

    if (r == 0)
        r = im_os_of(guest, &os, &err);
    for (size_t i = 0; r == 0 && i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct im_buffer names IM_BUFFER_DONE = IM_BUFFER(4u << 20);
        size_t count;

        (void)im_guest_list(guest, lists[i], &names, &count, &err);
    }
    *found += r == 0 && guest->root != NULL;
    im_look_done(&look);
    return r;
}

static int storm(struct im_disk *disk, const struct im_context *context, uint64_t first,
                 uint64_t count, struct im_error *err)
{
    size_t size = (size_t)disk->size, used_count = 0;
    uint8_t *whole IM_FREE = malloc(size), *bytes IM_FREE = malloc(size);
    uint64_t *used IM_FREE = calloc(size / BLOCK, sizeof(*used));
    struct memory memory = { .disk = { .ops = &memory_ops, .size = size }, .bytes = bytes };
    unsigned found = 0, failed = 0;
    int r = whole && bytes && used ? im_disk_read(disk, whole, size, 0, err) : -ENOMEM;

    for (size_t at = 0; r == 0 && at + BLOCK <= size; at += BLOCK)
        for (size_t i = 0; i < BLOCK; i++)
            if (whole[at + i] != 0) {
                used[used_count++] = at;
                break;
            }
    for (uint64_t seed = first; r == 0 && seed < first + count; seed++) {
        (void)alarm(120); /* a hang is a finding */
        state = seed * 0x9e3779b97f4a7c15u + 1;
        memcpy(bytes, whole, size);
        damage(bytes, used, used_count);
        failed += look_once(&memory, context, &found) < 0;
    }
    if (r == 0)
        printf("looked %" PRIu64 " found %u failed %u\n", count, found, failed);
    return r;
}

static void print(const struct im_buffer *text, int r)
{
    if (r == 0 && text->len > 0)
        (void)fwrite(text->data, 1, text->len, stdout);
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
        print(&text, r);
    } else if (strcmp(argv[3], "head") == 0) {
        r = im_guest_head(guest, argv[4], max, &text, err);
        print(&text, r);
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
    if (r == 0 && strcmp(argv[3], "storm") == 0)
        r = argc < 6 ? -EINVAL
                     : storm(disk, &context, strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10),
                             &err);
    else if (r == 0)
        r = im_guest_of(&look, &guest, &err);
    if (r == 0 && guest)
        r = ask(guest, argc, argv, &err);
    if (r < 0)
        printf("failed: %s: %s\n", strerrorname_np(-r), err.message);
    im_look_done(&look);
    im_disk_close(disk);
    im_source_close(source);
    return r < 0;
}

/* vmdk-sparse - monolithicSparse and the pieces of a split disk: grains as they are, anywhere
 * behind the tables.
 *
 * To prove that no two grains share a sector, and to read the file forwards, grains are sorted by
 * their place.  That list is made for one part of the file at a time, so that it stays small
 * whatever the file's size: grains that do not overlap cannot be more in a part than fit there. */

#include <config.h>

#include "format/vmdk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* Grains in a part: 128 GiB of file with grains of 64 KiB, and 16 MiB for the list.  Nearly every
 * image is one part; a pipe must be. */
#define PART_GRAINS (1u << 21)
/* One more, since the disk's last grain may be shorter than the others. */
#define LIST_MAX (PART_GRAINS + 1)

static uint64_t part_sectors(const struct vmdk *vmdk)
{
    return (uint64_t)PART_GRAINS * vmdk->header.grain;
}

/* Parts the file has; a pipe's must be one. */
static uint64_t parts(const struct vmdk *vmdk)
{
    if (vmdk->disk.source->sequential)
        return 1;
    return (vmdk->file_sectors - 1) / part_sectors(vmdk) + 1;
}

static int by_place(const void *a, const void *b)
{
    const struct vmdk_place *x = a;
    const struct vmdk_place *y = b;

    return (x->sector > y->sector) - (x->sector < y->sector);
}

static void sort_list(struct vmdk *vmdk)
{
    size_t i = 1;

    while (i < vmdk->list_len && vmdk->list[i - 1].sector <= vmdk->list[i].sector)
        i++;
    if (i < vmdk->list_len)
        qsort(vmdk->list, vmdk->list_len, sizeof(*vmdk->list), by_place);
}

static int overlap(const struct vmdk_place *a, const struct vmdk_place *b, struct im_error *err)
{
    return vmdk_damaged(err,
                        "grain %" PRIu32 " at sector %" PRIu32 " and grain %" PRIu32
                        " at sector %" PRIu32 " share sectors of the file",
                        a->grain, a->sector, b->grain, b->sector);
}

/* No grain of the sorted list on another, nor on *last, the one before them; it becomes the last.
 */
static int check_apart(const struct vmdk *vmdk, struct vmdk_place *last, struct im_error *err)
{
    for (size_t i = 0; i < vmdk->list_len; i++) {
        const struct vmdk_place *here = &vmdk->list[i];

        if (last->sector && here->sector - last->sector < vmdk_grain_sectors(vmdk, last->grain))
            return overlap(last, here, err);
        *last = *here;
    }
    return 0;
}

/* No grain of the sorted list on headers or tables. */
static int check_claims(const struct vmdk *vmdk, struct im_error *err)
{
    size_t c = 0;

    for (size_t i = 0; i < vmdk->list_len; i++) {
        uint64_t start = vmdk->list[i].sector;
        uint64_t end = start + vmdk_grain_sectors(vmdk, vmdk->list[i].grain);

        while (c < vmdk->claims_len && vmdk->claims[c].end <= start)
            c++;
        if (c < vmdk->claims_len && vmdk->claims[c].start < end)
            return vmdk_damaged(err, "grain %" PRIu32 " at sector %" PRIu64 " lies on the %s",
                                vmdk->list[i].grain, start, vmdk->claims[c].what);
    }
    return 0;
}

static int add_to_list(struct vmdk *vmdk, uint32_t sector, uint32_t grain, struct im_error *err)
{
    struct vmdk_place last = { 0 };

    if (vmdk->list_len == LIST_MAX) {
        sort_list(vmdk);
        return check_apart(vmdk, &last, err) < 0 ? -EBADMSG
                                                 : vmdk_damaged(err, "the grains overlap");
    }
    if (vmdk->list_len == vmdk->list_size) {
        size_t size = vmdk->list_size ? im_min(2 * vmdk->list_size, LIST_MAX) : 1024;
        struct vmdk_place *grown = reallocarray(vmdk->list, size, sizeof(*grown));

        if (!grown)
            return im_fail(err, ENOMEM, "out of memory");
        vmdk->list = grown;
        vmdk->list_size = size;
    }
    vmdk->list[vmdk->list_len++] = (struct vmdk_place){ sector, grain };
    return 0;
}

int vmdk_sparse_collect(struct vmdk *vmdk, uint32_t table, const uint8_t *entries,
                        struct im_error *err)
{
    for (unsigned i = 0; i < VMDK_TABLE_ENTRIES; i++) {
        uint32_t sector = vmdk_entry(vmdk, entries, i);
        uint32_t grain = table * VMDK_TABLE_ENTRIES + i;
        int r = 0;

        if (sector == 0)
            continue;
        if (sector + (uint64_t)vmdk_grain_sectors(vmdk, grain) > vmdk->file_sectors)
            return vmdk_damaged(err,
                                "grain %" PRIu32 " at sector %" PRIu32
                                " reaches past the end of the file at sector %" PRIu64
                                ": the file is truncated or its grain table damaged",
                                grain, sector, vmdk->file_sectors);
        if (sector / part_sectors(vmdk) == vmdk->list_part)
            r = add_to_list(vmdk, sector, grain, err);
        else if (vmdk->disk.source->sequential)
            r = vmdk_unsupported(
                err,
                "grain %" PRIu32 " lies at sector %" PRIu32
                ": such a large VMDK cannot be read from a pipe; give it as a file",
                grain, sector);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Have the sorted list of a part; a pipe's only one is there since the tables went by. */
static int load_part(struct vmdk *vmdk, uint64_t part, struct im_error *err)
{
    int r;

    if (vmdk->list_part == part)
        return 0;
    vmdk->list_len = 0;
    vmdk->list_part = part;
    r = vmdk_scan(vmdk, vmdk->directory, vmdk_sparse_collect, err);
    sort_list(vmdk);
    return r;
}

int vmdk_sparse_open(struct vmdk *vmdk, struct im_error *err)
{
    struct vmdk_place last = { 0 };
    int r = vmdk_load_tables(vmdk, err);

    sort_list(vmdk);
    for (uint64_t part = 0; r == 0 && part < parts(vmdk); part++) {
        r = load_part(vmdk, part, err);
        if (r == 0)
            r = check_claims(vmdk, err);
        if (r == 0)
            r = check_apart(vmdk, &last, err);
    }
    if (r == 0 && vmdk->disk.source->sequential && vmdk->list_len > 0 &&
        vmdk->list[0].sector < vmdk->claims[vmdk->claims_len - 1].end)
        r = vmdk_unsupported(err,
                             "grain %" PRIu32 " (sector %" PRIu32
                             ") comes before the grain tables of this VMDK, so it cannot be read "
                             "from a pipe; give it as a file",
                             vmdk->list[0].grain, vmdk->list[0].sector);
    return r;
}

static int sparse_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                       struct im_error *err)
{
    struct vmdk *vmdk = (struct vmdk *)disk;
    uint64_t grain_bytes = vmdk_grain_bytes(vmdk);
    uint8_t *out = buf;

    while (len > 0) {
        uint64_t within = offset % grain_bytes;
        size_t step = (size_t)im_min(len, grain_bytes - within);
        uint32_t sector;
        int r = vmdk_find(vmdk, (uint32_t)(offset / grain_bytes), &sector, err);

        if (r == 0 && sector)
            r = im_source_read(disk->source, out, step, (uint64_t)sector * VMDK_SECTOR + within,
                               err);
        else if (r == 0)
            memset(out, 0, step);
        if (r < 0)
            return r;
        out += step;
        offset += step;
        len -= step;
    }
    return 0;
}

static int sparse_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
                      struct im_error *err)
{
    return vmdk_map((struct vmdk *)disk, offset, len, ret, err);
}

/* Grains from list[i] on that follow each other both in the file and on the disk. */
static size_t run_of(const struct vmdk *vmdk, size_t i)
{
    uint64_t grain = vmdk->header.grain;
    size_t n = 1;

    while (i + n < vmdk->list_len && vmdk->list[i + n].sector == vmdk->list[i].sector + n * grain &&
           vmdk->list[i + n].grain == vmdk->list[i].grain + n)
        n++;
    return n;
}

static int walk_list(struct vmdk *vmdk, struct im_sink *sink, struct im_error *err)
{
    const struct vmdk_piece *piece = &vmdk->piece;
    uint64_t grain_bytes = vmdk_grain_bytes(vmdk);
    size_t n;

    for (size_t i = 0; i < vmdk->list_len; i += n) {
        uint64_t at = (uint64_t)vmdk->list[i].sector * VMDK_SECTOR;
        uint64_t offset = vmdk->list[i].grain * grain_bytes;
        uint64_t len;
        int r;

        n = run_of(vmdk, i);
        len = im_min(n * grain_bytes, vmdk->disk.size - offset);
        sink->progress(sink, piece->before + at, piece->total);
        r = im_window_place(&vmdk->window, sink, at, len, piece->start + offset, err);
        if (r == -EBADMSG)
            im_error_prefix(err, "grain %" PRIu32 " at sector %" PRIu32, vmdk->list[i].grain,
                            vmdk->list[i].sector);
        if (r < 0)
            return r;
        sink->progress(sink, piece->before + at + len, piece->total);
    }
    return 0;
}

/* A pipe cannot tell beforehand whether all of the directory's sectors are there: it reads only what
 * it needs of them. */
static int prove_claims_end(struct vmdk *vmdk, struct im_error *err)
{
    const uint8_t *p;

    return im_window_get(&vmdk->window,
                         vmdk->claims[vmdk->claims_len - 1].end * VMDK_SECTOR - 1, 1, &p, err);
}

static int sparse_walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    struct vmdk *vmdk = (struct vmdk *)disk;
    int r = disk->source->sequential ? prove_claims_end(vmdk, err) : 0;

    for (uint64_t part = 0; r == 0 && part < parts(vmdk); part++) {
        r = load_part(vmdk, part, err);
        if (r == 0)
            r = walk_list(vmdk, sink, err);
    }
    return r;
}

const struct im_disk_ops vmdk_sparse_ops = {
    .name = "vmdk-sparse",
    .read = sparse_read,
    .map = sparse_map,
    .walk = sparse_walk,
    .describe = vmdk_describe,
    .close = vmdk_close,
};

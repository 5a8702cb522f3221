/* vhdx-bat - the block table of a VHDX: proven at open, then read by block or walked in the order
 * of the file.
 *
 * The entries of the blocks are interleaved with one for the sector bitmap of each chunk of blocks,
 * which only differencing disks use (2.5). */

#include <config.h>

#include "format/vhdx.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define ENTRY_LEN 8u /* 2.5.1: three bits of state, 17 reserved, 44 of the place in MiB */
#define RESERVED  UINT64_C(0xffff8)

/* 8 TiB in the smallest blocks, 64 TiB in blocks of 8 MiB and more; 32 MiB for the table, as much
 * for the order when all are allocated, again while it is sorted.  A blank disk touches none. */
#define BLOCKS_MAX (1u << 23)
/* What is kept of a BAT that a pipe has before the metadata: 64 TiB in blocks of 32 MiB.  qemu-img,
 * which writes it there, chooses no smaller ones for large disks. */
#define EARLY_MAX (17u << 20)

/* 2.5.1.1; 4 and 5 are reserved */
enum { NOT_PRESENT = 0, UNDEFINED = 1, ZERO = 2, UNMAPPED = 3, FULLY_PRESENT = 6, PARTIAL = 7 };

/* 2.4: a sector bitmap is 1 MiB, a bit for each sector. */
#define BITMAP_SECTORS (UINT64_C(1) << 23)

static uint64_t block_at(const struct vhdx *vhdx, uint32_t block)
{
    return vhdx->table[block] * VHDX_UNIT;
}

/* Bytes of a block that are the disk's: the last one may be more than the disk needs. */
static uint64_t used_of(const struct vhdx *vhdx, uint32_t block)
{
    return im_min(vhdx->block, vhdx->disk.size - (uint64_t)block * vhdx->block);
}

int vhdx_keep_bat(struct vhdx *vhdx, struct im_error *err)
{
    if (!vhdx->disk.source->sequential || vhdx->bat > vhdx->metadata)
        return 0;
    vhdx->early_len = (size_t)im_min(vhdx->bat_len, EARLY_MAX);
    vhdx->early = malloc(vhdx->early_len);
    if (!vhdx->early)
        return im_fail(err, ENOMEM, "out of memory");
    return im_window_read(&vhdx->window, vhdx->early, vhdx->early_len, vhdx->bat, err);
}

/* Where a block with contents is; 0 can be no block's. */
static int take_place(struct vhdx *vhdx, uint64_t block, uint64_t place, struct im_error *err)
{
    if (place == 0)
        return vhdx_damaged(err, "block %" PRIu64 " at byte 0 lies on the header area at byte 0",
                            block);
    if (place > UINT32_MAX)
        return vhdx_damaged(
            err, "block %" PRIu64 " at MiB %" PRIu64 " lies past the end of any file of this kind",
            block, place);
    vhdx->table[block] = (uint32_t)place;
    vhdx->allocated++;
    return 0;
}

static int take_entry(struct vhdx *vhdx, uint64_t index, uint64_t entry, struct im_error *err)
{
    uint64_t chunk = index / (vhdx->chunk + 1);
    uint32_t within = (uint32_t)(index % (vhdx->chunk + 1));
    uint64_t block = chunk * vhdx->chunk + within;
    unsigned state = entry & 7;

    if (entry & RESERVED)
        return vhdx_damaged(err,
                            "entry %" PRIu64 " of the block table is 0x%016" PRIx64
                            "; its reserved bits are not 0",
                            index, entry);
    if (within == vhdx->chunk) {
        if (state == NOT_PRESENT)
            return 0;
        return vhdx_damaged(err,
                            "sector bitmap %" PRIu64 " has state %u, but the disk is no "
                            "differencing one",
                            chunk, state);
    }
    switch (state) {
    case NOT_PRESENT:
    case UNDEFINED:
    case ZERO:
    case UNMAPPED:
        return 0;
    case FULLY_PRESENT:
        return take_place(vhdx, block, entry >> 20, err);
    case PARTIAL:
        return vhdx_damaged(err,
                            "block %" PRIu64 " is partially present (state 7), but the disk is no "
                            "differencing one",
                            block);
    default:
        return vhdx_damaged(err, "block %" PRIu64 " has state %u, which has no meaning", block,
                            state);
    }
}

/* The bytes of the BAT from `done` on: at most len of them, or none and how many are a hole. */
static int next_entries(struct vhdx *vhdx, uint64_t done, uint64_t len, const uint8_t **ret,
                        uint64_t *ret_len, uint64_t *ret_hole, struct im_error *err)
{
    int r;

    *ret_hole = 0;
    *ret_len = im_min(len, IM_WINDOW_SIZE);
    if (vhdx->early) {
        *ret = vhdx->early + done;
        return 0;
    }
    r = im_window_hole(&vhdx->window, vhdx->bat + done, len, ret_hole, err);
    *ret_hole -= *ret_hole % ENTRY_LEN;
    if (r < 0 || *ret_hole > 0)
        return r;
    return im_window_get(&vhdx->window, vhdx->bat + done, (size_t)*ret_len, ret, err);
}

/* A hole in the file is blocks that are not present: it is neither read nor stored. */
static int read_entries(struct vhdx *vhdx, uint64_t len, struct im_error *err)
{
    uint64_t done = 0;

    while (done < len) {
        const uint8_t *p = NULL;
        uint64_t step, hole;
        int r = next_entries(vhdx, done, len - done, &p, &step, &hole, err);

        if (hole > 0)
            step = hole;
        for (uint64_t i = 0; r == 0 && hole == 0 && i < step; i += ENTRY_LEN) {
            uint64_t entry = im_le64(p + i);

            if (entry != NOT_PRESENT)
                r = take_entry(vhdx, (done + i) / ENTRY_LEN, entry, err);
        }
        if (r < 0)
            return r;
        done += step;
    }
    return 0;
}

static int read_table(struct vhdx *vhdx, struct im_error *err)
{
    uint64_t blocks = (vhdx->disk.size - 1) / vhdx->block + 1;
    uint64_t entries;

    vhdx->chunk = (uint32_t)(BITMAP_SECTORS * vhdx->sector / vhdx->block);
    entries = blocks + (blocks - 1) / vhdx->chunk; /* 2.5, for disks without a parent */
    if (entries * ENTRY_LEN > vhdx->bat_len)
        return vhdx_damaged(err,
                            "a disk of %" PRIu64 " bytes needs %" PRIu64
                            " entries of 8 bytes, but the block table has only %" PRIu64 " bytes",
                            vhdx->disk.size, entries, vhdx->bat_len);
    if (blocks > BLOCKS_MAX)
        return vhdx_unsupported(err,
                                "the disk has %" PRIu64 " blocks, more than the %u supported; "
                                "convert it to larger blocks than %" PRIu32 " bytes",
                                blocks, BLOCKS_MAX, vhdx->block);
    if (vhdx->early && entries * ENTRY_LEN > vhdx->early_len)
        return vhdx_unsupported(err,
                                "the block table of this VHDX has %" PRIu64
                                " bytes and comes before the metadata, so it cannot be read from "
                                "a pipe; give it as a file",
                                entries * ENTRY_LEN);
    vhdx->blocks = (uint32_t)blocks;
    vhdx->table = calloc(blocks, sizeof(*vhdx->table));
    if (!vhdx->table)
        return im_fail(err, ENOMEM, "out of memory");
    return read_entries(vhdx, entries * ENTRY_LEN, err);
}

static int by_place(const void *a, const void *b, void *arg)
{
    const uint32_t *table = arg;
    uint32_t x = table[*(const uint32_t *)a];
    uint32_t y = table[*(const uint32_t *)b];

    return (x > y) - (x < y);
}

static int sort_blocks(struct vhdx *vhdx, struct im_error *err)
{
    bool sorted = true;
    uint32_t n = 0;

    vhdx->order = calloc(vhdx->allocated ? vhdx->allocated : 1, sizeof(*vhdx->order));
    if (!vhdx->order)
        return im_fail(err, ENOMEM, "out of memory");
    for (uint32_t i = 0; n < vhdx->allocated; i++) {
        if (vhdx->table[i] == 0)
            continue;
        sorted = sorted && (n == 0 || vhdx->table[vhdx->order[n - 1]] < vhdx->table[i]);
        vhdx->order[n++] = i;
    }
    if (!sorted)
        qsort_r(vhdx->order, n, sizeof(*vhdx->order), by_place, vhdx->table);
    return 0;
}

/* Every block inside the file, none on another or on a span; both are sorted. */
static int prove_blocks(struct vhdx *vhdx, struct im_error *err)
{
    const struct vhdx_span *span = vhdx->span;
    const struct vhdx_span *last = span + vhdx->spans - 1;

    vhdx->end = last->end;
    for (uint32_t i = 0; i < vhdx->allocated; i++) {
        uint32_t block = vhdx->order[i];
        uint64_t at = block_at(vhdx, block);
        uint64_t used_end = at + used_of(vhdx, block);

        if (used_end > vhdx->disk.source->size)
            return vhdx_damaged(err,
                                "block %" PRIu32 " at byte %" PRIu64 " ends at byte %" PRIu64
                                ", past the end of the file at byte %" PRIu64
                                ": the file is truncated",
                                block, at, used_end, vhdx->disk.source->size);
        if (i > 0 && at < block_at(vhdx, vhdx->order[i - 1]) + vhdx->block)
            return vhdx_damaged(err,
                                "block %" PRIu32 " at byte %" PRIu64 " overlaps block %" PRIu32
                                " at byte %" PRIu64,
                                block, at, vhdx->order[i - 1], block_at(vhdx, vhdx->order[i - 1]));
        while (span < last && span->end <= at)
            span++;
        if (at < span->end && span->start < at + vhdx->block)
            return vhdx_damaged(err,
                                "block %" PRIu32 " at byte %" PRIu64 " lies on the %s at byte "
                                "%" PRIu64,
                                block, at, span->what, span->start);
        if (used_end > vhdx->end)
            vhdx->end = used_end;
    }
    return 0;
}

/* A pipe gives every byte once: what describes the blocks before the blocks. */
static int check_order(const struct vhdx *vhdx, struct im_error *err)
{
    uint64_t first;

    if (!vhdx->disk.source->sequential || vhdx->allocated == 0)
        return 0;
    first = block_at(vhdx, vhdx->order[0]);
    if (first > vhdx->bat && first > vhdx->metadata)
        return 0;
    return vhdx_unsupported(err,
                            "the first block of this VHDX (byte %" PRIu64
                            ") comes before its block table (byte %" PRIu64
                            ") or metadata (byte %" PRIu64
                            "), so it cannot be read from a pipe; give it as a file",
                            first, vhdx->bat, vhdx->metadata);
}

int vhdx_read_bat(struct vhdx *vhdx, struct im_error *err)
{
    int r = read_table(vhdx, err);

    if (r == 0)
        r = sort_blocks(vhdx, err);
    if (r == 0)
        r = prove_blocks(vhdx, err);
    if (r == 0)
        r = check_order(vhdx, err);
    free(vhdx->early);
    vhdx->early = NULL;
    return r;
}

int vhdx_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset, struct im_error *err)
{
    struct vhdx *vhdx = (struct vhdx *)disk;
    uint8_t *out = buf;

    while (len > 0) {
        uint32_t block = (uint32_t)(offset / vhdx->block);
        uint64_t within = offset % vhdx->block;
        size_t step = (size_t)im_min(len, vhdx->block - within);
        int r = 0;

        if (vhdx->table[block] == 0)
            memset(out, 0, step);
        else
            r = im_source_read(disk->source, out, step, block_at(vhdx, block) + within, err);
        if (r < 0)
            return r;
        out += step;
        offset += step;
        len -= step;
    }
    return 0;
}

/* Whether the block after this one continues it, in the file as well when it is there. */
static bool continues(const struct vhdx *vhdx, uint32_t block)
{
    const uint32_t *table = vhdx->table + block;

    return table[0] == 0 ? table[1] == 0 : table[1] == table[0] + vhdx->block / VHDX_UNIT;
}

int vhdx_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
             struct im_error *err)
{
    struct vhdx *vhdx = (struct vhdx *)disk;
    uint32_t first = (uint32_t)(offset / vhdx->block);
    uint64_t within = offset % vhdx->block;
    uint64_t run = vhdx->block - within;
    int r = 0;

    for (uint32_t block = first; run < len && continues(vhdx, block); block++)
        run += vhdx->block;
    len = im_min(len, run);
    *ret = (struct im_extent){ .offset = offset, .len = len, .zero = true };
    if (vhdx->table[first] != 0) {
        r = im_source_map(disk->source, block_at(vhdx, first) + within, len, ret, err);
        ret->offset = offset;
    }
    return r;
}

/* Everything that was claimed must have come, and what follows it is taken as well, so that who
 * writes into the pipe is not cut off. */
static int prove_end(struct vhdx *vhdx, struct im_error *err)
{
    uint64_t offset = vhdx->end - 1;
    const uint8_t *p;
    size_t got;
    int r = im_window_get(&vhdx->window, offset, 1, &p, err);

    while (r == 0) {
        r = im_window_peek(&vhdx->window, offset, IM_WINDOW_SIZE, &p, &got, err);
        if (r < 0 || got < IM_WINDOW_SIZE)
            break;
        offset += got;
    }
    return r;
}

int vhdx_walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    struct vhdx *vhdx = (struct vhdx *)disk;

    for (uint32_t i = 0; i < vhdx->allocated; i++) {
        uint32_t first = vhdx->order[i];
        uint64_t len = used_of(vhdx, first);
        int r;

        while (i + 1 < vhdx->allocated && vhdx->order[i + 1] == vhdx->order[i] + 1 &&
               continues(vhdx, vhdx->order[i]))
            len += used_of(vhdx, vhdx->order[++i]);
        r = im_window_place(&vhdx->window, sink, block_at(vhdx, first), len,
                            (uint64_t)first * vhdx->block, err);
        if (r < 0)
            return r;
    }
    return disk->source->sequential ? prove_end(vhdx, err) : 0;
}

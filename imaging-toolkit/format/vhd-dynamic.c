/* vhd-dynamic - the block table of a dynamic VHD: proven at open, then read by block or walked in
 * the order of the file.
 *
 * A block is a bitmap, one bit for each of its sectors, and the sectors.  A sector whose bit is 0
 * reads as zeros, whatever stands in its place. */

#include <config.h>

#include "format/vhd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define HEADER_LEN 1024u /* "Dynamic Disk Header Format" */

/* Microsoft writes blocks of 512 KiB and 2 MiB.  Below 4 KiB a block is mostly its own bitmap;
 * above 256 MiB the bitmap is more than one small read. */
#define BLOCK_MIN 4096u
#define BLOCK_MAX (256u << 20)
/* 2 TiB in blocks of 512 KiB, more than the 2040 GiB a VHD can hold; 32 MiB for the two tables. */
#define BLOCKS_MAX (1u << 22)

/* Header, block table and the footer's copy: what no block may touch. */
struct region {
    uint64_t start, end; /* bytes */
    const char *what;
};

enum {
    HEADER_TABLE = 16,
    HEADER_VERSION = 24,
    HEADER_ENTRIES = 28,
    HEADER_BLOCK = 32,
    HEADER_CHECKSUM = 36,
};

/* Bytes the bitmap takes in the file: whole sectors ("Data Blocks"). */
static uint32_t bitmap_len(const struct vhd *vhd)
{
    return (uint32_t)im_round_up(vhd->block / VHD_SECTOR / 8, VHD_SECTOR);
}

static uint64_t block_len(const struct vhd *vhd)
{
    return (uint64_t)bitmap_len(vhd) + vhd->block;
}

static uint64_t block_at(const struct vhd *vhd, uint32_t block)
{
    return (uint64_t)vhd->table[block] * VHD_SECTOR;
}

static int check_header(struct vhd *vhd, const uint8_t *header, struct im_error *err)
{
    uint32_t stored = im_be32(header + HEADER_CHECKSUM);
    uint32_t sum = vhd_checksum(header, HEADER_LEN, HEADER_CHECKSUM);
    uint32_t entries = im_be32(header + HEADER_ENTRIES);
    uint64_t blocks;

    if (memcmp(header, "cxsparse", 8) != 0)
        return vhd_damaged(err, "there is no dynamic header ('cxsparse') at byte %" PRIu64,
                           vhd->footer.header);
    if (stored != sum)
        return vhd_damaged(
            err, "the dynamic header's checksum is 0x%08" PRIx32 " but its bytes give 0x%08" PRIx32,
            stored, sum);
    if (im_be32(header + HEADER_VERSION) >> 16 != 1)
        return vhd_unsupported(err, "the dynamic header has version 0x%08" PRIx32,
                               im_be32(header + HEADER_VERSION));
    vhd->block = im_be32(header + HEADER_BLOCK);
    if (vhd->block < BLOCK_MIN || vhd->block > BLOCK_MAX || (vhd->block & (vhd->block - 1)) != 0)
        return vhd_damaged(
            err, "a block size of %" PRIu32 " bytes; it must be a power of two between %u and %u",
            vhd->block, BLOCK_MIN, BLOCK_MAX);
    blocks = (vhd->disk.size - 1) / vhd->block + 1;
    if (blocks > entries)
        return vhd_damaged(err,
                           "a disk of %" PRIu64 " bytes needs %" PRIu64 " blocks of %" PRIu32
                           ", but the block table has %" PRIu32 " entries",
                           vhd->disk.size, blocks, vhd->block, entries);
    if (blocks > BLOCKS_MAX)
        return vhd_unsupported(err, "the disk has %" PRIu64 " blocks, more than the %u supported",
                               blocks, BLOCKS_MAX);
    vhd->blocks = (uint32_t)blocks;
    return 0;
}

/* Fill in a region and check that it lies in the file, before the last footer. */
static int claim(const struct vhd *vhd, struct region *region, const char *what, uint64_t start,
                 uint64_t len, struct im_error *err)
{
    region->what = what;
    region->start = start;
    if (__builtin_add_overflow(start, len, &region->end) || region->end > vhd->end)
        return vhd_damaged(
            err, "the %s at byte %" PRIu64 " with %" PRIu64 " bytes does not lie inside the file",
            what, start, len);
    return 0;
}

static int check_apart(const struct region *a, const struct region *b, struct im_error *err)
{
    if (a->start < b->end && b->start < a->end)
        return vhd_damaged(err, "the %s at byte %" PRIu64 " lies on the %s at byte %" PRIu64,
                           a->what, a->start, b->what, b->start);
    return 0;
}

static int read_table(struct vhd *vhd, uint64_t offset, struct im_error *err)
{
    size_t bytes = (size_t)vhd->blocks * 4;
    int r;

    vhd->table = malloc(bytes);
    vhd->bitmap = malloc(bitmap_len(vhd));
    vhd->bitmap_of = VHD_ABSENT;
    if (!vhd->table || !vhd->bitmap)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_window_read(&vhd->window, vhd->table, bytes, offset, err);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < vhd->blocks; i++) {
        vhd->table[i] = be32toh(vhd->table[i]);
        vhd->allocated += vhd->table[i] != VHD_ABSENT;
    }
    return 0;
}

static int by_place(const void *a, const void *b, void *arg)
{
    const uint32_t *table = arg;
    uint32_t x = table[*(const uint32_t *)a];
    uint32_t y = table[*(const uint32_t *)b];

    return (x > y) - (x < y);
}

static int sort_blocks(struct vhd *vhd, struct im_error *err)
{
    bool sorted = true;
    uint32_t n = 0;

    vhd->order = calloc(vhd->allocated ? vhd->allocated : 1, sizeof(*vhd->order));
    if (!vhd->order)
        return im_fail(err, ENOMEM, "out of memory");
    for (uint32_t i = 0; i < vhd->blocks; i++) {
        if (vhd->table[i] == VHD_ABSENT)
            continue;
        sorted = sorted && (n == 0 || vhd->table[vhd->order[n - 1]] < vhd->table[i]);
        vhd->order[n++] = i;
    }
    if (!sorted)
        qsort_r(vhd->order, n, sizeof(*vhd->order), by_place, vhd->table);
    return 0;
}

/* Every block inside the file, none on another or on a region. */
static int prove_blocks(struct vhd *vhd, const struct region *regions, size_t n,
                        struct im_error *err)
{
    uint64_t last_end = 0;

    for (uint32_t i = 0; i < vhd->allocated; i++) {
        uint32_t block = vhd->order[i];
        struct region here = { block_at(vhd, block), block_at(vhd, block) + block_len(vhd),
                               "block" };

        if (here.end > vhd->end)
            return vhd_damaged(err,
                               "block %" PRIu32 " at byte %" PRIu64 " ends at byte %" PRIu64
                               ", past the end of the data at byte %" PRIu64,
                               block, here.start, here.end, vhd->end);
        if (here.start < last_end)
            return vhd_damaged(err,
                               "block %" PRIu32 " at byte %" PRIu64 " overlaps block %" PRIu32
                               ", which ends at byte %" PRIu64,
                               block, here.start, vhd->order[i - 1], last_end);
        for (size_t j = 0; j < n; j++) {
            int r = check_apart(&here, &regions[j], err);

            if (r < 0)
                return r;
        }
        last_end = here.end;
    }
    vhd->walked = last_end > regions[n - 1].end ? last_end : regions[n - 1].end;
    return 0;
}

/* A pipe gives every byte once: table before blocks. */
static int check_order(const struct vhd *vhd, const struct region *table, struct im_error *err)
{
    if (!vhd->disk.source->sequential || vhd->allocated == 0 ||
        block_at(vhd, vhd->order[0]) >= table->end)
        return 0;
    return vhd_unsupported(err,
                           "the block table of this VHD (byte %" PRIu64
                           ") comes after its first block (byte %" PRIu64
                           "), so it cannot be read from a pipe; give it as a file",
                           table->start, block_at(vhd, vhd->order[0]));
}

int vhd_dynamic_open(struct vhd *vhd, struct im_error *err)
{
    struct region regions[3]; /* the table last: prove_blocks relies on it */
    uint8_t header[HEADER_LEN];
    uint64_t table;
    int r = claim(vhd, &regions[0], "footer's copy", 0, VHD_FOOTER, err);

    if (r == 0)
        r = claim(vhd, &regions[1], "dynamic header", vhd->footer.header, HEADER_LEN, err);
    if (r == 0)
        r = im_source_read(vhd->disk.source, header, sizeof(header), vhd->footer.header, err);
    if (r == 0)
        r = check_header(vhd, header, err);
    if (r < 0)
        return r;
    table = im_be64(header + HEADER_TABLE);
    r = claim(vhd, &regions[2], "block table", table,
              (uint64_t)im_be32(header + HEADER_ENTRIES) * 4, err);
    for (size_t i = 0; i < 3 && r == 0; i++)
        r = check_apart(&regions[i], &regions[(i + 1) % 3], err);
    if (r == 0)
        r = read_table(vhd, table, err);
    if (r == 0)
        r = sort_blocks(vhd, err);
    if (r == 0)
        r = prove_blocks(vhd, regions, 3, err);
    if (r == 0)
        r = check_order(vhd, &regions[2], err);
    return r;
}

static bool has_sector(const struct vhd *vhd, uint32_t sector)
{
    return vhd->bitmap[sector / 8] & 0x80u >> sector % 8; /* most significant bit first */
}

/* From byte `within` of the block whose bitmap is loaded: how many of the next len bytes are alike,
 * and whether they are in the file. */
static uint32_t run_of(const struct vhd *vhd, uint32_t within, uint32_t len, bool *ret_data)
{
    uint32_t sector = within / VHD_SECTOR;
    uint32_t end = within + len;

    *ret_data = has_sector(vhd, sector);
    do
        sector++;
    while (sector * VHD_SECTOR < end && has_sector(vhd, sector) == *ret_data);
    return (uint32_t)im_min(end, (uint64_t)sector * VHD_SECTOR) - within;
}

static int load_bitmap(struct vhd *vhd, uint32_t block, struct im_error *err)
{
    int r;

    if (vhd->bitmap_of == block)
        return 0;
    vhd->bitmap_of = VHD_ABSENT;
    r = im_source_read(vhd->disk.source, vhd->bitmap, bitmap_len(vhd), block_at(vhd, block), err);
    if (r == 0)
        vhd->bitmap_of = block;
    return r;
}

/* A piece that lies inside one block. */
static int read_piece(struct vhd *vhd, uint8_t *buf, uint32_t len, uint64_t offset,
                      struct im_error *err)
{
    uint32_t block = (uint32_t)(offset / vhd->block);
    uint32_t within = (uint32_t)(offset % vhd->block);
    int r;

    if (vhd->table[block] == VHD_ABSENT) {
        memset(buf, 0, len);
        return 0;
    }
    r = load_bitmap(vhd, block, err);
    while (r == 0 && len > 0) {
        bool data;
        uint32_t run = run_of(vhd, within, len, &data);

        if (data)
            r = im_source_read(vhd->disk.source, buf, run,
                               block_at(vhd, block) + bitmap_len(vhd) + within, err);
        else
            memset(buf, 0, run);
        buf += run;
        within += run;
        len -= run;
    }
    return r;
}

static int dynamic_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                        struct im_error *err)
{
    struct vhd *vhd = (struct vhd *)disk;
    uint8_t *out = buf;

    while (len > 0) {
        uint32_t step = (uint32_t)im_min(len, vhd->block - offset % vhd->block);
        int r = read_piece(vhd, out, step, offset, err);

        if (r < 0)
            return r;
        out += step;
        offset += step;
        len -= step;
    }
    return 0;
}

static int dynamic_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
                       struct im_error *err)
{
    struct vhd *vhd = (struct vhd *)disk;
    uint32_t block = (uint32_t)(offset / vhd->block);
    uint64_t in_block = vhd->block - offset % vhd->block;
    bool data;
    int r;

    *ret = (struct im_extent){ .offset = offset, .zero = true };
    if (vhd->table[block] != VHD_ABSENT) {
        r = load_bitmap(vhd, block, err);
        if (r < 0)
            return r;
        ret->len =
            run_of(vhd, (uint32_t)(offset % vhd->block), (uint32_t)im_min(len, in_block), &data);
        ret->zero = !data;
        return 0;
    }
    while (in_block < len && vhd->table[++block] == VHD_ABSENT)
        in_block += vhd->block;
    ret->len = im_min(len, in_block);
    return 0;
}

static int walk_block(struct vhd *vhd, struct im_sink *sink, uint32_t block, struct im_error *err)
{
    uint64_t offset = (uint64_t)block * vhd->block;
    uint32_t len = (uint32_t)im_min(vhd->block, vhd->disk.size - offset);
    uint64_t data_at = block_at(vhd, block) + bitmap_len(vhd);
    int r = im_window_read(&vhd->window, vhd->bitmap, bitmap_len(vhd), block_at(vhd, block), err);

    vhd->bitmap_of = r == 0 ? block : VHD_ABSENT;
    for (uint32_t within = 0; r == 0 && within < len;) {
        bool data;
        uint32_t run = run_of(vhd, within, len - within, &data);

        if (data)
            r = im_window_place(&vhd->window, sink, data_at + within, run, offset + within, err);
        within += run;
    }
    sink->progress(sink, data_at + len, vhd->disk.source->size);
    return r;
}

/* On standard input the footer has not been seen yet: go to the end and compare. */
static int prove_end(struct vhd *vhd, struct im_error *err)
{
    struct vhd_footer last;
    uint64_t offset = vhd->walked;
    const uint8_t *p;
    size_t got;
    int r;

    for (;;) {
        r = im_window_peek(&vhd->window, offset, IM_WINDOW_SIZE, &p, &got, err);
        if (r < 0)
            return r;
        if (got < IM_WINDOW_SIZE)
            break;
        offset += IM_WINDOW_SIZE - VHD_FOOTER;
    }
    if (got < VHD_OLD_FOOTER)
        return vhd_damaged(err, "the file ends at byte %" PRIu64 ", without a VHD footer",
                           offset + got);
    /* 512 bytes, also when only the 511 of an old footer follow the last block */
    r = im_window_get(&vhd->window, offset + got - VHD_FOOTER, VHD_FOOTER, &p, err);
    if (r == 0)
        r = vhd_parse_tail(p, &last, err);
    if (r == 0 && offset + got - last.len < vhd->walked)
        r = vhd_damaged(err,
                        "the footer at byte %" PRIu64
                        " lies on the last block, which ends at byte %" PRIu64
                        ": the file is truncated",
                        offset + got - last.len, vhd->walked);
    return r < 0 ? r : vhd_compare_footers(vhd->footer.raw, &last, err);
}

static int dynamic_walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    struct vhd *vhd = (struct vhd *)disk;

    for (uint32_t i = 0; i < vhd->allocated; i++) {
        int r = walk_block(vhd, sink, vhd->order[i], err);

        if (r < 0)
            return r;
    }
    return disk->source->sequential ? prove_end(vhd, err) : 0;
}

const struct im_disk_ops vhd_dynamic_ops = {
    .name = "vhd-dynamic",
    .read = dynamic_read,
    .map = dynamic_map,
    .walk = dynamic_walk,
    .describe = vhd_describe,
    .close = vhd_close,
};

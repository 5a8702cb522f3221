/* vhd-encode - write a disk as a VHD: dynamic, only the blocks that hold data, or fixed, the raw
 * disk and a footer.
 *
 * Sections are those of Microsoft's "Virtual Hard Disk Image Format Specification", October 2006.
 * The size of the disk is kept exactly (up to the next sector), never rounded to the geometry. */

#include <config.h>

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/crypto.h"
#include "core/cancel.h"
#include "core/copy.h"
#include "format/vhd.h"

#define HEADER_LEN 1024u
#define TABLE_AT   (VHD_FOOTER + HEADER_LEN)
#define BLOCK      (2u << 20) /* what Microsoft writes */
#define BITMAP     (BLOCK / VHD_SECTOR / 8)
#define ABSENT     UINT32_MAX
#define UNIT       4096u
/* "2040 GiB": the largest whose every block a table of 32-bit sectors can name */
#define SIZE_MAX_VHD (UINT64_C(2040) << 30)

static void be16_at(uint8_t *p, uint16_t value)
{
    value = htobe16(value);
    memcpy(p, &value, sizeof(value));
}

static void be32_at(uint8_t *p, uint32_t value)
{
    value = htobe32(value);
    memcpy(p, &value, sizeof(value));
}

static void be64_at(uint8_t *p, uint64_t value)
{
    value = htobe64(value);
    memcpy(p, &value, sizeof(value));
}

/* "CHS Calculation" of the appendix. */
static void put_geometry(uint8_t *p, uint64_t size)
{
    uint64_t sectors = im_min(size / VHD_SECTOR, 65535u * 16 * 255);
    uint64_t heads, per_track, cylinders;

    if (sectors >= 65535u * 16 * 63) {
        per_track = 255;
        heads = 16;
    } else {
        per_track = 17;
        heads = (sectors / per_track + 1023) / 1024;
        if (heads < 4)
            heads = 4;
        if (sectors / per_track >= heads * 1024 || heads > 16) {
            per_track = 31;
            heads = 16;
        }
        if (sectors / per_track >= heads * 1024)
            per_track = 63;
    }
    cylinders = sectors / per_track / heads;
    be16_at(p, (uint16_t)cylinders);
    p[2] = (uint8_t)heads;
    p[3] = (uint8_t)per_track;
}

/* "Hard Disk Footer Format".  Readers that know creators (QEMU) believe the current size only of
 * some, and take the geometry's of all others: so this names the creator Hyper-V writes.  The
 * identifier is random, since VirtualBox refuses a second disk with the same. */
static void make_footer(uint8_t footer[VHD_FOOTER], enum vhd_type type, uint64_t size)
{
    memset(footer, 0, VHD_FOOTER);
    memcpy(footer, "conectix", 8);
    be32_at(footer + 8, 2);        /* features: always set */
    be32_at(footer + 12, 0x10000); /* version */
    be64_at(footer + 16, type == VHD_FIXED ? UINT64_MAX : VHD_FOOTER);
    memcpy(footer + 28, "win ", 4);
    be32_at(footer + 32, 0xa0000);
    memcpy(footer + 36, "Wi2k", 4);
    be64_at(footer + 40, size);
    be64_at(footer + 48, size);
    put_geometry(footer + 56, size);
    be32_at(footer + 60, type);
    im_random(footer + 68, 16);
    footer[74] = (uint8_t)((footer[74] & 0x0f) | 0x40); /* RFC 4122: version 4 */
    footer[76] = (uint8_t)((footer[76] & 0x3f) | 0x80);
    be32_at(footer + 64, vhd_checksum(footer, VHD_FOOTER, 64));
}

/* "Dynamic Disk Header Format" */
static void make_header(uint8_t header[HEADER_LEN], uint32_t blocks)
{
    memset(header, 0, HEADER_LEN);
    memcpy(header, "cxsparse", 8);
    be64_at(header + 8, UINT64_MAX);
    be64_at(header + 16, TABLE_AT);
    be32_at(header + 24, 0x10000);
    be32_at(header + 28, blocks);
    be32_at(header + 32, BLOCK);
    be32_at(header + 36, vhd_checksum(header, HEADER_LEN, 36));
}

/* ---- fixed ---- */

/* The disk, zeros up to a whole sector, the footer. */
static int encode_fixed(struct im_disk *disk, struct im_store *store,
                        const struct im_encode *options, struct im_progress *progress,
                        struct im_copy_result *result, struct im_error *err)
{
    struct im_copy_limits limits = { .jobs = options->jobs, .max_size = SIZE_MAX_VHD };
    uint8_t end[VHD_SECTOR + VHD_FOOTER] = { 0 };
    uint64_t size;
    size_t odd;
    int r = im_copy(disk, store, &limits, progress, result, err);

    if (r < 0)
        return r;
    if (result->size == 0)
        return im_fail(err, EINVAL, "a disk of 0 bytes cannot be written as a VHD");
    size = im_round_up(result->size, VHD_SECTOR);
    odd = (size_t)(size - result->size);
    make_footer(end + odd, VHD_FIXED, size);
    result->file_size = size + VHD_FOOTER;
    return im_store_write(store, end, odd + VHD_FOOTER, result->size, err);
}

/* ---- dynamic ---- */

struct writer {
    struct im_disk *disk;
    struct im_store *store;
    struct im_progress *progress;
    uint32_t *table; /* in the file's byte order */
    uint32_t blocks;
    uint64_t at;  /* where the next block goes */
    uint8_t *buf; /* bitmap and block */
    uint64_t data_bytes;
};

static bool is_zero(const uint8_t *p, size_t len)
{
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* True when the disk knows that the block holds nothing. */
static int block_is_hole(struct writer *writer, uint64_t offset, uint64_t len, bool *ret_hole,
                         struct im_error *err)
{
    struct im_extent extent = { 0 };
    int r = im_disk_map(writer->disk, offset, len, &extent, err);

    *ret_hole = extent.zero && extent.len == len;
    return r;
}

/* Write the block in the buffer but for its zeros, which the file's holes are.  Without any data
 * nothing is written, and the block is left out. */
static int put_block(struct writer *writer, uint32_t block, struct im_error *err)
{
    const uint8_t *data = writer->buf + BITMAP;
    bool there = false;
    size_t end;

    for (size_t i = 0; i < BLOCK; i = end) {
        bool zero = is_zero(data + i, UNIT);
        int r = 0;

        for (end = i + UNIT; end < BLOCK && is_zero(data + end, UNIT) == zero;)
            end += UNIT;
        if (zero)
            continue;
        /* the bitmap, all ones, goes before the first run */
        if (!there)
            r = im_store_write(writer->store, writer->buf, BITMAP, writer->at, err);
        if (r == 0)
            r = im_store_write(writer->store, data + i, end - i, writer->at + BITMAP + i, err);
        if (r < 0)
            return r;
        there = true;
        writer->data_bytes += end - i;
    }
    if (there) {
        writer->table[block] = htobe32((uint32_t)(writer->at / VHD_SECTOR));
        writer->at += BITMAP + BLOCK;
    }
    return 0;
}

static int write_blocks(struct writer *writer, struct im_error *err)
{
    int r = 0;

    for (uint32_t block = 0; r == 0 && block < writer->blocks; block++) {
        uint64_t offset = (uint64_t)block * BLOCK;
        size_t len = (size_t)im_min(BLOCK, writer->disk->size - offset);
        bool hole = false;

        r = im_cancel_check(err);
        if (r == 0)
            r = block_is_hole(writer, offset, len, &hole, err);
        if (r == 0 && !hole) {
            memset(writer->buf + BITMAP + len, 0, BLOCK - len);
            r = im_disk_read(writer->disk, writer->buf + BITMAP, len, offset, err);
            if (r == 0)
                r = put_block(writer, block, err);
        }
        im_progress_update(writer->progress, offset + len, writer->disk->size);
    }
    return r;
}

/* What stands around the blocks; last, since the table is known only then. */
static int write_frame(struct writer *writer, uint64_t size, struct im_error *err)
{
    uint8_t footer[VHD_FOOTER], header[HEADER_LEN];
    int r;

    make_footer(footer, VHD_DYNAMIC, size);
    make_header(header, writer->blocks);
    r = im_store_write(writer->store, footer, VHD_FOOTER, 0, err);
    if (r == 0)
        r = im_store_write(writer->store, header, HEADER_LEN, VHD_FOOTER, err);
    if (r == 0)
        r = im_store_write(writer->store, writer->table,
                           (size_t)im_round_up((uint64_t)writer->blocks * 4, VHD_SECTOR), TABLE_AT,
                           err);
    return r < 0 ? r : im_store_write(writer->store, footer, VHD_FOOTER, writer->at, err);
}

static int encode_dynamic(struct im_disk *disk, struct im_store *store,
                          struct im_progress *progress, struct im_copy_result *result,
                          struct im_error *err)
{
    uint64_t size = im_round_up(disk->size, VHD_SECTOR);
    uint32_t blocks = (uint32_t)((size - 1) / BLOCK + 1);
    size_t table_len = (size_t)im_round_up((uint64_t)blocks * 4, VHD_SECTOR);
    uint32_t *table IM_FREE = malloc(table_len);
    uint8_t *buf IM_FREE = malloc(BITMAP + BLOCK);
    struct writer writer = {
        .disk = disk,
        .store = store,
        .progress = progress,
        .table = table,
        .blocks = blocks,
        .at = TABLE_AT + table_len,
        .buf = buf,
    };
    int r;

    if (!table || !buf)
        return im_fail(err, ENOMEM, "out of memory");
    memset(table, 0xff, table_len);
    memset(buf, 0xff, BITMAP);
    r = write_blocks(&writer, err);
    if (r == 0)
        r = write_frame(&writer, size, err);
    result->size = disk->size;
    result->file_size = writer.at + VHD_FOOTER;
    result->data_bytes = im_min(writer.data_bytes, disk->size);
    return r;
}

static int check_size(const struct im_disk *disk, bool fixed, bool pipe, struct im_error *err)
{
    if (fixed && disk->size == IM_SIZE_UNKNOWN)
        return 0; /* the copy keeps the limit */
    if (disk->size == IM_SIZE_UNKNOWN)
        return im_fail(err, EOPNOTSUPP,
                       "the size of the disk is known only at its end, but a dynamic VHD begins "
                       "with it; give the image as a file, or --subformat fixed");
    if (pipe && !fixed)
        return im_fail(err, EOPNOTSUPP,
                       "a dynamic VHD begins with a table that is known only at its end, so it "
                       "cannot go into a pipe; write a file, or give --subformat fixed");
    if (disk->size == 0)
        return im_fail(err, EINVAL, "a disk of 0 bytes cannot be written as a VHD");
    if (disk->size > SIZE_MAX_VHD)
        return im_fail(err, EFBIG,
                       "a disk of %" PRIu64 " bytes is too large for a VHD, which holds %" PRIu64
                       " (2040 GiB); write vmdk or qcow2",
                       disk->size, SIZE_MAX_VHD);
    return 0;
}

int vhd_encode(struct im_disk *disk, struct im_store *store, const struct im_encode *options,
               struct im_progress *progress, struct im_copy_result *ret_result,
               struct im_error *err)
{
    bool fixed = strcmp(options->subformat, "fixed") == 0;
    int r = check_size(disk, fixed, store->sequential, err);

    if (r < 0)
        return r;
    return fixed ? encode_fixed(disk, store, options, progress, ret_result, err)
                 : encode_dynamic(disk, store, progress, ret_result, err);
}

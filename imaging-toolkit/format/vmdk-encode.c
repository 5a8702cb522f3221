/* vmdk-encode - write a disk as a stream-optimized VMDK, front to back, so that a pipe will do.
 *
 * The layout is VMware's own (Virtual Disk Format 5.0, "Stream-Optimized Compressed Sparse
 * Extents"): header and descriptor; grains, each behind its marker; behind every 512 of them their
 * grain table, then the grain directory, the footer and the end-of-stream marker. */

#include <config.h>

#include "format/vmdk-encode.h"

#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/text.h"
#include "core/cancel.h"
#include "core/deflate.h"

#define SECTOR     512u
#define GRAIN      (64u * 1024) /* what every VMware product writes and reads */
#define TABLE      512u         /* entries; the only number the specification allows */
#define OVERHEAD   128u         /* sectors before the first grain, as VMware has it */
#define DESCRIPTOR 20u          /* sectors of text behind the header */
#define AT_END     UINT64_MAX
#define OUT_BUFFER (1u << 20)
/* A table names sectors with 32 bits, so no grain begins beyond this. */
#define FILE_SECTORS_MAX UINT32_MAX
/* 128 TiB: two million tables, 8 MiB for the directory; the file's own limit is met long before
 * unless the disk is nearly empty. */
#define TABLES_MAX (1u << 22)

enum { MARKER_END, MARKER_TABLE, MARKER_DIRECTORY, MARKER_FOOTER };

struct writer {
    struct im_store *store;
    uint8_t *buf; /* OUT_BUFFER bytes, of which `used` wait to be written at `at` */
    size_t used;
    uint64_t at;
    uint64_t capacity; /* sectors */
    uint32_t *directory;
    uint32_t tables;
    uint32_t table[TABLE]; /* of number `open_table`, in the file's byte order */
    uint32_t open_table;   /* UINT32_MAX: none */
    uint64_t data_bytes;
};

/* ---- bytes in order ---- */

static int flush(struct writer *writer, struct im_error *err)
{
    int r = im_store_write(writer->store, writer->buf, writer->used, writer->at, err);

    writer->at += writer->used;
    writer->used = 0;
    return r;
}

static int put(struct writer *writer, const void *data, size_t len, struct im_error *err)
{
    const uint8_t *p = data;

    while (len > 0) {
        size_t step = (size_t)im_min(len, OUT_BUFFER - writer->used);
        int r = 0;

        memcpy(writer->buf + writer->used, p, step);
        writer->used += step;
        p += step;
        len -= step;
        if (writer->used == OUT_BUFFER)
            r = flush(writer, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static uint64_t position(const struct writer *writer)
{
    return writer->at + writer->used;
}

/* Zeros up to the next multiple of unit. */
static int pad(struct writer *writer, uint64_t unit, struct im_error *err)
{
    static const uint8_t zeros[OVERHEAD * SECTOR];

    return put(writer, zeros, (size_t)(im_round_up(position(writer), unit) - position(writer)),
               err);
}

/* The sector the next byte is in; -EFBIG when no table can name it. */
static int here(const struct writer *writer, uint32_t *ret_sector, struct im_error *err)
{
    uint64_t sector = position(writer) / SECTOR;

    if (sector > FILE_SECTORS_MAX)
        return im_fail(err, EFBIG,
                       "the VMDK grows beyond 2 TiB, which its tables cannot name; convert the "
                       "disk in parts, or to qcow2");
    *ret_sector = (uint32_t)sector;
    return 0;
}

/* ---- the parts of the file ---- */

static void le32_at(uint8_t *p, uint32_t value)
{
    value = htole32(value);
    memcpy(p, &value, sizeof(value));
}

static void le64_at(uint8_t *p, uint64_t value)
{
    value = htole64(value);
    memcpy(p, &value, sizeof(value));
}

/* "Hosted Sparse Extent Header"; as the footer it knows where the directory is. */
static int put_header(struct writer *writer, uint64_t directory, struct im_error *err)
{
    uint8_t header[SECTOR] = "KDMV";

    le32_at(header + 4, 3);       /* version: compressed grains came with it */
    le32_at(header + 8, 0x30001); /* newlines to detect, compressed grains, markers */
    le64_at(header + 12, writer->capacity);
    le64_at(header + 20, GRAIN / SECTOR);
    le64_at(header + 28, 1); /* descriptor */
    le64_at(header + 36, DESCRIPTOR);
    le32_at(header + 44, TABLE);
    le64_at(header + 56, directory);
    le64_at(header + 64, OVERHEAD);
    memcpy(header + 73, "\n \r\n", 4);
    header[77] = 1; /* deflate */
    return put(writer, header, sizeof(header), err);
}

/* The extent's name is that of the file, when it can be written in quotes. */
static void extent_name(const struct im_store *store, char *ret_name, size_t size)
{
    const char *name = im_text_basename(store->name);
    size_t n = 0;

    while (isprint((unsigned char)name[n]) && name[n] != '"')
        n++;
    if (store->sequential || name[n] || n == 0 || n >= size)
        name = "disk.vmdk";
    (void)snprintf(ret_name, size, "%s", name);
}

/* A content id changes with the content; here it stands before any content is known, so it tells
 * the size.  Nothing but snapshots, which a stream-optimized disk has none of, look at it. */
static uint32_t content_id(uint64_t capacity)
{
    uint8_t digest[32];

    im_hash(IM_SHA256, &capacity, sizeof(capacity), digest);
    return im_le32(digest) & 0x7fffffff; /* ffffffff would mean "no parent" */
}

/* "The Descriptor": libvmdk insists on the comments as well.  Geometry is that of an LSI Logic
 * adapter, which has 255 heads and 63 sectors for any but small disks. */
static int put_descriptor(struct writer *writer, struct im_error *err)
{
    char text[DESCRIPTOR * SECTOR] = "", name[256];
    uint64_t cylinders = writer->capacity / (255 * 63);

    extent_name(writer->store, name, sizeof(name));
    (void)snprintf(text, sizeof(text),
                   "# Disk DescriptorFile\n"
                   "version=1\n"
                   "CID=%08" PRIx32 "\n"
                   "parentCID=ffffffff\n"
                   "createType=\"streamOptimized\"\n"
                   "\n"
                   "# Extent description\n"
                   "RDONLY %" PRIu64 " SPARSE \"%s\"\n"
                   "\n"
                   "# The Disk Data Base\n"
                   "#DDB\n"
                   "\n"
                   "ddb.adapterType = \"lsilogic\"\n"
                   "ddb.geometry.cylinders = \"%" PRIu64 "\"\n"
                   "ddb.geometry.heads = \"255\"\n"
                   "ddb.geometry.sectors = \"63\"\n"
                   "ddb.virtualHWVersion = \"7\"\n",
                   content_id(writer->capacity), writer->capacity, name,
                   cylinders == 0 ? 1 : im_min(cylinders, 65535));
    return put(writer, text, sizeof(text), err);
}

/* A marker that is not a grain's, in a sector of its own. */
static int put_marker(struct writer *writer, uint64_t sectors, uint32_t type, struct im_error *err)
{
    uint8_t marker[SECTOR] = { 0 };

    le64_at(marker, sectors);
    le32_at(marker + 12, type);
    return put(writer, marker, sizeof(marker), err);
}

/* Write the open table, if it names any grain. */
static int end_table(struct writer *writer, struct im_error *err)
{
    int r;

    if (writer->open_table == UINT32_MAX)
        return 0;
    r = put_marker(writer, sizeof(writer->table) / SECTOR, MARKER_TABLE, err);
    if (r == 0)
        r = here(writer, &writer->directory[writer->open_table], err);
    if (r == 0)
        r = put(writer, writer->table, sizeof(writer->table), err);
    writer->open_table = UINT32_MAX;
    return r;
}

/* im_deflated_fn: a grain, and before it the table of those before, when this one is of another. */
static int put_grain(void *arg, const void *zlib, size_t len, uint64_t offset, struct im_error *err)
{
    struct writer *writer = arg;
    uint64_t grain = offset / GRAIN;
    uint32_t sector = 0;
    uint8_t marker[12];
    int r = 0;

    if (writer->open_table != grain / TABLE) {
        r = end_table(writer, err);
        memset(writer->table, 0, sizeof(writer->table));
        writer->open_table = (uint32_t)(grain / TABLE);
    }
    if (r == 0)
        r = here(writer, &sector, err);
    writer->table[grain % TABLE] = htole32(sector);
    writer->data_bytes += GRAIN;
    le64_at(marker, offset / SECTOR);
    le32_at(marker + 8, (uint32_t)len);
    if (r == 0)
        r = put(writer, marker, sizeof(marker), err);
    if (r == 0)
        r = put(writer, zlib, len, err);
    return r < 0 ? r : pad(writer, SECTOR, err);
}

static int put_directory(struct writer *writer, uint32_t *ret_sector, struct im_error *err)
{
    size_t bytes = (size_t)writer->tables * 4;
    int r = put_marker(writer, (bytes + SECTOR - 1) / SECTOR, MARKER_DIRECTORY, err);

    if (r == 0)
        r = here(writer, ret_sector, err);
    for (uint32_t i = 0; i < writer->tables; i++)
        writer->directory[i] = htole32(writer->directory[i]);
    if (r == 0)
        r = put(writer, writer->directory, bytes, err);
    return r < 0 ? r : pad(writer, SECTOR, err);
}

static int put_end(struct writer *writer, struct im_error *err)
{
    uint32_t directory = 0;
    int r = end_table(writer, err);

    if (r == 0)
        r = put_directory(writer, &directory, err);
    if (r == 0)
        r = put_marker(writer, 1, MARKER_FOOTER, err);
    if (r == 0)
        r = put_header(writer, directory, err);
    if (r == 0)
        r = put_marker(writer, 0, MARKER_END, err);
    return r < 0 ? r : flush(writer, err);
}

/* ---- the disk's data ---- */

/* Read a batch that begins at offset; past the end of the disk are zeros. */
static int read_batch(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                      struct im_error *err)
{
    size_t there = (size_t)im_min(len, disk->size - offset);

    memset((uint8_t *)buf + there, 0, len - there);
    return im_disk_read(disk, buf, there, offset, err);
}

/* Give all grains that hold data to the pool. */
static int compress_disk(struct im_disk *disk, struct im_deflater *deflater,
                         struct im_progress *progress, struct im_error *err)
{
    uint64_t offset = 0; /* a multiple of GRAIN */
    int r = 0;

    while (r == 0 && offset < disk->size) {
        struct im_extent extent = { 0 };
        uint64_t end;
        size_t len;
        void *buf;

        r = im_cancel_check(err);
        if (r == 0)
            r = im_disk_map(disk, offset, disk->size - offset, &extent, err);
        end = offset + extent.len;
        im_progress_update(progress, offset, disk->size);
        if (r == 0 && extent.zero && (end == disk->size || end - end % GRAIN > offset)) {
            offset = end == disk->size ? end : end - end % GRAIN;
            continue;
        }
        len = (size_t)im_min(im_round_up(end, GRAIN) - offset, IM_DEFLATE_BATCH);
        if (r == 0)
            r = im_deflater_reserve(deflater, len, offset, &buf, err);
        if (r == 0)
            r = read_batch(disk, buf, len, offset, err);
        offset += len;
    }
    return r < 0 ? r : im_deflater_drain(deflater, err);
}

static int write_image(struct writer *writer, struct im_disk *disk, const struct im_encode *options,
                       struct im_progress *progress, struct im_error *err)
{
    struct im_deflater *deflater;
    int r = put_header(writer, AT_END, err);

    if (r == 0)
        r = put_descriptor(writer, err);
    if (r == 0)
        r = pad(writer, OVERHEAD * SECTOR, err);
    if (r < 0)
        return r;
    deflater = im_deflater_new(options->jobs, options->level, GRAIN, put_grain, writer);
    r = deflater ? compress_disk(disk, deflater, progress, err)
                 : im_fail(err, ENOMEM, "out of memory or threads");
    im_deflater_free(deflater);
    return r < 0 ? r : put_end(writer, err);
}

static int check_size(const struct im_disk *disk, uint64_t *ret_tables, struct im_error *err)
{
    if (disk->size == IM_SIZE_UNKNOWN)
        return im_fail(err, EOPNOTSUPP,
                       "the size of the disk is known only at its end, but a VMDK begins with it; "
                       "give the image as a file");
    if (disk->size == 0)
        return im_fail(err, EINVAL, "a disk of 0 bytes cannot be written as a VMDK");
    *ret_tables = ((disk->size - 1) / GRAIN) / TABLE + 1;
    if (*ret_tables > TABLES_MAX)
        return im_fail(err, EFBIG,
                       "a disk of %" PRIu64 " bytes is too large for a VMDK; %" PRIu64
                       " is the most",
                       disk->size, (uint64_t)TABLES_MAX * TABLE * GRAIN);
    return 0;
}

int vmdk_encode(struct im_disk *disk, struct im_store *store, const struct im_encode *options,
                struct im_progress *progress, struct im_copy_result *ret_result,
                struct im_error *err)
{
    struct writer writer = { .store = store, .open_table = UINT32_MAX };
    uint8_t *buf IM_FREE = malloc(OUT_BUFFER);
    uint32_t *directory IM_FREE = NULL;
    uint64_t tables = 0;
    int r = check_size(disk, &tables, err);

    if (r < 0)
        return r;
    directory = calloc((size_t)tables, sizeof(*directory));
    if (!buf || !directory)
        return im_fail(err, ENOMEM, "out of memory");
    writer.buf = buf;
    writer.directory = directory;
    writer.tables = (uint32_t)tables;
    writer.capacity = (disk->size + SECTOR - 1) / SECTOR;
    r = write_image(&writer, disk, options, progress, err);
    ret_result->size = disk->size;
    ret_result->file_size = writer.at;
    ret_result->data_bytes = im_min(writer.data_bytes, disk->size);
    return r;
}

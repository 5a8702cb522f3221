/* qcow2 - QEMU's copy-on-write images, by qemu-img; what names another file is refused here first.
 *
 * docs/interop/qcow2.txt of QEMU, "Header". */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "box/qemu-img.h"
#include "core/cancel.h"
#include "core/format.h"

#define MAGIC 0x514649fbu /* "QFI\xfb" */

/* Incompatible features that only describe the image itself: dirty, compression type, extended L2.
 */
#define FEATURES_FINE       UINT64_C(0x19)
#define FEATURE_CORRUPT     UINT64_C(0x02)
#define FEATURE_DATA_FILE   UINT64_C(0x04)
#define FEATURE_EXTENDED_L2 UINT64_C(0x10)

/* "Cluster mapping": bits of the entries of both levels. */
#define OFFSET_MASK UINT64_C(0x00fffffffffffe00)
#define COMPRESSED  (UINT64_C(1) << 62)
#define ALL_ZEROS   UINT64_C(1)

#define SECTOR 512u
/* File systems allocate in blocks of this size. */
#define BLOCK 4096u

/* QEMU's own limit: 32 MiB */
#define L1_MAX (4u << 20)

static enum im_bid qcow2_probe(const struct im_probe *probe)
{
    uint32_t version = im_be32(probe->head + 4);

    /* version 1 and QED name backing files, too, and QEMU knows them by these bytes */
    if (probe->head_len >= 8 && im_be32(probe->head) == MAGIC && version >= 1 && version <= 3)
        return IM_BID_CERTAIN;
    if (probe->head_len >= 4 && memcmp(probe->head, "QED", 4) == 0)
        return IM_BID_CERTAIN;
    return probe->head_len >= 8 && im_be32(probe->head) == MAGIC ? IM_BID_PLAUSIBLE : IM_BID_NO;
}

static int check_features(uint64_t features, struct im_error *err)
{
    if (features & FEATURE_CORRUPT)
        return im_fail(
            err, EBADMSG,
            "the qcow2 header marks the image as corrupt; repair it with 'qemu-img check -r all'");
    if (features & FEATURE_DATA_FILE)
        return im_fail(
            err, EOPNOTSUPP,
            "the qcow2 image keeps its data in another file; convert it to one file first");
    if (features & ~FEATURES_FINE)
        return im_fail(err, EOPNOTSUPP, "the qcow2 header needs unknown features 0x%" PRIx64,
                       features & ~FEATURES_FINE);
    return 0;
}

static int check_header(struct im_source *source, struct im_error *err)
{
    uint8_t header[104] = { 0 };
    uint32_t version;
    size_t len;
    int r = im_source_read_some(source, header, sizeof(header), 0, &len, err);

    if (r < 0)
        return r;
    version = im_be32(header + 4);
    if (memcmp(header, "QED", 4) == 0)
        return im_fail(err, EOPNOTSUPP,
                       "a QED image; convert it first: qemu-img convert -f qed -O qcow2 IN OUT");
    if (len < 72 || im_be32(header) != MAGIC)
        return im_fail(err, EBADMSG, "no qcow2 header: the first four bytes are 0x%08x, not 0x%08x",
                       im_be32(header), MAGIC);
    if (version != 2 && version != 3)
        return im_fail(err, EOPNOTSUPP, "qcow2 version %u is not 2 or 3", version);
    if (version == 3 && len < sizeof(header))
        return im_fail(err, EBADMSG,
                       "the qcow2 file ends at byte %zu, within its header of %zu bytes", len,
                       sizeof(header));
    if (im_be64(header + 8) != 0)
        return im_fail(
            err, EOPNOTSUPP,
            "the qcow2 image has a backing file; flatten it with 'qemu-img convert' first");
    if (im_be32(header + 32) != 0)
        return im_fail(err, EOPNOTSUPP,
                       "the qcow2 image is encrypted (method %u); decrypt it first",
                       im_be32(header + 32));
    return version == 3 ? check_features(im_be64(header + 72), err) : 0;
}

/* ---- what qemu-img's checker leaves out: a file that ends too early ---- */

struct qcow2 {
    struct im_source *file;
    uint32_t bits;    /* of an offset in a cluster */
    uint64_t cluster; /* bytes */
    uint64_t size;    /* of the disk */
    uint64_t l1_at;
    uint32_t l1_len; /* entries */
    unsigned entry;  /* bytes of one of level 2 */
    uint64_t used;   /* bytes of clusters that are there, in whole blocks … */
    uint64_t block;  /* … up to this one */
};

static int truncated(const struct qcow2 *qcow2, const char *what, uint64_t at, uint64_t len,
                     struct im_error *err)
{
    return im_fail_code(err, EBADMSG, "DamagedQcow2",
                        "the %s at byte %" PRIu64 " needs %" PRIu64
                        " bytes, but the file ends at byte %" PRIu64 ": it is truncated",
                        what, at, len, qcow2->file->size);
}

/* "Compressed Clusters Descriptor": where it begins, and how many sectors it reaches into beside
 * the first.  qemu-img takes a zlib stream that is cut for a short one and fills up with zeros. */
static int check_compressed(const struct qcow2 *qcow2, uint64_t entry, struct im_error *err)
{
    uint32_t x = 62 - (qcow2->bits - 8);
    uint64_t at = entry & ((UINT64_C(1) << x) - 1);
    uint64_t more = entry >> x & ((UINT64_C(1) << (qcow2->bits - 8)) - 1);
    uint64_t end = at / SECTOR * SECTOR + (more + 1) * SECTOR;

    return end > qcow2->file->size ? truncated(qcow2, "compressed cluster", at, end - at, err) : 0;
}

/* Count what qemu-img will write of a cluster at most: of small ones several are in one block. */
static void count_cluster(struct qcow2 *qcow2, uint64_t number)
{
    uint64_t from = number * qcow2->cluster / BLOCK;
    uint64_t to = ((number + 1) * qcow2->cluster + BLOCK - 1) / BLOCK;

    qcow2->used += (to - im_max(from, qcow2->block)) * BLOCK;
    qcow2->block = to;
}

/* A cluster of data, number `number` of the disk, as an entry of level 2 names it. */
static int check_cluster(struct qcow2 *qcow2, uint64_t number, uint64_t entry, struct im_error *err)
{
    uint64_t at = entry & OFFSET_MASK;
    uint64_t len;

    if (number > qcow2->size / qcow2->cluster)
        return 0;
    if (entry & COMPRESSED) {
        count_cluster(qcow2, number);
        return check_compressed(qcow2, entry, err);
    }
    /* zeros and nothing have no place; extended entries have no such bit */
    if ((entry & ALL_ZEROS && qcow2->entry == 8) || at == 0)
        return 0;
    count_cluster(qcow2, number);
    len = im_min(qcow2->cluster, qcow2->size - number * qcow2->cluster);
    if (at > qcow2->file->size || len > qcow2->file->size - at)
        return truncated(qcow2, "cluster", at, len, err);
    return 0;
}

/* The table of level 2 that entry i of level 1 names. */
static int check_table(struct qcow2 *qcow2, uint32_t i, uint64_t at, uint8_t *table,
                       struct im_error *err)
{
    uint64_t entries = qcow2->cluster / qcow2->entry;
    int r;

    if (at > qcow2->file->size || qcow2->cluster > qcow2->file->size - at)
        return truncated(qcow2, "table", at, qcow2->cluster, err);
    r = im_source_read(qcow2->file, table, (size_t)qcow2->cluster, at, err);
    for (uint64_t j = 0; r == 0 && j < entries; j++)
        r = check_cluster(qcow2, i * entries + j, im_be64(table + j * qcow2->entry), err);
    return r;
}

static int check_tables(struct qcow2 *qcow2, struct im_error *err)
{
    uint8_t *l1 IM_FREE = malloc((size_t)qcow2->l1_len * 8 + 1);
    uint8_t *table IM_FREE = malloc((size_t)qcow2->cluster);
    int r = l1 && table ? 0 : im_fail(err, ENOMEM, "out of memory");

    if (r == 0)
        r = im_source_read(qcow2->file, l1, (size_t)qcow2->l1_len * 8, qcow2->l1_at, err);
    for (uint32_t i = 0; r == 0 && i < qcow2->l1_len; i++) {
        uint64_t at = im_be64(l1 + (size_t)i * 8) & OFFSET_MASK;

        r = im_cancel_check(err);
        if (r == 0 && at)
            r = check_table(qcow2, i, at, table, err);
    }
    return r;
}

/* qemu-img reads zeros past the end of the file; its checker finds lost clusters, but not the lost
 * part of one, and where the table of level 1 is lost it finds a blank disk. */
static int prove(struct im_source *file, uint64_t *ret_bytes, struct im_error *err)
{
    uint8_t header[104] = { 0 };
    struct qcow2 qcow2 = { .file = file };
    uint32_t bits;
    size_t len;
    int r = check_header(file, err);

    if (r == 0)
        r = im_source_read_some(file, header, sizeof(header), 0, &len, err);
    if (r < 0)
        return r;
    bits = im_be32(header + 20);
    if (bits < 9 || bits > 21)
        return im_fail_code(err, EBADMSG, "DamagedQcow2",
                            "the qcow2 header gives clusters of 2^%" PRIu32
                            " bytes; 2^9 to 2^21 are possible",
                            bits);
    qcow2.bits = bits;
    qcow2.cluster = UINT64_C(1) << bits;
    qcow2.size = im_be64(header + 24);
    qcow2.l1_len = im_be32(header + 36);
    qcow2.l1_at = im_be64(header + 40);
    qcow2.entry = im_be32(header + 4) == 3 && im_be64(header + 72) & FEATURE_EXTENDED_L2 ? 16 : 8;
    if (qcow2.l1_len > L1_MAX)
        return im_fail_code(err, EBADMSG, "DamagedQcow2",
                            "the qcow2 image has %" PRIu32 " entries of level 1, more than %u",
                            qcow2.l1_len, L1_MAX);
    r = check_tables(&qcow2, err);
    if (r == 0)
        *ret_bytes = qcow2.used;
    return r;
}

/* "Header": size, at byte 24. */
static int plan(struct im_source *source, struct im_disk **ret_disk, struct im_error *err)
{
    uint8_t size[8];
    int r = im_source_read(source, size, sizeof(size), 24, err);
    struct im_disk *disk = r < 0 ? NULL : im_disk_unread(im_be64(size));

    if (r == 0 && !disk)
        r = im_fail(err, ENOMEM, "out of memory");
    if (r == 0)
        *ret_disk = disk;
    return r;
}

static int qcow2_open(struct im_source *source, const struct im_open *options,
                      struct im_disk **ret_disk, struct im_error *err)
{
    int r = check_header(source, err);

    if (r == 0 && options->planning)
        return plan(source, ret_disk, err);
    return r < 0 ? r : im_qemu_img_open(source, "qcow2", prove, options, ret_disk, err);
}

static int qcow2_required_capacity(struct im_source *source, const struct im_open *options,
                                   uint64_t *ret_bytes, struct im_error *err)
{
    uint8_t header[32];
    int r = check_header(source, err);

    (void)options;
    if (r == 0)
        r = im_source_read(source, header, sizeof(header), 0, err);
    return r < 0 ? r : im_qemu_img_capacity(source, im_be64(header + 24), prove, ret_bytes, err);
}

static int qcow2_encode(struct im_disk *disk, struct im_store *store,
                        const struct im_encode *options, struct im_progress *progress,
                        struct im_copy_result *ret_result, struct im_error *err)
{
    return im_qemu_img_encode(disk, store, "qcow2", options, progress, ret_result, err);
}

static const char *const subformats[] = { "sparse", NULL };

const struct im_format im_format_qcow2 = {
    .name = "qcow2",
    .summary = "QEMU copy-on-write version 2 and 3, without backing or data file",
    .needs = IM_QEMU_IMG,
    .probe = qcow2_probe,
    .open = qcow2_open,
    .required_capacity = qcow2_required_capacity,
    .subformats = subformats,
    .encode = qcow2_encode,
    .encode_capacity = im_qemu_img_encode_capacity,
};

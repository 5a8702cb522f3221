/* vhdx - Hyper-V disk images, fixed and dynamic: identifier, headers, log, and the way they open.
 *
 * Decisions where the specification or practice leaves a choice:
 * - One valid header is enough: they are written in turns, so that one of them survives whatever
 *   interrupts that (2.2.2).  Of two valid ones with the same number neither is believed, unless
 *   they are the same.
 * - The region tables are only ever changed through the log, so once it is empty both must be right
 *   and the same: what differs was damaged on the way.
 * - A log that must be replayed is refused; replaying it is the work of who wrote it.
 * - Blocks in a state without contents (not present, undefined, zero, unmapped) read as zeros.
 * - The last block may end in the file where the disk ends, as in fixed images of qemu-img. */

#include <config.h>

#include "format/vhdx.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "core/format.h"

#define HEADER_LEN   4096u /* 2.2.2 */
#define FIRST_HEADER 65536u
#define OTHER_HEADER 131072u
/* Identifier, headers and region tables (2.2): less than one window. */
#define FRONT (VHDX_REGION_TABLES + 2 * VHDX_REGION_TABLE)

/* Field offsets: of the file type identifier (2.2.1), then of a header (2.2.2). */
enum {
    IDENTIFIER_CREATOR = 8, /* 256 UTF-16 units */
    HEADER_SEQUENCE = 8,
    HEADER_LOG_GUID = 48,
    HEADER_LOG_VERSION = 64,
    HEADER_VERSION = 66,
    HEADER_LOG_LENGTH = 68,
    HEADER_LOG_OFFSET = 72,
};

static const char identifier[8] = { 'v', 'h', 'd', 'x', 'f', 'i', 'l', 'e' };

static enum im_bid vhdx_probe(const struct im_probe *probe)
{
    return probe->head_len >= sizeof(identifier) &&
                   memcmp(probe->head, identifier, sizeof(identifier)) == 0
               ? IM_BID_CERTAIN
               : IM_BID_NO;
}

int vhdx_claim(struct vhdx *vhdx, const char *what, uint64_t start, uint64_t len,
               struct im_error *err)
{
    struct vhdx_span span = { .start = start, .what = what };

    if (__builtin_add_overflow(start, len, &span.end) || span.end > vhdx->disk.source->size)
        return vhdx_damaged(err,
                            "the %s at byte %" PRIu64 " with %" PRIu64
                            " bytes does not lie inside the file: it is truncated",
                            what, start, len);
    if (len > 0)
        vhdx->span[vhdx->spans++] = span;
    return 0;
}

static int by_start(const void *a, const void *b)
{
    const struct vhdx_span *x = a;
    const struct vhdx_span *y = b;

    return (x->start > y->start) - (x->start < y->start);
}

int vhdx_sort_spans(struct vhdx_span *span, size_t n, struct im_error *err)
{
    qsort(span, n, sizeof(*span), by_start);
    for (size_t i = 1; i < n; i++)
        if (span[i].start < span[i - 1].end)
            return vhdx_damaged(err, "the %s at byte %" PRIu64 " lies on the %s at byte %" PRIu64,
                                span[i].what, span[i].start, span[i - 1].what, span[i - 1].start);
    return 0;
}

int vhdx_check_sum(const uint8_t *p, size_t len, uint64_t at, const char *signature,
                   const char *what, struct im_error *err)
{
    static const uint8_t zeros[4]; /* what stands for the checksum itself */
    uint32_t stored = im_le32(p + VHDX_CHECKSUM);
    uint32_t sum = im_crc32c(0, p, VHDX_CHECKSUM);

    if (memcmp(p, signature, 4) != 0)
        return vhdx_damaged(err, "there is no %s ('%s') at byte %" PRIu64, what, signature, at);
    sum = im_crc32c(sum, zeros, sizeof(zeros));
    sum = im_crc32c(sum, p + VHDX_CHECKSUM + 4, len - VHDX_CHECKSUM - 4);
    if (stored != sum)
        return vhdx_damaged(err,
                            "the checksum of the %s at byte %" PRIu64 " is 0x%08" PRIx32
                            " but its bytes give 0x%08" PRIx32,
                            what, at, stored, sum);
    return 0;
}

const char *vhdx_guid_text(char buf[VHDX_GUID_TEXT], const uint8_t *guid)
{
    (void)snprintf(buf, VHDX_GUID_TEXT, "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   im_le32(guid), im_le16(guid + 4), im_le16(guid + 6), guid[8], guid[9], guid[10],
                   guid[11], guid[12], guid[13], guid[14], guid[15]);
    return buf;
}

/* Which of the two headers counts (2.2.2). */
static int choose_header(const uint8_t *front, const uint8_t **ret_header, struct im_error *err)
{
    const uint8_t *first = front + FIRST_HEADER;
    const uint8_t *other = front + OTHER_HEADER;
    struct im_error first_fault, other_fault;
    int first_is =
        vhdx_check_sum(first, HEADER_LEN, FIRST_HEADER, "head", "first header", &first_fault);
    int other_is =
        vhdx_check_sum(other, HEADER_LEN, OTHER_HEADER, "head", "second header", &other_fault);

    if (first_is < 0 && other_is < 0)
        return vhdx_damaged(err, "neither header is valid: %s, and %s", first_fault.message,
                            other_fault.message);
    if (first_is == 0 && other_is == 0) {
        uint64_t sequence = im_le64(first + HEADER_SEQUENCE);

        if (sequence == im_le64(other + HEADER_SEQUENCE) && memcmp(first, other, HEADER_LEN) != 0)
            return vhdx_damaged(err,
                                "both headers have sequence number %" PRIu64
                                " but they differ; export the disk again",
                                sequence);
        other_is = im_le64(other + HEADER_SEQUENCE) > sequence ? 0 : -1;
    }
    *ret_header = other_is == 0 ? other : first;
    return 0;
}

/* 2.2.2: the log holds changes that are not in their place yet unless its GUID is zero. */
static int check_log(struct vhdx *vhdx, const uint8_t *header, struct im_error *err)
{
    static const uint8_t none[VHDX_GUID];
    const uint8_t *guid = header + HEADER_LOG_GUID;
    uint64_t offset = im_le64(header + HEADER_LOG_OFFSET);
    uint32_t len = im_le32(header + HEADER_LOG_LENGTH);
    char text[VHDX_GUID_TEXT];

    if (memcmp(guid, none, sizeof(none)) != 0)
        return vhdx_unsupported(err,
                                "the disk was not closed cleanly: its log (%s, %" PRIu32
                                " bytes at byte %" PRIu64
                                ") was not replayed; open and close the image in Hyper-V "
                                "(Mount-VHD, Dismount-VHD) or run 'qemu-img check -r all' on it",
                                vhdx_guid_text(text, guid), len, offset);
    if (offset < VHDX_UNIT || offset % VHDX_UNIT != 0 || len % VHDX_UNIT != 0)
        return vhdx_damaged(err,
                            "the log is at byte %" PRIu64 " with %" PRIu32
                            " bytes; both must be multiples of 1 MiB, the first not 0",
                            offset, len);
    return vhdx_claim(vhdx, "log", offset, len, err);
}

static int check_headers(struct vhdx *vhdx, const uint8_t *front, struct im_error *err)
{
    const uint8_t *header = NULL;
    int r = choose_header(front, &header, err);

    if (r < 0)
        return r;
    if (im_le16(header + HEADER_VERSION) != 1)
        return vhdx_unsupported(err, "the header has format version %u; only 1 can be read",
                                im_le16(header + HEADER_VERSION));
    if (im_le16(header + HEADER_LOG_VERSION) != 0)
        return vhdx_unsupported(err, "the header has log version %u; only 0 is known",
                                im_le16(header + HEADER_LOG_VERSION));
    r = vhdx_claim(vhdx, "header area", 0, VHDX_UNIT, err);
    return r < 0 ? r : check_log(vhdx, header, err);
}

/* 2.2.1: text of any kind, for people only. */
static void take_creator(struct vhdx *vhdx, const uint8_t *utf16)
{
    for (size_t i = 0; i < sizeof(vhdx->creator) - 1; i++) {
        uint16_t unit = im_le16(utf16 + 2 * i);

        if (unit == 0)
            break;
        vhdx->creator[i] = unit >= ' ' && unit <= '~' ? (char)unit : '?';
    }
}

/* Identifier, headers and region tables, which stand at fixed places. */
static int read_front(struct vhdx *vhdx, struct im_error *err)
{
    const uint8_t *front;
    size_t got;
    int r = im_window_peek(&vhdx->window, 0, FRONT, &front, &got, err);

    if (r < 0)
        return r;
    if (got < sizeof(identifier) || memcmp(front, identifier, sizeof(identifier)) != 0)
        return vhdx_damaged(err, "no VHDX header: the file does not begin with 'vhdxfile'");
    if (got < FRONT)
        return vhdx_damaged(err,
                            "the file ends at byte %zu, within the headers and region tables of "
                            "%u bytes: it is truncated",
                            got, FRONT);
    take_creator(vhdx, front + IDENTIFIER_CREATOR);
    r = check_headers(vhdx, front, err);
    return r < 0 ? r : vhdx_read_regions(vhdx, front + VHDX_REGION_TABLES, err);
}

static void vhdx_describe(struct im_disk *disk, struct im_facts *facts)
{
    struct vhdx *vhdx = (struct vhdx *)disk;
    char id[VHDX_GUID_TEXT];

    im_fact(facts, "subformat", "%s", vhdx->fixed ? "fixed" : "dynamic");
    if (*vhdx->creator)
        im_fact(facts, "creator", "%s", vhdx->creator);
    im_fact(facts, "block-size", "%" PRIu32, vhdx->block);
    im_fact(facts, "allocated-blocks", "%" PRIu32, vhdx->allocated);
    im_fact(facts, "sector-size", "%" PRIu32, vhdx->sector);
    im_fact(facts, "physical-sector-size", "%" PRIu32, vhdx->physical_sector);
    im_fact(facts, "disk-id", "%s", vhdx_guid_text(id, vhdx->id));
}

static void vhdx_close(struct im_disk *disk)
{
    struct vhdx *vhdx = (struct vhdx *)disk;

    im_window_done(&vhdx->window);
    free(vhdx->table);
    free(vhdx->order);
    free(vhdx->early);
}

static const struct im_disk_ops vhdx_ops = {
    .name = "vhdx",
    .read = vhdx_read,
    .map = vhdx_map,
    .walk = vhdx_walk,
    .describe = vhdx_describe,
    .close = vhdx_close,
};

static int prove(struct vhdx *vhdx, const struct im_open *options, struct im_error *err)
{
    int r = im_window_init(&vhdx->window, vhdx->disk.source, IM_WINDOW_SIZE, err);

    if (r == 0)
        r = read_front(vhdx, err);
    if (r == 0)
        r = vhdx_keep_bat(vhdx, err);
    if (r == 0)
        r = vhdx_read_metadata(vhdx, err);
    if (r == 0 && vhdx->disk.size > options->max_size)
        r = im_fail(err, EFBIG,
                    "the VHDX holds a disk of %" PRIu64 " bytes, more than the %" PRIu64 " allowed",
                    vhdx->disk.size, options->max_size);
    if (r == 0)
        r = vhdx_read_bat(vhdx, err);
    return r;
}

static int vhdx_open(struct im_source *source, const struct im_open *options,
                     struct im_disk **ret_disk, struct im_error *err)
{
    struct vhdx *vhdx = im_disk_new(sizeof(*vhdx), &vhdx_ops, 0, NULL);
    int r;

    if (!vhdx)
        return im_fail(err, ENOMEM, "out of memory");
    vhdx->disk.source = source;
    r = prove(vhdx, options, err);
    if (r < 0) {
        im_disk_close(&vhdx->disk);
        return r;
    }
    *ret_disk = &vhdx->disk;
    return 0;
}

const struct im_format im_format_vhdx = {
    .name = "vhdx",
    .summary = "Hyper-V, dynamic and fixed",
    .resumes = true,
    .probe = vhdx_probe,
    .open = vhdx_open,
};

/* vhd - Microsoft's virtual hard disk: the footer, and fixed disks.
 *
 * Decisions where the specification or practice leaves a choice:
 * - The size is the footer's current size, never the geometry: CHS rounds down and ends at 127 GiB;
 *   every writer in use sets the field, and the ones whose geometry is smaller mean the field.
 * - A footer of 511 bytes (Virtual PC before 2004) is accepted wherever one of 512 is.
 * - Of two footers that differ neither is believed: the image is refused.
 * - The saved-state flag does not concern the disk's bytes and is ignored; so are the timestamp,
 * the original size and the unique id. */

#include <config.h>

#include "format/vhd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/text.h"
#include "core/format.h"

static const char cookie[8] = { 'c', 'o', 'n', 'e', 'c', 't', 'i', 'x' };

/* Field offsets of the footer. */
enum {
    FOOTER_VERSION = 12,
    FOOTER_HEADER = 16,
    FOOTER_CREATOR = 28,
    FOOTER_CURRENT = 48,
    FOOTER_TYPE = 60,
    FOOTER_CHECKSUM = 64,
};

uint32_t vhd_checksum(const uint8_t *p, size_t len, size_t field)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++)
        if (i < field || i >= field + 4)
            sum += p[i];
    return ~sum;
}

static bool has_cookie(const uint8_t *p)
{
    return memcmp(p, cookie, sizeof(cookie)) == 0;
}

/* Length of the footer in the last 512 bytes of a file; 0 when there is none. */
static size_t footer_in(const uint8_t tail[VHD_FOOTER])
{
    return has_cookie(tail) ? VHD_FOOTER : has_cookie(tail + 1) ? VHD_OLD_FOOTER : 0;
}

static enum im_bid vhd_probe(const struct im_probe *probe)
{
    const uint8_t *footer = probe->tail;
    size_t len;

    /* Eight bytes of magic in the place of a boot sector are no accident. */
    if (probe->head_len >= VHD_FOOTER && has_cookie(probe->head))
        return IM_BID_CERTAIN;
    if (probe->tail_len < VHD_FOOTER || (len = footer_in(footer)) == 0)
        return IM_BID_NO;
    footer += VHD_FOOTER - len;
    /* A disk may end with the footer of an image it holds: ask for the size as well. */
    if (im_be32(footer + FOOTER_CHECKSUM) == vhd_checksum(footer, len, FOOTER_CHECKSUM) &&
        im_be32(footer + FOOTER_TYPE) == VHD_FIXED &&
        im_be64(footer + FOOTER_CURRENT) == probe->size - len)
        return IM_BID_CERTAIN;
    return IM_BID_PLAUSIBLE;
}

static int check_type(const struct vhd_footer *footer, struct im_error *err)
{
    switch (footer->type) {
    case VHD_FIXED:
    case VHD_DYNAMIC:
        return 0;
    case VHD_DIFFERENCING:
        return vhd_unsupported(err, "this VHD is a differencing disk (type 4) and holds only what "
                                    "differs from its parent; merge it into its parent and import "
                                    "the result");
    default:
        return vhd_unsupported(err,
                               "the VHD footer names disk type %" PRIu32
                               "; only 2 (fixed) and 3 (dynamic) can be read",
                               footer->type);
    }
}

static int check_footer(const struct vhd_footer *footer, struct im_error *err)
{
    uint32_t stored = im_be32(footer->raw + FOOTER_CHECKSUM);
    uint32_t sum = vhd_checksum(footer->raw, VHD_FOOTER, FOOTER_CHECKSUM);
    uint32_t version = im_be32(footer->raw + FOOTER_VERSION);

    if (stored != sum)
        return vhd_damaged(err,
                           "the VHD footer's checksum is 0x%08" PRIx32
                           " but its bytes give 0x%08" PRIx32 "; export the disk again",
                           stored, sum);
    if (version >> 16 != 1) /* "Major/minor"; only the major number means incompatible */
        return vhd_unsupported(
            err, "the VHD footer has format version 0x%08" PRIx32 "; only 1.x can be read",
            version);
    if (footer->current == 0 || footer->current % VHD_SECTOR != 0)
        return vhd_damaged(err,
                           "the VHD footer gives the disk %" PRIu64
                           " bytes; a size is a multiple of 512 and not 0",
                           footer->current);
    return check_type(footer, err);
}

int vhd_parse_tail(const uint8_t tail[VHD_FOOTER], struct vhd_footer *ret_footer,
                   struct im_error *err)
{
    size_t len = footer_in(tail);
    struct vhd_footer footer = { .len = len };
    char creator[5] = "";

    if (len == 0)
        return vhd_damaged(err, "there is no VHD footer ('conectix') in the last 512 bytes of the "
                                "file: it is truncated, or no VHD");
    memcpy(footer.raw, tail + VHD_FOOTER - len, len);
    memcpy(creator, footer.raw + FOOTER_CREATOR, 4);
    im_text_printable(footer.creator, sizeof(footer.creator), creator);
    footer.header = im_be64(footer.raw + FOOTER_HEADER);
    footer.current = im_be64(footer.raw + FOOTER_CURRENT);
    footer.type = im_be32(footer.raw + FOOTER_TYPE);
    *ret_footer = footer;
    return check_footer(&footer, err);
}

int vhd_compare_footers(const uint8_t *first, const struct vhd_footer *last, struct im_error *err)
{
    size_t i = 0;

    while (i < last->len && first[i] == last->raw[i])
        i++;
    if (i == last->len)
        return 0;
    i -= i % 4;
    return im_fail_code(err, EBADMSG, "FootersNotIdentical",
                        "Footers not identical: byte %zu of the copy at the start of the file has "
                        "0x%08" PRIx32 " where the footer at its end has 0x%08" PRIx32
                        "; export the disk again",
                        i, im_be32(first + i), im_be32(last->raw + i));
}

static int fixed_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                      struct im_error *err)
{
    return im_source_read(disk->source, buf, len, offset, err);
}

static int fixed_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
                     struct im_error *err)
{
    return im_source_map(disk->source, offset, len, ret, err);
}

static int prove_fixed(struct vhd *vhd, uint64_t size, const uint8_t tail[VHD_FOOTER],
                       struct im_error *err)
{
    int r = vhd_parse_tail(tail, &vhd->footer, err);

    if (r < 0)
        return r;
    if (vhd->footer.type != VHD_FIXED)
        return vhd_damaged(err, "the footer at the end says the VHD is dynamic, but there is no "
                                "copy of it at the start of the file");
    if (vhd->footer.current != size - vhd->footer.len)
        return vhd_damaged(err,
                           "the VHD footer gives the disk %" PRIu64
                           " bytes, but the file holds %" PRIu64
                           " before the footer: it is truncated, or something was added",
                           vhd->footer.current, size - vhd->footer.len);
    return 0;
}

/* What is left when the source has ended: the last data, and the footer that proves all of it. */
static int walk_last(struct vhd *vhd, struct im_sink *sink, const uint8_t *p, size_t len,
                     uint64_t offset, struct im_error *err)
{
    uint64_t size = offset + len;
    int r;

    if (len < VHD_FOOTER)
        return vhd_damaged(err, "the file ends at byte %" PRIu64 ", without a VHD footer", size);
    r = prove_fixed(vhd, size, p + len - VHD_FOOTER, err);
    len -= r == 0 ? vhd->footer.len : 0;
    if (r == 0 && len > 0)
        r = sink->data(sink, p, len, offset, err);
    if (r == 0)
        sink->progress(sink, size, size);
    return r;
}

/* A footer comes last: on standard input the last 512 bytes are held back until it is known whether
 * they are it. */
static int walk_to_the_end(struct vhd *vhd, struct im_sink *sink, struct im_error *err)
{
    uint64_t offset = 0;

    for (;;) {
        const uint8_t *p;
        size_t got;
        int r = im_window_peek(&vhd->window, offset, IM_WINDOW_SIZE + VHD_FOOTER, &p, &got, err);

        if (r < 0)
            return r;
        if (got < IM_WINDOW_SIZE + VHD_FOOTER)
            return walk_last(vhd, sink, p, got, offset, err);
        r = sink->data(sink, p, IM_WINDOW_SIZE, offset, err);
        if (r < 0)
            return r;
        offset += IM_WINDOW_SIZE;
        sink->progress(sink, offset, vhd->disk.source->size);
    }
}

static int fixed_walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    if (disk->size == IM_SIZE_UNKNOWN)
        return walk_to_the_end((struct vhd *)disk, sink, err);
    sink->progress(sink, 0, disk->size);
    return im_window_place(&((struct vhd *)disk)->window, sink, 0, disk->size, 0, err);
}

void vhd_describe(struct im_disk *disk, struct im_facts *facts)
{
    struct vhd *vhd = (struct vhd *)disk;

    im_fact(facts, "subformat", "%s", vhd->table ? "dynamic" : "fixed");
    if (vhd->footer.len > 0)
        im_fact(facts, "creator", "%s", vhd->footer.creator);
    if (vhd->table) {
        im_fact(facts, "block-size", "%" PRIu32, vhd->block);
        im_fact(facts, "allocated-blocks", "%" PRIu32, vhd->allocated);
    }
}

void vhd_close(struct im_disk *disk)
{
    struct vhd *vhd = (struct vhd *)disk;

    im_window_done(&vhd->window);
    free(vhd->table);
    free(vhd->order);
    free(vhd->bitmap);
}

static const struct im_disk_ops fixed_ops = {
    .name = "vhd-fixed",
    .read = fixed_read,
    .map = fixed_map,
    .walk = fixed_walk,
    .describe = vhd_describe,
    .close = vhd_close,
};

/* Standard input: a dynamic disk is known by its first bytes, whatever else by its last. */
static int open_sequential(struct vhd *vhd, const uint8_t head[VHD_FOOTER], struct im_error *err)
{
    int r;

    vhd->end = IM_SIZE_UNKNOWN;
    if (!has_cookie(head)) {
        vhd->disk.size = IM_SIZE_UNKNOWN;
        return 0;
    }
    r = vhd_parse_tail(head, &vhd->footer, err);
    if (r == 0 && vhd->footer.type == VHD_FIXED) {
        memset(&vhd->footer, 0, sizeof(vhd->footer)); /* the disk's own first sector */
        vhd->disk.size = IM_SIZE_UNKNOWN;
    }
    return r;
}

static int open_whole(struct vhd *vhd, const uint8_t head[VHD_FOOTER], struct im_error *err)
{
    struct im_source *source = vhd->disk.source;
    uint8_t tail[VHD_FOOTER];
    int r = im_source_read(source, tail, sizeof(tail), source->size - sizeof(tail), err);

    if (r == 0)
        r = vhd_parse_tail(tail, &vhd->footer, err);
    if (r < 0)
        return r;
    vhd->end = source->size - vhd->footer.len;
    if (vhd->footer.type == VHD_DYNAMIC)
        return vhd_compare_footers(head, &vhd->footer, err);
    return prove_fixed(vhd, source->size, tail, err);
}

static int open_footer(struct vhd *vhd, const struct im_open *options, struct im_error *err)
{
    struct im_source *source = vhd->disk.source;
    uint8_t head[VHD_FOOTER];
    size_t got;
    int r = im_source_read_some(source, head, sizeof(head), 0, &got, err);

    if (r < 0)
        return r;
    if (got < sizeof(head))
        return vhd_damaged(err, "the file has only %zu bytes, less than a VHD footer", got);
    r = source->sequential ? open_sequential(vhd, head, err) : open_whole(vhd, head, err);
    if (r < 0 || vhd->disk.size == IM_SIZE_UNKNOWN)
        return r;
    vhd->disk.size = vhd->footer.current;
    if (vhd->disk.size > options->max_size)
        return im_fail(err, EFBIG,
                       "the VHD holds a disk of %" PRIu64 " bytes, more than the %" PRIu64
                       " allowed",
                       vhd->disk.size, options->max_size);
    return 0;
}

static int vhd_open(struct im_source *source, const struct im_open *options,
                    struct im_disk **ret_disk, struct im_error *err)
{
    struct vhd *vhd = im_disk_new(sizeof(*vhd), &fixed_ops, 0, NULL);
    int r;

    if (!vhd)
        return im_fail(err, ENOMEM, "out of memory");
    vhd->disk.source = source;
    /* twice, so that one piece and the footer held back fit, and pieces stay aligned */
    r = im_window_init(&vhd->window, source, 2 * IM_WINDOW_SIZE, err);
    if (r == 0)
        r = open_footer(vhd, options, err);
    if (r == 0 && vhd->footer.type == VHD_DYNAMIC) {
        vhd->disk.ops = &vhd_dynamic_ops;
        r = vhd_dynamic_open(vhd, err);
    }
    if (r < 0) {
        im_disk_close(&vhd->disk);
        return r;
    }
    *ret_disk = &vhd->disk;
    return 0;
}

static const char *const aliases[] = { "vpc", NULL };
static const char *const subformats[] = { "dynamic", "fixed", NULL };

const struct im_format im_format_vhd = {
    .name = "vhd",
    .aliases = aliases,
    .summary = "Microsoft virtual hard disk, fixed or dynamic",
    .resumes = true,
    .probe = vhd_probe,
    .open = vhd_open,
    .subformats = subformats,
    .encode = vhd_encode,
};

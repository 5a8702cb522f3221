/* vmdk-stream - stream-optimized images: "Stream-Optimized Compressed Sparse Extents".
 *
 * Behind the overhead stand grains, each a marker (its place on the disk, its length) and a zlib
 * stream, padded to whole sectors.  The tables are in one of three places:
 *   between and behind the grains, with markers of their own, then a footer that repeats the
 * header, then an end-of-stream marker (VMware, VirtualBox since 4); in front, named by the header,
 * and nothing behind the grains (qemu-img); in front, but named only by a footer at the end
 * (VirtualBox before 4); not from a pipe, where they have gone by when it comes.
 *
 * An image that ends with an end-of-stream marker, which is a sector of zeros, is refused without
 * it, although all data may be there: it looks the same as an upload that was cut off.  What may be
 * missing is padding to a whole sector behind the very last grain, since no reader needs it.
 *
 * The walk (vmdk-walk.c) proves everything: no grain twice; the tables say what was walked; every
 * table belongs to the directory; footer and header agree; nothing is missing or left over.  A disk
 * that is to be read at random is walked once without a sink. */

#include <config.h>

#include "format/vmdk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

int vmdk_check_footer(const struct vmdk *vmdk, const uint8_t *footer, uint64_t at,
                      struct im_error *err)
{
    const uint8_t *header = vmdk->header.raw;

    for (size_t i = 0; i < VMDK_SECTOR; i++) {
        if ((i >= VMDK_REDUNDANT_AT && i < VMDK_DIRECTORY_AT + 8) || header[i] == footer[i])
            continue;
        i -= i % 4;
        return im_fail_code(err, EBADMSG, "FootersNotIdentical",
                            "the VMDK footer at byte %" PRIu64
                            " is not the header: its byte %zu has 0x%08" PRIx32
                            " where the header has 0x%08" PRIx32 "; export the disk again",
                            at, i, im_le32(footer + i), im_le32(header + i));
    }
    return 0;
}

/* Before anything is given at random, all of the file must be proven. */
static int need_proof(struct vmdk *vmdk, struct im_error *err)
{
    if (vmdk->proven)
        return 0;
    if (vmdk->disk.source->sequential)
        return vmdk_unsupported(err, "a stream-optimized VMDK from a pipe can only be converted "
                                     "forwards; give it as a file");
    return vmdk_walk(vmdk, NULL, err);
}

static int stream_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                       struct im_error *err)
{
    struct vmdk *vmdk = (struct vmdk *)disk;
    uint8_t *out = buf;
    int r = need_proof(vmdk, err);

    while (r == 0 && len > 0) {
        uint32_t grain = (uint32_t)(offset / vmdk_grain_bytes(vmdk));
        uint64_t within = offset % vmdk_grain_bytes(vmdk);
        size_t some = (size_t)im_min(len, vmdk_grain_bytes(vmdk) - within);
        uint32_t sector;

        r = vmdk_find(vmdk, grain, &sector, err);
        if (r == 0 && sector)
            r = vmdk_load_grain(vmdk, grain, sector, err);
        if (r == 0 && sector)
            memcpy(out, vmdk->plain + within, some);
        else
            memset(out, 0, some);
        out += some;
        offset += some;
        len -= some;
    }
    return r;
}

static int stream_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
                      struct im_error *err)
{
    struct vmdk *vmdk = (struct vmdk *)disk;
    int r = need_proof(vmdk, err);

    return r < 0 ? r : vmdk_map(vmdk, offset, len, ret, err);
}

static int stream_walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    return vmdk_walk((struct vmdk *)disk, sink, err);
}

/* A cut-off upload is told at once, not after all of it has been read: the end-of-stream marker (or
 * the padding behind it) is zeros, and the footer stands before the marker. */
static int look_at_the_end(struct vmdk *vmdk, struct im_error *err)
{
    static const uint8_t zeros[VMDK_SECTOR];
    uint8_t tail[2 * VMDK_SECTOR];
    struct im_source *source = vmdk->disk.source;
    uint64_t at = source->size - sizeof(tail);
    int r = im_source_read(source, tail, sizeof(tail), at, err);

    if (r < 0)
        return r;
    if (source->size % VMDK_SECTOR != 0 || memcmp(tail + VMDK_SECTOR, zeros, VMDK_SECTOR) != 0)
        return vmdk_damaged(err,
                            "the file ends at byte %" PRIu64
                            " without an end-of-stream marker: it is truncated",
                            source->size);
    if (memcmp(tail, "KDMV", 4) != 0)
        return 0;
    r = vmdk_check_footer(vmdk, tail, at, err);
    if (r == 0 && vmdk->footer && im_le64(tail + VMDK_DIRECTORY_AT) < vmdk->header.overhead) {
        vmdk->header.directory = im_le64(tail + VMDK_DIRECTORY_AT);
        vmdk->header.redundant = im_le64(tail + VMDK_REDUNDANT_AT);
    }
    return r;
}

static int load_front_tables(struct vmdk *vmdk, struct im_error *err)
{
    int r = vmdk_load_tables(vmdk, err);

    if (r == 0 && vmdk->claims[vmdk->claims_len - 1].end > vmdk->header.overhead)
        r = vmdk_damaged(err,
                         "the %s reach to sector %" PRIu64 ", but the grains begin at %" PRIu64,
                         vmdk->claims[vmdk->claims_len - 1].what,
                         vmdk->claims[vmdk->claims_len - 1].end, vmdk->header.overhead);
    return r;
}

int vmdk_stream_open(struct vmdk *vmdk, struct im_error *err)
{
    int r = 0;

    vmdk->plain_grain = UINT32_MAX;
    vmdk->footer = vmdk->header.directory == VMDK_AT_END;
    if (!vmdk_tables_in_front(vmdk) && !vmdk->disk.source->sequential)
        r = look_at_the_end(vmdk, err);
    if (r < 0 || vmdk_tables_in_front(vmdk))
        return r < 0 ? r : load_front_tables(vmdk, err);
    vmdk->prints = calloc(vmdk->tables, sizeof(*vmdk->prints));
    return vmdk->prints ? 0 : im_fail(err, ENOMEM, "out of memory");
}

const struct im_disk_ops vmdk_stream_ops = {
    .name = "vmdk-stream",
    .read = stream_read,
    .map = stream_map,
    .walk = stream_walk,
    .describe = vmdk_describe,
    .close = vmdk_close,
};

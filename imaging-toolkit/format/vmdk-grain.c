/* vmdk-grain - one compressed grain: its marker, and what it inflates to. */

#include <config.h>

#include "format/vmdk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "core/inflate.h"

/* More than any encoder makes of a grain: even stored blocks of 64 bytes add only 5 to each. */
static size_t packed_max(const struct vmdk *vmdk)
{
    return (size_t)(vmdk_grain_bytes(vmdk) + vmdk_grain_bytes(vmdk) / 8 + 64);
}

int vmdk_check_marker(const struct vmdk *vmdk, uint64_t lba, uint32_t len, uint64_t at,
                      struct im_error *err)
{
    if (lba >= vmdk->header.capacity || lba % vmdk->header.grain != 0)
        return vmdk_damaged(err,
                            "the marker at byte %" PRIu64 " is for disk sector %" PRIu64
                            "; it must be a multiple of %" PRIu64 " below %" PRIu64,
                            at, lba, vmdk->header.grain, vmdk->header.capacity);
    if (len > packed_max(vmdk))
        return vmdk_damaged(err,
                            "the grain at byte %" PRIu64 " has %" PRIu32
                            " compressed bytes; a grain of %" PRIu64 " takes at most %zu",
                            at, len, vmdk_grain_bytes(vmdk), packed_max(vmdk));
    return 0;
}

int vmdk_inflate(struct vmdk *vmdk, const uint8_t *zlib, size_t len, uint32_t grain,
                 uint64_t origin, struct im_error *err)
{
    size_t whole = (size_t)vmdk_grain_bytes(vmdk);
    size_t part = (size_t)vmdk_grain_sectors(vmdk, grain) * VMDK_SECTOR;
    size_t got = 0;
    int r;

    if (!vmdk->plain)
        vmdk->plain = malloc(whole);
    if (!vmdk->zlib)
        vmdk->zlib = im_zlib_new();
    if (!vmdk->plain || !vmdk->zlib)
        return im_fail(err, ENOMEM, "out of memory");
    vmdk->plain_grain = UINT32_MAX;
    r = im_zlib_inflate(vmdk->zlib, zlib, len, vmdk->plain, whole, &got);
    if (r == -EFBIG || (r == 0 && got != whole && got != part))
        return im_fail_code(err, EBADMSG, "GrainLength",
                            "Uncompressed data has an invalid length: grain %" PRIu32
                            " at byte %" PRIu64 " of the file inflates to %s%zu bytes where %zu "
                            "are needed",
                            grain, origin, r == 0 ? "" : "more than ", r == 0 ? got : whole, part);
    if (r < 0)
        return im_fail_code(err, EBADMSG, "DamagedGrain",
                            "grain %" PRIu32 " at byte %" PRIu64
                            " of the file (%zu bytes) is not a whole zlib stream with a right "
                            "checksum",
                            grain, origin, len);
    vmdk->plain_grain = grain;
    return 0;
}

int vmdk_load_grain(struct vmdk *vmdk, uint32_t grain, uint32_t sector, struct im_error *err)
{
    uint64_t at = (uint64_t)sector * VMDK_SECTOR;
    uint8_t marker[VMDK_MARKER_LEN];
    uint32_t len;
    int r;

    if (vmdk->plain_grain == grain)
        return 0;
    if (!vmdk->packed)
        vmdk->packed = malloc(packed_max(vmdk));
    if (!vmdk->packed)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_source_read(vmdk->disk.source, marker, sizeof(marker), at, err);
    if (r < 0)
        return r;
    len = im_le32(marker + 8);
    r = vmdk_check_marker(vmdk, im_le64(marker), len, at, err);
    if (r == 0)
        r = im_source_read(vmdk->disk.source, vmdk->packed, len, at + VMDK_MARKER_LEN, err);
    return r < 0 ? r : vmdk_inflate(vmdk, vmdk->packed, len, grain, at + VMDK_MARKER_LEN, err);
}

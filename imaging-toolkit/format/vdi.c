/* vdi - VirtualBox disk images, by qemu-img; differencing images are refused here first. */

#include <config.h>

#include <errno.h>

#include "base/bytes.h"
#include "box/qemu-img.h"
#include "core/format.h"

#define SIGNATURE    0xbeda107fu
#define SIGNATURE_AT 0x40
#define VERSION_AT   0x44
#define TYPE_AT      0x4c
#define VERSION_1_1  0x00010001u

enum { TYPE_DYNAMIC = 1, TYPE_STATIC = 2 };

static enum im_bid vdi_probe(const struct im_probe *probe)
{
    if (probe->head_len < 512 || im_le32(probe->head + SIGNATURE_AT) != SIGNATURE)
        return IM_BID_NO;
    return im_le32(probe->head + VERSION_AT) == VERSION_1_1 ? IM_BID_CERTAIN : IM_BID_PLAUSIBLE;
}

static int vdi_open(struct im_source *source, const struct im_open *options,
                    struct im_disk **ret_disk, struct im_error *err)
{
    uint8_t header[512];
    uint32_t type;
    int r = im_source_read(source, header, sizeof(header), 0, err);

    if (r < 0)
        return r;
    if (im_le32(header + SIGNATURE_AT) != SIGNATURE)
        return im_fail(err, EBADMSG, "no VDI header: byte 64 holds 0x%08x, not 0x%08x",
                       im_le32(header + SIGNATURE_AT), SIGNATURE);
    type = im_le32(header + TYPE_AT);
    if (type != TYPE_DYNAMIC && type != TYPE_STATIC)
        return im_fail(err, EOPNOTSUPP,
                       "VDI type %u is neither dynamic (1) nor static (2); clone the disk to a "
                       "whole one first",
                       type);
    return im_qemu_img_open(source, "vdi", options, ret_disk, err);
}

const struct im_format im_format_vdi = {
    .name = "vdi",
    .summary = "VirtualBox, dynamic and static",
    .needs = IM_QEMU_IMG,
    .probe = vdi_probe,
    .open = vdi_open,
};

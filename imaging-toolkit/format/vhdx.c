/* vhdx - Hyper-V disk images, by qemu-img, which refuses parents and logs that need replay.
 *
 * [MS-VHDX] 2.2.1: the file type identifier. */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "box/qemu-img.h"
#include "core/format.h"

static enum im_bid vhdx_probe(const struct im_probe *probe)
{
    return probe->head_len >= 8 && memcmp(probe->head, "vhdxfile", 8) == 0 ? IM_BID_CERTAIN
                                                                           : IM_BID_NO;
}

static int vhdx_open(struct im_source *source, const struct im_open *options,
                     struct im_disk **ret_disk, struct im_error *err)
{
    char identifier[8];
    int r = im_source_read(source, identifier, sizeof(identifier), 0, err);

    if (r < 0)
        return r;
    if (memcmp(identifier, "vhdxfile", sizeof(identifier)) != 0)
        return im_fail(err, EBADMSG, "no VHDX header: the file does not begin with 'vhdxfile'");
    return im_qemu_img_open(source, "vhdx", options, ret_disk, err);
}

const struct im_format im_format_vhdx = {
    .name = "vhdx",
    .summary = "Hyper-V, dynamic and fixed",
    .needs = IM_QEMU_IMG,
    .probe = vhdx_probe,
    .open = vhdx_open,
};

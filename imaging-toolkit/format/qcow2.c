/* qcow2 - QEMU's copy-on-write images, by qemu-img; what names another file is refused here first.
 *
 * docs/interop/qcow2.txt of QEMU, "Header". */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "box/qemu-img.h"
#include "core/format.h"

#define MAGIC 0x514649fbu /* "QFI\xfb" */

/* Incompatible features that only describe the image itself: dirty, compression type, extended L2.
 */
#define FEATURES_FINE     UINT64_C(0x19)
#define FEATURE_CORRUPT   UINT64_C(0x02)
#define FEATURE_DATA_FILE UINT64_C(0x04)

static enum im_bid qcow2_probe(const struct im_probe *probe)
{
    uint32_t version = im_be32(probe->head + 4);

    if (probe->head_len < 72 || im_be32(probe->head) != MAGIC)
        return IM_BID_NO;
    return version == 2 || version == 3 ? IM_BID_CERTAIN : IM_BID_PLAUSIBLE;
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
    if (len < 72 || im_be32(header) != MAGIC)
        return im_fail(err, EBADMSG, "no qcow2 header: the first four bytes are 0x%08x, not 0x%08x",
                       im_be32(header), MAGIC);
    if (version != 2 && version != 3)
        return im_fail(err, EOPNOTSUPP, "qcow2 version %u is not 2 or 3", version);
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

static int qcow2_open(struct im_source *source, const struct im_open *options,
                      struct im_disk **ret_disk, struct im_error *err)
{
    int r = check_header(source, err);

    return r < 0 ? r : im_qemu_img_open(source, "qcow2", options, ret_disk, err);
}

const struct im_format im_format_qcow2 = {
    .name = "qcow2",
    .summary = "QEMU copy-on-write version 2 and 3, without backing or data file",
    .needs = IM_QEMU_IMG,
    .probe = qcow2_probe,
    .open = qcow2_open,
};

/* fuzz-qcow2-header - what our look at a qcow2 header lets through to qemu-img.
 *
 * It must not name another file, whatever else is wrong with it; docs/interop/qcow2.txt of QEMU,
 * "Header". */

#include <config.h>

#include "fuzz/fuzz-image.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"

extern const struct im_format im_format_qcow2;

static void check(const struct fuzz_image *image, const struct im_disk *disk)
{
    uint8_t header[104];

    (void)disk;
    fuzz_get(image, 0, 0, header, sizeof(header));
    if (memcmp(header, "QFI\xfb", 4) != 0 || im_be64(header + 8) != 0 || im_be32(header + 32) != 0)
        fuzz_fault("magic, backing file or encryption is let through");
    if (im_be32(header + 4) == 3 && im_be64(header + 72) & ~UINT64_C(0x19))
        fuzz_fault("features 0x%" PRIx64 " are let through", im_be64(header + 72));
    if (im_be32(header + 4) != 3 && im_be32(header + 4) != 2)
        fuzz_fault("version %" PRIu32 " is let through", im_be32(header + 4));
}

const struct fuzz_target fuzz_target = {
    .format = &im_format_qcow2,
    .name = "disk.qcow2",
    .check = check,
};

/* fuzz-vmdk-sparse - monolithicSparse VMDK. */

#include <config.h>

#include "fuzz/fuzz-vmdk.h"

extern const struct im_format im_format_vmdk;

static void repair(struct fuzz_image *image)
{
    struct fuzz_vmdk vmdk;

    if (!fuzz_vmdk_parse(image, 0, &vmdk))
        return;
    if (fuzz_mostly())
        fuzz_vmdk_repair_line(image, 0, vmdk.text % FUZZ_FILE_MAX * FUZZ_SECTOR, " SPARSE",
                              vmdk.capacity);
    if (fuzz_mostly())
        fuzz_vmdk_repair_copy(image, &vmdk);
}

const struct fuzz_target fuzz_target = {
    .format = &im_format_vmdk,
    .name = "disk.vmdk",
    .repair = repair,
};

/* fuzz-vmdk-descriptor - a VMDK of several files: a text, and flat or sparse extents beside it.
 *
 * The extents are real files in a directory of this process, named x1.vmdk to x3.vmdk. */

#include <config.h>

#include "fuzz/fuzz-vmdk.h"

#include <stdio.h>

extern const struct im_format im_format_vmdk;

static void repair(struct fuzz_image *image)
{
    for (unsigned file = 1; file < FUZZ_FILES; file++) {
        struct fuzz_vmdk vmdk;
        char words[32];

        if (!fuzz_vmdk_parse(image, file, &vmdk))
            continue;
        (void)snprintf(words, sizeof(words), " SPARSE \"x%u.vmdk\"", file);
        if (fuzz_mostly())
            fuzz_vmdk_repair_line(image, 0, 0, words, vmdk.capacity);
        if (fuzz_mostly())
            fuzz_vmdk_repair_copy(image, &vmdk);
    }
}

const struct fuzz_target fuzz_target = {
    .format = &im_format_vmdk,
    .name = "disk.vmdk",
    .repair = repair,
};

/* fuzz-raw - anything, declared as raw: every format looks at it first, and the window carries it.
 */

#include <config.h>

#include "fuzz/fuzz-image.h"

extern const struct im_format im_format_raw;

const struct fuzz_target fuzz_target = {
    .format = &im_format_raw,
    .probed = true,
    .name = "disk.img",
};

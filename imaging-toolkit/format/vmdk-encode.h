/* vmdk-encode - the encoder of format/vmdk.c. */
#pragma once

#include "core/format.h"

/* im_format.encode: a stream-optimized VMDK.  Errors: -EFBIG, -EINVAL (no bytes), -EOPNOTSUPP (size
 * unknown), the disk's, the store's, -ECANCELED. */
int vmdk_encode(struct im_disk *disk, struct im_store *store, const struct im_encode *options,
                struct im_progress *progress, struct im_copy_result *ret_result,
                struct im_error *err);

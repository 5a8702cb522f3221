/* packed - how people say what an image is and what it is packed in: "vmdk", "raw.gz", "ova". */
#pragma once

#include "base/error.h"
#include "core/format.h"
#include "core/job.h"
#include "unpack/unpack.h"

/* Read "FORMAT", "FORMAT.gz", ".xz", ".zip", ".ova", or "ova" for "vmdk.ova".  -EINVAL. */
int im_packed_parse(const char *text, const struct im_format **ret_format,
                    enum im_packing *ret_packing, struct im_error *err);

/* Let the job, which has its format and its largest size, take the image out of packing; disk (may
 * be NULL) says which one.  -EINVAL. */
int im_packed_add(struct im_job *job, enum im_packing packing, const char *disk,
                  struct im_error *err);

/* decode - the disk that an image holds.
 *
 * The job opens it by a format (core/format.h); this says to it by which. */

#include <config.h>

#include "core/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int set_extents(const char *dir, struct im_job *job, struct im_error *err)
{
    if (!dir)
        return 0;
    job->extents = strdup(dir);
    return job->extents ? 0 : im_fail(err, ENOMEM, "out of memory");
}

static int decode_order(const struct im_args *args, struct im_job *job, struct im_error *err)
{
    const char *name = im_arg_text(args, "format");

    job->max_size = im_arg_number(args, "max-size", UINT64_MAX);
    if (strcmp(name, "auto") != 0) {
        job->format = im_format_find(name);
        if (!job->format)
            return im_fail(err, EINVAL,
                           "format=%s is not a format; there are raw, vmdk, vhd (vpc), vhdx, vdi, "
                           "qcow2, and auto",
                           name);
    }
    return set_extents(im_arg_text(args, "extents"), job, err);
}

static const struct im_param params[] = {
    { "format", IM_PARAM_TEXT, true, NULL,
      "raw, vmdk, vhd (vpc), vhdx, vdi or qcow2; auto: recognised by its bytes, not through a "
      "pipe" },
    { "extents", IM_PARAM_TEXT, false, NULL,
      "directory of the other files of a split or flat VMDK" },
    { "max-size", IM_PARAM_SIZE, false, NULL, "a larger disk is refused" },
    { 0 },
};

const struct im_stage im_stage_decode = {
    .name = "decode",
    .summary = "the disk that an image holds",
    .class = IM_CONVERTER,
    .takes = IM_BYTES,
    .gives = IM_DISK,
    .params = params,
    .order = decode_order,
};

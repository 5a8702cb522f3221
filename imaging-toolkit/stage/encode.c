/* encode - a disk as an image.
 *
 * The job writes it by a format (core/format.h); this says to it by which. */

#include <config.h>

#include "core/job.h"

#include <errno.h>

static int encode_order(const struct im_args *args, struct im_job *job, struct im_error *err)
{
    const char *level = im_arg_text(args, "level");
    int r = im_job_set_output(job, im_arg_text(args, "to"), im_arg_text(args, "subformat"), err);

    job->round_up = im_arg_number(args, "round-up", 0);
    return r < 0 || !level ? r : im_level_parse(level, &job->level, err);
}

static const char *const levels[] = { "fast", "best", NULL };

static const struct im_param params[] = {
    { "to", IM_PARAM_TEXT, true, NULL, "raw, vmdk (stream-optimized), vhd or qcow2" },
    { "subformat", IM_PARAM_TEXT, false, NULL, "of vhd: dynamic or fixed" },
    { "level", IM_PARAM_CHOICE, false, levels, "how hard vmdk is compressed" },
    { "round-up", IM_PARAM_SIZE, false, NULL, "enlarge the disk to a multiple of so many bytes" },
    { 0 },
};

const struct im_stage im_stage_encode = {
    .name = "encode",
    .summary = "a disk as an image",
    .class = IM_CONVERTER,
    .takes = IM_DISK,
    .gives = IM_BYTES,
    .params = params,
    .order = encode_order,
};

/* store - where the bytes go: a file that appears when it is whole, or standard output.
 *
 * The job writes them (core/store.h); this says to it where. */

#include <config.h>

#include "core/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int store_order(const struct im_args *args, struct im_job *job, struct im_error *err)
{
    const char *digests = im_arg_text(args, "digest");

    job->force = im_arg_flag(args, "force");
    job->resume = im_arg_flag(args, "resume");
    job->no_sync = im_arg_number(args, "sync", 1) == 0;
    job->store = strdup(im_arg_text(args, "to"));
    if (!job->store)
        return im_fail(err, ENOMEM, "out of memory");
    return digests ? im_digest_parse(digests, &job->digests, err) : 0;
}

static const struct im_param params[] = {
    { "to", IM_PARAM_TEXT, true, NULL, "a path, or '-' (standard output)" },
    { "force", IM_PARAM_FLAG, false, NULL, "replace what is there" },
    { "digest", IM_PARAM_TEXT, false, NULL,
      "fs-verity, sha256 or both (with a comma), into PATH.manifest.json; none" },
    { "resume", IM_PARAM_FLAG, false, NULL,
      "when interrupted, leave what was done in PATH.partial and go on from it" },
    { "sync", IM_PARAM_FLAG, false, NULL, "wait until the bytes are on the disk (default: yes)" },
    { 0 },
};

const struct im_stage im_stage_store = {
    .name = "store",
    .summary = "into a file, which is there only when it is whole, or standard output",
    .class = IM_TRANSFER,
    .takes = IM_BYTES,
    .gives = IM_NOTHING,
    .params = params,
    .order = store_order,
};

/* fetch - the bytes of a file, an URL, standard input, or the parts of an import manifest.
 *
 * The job opens what is named (core/source.h); this says to it what. */

#include <config.h>

#include "core/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int fetch_order(const struct im_args *args, struct im_job *job, struct im_error *err)
{
    job->bytes = im_arg_number(args, "bytes", 0);
    job->source = strdup(im_arg_text(args, "from"));
    return job->source ? 0 : im_fail(err, ENOMEM, "out of memory");
}

static const struct im_param params[] = {
    { "from", IM_PARAM_TEXT, true, NULL,
      "a path, '-' (standard input), an http(s) URL, or manifest:PATH-or-URL" },
    { "bytes", IM_PARAM_SIZE, false, NULL, "how many bytes there must be" },
    { 0 },
};

const struct im_stage im_stage_fetch = {
    .name = "fetch",
    .summary = "bytes of a file, an URL, standard input or uploaded parts",
    .class = IM_TRANSFER,
    .takes = IM_NOTHING,
    .gives = IM_BYTES,
    .params = params,
    .order = fetch_order,
};

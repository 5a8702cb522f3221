/* plan - say what a workflow, or a chain of stages, would do, and touch nothing. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cmd/cmd.h"
#include "cmd/confined.h"
#include "cmd/request.h"

static const char help[] =
    "usage: imaging-toolkit plan NAME [KEY=VALUE...] [options]\n"
    "       imaging-toolkit plan STAGE [KEY=VALUE...] [STAGE [KEY=VALUE...]]...\n"
    "\n"
    "  imaging-toolkit plan import-volume image=disk.vmdk volume=disk.raw size=10G\n"
    "\n"
    "Prints the stages, what flows between them, the scratch each needs and in sum, and what\n"
    "would keep it from running.  Headers of the image are read; nothing is written or run.\n"
    "\n"
    "      --from STAGE, --until STAGE, --scratch DIR, --jobs N   as for 'run'\n"
    "      --output FORM     print the plan as text (default) or json\n"
    "\n"
    "exit status: 0 it would run; else that of the run: 2 usage, 3 input missing, 4 refused,\n"
    "5 scratch can never fit or over a limit, 6 transient, 7 dependency missing\n";

static int plan(int argc, char **argv, struct im_error *err)
{
    struct im_plan *made IM_FREE = NULL;
    struct im_request request = { 0 };
    struct im_job job IM_JOB_DONE = { 0 };
    int r = im_request_parse(argc, argv, &request, err);

    if (r == 0 && !request.workflow)
        r = im_fail(err, EINVAL,
                    "the name of a workflow, or of stages, is needed; see 'run --list'");
    if (r == 0)
        r = im_request_job(&request, &request.ask, &job, err);
    if (r == 0)
        r = im_confined(&job, err);
    if (r == 0) {
        r = im_plan_make(&job, &made, err);
        if (made && im_plan_print(request.workflow->name, made, request.json, err) < 0)
            r = -ENOMEM;
    }
    im_request_done(&request);
    return r < 0 ? (int)im_error_status(err) : 0;
}

const struct im_command im_command_plan = {
    .name = "plan",
    .summary = "say what a workflow would do, and what it needs",
    .help = help,
    .run = plan,
};

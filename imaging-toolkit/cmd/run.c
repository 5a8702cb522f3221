/* run - run a workflow or a chain of stages; or do a job that is given as JSON on standard input,
 * which is how the service uses the toolkit. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cmd/cmd.h"
#include "cmd/confined.h"
#include "cmd/request.h"
#include "core/job.h"

/* A job with every member at its longest (an URL of 4 KiB, three paths) is below 20 KiB, and its
 * lists of hosts and networks have 256 entries of 300 bytes each. */
#define JOB_MAX 196608

static const char help[] =
    "usage: imaging-toolkit run NAME [KEY=VALUE...] [options]\n"
    "       imaging-toolkit run STAGE [KEY=VALUE...] [STAGE [KEY=VALUE...]]...\n"
    "       imaging-toolkit run [--progress-fd N] < JOB\n"
    "       imaging-toolkit run --list\n"
    "\n"
    "  imaging-toolkit run import-volume image=disk.vmdk volume=disk.raw size=10G\n"
    "  imaging-toolkit run fetch from=disk.vmdk decode format=vmdk encode to=vhd store "
    "to=disk.vhd\n"
    "  imaging-toolkit run decode format=vmdk < disk.vmdk | imaging-toolkit run store to=disk.raw\n"
    "  echo '{\"source\": \"d.vmdk\", \"format\": \"vmdk\", \"store\": \"d.raw\",\n"
    "         \"stages\": [{\"name\": \"grow\", \"size\": 10737418240}]}' | imaging-toolkit run\n"
    "\n"
    "NAME is a workflow ('run --list' lists them), or a file of your own: a path with a '/', or\n"
    "ending in .workflow.  A chain of stages ('stages' lists them) runs in one pass; ends that "
    "are\n"
    "not named are standard input and output.  JOB is one JSON object: source, format, store as "
    "for\n"
    "'convert'; optional: max_size (bytes), force, scratch, jobs, io_rate, stages (a list).\n"
    "\n"
    "      --from STAGE      begin with STAGE: the workflow's first input names a file that holds\n"
    "                        what flows into it (a raw disk, or bytes)\n"
    "      --until STAGE     end with STAGE: what flows out of it is stored\n"
    "      --keep-on-failure keep what flows into the stage that fails, and print the one command\n"
    "                        that repeats it\n"
    "      --dry-run         print the plan and touch nothing, as 'plan' does\n"
    "      --list            list the workflows and their inputs\n"
    "      --scratch DIR     place for second copies (default: TMPDIR, else /var/tmp)\n"
    "      --jobs N          threads, 1 to 8 (default: one per core)\n"
    "      --io-rate SIZE    read and write at most SIZE bytes per second, 64K or more\n"
    "      --progress-fd N   write progress, then the result or the error, as JSON Lines to\n"
    "                        descriptor N\n"
    "      --output FORM     print the result as text (default) or json; of a JOB it is json\n"
    "\n"
    "Exit status as for 'convert'.\n";

static int read_job(struct im_job *ret_job, struct im_error *err)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(JOB_MAX);
    int r = im_read_job(&text, err);

    return r < 0 ? r : im_job_parse(text.data ? text.data : "", ret_job, err);
}

static int tell_result(const struct im_job *job, const struct im_copy_result *result,
                       struct im_progress *progress, struct im_error *err)
{
    char *json IM_FREE = NULL;
    int r = im_job_result_json(job, result, &json, err);

    if (r < 0)
        return r;
    im_progress_result(progress, json);
    puts(json);
    return 0;
}

static int run_job(const struct im_job *job, struct im_progress *progress, struct im_error *err)
{
    struct im_copy_result result = { 0 };
    int r = im_confined(job, err);

    if (r == 0)
        r = im_plan_check(job, &result, err);
    if (r == 0)
        r = im_job_run(job, progress, &result, err);
    return r < 0 ? r : tell_result(job, &result, progress, err);
}

static int run_given(int progress_fd, struct im_error *err)
{
    struct im_report *report IM_FREE = calloc(1, sizeof(*report));
    struct im_job job IM_JOB_DONE = { 0 };
    struct im_progress *progress = report ? im_progress_new(progress_fd) : NULL;
    int r;

    if (!progress)
        return im_fail(err, ENOMEM, "out of memory");
    r = read_job(&job, err);
    job.report = report;
    if (r == 0)
        r = run_job(&job, progress, err);
    if (r < 0)
        im_progress_error(progress, err);
    im_progress_free(progress);
    return r;
}

static int run(int argc, char **argv, struct im_error *err)
{
    struct im_request request = { 0 };
    int r = im_request_parse(argc, argv, &request, err);

    if (r == 0 && request.list)
        r = im_request_list(request.json, err);
    else if (r == 0)
        r = request.workflow ? im_run_workflow(&request, err) : run_given(request.progress_fd, err);
    im_request_done(&request);
    return r < 0 ? (int)im_error_status(err) : 0;
}

const struct im_command im_command_run = {
    .name = "run",
    .summary = "run a workflow, a chain of stages, or a job given as JSON",
    .help = help,
    .run = run,
};

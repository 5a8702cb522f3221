/* run - do a job that is given as JSON on standard input: how the service uses the toolkit. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cmd/cmd.h"
#include "core/job.h"

/* A job with every member at its longest (an URL of 4 KiB, three paths) is below 20 KiB. */
#define JOB_MAX 65536

static const char help[] =
    "usage: imaging-toolkit run [--progress-fd N] < JOB\n"
    "\n"
    "  echo '{\"source\": \"d.vmdk\", \"format\": \"vmdk\", \"store\": \"d.raw\",\n"
    "         \"stages\": [{\"name\": \"grow\", \"size\": 10737418240}]}' | imaging-toolkit run\n"
    "\n"
    "JOB is one JSON object: source, format, store as for 'convert'; optional: max_size (bytes),\n"
    "force (true or false), scratch (directory), jobs (1 to 8), io_rate (bytes per second), stages\n"
    "(a list; see 'stages').\n"
    "\n"
    "      --progress-fd N   write progress, then the result or the error, as JSON Lines to\n"
    "                        descriptor N\n"
    "\n"
    "The result is one line of JSON on standard output.  Exit status as for 'convert'.\n";

static const struct option options[] = {
    { "progress-fd", required_argument, NULL, 'p' },
    { NULL, 0, NULL, 0 },
};

static int read_job(struct im_job *ret_job, struct im_error *err)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(JOB_MAX);
    int r = im_read_job(&text, err);

    return r < 0 ? r : im_job_parse(text.data ? text.data : "", ret_job, err);
}

static int run_job(const struct im_job *job, struct im_progress *progress, struct im_error *err)
{
    struct im_copy_result result = { 0 };
    char *json IM_FREE = NULL;
    int r = im_job_run(job, progress, &result, err);

    if (r < 0)
        return r;
    json = im_job_result_json(job, &result);
    if (!json)
        return im_fail(err, ENOMEM, "out of memory");
    im_progress_result(progress, json);
    puts(json);
    return 0;
}

static int run(int argc, char **argv, struct im_error *err)
{
    struct im_report *report IM_FREE = calloc(1, sizeof(*report));
    struct im_job job IM_JOB_DONE = { 0 };
    struct im_progress *progress;
    int fd = -1;
    int r = 0;
    int c;

    while (r == 0 && (c = im_getopt(argc, argv, ":", options, err)) != -1)
        r = c == 'p' ? im_parse_fd(optarg, &fd, err) : -EINVAL;
    if (r == 0 && optind != argc)
        r = im_fail(err, EINVAL, "'%s' is not expected: the job comes on standard input",
                    argv[optind]);
    if (r < 0)
        return (int)im_error_status(err);
    progress = report ? im_progress_new(fd) : NULL;
    if (!progress)
        return (int)-im_fail(err, ENOMEM, "out of memory");
    r = read_job(&job, err);
    job.report = report;
    if (r == 0)
        r = run_job(&job, progress, err);
    if (r < 0)
        im_progress_error(progress, err);
    im_progress_free(progress);
    return r < 0 ? (int)im_error_status(err) : 0;
}

const struct im_command im_command_run = {
    .name = "run",
    .summary = "do a job given as JSON on standard input",
    .help = help,
    .run = run,
};

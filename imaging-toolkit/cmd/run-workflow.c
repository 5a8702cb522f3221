/* run-workflow - do what a workflow, or a chain of stages on the command line, says. */

#include <config.h>

#include "cmd/request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/confined.h"

static int plan_only(const struct im_request *request, const struct im_job *job,
                     struct im_error *err)
{
    struct im_plan *plan IM_FREE = NULL;
    int r = im_plan_make(job, &plan, err);

    if (plan && im_plan_print(request->workflow->name, plan, request->json, err) < 0)
        r = -ENOMEM;
    return r;
}

/* ---- the result ---- */

static void print_findings(FILE *to, const struct im_report *report)
{
    for (unsigned i = 0; i < report->count; i++) {
        const struct im_finding *finding = &report->finding[i];

        fprintf(to, "%-7s %s: %s%s%s\n", im_severity_name(finding->severity), finding->rule,
                finding->evidence, finding->cure ? "; " : "", finding->cure ? finding->cure : "");
    }
    if (report->boot_mode)
        fprintf(to, "boot-mode: %s\n", report->boot_mode);
}

static void print_text(FILE *to, const struct im_job *job, const struct im_copy_result *result)
{
    char size[16], data[16], scratch[16], name[1024];

    print_findings(to, job->report);
    if (job->store)
        fprintf(to, "%s: %" PRIu64 " bytes (%s), %s of data, %s peak scratch\n",
                im_text_printable(name, sizeof(name), job->store), result->file_size,
                im_format_size(size, sizeof(size), result->file_size),
                im_format_size(data, sizeof(data), result->data_bytes),
                im_format_size(scratch, sizeof(scratch), result->scratch_bytes));
}

static void print_result(const struct im_request *request, const struct im_job *job,
                         const struct im_copy_result *result, const char *json)
{
    FILE *to = job->store && strcmp(job->store, "-") == 0 ? stderr : stdout;

    if (request->json)
        fprintf(to, "%s\n", json);
    else if (!request->words || to == stdout)
        print_text(to, job, result);
}

/* ---- the run ---- */

static void tell_failure(const struct im_request *request, const struct im_job *job,
                         struct im_progress *progress, const struct im_copy_result *result,
                         const struct im_error *err)
{
    char name[1024];

    im_progress_error(progress, err);
    if (!request->json)
        print_findings(stderr, job->report);
    if (result->kept)
        fprintf(stderr, "%s.partial holds what was done: the same command goes on from there\n",
                im_text_printable(name, sizeof(name), job->store));
}

static int tell_result(const struct im_request *request, const struct im_job *job,
                       struct im_progress *progress, const struct im_copy_result *result,
                       struct im_error *err)
{
    char *json IM_FREE = NULL;
    int r = im_job_result_json(job, result, &json, err);

    if (r < 0)
        return r;
    im_progress_result(progress, json);
    print_result(request, job, result, json);
    return 0;
}

static int run_job(const struct im_request *request, struct im_job *job,
                   struct im_progress *progress, const char **ret_failed, struct im_error *err)
{
    struct im_copy_result result = { 0 };
    int r = im_plan_check(job, &result, err);

    if (r == 0)
        r = im_job_run(job, progress, &result, err);
    *ret_failed = result.failed;
    if (r == 0)
        return tell_result(request, job, progress, &result, err);
    tell_failure(request, job, progress, &result, err);
    return r;
}

/* What comes through a pipe can be kept only before it is gone: into a file first. */
static int spool(struct im_request *request, const struct im_job *job, char **ret_path,
                 struct im_error *err)
{
    struct im_job copy IM_JOB_DONE = { .max_size = UINT64_MAX, .as_is = true, .force = true };
    struct im_progress *progress = im_progress_new(-1);
    struct im_copy_result result = { 0 };
    int r;

    *ret_path = im_keep_path(request, job, "fetch-output");
    copy.format = copy.to = im_format_find("raw");
    copy.source = strdup("-");
    copy.store = *ret_path ? strdup(*ret_path) : NULL;
    r = copy.source && copy.store && progress ? im_job_run(&copy, progress, &result, err)
                                              : im_fail(err, ENOMEM, "out of memory");
    im_progress_free(progress);
    return r;
}

static int run_kept(struct im_request *request, struct im_job *job, struct im_progress *progress,
                    struct im_error *err)
{
    char *spooled IM_FREE = NULL;
    const char *failed = NULL;
    bool piped = job->source && strcmp(job->source, "-") == 0;
    int r = piped ? spool(request, job, &spooled, err) : 0;

    if (r < 0)
        return r;
    if (spooled) {
        free(job->source);
        job->source = strdup(spooled);
        if (!job->source)
            return im_fail(err, ENOMEM, "out of memory");
    }
    r = run_job(request, job, progress, &failed, err);
    if (r < 0 && r != -ECANCELED && failed)
        im_keep(request, job, failed, spooled);
    else if (spooled)
        (void)unlink(spooled);
    return r;
}

int im_run_workflow(struct im_request *request, struct im_error *err)
{
    struct im_report *report IM_FREE = calloc(1, sizeof(*report));
    struct im_job job IM_JOB_DONE = { 0 };
    struct im_progress *progress;
    const char *failed;
    int r = im_request_job(request, &request->ask, &job, err);

    if (r == 0)
        r = im_confined(&job, err); /* what is kept is beside the result, or in scratch, too */
    if (r < 0 || request->dry_run)
        return r < 0 ? r : plan_only(request, &job, err);
    job.report = report;
    progress = report ? im_progress_new(request->progress_fd) : NULL;
    if (!progress)
        return im_fail(err, ENOMEM, "out of memory");
    r = request->keep ? run_kept(request, &job, progress, err)
                      : run_job(request, &job, progress, &failed, err);
    im_progress_free(progress);
    return r;
}

/* request - what `run NAME` and `plan NAME` are asked for on the command line, and what both do
 * with it. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "core/job.h"
#include "core/plan.h"
#include "core/workflow.h"

struct im_request {
    struct im_workflow *workflow;
    struct im_workflow_ask ask;
    bool words;          /* the workflow is a chain of stages on the command line */
    const char *scratch; /* NULL: the default */
    unsigned jobs;       /* 0: one per core */
    uint64_t io_rate;    /* bytes per second, 0: as fast as it goes */
    int progress_fd;
    bool keep, dry_run, json, list;
};

/* Read options and words of `run` and `plan`; argv[0] is the command.  workflow stays NULL when
 * neither a name nor a stage was given.  -EINVAL, or as im_workflow_load. */
int im_request_parse(int argc, char **argv, struct im_request *ret_request, struct im_error *err);
void im_request_done(struct im_request *request);

/* The job for `ask` of the request's workflow; the caller's to im_job_done. */
int im_request_job(const struct im_request *request, const struct im_workflow_ask *ask,
                   struct im_job *ret_job, struct im_error *err);

/* Plan the job with the room its scratch has; *ret_plan is for free(), and there whatever the plan
 * says.  Errors of im_job_plan; -ENOMEM, then *ret_plan is NULL. */
int im_plan_make(const struct im_job *job, struct im_plan **ret_plan, struct im_error *err);

/* Print it, with the failure im_plan_make left in verdict or none; 0, or -ENOMEM in its place. */
int im_plan_print(const char *name, const struct im_plan *plan, bool json,
                  struct im_error *verdict);

/* Can what the job needs of scratch ever be had?  Asked before it starts, where it needs any and
 * its source can be opened twice; 0, or the failure it would end with.  ret_result->failed is set
 * with it. */
int im_plan_check(const struct im_job *job, struct im_copy_result *ret_result,
                  struct im_error *err);

/* `run` of a workflow, or of stages on the command line. */
int im_run_workflow(struct im_request *request, struct im_error *err);

/* The names, summaries and inputs of our workflows, on standard output, as text or JSON. */
int im_request_list(bool json, struct im_error *err);

/* Where something of this run is kept: beside its result, or in scratch; owned by the caller, NULL
 * when out of memory. */
char *im_keep_path(const struct im_request *request, const struct im_job *job, const char *what);

/* The stage `failed` of the workflow has failed: keep what flows into it in a file, and print the
 * one command that repeats it.  What it cannot do it says.  spooled: file that holds what came
 * through a pipe, removed when it is not what is kept; NULL: nothing did. */
void im_keep(const struct im_request *request, const struct im_job *job, const char *failed,
             const char *spooled);

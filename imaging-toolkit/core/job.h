/* job - one conversion: source, format, stages, store, limits; run from start to commit. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/copy.h"
#include "core/format.h"
#include "core/progress.h"
#include "core/stage.h"

/* Stages in one job; the longest sensible chain has five. */
#define IM_JOB_STAGES_MAX 16

struct im_job {
    char *source; /* spec, see core/source.h */
    char *store;  /* spec, see core/store.h */
    const struct im_format *format;
    char *scratch;     /* directory, NULL: TMPDIR or /var/tmp */
    uint64_t max_size; /* largest virtual size in bytes; UINT64_MAX: any */
    bool force;        /* replace what exists */
    unsigned jobs;     /* inflating threads; 0: one per core */
    unsigned stage_count;
    struct {
        const struct im_stage *stage;
        struct im_args args;
    } stage[IM_JOB_STAGES_MAX];
};

/* Read a job from JSON text:
 * {"source": SPEC, "format": NAME, "store": SPEC, "max_size": BYTES, "force": BOOL,
 *  "scratch": DIR, "jobs": N, "stages": [{"name": NAME, "size": BYTES}, …]}
 * source, format and store are required, unknown members are refused.  -EINVAL. */
int im_job_parse(const char *json, struct im_job *ret_job, struct im_error *err);
void im_job_done(struct im_job *job);
#define IM_JOB_DONE __attribute__((cleanup(im_job_done)))

/* Open, prove, convert, prove again, commit.  On failure nothing is left behind. */
int im_job_run(const struct im_job *job, struct im_progress *progress,
               struct im_copy_result *ret_result, struct im_error *err);

/* The result as one line of JSON, owned by the caller; NULL when out of memory. */
char *im_job_result_json(const struct im_job *job, const struct im_copy_result *result);

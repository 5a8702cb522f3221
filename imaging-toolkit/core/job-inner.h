/* job-inner - what the files of a job under way share; nobody else includes it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/digest.h"
#include "core/job.h"
#include "core/resume.h"
#include "core/source.h"
#include "core/store.h"

struct im_scratch;

/* A job under way. */
struct im_run {
    const struct im_job *job;
    struct im_progress *progress;
    int64_t started_ms;
    struct im_source *source;
    const struct im_format *format;
    struct im_disk *disk;
    struct im_store *store;
    struct im_store *manifest;                 /* beside the store, NULL: none is wanted */
    struct im_digest *digest;                  /* NULL: not needed */
    struct im_resume *resume;                  /* NULL: nothing is kept for another process */
    bool afresh;                               /* what an earlier one has kept is no good */
    struct im_disk *at[IM_JOB_STAGES_MAX];     /* the disk as each stage left it */
    struct im_source *from[IM_JOB_STAGES_MAX]; /* the source as each stage left it */
    struct im_source *fetched;                 /* before any stage unpacked it */
    struct im_disk *decoded;                   /* before any stage worked on it */
    const char *doing;                         /* the stage at work; NULL: all of them */
    struct im_context context;                 /* of the stages */
    struct im_report *report;                  /* what they say */
    struct im_look look;                       /* what validators have found so far */
    struct im_disk *written;                   /* what has been written, as they see it; or NULL */
    struct im_scratch *copy; /* of what flows by and is only looked at; NULL: there is none */
};

/* Build the chain from the source to the last disk, and take what an earlier attempt left. */
int im_run_open(struct im_run *run, struct im_error *err);

/* Is what has been written the disk itself, and can it be read again? */
bool im_run_readable_again(const struct im_run *run);

/* Let those validators look that can be served from the image without fetching it twice; and the
 * others at what has been written. */
int im_run_look_before(struct im_run *run, struct im_error *err);
int im_run_look_after(struct im_run *run, struct im_copy_result *result, struct im_error *err);

/* Can validators look at `disk`, the last one of the chain that reads from source: at the image, at
 * what has been written, or at a copy? */
bool im_job_looks_back(const struct im_job *job, const struct im_source *source,
                       const struct im_disk *disk);

/* The failure of a validator that cannot. */
int im_look_pipe(const struct im_stage *stage, struct im_error *err);

/* Release what validators found. */
void im_run_look_done(struct im_run *run);

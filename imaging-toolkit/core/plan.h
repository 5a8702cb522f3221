/* plan - what a job would do, found out without doing it.
 *
 * The chain is built as it would be run, with context.planning set: headers are read, but nothing
 * is run, copied or written.  So what only the work itself can tell (the size of what is packed,
 * what is on a disk that is not decoded yet) stays unknown, and says so. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/job.h"
#include "core/stage.h"

/* The stages of a job, its four steps, and nothing else. */
#define IM_PLAN_ROWS_MAX (IM_JOB_STAGES_MAX + 4)

struct im_plan_row {
    const struct im_stage *stage;
    bool optional;
    const char *detail; /* the format, static; NULL: there is nothing to say */
    bool known;         /* false: what flows out is known only when it runs */
    enum im_flow gives; /* of an encoder that is told raw: bytes */
    uint64_t bytes;     /* of what flows out, or IM_SIZE_UNKNOWN */
    uint64_t scratch;   /* most bytes at once */
    bool scratch_known;
    struct im_error why; /* why it would not run; number 0: it would */
};

struct im_plan {
    /* set by the caller */
    const char *scratch;  /* the place */
    uint64_t limit, most; /* bytes it is limited to; that one reservation can ever have of them */
    uint64_t free;        /* … and can have now */
    uint64_t each;        /* that a further reservation counts beside what it holds */
    /* found */
    unsigned count;
    struct im_plan_row row[IM_PLAN_ROWS_MAX];
    uint64_t scratch_bytes; /* most at once, as far as it is known */
    uint64_t store_free;    /* bytes free where it is stored, or IM_SIZE_UNKNOWN */
};

/* Plan job: fill in the rows.  0: it would run; else the failure it would end with, that of the
 * first required row which would not run, or -ENOSPC "ScratchLimit" with the two numbers. */
int im_job_plan(const struct im_job *job, struct im_plan *plan, struct im_error *err);

/* Does anything in it need scratch, as far as can be told? */
bool im_job_takes_scratch(const struct im_job *job);

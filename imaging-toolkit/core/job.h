/* job - one conversion: source, format, stages, store, limits; run from start to commit. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/copy.h"
#include "core/format.h"
#include "core/progress.h"
#include "core/stage.h"

/* Stages in one job; an instance that is checked by everything there is has a dozen and a half. */
#define IM_JOB_STAGES_MAX 32

struct im_job {
    char *source; /* spec, see core/source.h; NULL: the first stage opens it */
    char *store;  /* spec, see core/store.h; NULL: the last stage is a sink, or only_look */
    const struct im_format *format; /* NULL: recognised by its bytes */
    bool as_is;                     /* format is raw, and nobody asks what else it may be */
    const struct im_format *to;     /* what the store gets; raw when not said */
    bool only_look;                 /* nothing is written; `to` is raw */
    const char *subformat;          /* of `to`, static; NULL: its first */
    enum im_level level;
    uint64_t round_up; /* the disk grows to a multiple of so many bytes; 0: it does not */
    unsigned digests;  /* set of IM_DIGEST_… to find and put into a manifest beside the result */
    char *volume;      /* name the manifest tells; NULL: the store's */
    char *extents;     /* directory of the image's further files, or NULL */
    bool no_sync;      /* do not wait until the result is on the disk */
    char *scratch;     /* directory, NULL: TMPDIR or /var/tmp */
    uint64_t bytes;    /* that the source must have; 0: any */
    uint64_t max_size; /* largest virtual size in bytes; UINT64_MAX: any */
    bool force;        /* replace what exists */
    bool resume;      /* go on with what an interrupted attempt left, and leave it when interrupted:
                         files whose names begin with the store's (core/resume.h) */
    char *earlier;    /* with resume: what names of earlier attempts begin with, or NULL */
    unsigned jobs;    /* threads that inflate, compress or hash; 0: one per core */
    bool confined;    /* it is not done where the kernel cannot confine a process */
    uint64_t io_rate; /* bytes per second in and out (core/rate.h); 0: any number */
    struct im_report *report; /* gets what validators and optional stages say; NULL: dropped; not
                                 owned */
    /* In order: at most one that opens (then there is no source), those that unpack, those of the
     * disk, at most one sink (then there is no store).  A validator stands behind every stage that
     * moves offsets. */
    unsigned stage_count;
    struct {
        const struct im_stage *stage;
        struct im_args args;
        bool optional;
    } stage[IM_JOB_STAGES_MAX];
};

/* Add a stage at the end, without arguments; `optional` as the stage itself says.  *ret_args is
 * where they go.  -EINVAL: there is none of that name, one too many, or out of order. */
int im_job_add_stage(struct im_job *job, const char *name, struct im_args **ret_args,
                     struct im_error *err);

/* Is there one source and one store, and a format or `recognised`?  -EINVAL. */
int im_job_check(const struct im_job *job, bool recognised, struct im_error *err);

/* Threads to use when nobody said: one per core, at most IM_INFLATE_JOBS_MAX. */
unsigned im_jobs_default(void);

/* Say what the result becomes; -EINVAL when it cannot be written.  subformat may be NULL. */
int im_job_set_output(struct im_job *job, const char *format, const char *subformat,
                      struct im_error *err);

/* Read a job from JSON text:
 * {"source": SPEC, "bytes": BYTES, "format": NAME, "store": SPEC, "max_size": BYTES, "force": BOOL,
 *  "to": NAME, "subformat": NAME, "level": "fast" or "best", "round_up": BYTES,
 *  "digest": "fs-verity,sha256", "volume": NAME, "extents": DIR, "sync": BOOL,
 *  "objects": {"prefix": URL, "dir": DIR}, "urls": {…} (core/urls.h), "resume": BOOL,
 *  "earlier": PREFIX, "confined": BOOL,
 *  "scratch": DIR, "jobs": N, "io_rate": BYTES,
 *  "stages": [{"name": NAME, "optional": BOOL, ARGUMENT: text, number or BOOL, …}, …]}
 *
 * Source, format and store are required, but where a stage stands for one; unknown members are
 * refused.  -EINVAL. */
int im_job_parse(const char *json, struct im_job *ret_job, struct im_error *err);
void im_job_done(struct im_job *job);
#define IM_JOB_DONE __attribute__((cleanup(im_job_done)))

/* Open, prove, convert, prove again, commit.  On failure nothing is left behind, but for what
 * ret_result->kept tells of. */
int im_job_run(const struct im_job *job, struct im_progress *progress,
               struct im_copy_result *ret_result, struct im_error *err);

/* Enlarge *disk to the multiple that job wants, or that what it becomes needs. */
int im_job_round_up(const struct im_job *job, const struct im_context *context,
                    struct im_disk **disk, struct im_error *err);

/* Is the disk, or what was announced of the source, of a size that job allows? */
int im_job_check_size(const struct im_job *job, const struct im_disk *disk, struct im_error *err);
int im_job_check_bytes(const struct im_job *job, const struct im_source *source,
                       struct im_error *err);

/* Open the image, recognising it where job does not say what it is; *ret_format is what it is. */
int im_job_open_disk(const struct im_job *job, struct im_source *source, bool planning,
                     const struct im_format **ret_format, struct im_disk **ret_disk,
                     struct im_error *err);

/* The result as one line of JSON, owned by the caller.  -ENOMEM, which says that what is told of
 * is there all the same. */
int im_job_result_json(const struct im_job *job, const struct im_copy_result *result,
                       char **ret_text, struct im_error *err);

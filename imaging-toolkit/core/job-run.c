/* job-run - one conversion from start to commit. */

#include <config.h>

#include "core/job-inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "core/copy.h"
#include "core/rate.h"
#include "core/spool.h"

static void run_done(struct im_run *run)
{
    im_run_look_done(run); /* before the disks it looked at */
    im_digest_free(run->digest);
    im_store_close(run->manifest);
    im_store_close(run->store);
    im_disk_close(run->disk);
    (void)im_resume_end(run->resume, false);
    im_source_close(run->source);
    im_spool_free(run->copy);
}

/* The manifest belongs to the volume, but so may another's: it is replaced only when that is, or
 * when an attempt that is gone on with died between the two. */
static int open_manifest(struct im_run *run, struct im_error *err)
{
    const struct im_store_options options = {
        .size = IM_SIZE_UNKNOWN,
        .force = run->job->force || (run->resume && im_trail_has_past(run->resume->trail)),
        .no_sync = run->job->no_sync,
    };
    char *path IM_FREE = im_manifest_path(run->job->store);

    return path ? im_store_open(path, &options, &run->manifest, err)
                : im_fail(err, ENOMEM, "out of memory");
}

/* The last stage is the store. */
static int open_sink(struct im_run *run, struct im_error *err)
{
    const struct im_job *job = run->job;
    unsigned last = job->stage_count - 1;

    if (job->to->encode || run->disk->size == IM_SIZE_UNKNOWN)
        return im_fail(err, EOPNOTSUPP, "'%s' takes a raw disk whose size is known beforehand",
                       job->stage[last].stage->name);
    return im_stage_sink(job->stage[last].stage, &job->stage[last].args, &run->context,
                         run->disk->size, &run->store, err);
}

static int open_store(struct im_run *run, struct im_error *err)
{
    const struct im_job *job = run->job;
    struct im_store_options options = {
        .size = job->to->encode ? IM_SIZE_UNKNOWN : run->disk->size,
        .force = job->force,
        .no_sync = job->no_sync,
        .partial = run->resume ? run->resume->partial : NULL,
    };
    bool on_the_way = job->digests & IM_DIGEST_FSVERITY && !job->to->encode;
    int r =
        job->store ? im_store_open(job->store, &options, &run->store, err) : open_sink(run, err);

    if (r == 0 && job->digests && (run->store->fd < 0 || !job->store))
        r = im_fail(err, EINVAL, "a digest of what goes into a pipe has no place; write a file");
    if (r == 0 && job->digests)
        r = open_manifest(run, err);
    if (r < 0 || !(on_the_way || run->resume))
        return r; /* an encoder's file is read again */
    run->digest = im_digest_new();
    return run->digest ? 0 : im_fail(err, ENOMEM, "out of memory");
}

/* Most that the chain has had in scratch. */
static uint64_t scratch_of(const struct im_disk *disk)
{
    uint64_t bytes = 0;

    for (; disk; disk = disk->next)
        bytes += disk->scratch_bytes;
    return bytes;
}

/* Nobody takes it for a disk: what is fetched is stored. */
static bool moves_bytes(const struct im_job *job)
{
    for (unsigned i = 0; i < job->stage_count; i++)
        if (job->stage[i].stage->takes == IM_DISK)
            return false;
    return job->as_is;
}

static int write_result(struct im_run *run, struct im_copy_result *result, struct im_error *err)
{
    const struct im_job *job = run->job;
    unsigned jobs = job->jobs ? job->jobs : im_jobs_default();
    struct im_copy_limits limits = {
        .jobs = jobs,
        .max_size = job->max_size,
        .bytes = moves_bytes(job),
        .digest = run->digest,
        .trail = run->resume ? run->resume->trail : NULL,
    };
    struct im_encode encode = {
        .subformat = job->subformat,
        .level = job->level,
        .jobs = jobs,
        .scratch = job->scratch,
    };
    int r = job->to->encode
                ? job->to->encode(run->disk, run->store, &encode, run->progress, result, err)
                : im_copy(run->disk, run->store, &limits, run->progress, result, err);

    result->scratch_bytes += scratch_of(run->disk);
    return r < 0 ? r : im_source_finish(run->source, err);
}

static int read_store(void *arg, void *buf, size_t len, uint64_t offset, struct im_error *err)
{
    const struct im_store *store = arg;
    ssize_t n = im_pread(store->fd, buf, len, offset);

    if (n >= 0 && (size_t)n == len)
        return 0;
    return im_fail_code(err, EIO, "ReadFailed",
                        "cannot read back %zu bytes at offset %" PRIu64 " of '%s': %s", len, offset,
                        store->name, n < 0 ? strerrordesc_np((int)-n) : "the file is shorter");
}

/* What was hashed on the way is finished; what could not be is read again. */
static int find_digests(struct im_run *run, struct im_copy_result *result, struct im_error *err)
{
    const struct im_job *job = run->job;
    unsigned jobs = job->jobs ? job->jobs : im_jobs_default();
    int r = 0;

    result->digests = job->digests;
    if (run->digest && job->digests & IM_DIGEST_FSVERITY)
        r = im_digest_end(run->digest, result->file_size, read_store, run->store, result->fsverity,
                          err);
    else if (job->digests & IM_DIGEST_FSVERITY)
        r = im_digest_file(run->store->fd, result->file_size, jobs, run->progress, result->fsverity,
                           err);
    if (r == 0 && job->digests & IM_DIGEST_SHA256)
        r = im_sha256_file(run->store->fd, result->file_size, run->progress, result->sha256, err);
    return r;
}

static int write_manifest(struct im_run *run, const struct im_copy_result *result,
                          struct im_error *err)
{
    const struct im_job *job = run->job;
    const struct im_manifest_facts facts = {
        .volume = job->volume ? job->volume : job->store,
        .format = job->to->name,
        .source = run->source->name,
        .source_format = run->format->name,
        .started_ms = run->started_ms,
        .ended_ms = im_clock_now_ms(),
    };
    char *text IM_FREE = im_manifest_text(&facts, result, run->store);
    int r = text ? 0 : im_fail(err, ENOMEM, "out of memory");

    if (r == 0)
        r = im_store_write(run->manifest, text, strlen(text), 0, err);
    return r == 0 ? im_store_commit(run->manifest, strlen(text), err) : r;
}

/* The manifest first: a volume is never without the one it was promised. */
static int commit_file(struct im_run *run, const struct im_copy_result *result,
                       struct im_error *err)
{
    char *manifest IM_FREE = im_manifest_path(run->job->store);
    int r = manifest ? 0 : im_fail(err, ENOMEM, "out of memory");

    if (r == 0 && run->job->digests)
        r = write_manifest(run, result, err);
    else if (r == 0 && run->job->force && run->store->fd >= 0)
        (void)unlink(manifest); /* of the volume that is replaced */
    if (r < 0)
        return r;
    r = im_store_commit(run->store, result->file_size, err);
    if (r < 0 && run->job->digests)
        (void)unlink(manifest);
    return r;
}

static int commit(struct im_run *run, const struct im_copy_result *result, struct im_error *err)
{
    im_progress_finish(run->progress);
    im_progress_stage(run->progress, "commit");
    return run->job->store ? commit_file(run, result, err)
                           : im_store_commit(run->store, result->file_size, err);
}

/* A pipe whose other end has failed is empty: that is no result.  Who knows its size before (a
 * bundle) proves it. */
static int check_flow(const struct im_run *run, const struct im_copy_result *result,
                      struct im_error *err)
{
    if (!run->fetched->sequential || run->fetched->size != IM_SIZE_UNKNOWN || result->size > 0)
        return 0;
    run->fetched->failed = true;
    return im_fail_code(err, EBADMSG, "NothingCame",
                        "nothing came through the pipe; did what stands in front of it fail?");
}

/* What can be read only once is looked at where it has been copied to. */
static int look_at_copy(struct im_run *run, struct im_copy_result *result, struct im_error *err)
{
    struct stat st;
    int r = im_spool_open(run->context.scratch, &run->copy, &run->store, err);

    run->doing = run->job->stage[run->job->stage_count - 1].stage->name;
    if (r < 0)
        return r;
    im_progress_stage(run->progress, "copy");
    r = write_result(run, result, err);
    if (r == 0 && fstat(run->store->fd, &st) == 0)
        result->scratch_bytes += (uint64_t)st.st_blocks * 512;
    if (r == 0)
        r = check_flow(run, result, err);
    return r == 0 ? im_run_look_after(run, result, err) : r;
}

/* Looking is all that is wanted. */
static int look_only(struct im_run *run, struct im_copy_result *result, struct im_error *err)
{
    int r;

    if (run->source->sequential || run->disk->size == IM_SIZE_UNKNOWN)
        return look_at_copy(run, result, err);
    r = im_run_look_before(run, err);
    result->size = run->disk->size;
    result->boot_mode = run->report->boot_mode;
    return r;
}

static int write_all(struct im_run *run, struct im_copy_result *result, struct im_error *err)
{
    int r;

    run->doing = "store";
    r = open_store(run, err);
    if (r == 0)
        r = im_run_look_before(run, err);
    if (r < 0)
        return r;
    run->doing = NULL;
    im_progress_stage(run->progress, "copy");
    r = write_result(run, result, err);
    if (r == 0)
        r = check_flow(run, result, err);
    if (r == 0)
        r = im_run_look_after(run, result, err);
    if (r < 0)
        return r;
    run->doing = "store";
    if (run->job->digests)
        r = find_digests(run, result, err);
    return r < 0 ? r : commit(run, result, err);
}

static int run_job(struct im_run *run, struct im_copy_result *result, struct im_error *err)
{
    int r;

    im_progress_stage(run->progress, "open");
    r = im_run_open(run, err);
    result->format = run->format ? run->format->name : NULL;
    if (r == 0)
        r = run->job->only_look ? look_only(run, result, err) : write_all(run, result, err);
    return r;
}

/* Whose fault it was that nothing flowed: the first from the beginning that failed; NULL: nobody.
 */
static const char *culprit_of_flow(const struct im_run *run)
{
    const struct im_job *job = run->job;

    if (run->fetched && run->fetched->failed)
        return "fetch";
    for (unsigned i = 0; i < job->stage_count; i++)
        if (run->from[i] && run->from[i]->failed)
            return job->stage[i].stage->name;
    if (run->store && run->store->failed)
        return "store";
    if (run->decoded && run->decoded->failed)
        return "decode";
    for (unsigned i = 0; i < job->stage_count; i++)
        if (job->stage[i].stage->apply && run->at[i] && run->at[i]->failed)
            return job->stage[i].stage->name;
    return NULL;
}

/* Of a step of the job, the stage that stands in its place. */
static const char *culprit(const struct im_run *run)
{
    const struct im_job *job = run->job;
    const char *flow = culprit_of_flow(run);
    const char *name = flow ? flow : run->doing ? run->doing : job->to->encode ? "encode" : "store";

    if (strcmp(name, "fetch") == 0 && !job->source)
        return job->stage[0].stage->name;
    if (strcmp(name, "store") == 0 && !job->store)
        return job->stage[job->stage_count - 1].stage->name;
    return name;
}

/* Ready to be run; the report is `report`. */
static struct im_run run_of(const struct im_job *job, struct im_progress *progress,
                            struct im_report *report, int64_t started_ms)
{
    return (struct im_run){
        .job = job,
        .progress = progress,
        .started_ms = started_ms,
        .report = report,
        .context = { .scratch = job->scratch ? job->scratch : im_scratch_default(),
                     .jobs = job->jobs ? job->jobs : im_jobs_default() },
    };
}

static int run_reported(const struct im_job *job, struct im_progress *progress,
                        struct im_report *report, struct im_copy_result *ret_result,
                        struct im_error *err)
{
    struct im_run run = run_of(job, progress, report, im_clock_now_ms());
    int r = run_job(&run, ret_result, err);

    if (r == -ESTALE && run.resume) {
        run_done(&run); /* what was kept goes with it */
        run = run_of(job, progress, report, run.started_ms);
        run.afresh = true;
        *report = (struct im_report){ 0 };
        *ret_result = (struct im_copy_result){ 0 };
        r = run_job(&run, ret_result, err);
    }
    if (r < 0 && im_trail_may_go_on(err))
        ret_result->kept = im_resume_end(im_steal(run.resume), true);
    if (r < 0 && r != -ECANCELED)
        ret_result->failed = culprit(&run);
    if (ret_result->kept && r == -ECANCELED)
        (void)im_fail(err, ECANCELED, "cancelled by a signal; what was done is kept");
    run_done(&run);
    return r;
}

int im_job_run(const struct im_job *job, struct im_progress *progress,
               struct im_copy_result *ret_result, struct im_error *err)
{
    struct im_report *own IM_FREE = job->report ? NULL : calloc(1, sizeof(*own));
    struct im_report *report = job->report ? job->report : own;
    int r = im_rate_set(job->io_rate, err);

    if (r < 0)
        return r;
    return report ? run_reported(job, progress, report, ret_result, err)
                  : im_fail(err, ENOMEM, "out of memory");
}

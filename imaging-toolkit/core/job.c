/* job - one conversion from start to commit. */

#include <config.h>

#include "core/job.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/io.h"
#include "core/digest.h"
#include "core/inflate.h"
#include "core/rate.h"
#include "core/resume.h"
#include "core/source.h"
#include "core/store.h"

/* Of disks in all formats but raw. */
#define SECTOR 512u

/* Text that tells a conversion from others: below 200 bytes for each part of a manifest, which has
 * at most 24 MiB with some hundred bytes for each. */
#define IDENTITY_MAX (64u << 20)

unsigned im_jobs_default(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    return cores < 1 ? 1 : cores > IM_INFLATE_JOBS_MAX ? IM_INFLATE_JOBS_MAX : (unsigned)cores;
}

static int set_subformat(struct im_job *job, const char *subformat, struct im_error *err)
{
    const char *const *list = job->to->subformats;

    for (size_t i = 0; list && list[i]; i++)
        if (strcasecmp(list[i], subformat) == 0) {
            job->subformat = list[i];
            return 0;
        }
    return im_fail(err, EINVAL, "'%s' is no subformat of %s that can be written%s%s", subformat,
                   job->to->name, list ? "; the default is " : "", list ? list[0] : "");
}

int im_job_set_output(struct im_job *job, const char *format, const char *subformat,
                      struct im_error *err)
{
    const struct im_format *to = im_format_find(format);

    if (!to)
        return im_fail(err, EINVAL, "'%s' is not a format; raw, vmdk, vhd and qcow2 can be written",
                       format);
    if (!to->encode && strcmp(to->name, "raw") != 0)
        return im_fail(err, EINVAL,
                       "%s cannot be written; raw, vmdk, vhd and qcow2 can ('qemu-img convert -f "
                       "raw -O %s' takes a raw disk further)",
                       to->name, to->name);
    job->to = to;
    job->subformat = to->subformats ? to->subformats[0] : NULL;
    return subformat ? set_subformat(job, subformat, err) : 0;
}

/* Where in a chain a stage may stand: what opens, what unpacks, what works on the disk, its end. */
static int place_of(const struct im_stage *stage)
{
    return stage->open ? 0 : stage->wrap ? 1 : stage->sink ? 3 : 2;
}

int im_job_add_stage(struct im_job *job, const char *name, struct im_args **ret_args,
                     struct im_error *err)
{
    const struct im_stage *stage = im_stage_find(name);
    unsigned i = job->stage_count;

    if (!stage)
        return im_fail(err, EINVAL, "there is no stage '%s'; see 'imaging-toolkit stages'", name);
    if (i == IM_JOB_STAGES_MAX)
        return im_fail(err, EINVAL, "more than %d stages", IM_JOB_STAGES_MAX);
    if (stage->order)
        return im_fail(err, EINVAL, "'%s' is no stage of a job's list: its members say that", name);
    if (i > 0 && (place_of(stage) < place_of(job->stage[i - 1].stage) || stage->open ||
                  job->stage[i - 1].stage->sink))
        return im_fail(err, EINVAL, "the stage '%s' cannot stand behind '%s'", name,
                       job->stage[i - 1].stage->name);
    job->stage[i].stage = stage;
    job->stage[i].optional = stage->optional;
    job->stage_count++;
    *ret_args = &job->stage[i].args;
    return 0;
}

int im_job_check(const struct im_job *job, bool recognised, struct im_error *err)
{
    const struct im_stage *first = job->stage_count ? job->stage[0].stage : NULL;
    const struct im_stage *last = first ? job->stage[job->stage_count - 1].stage : NULL;
    bool opens = first && first->open, sinks = last && last->sink;

    if (job->source && opens)
        return im_fail(err, EINVAL, "the stage '%s' opens what is read: there can be no source",
                       first->name);
    if (job->store && sinks)
        return im_fail(err, EINVAL, "the stage '%s' takes what is written: there can be no store",
                       last->name);
    if ((!job->source && !opens) || (!job->format && !recognised) ||
        (!job->store && !sinks && !job->only_look))
        return im_fail(err, EINVAL, "\"source\", \"format\" and \"store\" are required");
    return 0;
}

void im_job_done(struct im_job *job)
{
    free(job->source);
    free(job->store);
    free(job->scratch);
    free(job->extents);
    free(job->earlier);
    free(job->volume);
    for (unsigned i = 0; i < job->stage_count; i++)
        im_args_done(&job->stage[i].args);
    memset(job, 0, sizeof(*job));
}

/* ---- run ---- */

struct run {
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
};

static void run_done(struct run *run)
{
    im_digest_free(run->digest);
    im_store_close(run->manifest);
    im_store_close(run->store);
    im_disk_close(run->disk);
    (void)im_resume_end(run->resume, false);
    im_source_close(run->source);
}

int im_job_check_size(const struct im_job *job, const struct im_disk *disk, struct im_error *err)
{
    if (disk->size == IM_SIZE_UNKNOWN || disk->size <= job->max_size)
        return 0;
    return im_fail(err, EFBIG,
                   "the image holds a disk of %" PRIu64 " bytes, more than the %" PRIu64
                   " allowed; ask for a volume of at least %" PRIu64 " GiB",
                   disk->size, job->max_size,
                   (disk->size >> 30) + ((disk->size & 0x3fffffff) != 0));
}

/* What was announced must be there, not less and not more. */
int im_job_check_bytes(const struct im_job *job, const struct im_source *source,
                       struct im_error *err)
{
    if (job->bytes == 0 || source->size == job->bytes || source->size == IM_SIZE_UNKNOWN)
        return 0;
    return im_fail_code(err, EBADMSG, "SizeMismatch",
                        "the image has %" PRIu64 " bytes, but %" PRIu64
                        " were announced; upload all of it, or import it with its real size",
                        source->size, job->bytes);
}

static int grow(const struct im_context *context, struct im_disk **disk, uint64_t size,
                struct im_error *err)
{
    const struct im_stage *stage = im_stage_find("grow");
    struct im_args args = { 0 };
    char text[24];
    int r;

    (void)snprintf(text, sizeof(text), "%" PRIu64, size);
    r = im_args_add(&args, stage->name, stage->params, "size", text, err);
    if (r == 0)
        r = stage->apply(&args, context, disk, err);
    im_args_done(&args);
    return r;
}

/* Let the disk grow to a multiple of job->round_up; all formats but raw hold whole sectors. */
int im_job_round_up(const struct im_job *job, const struct im_context *context,
                    struct im_disk **disk, struct im_error *err)
{
    uint64_t unit = job->round_up;
    uint64_t rest, size;

    if (unit == 0)
        unit = job->to->encode && (*disk)->size != IM_SIZE_UNKNOWN ? SECTOR : 1;
    if (job->to->encode && unit % SECTOR != 0 && job->round_up != 0)
        return im_fail(err, EINVAL,
                       "a disk of %s has whole sectors: round up to a multiple of %u, not of "
                       "%" PRIu64,
                       job->to->name, SECTOR, unit);
    if ((*disk)->size == IM_SIZE_UNKNOWN && job->round_up != 0)
        return im_fail(err, EOPNOTSUPP, "a disk of unknown size cannot be rounded up; give a file");
    rest = (*disk)->size % unit;
    if (rest == 0)
        return 0;
    if (__builtin_add_overflow((*disk)->size, unit - rest, &size))
        return im_fail(err, EFBIG, "a disk of %" PRIu64 " bytes cannot be rounded up to %" PRIu64,
                       (*disk)->size, unit);
    return grow(context, disk, size, err);
}

/* ---- what another process may go on with ---- */

/* What is read over a network and stands in the volume as it was read is worth it. */
static bool can_resume(const struct run *run)
{
    const struct im_source *source = run->source;

    return run->format->resumes && !run->job->extents && source->ops->identify && !source->direct &&
           source->size != IM_SIZE_UNKNOWN;
}

/* What decides about the bytes of the volume and the order they are made in: the same text, the
 * same volume.  -EOPNOTSUPP when the source cannot tell. */
static int identify(const struct run *run, uint8_t ret_identity[IM_JOURNAL_IDENTITY])
{
    const struct im_job *job = run->job;
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(IDENTITY_MAX);
    int r = im_buffer_printf(&text, "%s\n%s\n%" PRIu64 "\n", PACKAGE_VERSION, run->format->name,
                             job->round_up);

    for (unsigned i = 0; r == 0 && i < job->stage_count; i++) {
        const struct im_args *args = &job->stage[i].args;

        r = im_buffer_printf(&text, "%s\n", job->stage[i].stage->name);
        for (unsigned j = 0; r == 0 && j < args->count; j++)
            r = im_buffer_printf(&text, " %s=%s\n", args->arg[j].param->name, args->arg[j].text);
    }
    if (r == 0)
        r = run->source->ops->identify(run->source, &text);
    if (r == 0)
        im_hash(IM_SHA256, text.data, text.len, ret_identity);
    return r;
}

static int begin_resume(struct run *run, struct im_error *err)
{
    uint8_t identity[IM_JOURNAL_IDENTITY];
    int r = 1;

    if (!run->resume)
        return 0;
    if (can_resume(run) && identify(run, identity) == 0)
        r = im_resume_begin(run->resume, identity, run->afresh, run->source, err);
    if (r > 0) {
        (void)im_resume_end(run->resume, false);
        run->resume = NULL;
    }
    return r < 0 ? r : 0;
}

/* What the job names, or what the first stage opens; then out of whatever it is packed in. */
static int open_source(struct run *run, struct im_error *err)
{
    const struct im_job *job = run->job;
    bool opens = job->stage_count > 0 && job->stage[0].stage->open;
    int r = opens ? im_stage_open(job->stage[0].stage, &job->stage[0].args, &run->context,
                                  &run->source, err)
                  : im_source_open(job->source, &run->source, err);

    if (r == 0)
        r = im_job_check_bytes(job, run->source, err);
    run->fetched = run->source;
    for (unsigned i = 0; r == 0 && i < job->stage_count; i++)
        if (job->stage[i].stage->wrap) {
            run->doing = job->stage[i].stage->name;
            r = im_stage_wrap(job->stage[i].stage, &job->stage[i].args, &run->context, &run->source,
                              err);
            run->from[i] = r == 0 ? run->source : NULL;
        }
    return r;
}

/* By its first bytes alone, where the last cannot be read: raw has no first ones, and a fixed VHD
 * has what tells it at its end. */
static int recognise_head(struct im_source *source, const struct im_format **ret_format,
                          struct im_error *err)
{
    uint8_t head[IM_PROBE_HEAD];
    size_t len;
    int r = im_source_read_some(source, head, sizeof(head), 0, &len, err);

    if (r < 0)
        return r;
    *ret_format = im_format_certain(head, len);
    return *ret_format ? 0
                       : im_fail(err, EOPNOTSUPP,
                                 "of what can be read forwards only (a pipe, an archive) the first "
                                 "bytes decide, and these are of no format; say its format");
}

static int recognise(struct im_source *source, const struct im_format **ret_format,
                     struct im_error *err)
{
    return source->sequential ? recognise_head(source, ret_format, err)
                              : im_format_probe(source, ret_format, err);
}

int im_job_open_disk(const struct im_job *job, struct im_source *source, bool planning,
                     const struct im_format **ret_format, struct im_disk **ret_disk,
                     struct im_error *err)
{
    const struct im_open options = {
        .scratch = job->scratch ? job->scratch : im_scratch_default(),
        .extents = job->extents,
        .max_size = job->max_size,
        .planning = planning,
    };
    int r = 0;

    *ret_format = job->format;
    if (!job->format)
        r = recognise(source, ret_format, err);
    if (r < 0)
        return r;
    return job->as_is ? job->format->open(source, &options, ret_disk, err)
                      : im_format_open(*ret_format, source, &options, ret_disk, err);
}

static int apply_stages(struct run *run, struct im_error *err)
{
    const struct im_job *job = run->job;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < job->stage_count; i++) {
        const struct im_stage *stage = job->stage[i].stage;

        if (stage->apply)
            run->doing = stage->name;
        if (stage->apply)
            r = im_stage_apply(stage, &job->stage[i].args, job->stage[i].optional, &run->context,
                               &run->disk, run->report, err);
        run->at[i] = run->disk;
    }
    return r;
}

/* Nothing is begun that would end for want of a tool. */
static int check_tools(struct run *run, struct im_error *err)
{
    const struct im_job *job = run->job;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < job->stage_count; i++) {
        run->doing = job->stage[i].stage->name;
        if (!job->stage[i].optional)
            r = im_stage_available(job->stage[i].stage, err);
    }
    return r;
}

static int decode(struct run *run, struct im_error *err)
{
    int r;

    run->doing = "decode";
    run->format = run->job->format;
    r = begin_resume(run, err);
    if (r == 0)
        r = im_job_open_disk(run->job, run->source, false, &run->format, &run->disk, err);
    if (r == 0)
        r = im_job_check_size(run->job, run->disk, err);
    run->decoded = run->disk;
    return r;
}

static int open_disk(struct run *run, struct im_error *err)
{
    const struct im_job *job = run->job;
    int r = check_tools(run, err);

    run->doing = "fetch";
    /* first, so that nobody else takes what is left, whatever becomes of us */
    if (r == 0 && job->resume && job->store && job->format && !job->to->encode &&
        strcmp(job->store, "-") != 0)
        r = im_resume_take(job->store, job->earlier, &run->resume, err);
    if (r == 0)
        r = open_source(run, err);
    if (r == 0)
        r = decode(run, err);
    if (r == 0)
        r = apply_stages(run, err);
    if (r < 0)
        return r;
    run->doing = "encode";
    return im_job_round_up(job, &run->context, &run->disk, err);
}

/* The manifest belongs to the volume, but so may another's: it is replaced only when that is, or
 * when an attempt that is gone on with died between the two. */
static int open_manifest(struct run *run, struct im_error *err)
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
static int open_sink(struct run *run, struct im_error *err)
{
    const struct im_job *job = run->job;
    unsigned last = job->stage_count - 1;

    if (job->to->encode || run->disk->size == IM_SIZE_UNKNOWN)
        return im_fail(err, EOPNOTSUPP, "'%s' takes a raw disk whose size is known beforehand",
                       job->stage[last].stage->name);
    return im_stage_sink(job->stage[last].stage, &job->stage[last].args, &run->context,
                         run->disk->size, &run->store, err);
}

static int open_store(struct run *run, struct im_error *err)
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

/* Is what has been written the disk itself, and can it be read again? */
static bool readable_again(const struct run *run)
{
    return run->store && run->store->fd >= 0 && !run->job->to->encode;
}

/* Let one stage look at a disk that the file fd (-1: no file) is, byte for byte. */
static int look_at(struct run *run, unsigned i, struct im_disk *disk, int fd, struct im_error *err)
{
    struct im_look look = {
        .disk = disk, .fd = fd, .context = &run->context, .report = run->report
    };
    int r;

    run->doing = run->job->stage[i].stage->name;
    r = im_stage_look(run->job->stage[i].stage, &run->job->stage[i].args,
                      run->job->stage[i].optional, &look, err);

    im_look_done(&look);
    return r;
}

/* The file that the disk is, byte for byte; -1: there is none. */
static int file_of(struct im_disk *disk)
{
    uint64_t at = 0, len = 0;
    int fd = -1;

    if (!disk->plain || im_source_local(disk->source, 0, disk->size, &fd, &at, &len) < 0)
        return -1;
    return at == 0 && len == disk->size ? fd : -1;
}

/* Let those stages look that can be served from the image without fetching it twice. */
static int look_before(struct run *run, struct im_error *err)
{
    const struct im_job *job = run->job;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < job->stage_count; i++) {
        const struct im_stage *stage = job->stage[i].stage;

        if (!stage->look || (!run->source->direct && readable_again(run)))
            continue;
        if (run->source->sequential || run->at[i]->size == IM_SIZE_UNKNOWN)
            return im_fail(err, EOPNOTSUPP,
                           "'%s' cannot look at an image that comes through a pipe and goes where "
                           "it cannot be read again; write a raw disk into a file",
                           stage->name);
        r = look_at(run, i, run->at[i], file_of(run->at[i]), err);
    }
    return r;
}

/* The others look at what has been written.  Offsets do not move in any stage that follows a
 * validator, so it is the disk at every place of the chain, up to its size there. */
static int look_after(struct run *run, struct im_copy_result *result, struct im_error *err)
{
    const struct im_job *job = run->job;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < job->stage_count; i++) {
        uint64_t size = im_min(run->at[i]->size, result->size);
        struct im_disk *disk;

        if (!job->stage[i].stage->look || run->source->direct || !readable_again(run))
            continue;
        disk = im_disk_of_file(run->store->fd, size);
        r = disk ? look_at(run, i, disk, run->store->fd, err)
                 : im_fail(err, ENOMEM, "out of memory");
        im_disk_close(disk);
    }
    result->boot_mode = run->report->boot_mode;
    return r;
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

static int write_result(struct run *run, struct im_copy_result *result, struct im_error *err)
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
static int find_digests(struct run *run, struct im_copy_result *result, struct im_error *err)
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

static int write_manifest(struct run *run, const struct im_copy_result *result,
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
static int commit_file(struct run *run, const struct im_copy_result *result, struct im_error *err)
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

static int commit(struct run *run, const struct im_copy_result *result, struct im_error *err)
{
    im_progress_finish(run->progress);
    im_progress_stage(run->progress, "commit");
    return run->job->store ? commit_file(run, result, err)
                           : im_store_commit(run->store, result->file_size, err);
}

/* Looking is all that is wanted. */
static int look_only(struct run *run, struct im_copy_result *result, struct im_error *err)
{
    int r = look_before(run, err);

    result->size = run->disk->size;
    result->boot_mode = run->report->boot_mode;
    return r;
}

/* A pipe whose other end has failed is empty: that is no result. */
static int check_flow(const struct run *run, const struct im_copy_result *result,
                      struct im_error *err)
{
    if (!run->job->as_is || !run->fetched->sequential || result->size > 0)
        return 0;
    run->fetched->failed = true;
    return im_fail_code(err, EBADMSG, "NothingCame",
                        "nothing came through the pipe; did what stands in front of it fail?");
}

static int write_all(struct run *run, struct im_copy_result *result, struct im_error *err)
{
    int r;

    run->doing = "store";
    r = open_store(run, err);
    if (r == 0)
        r = look_before(run, err);
    if (r < 0)
        return r;
    run->doing = NULL;
    im_progress_stage(run->progress, "copy");
    r = write_result(run, result, err);
    if (r == 0)
        r = check_flow(run, result, err);
    if (r == 0)
        r = look_after(run, result, err);
    if (r < 0)
        return r;
    run->doing = "store";
    if (run->job->digests)
        r = find_digests(run, result, err);
    return r < 0 ? r : commit(run, result, err);
}

static int run_job(struct run *run, struct im_copy_result *result, struct im_error *err)
{
    int r;

    im_progress_stage(run->progress, "open");
    r = open_disk(run, err);
    result->format = run->format ? run->format->name : NULL;
    if (r == 0)
        r = run->job->only_look ? look_only(run, result, err) : write_all(run, result, err);
    return r;
}

/* Whose fault it was that nothing flowed: the first from the beginning that failed; NULL: nobody.
 */
static const char *culprit_of_flow(const struct run *run)
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
static const char *culprit(const struct run *run)
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
static struct run run_of(const struct im_job *job, struct im_progress *progress,
                         struct im_report *report, int64_t started_ms)
{
    return (struct run){
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
    struct run run = run_of(job, progress, report, im_clock_now_ms());
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

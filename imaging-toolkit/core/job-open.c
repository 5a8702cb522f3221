/* job-open - the chain of a job, from its source to the last disk; nothing is copied here. */

#include <config.h>

#include "core/job-inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/crypto.h"

/* Of disks in all formats but raw. */
#define SECTOR 512u

/* Text that tells a conversion from others: below 200 bytes for each part of a manifest, which has
 * at most 24 MiB with some hundred bytes for each. */
#define IDENTITY_MAX (64u << 20)

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
static bool can_resume(const struct im_run *run)
{
    const struct im_source *source = run->source;

    return run->format->resumes && !run->job->extents && source->ops->identify && !source->direct &&
           source->size != IM_SIZE_UNKNOWN;
}

/* What decides about the bytes of the volume and the order they are made in: the same text, the
 * same volume.  -EOPNOTSUPP when the source cannot tell. */
static int identify(const struct im_run *run, uint8_t ret_identity[IM_JOURNAL_IDENTITY])
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

static int begin_resume(struct im_run *run, struct im_error *err)
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
static int open_source(struct im_run *run, struct im_error *err)
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

static int apply_stages(struct im_run *run, struct im_error *err)
{
    const struct im_job *job = run->job;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < job->stage_count; i++) {
        const struct im_stage *stage = job->stage[i].stage;

        if (stage->apply) {
            run->doing = stage->name;
            r = im_stage_apply(stage, &job->stage[i].args, job->stage[i].optional, &run->context,
                               &run->disk, run->report, err);
        }
        run->at[i] = run->disk;
    }
    return r;
}

/* Nothing is begun that would end for want of a tool. */
static int check_tools(struct im_run *run, struct im_error *err)
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

static int decode(struct im_run *run, struct im_error *err)
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

int im_run_open(struct im_run *run, struct im_error *err)
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
    if (r == 0)
        r = im_job_check_size(job, run->disk, err);
    if (r < 0)
        return r;
    run->doing = "encode";
    return im_job_round_up(job, &run->context, &run->disk, err);
}

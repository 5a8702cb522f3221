/* job-look - the validators of a job: when they look, and at what. */

#include <config.h>

#include "core/job-inner.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

bool im_run_readable_again(const struct im_run *run)
{
    return run->store && run->store->fd >= 0 && !run->job->to->encode;
}

void im_run_look_done(struct im_run *run)
{
    im_look_done(&run->look);
    run->written = im_disk_close(run->written);
}

/* Let one stage look at a disk that the file fd (-1: no file) is, byte for byte.  Stages that look
 * at the same disk share what they find. */
static int look_at(struct im_run *run, unsigned i, struct im_disk *disk, int fd,
                   struct im_error *err)
{
    if (run->look.disk != disk) {
        im_look_done(&run->look);
        run->look = (struct im_look){
            .disk = disk, .fd = fd, .context = &run->context, .report = run->report
        };
    }
    run->doing = run->job->stage[i].stage->name;
    return im_stage_look(run->job->stage[i].stage, &run->job->stage[i].args,
                         run->job->stage[i].optional, &run->look, err);
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

bool im_job_looks_back(const struct im_job *job, const struct im_source *source,
                       const struct im_disk *disk)
{
    if (!source->sequential && disk->size != IM_SIZE_UNKNOWN)
        return true;
    return job->only_look || (job->store && strcmp(job->store, "-") != 0 && !job->to->encode);
}

int im_look_pipe(const struct im_stage *stage, struct im_error *err)
{
    return im_fail(err, EOPNOTSUPP,
                   "'%s' cannot look at an image that comes through a pipe and goes where "
                   "it cannot be read again; write a raw disk into a file",
                   stage->name);
}

/* A validator that cannot look fails, or where it is optional has found nothing out. */
static int look_at_pipe(struct im_run *run, unsigned i, struct im_error *err)
{
    const struct im_stage *stage = run->job->stage[i].stage;
    struct im_error why = { 0 };

    run->doing = stage->name;
    if (!run->job->stage[i].optional)
        return im_look_pipe(stage, err);
    (void)im_look_pipe(stage, &why);
    run->report->rule = stage->name;
    im_report_unknown(run->report, "%s", why.message);
    return 0;
}

int im_run_look_before(struct im_run *run, struct im_error *err)
{
    const struct im_job *job = run->job;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < job->stage_count; i++) {
        const struct im_stage *stage = job->stage[i].stage;

        if (!stage->look || (!run->source->direct && im_run_readable_again(run)))
            continue;
        r = run->source->sequential || run->at[i]->size == IM_SIZE_UNKNOWN
                ? look_at_pipe(run, i, err)
                : look_at(run, i, run->at[i], file_of(run->at[i]), err);
    }
    return r;
}

/* What has been written, up to `size` bytes. */
static int open_written(struct im_run *run, uint64_t size, struct im_error *err)
{
    if (run->written && run->written->size == size)
        return 0;
    im_run_look_done(run);
    run->look = (struct im_look){ 0 };
    run->written = im_disk_of_file(run->store->fd, size);
    return run->written ? 0 : im_fail(err, ENOMEM, "out of memory");
}

/* Offsets do not move in any stage that follows a validator, so it is the disk at every place of
 * the chain, up to its size there. */
int im_run_look_after(struct im_run *run, struct im_copy_result *result, struct im_error *err)
{
    const struct im_job *job = run->job;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < job->stage_count; i++) {
        if (!job->stage[i].stage->look || run->source->direct || !im_run_readable_again(run))
            continue;
        r = open_written(run, im_min(run->at[i]->size, result->size), err);
        if (r == 0)
            r = look_at(run, i, run->written, run->store->fd, err);
    }
    result->boot_mode = run->report->boot_mode;
    return r;
}

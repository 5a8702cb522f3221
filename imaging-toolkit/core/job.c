/* job - what one conversion is: source, format, stages, store; checked as it is put together. */

#include <config.h>

#include "core/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/inflate.h"

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
    for (unsigned j = 0; stage->moves && j < i; j++)
        if (job->stage[j].stage->look)
            return im_fail(
                err, EINVAL,
                "'%s' moves what is on the disk: '%s' has to look behind it, not in front", name,
                job->stage[j].stage->name);
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

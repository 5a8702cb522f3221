/* chain - check that stages fit together, and make a job of them. */

#include <config.h>

#include "core/chain.h"

#include <errno.h>
#include <string.h>

int im_chain_add(struct im_chain *chain, const char *name, struct im_link **ret_link,
                 struct im_error *err)
{
    const struct im_stage *stage = im_stage_find(name);

    if (!stage)
        return im_fail(err, EINVAL, "there is no stage '%s'; see 'imaging-toolkit stages'", name);
    for (unsigned i = 0; i < chain->count; i++)
        if (chain->link[i].stage == stage)
            return im_fail(err, EINVAL, "the stage '%s' is there already", name);
    if (chain->count == IM_CHAIN_MAX)
        return im_fail(err, EINVAL, "more than %d stages", IM_CHAIN_MAX);
    *ret_link = &chain->link[chain->count++];
    **ret_link = (struct im_link){ .stage = stage, .optional = stage->optional };
    return 0;
}

/* ---- does it fit? ---- */

static const char *cure_of(enum im_flow flows, enum im_flow takes)
{
    if (flows == IM_NOTHING)
        return takes == IM_NOTHING ? "nothing" : "put a 'fetch' in front";
    if (flows == IM_BYTES && takes == IM_DISK)
        return "put a 'decode' between";
    return flows == IM_DISK && takes == IM_BYTES ? "put an 'encode' between" : "leave it out";
}

static bool ends(const struct im_stage *stage)
{
    return stage->gives == IM_NOTHING;
}

/* What flows and where: a disk that is written as it is becomes its bytes; an image that has been
 * made goes nowhere but out. */
static int check_link(const struct im_chain *chain, unsigned i, enum im_flow flows, bool encoded,
                      struct im_error *err)
{
    const struct im_stage *stage = chain->link[i].stage;
    const char *before = i > 0 ? chain->link[i - 1].stage->name : "the beginning";

    if (encoded && !ends(stage))
        return im_fail(err, EINVAL, "'%s' cannot stand behind '%s': what is encoded is stored",
                       stage->name, before);
    if (flows == stage->takes || (flows == IM_DISK && stage->takes == IM_BYTES && ends(stage)))
        return 0;
    return im_fail(err, EINVAL, "'%s' takes %s, but out of '%s' comes %s; %s", stage->name,
                   im_flow_name(stage->takes), before, im_flow_name(flows),
                   cure_of(flows, stage->takes));
}

int im_chain_check(const struct im_chain *chain, struct im_error *err)
{
    enum im_flow flows = IM_NOTHING;
    bool encoded = false;
    const struct im_stage *last;

    if (chain->count == 0)
        return im_fail(err, EINVAL, "a chain of no stages does nothing");
    for (unsigned i = 0; i < chain->count; i++) {
        const struct im_stage *stage = chain->link[i].stage;
        int r;

        if (i > 0 && flows == IM_NOTHING)
            return im_fail(err, EINVAL, "'%s' cannot stand behind '%s', out of which nothing comes",
                           stage->name, chain->link[i - 1].stage->name);
        r = check_link(chain, i, flows, encoded, err);
        if (r < 0)
            return r;
        encoded |= stage->takes == IM_DISK && stage->gives == IM_BYTES;
        flows = i == 0 && chain->raw_disk ? IM_DISK : stage->gives;
    }
    last = chain->link[chain->count - 1].stage;
    if (flows != IM_NOTHING && last->class != IM_VALIDATOR)
        return im_fail(err, EINVAL, "what comes out of '%s' goes nowhere; put a 'store' behind it",
                       last->name);
    return 0;
}

/* ---- a job of it ---- */

static int order(struct im_link *link, struct im_job *job, struct im_error *err)
{
    struct im_args *args;
    int r;

    if (link->stage->order) {
        r = link->stage->order(&link->args, job, err);
        if (r < 0)
            im_error_prefix(err, "%s", link->stage->name);
        return r;
    }
    r = im_job_add_stage(job, link->stage->name, &args, err);
    if (r < 0)
        return r;
    job->stage[job->stage_count - 1].optional = link->optional;
    *args = link->args;
    link->args = (struct im_args){ 0 }; /* handed over */
    return 0;
}

static bool decodes(const struct im_chain *chain)
{
    for (unsigned i = 0; i < chain->count; i++)
        if (chain->link[i].stage->takes == IM_BYTES && chain->link[i].stage->gives == IM_DISK)
            return true;
    return false;
}

/* Bytes that nobody decodes are a disk of theirs, whatever they look like. */
static void take_as_is(struct im_job *job)
{
    job->format = im_format_find("raw");
    job->as_is = true;
}

int im_chain_job(struct im_chain *chain, struct im_job *ret_job, struct im_error *err)
{
    struct im_job job IM_JOB_DONE = { .max_size = UINT64_MAX, .to = im_format_find("raw") };
    const struct im_stage *last;
    int r = im_chain_check(chain, err);

    if (r < 0)
        return r;
    last = chain->link[chain->count - 1].stage;
    for (unsigned i = 0; r == 0 && i < chain->count; i++)
        r = order(&chain->link[i], &job, err);
    if (r < 0)
        return r;
    if (!decodes(chain))
        take_as_is(&job);
    job.only_look = last->gives != IM_NOTHING;
    r = im_job_check(&job, true, err);
    if (r < 0)
        return r;
    *ret_job = job;
    memset(&job, 0, sizeof(job)); /* handed over */
    im_chain_done(chain);
    return 0;
}

void im_chain_done(struct im_chain *chain)
{
    for (unsigned i = 0; i < chain->count; i++)
        im_args_done(&chain->link[i].args);
    *chain = (struct im_chain){ 0 };
}

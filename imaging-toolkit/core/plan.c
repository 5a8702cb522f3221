/* plan - build the chain of a job without running it, and ask everything in it. */

#include <config.h>

#include "core/plan.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "core/job-inner.h"
#include "core/need.h"

struct planning {
    const struct im_job *job;
    struct im_plan *plan;
    struct im_context context;
    struct im_source *source;
    struct im_disk *disk;
    bool known; /* source or disk are what would flow here */
};

/* ---- rows ---- */

static struct im_plan_row *add_row(struct planning *planning, const struct im_stage *stage,
                                   bool optional)
{
    struct im_plan_row *row = &planning->plan->row[planning->plan->count++];

    *row = (struct im_plan_row){ .stage = stage,
                                 .optional = optional,
                                 .gives = stage->gives,
                                 .bytes = IM_SIZE_UNKNOWN,
                                 .scratch_known = true };
    (void)im_stage_available(stage, &row->why);
    return row;
}

/* What r says about row: it would fail, or nobody knows yet; either way nothing is known behind.
 * What was only tried on the way to success is no reason. */
static void fails(struct planning *planning, struct im_plan_row *row, int r)
{
    if (r == 0 || r == -ENODATA)
        row->why = (struct im_error){ 0 };
    planning->known &= r == 0;
}

static void finish_row(struct planning *planning, struct im_plan_row *row)
{
    row->known = planning->known;
    if (planning->known && row->gives == IM_NOTHING)
        row->bytes = 0;
    else if (planning->known) {
        assert(planning->disk || planning->source);
        row->bytes = planning->disk ? planning->disk->size : planning->source->size;
    }
}

static int ask_capacity(struct planning *planning, struct im_plan_row *row,
                        const struct im_args *args, const struct im_input *input)
{
    const struct im_stage *stage = row->stage;
    int r = stage->required_capacity ? stage->required_capacity(args, &planning->context, input,
                                                                &row->scratch, &row->why)
                                     : 0;

    row->scratch_known = r == 0;
    return r == -ENODATA ? 0 : r;
}

/* ---- stages ---- */

/* Let it give what it would give. */
static int give(struct planning *planning, const struct im_stage *stage, const struct im_args *args,
                struct im_error *err)
{
    if (stage->open)
        return stage->open(args, &planning->context, &planning->source, err);
    if (stage->wrap)
        return stage->wrap(args, &planning->context, &planning->source, err);
    return stage->apply ? stage->apply(args, &planning->context, &planning->disk, err) : 0;
}

static int ask_and_give(struct planning *planning, struct im_plan_row *row,
                        const struct im_args *args)
{
    const struct im_input input = { .source = planning->disk ? NULL : planning->source,
                                    .disk = planning->disk };
    int accepts = im_stage_accepts(row->stage, args, &planning->context, &input, &row->why);
    int r = accepts;

    if (r == 0 || r == -ENODATA) /* how much it needs is often known all the same */
        r = ask_capacity(planning, row, args, &input);
    if (r == 0)
        r = accepts;
    if (r == 0 && row->stage->look &&
        !im_job_looks_back(planning->job, planning->source, planning->disk))
        r = im_look_pipe(row->stage, &row->why);
    return r < 0 ? r : give(planning, row->stage, args, &row->why);
}

static void plan_stage(struct planning *planning, unsigned i)
{
    const struct im_stage *stage = planning->job->stage[i].stage;
    struct im_plan_row *row = add_row(planning, stage, planning->job->stage[i].optional);
    bool looks = stage->class == IM_VALIDATOR;
    int r = -row->why.number;

    if (r == 0 && planning->known)
        r = ask_and_give(planning, row, &planning->job->stage[i].args);
    else
        row->scratch_known = !stage->required_capacity;
    if (looks || (row->optional && r != -ENODATA)) {
        if (r == 0 || r == -ENODATA)
            row->why = (struct im_error){ 0 };
    } else {
        fails(planning, row, r); /* whatever flows behind it is not known */
    }
    finish_row(planning, row);
}

/* All that stand where `here` says. */
static void plan_stages(struct planning *planning, bool (*here)(const struct im_stage *stage))
{
    for (unsigned i = 0; i < planning->job->stage_count; i++)
        if (here(planning->job->stage[i].stage))
            plan_stage(planning, i);
}

static bool opens(const struct im_stage *stage)
{
    return stage->open != NULL;
}

static bool wraps(const struct im_stage *stage)
{
    return stage->wrap != NULL;
}

static bool works_on_disk(const struct im_stage *stage)
{
    return stage->apply || stage->look;
}

static bool sinks(const struct im_stage *stage)
{
    return stage->sink != NULL;
}

/* ---- the steps of the job itself ---- */

/* A pipe can be read once, and that is not now. */
static void plan_fetch(struct planning *planning)
{
    struct im_plan_row *row = add_row(planning, im_stage_find("fetch"), false);
    int r;

    if (strcmp(planning->job->source, "-") == 0)
        r = -ENODATA;
    else
        r = im_source_open(planning->job->source, &planning->source, &row->why);
    if (r == 0)
        r = im_job_check_bytes(planning->job, planning->source, &row->why);
    fails(planning, row, r);
    finish_row(planning, row);
}

static void ask_format(struct planning *planning, struct im_plan_row *row,
                       const struct im_format *format)
{
    const struct im_open options = { .scratch = planning->context.scratch,
                                     .extents = planning->job->extents,
                                     .max_size = planning->job->max_size,
                                     .planning = true };
    int r = format->required_capacity
                ? format->required_capacity(planning->source, &options, &row->scratch, &row->why)
                : 0;

    row->scratch_known = r == 0;
    fails(planning, row, r);
}

static int open_disk(struct planning *planning, struct im_plan_row *row,
                     const struct im_format **format)
{
    int r =
        im_job_open_disk(planning->job, planning->source, true, format, &planning->disk, &row->why);

    if (r == 0)
        r = im_job_check_size(planning->job, planning->disk, &row->why);
    return r;
}

static void plan_decode(struct planning *planning)
{
    const struct im_job *job = planning->job;
    const struct im_format *format = job->format;
    struct im_plan_row *row = add_row(planning, im_stage_find("decode"), false);
    int r = 0;

    row->scratch_known = format && !format->required_capacity;
    if (planning->known)
        r = open_disk(planning, row, &format);
    if (r == 0 && format && format->needs)
        r = im_need_check(format->needs, &row->why);
    if (r == 0 && planning->known)
        ask_format(planning, row, format);
    fails(planning, row, r);
    row->detail = format ? format->name : NULL;
    finish_row(planning, row);
}

/* What is taken as it is needs no decoder, and no row. */
static void plan_as_is(struct planning *planning)
{
    struct im_plan_row *row = &planning->plan->row[planning->plan->count - 1];
    const struct im_format *format;

    if (planning->known)
        fails(planning, row, open_disk(planning, row, &format));
}

static void ask_encoder(struct planning *planning, struct im_plan_row *row)
{
    const struct im_job *job = planning->job;
    const struct im_encode options = { .subformat = job->subformat,
                                       .level = job->level,
                                       .jobs = planning->context.jobs,
                                       .scratch = planning->context.scratch };
    int r = 0;

    if (planning->known && job->to->encode_capacity)
        r = job->to->encode_capacity(planning->disk, &options, &row->scratch, &row->why);
    row->scratch_known = r == 0 && (planning->known || !job->to->encode_capacity);
    if (r == -ENODATA)
        row->why = (struct im_error){ 0 };
}

/* What an encoder makes of it only the work can tell. */
static void plan_encode(struct planning *planning)
{
    const struct im_job *job = planning->job;
    struct im_plan_row *row;
    int r = 0;

    if (job->only_look || (!job->to->encode && job->round_up == 0))
        return;
    row = add_row(planning, im_stage_find("encode"), false);
    row->detail = job->to->name;
    if (job->to->needs)
        r = im_need_check(job->to->needs, &row->why);
    if (r == 0 && planning->known)
        r = im_job_round_up(job, &planning->context, &planning->disk, &row->why);
    fails(planning, row, r);
    if (r == 0)
        ask_encoder(planning, row);
    finish_row(planning, row);
    if (job->to->encode)
        row->bytes = IM_SIZE_UNKNOWN;
}

static void plan_store(struct planning *planning)
{
    const struct im_job *job = planning->job;
    struct im_plan_row *row = add_row(planning, im_stage_find("store"), false);
    char *manifest IM_FREE = NULL;
    uint64_t unused;
    int r = im_store_check(job->store, job->force, &planning->plan->store_free, &row->why);

    if (r == 0 && job->digests)
        manifest = im_manifest_path(job->store);
    if (manifest)
        (void)im_store_check(manifest, job->force, &unused, &row->why);
    finish_row(planning, row);
}

/* ---- the whole ---- */

static void plan_rows(struct planning *planning)
{
    const struct im_job *job = planning->job;

    if (job->source)
        plan_fetch(planning);
    else
        plan_stages(planning, opens);
    plan_stages(planning, wraps);
    if (job->as_is)
        plan_as_is(planning);
    else
        plan_decode(planning);
    plan_stages(planning, works_on_disk);
    plan_encode(planning);
    plan_stages(planning, sinks);
    if (job->store)
        plan_store(planning);
}

/* A tool that is missing first: whatever else there is, it has to be installed. */
static const struct im_error *first_failure(const struct im_plan *plan)
{
    const struct im_error *first = NULL;

    for (unsigned i = 0; i < plan->count; i++) {
        const struct im_plan_row *row = &plan->row[i];

        if (row->optional || !row->why.number)
            continue;
        if (row->why.number == ENOPKG)
            return &row->why;
        if (!first)
            first = &row->why;
    }
    return first;
}

/* Validators look one after the other, and an encoder works when they are done: what these take
 * they let go before the next takes any. */
static bool passes(const struct im_plan_row *row)
{
    return row->stage->class == IM_VALIDATOR ||
           (row->stage->takes == IM_DISK && row->stage->gives == IM_BYTES);
}

static uint64_t sum(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Scratch that is held at once. */
struct need {
    uint64_t bytes;
    uint64_t beside; /* what further reservations count for themselves */
};

/* What the rows hold, those that are required or all that are not left out. */
static struct need add_up(const struct im_plan *plan, bool all)
{
    struct need need = { 0 };
    uint64_t passing = 0;

    for (unsigned i = 0; i < plan->count; i++) {
        const struct im_plan_row *row = &plan->row[i];

        if (row->optional && (!all || row->why.number))
            continue;
        if (passes(row)) {
            passing = im_max(passing, row->scratch);
        } else if (row->scratch > 0) {
            need.bytes = sum(need.bytes, row->scratch);
            need.beside += plan->each;
        }
    }
    need.bytes = sum(need.bytes, passing);
    if (need.beside > 0 && passing == 0)
        need.beside -= plan->each; /* of one, `most` has it */
    return need;
}

static bool fits(const struct im_plan *plan, struct need need)
{
    return need.bytes == 0 || sum(need.bytes, need.beside) <= plan->most;
}

static int too_much(const struct im_plan *plan, uint64_t bytes, struct im_error *err)
{
    return im_fail_code(err, ENOSPC, "ScratchLimit",
                        "%" PRIu64
                        " bytes of scratch are needed, but '%s', which is limited to %" PRIu64
                        ", can never hold more than %" PRIu64
                        "; raise the limit or name a larger place with --scratch",
                        bytes, plan->scratch, plan->limit, plan->most);
}

/* Validators that can never have what they need are left out where they are optional. */
static void leave_out(struct im_plan *plan)
{
    const struct need required = add_up(plan, false);

    for (unsigned i = 0; i < plan->count; i++) {
        struct im_plan_row *row = &plan->row[i];
        struct need need = { .bytes = sum(required.bytes, row->scratch),
                             .beside = required.beside + (required.bytes > 0 ? plan->each : 0) };

        if (row->optional && row->stage->look && !row->why.number && row->scratch > 0 &&
            !fits(plan, need))
            (void)too_much(plan, need.bytes, &row->why);
    }
}

static int check_scratch(struct im_plan *plan, struct im_error *err)
{
    struct need need;

    if (fits(plan, add_up(plan, false)))
        leave_out(plan);
    need = add_up(plan, true);
    plan->scratch_bytes = need.bytes;
    return fits(plan, need) ? 0 : too_much(plan, need.bytes, err);
}

int im_job_plan(const struct im_job *job, struct im_plan *plan, struct im_error *err)
{
    struct planning planning = {
        .job = job,
        .plan = plan,
        .context = { .scratch = job->scratch ? job->scratch : im_scratch_default(),
                     .jobs = job->jobs ? job->jobs : im_jobs_default(),
                     .planning = true },
        .known = true,
    };
    const struct im_error *why;

    plan->count = 0;
    plan->store_free = IM_SIZE_UNKNOWN;
    plan_rows(&planning);
    im_disk_close(planning.disk);
    im_source_close(planning.source);
    why = first_failure(plan);
    if (why && err)
        *err = *why;
    return why ? -why->number : check_scratch(plan, err);
}

bool im_job_takes_scratch(const struct im_job *job)
{
    if (job->to->encode_capacity || !job->format || job->format->required_capacity)
        return true;
    for (unsigned i = 0; i < job->stage_count; i++)
        if (job->stage[i].stage->required_capacity)
            return true;
    return false;
}

/* show-plan - make a plan with the room that scratch has, and print it. */

#include <config.h>

#include "cmd/request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "cache/cache.h"
#include "cache/scratch.h"
#include "cmd/cmd.h"

int im_plan_make(const struct im_job *job, struct im_plan **ret_plan, struct im_error *err)
{
    struct im_plan *plan = calloc(1, sizeof(*plan));
    struct im_error no_place = { 0 };
    struct im_cache_room room = { 0 };
    int r;

    *ret_plan = plan;
    if (!plan)
        return im_fail(err, ENOMEM, "out of memory");
    plan->scratch = job->scratch ? job->scratch : im_scratch_default();
    (void)im_cache_room(plan->scratch, &room, &no_place); /* one that is not there has none */
    plan->limit = room.limit;
    plan->most = room.most;
    plan->each = IM_SCRATCH_EACH;
    plan->free = room.free;
    r = im_job_plan(job, plan, err);
    if (r != -ENOSPC || !no_place.number || plan->scratch_bytes == 0)
        return r;
    if (err)
        *err = no_place; /* a place that is not there holds nothing; nobody has limited it */
    return -no_place.number;
}

/* The row that is at fault: the first that would not run, else the one that takes the most. */
static const char *culprit(const struct im_plan *plan, const struct im_error *verdict)
{
    const struct im_plan_row *most = &plan->row[0];

    for (unsigned i = 0; i < plan->count; i++) {
        if (!plan->row[i].optional && plan->row[i].why.number == verdict->number)
            return plan->row[i].stage->name;
        if (plan->row[i].scratch > most->scratch)
            most = &plan->row[i];
    }
    return most->stage->name;
}

int im_plan_check(const struct im_job *job, struct im_copy_result *ret_result, struct im_error *err)
{
    struct im_plan *plan IM_FREE = NULL;
    struct im_error verdict = { 0 };
    int r;

    if (!im_job_takes_scratch(job) || (job->source && strcmp(job->source, "-") == 0))
        return 0;
    r = im_plan_make(job, &plan, &verdict);
    if (r == 0)
        return 0;
    if (plan)
        ret_result->failed = culprit(plan, &verdict);
    if (err)
        *err = verdict;
    return r;
}

/* ---- warnings ---- */

#define WARNINGS_MAX (IM_PLAN_ROWS_MAX + 4)

struct warnings {
    unsigned count;
    char text[WARNINGS_MAX][IM_ERROR_MAX];
};

static void __attribute__((format(printf, 2, 3)))
warn(struct warnings *warnings, const char *format, ...)
{
    va_list words;

    if (warnings->count == WARNINGS_MAX)
        return;
    va_start(words, format);
    (void)vsnprintf(warnings->text[warnings->count++], IM_ERROR_MAX, format, words);
    va_end(words);
}

/* Most bytes that the result may take, where that can be told. */
static uint64_t result_bytes(const struct im_plan *plan)
{
    uint64_t bytes = IM_SIZE_UNKNOWN;

    for (unsigned i = 0; i < plan->count; i++)
        if (plan->row[i].gives != IM_NOTHING)
            bytes = plan->row[i].known ? plan->row[i].bytes : IM_SIZE_UNKNOWN;
    return bytes;
}

static void collect_warnings(const struct im_plan *plan, struct warnings *warnings)
{
    struct im_buffer unknown IM_BUFFER_DONE = IM_BUFFER(IM_ERROR_MAX);
    uint64_t bytes = result_bytes(plan);

    for (unsigned i = 0; i < plan->count; i++) {
        const struct im_plan_row *row = &plan->row[i];

        if (row->optional && row->why.number)
            warn(warnings, "'%s' would be left out: %.400s", row->stage->name, row->why.message);
        if (!row->scratch_known)
            (void)im_buffer_printf(&unknown, "%s%s", unknown.len ? ", " : "", row->stage->name);
    }
    if (unknown.len)
        warn(warnings, "how much scratch is needed is known only when it runs: %.400s",
             unknown.data);
    if (plan->scratch_bytes > plan->free)
        warn(warnings,
             "%" PRIu64 " bytes of scratch are needed, but only %" PRIu64 " are free in '%s' now",
             plan->scratch_bytes, plan->free, plan->scratch);
    if (bytes != IM_SIZE_UNKNOWN && plan->store_free != IM_SIZE_UNKNOWN && bytes > plan->store_free)
        warn(warnings,
             "the result may take %" PRIu64 " bytes, but only %" PRIu64
             " are free where it is stored",
             bytes, plan->store_free);
}

/* ---- text ---- */

static void print_row(const struct im_plan_row *row)
{
    char size[16], name[64];

    (void)snprintf(name, sizeof(name), "%s%s%s", row->stage->name, row->detail ? " " : "",
                   row->detail ? row->detail : "");
    printf("  %-24s %-8s", name, row->optional ? "optional" : "");
    if (row->why.number)
        printf(" %s", row->why.message);
    else if (row->gives == IM_NOTHING || row->stage->class == IM_VALIDATOR)
        printf(row->gives == IM_NOTHING ? " ok" : " looks");
    else if (row->bytes == IM_SIZE_UNKNOWN)
        printf(" gives %s, how many bytes is known when it runs",
               row->gives == IM_DISK ? "a disk" : "bytes");
    else
        printf(" gives %s %" PRIu64 " bytes (%s)", row->gives == IM_DISK ? "a disk of" : "",
               row->bytes, im_format_size(size, sizeof(size), row->bytes));
    if (row->scratch_known && row->scratch > 0)
        printf("; scratch: %" PRIu64 " bytes", row->scratch);
    putchar('\n');
}

static void print_text(const char *name, const struct im_plan *plan,
                       const struct warnings *warnings, const struct im_error *verdict)
{
    char shown[256], place[256];

    printf("%s:\n", im_text_printable(shown, sizeof(shown), name));
    for (unsigned i = 0; i < plan->count; i++)
        print_row(&plan->row[i]);
    printf("scratch: %" PRIu64 " bytes needed; %s has %" PRIu64 " free", plan->scratch_bytes,
           im_text_printable(place, sizeof(place), plan->scratch), plan->free);
    if (plan->limit != UINT64_MAX)
        printf(" of the %" PRIu64 " it is limited to", plan->limit);
    putchar('\n');
    for (unsigned i = 0; i < warnings->count; i++)
        printf("warning: %s\n", warnings->text[i]);
    puts(verdict->number ? "it would not run" : "it would run");
}

/* ---- JSON ---- */

static json_t *number_or_null(bool known, uint64_t bytes)
{
    return known && bytes <= INT64_MAX ? json_integer((json_int_t)bytes) : json_null();
}

static json_t *row_json(const struct im_plan_row *row)
{
    char text[IM_ERROR_MAX];
    bool reason = row->why.number != 0;

    return json_pack("{s:s, s:s, s:b, s:s*, s:s, s:o, s:o, s:b, s:b, s:s*}", "name",
                     row->stage->name, "class", im_class_name(row->stage->class), "optional",
                     row->optional, "format", row->detail, "gives", im_flow_name(row->gives),
                     "bytes",
                     number_or_null(row->known && row->bytes != IM_SIZE_UNKNOWN, row->bytes),
                     "scratch", number_or_null(row->scratch_known, row->scratch), "available",
                     row->why.number != ENOPKG, "accepts", !reason, "reason",
                     reason ? im_text_printable(text, sizeof(text), row->why.message) : NULL);
}

static int print_json(const char *name, const struct im_plan *plan, const struct warnings *warnings,
                      struct im_error *verdict)
{
    json_t *stages = json_array(), *told = json_array(), *object;
    char text[IM_ERROR_MAX];

    for (unsigned i = 0; i < plan->count; i++)
        (void)json_array_append_new(stages, row_json(&plan->row[i]));
    for (unsigned i = 0; i < warnings->count; i++)
        (void)json_array_append_new(
            told, json_string(im_text_printable(text, sizeof(text), warnings->text[i])));
    object = json_pack(
        "{s:s, s:o, s:{s:s, s:o, s:o, s:o}, s:o, s:b, s:i, s:s*, s:s*}", "workflow", name, "stages",
        stages, "scratch", "place", plan->scratch, "bytes",
        number_or_null(true, plan->scratch_bytes), "free", number_or_null(true, plan->free),
        "limit", number_or_null(true, plan->limit), "warnings", told, "runs", !verdict->number,
        "status", (int)im_error_status(verdict), "code", verdict->number ? verdict->code : NULL,
        "error", verdict->number ? im_text_printable(text, sizeof(text), verdict->message) : NULL);
    return im_print_json(object, verdict);
}

int im_plan_print(const char *name, const struct im_plan *plan, bool json, struct im_error *verdict)
{
    struct warnings *warnings IM_FREE = calloc(1, sizeof(*warnings));

    if (!warnings)
        return im_fail_memory(verdict);
    collect_warnings(plan, warnings);
    if (json)
        return print_json(name, plan, warnings, verdict);
    print_text(name, plan, warnings, verdict);
    return 0;
}

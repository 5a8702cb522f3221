/* job-json - a job as JSON: how the service asks for one, and how a result is told. */

#include <config.h>

#include "core/job.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "core/inflate.h"
#include "core/objects.h"
#include "core/urls.h"

static int get_size(const json_t *value, const char *name, uint64_t *ret, struct im_error *err)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return im_fail(err, EINVAL, "job: \"%s\" must be a number of bytes", name);
    *ret = (uint64_t)json_integer_value(value);
    return 0;
}

static int get_text(const json_t *value, const char *name, char **ret, struct im_error *err)
{
    if (!json_is_string(value) || !*json_string_value(value))
        return im_fail(err, EINVAL, "job: \"%s\" must be a string that is not empty", name);
    free(*ret);
    *ret = strdup(json_string_value(value));
    return *ret ? 0 : im_fail(err, ENOMEM, "out of memory");
}

/* {"prefix": URL, "dir": PATH} */
static int get_objects(const json_t *value, struct im_error *err)
{
    int r = get_text(json_object_get(value, "prefix"), "objects.prefix", &im_objects.prefix, err);

    return r < 0 ? r : get_text(json_object_get(value, "dir"), "objects.dir", &im_objects.dir, err);
}

static int get_format(const json_t *value, struct im_job *job, struct im_error *err)
{
    const char *name = json_string_value(value);

    job->format = name ? im_format_find(name) : NULL;
    if (!job->format)
        return im_fail(err, EINVAL, "job: \"format\" is '%s'; see 'imaging-toolkit stages'",
                       name ? name : "not a string");
    return 0;
}

/* An argument as text, as a workflow or a command line would give it. */
static int add_argument(struct im_args *args, const struct im_stage *stage, const char *name,
                        const json_t *value, struct im_error *err)
{
    char number[24];
    const char *text = json_string_value(value);

    if (json_is_integer(value)) {
        (void)snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        text = number;
    } else if (json_is_boolean(value)) {
        text = json_is_true(value) ? "yes" : "no";
    }
    if (!text)
        return im_fail(err, EINVAL, "\"%s\" of %s is neither text, number nor boolean", name,
                       stage->name);
    return im_args_add(args, stage->name, stage->params, name, text, err);
}

static int add_stage(json_t *item, struct im_job *job, struct im_error *err)
{
    const char *stage_name = json_string_value(json_object_get(item, "name"));
    struct im_args *args = NULL;
    const char *name;
    json_t *value;
    int r = im_job_add_stage(job, stage_name ? stage_name : "(no name)", &args, err);

    if (r < 0)
        return r;
    json_object_foreach(item, name, value)
    {
        if (strcmp(name, "name") == 0)
            continue;
        if (strcmp(name, "optional") == 0 && json_is_boolean(value))
            job->stage[job->stage_count - 1].optional = json_is_true(value);
        else
            r = add_argument(args, job->stage[job->stage_count - 1].stage, name, value, err);
        if (r < 0)
            return r;
    }
    return im_args_complete(args, stage_name, job->stage[job->stage_count - 1].stage->params, err);
}

static int get_stages(json_t *value, struct im_job *job, struct im_error *err)
{
    json_t *item;
    size_t i;

    if (!json_is_array(value))
        return im_fail(err, EINVAL, "job: \"stages\" must be a list");
    json_array_foreach(value, i, item)
    {
        int r = add_stage(item, job, err);

        if (r < 0) {
            im_error_prefix(err, "job");
            return r;
        }
    }
    return 0;
}

static int get_member(const char *name, json_t *value, struct im_job *job, struct im_error *err)
{
    uint64_t number = 0;
    int r;

    if (strcmp(name, "source") == 0)
        return get_text(value, name, &job->source, err);
    if (strcmp(name, "store") == 0)
        return get_text(value, name, &job->store, err);
    if (strcmp(name, "scratch") == 0)
        return get_text(value, name, &job->scratch, err);
    if (strcmp(name, "format") == 0)
        return get_format(value, job, err);
    if (strcmp(name, "stages") == 0)
        return get_stages(value, job, err);
    if (strcmp(name, "bytes") == 0)
        return get_size(value, name, &job->bytes, err);
    if (strcmp(name, "max_size") == 0)
        return get_size(value, name, &job->max_size, err);
    if (strcmp(name, "io_rate") == 0)
        return get_size(value, name, &job->io_rate, err);
    if (strcmp(name, "extents") == 0)
        return get_text(value, name, &job->extents, err);
    if (strcmp(name, "objects") == 0)
        return get_objects(value, err);
    if (strcmp(name, "urls") == 0)
        return im_urls_parse(value, err);
    if (strcmp(name, "volume") == 0)
        return get_text(value, name, &job->volume, err);
    if (strcmp(name, "round_up") == 0)
        return get_size(value, name, &job->round_up, err);
    if (strcmp(name, "digest") == 0 && json_is_string(value))
        return im_digest_parse(json_string_value(value), &job->digests, err);
    if (strcmp(name, "level") == 0 && json_is_string(value))
        return im_level_parse(json_string_value(value), &job->level, err);
    if ((strcmp(name, "to") == 0 || strcmp(name, "subformat") == 0) && json_is_string(value))
        return 0; /* get_output looks at both */
    if (strcmp(name, "sync") == 0 && json_is_boolean(value)) {
        job->no_sync = json_is_false(value);
        return 0;
    }
    if (strcmp(name, "force") == 0 && json_is_boolean(value)) {
        job->force = json_is_true(value);
        return 0;
    }
    if (strcmp(name, "resume") == 0 && json_is_boolean(value)) {
        job->resume = json_is_true(value);
        return 0;
    }
    if (strcmp(name, "confined") == 0 && json_is_boolean(value)) {
        job->confined = json_is_true(value);
        return 0;
    }
    if (strcmp(name, "earlier") == 0)
        return get_text(value, name, &job->earlier, err);
    if (strcmp(name, "jobs") == 0) {
        r = get_size(value, name, &number, err);
        if (r == 0 && (number < 1 || number > IM_INFLATE_JOBS_MAX))
            r = im_fail(err, EINVAL, "job: \"jobs\" is %" PRIu64 ", not 1 to %d", number,
                        IM_INFLATE_JOBS_MAX);
        job->jobs = (unsigned)number;
        return r;
    }
    return im_fail(err, EINVAL, "job: \"%s\" is not known or has the wrong type", name);
}

static int get_output(const json_t *object, struct im_job *job, struct im_error *err)
{
    const char *to = json_string_value(json_object_get(object, "to"));
    int r = im_job_set_output(job, to ? to : "raw",
                              json_string_value(json_object_get(object, "subformat")), err);

    if (r < 0)
        im_error_prefix(err, "job");
    return r;
}

static int get_members(json_t *object, struct im_job *job, struct im_error *err)
{
    const char *name;
    json_t *value;
    int r;

    json_object_foreach(object, name, value)
    {
        r = get_member(name, value, job, err);

        if (r < 0)
            return r;
    }
    r = im_job_check(job, false, err);
    if (r < 0) {
        im_error_prefix(err, "job");
        return r;
    }
    return get_output(object, job, err);
}

int im_job_parse(const char *json, struct im_job *ret_job, struct im_error *err)
{
    struct im_job job IM_JOB_DONE = { .max_size = UINT64_MAX };
    json_error_t where;
    json_t *object = json_loads(json, JSON_REJECT_DUPLICATES, &where);
    int r;

    if (!object)
        return im_fail(err, EINVAL, "job: line %d, column %d: %s", where.line, where.column,
                       where.text);
    if (im_json_lost()) { /* a character of a string, too */
        json_decref(object);
        return im_fail_memory(err);
    }
    r = json_is_object(object) ? get_members(object, &job, err)
                               : im_fail(err, EINVAL, "job: a JSON object is expected");
    json_decref(object);
    if (r < 0)
        return r;
    *ret_job = job;
    memset(&job, 0, sizeof(job)); /* handed over */
    return 0;
}

int im_job_result_json(const struct im_job *job, const struct im_copy_result *result,
                       char **ret_text, struct im_error *err)
{
    json_t *object = json_pack("{s:s*, s:s*, s:s*}", "format", result->format, "to",
                               job->only_look ? NULL : job->to->name, "store", job->store);
    json_t *numbers = im_result_json(result);
    char *text IM_FREE = NULL;

    if (object && job->report && job->report->count > 0)
        (void)json_object_set_new(object, "findings", im_report_json(job->report));

    if (object && numbers && json_object_update(object, numbers) == 0)
        text = json_dumps(object, JSON_COMPACT);
    json_decref(numbers);
    json_decref(object);
    if (im_json_lost() || !text)
        return im_fail(err, ENOMEM, "'%s' is whole, but there is no memory to tell what it holds",
                       job->store ? job->store : "the result");
    *ret_text = im_steal(text);
    return 0;
}

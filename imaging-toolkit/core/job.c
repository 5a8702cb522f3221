/* job - one conversion from start to commit. */

#include <config.h>

#include "core/job.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "core/inflate.h"
#include "core/source.h"
#include "core/store.h"

static unsigned default_jobs(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    return cores < 1 ? 1 : cores > IM_INFLATE_JOBS_MAX ? IM_INFLATE_JOBS_MAX : (unsigned)cores;
}

/* ---- from JSON ---- */

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

static int get_format(const json_t *value, struct im_job *job, struct im_error *err)
{
    const char *name = json_string_value(value);

    job->format = name ? im_format_find(name) : NULL;
    if (!job->format)
        return im_fail(err, EINVAL, "job: \"format\" is '%s'; see 'imaging-toolkit stages'",
                       name ? name : "not a string");
    return 0;
}

static int get_stage(const json_t *value, struct im_job *job, struct im_error *err)
{
    const char *name = json_string_value(json_object_get(value, "name"));
    const json_t *size = json_object_get(value, "size");
    const struct im_stage *stage = name ? im_stage_find(name) : NULL;
    unsigned i = job->stage_count;

    if (!stage)
        return im_fail(err, EINVAL, "job: there is no stage '%s'; see 'imaging-toolkit stages'",
                       name ? name : "(no name)");
    if (i == IM_JOB_STAGES_MAX)
        return im_fail(err, EINVAL, "job: more than %d stages", IM_JOB_STAGES_MAX);
    job->stage[i].stage = stage;
    job->stage_count++;
    return size ? get_size(size, "size", &job->stage[i].args.size, err) : 0;
}

static int get_stages(const json_t *value, struct im_job *job, struct im_error *err)
{
    const json_t *item;
    size_t i;

    if (!json_is_array(value))
        return im_fail(err, EINVAL, "job: \"stages\" must be a list");
    json_array_foreach(value, i, item)
    {
        int r = get_stage(item, job, err);

        if (r < 0)
            return r;
    }
    return 0;
}

static int get_member(const char *name, const json_t *value, struct im_job *job,
                      struct im_error *err)
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
    if (strcmp(name, "max_size") == 0)
        return get_size(value, name, &job->max_size, err);
    if (strcmp(name, "force") == 0 && json_is_boolean(value)) {
        job->force = json_is_true(value);
        return 0;
    }
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

static int get_members(json_t *object, struct im_job *job, struct im_error *err)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        int r = get_member(name, value, job, err);

        if (r < 0)
            return r;
    }
    if (!job->source || !job->format || !job->store)
        return im_fail(err, EINVAL, "job: \"source\", \"format\" and \"store\" are required");
    return 0;
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
    r = json_is_object(object) ? get_members(object, &job, err)
                               : im_fail(err, EINVAL, "job: a JSON object is expected");
    json_decref(object);
    if (r < 0)
        return r;
    *ret_job = job;
    memset(&job, 0, sizeof(job)); /* handed over */
    return 0;
}

void im_job_done(struct im_job *job)
{
    free(job->source);
    free(job->store);
    free(job->scratch);
    memset(job, 0, sizeof(*job));
}

/* ---- run ---- */

struct run {
    struct im_source *source;
    struct im_disk *disk;
    struct im_store *store;
};

static void run_done(struct run *run)
{
    im_store_close(run->store);
    im_disk_close(run->disk);
    im_source_close(run->source);
}

static int check_size(const struct im_job *job, const struct im_disk *disk, struct im_error *err)
{
    if (disk->size == IM_SIZE_UNKNOWN || disk->size <= job->max_size)
        return 0;
    return im_fail(err, EFBIG,
                   "the image holds a disk of %" PRIu64 " bytes, more than the %" PRIu64
                   " allowed; ask for a volume of at least %" PRIu64 " GiB",
                   disk->size, job->max_size,
                   (disk->size >> 30) + ((disk->size & 0x3fffffff) != 0));
}

static int open_disk(const struct im_job *job, struct run *run, struct im_error *err)
{
    struct im_open options = {
        .scratch = job->scratch,
        .max_size = job->max_size,
    };
    int r = im_source_open(job->source, &run->source, err);

    if (r == 0)
        r = im_format_open(job->format, run->source, &options, &run->disk, err);
    if (r == 0)
        r = check_size(job, run->disk, err);
    for (unsigned i = 0; r == 0 && i < job->stage_count; i++)
        r = job->stage[i].stage->apply(&job->stage[i].args, &run->disk, err);
    return r;
}

static int run_job(const struct im_job *job, struct run *run, struct im_progress *progress,
                   struct im_copy_result *ret_result, struct im_error *err)
{
    struct im_store_options options = { .force = job->force };
    struct im_copy_limits limits = {
        .jobs = job->jobs ? job->jobs : default_jobs(),
        .max_size = job->max_size,
    };
    int r;

    im_progress_stage(progress, "open");
    r = open_disk(job, run, err);
    if (r < 0)
        return r;
    options.size = run->disk->size;
    r = im_store_open(job->store, &options, &run->store, err);
    if (r < 0)
        return r;
    im_progress_stage(progress, "copy");
    r = im_copy(run->disk, run->store, &limits, progress, ret_result, err);
    if (r == 0)
        r = im_source_finish(run->source, err);
    if (r < 0)
        return r;
    im_progress_finish(progress);
    im_progress_stage(progress, "commit");
    return im_store_commit(run->store, ret_result->size, err);
}

int im_job_run(const struct im_job *job, struct im_progress *progress,
               struct im_copy_result *ret_result, struct im_error *err)
{
    struct run run = { 0 };
    int r = run_job(job, &run, progress, ret_result, err);

    run_done(&run);
    return r;
}

char *im_job_result_json(const struct im_job *job, const struct im_copy_result *result)
{
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:I}", "format", job->format->name, "store", job->store, "size",
                  (json_int_t)result->size, "data_bytes", (json_int_t)result->data_bytes);
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

    json_decref(object);
    return text;
}

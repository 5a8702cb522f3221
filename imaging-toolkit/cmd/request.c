/* request - read the command lines of `run` and `plan`. */

#include <config.h>

#include "cmd/request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/cmd.h"

enum {
    OPT_FROM = 256,
    OPT_UNTIL,
    OPT_KEEP,
    OPT_DRY_RUN,
    OPT_LIST,
    OPT_SCRATCH,
    OPT_JOBS,
    OPT_IO_RATE,
    OPT_PROGRESS_FD,
    OPT_OUTPUT,
};

static const struct option options[] = {
    { "from", required_argument, NULL, OPT_FROM },
    { "until", required_argument, NULL, OPT_UNTIL },
    { "keep-on-failure", no_argument, NULL, OPT_KEEP },
    { "dry-run", no_argument, NULL, OPT_DRY_RUN },
    { "list", no_argument, NULL, OPT_LIST },
    { "scratch", required_argument, NULL, OPT_SCRATCH },
    { "jobs", required_argument, NULL, OPT_JOBS },
    { "io-rate", required_argument, NULL, OPT_IO_RATE },
    { "progress-fd", required_argument, NULL, OPT_PROGRESS_FD },
    { "output", required_argument, NULL, OPT_OUTPUT },
    { NULL, 0, NULL, 0 },
};

static int set_option(int option, struct im_request *request, struct im_error *err)
{
    switch (option) {
    case OPT_FROM:
        request->ask.from = optarg;
        return 0;
    case OPT_UNTIL:
        request->ask.until = optarg;
        return 0;
    case OPT_KEEP:
        request->keep = true;
        return 0;
    case OPT_DRY_RUN:
        request->dry_run = true;
        return 0;
    case OPT_LIST:
        request->list = true;
        return 0;
    case OPT_SCRATCH:
        request->scratch = optarg;
        return 0;
    case OPT_JOBS:
        return im_parse_jobs(optarg, &request->jobs, err);
    case OPT_IO_RATE:
        return im_parse_rate(optarg, &request->io_rate, err);
    case OPT_PROGRESS_FD:
        return im_parse_fd(optarg, &request->progress_fd, err);
    case OPT_OUTPUT:
        return im_parse_output(optarg, &request->json, err);
    default:
        return -EINVAL; /* err was filled by im_getopt */
    }
}

/* A stage, with '?' behind it or not, begins a chain; but a workflow of its name comes first. */
static bool is_stage(const char *word)
{
    char name[64];

    (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(word, "?"), word);
    return im_stage_find(name) != NULL;
}

static int find_workflow(struct im_request *request, const char *const *words, unsigned count,
                         struct im_error *err)
{
    request->words = !im_workflow_is_ours(words[0]) && is_stage(words[0]);
    if (request->words)
        return im_workflow_of_words(words, count, &request->workflow, err);
    request->ask.inputs = words + 1;
    request->ask.count = count - 1;
    return im_workflow_load(words[0], &request->workflow, err);
}

static int check(const struct im_request *request, struct im_error *err)
{
    bool partly = request->ask.from || request->ask.until || request->keep;

    if (!request->workflow && (request->scratch || request->jobs || request->io_rate))
        return im_fail(err, EINVAL,
                       "--scratch, --jobs and --io-rate need the name of a workflow; a job on "
                       "standard input says them itself");
    if (!request->workflow && (partly || request->dry_run))
        return im_fail(err, EINVAL,
                       "--from, --until, --keep-on-failure and --dry-run need the name "
                       "of a workflow; 'run --list' lists them");
    if (request->words && partly)
        return im_fail(err, EINVAL,
                       "--from, --until and --keep-on-failure are for workflows; of "
                       "stages on the command line give those that are wanted");
    return 0;
}

int im_request_parse(int argc, char **argv, struct im_request *ret_request, struct im_error *err)
{
    struct im_request request = { .progress_fd = -1 };
    int r = 0;
    int c;

    while (r == 0 && (c = im_getopt(argc, argv, ":", options, err)) != -1)
        r = set_option(c, &request, err);
    if (r == 0 && optind < argc)
        r = find_workflow(&request, (const char *const *)argv + optind, (unsigned)(argc - optind),
                          err);
    if (r == 0)
        r = check(&request, err);
    if (r < 0)
        im_request_done(&request);
    else
        *ret_request = request;
    return r;
}

void im_request_done(struct im_request *request)
{
    request->workflow = im_workflow_free(request->workflow);
}

int im_request_job(const struct im_request *request, const struct im_workflow_ask *ask,
                   struct im_job *ret_job, struct im_error *err)
{
    struct im_chain chain IM_CHAIN_DONE = { 0 };
    int r = im_workflow_chain(request->workflow, ask, &chain, err);

    if (r == 0)
        r = im_chain_job(&chain, ret_job, err);
    if (r < 0)
        return r;
    ret_job->jobs = request->jobs;
    ret_job->io_rate = request->io_rate;
    if (request->scratch) {
        ret_job->scratch = strdup(request->scratch);
        if (!ret_job->scratch) {
            im_job_done(ret_job);
            return im_fail(err, ENOMEM, "out of memory");
        }
    }
    return 0;
}

/* ---- run --list ---- */

/* As many workflows as anybody has installed. */
#define LISTED_MAX 64

static void list_one(const char *path)
{
    struct im_workflow *workflow IM_WORKFLOW_FREE = NULL;
    const char *file = strrchr(path, '/') + 1;
    struct im_error err = { 0 };

    if (im_workflow_load(path, &workflow, &err) < 0) {
        printf("%.*s (not to be used: %s)\n", (int)strcspn(file, "."), file, err.message);
        return;
    }
    printf("%.*s - %s\n", (int)strcspn(file, "."), file, workflow->summary);
    for (unsigned i = 0; i < workflow->input_count; i++) {
        const struct im_workflow_input *input = &workflow->input[i];

        printf("    %-11s %s%s%s%s\n", input->name, input->summary,
               input->otherwise  ? " [default: "
               : input->optional ? " [optional]"
                                 : "",
               input->otherwise ? input->otherwise : "", input->otherwise ? "]" : "");
    }
}

static json_t *one_json(const char *path)
{
    struct im_workflow *workflow IM_WORKFLOW_FREE = NULL;
    const char *file = strrchr(path, '/') + 1;
    struct im_error err = { 0 };
    json_t *inputs = json_array();

    if (im_workflow_load(path, &workflow, &err) < 0) {
        json_decref(inputs);
        return json_pack("{s:s%, s:b, s:s}", "name", file, strcspn(file, "."), "available", 0,
                         "reason", err.message);
    }
    for (unsigned i = 0; i < workflow->input_count; i++) {
        const struct im_workflow_input *input = &workflow->input[i];

        (void)json_array_append_new(
            inputs, json_pack("{s:s, s:b, s:s*, s:s}", "name", input->name, "required",
                              !input->optional && !input->otherwise, "default", input->otherwise,
                              "summary", input->summary));
    }
    return json_pack("{s:s%, s:b, s:s, s:o}", "name", file, strcspn(file, "."), "available", 1,
                     "summary", workflow->summary, "inputs", inputs);
}

int im_request_list(bool json, struct im_error *err)
{
    json_t *list = json ? json_array() : NULL;
    char *paths[LISTED_MAX];
    unsigned count = im_workflow_list(paths, LISTED_MAX);

    for (unsigned i = 0; i < count; i++) {
        if (list)
            (void)json_array_append_new(list, one_json(paths[i]));
        else
            list_one(paths[i]);
        free(paths[i]);
    }
    return json ? im_print_json(list, err) : 0;
}

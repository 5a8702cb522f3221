/* euca-describe-conversion-tasks - show the state of some imports, or of all; once, or until they
 * have ended. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#include "command.h"
#include "filter.h"
#include "options.h"
#include "output.h"
#include "task.h"
#include "watch.h"

/* Seconds between two looks of --watch: a day. */
#define WATCH_MAX_S (24 * 60 * 60)

struct own {
    struct euca_list filters;
    const char *output;
    const char *watch;
};

static const struct euca_option own_options[] = {
    EUCA_TEXTS(own, filters, "filter", '\0'),
    EUCA_TEXT(own, output, "output", '\0'),
    EUCA_PERHAPS(own, watch, "watch", '\0'),
    { 0 },
};

static int check_output(const struct own *own, bool *ret_json, struct im_error *err)
{
    *ret_json = own->output && strcmp(own->output, "json") == 0;
    if (own->output && !*ret_json && strcmp(own->output, "text") != 0)
        return euca_usage(err,
                          "argument --output: invalid choice: '%s' (choose from 'text', 'json')",
                          own->output);
    return 0;
}

static int check_watch(const struct own *own, int64_t *ret_every_ms, struct im_error *err)
{
    uint64_t seconds = 0;
    int r = 0;

    if (own->watch && *own->watch) {
        r = euca_option_number("--watch", own->watch, WATCH_MAX_S, &seconds, err);
        if (r == 0 && seconds == 0)
            r = euca_usage(err, "argument --watch: value must be positive");
    }
    if (r == 0)
        *ret_every_ms = (int64_t)seconds * 1000;
    return r;
}

static int check_ids(char **ids, int count, struct im_error *err)
{
    if (count > EUCA_TASK_IDS_MAX)
        return euca_usage(err, "argument TASK: %d tasks are too many for one request; at most %d",
                          count, EUCA_TASK_IDS_MAX);
    /* An empty id would not be sent, and all tasks would be shown. */
    for (int i = 0; i < count; i++)
        if (!*ids[i])
            return euca_usage(err, "argument TASK: it is empty");
    return 0;
}

/* Put those that fit first, in their order; their number.  The others stay behind them: whether the
 * service knows an id is asked of all (euca_task_check_ids). */
static size_t choose(const struct euca_filter *filter, struct euca_tasks *tasks)
{
    size_t chosen = 0;

    for (size_t i = 0; i < tasks->count; i++) {
        struct euca_task task = tasks->task[i];

        if (!euca_filter_matches(filter, &task))
            continue;
        tasks->task[i] = tasks->task[chosen];
        tasks->task[chosen++] = task;
    }
    return chosen;
}

/* Show them once. */
static int show(const struct euca_watch *what, struct im_error *err)
{
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
    struct euca_tasks chosen;
    int r = euca_task_describe(what->ec2, what->ids, what->id_count, &tasks, err);

    if (r < 0)
        return r;
    chosen = (struct euca_tasks){ choose(what->filter, &tasks), tasks.task };
    if (what->json) {
        if (euca_print_tasks_json(stdout, &chosen) < 0)
            return im_fail_memory(err);
    } else {
        for (size_t i = 0; i < chosen.count; i++)
            euca_print_task(stdout, &chosen.task[i]);
    }
    return euca_task_check_ids(&tasks, what->ids, what->id_count, err);
}

static int run(const char *program, const struct euca_command *command, int argc, char **argv,
               struct im_error *err)
{
    struct euca_common common = { 0 };
    struct own own = { 0 };
    const struct euca_option_group groups[] = { { own_options, &own }, { NULL, NULL } };
    struct euca_filter filter EUCA_FILTER_DONE = { 0 };
    struct euca_endpoint ec2 EUCA_ENDPOINT_DONE = { 0 };
    struct euca_watch what = { .program = program, .ec2 = &ec2, .filter = &filter };
    int first;
    int r = euca_options_parse(program, command, &common, groups, argc, argv, &first, err);

    if (r != 0)
        return r;
    r = check_output(&own, &what.json, err);
    if (r == 0)
        r = check_watch(&own, &what.every_ms, err);
    if (r == 0)
        r = euca_filter_parse(&own.filters, &filter, err);
    if (r == 0)
        r = check_ids(argv + first, argc - first, err);
    if (r == 0)
        r = euca_find_ec2(program, &common, &ec2, err);
    if (r < 0)
        return r;
    what.ids = (const char *const *)argv + first;
    what.id_count = (size_t)(argc - first);
    return own.watch ? euca_watch(&what, err) : show(&what, err);
}

const struct euca_command euca_command_describe_conversion_tasks = {
    .name = "describe-conversion-tasks",
    .usage = "[options] [TASK ...]",
    .help = "\n"
            "Examples:\n"
            "  euca-describe-conversion-tasks\n"
            "  euca-describe-conversion-tasks --watch import-vol-1a2b3c4d\n"
            "  euca-describe-conversion-tasks --filter state=active --output json\n"
            "\n"
            "Show the state of import tasks: those named, or all.  A failed import is\n"
            "\"cancelled\", and its StatusMessage tells why.\n"
            "\n"
            "      --filter NAME=VALUE[,VALUE...]   only tasks that have one of the values,\n"
            "                            where * and ? are wildcards; several names must fit:\n"
            "                            conversion-task-id, state, task-type, volume-id,\n"
            "                            status-message, instance-id, availability-zone,\n"
            "                            format, platform, description\n"
            "      --output {text,json}  json: as the AWS CLI prints it\n"
            "      --watch[=SECONDS]     show what changes until all of them have ended\n",
    .run = run,
};

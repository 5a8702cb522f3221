/* task - `imaging-service task …`: arguments in, rows of the task table out. */

#include <config.h>

#include "cmd/task.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cmd/place.h"
#include "cmd/rows.h"
#include "cmd/task-rows.h"
#include "task/state.h"

static const char usage[] =
    "Examples:\n"
    "  imaging-service task list --standalone DIR --state active\n"
    "  imaging-service task show --standalone DIR import-vol-0a1b2c3d\n"
    "  imaging-service task stages --config FILE --output json\n"
    "\n"
    "Usage: imaging-service task COMMAND --standalone DIR|--config FILE [OPTION]...\n"
    "  list             a line for each task of all accounts, the oldest first: task,\n"
    "                   account, kind, state, created, progress (%), zone, message\n"
    "  show TASK        everything about one task and its stages\n"
    "  stages [TASK]    a line for each stage, of one task or of all: task, number,\n"
    "                   kind, state, worker, claims so far, seconds that its lease\n"
    "                   lasts, seconds until it is due, deaths of workers, waits for\n"
    "                   the upload, failed tries, bytes done, bytes in all, volume,\n"
    "                   message\n"
    "  --account ID     list: only the tasks of that account\n"
    "  --state STATE    list: active, cancelling, cancelled or completed\n"
    "  --output text|json, --help\n"
    "Columns stand between tabs; '-' is what is not known or does not apply.  What\n"
    "has ended is kept for seven days.  Services may run; nothing is changed.\n"
    "Exit status: 0 done, 1 failed, 2 wrong usage.\n";

struct options {
    struct place place;
    const char *account, *id; /* NULL: of all */
    bool by_state;
    enum task_state state;
};

/* What one command works with. */
struct look {
    const struct options *options;
    struct task_table *table;
    struct rows rows;
    int64_t now_ms; /* the database's */
};

/* ---- the commands ---- */

static int list_one(void *arg, const struct task *task)
{
    struct look *look = arg;

    if (look->options->by_state && task->state != look->options->state)
        return 0;
    return rows_add(&look->rows, task_row(task));
}

static int run_list(struct look *look, struct im_error *err)
{
    int r = task_list(look->table, look->options->account, list_one, look, err);

    return r < 0 ? r : rows_end(&look->rows, err);
}

static int list_stages(void *arg, const struct task *task)
{
    struct look *look = arg;
    int r = 0;

    for (size_t i = 0; i < task->stage_count && r == 0; i++)
        r = rows_add(&look->rows, stage_row(task, &task->stage[i], look->now_ms));
    return r;
}

static int run_stages(struct look *look, struct im_error *err)
{
    struct task task TASK_DONE = { 0 };
    int r;

    if (look->options->id) {
        r = task_find(look->table, look->options->id, &task, err);
        if (r == 0)
            r = list_stages(look, &task);
    } else {
        r = task_list(look->table, NULL, list_stages, look, err);
    }
    return r < 0 ? r : rows_end(&look->rows, err);
}

/* {task…, "tags": {…}, "stages": [{…}, …]} */
static json_t *whole(const struct task *task, int64_t now_ms)
{
    json_t *row = task_row_whole(task), *stages = json_array();
    int r = json_object_set_new(row, "tags", task_tags_row(task));

    for (size_t i = 0; i < task->stage_count && r == 0; i++)
        r = json_array_append_new(stages, stage_row_whole(&task->stage[i], now_ms));
    if (json_object_set_new(row, "stages", stages) == 0 && r == 0)
        return row;
    json_decref(row);
    return NULL;
}

static int print_whole(json_t *row, struct im_error *err)
{
    json_t *tags JSON_DONE = json_incref(json_object_get(row, "tags"));
    json_t *stages JSON_DONE = json_incref(json_object_get(row, "stages"));
    size_t i;
    json_t *stage;

    (void)json_object_del(row, "tags");
    (void)json_object_del(row, "stages");
    rows_print_fields("", row);
    rows_print_fields("tag.", tags);
    json_array_foreach(stages, i, stage)
    {
        char prefix[32];

        (void)snprintf(prefix, sizeof(prefix), "stage.%zu.", i + 1);
        rows_print_fields(prefix, stage);
    }
    return rows_flush(err);
}

static int run_show(struct look *look, struct im_error *err)
{
    struct task task TASK_DONE = { 0 };
    json_t *row JSON_DONE = NULL;
    int r = task_find(look->table, look->options->id, &task, err);

    if (r < 0)
        return r;
    row = whole(&task, look->now_ms);
    if (!row)
        return -ENOMEM;
    return look->options->place.json ? rows_print_json(row, err) : print_whole(row, err);
}

static const struct command {
    const char *name;
    int words; /* it takes behind its name, at most */
    bool wants;
    int (*run)(struct look *look, struct im_error *err);
} commands[] = {
    { "list", 0, false, run_list },
    { "show", 1, true, run_show },
    { "stages", 1, false, run_stages },
};

/* ---- arguments ---- */

static int take_option(void *arg, int option, const char *value, struct im_error *err)
{
    struct options *options = arg;

    switch (option) {
    case 'a':
        options->account = value;
        return *value ? 0 : im_fail(err, EINVAL, "--account wants the id of an account");
    case 't':
        options->by_state = true;
        return task_state_parse(value, &options->state) == 0
                   ? 0
                   : im_fail(err, EINVAL,
                             "--state wants active, cancelling, cancelled or completed, not "
                             "'%.40s'",
                             value);
    default:
        return place_take(&options->place, option, value, "task", usage, err);
    }
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* The words between the options: the command, and which task. */
static int take_words(int argc, char **argv, struct options *options,
                      const struct command **ret_command, struct im_error *err)
{
    const struct command *command = find_command(optind < argc ? argv[optind] : NULL);
    int words = argc - optind - 1;

    if (!command)
        return im_fail(err, EINVAL,
                       "'%.40s' is no command; there are list, show and stages: see "
                       "imaging-service task --help",
                       optind < argc ? argv[optind] : "");
    if (command->wants && words < 1)
        return im_fail(err, EINVAL, "%s wants the id of a task", command->name);
    if (words > command->words)
        return im_fail(err, EINVAL, "'%.80s' is one argument too many",
                       argv[optind + 1 + command->words]);
    if (command->run != run_list && (options->account || options->by_state))
        return im_fail(err, EINVAL, "--account and --state are for list alone");
    options->id = words > 0 ? argv[optind + 1] : NULL;
    *ret_command = command;
    return place_check(&options->place, err);
}

static int parse(int argc, char **argv, struct options *options, const struct command **ret_command,
                 struct im_error *err)
{
    static const struct option known[] = { PLACE_OPTIONS,
                                           { "account", required_argument, NULL, 'a' },
                                           { "state", required_argument, NULL, 't' },
                                           { 0 } };
    int r = place_parse(argc, argv, known, take_option, options, err);

    return r != 0 ? r : take_words(argc, argv, options, ret_command, err);
}

static int look_at(const struct options *options, const struct command *command,
                   struct im_error *err)
{
    struct look look = { .options = options, .rows = { .json = options->place.json } };
    struct svc_conf conf = { 0 };
    int r = place_open(&options->place, &conf, &look.table, err);

    if (r == 0)
        r = task_now(look.table, &look.now_ms, err);
    if (r == 0)
        r = command->run(&look, err);
    (void)task_table_close(look.table);
    svc_conf_done(&conf);
    if (r == -ENOMEM)
        return im_fail(err, ENOMEM, "out of memory");
    return r;
}

int svc_task_command(int argc, char **argv)
{
    struct options options = { 0 };
    const struct command *command = NULL;
    struct im_error err = { 0 };
    int r = parse(argc, argv, &options, &command, &err);
    bool understood = r == 0;

    if (r == 0)
        r = look_at(&options, command, &err);
    return place_status(r, understood, &err);
}

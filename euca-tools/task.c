/* task - DescribeConversionTasks and CancelConversionTask as functions, answers understood. */

#include <config.h>

#include "task.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "client.h"

int euca_task_describe(const struct euca_endpoint *ec2, const char *const *ids, size_t count,
                       struct euca_tasks *ret_tasks, struct im_error *err)
{
    struct euca_form form EUCA_FORM_DONE = EUCA_FORM;
    struct euca_answer answer EUCA_ANSWER_DONE = { 0 };
    int r;

    for (size_t i = 0; i < count; i++)
        euca_form_add(&form, ids[i], "ConversionTaskId.%zu", i + 1);
    r = euca_call(ec2, "DescribeConversionTasks", &form, false, &answer, err);
    return r < 0 ? r : euca_reply_tasks(answer.text.data, answer.text.len, ret_tasks, err);
}

static int unknown(const char *id, struct im_error *err)
{
    return im_fail(err, ENOENT,
                   "there is no task '%s'; euca-describe-conversion-tasks shows those there are",
                   id);
}

/* The one task of an answer is the one that was asked for. */
static int check_task(const struct euca_tasks *tasks, const char *id, struct im_error *err)
{
    const char *name = tasks->task[0].id;

    if (tasks->count > 1)
        return im_fail_code(err, EBADMSG, "BadReply",
                            "asked for task '%s', the server answered with %zu tasks", id,
                            tasks->count);
    if (euca_task_among(tasks, id))
        return 0;
    return im_fail_code(
        err, EBADMSG, "BadReply", "asked for task '%s', the server answered with %s%.200s%s", id,
        name ? "task '" : "one that has no name", name ? name : "", name ? "'" : "");
}

int euca_task_find(const struct euca_endpoint *ec2, const char *id, struct euca_tasks *ret_tasks,
                   struct im_error *err)
{
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
    int r = euca_task_describe(ec2, &id, 1, &tasks, err);

    if (r == 0)
        r = tasks.count > 0 ? check_task(&tasks, id, err) : unknown(id, err);
    if (r < 0)
        return r;
    *ret_tasks = tasks;
    tasks = (struct euca_tasks){ 0 };
    return 0;
}

int euca_task_cancel(const struct euca_endpoint *ec2, const char *id, struct im_error *err)
{
    struct euca_form form EUCA_FORM_DONE = EUCA_FORM;
    struct euca_answer answer EUCA_ANSWER_DONE = { 0 };
    bool done;
    int r;

    euca_form_add(&form, id, "ConversionTaskId");
    r = euca_call(ec2, "CancelConversionTask", &form, false, &answer, err);
    if (r == 0)
        r = euca_reply_return(answer.text.data, answer.text.len, &done, err);
    if (r == 0 && !done)
        return im_fail(err, EBUSY, "the server did not cancel task '%s'", id);
    return r;
}

const struct euca_task *euca_task_among(const struct euca_tasks *tasks, const char *id)
{
    for (size_t i = 0; i < tasks->count; i++)
        if (tasks->task[i].id && strcasecmp(tasks->task[i].id, id) == 0)
            return &tasks->task[i];
    return NULL;
}

int euca_task_check_ids(const struct euca_tasks *tasks, const char *const *ids, size_t count,
                        struct im_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (!euca_task_among(tasks, ids[i]))
            return unknown(ids[i], err);
    return 0;
}

static bool is_in(const struct euca_task *task, const char *state)
{
    return task->state && strcmp(task->state, state) == 0;
}

bool euca_task_is_active(const struct euca_task *task)
{
    return is_in(task, "active") || is_in(task, "cancelling");
}

bool euca_task_has_ended(const struct euca_task *task)
{
    return is_in(task, "completed") || is_in(task, "cancelled");
}

bool euca_task_has_completed(const struct euca_task *task)
{
    return is_in(task, "completed");
}

int euca_task_strange(const struct euca_task *task, struct im_error *err)
{
    return im_fail_code(err, EBADMSG, "BadReply",
                        "the server's answer says that task %s is '%.100s', not active, "
                        "cancelling, cancelled or completed",
                        task->id, task->state ? task->state : "");
}

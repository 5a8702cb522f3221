/* DescribeConversionTasks - the account's tasks, or the ones named.
 *
 * There is no paging.  Versions before 2016-11-15 had a Filter parameter for which no filter was
 * ever defined; it is ignored like every unknown name of theirs. */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "api/operation.h"

struct input {
    struct svc_list task_ids;
};

static const struct svc_param params[] = {
    { .name = "ConversionTaskId", .offset = offsetof(struct input, task_ids), .type = SVC_LIST },
    { 0 }
};

static int check(struct svc_call *call, const void *input)
{
    const struct input *in = input;
    int r = 0;

    for (size_t i = 0; i < in->task_ids.count && r == 0; i++)
        r = svc_check_task_id(call, in->task_ids.item[i].value);
    return r;
}

static int write_item(void *arg, const struct task *task)
{
    svc_write_conversion_task(arg, "item", task);
    return 0;
}

/* True when the id at place n was there before; at most IM_QUERY_MAX ids are compared. */
static bool repeated(const struct svc_list *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list->item[i].value, list->item[n].value) == 0)
            return true;
    return false;
}

static int write_named(struct svc_call *call, const struct svc_list *ids)
{
    for (size_t i = 0; i < ids->count; i++) {
        struct task task TASK_DONE = { 0 };
        int r;

        if (repeated(ids, i))
            continue;
        r = task_get(call->tasks, call->account, ids->item[i].value, &task, &call->err);
        if (r == -ENOENT)
            return svc_refuse(call, SVC_UNKNOWN_TASK, "The conversion task ID '%s' is not valid.",
                              ids->item[i].value);
        if (r < 0)
            return r;
        (void)write_item(call->xml, &task);
    }
    return 0;
}

static int run(struct svc_call *call, const void *input)
{
    const struct input *in = input;
    int r;

    svc_xml_open(call->xml, "conversionTasks", NULL);
    if (in->task_ids.count > 0)
        r = write_named(call, &in->task_ids);
    else
        r = task_list(call->tasks, call->account, write_item, call->xml, &call->err);
    svc_xml_close(call->xml);
    return r;
}

const struct svc_operation svc_operation_describe_conversion_tasks = {
    .action = "DescribeConversionTasks",
    .params = params,
    .input_size = sizeof(struct input),
    .check = check,
    .run = run,
};

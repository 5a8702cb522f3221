/* DescribeConversionTasks - the account's tasks, or the ones named.
 *
 * There is no paging.  Versions before 2016-11-15 have Filter. */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "api/filter.h"
#include "api/operation.h"

struct input {
    struct svc_list task_ids;
    struct svc_structs filters; /* of struct svc_filter */
};

static const struct svc_param params[] = {
    { .name = "ConversionTaskId", .offset = offsetof(struct input, task_ids), .type = SVC_LIST },
    { .name = "Filter",
      .offset = offsetof(struct input, filters),
      .type = SVC_STRUCTS,
      .max = SVC_FILTER_VALUES_MAX,
      .old_only = true,
      .members = svc_filter_params,
      .size = sizeof(struct svc_filter) },
    { 0 }
};

static int check(struct svc_call *call, const void *input)
{
    const struct input *in = input;
    int r = svc_check_filters(call, &in->filters);

    for (size_t i = 0; i < in->task_ids.count && r == 0; i++)
        r = svc_check_task_id(call, in->task_ids.item[i].value);
    return r;
}

struct listing {
    struct svc_xml *xml;
    const struct svc_structs *filters;
};

static int write_item(void *arg, const struct task *task)
{
    const struct listing *listing = arg;

    if (svc_filters_match(listing->filters, task))
        svc_write_conversion_task(listing->xml, "item", task);
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

static int write_named(struct svc_call *call, const struct svc_list *ids, struct listing *listing)
{
    for (size_t i = 0; i < ids->count; i++) {
        struct task task TASK_DONE = { 0 };
        int r;

        if (repeated(ids, i))
            continue;
        r = task_get(call->tasks, call->account, ids->item[i].value, &task, &call->err);
        if (r == -ENOENT)
            return svc_refuse_unknown_task(call, ids->item[i].value);
        if (r < 0)
            return r;
        (void)write_item(listing, &task);
    }
    return 0;
}

static int run(struct svc_call *call, const void *input)
{
    const struct input *in = input;
    struct listing listing = { call->xml, &in->filters };
    int r;

    svc_xml_open(call->xml, "conversionTasks", NULL);
    if (in->task_ids.count > 0)
        r = write_named(call, &in->task_ids, &listing);
    else
        r = task_list(call->tasks, call->account, write_item, &listing, &call->err);
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

/* CancelConversionTask - ask a running import to stop.
 *
 * The reply says the wish was recorded, not that the work has ended;
 * DescribeConversionTasks shows when it has. */

#include <config.h>

#include <errno.h>

#include "api/operation.h"

struct input {
    const char *task_id;
    const char *reason;
};

static const struct svc_param params[] = {
    { .name = "ConversionTaskId", .offset = offsetof(struct input, task_id), .required = true },
    { .name = "ReasonMessage", .offset = offsetof(struct input, reason) },
    { 0 }
};

static int check(struct svc_call *call, const void *input)
{
    const struct input *in = input;

    return svc_check_task_id(call, in->task_id);
}

static int run(struct svc_call *call, const void *input)
{
    const struct input *in = input;
    int r;

    r = task_request_cancel(call->tasks, call->account, in->task_id, in->reason,
                            &call->err);
    if (r == -ENOENT)
        return svc_refuse_unknown_task(call, in->task_id);
    if (r == -EALREADY)
        return svc_refuse(
            call, SVC_TASK_FINISHED,
            "The conversion task '%s' is completed, or all its volumes are, and cannot "
            "be cancelled.",
            in->task_id);
    if (r < 0)
        return r;
    if (call->api->wake)
        call->api->wake(call->api->worker);
    return svc_reply_true(call);
}

const struct svc_operation svc_operation_cancel_conversion_task = {
    .action = "CancelConversionTask",
    .params = params,
    .input_size = sizeof(struct input),
    .check = check,
    .run = run,
};

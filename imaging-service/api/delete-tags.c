/* DeleteTags - remove tags of conversion tasks: with a value only where it is this one, without
 * tags all of them. */

#include <config.h>

#include <errno.h>

#include "api/operation.h"
#include "api/tags.h"

static const struct svc_param params[] = {
    { .name = "ResourceId", .offset = offsetof(struct svc_tag_request, ids), .type = SVC_LIST },
    { .name = "Tag",
      .offset = offsetof(struct svc_tag_request, tags),
      .type = SVC_STRUCTS,
      .max = SVC_TAGS_MAX,
      .members = svc_tag_params,
      .size = sizeof(struct task_tag) },
    { 0 }
};

static int check(struct svc_call *call, const void *input)
{
    return svc_check_tag_request(call, input);
}

static int run(struct svc_call *call, const void *input)
{
    const struct svc_tag_request *in = input;

    for (size_t i = 0; i < in->ids.count; i++) {
        const char *id = in->ids.item[i].value;
        int r =
            task_untag(call->tasks, call->account, id, in->tags.item, in->tags.count, &call->err);

        if (r == -ENOENT)
            return svc_refuse_unknown_task(call, id);
        if (r < 0)
            return r;
    }
    return svc_reply_true(call);
}

const struct svc_operation svc_operation_delete_tags = {
    .action = "DeleteTags",
    .params = params,
    .input_size = sizeof(struct svc_tag_request),
    .check = check,
    .run = run,
};

/* CreateTags - set tags of conversion tasks; other resources are not this service's.
 *
 * Every task is changed by itself: when one is unknown or would have too many tags, those named
 * before it have theirs, and the call can be repeated. */

#include <config.h>

#include <errno.h>

#include "api/operation.h"
#include "api/tags.h"

static const struct svc_param params[] = {
    { .name = "ResourceId", .offset = offsetof(struct svc_tag_request, ids), .type = SVC_LIST },
    { .name = "Tag",
      .offset = offsetof(struct svc_tag_request, tags),
      .required = true,
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
    struct task_tag tags[TASK_TAGS_MAX];

    svc_copy_tags(&in->tags, tags);
    for (size_t i = 0; i < in->ids.count; i++) {
        const char *id = in->ids.item[i].value;
        int r = task_tag(call->tasks, call->account, id, tags, in->tags.count, &call->err);

        if (r == -ENOENT)
            return svc_refuse_unknown_task(call, id);
        if (r == -E2BIG)
            return svc_refuse(call, SVC_TOO_MANY_TAGS,
                              "The conversion task '%s' would have more than %d tags.", id,
                              TASK_TAGS_MAX);
        if (r < 0)
            return r;
    }
    return svc_reply_true(call);
}

const struct svc_operation svc_operation_create_tags = {
    .action = "CreateTags",
    .params = params,
    .input_size = sizeof(struct svc_tag_request),
    .check = check,
    .run = run,
};

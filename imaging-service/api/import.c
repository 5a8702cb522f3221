/* import - the part of an import that is the same for volumes and instances. */

#include <config.h>

#include "api/import.h"

#include <errno.h>
#include <string.h>

#include "api/tags.h"
#include "base/buffer.h"

const struct svc_param svc_tag_spec_params[] = { { .name = "ResourceType",
                                                   .offset =
                                                       offsetof(struct svc_tag_spec, resource_type),
                                                   .required = true },
                                                 { .name = "Tag",
                                                   .offset = offsetof(struct svc_tag_spec, tags),
                                                   .type = SVC_STRUCTS,
                                                   .max = SVC_TAGS_MAX,
                                                   .members = svc_tag_params,
                                                   .size = sizeof(struct task_tag) },
                                                 { 0 } };

static int check_known(struct svc_call *call, const char *zone)
{
    const struct svc_words *zones = &call->api->conf->zones;
    struct im_buffer names IM_BUFFER_DONE = IM_BUFFER(IM_ERROR_MAX); /* a sentence has no more */

    for (size_t i = 0; i < zones->count; i++)
        if (strcmp(zones->item[i], zone) == 0)
            return 0;
    for (size_t i = 0; i < zones->count; i++)
        (void)im_buffer_printf(&names, "%s'%s'", i > 0 ? ", " : "", zones->item[i]);
    return svc_refuse(call, SVC_UNKNOWN_ZONE,
                      "The zone '%.100s' does not exist. The zones of this service are: %s.", zone,
                      names.len > 0 ? names.data : "");
}

int svc_check_zone(struct svc_call *call, const char *prefix, const char *zone, const char *zone_id)
{
    const char *named = zone ? zone : zone_id;

    if (zone && zone_id)
        return svc_refuse(call, SVC_INVALID_COMBINATION,
                          "The parameters %sAvailabilityZone and %sAvailabilityZoneId cannot be "
                          "used together",
                          prefix, prefix);
    return named ? check_known(call, named) : 0;
}

/* A task is tagged by one specification: two would say different things about one resource. */
int svc_check_import(struct svc_call *call, const struct svc_import *in, const char *resource_type)
{
    const struct svc_tag_spec *spec = in->tag_specs.item;

    if (in->tag_specs.count > 1)
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "The request holds %zu tag specifications, and only one for %s can be.",
                          in->tag_specs.count, resource_type);
    if (in->tag_specs.count == 0)
        return 0;
    if (strcmp(spec->resource_type, resource_type) != 0 &&
        strcmp(spec->resource_type, "conversion-task") != 0)
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "'%.100s' is not a valid taggable resource type for this operation; it "
                          "must be %s.",
                          spec->resource_type, resource_type);
    return svc_check_tags(call, &spec->tags);
}

int svc_check_workers(struct svc_call *call)
{
    const struct svc_api *api = call->api;
    char sentence[IM_ERROR_MAX];
    const char *trouble = NULL;

    if (api->trouble)
        trouble = api->trouble(api->worker, sentence, sizeof(sentence));
    return trouble ? svc_refuse(call, SVC_UNAVAILABLE, "%s", trouble) : 0;
}

static int refuse_new(struct svc_call *call, int r)
{
    if (r == -EBUSY)
        return svc_refuse(call, SVC_TOO_MANY_TASKS,
                          "%u conversion tasks are in progress, which is the limit; cancel one or "
                          "wait for one to end.",
                          call->api->conf->max_active);
    if (r == -ENOTUNIQ)
        return svc_refuse(call, SVC_TOKEN_MISMATCH, "%s", svc_code_text(SVC_TOKEN_MISMATCH));
    return r;
}

int svc_start_import(struct svc_call *call, const struct svc_import *in,
                     const struct task_wish *wish)
{
    const struct svc_tag_spec *spec = in->tag_specs.item;
    struct task_tag tags[TASK_TAGS_MAX];
    struct task_wish whole = *wish;
    struct task task TASK_DONE = { 0 };
    bool fresh;
    int r;

    whole.account = call->account;
    whole.client_token = in->client_token;
    whole.proof = call->proof;
    whole.invocation = call->invocation;
    whole.parameters = in->client_token ? call->parameters : NULL;
    if (spec) {
        svc_copy_tags(&spec->tags, tags);
        whole.tag = tags;
        whole.tag_count = spec->tags.count;
    }
    r = task_insert(call->tasks, &whole, call->api->conf->max_active, &task, &fresh, &call->err);
    if (r < 0)
        return refuse_new(call, r);
    if (fresh && call->api->wake)
        call->api->wake(call->api->worker);
    svc_write_conversion_task(call->xml, "conversionTask", &task);
    return 0;
}

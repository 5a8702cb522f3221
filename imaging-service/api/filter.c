/* filter - which tasks a client wants to see.
 *
 * Several values of one filter: any of them; several filters: all of them.  Values are patterns of
 * im_text_matches. */

#include <config.h>

#include "api/filter.h"

#include <string.h>

#include "base/text.h"

const struct svc_param svc_filter_params[] = {
    { .name = "Name", .offset = offsetof(struct svc_filter, name), .required = true },
    { .name = "Value", .offset = offsetof(struct svc_filter, values), .type = SVC_LIST },
    { 0 }
};

static bool any_matches(const struct svc_list *values, const char *text)
{
    for (size_t i = 0; text && i < values->count; i++)
        if (im_text_matches(values->item[i].value, text))
            return true;
    return false;
}

/* ---- what there is to filter by ---- */

static bool by_id(const struct svc_filter *filter, const struct task *task)
{
    return any_matches(&filter->values, task->id);
}

static bool by_state(const struct svc_filter *filter, const struct task *task)
{
    return any_matches(&filter->values, task_state_name(task->state));
}

static bool by_zone(const struct svc_filter *filter, const struct task *task)
{
    return any_matches(&filter->values, task->zone);
}

static bool by_instance(const struct svc_filter *filter, const struct task *task)
{
    return any_matches(&filter->values, task->instance_id);
}

static bool by_volume(const struct svc_filter *filter, const struct task *task)
{
    for (size_t i = 0; i < task->stage_count; i++)
        if (task->stage[i].state == STAGE_COMPLETED &&
            any_matches(&filter->values, task->stage[i].volume_id))
            return true;
    return false;
}

static bool by_tag_key(const struct svc_filter *filter, const struct task *task)
{
    for (size_t i = 0; i < task->tag_count; i++)
        if (any_matches(&filter->values, task->tag[i].key))
            return true;
    return false;
}

/* "tag:KEY" */
static bool by_tag(const struct svc_filter *filter, const struct task *task)
{
    for (size_t i = 0; i < task->tag_count; i++)
        if (strcmp(filter->name + strlen("tag:"), task->tag[i].key) == 0)
            return any_matches(&filter->values, task->tag[i].value);
    return false;
}

static const struct {
    const char *name;
    bool (*matches)(const struct svc_filter *filter, const struct task *task);
} kinds[] = {
    { "conversion-task-id", by_id }, { "state", by_state },      { "availability-zone", by_zone },
    { "instance-id", by_instance },  { "volume-id", by_volume }, { "tag-key", by_tag_key },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static bool (*find_kind(const char *name))(const struct svc_filter *, const struct task *)
{
    for (size_t i = 0; i < KINDS; i++)
        if (strcmp(name, kinds[i].name) == 0)
            return kinds[i].matches;
    return strncmp(name, "tag:", 4) == 0 ? by_tag : NULL;
}

int svc_check_filters(struct svc_call *call, const struct svc_structs *filters)
{
    const struct svc_filter *filter = filters->item;
    size_t values = 0;

    for (size_t i = 0; i < filters->count; i++) {
        if (!find_kind(filter[i].name))
            return svc_refuse(call, SVC_INVALID_VALUE, "The filter '%.200s' is invalid",
                              filter[i].name);
        values += filter[i].values.count;
    }
    if (values > SVC_FILTER_VALUES_MAX)
        return svc_refuse(call, SVC_TOO_MANY_FILTERS,
                          "The filters have %zu values, and %d are allowed.", values,
                          SVC_FILTER_VALUES_MAX);
    return 0;
}

bool svc_filters_match(const struct svc_structs *filters, const struct task *task)
{
    const struct svc_filter *filter = filters->item;

    for (size_t i = 0; i < filters->count; i++)
        if (!find_kind(filter[i].name)(&filter[i], task))
            return false;
    return true;
}

/* filter - Filter.N of DescribeConversionTasks, which versions before 2016-11-15 have. */
#pragma once

#include "api/operation.h"
#include "task/task.h"

/* Values in all filters of a request together, as EC2 has it. */
#define SVC_FILTER_VALUES_MAX 200

struct svc_filter {
    const char *name;
    struct svc_list values;
};

/* Name and Value.M of a struct svc_filter. */
extern const struct svc_param svc_filter_params[];

/* Refuse names that filter nothing here, and too many values. */
int svc_check_filters(struct svc_call *call, const struct svc_structs *filters);

/* True when the task has, for each filter, one of its values. */
bool svc_filters_match(const struct svc_structs *filters, const struct task *task);

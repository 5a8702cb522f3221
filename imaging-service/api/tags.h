/* tags - the tags of conversion tasks: their parameters and their rules. */
#pragma once

#include "api/operation.h"
#include "task/task.h"

/* Tag.N.Key and Tag.N.Value of a struct task_tag; both may be absent until they are checked. */
extern const struct svc_param svc_tag_params[];

/* Tags one request may hold: those of one resource, and some to be refused by their own code. */
#define SVC_TAGS_MAX (2 * TASK_TAGS_MAX)

/* Refuse keys that are missing, malformed or given twice, and values that are too long; 0 when all
 * is well. */
int svc_check_tags(struct svc_call *call, const struct svc_structs *tags);

/* The tags as they are stored: without a value it is "". */
void svc_copy_tags(const struct svc_structs *tags, struct task_tag *ret_tags);

/* What CreateTags and DeleteTags ask for. */
struct svc_tag_request {
    struct svc_list ids;
    struct svc_structs tags;
};

/* ResourceId.N must be ids of conversion tasks, one at least. */
int svc_check_tag_request(struct svc_call *call, const struct svc_tag_request *in);

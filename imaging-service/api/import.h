/* import - what ImportVolume and ImportInstance share: zone, client token, tags, the new task. */
#pragma once

#include "api/operation.h"
#include "task/task.h"

/* As EC2 has it for its tokens. */
#define SVC_TOKEN_MAX 64

/* TagSpecification.N of one request; all but the first few would be for other resources. */
#define SVC_TAG_SPECS_MAX 10

/* Parameters both have besides. */
struct svc_import {
    const char *client_token;
    struct svc_structs tag_specs; /* of struct svc_tag_spec */
};

struct svc_tag_spec {
    const char *resource_type;
    struct svc_structs tags; /* of struct task_tag */
};

extern const struct svc_param svc_tag_spec_params[];

/* Rows of a parameter table for a struct svc_import that begins at `base`. */
#define SVC_IMPORT_ROWS(base)                                                                      \
    { .name = "ClientToken",                                                                       \
      .offset = (base) + offsetof(struct svc_import, client_token),                                \
      .max = SVC_TOKEN_MAX },                                                                      \
    {                                                                                              \
        .name = "TagSpecification", .offset = (base) + offsetof(struct svc_import, tag_specs),     \
        .type = SVC_STRUCTS, .max = SVC_TAG_SPECS_MAX, .members = svc_tag_spec_params,             \
        .size = sizeof(struct svc_tag_spec)                                                        \
    }

/* The zone is named by one of two parameters, prefix + "AvailabilityZone" and the same with "Id"
 * behind it, and must be one of ours; no zone is well. */
int svc_check_zone(struct svc_call *call, const char *prefix, const char *zone,
                   const char *zone_id);

/* Refuse tags that cannot be; resource_type is what the new task is called there. */
int svc_check_import(struct svc_call *call, const struct svc_import *in, const char *resource_type);

/* The workers are able to work; to be asked last, because it is no fault of the request. */
int svc_check_workers(struct svc_call *call);

/* Make the task (or find the one made with the same token), tell the workers and write the reply.
 * wish: all but account, token and tags. */
int svc_start_import(struct svc_call *call, const struct svc_import *in,
                     const struct task_wish *wish);

/* launch-specification - how the instance of an ImportInstance is to be launched. */
#pragma once

#include "api/operation.h"

struct svc_launch_specification {
    const char *architecture, *additional_info, *instance_type, *key_name, *kernel_id, *ramdisk_id,
        *subnet_id, *private_ip, *shutdown_behavior;
    struct svc_list group_names, group_ids;
    const char *user_data, *user_data_inner; /* two spellings: UserData, UserData.Data */
    const char *monitoring, *monitoring_inner;
    struct {
        const char *zone, *zone_id, *affinity, *group_name, *group_id, *host_id, *tenancy,
            *spread_domain, *host_group_arn;
        uint64_t partition;
    } placement;
};

extern const struct svc_param svc_launch_specification_params[];

/* Refuse what contradicts itself, and user data that is not base64 of at most 16 KiB. */
int svc_check_launch_specification(struct svc_call *call,
                                   const struct svc_launch_specification *in);

/* The specification as JSON object text, keys as in the API, what is absent left out; owned by the
 * caller.  NULL when out of memory. */
char *svc_launch_specification_json(const struct svc_launch_specification *in);

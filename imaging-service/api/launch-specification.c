/* launch-specification - its parameters, and as the JSON text that goes into the table.
 *
 * The names of the JSON object are those of the parameters, written by the same table.  Besides
 * today's model it takes what older models and euca2ools send: UserData and Monitoring without a
 * member, KeyName, KernelId, RamdiskId. */

#include <config.h>

#include "api/launch-specification.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"

#define PREFIX "LaunchSpecification."

/* Bytes of user data (EC2's limit), and of its base64 text. */
#define USER_DATA_MAX   (16 * 1024)
#define USER_DATA_CHARS ((USER_DATA_MAX + 2) / 3 * 4)

/* Room for what is then refused with the size it has. */
#define USER_DATA_TAKEN (2 * USER_DATA_CHARS)

#define SLOT(member) offsetof(struct svc_launch_specification, member)
#define TEXT(parameter, member)                                                                    \
    {                                                                                              \
        .name = PREFIX parameter, .offset = SLOT(member)                                           \
    }

static const char *const architectures[] = { "i386",       "x86_64",    "arm64",
                                             "x86_64_mac", "arm64_mac", NULL };
static const char *const behaviors[] = { "stop", "terminate", NULL };
static const char *const tenancies[] = { "default", "dedicated", "host", NULL };

const struct svc_param svc_launch_specification_params[] = {
    { .name = PREFIX "Architecture", .offset = SLOT(architecture), .words = architectures },
    { .name = PREFIX "GroupName", .offset = SLOT(group_names), .type = SVC_LIST },
    { .name = PREFIX "GroupId", .offset = SLOT(group_ids), .type = SVC_LIST },
    TEXT("AdditionalInfo", additional_info),
    { .name = PREFIX "UserData", .offset = SLOT(user_data), .max = USER_DATA_TAKEN },
    { .name = PREFIX "UserData.Data", .offset = SLOT(user_data_inner), .max = USER_DATA_TAKEN },
    TEXT("InstanceType", instance_type),
    TEXT("KeyName", key_name),
    TEXT("KernelId", kernel_id),
    TEXT("RamdiskId", ramdisk_id),
    TEXT("Placement.AvailabilityZone", placement.zone),
    TEXT("Placement.AvailabilityZoneId", placement.zone_id),
    TEXT("Placement.Affinity", placement.affinity),
    TEXT("Placement.GroupName", placement.group_name),
    TEXT("Placement.GroupId", placement.group_id),
    { .name = PREFIX "Placement.PartitionNumber",
      .offset = SLOT(placement.partition),
      .type = SVC_NUMBER,
      .min = 1,
      .max = INT32_MAX },
    TEXT("Placement.HostId", placement.host_id),
    { .name = PREFIX "Placement.Tenancy", .offset = SLOT(placement.tenancy), .words = tenancies },
    TEXT("Placement.SpreadDomain", placement.spread_domain),
    TEXT("Placement.HostResourceGroupArn", placement.host_group_arn),
    { .name = PREFIX "Monitoring", .offset = SLOT(monitoring), .type = SVC_FLAG },
    { .name = PREFIX "Monitoring.Enabled", .offset = SLOT(monitoring_inner), .type = SVC_FLAG },
    TEXT("SubnetId", subnet_id),
    { .name = PREFIX "InstanceInitiatedShutdownBehavior",
      .offset = SLOT(shutdown_behavior),
      .words = behaviors },
    TEXT("PrivateIpAddress", private_ip),
    { 0 }
};

/* ---- checks ---- */

/* Bytes that base64 text stands for, -1 when it is none (RFC 4648 section 4, padding required). */
static long decoded_size(const char *text)
{
    size_t len = strlen(text), padding = 0;

    while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < len - padding; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '+' && text[i] != '/')
            return -1;
    return len % 4 == 0 ? (long)(len / 4 * 3 - padding) : -1;
}

static int check_user_data(struct svc_call *call, const char *text)
{
    long size = text ? decoded_size(text) : 0;

    if (size < 0)
        return svc_refuse(call, SVC_MALFORMED_USER_DATA, "%s",
                          svc_code_text(SVC_MALFORMED_USER_DATA));
    if (size > USER_DATA_MAX)
        return svc_refuse(call, SVC_INVALID_VALUE, "User data is limited to %d bytes, and has %ld.",
                          USER_DATA_MAX, size);
    return 0;
}

static int refuse_both(struct svc_call *call, const char *name, const char *member)
{
    return svc_refuse(call, SVC_INVALID_COMBINATION,
                      "The parameters " PREFIX "%s and " PREFIX "%s.%s cannot be used together",
                      name, name, member);
}

static bool is_ipv4(const char *text)
{
    struct in_addr address;

    return inet_pton(AF_INET, text, &address) == 1;
}

int svc_check_launch_specification(struct svc_call *call, const struct svc_launch_specification *in)
{
    if (in->user_data && in->user_data_inner)
        return refuse_both(call, "UserData", "Data");
    if (in->monitoring && in->monitoring_inner)
        return refuse_both(call, "Monitoring", "Enabled");
    if (in->private_ip && !is_ipv4(in->private_ip))
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "Value (%.60s) for parameter " PREFIX "PrivateIpAddress is invalid. An "
                          "IPv4 address is expected.",
                          in->private_ip);
    return check_user_data(call, in->user_data ? in->user_data : in->user_data_inner);
}

/* ---- as JSON ---- */

static json_t *list_value(const struct svc_list *list)
{
    json_t *array = list->count ? json_array() : NULL;

    for (size_t i = 0; array && i < list->count; i++)
        (void)json_array_append_new(array, json_string(list->item[i].value));
    return array;
}

/* The value of a row; NULL when it is absent. */
static json_t *value_of(const struct svc_param *row, const void *slot)
{
    const char *text;

    if (row->type == SVC_LIST)
        return list_value(slot);
    if (row->type == SVC_NUMBER)
        return *(const uint64_t *)slot ? json_integer((json_int_t) * (const uint64_t *)slot) : NULL;
    text = *(const char *const *)slot;
    if (row->type == SVC_FLAG && text)
        return json_boolean(strcmp(text, "true") == 0);
    return text ? json_string(text) : NULL;
}

/* Where a parameter's value goes: NAME, or Placement's NAME.  The inner spellings of UserData and
 * Monitoring are those of the outer ones. */
static int put(json_t *object, const char *name, json_t *value)
{
    static const char placement[] = "Placement.";
    json_t *inner;

    if (strncmp(name, placement, sizeof(placement) - 1) == 0) {
        inner = json_object_get(object, "Placement");
        if (!inner && json_object_set_new(object, "Placement", json_object()) == 0)
            inner = json_object_get(object, "Placement");
        return json_object_set_new(inner, name + sizeof(placement) - 1, value);
    }
    if (strcmp(name, "UserData.Data") == 0)
        name = "UserData";
    if (strcmp(name, "Monitoring.Enabled") == 0)
        name = "Monitoring";
    return json_object_set_new(object, name, value);
}

char *svc_launch_specification_json(const struct svc_launch_specification *in)
{
    json_t *object = json_object();
    char *text = NULL;
    int r = object ? 0 : -1;

    for (const struct svc_param *row = svc_launch_specification_params; row->name && r == 0;
         row++) {
        json_t *value = value_of(row, (const char *)in + row->offset);

        if (value)
            r = put(object, row->name + sizeof(PREFIX) - 1, value);
    }
    if (r == 0)
        text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

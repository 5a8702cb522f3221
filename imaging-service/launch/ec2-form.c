/* ec2-form - descriptor and launch specification as EC2 parameters. */

#include <config.h>

#include "launch/ec2-form.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/http.h"

#define API_VERSION "2016-11-15"

/* Longest name of a parameter: "BlockDeviceMapping.26.Ebs.VolumeSize" and short members. */
#define NAME_MAX_BYTES 128

int ec2_form_add(struct im_buffer *form, const char *name, const char *value)
{
    int r = 0;

    if (!value)
        return 0;
    if (form->len > 0)
        r = im_buffer_puts(form, "&");
    if (r == 0)
        r = im_url_encode(form, name, strlen(name), false);
    if (r == 0)
        r = im_buffer_puts(form, "=");
    return r < 0 ? r : im_url_encode(form, value, strlen(value), false);
}

int ec2_form_action(struct im_buffer *form, const char *action)
{
    int r = ec2_form_add(form, "Action", action);

    return r < 0 ? r : ec2_form_add(form, "Version", API_VERSION);
}

int ec2_form_filter(struct im_buffer *form, const char *owner, const char *name, const char *value)
{
    int r = ec2_form_add(form, "Owner.1", owner);

    if (r == 0)
        r = ec2_form_add(form, "Filter.1.Name", name);
    return r < 0 ? r : ec2_form_add(form, "Filter.1.Value.1", value);
}

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* ---- names ---- */

void ec2_image_name(const json_t *image, char ret_name[EC2_KEY_SIZE])
{
    const char *name = text_of(image, "name"), *task = text_of(image, "task_id");

    /* AWS: letters, digits and these; a filter's wildcards are not among them */
    (void)snprintf(ret_name, EC2_KEY_SIZE, "%.80s (%.40s)", name ? name : "", task ? task : "");
    for (char *p = ret_name; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("()[] ./-'@_", *p))
            *p = '-';
}

void ec2_snapshot_description(const json_t *image, size_t disk, char ret_text[EC2_KEY_SIZE])
{
    const json_t *item = json_array_get(json_object_get(image, "block_device_mapping"), disk);
    const char *task = text_of(image, "task_id"), *volume = text_of(item, "volume_id");

    (void)snprintf(ret_text, EC2_KEY_SIZE, "%.40s %.40s", task ? task : "", volume ? volume : "");
}

void ec2_client_token(const json_t *image, char ret_token[EC2_KEY_SIZE])
{
    const char *task = text_of(image, "task_id");

    (void)snprintf(ret_token, EC2_KEY_SIZE, "%.64s", task ? task : "");
}

size_t ec2_disk_count(const json_t *image)
{
    size_t count = json_array_size(json_object_get(image, "block_device_mapping"));

    return count < LAUNCH_DISKS_MAX ? count : LAUNCH_DISKS_MAX;
}

/* ---- RegisterImage ---- */

static int add_disk(struct im_buffer *form, size_t number, const json_t *disk, const char *snapshot)
{
    char gib[24], name[NAME_MAX_BYTES];
    const struct {
        const char *name, *value;
    } members[] = {
        { "DeviceName", text_of(disk, "device_name") },
        { "Ebs.SnapshotId", snapshot },
        { "Ebs.VolumeSize", gib },
    };
    int r = 0;

    (void)snprintf(gib, sizeof(gib), "%" PRId64,
                   (int64_t)json_integer_value(json_object_get(disk, "size_gib")));
    for (size_t i = 0; r == 0 && i < sizeof(members) / sizeof(members[0]); i++) {
        (void)snprintf(name, sizeof(name), "BlockDeviceMapping.%zu.%s", number, members[i].name);
        r = ec2_form_add(form, name, members[i].value);
    }
    return r;
}

int ec2_form_image(struct im_buffer *form, const json_t *image,
                   const char (*snapshot)[LAUNCH_ID_SIZE])
{
    static const struct {
        const char *name, *key;
    } members[] = {
        { "Description", "description" },
        { "Architecture", "architecture" },
        { "RootDeviceName", "root_device_name" },
        { "VirtualizationType", "virtualization_type" },
        { "BootMode", "boot_mode" },
        { "KernelId", "kernel_id" },
        { "RamdiskId", "ramdisk_id" },
    };
    const json_t *disks = json_object_get(image, "block_device_mapping");
    char name[EC2_KEY_SIZE];
    int r;

    ec2_image_name(image, name);
    r = ec2_form_add(form, "Name", name);
    for (size_t i = 0; r == 0 && i < sizeof(members) / sizeof(members[0]); i++)
        r = ec2_form_add(form, members[i].name, text_of(image, members[i].key));
    for (size_t i = 0; r == 0 && i < json_array_size(disks); i++)
        r = add_disk(form, i + 1, json_array_get(disks, i), snapshot[i]);
    return r;
}

/* ---- RunInstances ---- */

static int add_value(struct im_buffer *form, const char *name, const json_t *value)
{
    char number[24];

    if (json_is_string(value))
        return ec2_form_add(form, name, json_string_value(value));
    if (json_is_boolean(value))
        return ec2_form_add(form, name, json_is_true(value) ? "true" : "false");
    if (!json_is_integer(value))
        return -EINVAL;
    (void)snprintf(number, sizeof(number), "%" PRId64, (int64_t)json_integer_value(value));
    return ec2_form_add(form, name, number);
}

/* A list of strings, counted from 1. */
static int add_list(struct im_buffer *form, const char *name, const json_t *list)
{
    int r = json_is_array(list) ? 0 : -EINVAL;

    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        char numbered[NAME_MAX_BYTES];

        (void)snprintf(numbered, sizeof(numbered), "%s.%zu", name, i + 1);
        r = add_value(form, numbered, json_array_get(list, i));
    }
    return r;
}

/* All members of Placement as they are, but for the zone, which was chosen when the task was made.
 */
static int add_placement(struct im_buffer *form, const json_t *spec, const char *zone)
{
    const json_t *placement = json_object_get(spec, "Placement"), *value;
    const char *key;
    int r = ec2_form_add(form, "Placement.AvailabilityZone", zone);

    if (!placement)
        return r;
    if (!json_is_object(placement))
        return -EINVAL;
    json_object_foreach((json_t *)(uintptr_t)placement, key, value)
    {
        char name[NAME_MAX_BYTES];

        if (r < 0 || strncmp(key, "AvailabilityZone", strlen("AvailabilityZone")) == 0)
            continue;
        if (strlen(key) > 64)
            return -EINVAL;
        (void)snprintf(name, sizeof(name), "Placement.%s", key);
        r = add_value(form, name, value);
    }
    return r;
}

static int add_monitoring(struct im_buffer *form, const json_t *spec)
{
    const json_t *value = json_object_get(spec, "Monitoring");

    if (json_is_object(value)) /* as old clients send it */
        value = json_object_get(value, "Enabled");
    return value ? add_value(form, "Monitoring.Enabled", value) : 0;
}

int ec2_form_spec(struct im_buffer *form, const json_t *spec, const char *zone)
{
    static const struct {
        const char *key, *name;
        bool list;
    } members[] = {
        { "InstanceType", "InstanceType", false },
        { "GroupName", "SecurityGroup", true },
        { "GroupId", "SecurityGroupId", true },
        { "UserData", "UserData", false },
        { "KeyName", "KeyName", false },
        { "SubnetId", "SubnetId", false },
        { "PrivateIpAddress", "PrivateIpAddress", false },
        { "InstanceInitiatedShutdownBehavior", "InstanceInitiatedShutdownBehavior", false },
        { "AdditionalInfo", "AdditionalInfo", false },
    };
    int r = add_placement(form, spec, zone);

    for (size_t i = 0; r == 0 && i < sizeof(members) / sizeof(members[0]); i++) {
        const json_t *value = json_object_get(spec, members[i].key);

        if (value && !json_is_null(value))
            r = members[i].list ? add_list(form, members[i].name, value)
                                : add_value(form, members[i].name, value);
    }
    return r < 0 ? r : add_monitoring(form, spec);
}

/* output - TaskType and DISKIMAGE lines, byte for byte as section 3.3 of the clients' description:
 * fields between single TABs, a pair left out when its element is missing or empty; and JSON as the
 * AWS CLI prints the same answers. */

#include <config.h>

#include "output.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/text.h"

/* One more pair.  What a server sends may not start a line or column of its own, nor talk to the
 * terminal: control characters are replaced. */
static void pair(FILE *out, const char *name, const char *value)
{
    char *shown IM_FREE = NULL;
    size_t size;

    if (!value || !*value)
        return;
    size = strlen(value) + 1;
    shown = malloc(size);
    if (shown)
        fprintf(out, "\t%s\t%s", name, im_text_printable(shown, size, value));
}

static void print_disk(FILE *out, const struct euca_task_disk *disk)
{
    fputs("DISKIMAGE", out);
    pair(out, "DiskImageFormat", disk->format);
    pair(out, "DiskImageSize", disk->size);
    pair(out, "VolumeId", disk->volume_id);
    pair(out, "VolumeSize", disk->volume_size);
    pair(out, "AvailabilityZone", disk->zone);
    pair(out, "ApproximateBytesConverted", disk->bytes_converted);
    pair(out, "Status", disk->status);
    pair(out, "StatusMessage", disk->status_message);
    fputc('\n', out);
}

void euca_print_task(FILE *out, const struct euca_task *task)
{
    if (task->disk_count == 0 && !task->instance)
        return;
    fputs("TaskType\t", out);
    fputs(euca_task_type(task), out);
    pair(out, "TaskId", task->id);
    pair(out, "ExpirationTime", task->expiration_time);
    pair(out, "Status", task->state);
    pair(out, "StatusMessage", task->status_message);
    pair(out, "InstanceID", task->instance_id);
    fputc('\n', out);
    for (size_t i = 0; i < task->disk_count; i++)
        print_disk(out, &task->disk[i]);
}

/* ---- JSON ---- */

static void free_json(json_t **json)
{
    json_decref(*json);
}
#define JSON_FREE IM_CLEANUP(free_json)

/* What should be a number and is none is left out. */
static json_t *number(const char *text)
{
    uint64_t value;

    return text && im_parse_uint(text, INT64_MAX, &value) == 0 ? json_integer((json_int_t)value)
                                                               : NULL;
}

/* ImportVolume, or one of ImportInstance's Volumes.  The URL is without its query, which is as good
 * as a password for the object. */
static json_t *disk_json(const struct euca_task_disk *disk)
{
    char *url IM_FREE = NULL;

    if (disk->manifest_url) {
        size_t size = strlen(disk->manifest_url) + 1;

        url = malloc(size);
        if (!url)
            return NULL;
        im_text_url(url, size, disk->manifest_url);
    }
    return json_pack("{s:s*, s:o*, s:s*, s:{s:s*, s:s*, s:s*, s:o*}, s:s*, s:s*, s:{s:s*, s:o*}}",
                     "AvailabilityZone", disk->zone, "BytesConverted",
                     number(disk->bytes_converted), "Description", disk->description, "Image",
                     "Checksum", disk->checksum, "Format", disk->format, "ImportManifestUrl", url,
                     "Size", number(disk->size), "Status", disk->status, "StatusMessage",
                     disk->status_message, "Volume", "Id", disk->volume_id, "Size",
                     number(disk->volume_size));
}

static json_t *instance_json(const struct euca_task *task)
{
    json_t *volumes = json_array();

    for (size_t i = 0; i < task->disk_count; i++)
        if (json_array_append_new(volumes, disk_json(&task->disk[i])) < 0) {
            json_decref(volumes);
            return NULL;
        }
    return json_pack("{s:s*, s:s*, s:s*, s:o}", "Description", task->description, "InstanceId",
                     task->instance_id, "Platform", task->platform, "Volumes", volumes);
}

static json_t *tags_json(const struct euca_task *task)
{
    json_t *tags = json_array();

    for (size_t i = 0; i < task->tag_count; i++)
        if (json_array_append_new(tags, json_pack("{s:s*, s:s*}", "Key", task->tag[i].key, "Value",
                                                  task->tag[i].value)) < 0) {
            json_decref(tags);
            return NULL;
        }
    return tags;
}

/* NULL when out of memory. */
static json_t *task_json(const struct euca_task *task)
{
    json_t *object = json_pack("{s:s*, s:s*}", "ConversionTaskId", task->id, "ExpirationTime",
                               task->expiration_time);
    int r = 0;

    if (task->instance)
        r = json_object_set_new(object, "ImportInstance", instance_json(task));
    else if (task->disk_count > 0)
        r = json_object_set_new(object, "ImportVolume", disk_json(&task->disk[0]));
    if (r == 0)
        r = json_object_update_new(object, json_pack("{s:s*, s:s*}", "State", task->state,
                                                     "StatusMessage", task->status_message));
    if (r == 0 && task->tag_count > 0)
        r = json_object_set_new(object, "Tags", tags_json(task));
    if (r == 0)
        return object;
    json_decref(object);
    return NULL;
}

static int print_json(FILE *out, const json_t *json, size_t flags)
{
    char *text IM_FREE = json_dumps(json, flags);

    if (!text)
        return -ENOMEM;
    fprintf(out, "%s\n", text);
    return 0;
}

int euca_print_task_json(FILE *out, const struct euca_task *task)
{
    json_t *object JSON_FREE = task_json(task);

    return object ? print_json(out, object, JSON_COMPACT) : -ENOMEM;
}

int euca_print_tasks_json(FILE *out, const struct euca_tasks *tasks)
{
    json_t *list = json_array();
    json_t *document JSON_FREE = json_pack("{s:o}", "ConversionTasks", list);

    for (size_t i = 0; i < tasks->count; i++)
        if (json_array_append_new(list, task_json(&tasks->task[i])) < 0)
            return -ENOMEM;
    return document ? print_json(out, document, JSON_INDENT(4)) : -ENOMEM;
}

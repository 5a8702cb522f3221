/* conversion-task - a task as clients see it.
 *
 * The elements and their order are those of ConversionTask in the EC2 model of 2016-11-15.  What
 * has no value is left out.
 *
 * image.checksum, "the checksum computed for the disk image", is the fs-verity digest of the disk
 * that came out of it, which `imaging-toolkit verify` checks: the image file as such is proven by
 * its parts, and is hashed by nobody as a whole. */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "api/operation.h"

/* Digests begin with the name of their function. */
static const char *bare(const char *digest)
{
    const char *colon = digest ? strchr(digest, ':') : NULL;

    return colon ? colon + 1 : digest;
}

static void write_image(struct svc_xml *xml, const struct stage *disk)
{
    svc_xml_open(xml, "image", NULL);
    svc_xml_text(xml, "checksum", bare(disk->digest));
    svc_xml_text(xml, "format", disk->format);
    svc_xml_text(xml, "importManifestUrl", disk->manifest_url);
    svc_xml_uint(xml, "size", disk->image_bytes);
    svc_xml_close(xml);
}

static void write_volume(struct svc_xml *xml, const struct stage *disk)
{
    svc_xml_open(xml, "volume", NULL);
    /* the id is chosen early, but the volume only exists at the end */
    if (disk->state == STAGE_COMPLETED)
        svc_xml_text(xml, "id", disk->volume_id);
    svc_xml_uint(xml, "size", disk->volume_gib);
    svc_xml_close(xml);
}

/* What importVolume and a volume of importInstance have in common. */
static void write_disk(struct svc_xml *xml, const struct task *task, const struct stage *disk,
                       const char *description)
{
    svc_xml_text(xml, "availabilityZone", task->zone);
    svc_xml_uint(xml, "bytesConverted", disk->bytes_converted);
    svc_xml_text(xml, "description", description);
    write_image(xml, disk);
}

static void write_import_volume(struct svc_xml *xml, const struct task *task)
{
    svc_xml_open(xml, "importVolume", NULL);
    write_disk(xml, task, &task->stage[0], task->description);
    write_volume(xml, &task->stage[0]);
    svc_xml_close(xml);
}

static const char *status_of(const struct stage *disk)
{
    switch (disk->state) {
    case STAGE_COMPLETED:
        return "completed";
    case STAGE_REMOVING:
    case STAGE_CANCELLED:
        return "cancelled";
    default:
        return "active";
    }
}

static void write_import_instance(struct svc_xml *xml, const struct task *task)
{
    svc_xml_open(xml, "importInstance", NULL);
    svc_xml_text(xml, "description", task->description);
    svc_xml_text(xml, "instanceId", task->instance_id);
    svc_xml_text(xml, "platform", task->platform);
    svc_xml_open(xml, "volumes", NULL);
    for (size_t i = 0; i < task->stage_count; i++) {
        const struct stage *disk = &task->stage[i];

        if (disk->kind != STAGE_CONVERT)
            continue;
        svc_xml_open(xml, "item", NULL);
        write_disk(xml, task, disk, disk->description);
        svc_xml_text(xml, "status", status_of(disk));
        svc_xml_text(xml, "statusMessage", disk->status_message);
        write_volume(xml, disk);
        svc_xml_close(xml);
    }
    svc_xml_close(xml);
    svc_xml_close(xml);
}

static void write_tags(struct svc_xml *xml, const struct task *task)
{
    if (task->tag_count == 0)
        return;
    svc_xml_open(xml, "tagSet", NULL);
    for (size_t i = 0; i < task->tag_count; i++) {
        svc_xml_open(xml, "item", NULL);
        svc_xml_text(xml, "key", task->tag[i].key);
        svc_xml_text(xml, "value", task->tag[i].value);
        svc_xml_close(xml);
    }
    svc_xml_close(xml);
}

void svc_write_conversion_task(struct svc_xml *xml, const char *element, const struct task *task)
{
    const char *message = task_message(task);
    char expires[24];

    im_clock_iso8601(expires, sizeof(expires), task->expires_ms);
    svc_xml_open(xml, element, NULL);
    svc_xml_text(xml, "conversionTaskId", task->id);
    svc_xml_text(xml, "expirationTime", expires);
    if (task->kind == TASK_INSTANCE)
        write_import_instance(xml, task);
    else
        write_import_volume(xml, task);
    svc_xml_text(xml, "state", task_state_name(task->state));
    if (message && *message)
        svc_xml_text(xml, "statusMessage", message);
    write_tags(xml, task);
    svc_xml_close(xml);
}

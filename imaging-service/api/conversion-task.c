/* conversion-task - a row of the task table as clients see it.
 *
 * The elements and their order are those of ConversionTask in the EC2 model of 2016-11-15.  What
 * has no value is left out. */

#include <config.h>

#include <errno.h>

#include "api/operation.h"

static void write_image(struct svc_xml *xml, const struct task *task)
{
    svc_xml_open(xml, "image", NULL);
    svc_xml_text(xml, "format", task->format);
    svc_xml_text(xml, "importManifestUrl", task->manifest_url);
    svc_xml_uint(xml, "size", task->image_bytes);
    svc_xml_close(xml);
}

static void write_volume(struct svc_xml *xml, const struct task *task)
{
    svc_xml_open(xml, "volume", NULL);
    /* the id is chosen early, but the volume only exists at the end */
    if (task->state == TASK_COMPLETED)
        svc_xml_text(xml, "id", task->volume_id);
    svc_xml_uint(xml, "size", task->volume_gib);
    svc_xml_close(xml);
}

void svc_write_conversion_task(struct svc_xml *xml, const char *element, const struct task *task)
{
    char expires[24];

    im_clock_iso8601(expires, sizeof(expires), task->expires_ms);
    svc_xml_open(xml, element, NULL);
    svc_xml_text(xml, "conversionTaskId", task->id);
    svc_xml_text(xml, "expirationTime", expires);
    svc_xml_open(xml, "importVolume", NULL);
    svc_xml_text(xml, "availabilityZone", task->zone);
    svc_xml_uint(xml, "bytesConverted", task->bytes_converted);
    svc_xml_text(xml, "description", task->description);
    write_image(xml, task);
    write_volume(xml, task);
    svc_xml_close(xml);
    svc_xml_text(xml, "state", task_state_name(task->state));
    if (task->status_message && *task->status_message)
        svc_xml_text(xml, "statusMessage", task->status_message);
    svc_xml_close(xml);
}

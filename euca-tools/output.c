/* output - TaskType and DISKIMAGE lines, byte for byte as section 3.3 of the clients' description:
 * fields between single TABs, a pair left out when its element is missing or empty. */

#include <config.h>

#include "output.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

/* One more pair.  What a server sends may not start a line or column of its own, nor talk to the
 * terminal: control characters are replaced. */
static void pair(FILE *out, const char *name, const char *value)
{
    char *shown IM_FREE
    = NULL;
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
    fputs(task->instance ? "IMPORTINSTANCE" : "IMPORTVOLUME", out);
    pair(out, "TaskId", task->id);
    pair(out, "ExpirationTime", task->expiration_time);
    pair(out, "Status", task->state);
    pair(out, "StatusMessage", task->status_message);
    pair(out, "InstanceID", task->instance_id);
    fputc('\n', out);
    for (size_t i = 0; i < task->disk_count; i++)
        print_disk(out, &task->disk[i]);
}

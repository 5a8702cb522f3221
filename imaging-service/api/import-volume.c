/* ImportVolume - a new task: make a volume of the image the manifest describes.
 *
 * Neither manifest nor parts need to exist yet.  Everything that can be wrong about the request is
 * said here, with 4xx; what is wrong with the image is found later and told by the task. */

#include <config.h>

#include "api/disk-image.h"
#include "api/import.h"
#include "api/operation.h"

struct input {
    const char *zone, *zone_id;
    struct task_disk disk; /* its description is the task's */
    struct svc_import import;
};

static const struct svc_param params[] = {
    { .name = "AvailabilityZone", .offset = offsetof(struct input, zone) },
    { .name = "AvailabilityZoneId", .offset = offsetof(struct input, zone_id) },
    SVC_DISK_ROWS(offsetof(struct input, disk)),
    SVC_IMPORT_ROWS(offsetof(struct input, import)),
    { 0 },
};

static int check(struct svc_call *call, const void *input)
{
    const struct input *in = input;
    int r = svc_check_zone(call, "", in->zone, in->zone_id);

    if (r == 0 && !in->zone && !in->zone_id)
        r = svc_refuse(call, SVC_MISSING_PARAMETER,
                       "The request must contain the parameter AvailabilityZone");
    if (r == 0)
        r = svc_check_disk(call, "", &in->disk);
    if (r == 0)
        r = svc_check_import(call, &in->import, "import-volume-task");
    return r < 0 ? r : svc_check_workers(call);
}

static int run(struct svc_call *call, const void *input)
{
    const struct input *in = input;
    struct task_disk disk = in->disk;
    const struct task_wish wish = {
        .zone = in->zone ? in->zone : in->zone_id,
        .description = in->disk.description,
        .disk = &disk,
        .disk_count = 1,
    };

    disk.description = NULL;
    return svc_start_import(call, &in->import, &wish);
}

const struct svc_operation svc_operation_import_volume = {
    .action = "ImportVolume",
    .params = params,
    .input_size = sizeof(struct input),
    .check = check,
    .run = run,
};

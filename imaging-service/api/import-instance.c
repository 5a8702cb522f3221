/* ImportInstance - a new task: make volumes of one to 21 disk images, and an instance of them.
 *
 * The first disk is the one it boots from.  Without an availability zone the machine is registered
 * and not launched.  As with ImportVolume nothing needs to be uploaded yet. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "api/disk-image.h"
#include "api/import.h"
#include "api/launch-specification.h"
#include "api/operation.h"
#include "base/cleanup.h"

struct input {
    const char *description, *platform;
    struct svc_structs disks; /* of struct task_disk */
    struct svc_import import;
    struct svc_launch_specification launch;
};

static const char *const platforms[] = { "Windows", "Linux", NULL };

static const struct svc_param disk_params[] = { SVC_DISK_ROWS(0), { 0 } };

static const struct svc_param params[] = {
    { .name = "Description", .offset = offsetof(struct input, description) },
    { .name = "Platform",
      .offset = offsetof(struct input, platform),
      .required = true,
      .words = platforms },
    { .name = "DiskImage",
      .offset = offsetof(struct input, disks),
      .required = true,
      .type = SVC_STRUCTS,
      .max = TASK_DISKS_MAX,
      .members = disk_params,
      .size = sizeof(struct task_disk) },
    SVC_IMPORT_ROWS(offsetof(struct input, import)),
    { .name = "",
      .type = SVC_TABLE,
      .offset = offsetof(struct input, launch),
      .members = svc_launch_specification_params },
    { 0 },
};

static int check(struct svc_call *call, const void *input)
{
    const struct input *in = input;
    const struct task_disk *disk = in->disks.item;
    int r = svc_check_zone(call, "LaunchSpecification.Placement.", in->launch.placement.zone,
                           in->launch.placement.zone_id);

    if (r == 0)
        r = svc_check_launch_specification(call, &in->launch);
    for (size_t i = 0; i < in->disks.count && r == 0; i++) {
        char prefix[40];

        (void)snprintf(prefix, sizeof(prefix), "DiskImage.%" PRIu64 ".", in->disks.index[i]);
        r = svc_check_disk(call, prefix, &disk[i]);
    }
    if (r == 0)
        r = svc_check_import(call, &in->import, "import-instance-task");
    return r < 0 ? r : svc_check_workers(call);
}

static int run(struct svc_call *call, const void *input)
{
    const struct input *in = input;
    const char *zone = in->launch.placement.zone;
    char *launch IM_FREE = svc_launch_specification_json(&in->launch);
    const struct task_machine machine = {
        .platform = in->platform,
        .architecture = in->launch.architecture ? in->launch.architecture : "x86_64",
        .launch_spec = launch,
    };
    const struct task_wish wish = {
        .zone = zone ? zone : in->launch.placement.zone_id,
        .description = in->description,
        .disk = in->disks.item,
        .disk_count = in->disks.count,
        .machine = &machine,
    };

    if (!launch)
        return im_fail(&call->err, ENOMEM, "out of memory");
    return svc_start_import(call, &in->import, &wish);
}

const struct svc_operation svc_operation_import_instance = {
    .action = "ImportInstance",
    .params = params,
    .input_size = sizeof(struct input),
    .check = check,
    .run = run,
};

/* launch - what an ImportInstance ends with: a machine image, and an instance of it.
 *
 * Both are records: DIR/images/ami-….json describes the image, DIR/instances/i-….json the instance
 * (schemas/json/ says what is in them).  A launcher, chosen by configuration, may start a real
 * instance.  Without an availability zone nothing is started, whichever launcher there is.
 *
 * The sentences in err are what follows "ServerError: " in a task's status message. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "conf/conf.h"

/* Disks of one machine: the API takes 21, and letters name their devices. */
#define LAUNCH_DISKS_MAX 26

/* Bytes of an instance id and its NUL: what a launcher may call an instance. */
#define LAUNCH_ID_SIZE 65

/* Bytes of a launch specification.  User data, 16 KiB, are 22 KiB in base64; a request has 64 KiB.
 */
#define LAUNCH_SPEC_MAX (64 * 1024)

/* device NULL: as AWS names the disks of an import, /dev/sda1 for the first, then /dev/sdb,
 * /dev/sdc … for Linux and xvdb, xvdc … for Windows.  description and digest may be NULL. */
struct launch_disk {
    const char *volume_id, *path, *device, *description, *digest;
    uint64_t gib;
};

/* name, description, boot_mode, zone and launch_spec may be NULL.  The first disk is the root. */
struct launch_machine {
    const char *task_id, *account, *image_id, *instance_id; /* "ami-", "i-" and 17 hex digits,
                                                               chosen when the task is made */
    const char *name, *description, *architecture, *platform, *boot_mode;
    const char *zone;        /* NULL: registered only */
    const char *launch_spec; /* JSON object of the LaunchSpecification, keys as in the API:
                                InstanceType, GroupName: [..], GroupId: [..], UserData (base64),
                                KeyName, SubnetId, PrivateIpAddress,
                                InstanceInitiatedShutdownBehavior, Monitoring, Placement: {…},
                                KernelId, RamdiskId, AdditionalInfo */
    const struct launch_disk *disk;
    size_t disk_count;
};

/* Write the image's and the instance's records, durably; what is there already stays as it is, so
 * that this may be repeated at any time.
 * Errors: -EINVAL (a machine that cannot be written down), -EEXIST (an id is another task's), else
 * from writing. */
int launch_register(const struct svc_conf *conf, const struct launch_machine *machine,
                    struct im_error *err);

/* Start an instance of it when zone is set and a launcher is configured.  Repeated after a death of
 * the service it starts no second one where the launcher can tell: ec2 always can, command when the
 * program had ended.  Fills ret_instance_id (size bytes, LAUNCH_ID_SIZE are enough; the machine's
 * own id when the launcher has no other) and *ret_state ("stopped", "running", "pending"; static).
 * Stops early when *stop becomes true; stop may be NULL.
 * Errors: -ECANCELED, -EAGAIN (may heal), anything else is final. */
int launch_start(const struct svc_conf *conf, const struct launch_machine *machine,
                 const atomic_bool *stop, char *ret_instance_id, size_t size,
                 const char **ret_state, struct im_error *err);

/* Take back what launch_register wrote, and what an unfinished launch_start made at an EC2 endpoint
 * as far as that answers within seconds; either id may be NULL.  Best effort, idempotent; what
 * could not be taken back is logged. */
void launch_withdraw(const struct svc_conf *conf, const char *image_id, const char *instance_id);

/* launch - the machine that became of an instance task: its records, and its start.
 *
 * Knows no tasks and no SQL.  All of it is idempotent: a worker that died between two steps is
 * followed by one that repeats them under the same ids. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "conf/conf.h"

struct launch_disk {
    const char *volume_id, *path, *device, *description, *digest; /* description, digest: or NULL */
    uint64_t gib;
};

struct launch_machine {
    const char *task_id, *account;
    const char *image_id, *instance_id;  /* "ami-" and "i-" and 17 hex digits each */
    const char *name, *description;      /* description may be NULL */
    const char *architecture, *platform; /* "x86_64", "Linux" */
    const char *boot_mode;               /* "legacy-bios", "uefi"; NULL: not known */
    const char *zone;                    /* NULL: registered only */
    const char *launch_spec; /* JSON object text of the LaunchSpecification, keys as in the API:
                                InstanceType, GroupName: [..], UserData, KeyName, SubnetId … */
    const struct launch_disk *disk;
    size_t disk_count;
};

/* Write the image's and the instance's records.  0 or -errno. */
int launch_register(const struct svc_conf *conf, const struct launch_machine *machine,
                    struct im_error *err);

/* Start an instance of it when zone is set and a launcher is configured.  Writes its id to
 * ret_instance_id (size bytes; the machine's own when the launcher has no other) and sets
 * *ret_state
 * ("stopped", "running", "pending"; static).  Ends early, with -ECANCELED, when *stop becomes true.
 * -EAGAIN: it may heal; other failures are final. */
int launch_start(const struct svc_conf *conf, const struct launch_machine *machine,
                 const atomic_bool *stop, char *ret_instance_id, size_t size,
                 const char **ret_state, struct im_error *err);

/* Take back what launch_register wrote; best effort. */
void launch_withdraw(const struct svc_conf *conf, const char *image_id, const char *instance_id);

/* import-private - what import.c, import-arguments.c, import-task.c and import-undo.c share: one
 * import, from the command line to the task. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#include "command.h"
#include "credentials.h"
#include "image.h"
#include "import.h"
#include "options.h"
#include "task.h"

/* Of a random UUID as text, which stands in the keys of an upload. */
#define EUCA_UUID_LENGTH 36

/* One file. */
struct euca_import_disk {
    const char *file;
    const char *basename; /* within file */
    const char *told_url; /* --manifest-url for it, or NULL */
    char *format;         /* in capitals when it is one of the known */
    uint64_t disk_size;   /* 0: not told yet */
    uint64_t volume_gib;  /* 0: not told */
    struct euca_image image;
    char *manifest_url; /* as the service gets it */
    const struct euca_endpoint *s3;
    char *bucket, *key; /* of the manifest; NULL when it is in no known object store */
    bool was_there;     /* the manifest, and so it and its parts are not ours alone */
};

/* What is to be done, all of it checked. */
struct euca_import {
    const char *program;
    const struct euca_import_kind *kind;
    struct euca_common common;
    struct euca_s3_options s3_options;
    struct euca_progress_options progress;
    struct euca_import_options own;
    uint64_t expires_days; /* 0: the default */
    uint64_t expires_s;
    unsigned uploads; /* at a time */
    struct euca_endpoint ec2, s3;
    size_t disk_count;
    struct euca_import_disk disk[EUCA_DISKS_MAX];
};

/* Fill and check the import, of which program and kind are set, from the command line; nothing is
 * opened but what kind->check reads.  Results as euca_options_parse. */
int euca_import_arguments(struct euca_import *import, const struct euca_command *command, int argc,
                          char **argv, struct im_error *err);

/* Make the task: one with an id, which the caller ends with euca_tasks_done.  Errors: as euca_call;
 * -EBADMSG for an answer that names no task, and says so that one may have been made. */
int euca_import_make_task(const struct euca_import *import, struct euca_tasks *ret_tasks,
                          struct im_error *err);

/* Ask the service whether it would make the task (DryRun).  0 when it would; errors: as euca_call,
 * -EOPNOTSUPP when it knows no dry runs, -EPROTO when it made the task,
 * which is then cancelled if it can be. */
int euca_import_ask(const struct euca_import *import, struct im_error *err);

/* End the task of an upload of which a file has another size now, and delete what the upload has
 * made.  What became of both is added to the failure in err.  False when the task could not be
 * cancelled: all is as it was then. */
bool euca_import_undo(const struct euca_import *import, const char *task_id, struct im_error *err);

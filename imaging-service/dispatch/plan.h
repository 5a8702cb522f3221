/* plan - what the toolkit is to do for a task. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "dispatch/files.h"
#include "task/task.h"

/* Bytes of the volume; 0 or -EFBIG when they cannot be counted. */
int plan_volume_bytes(const struct task *task, uint64_t *ret_bytes, struct im_error *err);

/* The job of a task as JSON text, owned by the caller (free).  A pure function of its arguments.
 * Errors: -EFBIG (volume), -EINVAL (the row has text that JSON cannot hold), -ENOMEM. */
int plan_job(const struct task *task, const struct claim_files *files, char **ret_json,
             struct im_error *err);

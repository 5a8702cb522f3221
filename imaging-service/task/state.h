/* state - what every database behind task.h shares: names of states, new ids, fixed sentences. */
#pragma once

#include <stdint.h>

#include "task/task.h"

/* A task lives so long from its creation (AWS: seven days). */
#define TASK_LIFE_MS ((int64_t)7 * 24 * 3600 * 1000)

/* What has ended is listed that long. */
#define TASK_KEEP_MS ((int64_t)7 * 24 * 3600 * 1000)

#define TASK_ID_SIZE          20 /* "import-vol-" or "import-i-", 8 of [0-9a-z], NUL */
#define TASK_RESOURCE_ID_SIZE 22 /* "vol-", "ami-" or "i-", 17 hex digits, NUL */

/* The first message of a task, and those of the two ends nobody else words. */
#define TASK_MESSAGE_PENDING   "Pending"
#define TASK_MESSAGE_CANCELLED "Cancelled by user"
#define TASK_MESSAGE_EXPIRED   "Task expired"
/* Of a disk of an instance, with the bytes behind it; and of the instance when its disks are made:
 * there AWS goes on with "Progress: N%" of work that is not counted in bytes. */
#define TASK_MESSAGE_DOWNLOADED "Pending : Downloaded"
#define TASK_MESSAGE_LAUNCH     "Progress: 99%"

/* The state called name; 0 or -EINVAL with *ret_state untouched. */
int task_state_parse(const char *name, enum task_state *ret_state);
int stage_state_parse(const char *name, enum stage_state *ret_state);

/* Write new random ids; they are not looked up in any table.  prefix: "vol-", "ami-" or "i-". */
void task_new_id(enum task_kind kind, char ret_id[TASK_ID_SIZE]);
void task_new_resource_id(const char *prefix, char ret_id[TASK_RESOURCE_ID_SIZE]);

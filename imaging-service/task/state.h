/* state - what every database behind task.h shares: names of states, new ids, fixed sentences. */
#pragma once

#include <stdint.h>

#include "task/task.h"

/* A task lives so long from its creation (AWS: seven days). */
#define TASK_LIFE_MS ((int64_t)7 * 24 * 3600 * 1000)

#define TASK_ID_SIZE        20 /* "import-vol-", 8 of [0-9a-z], NUL */
#define TASK_VOLUME_ID_SIZE 22 /* "vol-", 17 hex digits, NUL */

/* The first message of a task, and those of the two ends nobody else words. */
#define TASK_MESSAGE_PENDING   "Pending"
#define TASK_MESSAGE_CANCELLED "Cancelled by user"
#define TASK_MESSAGE_EXPIRED   "Task expired"

/* The state called name; 0 or -EINVAL with *ret_state untouched. */
int task_state_parse(const char *name, enum task_state *ret_state);

/* Write new random ids; they are not looked up in any table. */
void task_new_id(char ret_id[TASK_ID_SIZE]);
void task_new_volume_id(char ret_id[TASK_VOLUME_ID_SIZE]);

/* task-rows - a task and its stages as rows to be printed.  The columns never change: programs read
 * them.  New values are for task_row_whole and stage_row_whole alone. */
#pragma once

#include <stdint.h>

#include <jansson.h>

#include "task/task.h"

/* All return a new object, NULL when out of memory. */

/* A line of a list: task, account, kind, state, created, progress (percent), zone, message. */
json_t *task_row(const struct task *task);

/* Everything about it but its tags and stages. */
json_t *task_row_whole(const struct task *task);

/* Its tags: names and values. */
json_t *task_tags_row(const struct task *task);

/* A line: task, number, kind, state, worker, epoch, lease_left_s, due_s, deaths, waits, tries,
 * bytes_done, bytes_total, volume, message.  now_ms: the database's time. */
json_t *stage_row(const struct task *task, const struct stage *stage, int64_t now_ms);

/* Everything about it but whose it is. */
json_t *stage_row_whole(const struct stage *stage, int64_t now_ms);

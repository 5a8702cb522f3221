/* task - conversion tasks asked for by their ids, what their states mean, and their end. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#include "credentials.h"
#include "reply.h"

/* Ids in one request: services take 1000 parameters, Action and Version among them. */
#define EUCA_TASK_IDS_MAX 990

/* Disks of one task: as many as the services take. */
#define EUCA_DISKS_MAX 21

/* DescribeConversionTasks of these ids, or of all tasks when there is none.  The caller ends
 * *ret_tasks with euca_tasks_done.  Errors: as euca_call and euca_reply_tasks. */
int euca_task_describe(const struct euca_endpoint *ec2, const char *const *ids, size_t count,
                       struct euca_tasks *ret_tasks, struct im_error *err);

/* The task with this id (case does not count), alone in *ret_tasks.  Errors: as above; -ENOENT when
 * the service answers with an empty list, as old ones do for ids they do not know; -EBADMSG when it
 * answers with another task. */
int euca_task_find(const struct euca_endpoint *ec2, const char *id, struct euca_tasks *ret_tasks,
                   struct im_error *err);

/* Ask that the task be stopped.  Errors: as euca_call and euca_reply_return; -EBUSY when the
 * service answers that it did not. */
int euca_task_cancel(const struct euca_endpoint *ec2, const char *id, struct im_error *err);

/* The task with this id among them (case does not count), or NULL. */
const struct euca_task *euca_task_among(const struct euca_tasks *tasks, const char *id);

/* -ENOENT with the sentence for the first of these ids that is not among the tasks: old services
 * leave out what they do not know.  0 when all are. */
int euca_task_check_ids(const struct euca_tasks *tasks, const char *const *ids, size_t count,
                        struct im_error *err);

/* What a task's state means: it is at work, or has come to its end, completed or not.  A service
 * may tell a state of which none is true. */
bool euca_task_is_active(const struct euca_task *task);
bool euca_task_has_ended(const struct euca_task *task);
bool euca_task_has_completed(const struct euca_task *task);

/* -EBADMSG with the sentence on a state of which none of these is true. */
int euca_task_strange(const struct euca_task *task, struct im_error *err);

/* output - a conversion task as the lines that programs read: columns that never change, and JSON
 * in the names of the EC2 API, as the AWS CLI prints it. */
#pragma once

#include <stdio.h>

#include "reply.h"

/* Print the TaskType line and a DISKIMAGE line per disk; nothing for a task without an import. */
void euca_print_task(FILE *out, const struct euca_task *task);

/* Print a task as one line of JSON: {"ConversionTaskId": …, "State": …}.  URLs are without their
 * query.  0 or -ENOMEM. */
int euca_print_task_json(FILE *out, const struct euca_task *task);

/* Print all tasks as one document: {"ConversionTasks": […]}.  0 or -ENOMEM. */
int euca_print_tasks_json(FILE *out, const struct euca_tasks *tasks);

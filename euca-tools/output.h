/* output - a conversion task as the lines that programs read: columns that never change. */
#pragma once

#include <stdio.h>

#include "reply.h"

/* Print the TaskType line and a DISKIMAGE line per disk; nothing for a task without an import. */
void euca_print_task(FILE *out, const struct euca_task *task);

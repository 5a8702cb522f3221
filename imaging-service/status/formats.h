/* formats - which formats the toolkit cannot read or write here, because a program is missing. */
#pragma once

#include <stdatomic.h>

#include "base/buffer.h"
#include "base/error.h"

/* Ask the toolkit (`imaging-toolkit stages`) and append a line "format qcow2: qemu-img was not
 * found" to notes for each.  Ends early, as a failure, when *stop becomes true.  0; -ENOPKG there
 * is no toolkit, -ETIMEDOUT, -EIO it failed or said something else. */
int formats_missing(const char *toolkit, const atomic_bool *stop, struct im_buffer *notes,
                    struct im_error *err);

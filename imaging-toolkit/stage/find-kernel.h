/* find-kernel - does a bare file system hold a kernel where the boot loader looks for one? */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "core/disk.h"
#include "core/stage.h"

/* Is there /vmlinuz or /boot/vmlinuz…?  The image is an ext file system whose size is known.
 * Errors: those of guest/guest.h, -EBADMSG of a damaged one among them. */
int find_kernel(struct im_disk *image, const struct im_context *context, bool *ret_found,
                struct im_error *err);

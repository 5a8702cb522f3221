/* toolkit - imaging-toolkit as a child process, for what the clients do not know themselves.
 *
 * It is optional: whoever calls has an answer for its absence. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/spawn.h"

/* Where the program is: as the environment variable IMAGING_TOOLKIT says, else beside this program
 * (also where a build has it), else in PATH.  -ENOPKG. */
int euca_toolkit_find(struct im_program *ret_found, struct im_error *err);

/* Ask "info" for the size in bytes of the disk in the image at `path`.  Errors: -ENOPKG when the
 * program, or another that it needs for this format, is missing; -ENODATA when the size is known
 * only after everything has been unpacked; -EBADMSG with the toolkit's sentence when it refuses the
 * image; -ECANCELED. */
int euca_toolkit_disk_size(const char *path, const char *format, uint64_t *ret_bytes,
                           struct im_error *err);

/* Let "check" look at the disk in the image; of one that need not boot less is asked.  What it
 * finds goes to standard error.  0 also when it has warnings; errors: -EBADMSG when it refuses the
 * disk, or could not look at it, -ENOPKG, -ECANCELED. */
int euca_toolkit_check(const char *path, const char *format, bool boots, struct im_error *err);

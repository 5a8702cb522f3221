/* remains - what to say when an upload was broken off: which task waits, and for which command. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "image.h"
#include "options.h"
#include "task.h"

struct euca_remains {
    const char *program;
    const char *task_id;
    const struct euca_common *common;
    const struct euca_s3_options *s3;
    const char *expires;                    /* -x as it was given, or NULL */
    const struct euca_image *const *images; /* the files, open */
    size_t image_count;                     /* at most EUCA_DISKS_MAX */
};

/* Has one of the files another size by now?  What its manifest tells cannot be gone on with then.
 */
bool euca_remains_changed(const struct euca_remains *remains);

/* Tell on standard error that the task waits for the rest of its upload, the command that resumes
 * it and the one that cancels it, with endpoints and region as they were given (hint.h).  Keys are
 * not in them, but that they are needed is told.  Nothing
 * resumes files of which one has changed. */
void euca_tell_remains(const struct euca_remains *remains);

/* stage - a step between decoder and store: takes a disk, gives a disk.
 *
 * A stage replaces *disk by a disk that reads from it; on failure it leaves *disk alone and says
 * why.  A validator gives back the very disk it was given.  The core checks ranges before it calls
 * a disk's read, closes the chain, and copies the last disk to the store. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/disk.h"

/* A stage's arguments, as the job or the command line gives them. */
struct im_args {
    uint64_t size; /* size=BYTES; 0 when not given */
};

struct im_stage {
    const char *name;
    const char *summary; /* one line with its arguments */
    const char *needs;   /* program or library it depends on, or NULL */
    int (*apply)(const struct im_args *args, struct im_disk **disk, struct im_error *err);
};

/* The stage called name, or NULL. */
const struct im_stage *im_stage_find(const char *name);

/* stage - a step between decoder and store: takes a disk, gives a disk.
 *
 * A stage replaces *disk by a disk that reads from it; on failure it leaves *disk alone and says
 * why.  The core checks ranges before it calls a disk's read, closes the chain, and copies the last
 * disk to the store.
 *
 * A validator replaces nothing but looks.  What it asks for lies anywhere on the disk, and an image
 * that flows through in one pass cannot be asked.  So it looks at the image only where that is a
 * file, before anything is copied; else at what has been written, before that is committed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/disk.h"

/* A stage's arguments, as the job or the command line gives them. */
struct im_args {
    uint64_t size; /* size=BYTES; 0 when not given */
};

/* What validators found; zeros: nobody looked. */
struct im_findings {
    const char *boot_mode; /* "legacy-bios" or "uefi", static */
};

struct im_stage {
    const char *name;
    const char *summary; /* one line with its arguments */
    const char *needs;   /* program or library it depends on, or NULL */

    /* NULL: it leaves the disk as it is. */
    int (*apply)(const struct im_args *args, struct im_disk **disk, struct im_error *err);

    /* Read what is needed of the disk, at any offset and a few times, and refuse it or add to the
     * findings.  NULL: it does not look. */
    int (*look)(struct im_disk *disk, struct im_findings *findings, struct im_error *err);
};

/* The stage called name, or NULL. */
const struct im_stage *im_stage_find(const char *name);

/* Let a stage look at a disk of `size` bytes that has been written to the file fd as it is; what is
 * past the end of the file reads as zeros. */
int im_stage_look_at_file(const struct im_stage *stage, int fd, uint64_t size,
                          struct im_findings *findings, struct im_error *err);

/* scratch - room for second copies: reserved before it is used, gone when it is let go.
 *
 * Whoever needs a copy of something says how many bytes it will have at most, and gets a file
 * without a name that it may fill so far and not further.  The place is a directory. */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct im_scratch {
    int fd;         /* of the file, mode 0600; the scratch's own */
    uint64_t bytes; /* reserved */
};

/* Reserve `bytes` of `place` and give an empty file for them.
 * Errors: -ENOSPC code "ScratchLimit" when they can never fit, with the two numbers; "NoSpace";
 * -ECANCELED while waiting. */
int im_scratch_take(const char *place, uint64_t bytes, struct im_scratch **ret_scratch,
                    struct im_error *err);

/* No more than `bytes` are needed from now on: the rest is somebody else's.  Never more than
 * before. */
void im_scratch_shrink(struct im_scratch *scratch, uint64_t bytes);

/* Let go: file and reservation are gone.  Takes NULL, returns NULL. */
struct im_scratch *im_scratch_free(struct im_scratch *scratch);

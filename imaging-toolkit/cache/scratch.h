/* scratch - room for second copies: reserved before it is used, gone when it is let go.
 *
 * Whoever needs a copy of something says how many bytes it will have at most, and gets a file that
 * it may fill so far and not further.  The place is a directory or a block device.  Where nobody
 * has limited it, the file has no name and nothing is counted.  Where somebody has
 * ('imaging-toolkit cache limit'), all processes together never have more than the limit: entries
 * of the cache make room, then who finds none waits, or fails when the place says so.
 *
 * Two who each hold some and wait for more would wait for ever.  So a job takes all it needs at
 * once where it knows (im_scratch_split divides it), and when everybody who holds some waits, the
 * last of them fails instead. */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct im_place;

/* Bytes that are counted for any reservation beside what it holds, less than 1/256 of that: its
 * last block, and the file system's maps. */
#define IM_SCRATCH_EACH UINT64_C(20480)

struct im_scratch {
    int fd;         /* of the file, mode 0600; the scratch's own */
    uint64_t bytes; /* reserved: no more may be in the file (holes are free) */
    /* the rest is cache/'s own */
    struct im_place *place;
    uint64_t counted;
    char name[112];
};

/* Reserve `bytes` of `place` and give an empty file for them.
 * Errors: -ENOSPC code "ScratchLimit" when they can never fit, with the two numbers; "NoSpace" when
 * they might later; -ECANCELED while waiting; -EIO "PlaceUnavailable". */
int im_scratch_take(const char *place, uint64_t bytes, struct im_scratch **ret_scratch,
                    struct im_error *err);

/* Make it `bytes` in all, for what turns out to be larger; less than before is no change.
 * Errors: as im_scratch_take; the scratch stays as it is. */
int im_scratch_grow(struct im_scratch *scratch, uint64_t bytes, struct im_error *err);

/* Give `bytes` of it, which nothing has been written to, a file of their own. */
int im_scratch_split(struct im_scratch *scratch, uint64_t bytes, struct im_scratch **ret_scratch,
                     struct im_error *err);

/* No more than `bytes` are needed from now on: the rest is somebody else's.  Never more than
 * before. */
void im_scratch_shrink(struct im_scratch *scratch, uint64_t bytes);

/* Let go: file and reservation are gone.  Takes NULL, returns NULL. */
struct im_scratch *im_scratch_free(struct im_scratch *scratch);

/* The failure of whoever would write more than was reserved. */
int im_scratch_exceeded(uint64_t bytes, struct im_error *err);

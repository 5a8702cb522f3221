/* take - how room is found, for scratch and for entries that are to be made; only cache/ knows it.
 */
#pragma once

#include "cache/cache.h"
#include "cache/place.h"
#include "cache/scratch.h"

/* What is wanted of a place. */
struct im_wish {
    uint64_t bytes;
    const char *id;              /* the entry that will be made of it; NULL: none … */
    struct im_entry **ret_entry; /* … and where it goes when it is there */
    struct im_scratch *grows;    /* what is to become larger; NULL: a new one */
};

/* Bytes of a file's own maps that are counted for any reservation; two files may be made of one. */
#define IM_ROOM_MAPS UINT64_C(16384)

/* What `bytes` of scratch are counted as: the file system's own maps of a file are in its blocks.
 */
uint64_t im_room_of(uint64_t bytes);

/* Is there room for `counted` bytes more, once entries have made room, with the lock held?  0; 1:
 * not yet; or why never. */
int im_room_find(struct im_place *place, const struct im_wish *wish, uint64_t counted,
                 struct im_error *err);

/* Tell others that we wait for more, or no longer: fd is -1 before and afterwards. */
void im_room_waits(struct im_place *place, int *fd);
void im_room_waits_no_more(struct im_place *place, int *fd);

/* Wait for what is wished.  0 with *ret_scratch (which owns the place from now on), or with
 * wish->grows grown; 2: the entry is there, and owns the place.
 * Errors: as im_scratch_take; the place stays the caller's. */
int im_scratch_wish(struct im_place *place, const struct im_wish *wish,
                    struct im_scratch **ret_scratch, struct im_error *err);

/* Is the entry there, with the lock held?  0: no, and nobody makes it; 1: somebody does; 2: yes,
 * taken. */
int im_entry_try(struct im_place *place, const struct im_wish *wish, struct im_error *err);

/* spool - a store in scratch, for what flows by once and is wanted again for a while.
 *
 * core/ does not know the cache: cache/spool.c has it. */
#pragma once

#include "base/error.h"
#include "core/store.h"

struct im_scratch;

/* A store in `place` that is reserved as it is written; its fd can be read, its bytes are never
 * committed.  *ret_scratch outlives the store, which is closed first.
 * Errors: as im_scratch_take. */
int im_spool_open(const char *place, struct im_scratch **ret_scratch, struct im_store **ret_store,
                  struct im_error *err);

/* File and reservation are gone.  Takes NULL. */
void im_spool_free(struct im_scratch *scratch);

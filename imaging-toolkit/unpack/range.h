/* range - some bytes of a source as a source of its own: a member of an archive that is stored as
 * it is.  Nothing is copied; a file's range is read at any place, and shared by reference, as the
 * file itself is. */
#pragma once

#include <stdint.h>

#include "core/source.h"
#include "unpack/proof.h"

/* The `size` bytes (IM_SIZE_UNKNOWN: all) at offset `at` of *source, called `name`.  On success
 * *source is the range, which owns what it was and proof's argument; what nobody has read until the
 * end is read for the proof.  -ENOMEM. */
int im_range_wrap(struct im_source **source, const char *name, uint64_t at, uint64_t size,
                  const struct im_proof *proof, struct im_error *err);

/* Close a range that nobody has got yet, but not the source below it. */
void im_range_unwrap(struct im_source *range);

/* restore - believe what an earlier attempt has written into a volume, after a look at it.
 *
 * Every run that the journal tells of is read and compared with its CRC; what nobody tells of
 * (bytes that were written behind the last mark, or by somebody else) is made zeros again. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "core/progress.h"
#include "core/store.h"
#include "core/trail.h"

/* Gives room for len bytes that stand in the volume at offset, and takes them once they are read.
 */
typedef int (*im_restore_room_fn)(void *arg, size_t len, uint64_t offset, void **ret_buf,
                                  struct im_error *err);

/* Look at a volume of `size` bytes in store, whose fd can be read.
 * Errors: -ESTALE when it is not what the journal says, and all must begin anew; -EIO, -ENOMEM,
 * -ECANCELED, room's. */
int im_restore(struct im_trail *trail, struct im_store *store, uint64_t size,
               im_restore_room_fn room, void *arg, struct im_progress *progress,
               struct im_error *err);

/* spool - a store in scratch; see core/spool.h. */

#include <config.h>

#include "core/spool.h"

#include "cache/scratch.h"

/* It begins with so much room and asks for more. */
#define FIRST (16u << 20)

static int more(void *arg, uint64_t bytes, struct im_error *err)
{
    return im_scratch_grow(arg, bytes, err);
}

int im_spool_open(const char *place, struct im_scratch **ret_scratch, struct im_store **ret_store,
                  struct im_error *err)
{
    struct im_scratch *scratch = NULL;
    int r = im_scratch_take(place, FIRST, &scratch, err);

    if (r == 0)
        r = im_store_scratch(scratch->fd, scratch->bytes, more, scratch, ret_store, err);
    if (r < 0)
        im_scratch_free(scratch);
    else
        *ret_scratch = scratch;
    return r;
}

void im_spool_free(struct im_scratch *scratch)
{
    im_scratch_free(scratch);
}

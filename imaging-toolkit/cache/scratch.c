/* scratch - room for second copies. */

#include <config.h>

#include "cache/scratch.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/tmpfile.h"

int im_scratch_take(const char *place, uint64_t bytes, struct im_scratch **ret_scratch,
                    struct im_error *err)
{
    struct im_scratch *scratch = calloc(1, sizeof(*scratch));
    int fd;

    if (!scratch)
        return im_fail(err, ENOMEM, "out of memory");
    fd = im_tmpfile(place, 0600, NULL, err);
    if (fd < 0) {
        free(scratch);
        return fd;
    }
    *scratch = (struct im_scratch){ .fd = fd, .bytes = bytes };
    *ret_scratch = scratch;
    return 0;
}

void im_scratch_shrink(struct im_scratch *scratch, uint64_t bytes)
{
    if (bytes < scratch->bytes)
        scratch->bytes = bytes;
}

struct im_scratch *im_scratch_free(struct im_scratch *scratch)
{
    if (!scratch)
        return NULL;
    (void)close(scratch->fd);
    free(scratch);
    return NULL;
}

/* as-file - the disk a validator looks at, as a file a program can read. */

#include <config.h>

#include "guest/as-file.h"

#include <errno.h>

int im_look_file(struct im_look *look, int *ret_fd, struct im_error *err)
{
    uint64_t at, len;

    if (look->fd >= 0) {
        *ret_fd = look->fd;
        return 0;
    }
    if (look->disk->plain &&
        im_source_local(look->disk->source, 0, look->disk->size, ret_fd, &at, &len) == 0 && at == 0)
        return 0;
    return im_fail(err, EOPNOTSUPP, "the disk is no file of its own");
}

/* file - read a file of the user's. */

#include <config.h>

#include "file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"

int euca_fail_file(const char *path, int number, struct im_error *err)
{
    return im_fail(err, number, "%s: %s", strerrordesc_np(number), path);
}

int euca_read_file(const char *path, size_t max, char **ret_text, size_t *ret_len,
                   struct im_error *err)
{
    if (access(path, R_OK) < 0)
        return euca_fail_file(path, errno, err);
    return im_read_file(path, max, ret_text, ret_len, err);
}

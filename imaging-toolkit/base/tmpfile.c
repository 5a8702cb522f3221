/* tmpfile - files without a name. */

#include <config.h>

#include "base/tmpfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

static int failed(const char *dir, struct im_error *err)
{
    int number = errno;

    /* a missing or read-only place is not the image's fault: only "no space" keeps its meaning */
    if (number == ENOSPC || number == EDQUOT)
        return im_fail_errno(err, number, "cannot create a file in '%s'", dir);
    return im_fail_code(err, EIO, "CannotWrite", "cannot create a file in '%s': %s", dir,
                        strerrordesc_np(number));
}

int im_tmpfile(const char *dir, unsigned mode, char **ret_path, struct im_error *err)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, (mode_t)mode);
    char *path IM_FREE = NULL;

    if (ret_path)
        *ret_path = NULL;
    if (fd >= 0)
        return fd;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
        return failed(dir, err);
    path = im_asprintf("%s/.imaging-XXXXXX", dir);
    if (!path)
        return im_fail(err, ENOMEM, "out of memory");
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return failed(dir, err);
    (void)fchmod(fd, (mode_t)mode);
    if (ret_path)
        *ret_path = im_steal(path);
    else
        (void)unlink(path);
    return fd;
}

/* tmpfile - files without a name. */

#include <config.h>

#include "base/tmpfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crypto.h"
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

/* Not by mkostemp, which gives it a mode of its own: who is confined cannot change that.  -1 with
 * errno, or -ENOMEM. */
static int create_named(const char *dir, mode_t mode, char **ret_path)
{
    int fd;

    do {
        uint64_t number;

        free(*ret_path);
        im_random(&number, sizeof(number));
        *ret_path = im_asprintf("%s/.imaging-%016" PRIx64, dir, number);
        if (!*ret_path)
            return -ENOMEM;
        fd = open(*ret_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EEXIST);
    return fd;
}

static int open_named(const char *dir, mode_t mode, char **ret_path, struct im_error *err)
{
    char *path IM_FREE = NULL;
    int fd = create_named(dir, mode, &path);

    if (fd == -ENOMEM)
        return im_fail(err, ENOMEM, "out of memory");
    if (fd < 0)
        return failed(dir, err);
    if (ret_path)
        *ret_path = im_steal(path);
    else
        (void)unlink(path);
    return fd;
}

int im_tmpfile(const char *dir, unsigned mode, char **ret_path, struct im_error *err)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, (mode_t)mode);

    if (ret_path)
        *ret_path = NULL;
    if (fd >= 0)
        return fd;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
        return failed(dir, err);
    return open_named(dir, (mode_t)mode, ret_path, err);
}

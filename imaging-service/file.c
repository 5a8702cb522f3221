/* file - small private files that appear whole or not at all. */

#include <config.h>

#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"

int svc_file_put(const char *path, const void *data, size_t len, unsigned mode,
                 struct im_error *err)
{
    char *fresh IM_FREE = im_asprintf("%s.new", path);
    int fd IM_CLOSE = -1;
    int r;

    if (!fresh)
        return im_fail(err, ENOMEM, "out of memory");
    /* what a dead process left under this name may have any mode: start afresh */
    (void)unlink(fresh);
    fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return im_fail_errno(err, errno, "cannot create '%s'", fresh);
    r = im_write(fd, data, len);
    if (r == 0 && (fsync(fd) < 0 || rename(fresh, path) < 0))
        r = -errno;
    if (r == 0)
        r = im_sync_parent(path);
    if (r < 0) {
        (void)unlink(fresh);
        return im_fail_errno(err, -r, "cannot write '%s'", path);
    }
    return 0;
}

int svc_file_write(const char *path, const char *text, struct im_error *err)
{
    return svc_file_put(path, text, strlen(text), 0600, err);
}

/* name - a name for a file in scratch that has none; see name.h. */

#include <config.h>

#include "guest/name.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

#define PREFIX "imaging-guest."

bool guest_has_name(int fd)
{
    char link[64], path[PATH_MAX];
    struct stat own, other;
    ssize_t len;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, path, sizeof(path) - 1);
    if (len < 0)
        return false;
    path[len] = '\0';
    return fstat(fd, &own) == 0 && stat(path, &other) == 0 && own.st_dev == other.st_dev &&
           own.st_ino == other.st_ino;
}

/* Remove the names that nobody has locked: who took them has died. */
static void sweep(const char *scratch)
{
    DIR *dir = opendir(scratch);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        int fd IM_CLOSE = -1;

        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0)
            continue;
        fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir)
        (void)closedir(dir);
}

int guest_name_take(int fd, const char *scratch, struct guest_name *ret_name, struct im_error *err)
{
    static atomic_uint number;
    struct guest_name name = { .fd = fd };
    char link[64];

    if (!guest_has_name(fd)) {
        sweep(scratch);
        name.path = im_asprintf("%s/" PREFIX "%ld.%u", scratch, (long)getpid(),
                                atomic_fetch_add(&number, 1));
        if (!name.path)
            return im_fail(err, ENOMEM, "out of memory");
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0 ||
            linkat(AT_FDCWD, link, AT_FDCWD, name.path, AT_SYMLINK_FOLLOW) < 0) {
            (void)im_fail(err, EOPNOTSUPP,
                          "a file in '%s' cannot be given a name, which grub-fstest needs (%s); "
                          "use a scratch directory on another file system",
                          scratch, strerrordesc_np(errno));
            free(name.path);
            return -EOPNOTSUPP;
        }
        name.fd = open(name.path, O_RDONLY | O_CLOEXEC);
        if (name.fd < 0) {
            int r = im_fail_errno(err, errno, "cannot open '%s'", name.path);

            guest_name_done(&name);
            return r;
        }
    }
    *ret_name = name;
    return 0;
}

void guest_name_done(struct guest_name *name)
{
    if (!name->path)
        return;
    (void)unlink(name->path);
    free(name->path);
    if (name->fd >= 0)
        (void)close(name->fd);
}

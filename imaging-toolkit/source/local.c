/* local - objects of an object store on this machine: opens their files, carefully. */

#include <config.h>

#include "source/local.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

struct im_local {
    int dir;
    int fd;     /* of the file asked for last, or -1 */
    char *told; /* which one that is */
    uint64_t size;
};

struct im_local *im_local_new(const char *dir)
{
    struct im_local *local = calloc(1, sizeof(*local));

    if (!local)
        return NULL;
    local->fd = -1;
    local->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return local->dir < 0 ? im_local_free(local) : local;
}

static void forget(struct im_local *local)
{
    im_cleanup_close(&local->fd);
    local->fd = -1;
    free(local->told);
    local->told = NULL;
}

struct im_local *im_local_free(struct im_local *local)
{
    if (!local)
        return NULL;
    forget(local);
    im_cleanup_close(&local->dir);
    free(local);
    return NULL;
}

/* Open a plain file beneath the directory; never through a link, never waiting (for a pipe). */
static int open_beneath(int dir, const char *name)
{
    const struct open_how how = {
        .flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };

    return (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
}

static int open_told(struct im_local *local, const char *told)
{
    const char *id = strchr(told, ' ');
    char *name IM_FREE = id ? strndup(told, (size_t)(id - told)) : NULL;
    int fd IM_CLOSE = name ? open_beneath(local->dir, name) : -1;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        strcmp(im_file_id(&st).text, id + 1) != 0)
        return -1;
    local->size = (uint64_t)st.st_size;
    return im_steal_fd(&fd);
}

int im_local_file(struct im_local *local, const char *told, uint64_t len)
{
    if (!local)
        return -1;
    if (local->fd < 0 || strcmp(local->told, told) != 0) {
        forget(local);
        local->told = strdup(told);
        if (local->told)
            local->fd = open_told(local, told);
    }
    return local->fd >= 0 && len <= local->size ? local->fd : -1;
}

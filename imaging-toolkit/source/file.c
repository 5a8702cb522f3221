/* file - a regular file or block device as a source; holes are known to the file system. */

#include <config.h>

#include "source/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "core/source.h"

struct file {
    struct im_source base;
    int fd;
    struct stat found; /* when it was opened */
};

static int file_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                     size_t *ret_len, struct im_error *err)
{
    struct file *file = (struct file *)source;
    ssize_t n = im_pread(file->fd, buf, len, offset);

    if (n < 0)
        return im_fail_code(err, EIO, "ReadFailed",
                            "cannot read %zu bytes at offset %" PRIu64 " of '%s': %s", len, offset,
                            source->name, strerrordesc_np((int)-n));
    *ret_len = (size_t)n;
    return 0;
}

static int file_map(struct im_source *source, uint64_t offset, uint64_t len, struct im_extent *ret,
                    struct im_error *err)
{
    (void)err;
    *ret = (struct im_extent){ .offset = offset };
    im_file_extent(((struct file *)source)->fd, offset, len, &ret->zero, &ret->len);
    return 0;
}

static int file_local(struct im_source *source, uint64_t offset, uint64_t len, int *ret_fd,
                      uint64_t *ret_at, uint64_t *ret_len)
{
    *ret_fd = ((struct file *)source)->fd;
    *ret_at = offset;
    *ret_len = len;
    return 0;
}

/* A disk's own size cannot change, and writing to it leaves no trace. */
static int file_finish(struct im_source *source, struct im_error *err)
{
    const struct file *file = (struct file *)source;
    const struct stat *found = &file->found;
    struct stat now;

    if (fstat(file->fd, &now) < 0)
        return im_fail_errno(err, errno, "cannot look at '%s'", source->name);
    if (!S_ISREG(now.st_mode))
        return 0;
    if (im_stat_same(&now, found))
        return 0;
    return im_fail_code(
        err, EBADMSG, "ImageChanged",
        "'%s' was written to while it was read (%jd bytes then, %jd now); try again "
        "when nothing writes to it",
        source->name, (intmax_t)found->st_size, (intmax_t)now.st_size);
}

static void file_close(struct im_source *source)
{
    (void)close(((struct file *)source)->fd);
}

static const struct im_source_ops file_ops = {
    .name = "file",
    .read = file_read,
    .map = file_map,
    .local = file_local,
    .finish = file_finish,
    .close = file_close,
};

static int size_of(int fd, const struct stat *st, const char *path, uint64_t *ret_size,
                   struct im_error *err)
{
    if (S_ISREG(st->st_mode)) {
        *ret_size = (uint64_t)st->st_size;
        return 0;
    }
    if (S_ISBLK(st->st_mode)) {
        if (ioctl(fd, BLKGETSIZE64, ret_size) < 0)
            return im_fail_errno(err, errno, "cannot get the size of '%s'", path);
        return 0;
    }
    if (S_ISDIR(st->st_mode))
        return im_fail(err, EISDIR, "'%s' is a directory; give a file", path);
    return im_fail_code(err, EISDIR, "NotAFile",
                        "'%s' is neither a file nor a block device; pipe it into '-' instead",
                        path);
}

int im_source_from_fd(int fd, const char *name, struct im_source **ret_source, struct im_error *err)
{
    int owned IM_CLOSE = fd;
    struct file *file;
    struct stat st;
    uint64_t size;
    int r;

    if (fstat(fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot look at '%s'", name);
    r = size_of(fd, &st, name, &size, err);
    if (r < 0)
        return r;
    file = im_source_new(sizeof(*file), &file_ops, name);
    if (!file)
        return im_fail(err, ENOMEM, "out of memory");
    file->fd = im_steal_fd(&owned);
    file->found = st;
    file->base.size = size;
    file->base.direct = true;
    (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    *ret_source = &file->base;
    return 0;
}

static int check_regular(const struct stat *st, const char *shown, struct im_error *err)
{
    if (S_ISREG(st->st_mode))
        return 0;
    return im_fail_code(err, EOPNOTSUPP, "NotAFile",
                        "'%s' is no regular file; links, devices and pipes are never opened here",
                        shown);
}

int im_source_open_in(int dir, const char *name, struct im_source **ret_source,
                      struct im_error *err)
{
    char shown[NAME_MAX + 1];
    int fd IM_CLOSE = -1;
    struct stat st;
    int r;

    (void)im_text_printable(shown, sizeof(shown), name);
    /* looked at before, since opening a device may act on it; and after, should it have changed */
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return im_fail_errno(err, errno, "cannot find '%s'", shown);
    r = check_regular(&st, shown, err);
    if (r < 0)
        return r;
    fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot open '%s'", shown);
    r = check_regular(&st, shown, err);
    return r < 0 ? r : im_source_from_fd(im_steal_fd(&fd), shown, ret_source, err);
}

static int file_open(const char *spec, struct im_source **ret_source, struct im_error *err)
{
    /* O_NONBLOCK: opening a FIFO must not hang; it means nothing for files and disks */
    int fd = open(spec, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int r;

    if (fd < 0)
        return im_fail_open(spec, errno, err);
    r = im_source_from_fd(fd, spec, ret_source, err);
    if (r == 0)
        (*ret_source)->path = (*ret_source)->name;
    return r;
}

/* Asked last: whatever nobody else took is a path. */
static bool file_accepts(const char *spec)
{
    return *spec != '\0';
}

const struct im_source_type im_source_file = {
    .name = "file",
    .summary = "PATH: a file or block device",
    .accepts = file_accepts,
    .open = file_open,
};

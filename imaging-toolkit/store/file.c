/* file - a sparse file that appears under its name only when it is whole.
 *
 * Until the commit the bytes are in a file without a name (where the file system can), so that even
 * a kill -9 leaves nothing.  Commit order: fsync the file, give it its name, fsync the directory.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "base/tmpfile.h"
#include "core/store.h"

/* So often the kernel is asked to begin writing to the disk, so that the fsync at the end has
 * little left to wait for. */
#define WRITEBACK (16u << 20)

/* File systems allocate in blocks of this size. */
#define BLOCK 4096u

struct file_store {
    struct im_store base;
    char *path;      /* the name to appear under */
    char *temporary; /* the name until then, NULL when there is none */
    bool partial;    /* … which stays when there is no commit */
    bool force;
    bool no_sync;
    _Atomic uint64_t written; /* bytes so far */
    bool scratch;             /* it is limited: */
    _Atomic uint64_t limit;   /* bytes it may take */
    _Atomic uint64_t counted; /* … and takes at most */
    int (*more)(void *arg, uint64_t bytes, struct im_error *err);
    void *more_arg;
    pthread_mutex_t lock; /* for asking */
};

static int write_failed(struct file_store *file, int number, uint64_t offset, struct im_error *err)
{
    if (number == ENOSPC || number == EDQUOT || number == EFBIG)
        return im_fail_code(err, ENOSPC, "NoSpace",
                            "no space for '%s' at byte %" PRIu64 ": %s; free some and try again",
                            file->base.name, offset, strerrordesc_np(number));
    return im_fail_code(err, EIO, "CannotWrite", "cannot write '%s' at byte %" PRIu64 ": %s",
                        file->base.name, offset, strerrordesc_np(number));
}

/* More is asked for in steps, so that few questions are needed. */
#define MORE (16u << 20)

static int ask_for_more(struct file_store *file, uint64_t needed, struct im_error *err)
{
    int r = file->more ? 0 : -ENOSPC;

    if (r < 0)
        return im_fail_code(err, ENOSPC, "ScratchLimit",
                            "the copy in scratch needs more than the %" PRIu64
                            " bytes that were reserved for it",
                            file->limit);
    (void)pthread_mutex_lock(&file->lock);
    if (needed > file->limit) {
        uint64_t wanted = needed + MORE;
        struct im_error why = { 0 };

        r = file->more(file->more_arg, wanted, &why);
        if (r == -ENOSPC) { /* for a step there may be no room, and yet for this */
            wanted = needed;
            r = file->more(file->more_arg, wanted, &why);
        }
        if (r < 0 && err)
            *err = why;
        if (r == 0)
            file->limit = wanted;
    }
    (void)pthread_mutex_unlock(&file->lock);
    return r;
}

/* The file system counts, but only when our own count, of all blocks that were touched, does not
 * settle it. */
static int check_limit(struct file_store *file, size_t len, struct im_error *err)
{
    uint64_t blocks = len + 2 * BLOCK;
    struct stat st;

    if (atomic_fetch_add(&file->counted, blocks) + blocks <= file->limit)
        return 0;
    if (fstat(file->base.fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot look at '%s'", file->base.name);
    /* its maps are in its blocks, and whoever reserved has added them */
    if ((uint64_t)st.st_blocks * 512 + len <= file->limit + file->limit / 256 + 2 * BLOCK)
        return 0;
    return ask_for_more(file, (uint64_t)st.st_blocks * 512 + len, err);
}

static int file_write(struct im_store *store, const void *buf, size_t len, uint64_t offset,
                      struct im_error *err)
{
    struct file_store *file = (struct file_store *)store;
    int r = file->scratch ? check_limit(file, len, err) : 0;
    uint64_t before;

    if (r < 0)
        return r;
    r = im_pwrite(file->base.fd, buf, len, offset);
    if (r < 0)
        return write_failed(file, -r, offset, err);
    before = atomic_fetch_add(&file->written, len);
    if (!file->no_sync && before / WRITEBACK != (before + len) / WRITEBACK)
        (void)sync_file_range(file->base.fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    return 0;
}

/* FICLONERANGE says that it cannot in many ways. */
static int file_share(struct im_store *store, int fd, uint64_t from, uint64_t len, uint64_t offset,
                      struct im_error *err)
{
    struct file_store *file = (struct file_store *)store;
    struct file_clone_range range = {
        .src_fd = fd,
        .src_offset = from,
        .src_length = len,
        .dest_offset = offset,
    };

    if (ioctl(file->base.fd, FICLONERANGE, &range) == 0)
        return 0;
    if (errno == ENOSPC || errno == EDQUOT || errno == EIO)
        return write_failed(file, errno, offset, err);
    return -EOPNOTSUPP;
}

static int file_clear(struct im_store *store, uint64_t len, uint64_t offset, struct im_error *err)
{
    static const uint8_t zeros[65536];
    struct file_store *file = (struct file_store *)store;

    if (fallocate(file->base.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                  (off_t)len) == 0)
        return 0;
    while (len > 0) { /* not every file system knows holes */
        size_t step = len < sizeof(zeros) ? (size_t)len : sizeof(zeros);
        int r = im_pwrite(file->base.fd, zeros, step, offset);

        if (r < 0)
            return write_failed(file, -r, offset, err);
        offset += step;
        len -= step;
    }
    return 0;
}

static int set_size(struct file_store *file, uint64_t size, struct im_error *err)
{
    if (size > INT64_MAX || ftruncate(file->base.fd, (off_t)size) < 0)
        return im_fail_code(err, ENOSPC, "NoSpace", "cannot make '%s' %" PRIu64 " bytes long: %s",
                            file->base.name, size,
                            strerrordesc_np(size > INT64_MAX ? EFBIG : errno));
    return 0;
}

/* Give the nameless file a name that must not exist. */
static int link_as(struct file_store *file, const char *path)
{
    char self[64];

    if (file->temporary)
        return link(file->temporary, path) < 0 ? -errno : 0;
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", file->base.fd);
    return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* Replace what is there in one step: a second name beside it, then rename. */
static int replace(struct file_store *file)
{
    char *beside IM_FREE = im_asprintf("%s.new-%ld", file->path, (long)getpid());
    int r;

    if (!beside)
        return -ENOMEM;
    (void)unlink(beside); /* of an earlier process with our number */
    r = link_as(file, beside);
    if (r == 0 && rename(beside, file->path) < 0) {
        r = -errno;
        (void)unlink(beside);
    }
    return r;
}

/* In one step, so that there is never a second name of a volume that counts. */
static int rename_to(struct file_store *file)
{
    unsigned flags = file->force ? 0 : RENAME_NOREPLACE;

    if (renameat2(AT_FDCWD, file->temporary, AT_FDCWD, file->path, flags) == 0)
        return 0;
    return errno == EINVAL ? link_as(file, file->path) : -errno; /* the file system has no flags */
}

static int file_commit(struct im_store *store, uint64_t size, struct im_error *err)
{
    struct file_store *file = (struct file_store *)store;
    int r = set_size(file, size, err);

    if (r < 0)
        return r;
    if (!file->no_sync && fsync(file->base.fd) < 0)
        return write_failed(file, errno, size, err);
    r = file->partial ? rename_to(file) : link_as(file, file->path);
    if (r == -EEXIST && file->force)
        r = replace(file);
    if (r == -EEXIST)
        return im_fail_code(err, EEXIST, "Exists",
                            "'%s' exists; --force replaces it (in a chain force=yes)", file->path);
    if (r == 0 && !file->no_sync)
        r = im_sync_parent(file->path);
    if (r < 0)
        return im_fail_code(err, EIO, "CannotWrite", "cannot give '%s' its name: %s", file->path,
                            strerrordesc_np(-r));
    return 0;
}

static void file_close(struct im_store *store)
{
    struct file_store *file = (struct file_store *)store;

    if (file->base.fd >= 0)
        (void)close(file->base.fd);
    if (file->temporary && !file->partial)
        (void)unlink(file->temporary);
    free(file->temporary);
    free(file->path);
}

static const struct im_store_ops file_ops = {
    .name = "file",
    .write = file_write,
    .share = file_share,
    .clear = file_clear,
    .commit = file_commit,
    .close = file_close,
};

/* Nothing is shared with it: blocks of two files would be counted twice, or not at all. */
static const struct im_store_ops scratch_ops = {
    .name = "scratch",
    .write = file_write,
    .clear = file_clear,
    .commit = file_commit,
    .close = file_close,
};

/* What stands at path may stop us before any work is done. */
static int check_target(const char *path, bool force, struct im_error *err)
{
    struct stat st;

    if (lstat(path, &st) < 0) {
        if (errno == ENOENT)
            return 0;
        return im_fail_code(err, EIO, "CannotWrite", "cannot write '%s': %s", path,
                            strerrordesc_np(errno));
    }
    if (S_ISDIR(st.st_mode))
        return im_fail_code(err, EEXIST, "Exists", "'%s' is a directory; name a file in it", path);
    if (!force)
        return im_fail_code(err, EEXIST, "Exists",
                            "'%s' exists; --force replaces it (in a chain force=yes)", path);
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
        return im_fail_code(err, EEXIST, "Exists", "'%s' is not a regular file and is not replaced",
                            path);
    return 0;
}

static int file_check(const char *spec, bool force, uint64_t *ret_free, struct im_error *err)
{
    char *copy IM_FREE = strdup(spec);
    const char *dir = copy ? dirname(copy) : NULL;
    struct statvfs room;
    int r = dir ? check_target(spec, force, err) : im_fail(err, ENOMEM, "out of memory");

    if (r < 0)
        return r;
    if (access(dir, W_OK | X_OK) < 0 || statvfs(dir, &room) < 0)
        return im_fail_code(err, EIO, "CannotWrite", "cannot create a file in '%s': %s", dir,
                            strerrordesc_np(errno));
    if (__builtin_mul_overflow((uint64_t)room.f_bavail, (uint64_t)room.f_frsize, ret_free))
        *ret_free = IM_SIZE_UNKNOWN;
    return 0;
}

/* The caller has made it, and watches over it. */
static int open_partial(struct file_store *file, const char *path, struct im_error *err)
{
    file->partial = true;
    file->temporary = strdup(path);
    if (!file->temporary)
        return im_fail(err, ENOMEM, "out of memory");
    file->base.fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    return file->base.fd < 0 ? write_failed(file, errno, 0, err) : 0;
}

static int create(struct file_store *file, struct im_error *err)
{
    char *copy IM_FREE = strdup(file->path);
    mode_t mask;

    if (!copy)
        return im_fail(err, ENOMEM, "out of memory");
    mask = umask(0); /* before any thread of ours exists */
    (void)umask(mask);
    file->base.fd = im_tmpfile(dirname(copy), 0666u & ~mask, &file->temporary, err);
    return file->base.fd < 0 ? file->base.fd : 0;
}

static int file_open(const char *spec, const struct im_store_options *options,
                     struct im_store **ret_store, struct im_error *err)
{
    struct file_store *file;
    int r = check_target(spec, options->force, err);

    if (r < 0)
        return r;
    file = im_store_new(sizeof(*file), &file_ops, spec);
    if (!file)
        return im_fail(err, ENOMEM, "out of memory");
    file->force = options->force;
    file->no_sync = options->no_sync;
    file->path = strdup(spec);
    if (!file->path)
        r = im_fail(err, ENOMEM, "out of memory");
    else
        r = options->partial ? open_partial(file, options->partial, err) : create(file, err);
    if (r == 0 && options->size != IM_SIZE_UNKNOWN)
        r = set_size(file, options->size, err);
    if (r < 0) {
        im_store_close(&file->base);
        return r;
    }
    *ret_store = &file->base;
    return 0;
}

int im_store_scratch(int fd, uint64_t bytes,
                     int (*more)(void *arg, uint64_t bytes, struct im_error *err), void *arg,
                     struct im_store **ret_store, struct im_error *err)
{
    struct file_store *file = im_store_new(sizeof(*file), &scratch_ops, "the copy in scratch");

    if (!file)
        return im_fail(err, ENOMEM, "out of memory");
    file->no_sync = file->scratch = true;
    file->limit = bytes;
    file->more = more;
    file->more_arg = arg;
    (void)pthread_mutex_init(&file->lock, NULL);
    file->base.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (file->base.fd < 0) {
        int number = errno;

        im_store_close(&file->base);
        return im_fail_errno(err, number, "cannot use the copy in scratch");
    }
    *ret_store = &file->base;
    return 0;
}

/* Asked last: whatever nobody else took is a path. */
static bool file_accepts(const char *spec)
{
    return *spec != '\0';
}

const struct im_store_type im_store_file = {
    .name = "file",
    .summary = "PATH: a sparse file, there only when it is whole",
    .accepts = file_accepts,
    .open = file_open,
    .check = file_check,
};

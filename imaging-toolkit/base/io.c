/* io - whole reads and writes on descriptors. */

#include <config.h>

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/text.h"

void im_fill_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0) /* the lowest that is free, hence fd itself */
            /* cppcheck-suppress leakReturnValNotUsed; it is to stay open */
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

ssize_t im_pread(int fd, void *buf, size_t len, uint64_t offset)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(offset + done));

        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int im_pwrite(int fd, const void *buf, size_t len, uint64_t offset)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pwrite(fd, (const char *)buf + done, len - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return 0;
}

int im_write(int fd, const void *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(fd, (const char *)buf + done, len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return 0;
}

void im_file_extent(int fd, uint64_t offset, uint64_t len, bool *ret_hole, uint64_t *ret_len)
{
    off_t data = lseek(fd, (off_t)offset, SEEK_DATA);
    off_t end = data;

    *ret_len = len;
    *ret_hole = data < 0 ? errno == ENXIO : (uint64_t)data > offset;
    if (data >= 0 && !*ret_hole)
        end = lseek(fd, (off_t)offset, SEEK_HOLE);
    if (end > (off_t)offset && (uint64_t)end - offset < len)
        *ret_len = (uint64_t)end - offset;
}

struct im_file_id im_file_id(const struct stat *st)
{
    struct im_file_id id;

    (void)snprintf(id.text, sizeof(id.text), "%ju-%jd.%09ld", (uintmax_t)st->st_ino,
                   (intmax_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
    return id;
}

bool im_stat_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

int im_sync_parent(const char *path)
{
    char copy[PATH_MAX]; /* no memory is needed for what comes after a result has its name */
    int fd IM_CLOSE = -1;

    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
        return -ENAMETOOLONG;
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return -errno;
    return 0;
}

int im_fail_open(const char *path, int number, struct im_error *err)
{
    char shown[256];

    if (number != ENOENT || !strstr(path, "://"))
        return im_fail_errno(err, number, "cannot open '%s'", path);
    return im_fail(err, ENOENT,
                   "'%s' is no http(s) URL, and there is no such file; fetch it by other means and "
                   "give the file, or pipe it into '-'",
                   im_text_url(shown, sizeof(shown), path));
}

int im_read_file(const char *path, size_t max, char **ret_text, size_t *ret_len,
                 struct im_error *err)
{
    struct im_buffer buffer IM_BUFFER_DONE = IM_BUFFER(max);
    int fd IM_CLOSE = open(path, O_RDONLY | O_CLOEXEC);
    char chunk[16384];
    char *text;
    size_t len;

    if (fd < 0 && errno == EINTR) /* a FIFO that nobody writes to */
        return im_fail(err, ECANCELED, "interrupted");
    if (fd < 0)
        return im_fail_open(path, errno, err);
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        int r;

        if (n < 0 && errno == EINTR)
            return im_fail(err, ECANCELED, "interrupted");
        if (n < 0)
            return im_fail_errno(err, errno, "cannot read '%s'", path);
        if (n == 0)
            break;
        r = im_buffer_add(&buffer, chunk, (size_t)n);
        if (r == -EFBIG)
            return im_fail(err, EFBIG, "'%s' is larger than the %zu bytes allowed", path, max);
        if (r < 0)
            return im_fail(err, ENOMEM, "out of memory");
    }
    len = buffer.len;
    text = im_buffer_steal(&buffer);
    if (!text)
        return im_fail(err, ENOMEM, "out of memory");
    *ret_text = text;
    if (ret_len)
        *ret_len = len;
    return 0;
}

/* cache-format - `cache format`: make a file system on a device that is to be a place. */

#include <config.h>

#include "cmd/cache-inner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "box/box.h"

/* Where every kind of file system, partition table and RAID has something. */
#define HEAD (4u << 20)

static int check_blank(int fd, const char *path, struct im_error *err)
{
    uint8_t *head IM_FREE = malloc(HEAD);
    ssize_t n = head ? im_pread(fd, head, HEAD, 0) : -ENOMEM;

    if (n < 0)
        return im_fail_errno(err, (int)-n, "cannot read '%s'", path);
    for (ssize_t i = 0; i < n; i++)
        if (head[i])
            return im_fail_code(err, EEXIST, "Exists",
                                "'%s' is not blank: byte %zd is 0x%02x; --force destroys what is "
                                "there",
                                path, i, head[i]);
    return 0;
}

static int make_file_system(int fd, uint64_t size, const char *path, struct im_error *err)
{
    char root[64];
    const char *const argv[] = { "mke2fs", "-q", "-F", "-t",       "ext4", "-m",
                                 "0",      "-E", root, IM_BOX_FD3, NULL };
    struct im_box box IM_BOX_DONE = IM_BOX("mke2fs", argv, -1);
    int r;

    (void)snprintf(root, sizeof(root), "root_owner=%ju:%ju,nodiscard", (uintmax_t)geteuid(),
                   (uintmax_t)getegid());
    box.fd3 = fd;
    box.file_size = box.work = size;
    r = im_box_run(&box, err);
    if (r < 0 || im_box_succeeded(&box))
        return r;
    r = im_box_refused(&box, "make a file system on", "device", err);
    im_error_prefix(err, "'%s'", path);
    return r;
}

int im_cache_format_command(const struct im_cache_request *request, struct im_error *err)
{
    const char *path = request->argc == 1 ? request->argv[0] : "";
    int r = im_cache_expect(request, 1, "DEVICE is", err);
    int fd IM_CLOSE = -1;
    uint64_t size = 0;
    struct stat st;

    if (r < 0)
        return r;
    /* nobody else has it open as a disk of theirs, mounted or not */
    fd = open(path, O_RDWR | O_EXCL | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot open '%s'", path);
    if (!S_ISBLK(st.st_mode) || ioctl(fd, BLKGETSIZE64, &size) < 0)
        return im_fail_code(err, EINVAL, "InvalidArgument", "'%s' is no block device", path);
    if (!request->force)
        r = check_blank(fd, path, err);
    if (r == 0) { /* mke2fs wants to be the only one, too */
        int again = open(path, O_RDWR | O_CLOEXEC);

        (void)close(fd);
        fd = again;
        if (fd < 0)
            return im_fail_errno(err, errno, "cannot open '%s'", path);
        r = make_file_system(fd, size, path, err);
    }
    return r;
}

/* device - a block device as a place: its file system is mounted where nobody else sees it.
 *
 * The new mount interface (fsopen, fsmount) gives the top directory as a descriptor, and the mount
 * is attached nowhere: it ends with the last descriptor.  Several processes that do the same share
 * one file system in the kernel, and so its files and locks.  A device without a file system is
 * not touched; 'cache format' makes one. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "cache/place.h"

/* Linux: fs/ext4/ext4.h, struct ext4_super_block at byte 1024; fs/xfs/libxfs/xfs_format.h. */
#define EXT_MAGIC_AT 1080
#define EXT_MAGIC    0xef53u
#define XFS_MAGIC    0x58465342u /* "XFSB" at byte 0 */

static int refuse(const char *path, const char *why, struct im_error *err)
{
    return im_fail_code(err, EIO, "PlaceUnavailable",
                        "the block device '%s' cannot be a place for scratch: %s", path, why);
}

static int find_type(const char *path, const char **ret_type, struct im_error *err)
{
    int fd IM_CLOSE = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t head[2048];
    ssize_t n = fd < 0 ? -errno : im_pread(fd, head, sizeof(head), 0);

    if (n < 0)
        return refuse(path, strerrordesc_np((int)-n), err);
    *ret_type = NULL;
    if ((size_t)n == sizeof(head) && im_le16(head + EXT_MAGIC_AT) == EXT_MAGIC)
        *ret_type = "ext4";
    else if ((size_t)n == sizeof(head) && im_be32(head) == XFS_MAGIC)
        *ret_type = "xfs";
    return *ret_type ? 0
                     : refuse(path,
                              "it holds neither ext4 nor XFS; 'imaging-toolkit cache format' makes "
                              "a file system on it, which destroys what is there",
                              err);
}

int im_device_open(const char *path, int *ret_dir, struct im_error *err)
{
    const char *type = NULL;
    int context IM_CLOSE = -1;
    int r = find_type(path, &type, err);
    int dir;

    if (r < 0)
        return r;
    context = fsopen(type, FSOPEN_CLOEXEC);
    if (context >= 0 && fsconfig(context, FSCONFIG_SET_STRING, "source", path, 0) == 0 &&
        fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
        dir = fsmount(context, FSMOUNT_CLOEXEC,
                      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        if (dir >= 0) {
            *ret_dir = dir;
            return 0;
        }
    }
    if (errno == EPERM || errno == ENOSYS)
        return refuse(path,
                      "the kernel does not let this user mount it (CAP_SYS_ADMIN is needed); mount "
                      "it and name the directory",
                      err);
    return refuse(path, strerrordesc_np(errno), err);
}

/* image - enough of each format to know the disk's size and to refuse a wrong file before anything
 * is sent.  Decoding and thorough checks are the toolkit's. */

#include <config.h>

#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/io.h"

/* VMDK: "Virtual Disk Format 5.0", SparseExtentHeader; offsets in the 512-byte header. */
#define VMDK_HEADER          512
#define VMDK_FLAGS           8
#define VMDK_CAPACITY        12 /* 512-byte sectors */
#define VMDK_GD_OFFSET       56
#define VMDK_UNCLEAN         72
#define VMDK_COMPRESSION     77
#define VMDK_COMPRESSED      (1u << 16)
#define VMDK_MARKERS         (1u << 17)
#define VMDK_DEFLATE         1
#define VMDK_GD_AT_END       UINT64_MAX
#define VMDK_FOOTER_FROM_END 1024 /* footer, then the end-of-stream marker */

/* VHD: "Virtual Hard Disk Image Format Specification" 1.0, hard disk footer. */
#define VHD_FOOTER       512
#define VHD_CURRENT_SIZE 48
#define VHD_CHECKSUM     64

static int no_size(const char *path, struct im_error *err)
{
    return im_fail(err, EINVAL, "'%s' does not have a usable file size", path);
}

static int failed(const char *path, int number, struct im_error *err)
{
    return im_fail(err, number, "%s: %s", strerrordesc_np(number), path);
}

/* Size of an open file; 0 or -errno. */
static int size_of(int fd, const struct stat *st, uint64_t *ret_size)
{
    off_t end = S_ISREG(st->st_mode) ? st->st_size : lseek(fd, 0, SEEK_END);

    if (end < 0)
        return -errno;
    *ret_size = (uint64_t)end;
    return 0;
}

int euca_image_open(const char *path, struct euca_image *ret_image, struct im_error *err)
{
    struct euca_image image EUCA_IMAGE_DONE = EUCA_IMAGE;
    struct stat st;

    image.path = path;
    /* Not to wait for the writer of a fifo. */
    image.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (image.fd < 0)
        return errno == ENXIO ? no_size(path, err) : failed(path, errno, err);
    if (fstat(image.fd, &st) < 0)
        return failed(path, errno, err);
    image.device = S_ISBLK(st.st_mode);
    if ((!S_ISREG(st.st_mode) && !image.device) || size_of(image.fd, &st, &image.file_size) < 0)
        return no_size(path, err);
    if (image.file_size == 0)
        return im_fail(err, EINVAL, "'%s' is empty: there is nothing to import", path);
    image.changed = st.st_mtim;
    *ret_image = image;
    image.fd = -1;
    return 0;
}

/* Read all `len` bytes, or say what is wrong. */
static int read_all(const struct euca_image *image, void *buf, size_t len, uint64_t offset,
                    struct im_error *err)
{
    ssize_t n = im_pread(image->fd, buf, len, offset);

    if (n < 0)
        return failed(image->path, (int)-n, err);
    if ((size_t)n < len)
        return im_fail(err, ESTALE, "'%s' became shorter while it was read", image->path);
    return 0;
}

static int bad_vmdk(const char *path, const char *what, struct im_error *err)
{
    return im_fail(err, EBADMSG, "File %s %s", path, what);
}

/* The texts are the historical ones, "is to small" included. */
static int vmdk_size(const struct euca_image *image, uint64_t *ret_bytes, struct im_error *err)
{
    static const char too_small[] = "is to small to be a valid Stream Optimized VMDK";
    uint8_t header[VMDK_HEADER];
    uint32_t flags;
    int r;

    if (image->file_size < VMDK_HEADER)
        return bad_vmdk(image->path, too_small, err);
    r = read_all(image, header, sizeof(header), 0, err);
    if (r < 0)
        return r;
    if (memcmp(header, "KDMV", 4) == 0 && im_le64(header + VMDK_GD_OFFSET) == VMDK_GD_AT_END) {
        if (image->file_size < VMDK_HEADER + VMDK_FOOTER_FROM_END)
            return bad_vmdk(image->path, too_small, err);
        r = read_all(image, header, sizeof(header), image->file_size - VMDK_FOOTER_FROM_END, err);
        if (r < 0)
            return r;
    }
    if (memcmp(header, "KDMV", 4) != 0)
        return bad_vmdk(image->path, "is not a Stream Optimized VMDK", err);
    flags = im_le32(header + VMDK_FLAGS);
    if (!(flags & VMDK_COMPRESSED))
        return bad_vmdk(image->path, "does not contain compressed parts", err);
    if (!(flags & VMDK_MARKERS))
        return bad_vmdk(image->path, "does not have all data present", err);
    if (header[VMDK_UNCLEAN])
        return bad_vmdk(image->path, "marked with unclean shutdown", err);
    if (im_le16(header + VMDK_COMPRESSION) != VMDK_DEFLATE)
        return bad_vmdk(image->path, "uses unsupported compression algorithm", err);
    if (__builtin_mul_overflow(im_le64(header + VMDK_CAPACITY), (uint64_t)512, ret_bytes))
        return im_fail(err, EBADMSG, "File %s has a capacity of %" PRIu64 " sectors: too many",
                       image->path, im_le64(header + VMDK_CAPACITY));
    return 0;
}

/* One's complement of the sum of all bytes but the checksum's own. */
static uint32_t vhd_checksum(const uint8_t *footer)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < VHD_FOOTER; i++)
        if (i < VHD_CHECKSUM || i >= VHD_CHECKSUM + 4)
            sum += footer[i];
    return ~sum;
}

static int vhd_size(const struct euca_image *image, uint64_t *ret_bytes, struct im_error *err)
{
    uint8_t footer[VHD_FOOTER];
    int r;

    if (image->file_size < VHD_FOOTER)
        return im_fail(err, EBADMSG,
                       "File %s is too small to be a VHD: it has %" PRIu64
                       " bytes, a VHD ends with "
                       "a footer of 512",
                       image->path, image->file_size);
    r = read_all(image, footer, sizeof(footer), image->file_size - VHD_FOOTER, err);
    if (r < 0)
        return r;
    if (memcmp(footer, "conectix", 8) != 0)
        return im_fail(err, EBADMSG,
                       "File %s is not a VHD: there is no footer in its last 512 bytes",
                       image->path);
    if (im_be32(footer + VHD_CHECKSUM) != vhd_checksum(footer))
        return im_fail(err, EBADMSG,
                       "File %s has a damaged VHD footer: its checksum is %#" PRIx32
                       " where %#" PRIx32 " belongs",
                       image->path, im_be32(footer + VHD_CHECKSUM), vhd_checksum(footer));
    *ret_bytes = im_be64(footer + VHD_CURRENT_SIZE);
    return 0;
}

int euca_image_disk_size(const struct euca_image *image, const char *format, uint64_t *ret_bytes,
                         struct im_error *err)
{
    uint64_t bytes = image->file_size;
    int r = 0;

    if (strcmp(format, "VMDK") == 0)
        r = vmdk_size(image, &bytes, err);
    else if (strcmp(format, "VHD") == 0)
        r = vhd_size(image, &bytes, err);
    else if (strcmp(format, "RAW") != 0)
        return im_fail(err, ENOTSUP, "the size of a disk in format %s is not known", format);
    if (r < 0)
        return r;
    if (bytes == 0)
        return im_fail(err, EBADMSG, "File %s holds a disk of 0 bytes: there is nothing to import",
                       image->path);
    *ret_bytes = bytes;
    return 0;
}

int euca_image_unchanged(const struct euca_image *image, struct im_error *err)
{
    struct stat st;
    uint64_t size;

    if (image->device)
        return 0;
    if (fstat(image->fd, &st) < 0 || size_of(image->fd, &st, &size) < 0)
        return failed(image->path, errno, err);
    if (size != image->file_size)
        return im_fail(err, ESTALE,
                       "'%s' changed while it was uploaded: it had %" PRIu64 " bytes, now it has "
                       "%" PRIu64 "; upload it again when nothing writes to it",
                       image->path, image->file_size, size);
    if (st.st_mtim.tv_sec != image->changed.tv_sec || st.st_mtim.tv_nsec != image->changed.tv_nsec)
        return im_fail(err, ESTALE,
                       "'%s' was written to while it was uploaded; upload it again when nothing "
                       "writes to it",
                       image->path);
    return 0;
}

void euca_image_done(struct euca_image *image)
{
    if (image->fd >= 0)
        (void)close(image->fd);
    image->fd = -1;
}

/* image - open the file, tell the disk's size, and refuse a wrong one before anything is sent.
 *
 * What a file is kind.c knows; decoding and thorough checks are the toolkit's. */

#include <config.h>

#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/io.h"
#include "base/text.h"

#include "file.h"
#include "interrupt.h"
#include "kind.h"
#include "options.h"
#include "toolkit.h"
#include "vhd.h"

#define GIB ((uint64_t)1 << 30)

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

static int no_size(const char *path, struct im_error *err)
{
    return im_fail(err, EINVAL, "'%s' does not have a usable file size", path);
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
        return errno == ENXIO ? no_size(path, err) : euca_fail_file(path, errno, err);
    if (fstat(image.fd, &st) < 0)
        return euca_fail_file(path, errno, err);
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

int euca_image_read(const struct euca_image *image, void *buf, size_t len, uint64_t offset,
                    struct im_error *err)
{
    ssize_t n = im_pread(image->fd, buf, len, offset);

    if (n < 0)
        return euca_fail_file(image->path, (int)-n, err);
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
    r = euca_image_read(image, header, sizeof(header), 0, err);
    if (r < 0)
        return r;
    if (memcmp(header, "KDMV", 4) == 0 && im_le64(header + VMDK_GD_OFFSET) == VMDK_GD_AT_END) {
        if (image->file_size < VMDK_HEADER + VMDK_FOOTER_FROM_END)
            return bad_vmdk(image->path, too_small, err);
        r = euca_image_read(image, header, sizeof(header), image->file_size - VMDK_FOOTER_FROM_END,
                            err);
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

/* ---- the size of the disk ---- */

static bool is_native(const char *format)
{
    return strcmp(format, "RAW") == 0 || strcmp(format, "VMDK") == 0 || strcmp(format, "VHD") == 0;
}

/* The historical answer where the size cannot be found, behind the reason if there is one. */
static int size_required(const char *program, const char *format, struct im_error *err)
{
    if (err->number)
        euca_say(program, "%s", err->message);
    return euca_usage(err, "argument --image-size is required for %s files", format);
}

int euca_image_format(const char *program, const char *typed, bool size_told, char **ret_format,
                      struct im_error *err)
{
    static const char *const sent[] = { "RAW", "VMDK", "VHD" };
    const char *kind = euca_kind_name(typed);
    const char *format = typed;
    struct im_program toolkit;

    for (size_t i = 0; kind && i < sizeof(sent) / sizeof(sent[0]); i++)
        if (strcasecmp(kind, sent[i]) == 0)
            format = sent[i];
    if (!size_told && !is_native(format)) {
        err->number = 0;
        if (!kind || euca_toolkit_find(&toolkit, err) < 0)
            return size_required(program, typed, err);
    }
    *ret_format = strdup(format);
    return *ret_format ? 0 : im_fail_memory(err);
}

static int disk_size(const char *program, const struct euca_image *image, const char *format,
                     uint64_t *ret_bytes, struct im_error *err)
{
    uint64_t bytes = image->file_size;
    int r = 0;

    if (strcmp(format, "VMDK") == 0)
        r = vmdk_size(image, &bytes, err);
    else if (strcmp(format, "VHD") == 0)
        r = euca_vhd_size(image, &bytes, err);
    else if (strcmp(format, "RAW") != 0) {
        r = euca_toolkit_disk_size(image->path, format, &bytes, err);
        if (r == -ENOPKG || r == -ENODATA)
            return size_required(program, format, err);
    }
    if (r < 0)
        return r;
    if (bytes == 0)
        return im_fail(err, EBADMSG, "File %s holds a disk of 0 bytes: there is nothing to import",
                       image->path);
    if (bytes / GIB >= INT32_MAX) /* what Volume.Size can say */
        return im_fail(err, EBADMSG,
                       "File %s holds a disk of %" PRIu64
                       " bytes, larger than any volume: its header is damaged",
                       image->path, bytes);
    *ret_bytes = bytes;
    return 0;
}

/* Base names go into keys and the manifest, whose readers may not keep control characters. */
static int check_name(const struct euca_image *image, struct im_error *err)
{
    const char *name = im_text_basename(image->path);

    if (!im_text_is_xml(name, strlen(name)))
        return im_fail(err, EINVAL,
                       "the name of '%s' is not text in UTF-8 and cannot go into an import "
                       "manifest; please rename the file",
                       image->path);
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return im_fail(err, EINVAL,
                           "the name of '%s' holds a control character (number %d, at place %zu) "
                           "and cannot go into an import manifest; please rename the file",
                           image->path, *p, (size_t)(p - name) + 1);
    return 0;
}

int euca_image_examine(const char *program, const struct euca_image *image, const char *format,
                       bool verify, uint64_t *bytes, struct im_error *err)
{
    int r = check_name(image, err);

    /* The size of a VMDK is looked for where its magic is, and refused in the historical words. */
    if (r == 0 && verify && (*bytes > 0 || strcmp(format, "VMDK") != 0))
        r = euca_kind_verify(image, format, err);
    if (r == 0 && *bytes == 0)
        r = disk_size(program, image, format, bytes, err);
    return r;
}

bool euca_image_has_another_size(const struct euca_image *image)
{
    struct stat st;
    uint64_t size;

    return !image->device && fstat(image->fd, &st) == 0 && size_of(image->fd, &st, &size) == 0 &&
           size != image->file_size;
}

int euca_image_unchanged(const struct euca_image *image, struct im_error *err)
{
    struct stat st;
    uint64_t size;

    if (image->device)
        return 0;
    if (fstat(image->fd, &st) < 0 || size_of(image->fd, &st, &size) < 0)
        return euca_fail_file(image->path, errno, err);
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

int euca_image_check(const struct euca_image *image, const char *format, bool boots,
                     struct im_error *err)
{
    int r = euca_toolkit_check(image->path, format, boots, err);

    if (r == 0)
        r = euca_image_unchanged(image, err);
    return r == -ESTALE ? im_fail(err, ESTALE,
                                  "'%s' was written to while it was checked; try again when "
                                  "nothing writes to it",
                                  image->path)
                        : r;
}

void euca_image_done(struct euca_image *image)
{
    if (image->fd >= 0)
        (void)close(image->fd);
    image->fd = -1;
}

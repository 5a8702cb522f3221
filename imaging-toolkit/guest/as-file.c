/* as-file - the disk as a file; see as-file.h. */

#include <config.h>

#include "guest/as-file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "core/cancel.h"

/* Bytes read at once. */
#define STEP (1u << 20)
/* What is left out where it is zero: a page, the block of most file systems. */
#define UNIT 4096u

struct copy {
    struct im_disk *disk;
    int fd;         /* -1: nothing is copied, only counted */
    uint64_t from;  /* where the file begins on the disk */
    uint64_t bytes; /* that are not known to be zero, in whole units */
    uint8_t *buf;   /* STEP */
};

/* Write what is not zero in len bytes at offset. */
static int put(struct copy *copy, size_t len, uint64_t offset, struct im_error *err)
{
    static const uint8_t zeros[UNIT];

    for (size_t at = 0; at < len;) {
        size_t part = UNIT - (size_t)((offset + at - copy->from) % UNIT);
        int r;

        part = part < len - at ? part : len - at;
        r = memcmp(copy->buf + at, zeros, part) == 0
                ? 0
                : im_pwrite(copy->fd, copy->buf + at, part, offset + at - copy->from);
        if (r < 0)
            return im_fail_code(err, -r, r == -ENOSPC ? "NoSpace" : "CannotWrite",
                                "cannot write byte %" PRIu64
                                " of a copy of the disk to scratch: %s",
                                offset + at, strerrordesc_np(-r));
        at += part;
    }
    return 0;
}

static int copy_data(struct copy *copy, uint64_t offset, uint64_t len, struct im_error *err)
{
    while (len > 0) {
        size_t some = (size_t)im_min(len, STEP);
        int r = im_cancel_check(err);

        if (r == 0)
            r = im_disk_read(copy->disk, copy->buf, some, offset, err);
        if (r == 0)
            r = put(copy, some, offset, err);
        if (r < 0)
            return r;
        offset += some;
        len -= some;
    }
    return 0;
}

/* Count, and copy where there is a file, the data of a range. */
static int take_range(struct copy *copy, uint64_t offset, uint64_t len, struct im_error *err)
{
    copy->bytes = 0;
    while (len > 0) {
        struct im_extent extent;
        int r = im_disk_map(copy->disk, offset, len, &extent, err);

        if (r < 0)
            return r;
        if (!extent.zero) {
            copy->bytes += im_round_up((offset - copy->from) % UNIT + extent.len, UNIT);
            r = copy->fd < 0 ? 0 : copy_data(copy, offset, extent.len, err);
        }
        if (r == 0)
            r = im_cancel_check(err);
        if (r < 0)
            return r;
        offset += extent.len;
        len -= extent.len;
    }
    return 0;
}

int im_range_file(struct im_disk *disk, const struct im_context *context, uint64_t offset,
                  uint64_t len, struct im_scratch **ret_scratch, struct im_error *err)
{
    uint8_t *buf IM_FREE = malloc(STEP);
    struct copy copy = { .disk = disk, .fd = -1, .from = offset, .buf = buf };
    struct im_scratch *scratch = NULL;
    int r = buf ? 0 : im_fail(err, ENOMEM, "out of memory");

    if (r == 0)
        r = take_range(&copy, offset, len, err);
    if (r == 0)
        r = im_scratch_take(context->scratch, copy.bytes, &scratch, err);
    if (r < 0)
        return r;
    copy.fd = scratch->fd;
    r = ftruncate(copy.fd, (off_t)len) < 0
            ? im_fail_errno(err, errno, "cannot make a copy of %" PRIu64 " bytes in scratch", len)
            : take_range(&copy, offset, len, err);
    if (r < 0) {
        im_scratch_free(scratch);
        return r;
    }
    *ret_scratch = scratch;
    return 0;
}

/* The descriptor of the file whose bytes the disk is, from the first to the last; -1: there is
 * none.
 */
static int own_file(const struct im_disk *disk)
{
    uint64_t at, len;
    int fd;

    if (!disk->plain || !disk->source || disk->size == IM_SIZE_UNKNOWN ||
        im_source_local(disk->source, 0, disk->size, &fd, &at, &len) < 0 || at != 0 ||
        len < disk->size)
        return -1;
    return fd;
}

int im_file_of(const struct im_look *look)
{
    return look->fd >= 0 ? look->fd : own_file(look->disk);
}

static void free_copy(struct im_scratch *copy)
{
    im_scratch_free(copy);
}

int im_look_file(struct im_look *look, int *ret_fd, struct im_error *err)
{
    int fd = im_file_of(look);

    if (fd < 0 && !look->copy) {
        int r = im_range_file(look->disk, look->context, 0, look->disk->size, &look->copy, err);

        if (r < 0)
            return r;
        look->copy_free = free_copy;
    }
    *ret_fd = fd >= 0 ? fd : look->copy->fd;
    return 0;
}

int im_look_capacity(const struct im_args *args, const struct im_context *context,
                     const struct im_input *input, uint64_t *ret_bytes, struct im_error *err)
{
    struct copy copy = { .disk = input->disk, .fd = -1 };
    int r;

    (void)args;
    (void)context;
    *ret_bytes = 0;
    if (!input->disk || input->disk->size == IM_SIZE_UNKNOWN || own_file(input->disk) >= 0)
        return 0;
    r = take_range(&copy, 0, input->disk->size, err);
    if (r == 0)
        *ret_bytes = copy.bytes;
    return r;
}

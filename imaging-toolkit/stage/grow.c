/* grow - make a disk look as large as the volume that will hold it.
 *
 * Volumes come in whole GiB; images do not.  Bytes past the end of the image read as zeros.
 * Nothing is copied here. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/stage.h"

static int grown_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                      struct im_error *err)
{
    struct im_disk *image = disk->next;
    size_t from_image = 0;
    int r;

    if (offset < image->size) {
        uint64_t left = image->size - offset;

        from_image = left < len ? (size_t)left : len;
        r = im_disk_read(image, buf, from_image, offset, err);
        if (r < 0)
            return r;
    }
    memset((char *)buf + from_image, 0, len - from_image);
    return 0;
}

static int grown_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
                     struct im_error *err)
{
    struct im_disk *image = disk->next;

    if (offset >= image->size) {
        *ret = (struct im_extent){ .offset = offset, .len = len, .zero = true };
        return 0;
    }
    if (len > image->size - offset)
        len = image->size - offset;
    return im_disk_map(image, offset, len, ret, err);
}

/* Offsets do not move, and what is never given reads as zeros: the image's own walk serves. */
static int grown_walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    return im_disk_walk(disk->next, sink, err);
}

static const struct im_disk_ops grown_ops = {
    .name = "grow",
    .read = grown_read,
    .map = grown_map,
    .walk = grown_walk,
};

static int grow_apply(const struct im_args *args, const struct im_context *context,
                      struct im_disk **disk, struct im_error *err)
{
    uint64_t image_size = (*disk)->size;
    uint64_t size = im_arg_number(args, "size", 0);
    struct im_disk *grown;

    (void)context;
    if (image_size == IM_SIZE_UNKNOWN)
        return im_fail(err, EOPNOTSUPP,
                       "the size of a disk that comes through a pipe is not known before its end; "
                       "give it as a file");
    if (image_size > size)
        return im_fail(err, EFBIG,
                       "the image holds %" PRIu64 " bytes but the volume only %" PRIu64
                       "; ask for a volume of at least %" PRIu64 " GiB",
                       image_size, size, (image_size >> 30) + ((image_size & 0x3fffffff) != 0));
    grown = im_disk_new(sizeof(*grown), &grown_ops, size, *disk);
    if (!grown)
        return im_fail(err, ENOMEM, "out of memory");
    *disk = grown;
    return 0;
}

static const struct im_param params[] = {
    { "size", IM_PARAM_SIZE, true, NULL, "bytes of the disk; the new space reads as zeros" },
    { 0 },
};

const struct im_stage im_stage_grow = {
    .name = "grow",
    .summary = "enlarge the disk",
    .class = IM_LAYOUT,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .params = params,
    .apply = grow_apply,
};

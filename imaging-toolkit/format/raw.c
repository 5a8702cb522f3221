/* raw - the bytes of the source are the bytes of the disk; any size, also one that is no multiple
 * of 512.
 *
 * Anything may be raw, so nothing is proven here: whoever opens a source as raw says so, and the
 * core refuses it when another format is certain that the bytes are its own. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "base/bytes.h"
#include "core/format.h"
#include "format/window.h"

static enum im_bid raw_probe(const struct im_probe *probe)
{
    (void)probe;
    return IM_BID_POSSIBLE;
}

static int raw_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                    struct im_error *err)
{
    return im_source_read(disk->source, buf, len, offset, err);
}

static int raw_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
                   struct im_error *err)
{
    return im_source_map(disk->source, offset, len, ret, err);
}

/* Standard input: whatever comes, until it ends.  A limit on the size is the copy's to keep, which
 * sees every byte; none is known here beforehand. */
static int walk_to_the_end(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    struct im_window window;
    uint64_t offset = 0;
    size_t got = 0;
    int r = im_window_init(&window, disk->source, IM_WINDOW_SIZE, err);

    while (r == 0) {
        const uint8_t *p;

        r = im_window_peek(&window, offset, IM_WINDOW_SIZE, &p, &got, err);
        if (r == 0 && got > 0)
            r = sink->data(sink, p, got, offset, err);
        if (r < 0 || got == 0)
            break;
        offset += got;
        sink->progress(sink, offset, disk->source->size);
    }
    im_window_done(&window);
    return r;
}

static int raw_walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    struct im_window window;
    int r;

    if (disk->size == IM_SIZE_UNKNOWN)
        return walk_to_the_end(disk, sink, err);
    sink->progress(sink, 0, disk->size);
    r = im_window_init(&window, disk->source, IM_WINDOW_SIZE, err);
    if (r == 0)
        r = im_window_place(&window, sink, 0, disk->size, 0, err);
    im_window_done(&window);
    return r;
}

static const struct im_disk_ops raw_ops = {
    .name = "raw",
    .read = raw_read,
    .map = raw_map,
    .walk = raw_walk,
};

static int raw_open(struct im_source *source, const struct im_open *options,
                    struct im_disk **ret_disk, struct im_error *err)
{
    struct im_disk *disk;

    if (source->size != IM_SIZE_UNKNOWN && source->size > options->max_size)
        return im_fail(err, EFBIG,
                       "the raw image '%s' holds %" PRIu64 " bytes, more than the %" PRIu64
                       " allowed",
                       source->name, source->size, options->max_size);
    disk = im_disk_new(sizeof(*disk), &raw_ops, source->size, NULL);
    if (!disk)
        return im_fail(err, ENOMEM, "out of memory");
    disk->source = source;
    disk->plain = true;
    *ret_disk = disk;
    return 0;
}

const struct im_format im_format_raw = {
    .name = "raw",
    .summary = "the disk's bytes as they are",
    .resumes = true,
    .probe = raw_probe,
    .open = raw_open,
};

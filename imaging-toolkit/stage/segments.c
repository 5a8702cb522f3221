/* segments - a disk put together out of pieces. */

#include <config.h>

#include "stage/segments.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "core/stage.h"

struct segment {
    uint64_t offset, len;
    const uint8_t *bytes;     /* or */
    struct im_source *source; /* or, with both NULL, the disk below */
};

struct segments {
    struct im_disk disk;
    struct im_disk *below;
    unsigned count;
    struct segment segment[SEGMENTS_MAX]; /* by offset */
    unsigned owned_count;
    void *owned[SEGMENTS_MAX];
    struct im_scratch *scratch;
};

/* ---- read and map ---- */

static bool is_below(const struct segment *segment)
{
    return !segment->bytes && !segment->source;
}

/* The first piece that ends behind offset; NULL: none. */
static const struct segment *segment_at(const struct segments *segments, uint64_t offset)
{
    for (unsigned i = 0; i < segments->count; i++)
        if (offset < segments->segment[i].offset + segments->segment[i].len)
            return &segments->segment[i];
    return NULL;
}

static int read_segment(const struct segments *segments, const struct segment *segment, void *buf,
                        size_t len, uint64_t at, struct im_error *err)
{
    if (segment->bytes)
        memcpy(buf, segment->bytes + at, len);
    else if (segment->source)
        return im_source_read(segment->source, buf, len, at, err);
    else
        return im_disk_read(segments->below, buf, len, at, err);
    return 0;
}

static int segments_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                         struct im_error *err)
{
    const struct segments *segments = (const struct segments *)disk;
    uint8_t *p = buf;

    while (len > 0) {
        const struct segment *segment = segment_at(segments, offset);
        size_t step = len;
        int r = 0;

        if (!segment || offset < segment->offset) {
            step = segment ? (size_t)im_min(len, segment->offset - offset) : len;
            memset(p, 0, step);
        } else {
            uint64_t at = offset - segment->offset;

            step = (size_t)im_min(len, segment->len - at);
            r = read_segment(segments, segment, p, step, at, err);
        }
        if (r < 0)
            return r;
        p += step;
        offset += step;
        len -= step;
    }
    return 0;
}

static int segments_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
                        struct im_error *err)
{
    const struct segments *segments = (const struct segments *)disk;
    const struct segment *segment = segment_at(segments, offset);
    uint64_t at;
    int r = 0;

    *ret = (struct im_extent){ .offset = offset, .len = len, .zero = true };
    if (!segment)
        return 0;
    if (offset < segment->offset) {
        ret->len = im_min(len, segment->offset - offset);
        return 0;
    }
    at = offset - segment->offset;
    ret->len = len = im_min(len, segment->len - at);
    ret->zero = false;
    if (segment->source)
        r = im_source_map(segment->source, at, len, ret, err);
    else if (is_below(segment))
        r = im_disk_map(segments->below, at, len, ret, err);
    ret->offset = offset;
    return r;
}

/* ---- walk ---- */

/* Gives on what comes from the disk below, at its place in this one. */
struct shift {
    struct im_sink sink;
    struct im_sink *to;
    const struct segment *segment;
    uint64_t end; /* of what came, in the disk below */
};

/* A disk of known size cannot give more than it has: only a pipe is longer than it seemed. */
static int shift_range(struct shift *shift, uint64_t offset, uint64_t len, struct im_error *err)
{
    uint64_t end;

    if (__builtin_add_overflow(offset, len, &end) || end > shift->segment->len)
        return im_fail(err, EOPNOTSUPP,
                       "the image goes on after the %" PRIu64
                       " bytes of its file system, which cannot be known beforehand of what comes "
                       "through a pipe; give it as a file, or cut it off there",
                       shift->segment->len);
    if (end > shift->end)
        shift->end = end;
    return 0;
}

static int shift_data(struct im_sink *sink, const void *buf, size_t len, uint64_t offset,
                      struct im_error *err)
{
    struct shift *shift = (struct shift *)sink;
    int r = shift_range(shift, offset, len, err);

    return r < 0 ? r : shift->to->data(shift->to, buf, len, offset + shift->segment->offset, err);
}

static int shift_place(struct im_sink *sink, struct im_source *source, uint64_t origin,
                       uint64_t len, uint64_t offset, struct im_error *err)
{
    struct shift *shift = (struct shift *)sink;
    int r = shift_range(shift, offset, len, err);

    return r < 0 ? r
                 : shift->to->place(shift->to, source, origin, len, offset + shift->segment->offset,
                                    err);
}

static int shift_deflated(struct im_sink *sink, const void *zlib, size_t zlib_len, size_t len,
                          uint64_t offset, uint64_t origin, struct im_error *err)
{
    struct shift *shift = (struct shift *)sink;
    int r = shift_range(shift, offset, len, err);

    return r < 0 ? r
                 : shift->to->deflated(shift->to, zlib, zlib_len, len,
                                       offset + shift->segment->offset, origin, err);
}

static void shift_progress(struct im_sink *sink, uint64_t done, uint64_t total)
{
    struct shift *shift = (struct shift *)sink;

    shift->to->progress(shift->to, done, total);
}

static int walk_below(struct segments *segments, const struct segment *segment,
                      struct im_sink *sink, struct im_error *err)
{
    struct shift shift = {
        .sink = { shift_data, shift_place, shift_deflated, shift_progress },
        .to = sink,
        .segment = segment,
    };
    int r = im_disk_walk(segments->below, &shift.sink, err);

    if (r == 0 && segments->below->size == IM_SIZE_UNKNOWN && shift.end < segment->len)
        r = im_fail(err, EBADMSG,
                    "the image ends after %" PRIu64 " bytes, but its file system has %" PRIu64
                    ": the file is truncated",
                    shift.end, segment->len);
    return r;
}

static int walk_source(const struct segment *segment, struct im_sink *sink, struct im_error *err)
{
    int r = sink->place(sink, segment->source, 0, segment->len, segment->offset, err);

    return r < 0 ? r : im_source_finish(segment->source, err);
}

static int walk_bytes(const struct segment *segment, struct im_sink *sink, struct im_error *err)
{
    uint64_t done = 0;
    int r = 0;

    while (r == 0 && done < segment->len) {
        size_t step = (size_t)im_min(1u << 20, segment->len - done);

        r = sink->data(sink, segment->bytes + done, step, segment->offset + done, err);
        done += step;
    }
    return r;
}

static int segments_walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    struct segments *segments = (struct segments *)disk;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < segments->count; i++) {
        const struct segment *segment = &segments->segment[i];

        r = segment->bytes    ? walk_bytes(segment, sink, err)
            : segment->source ? walk_source(segment, sink, err)
                              : walk_below(segments, segment, sink, err);
    }
    return r;
}

static void segments_close(struct im_disk *disk)
{
    struct segments *segments = (struct segments *)disk;

    for (unsigned i = 0; i < segments->count; i++)
        im_source_close(segments->segment[i].source);
    for (unsigned i = 0; i < segments->owned_count; i++)
        free(segments->owned[i]);
    im_scratch_free(segments->scratch);
}

static const struct im_disk_ops segments_ops = {
    .name = "segments",
    .read = segments_read,
    .map = segments_map,
    .walk = segments_walk,
    .close = segments_close,
};

/* ---- making one ---- */

struct segments *segments_new(uint64_t size, struct im_disk *below)
{
    struct segments *segments = im_disk_new(sizeof(*segments), &segments_ops, size, NULL);

    if (segments)
        segments->below = below;
    return segments;
}

static int add(struct segments *segments, const struct segment *segment, struct im_error *err)
{
    unsigned i = segments->count;

    if (i == SEGMENTS_MAX)
        return im_fail(err, ENOMEM, "a disk of more than %d pieces", SEGMENTS_MAX);
    for (; i > 0 && segments->segment[i - 1].offset > segment->offset; i--)
        segments->segment[i] = segments->segment[i - 1];
    segments->segment[i] = *segment;
    segments->count++;
    return 0;
}

int segments_add_shared(struct segments *segments, uint64_t offset, const void *bytes, size_t len,
                        struct im_error *err)
{
    return add(segments, &(struct segment){ .offset = offset, .len = len, .bytes = bytes }, err);
}

int segments_add_bytes(struct segments *segments, uint64_t offset, void *bytes, size_t len,
                       struct im_error *err)
{
    int r = segments_add_shared(segments, offset, bytes, len, err);

    if (r < 0)
        free(bytes);
    else
        segments->owned[segments->owned_count++] = bytes; /* as many as there are pieces at most */
    return r;
}

int segments_add_source(struct segments *segments, uint64_t offset, struct im_source *source,
                        uint64_t len, struct im_error *err)
{
    int r = add(segments, &(struct segment){ .offset = offset, .len = len, .source = source }, err);

    if (r < 0)
        im_source_close(source);
    return r;
}

int segments_add_below(struct segments *segments, uint64_t offset, uint64_t len,
                       struct im_error *err)
{
    return add(segments, &(struct segment){ .offset = offset, .len = len }, err);
}

void segments_keep(struct segments *segments, struct im_scratch *scratch)
{
    segments->scratch = scratch;
    segments->disk.scratch_bytes = scratch->bytes;
}

struct im_disk *segments_finish(struct segments *segments)
{
    segments->disk.next = segments->below;
    return &segments->disk;
}

struct segments *segments_free(struct segments *segments)
{
    if (segments)
        im_disk_close(&segments->disk); /* next is not set yet */
    return NULL;
}

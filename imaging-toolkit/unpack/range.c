/* range - some bytes of a source as a source of its own. */

#include <config.h>

#include "unpack/range.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "core/cancel.h"

/* Read at once for the proof alone. */
#define PIECE (1u << 20)

struct range {
    struct im_source base;
    struct im_source *inner; /* owned */
    uint64_t at;             /* in it */
    struct im_proof proof;
    uint64_t proven; /* bytes the proof has seen */
};

/* Show the proof what it has not seen yet. */
static void show(struct range *range, const uint8_t *buf, size_t len, uint64_t offset)
{
    size_t seen;

    if (!range->proof.take || offset > range->proven || offset + len <= range->proven)
        return;
    seen = (size_t)(range->proven - offset);
    range->proof.take(range->proof.arg, buf + seen, len - seen);
    range->proven = offset + len;
}

/* Read from the range's beginning to `end` what the proof has not seen, for it alone. */
static int prove_until(struct range *range, uint64_t end, struct im_error *err)
{
    uint8_t *buf IM_FREE = NULL;
    int r = 0;

    if (!range->proof.take || range->proven >= end)
        return 0;
    buf = malloc(PIECE);
    if (!buf)
        return im_fail(err, ENOMEM, "out of memory");
    while (r == 0 && range->proven < end) {
        size_t step = (size_t)im_min(PIECE, end - range->proven);

        r = im_cancel_check(err);
        if (r == 0)
            r = im_source_read(range->inner, buf, step, range->at + range->proven, err);
        if (r == 0)
            show(range, buf, step, range->proven);
    }
    return r;
}

static int range_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                      size_t *ret_len, struct im_error *err)
{
    struct range *range = (struct range *)source;
    int r = 0;

    /* what is skipped of a pipe never comes again */
    if (source->sequential)
        r = prove_until(range, offset, err);
    if (r == 0)
        r = im_source_read_some(range->inner, buf, len, range->at + offset, ret_len, err);
    if (r < 0)
        return r;
    if (*ret_len < len && source->size != IM_SIZE_UNKNOWN)
        return im_fail(err, EBADMSG,
                       "'%s' ends at byte %" PRIu64 " of its %" PRIu64 ": the archive is truncated",
                       source->name, offset + *ret_len, source->size);
    show(range, buf, *ret_len, offset);
    return 0;
}

static int range_map(struct im_source *source, uint64_t offset, uint64_t len, struct im_extent *ret,
                     struct im_error *err)
{
    struct range *range = (struct range *)source;
    int r = im_source_map(range->inner, range->at + offset, len, ret, err);

    if (r == 0)
        ret->offset = offset;
    return r;
}

static int range_local(struct im_source *source, uint64_t offset, uint64_t len, int *ret_fd,
                       uint64_t *ret_at, uint64_t *ret_len)
{
    struct range *range = (struct range *)source;

    return im_source_local(range->inner, range->at + offset, len, ret_fd, ret_at, ret_len);
}

static size_t range_ready(struct im_source *source, uint64_t offset, size_t len)
{
    struct range *range = (struct range *)source;

    return im_source_ready(range->inner, range->at + offset, len);
}

static int range_finish(struct im_source *source, struct im_error *err)
{
    struct range *range = (struct range *)source;
    int r = source->size == IM_SIZE_UNKNOWN ? 0 : prove_until(range, source->size, err);

    if (r == 0 && range->proof.end)
        r = range->proof.end(range->proof.arg, source->size, source->size, err);
    return r == 0 ? im_source_finish(range->inner, err) : r;
}

static void range_close(struct im_source *source)
{
    struct range *range = (struct range *)source;

    if (range->proof.free)
        range->proof.free(range->proof.arg);
    im_source_close(range->inner);
}

static const struct im_source_ops range_ops = {
    .name = "range",
    .read = range_read,
    .map = range_map,
    .local = range_local,
    .finish = range_finish,
    .ready = range_ready,
    .close = range_close,
};

int im_range_wrap(struct im_source **source, const char *name, uint64_t at, uint64_t size,
                  const struct im_proof *proof, struct im_error *err)
{
    struct range *range = im_source_new(sizeof(*range), &range_ops, name);

    if (!range)
        return im_fail(err, ENOMEM, "out of memory");
    range->inner = *source;
    range->at = at;
    range->base.size = size;
    range->base.sequential = range->inner->sequential;
    range->base.direct = range->inner->direct;
    if (proof)
        range->proof = *proof;
    *source = &range->base;
    return 0;
}

void im_range_unwrap(struct im_source *source)
{
    ((struct range *)source)->inner = NULL;
    im_source_close(source);
}

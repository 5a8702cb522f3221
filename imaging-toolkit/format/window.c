/* window - a buffer that moves forwards over a source. */

#include <config.h>

#include "format/window.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "core/cancel.h"
#include "core/trail.h"

/* What file systems allocate at once. */
#define UNIT 4096u

int im_window_init(struct im_window *window, struct im_source *source, size_t size,
                   struct im_error *err)
{
    *window = (struct im_window){ .source = source, .size = size };
    window->buf = malloc(size);
    if (!window->buf)
        return im_fail(err, ENOMEM, "out of memory");
    return 0;
}

void im_window_done(struct im_window *window)
{
    free(window->buf);
    window->buf = NULL;
}

/* Let the window begin at offset, keeping what it already holds from there on. */
static void move_to(struct im_window *window, uint64_t offset)
{
    uint64_t gone = offset - window->start;

    if (offset < window->start || gone > window->len)
        gone = window->len;
    window->len -= (size_t)gone;
    memmove(window->buf, window->buf + gone, window->len);
    window->start = offset;
}

/* Read what is there without waiting; wait only until the window holds `need` bytes. */
static int fill(struct im_window *window, size_t need, struct im_error *err)
{
    struct im_source *source = window->source;
    struct im_trail *trail = source->trail;

    for (;;) {
        uint64_t at = window->start + window->len;
        size_t here = im_source_ready(source, at, window->size - window->len), got;
        bool waits = here == 0 && at < source->size;
        int r = im_cancel_check(err);

        if (r == 0 && trail)
            r = im_trail_point(trail, waits ? at : UINT64_MAX, window->start, window->buf,
                               window->len, err);
        if (waits)
            here = need - window->len;
        if (r == 0)
            r = im_source_fetch(source, window->buf + window->len, here, at, &got, err);
        if (r < 0)
            return r;
        window->len += got;
        if (window->len >= need || got < here || got == 0)
            return 0;
    }
}

static bool holds(const struct im_window *window, uint64_t offset, size_t len)
{
    return offset >= window->start && offset - window->start <= window->len &&
           len <= window->len - (size_t)(offset - window->start);
}

/* The bytes at offset, up to len of them, in the window. */
static int look(struct im_window *window, uint64_t offset, size_t len, const uint8_t **ret,
                size_t *ret_len, struct im_error *err)
{
    if (!holds(window, offset, len)) {
        int r;

        move_to(window, offset);
        r = fill(window, len, err);
        if (r < 0)
            return r;
    }
    *ret = window->buf + (offset - window->start);
    *ret_len = (size_t)im_min(len, window->len - (offset - window->start));
    return 0;
}

int im_window_peek(struct im_window *window, uint64_t offset, size_t len, const uint8_t **ret,
                   size_t *ret_len, struct im_error *err)
{
    struct im_trail *trail = window->source->trail;
    int r = trail ? im_trail_replay(trail, window->buf, len, offset, ret_len, err) : 0;

    if (r > 0) {
        window->start = offset;
        window->len = *ret_len;
        *ret = window->buf;
        return 0;
    }
    if (r == 0)
        r = look(window, offset, len, ret, ret_len, err);
    if (r == 0 && trail)
        im_trail_note(trail, *ret, len, *ret_len, offset);
    return r;
}

static int ends_early(const struct im_window *window, uint64_t offset, size_t len, size_t got,
                      struct im_error *err)
{
    return im_fail(err, EBADMSG,
                   "'%s' ends at byte %" PRIu64 ", but %zu bytes at offset %" PRIu64
                   " are needed: the file is truncated",
                   window->source->name, offset + got, len, offset);
}

int im_window_get(struct im_window *window, uint64_t offset, size_t len, const uint8_t **ret,
                  struct im_error *err)
{
    size_t got;
    int r = im_window_peek(window, offset, len, ret, &got, err);

    if (r < 0)
        return r;
    return got < len ? ends_early(window, offset, len, got, err) : 0;
}

int im_window_data(struct im_window *window, uint64_t offset, size_t len, const uint8_t **ret,
                   struct im_error *err)
{
    struct im_trail *trail = window->source->trail;
    uint64_t skipped = trail ? im_trail_skip(trail, len) : 0;
    size_t got;
    int r;

    *ret = NULL;
    if (skipped > 0)
        return skipped == len ? 0 : im_trail_diverged(offset, err);
    r = look(window, offset, len, ret, &got, err);
    if (r < 0)
        return r;
    return got < len ? ends_early(window, offset, len, got, err) : 0;
}

void im_window_gave(struct im_window *window, size_t len)
{
    if (window->source->trail)
        im_trail_gave(window->source->trail, len);
}

int im_window_read(struct im_window *window, void *buf, size_t len, uint64_t offset,
                   struct im_error *err)
{
    uint8_t *out = buf;

    if (window->source->direct)
        return im_source_read(window->source, buf, len, offset, err);
    while (len > 0) {
        size_t step = len < window->size ? len : window->size;
        const uint8_t *p;
        int r = im_window_get(window, offset, step, &p, err);

        if (r < 0)
            return r;
        memcpy(out, p, step);
        out += step;
        offset += step;
        len -= step;
    }
    return 0;
}

/* How much of len bytes at `at` is given at once: what is there, when that is something.  All but
 * the last piece end where a unit of the disk does, so that what the pieces are changes nothing. */
static size_t piece_of(const struct im_window *window, uint64_t at, uint64_t len, uint64_t offset)
{
    size_t most = (size_t)im_min(len, window->size - offset % UNIT);
    size_t held = at >= window->start && at - window->start < window->len
                      ? window->len - (size_t)(at - window->start)
                      : 0;
    size_t odd;

    if (held < most)
        held += im_source_ready(window->source, at + held, most - held);
    if (held >= most)
        return most;
    odd = (size_t)((offset + held) % UNIT);
    return held > odd ? held - odd : (size_t)im_min(most, UNIT - offset % UNIT);
}

static int give_piece(struct im_window *window, struct im_sink *sink, uint64_t at, size_t len,
                      uint64_t offset, struct im_error *err)
{
    const uint8_t *p;
    size_t got;
    int r = look(window, at, len, &p, &got, err);

    if (r == 0 && got < len)
        r = ends_early(window, at, len, got, err);
    if (r == 0)
        r = sink->data(sink, p, len, offset, err);
    if (r == 0)
        im_window_gave(window, len);
    return r;
}

int im_window_place(struct im_window *window, struct im_sink *sink, uint64_t at, uint64_t len,
                    uint64_t offset, struct im_error *err)
{
    struct im_source *source = window->source;

    if (source->direct)
        return sink->place(sink, source, at, len, offset, err);
    while (len > 0) {
        uint64_t step = source->trail ? im_trail_skip(source->trail, len) : 0;
        int r = step == 0 ? im_window_hole(window, at, len, &step, err) : 0;

        if (r == 0 && step == 0) {
            step = piece_of(window, at, len, offset);
            r = give_piece(window, sink, at, (size_t)step, offset, err);
        }
        if (r < 0)
            return r;
        at += step;
        offset += step;
        len -= step;
        sink->progress(sink, at, source->size);
    }
    return 0;
}

int im_window_hole(struct im_window *window, uint64_t offset, uint64_t len, uint64_t *ret_hole,
                   struct im_error *err)
{
    struct im_extent *known = &window->known;
    struct im_source *source = window->source;

    *ret_hole = 0;
    if (source->size == IM_SIZE_UNKNOWN || offset >= source->size)
        return 0;
    if (offset < known->offset || offset - known->offset >= known->len) {
        int r = im_source_map(source, offset, source->size - offset, known, err);

        if (r < 0)
            return r;
    }
    if (known->zero)
        *ret_hole = im_min(len, known->len - (offset - known->offset));
    return 0;
}

/* window - a buffer that moves forwards over a source. */

#include <config.h>

#include "format/window.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "core/cancel.h"

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

static int fill(struct im_window *window, struct im_error *err)
{
    size_t got;
    int r = im_cancel_check(err);

    if (r == 0)
        r = im_source_read_some(window->source, window->buf + window->len,
                                window->size - window->len, window->start + window->len, &got, err);
    if (r == 0)
        window->len += got;
    return r;
}

int im_window_peek(struct im_window *window, uint64_t offset, size_t len, const uint8_t **ret,
                   size_t *ret_len, struct im_error *err)
{
    bool inside = offset >= window->start && offset - window->start <= window->len &&
                  len <= window->len - (size_t)(offset - window->start);

    if (!inside) {
        int r;

        move_to(window, offset);
        r = fill(window, err);
        if (r < 0)
            return r;
    }
    *ret = window->buf + (offset - window->start);
    *ret_len = (size_t)im_min(len, window->len - (offset - window->start));
    return 0;
}

int im_window_get(struct im_window *window, uint64_t offset, size_t len, const uint8_t **ret,
                  struct im_error *err)
{
    size_t got;
    int r = im_window_peek(window, offset, len, ret, &got, err);

    if (r < 0)
        return r;
    if (got < len)
        return im_fail(err, EBADMSG,
                       "'%s' ends at byte %" PRIu64 ", but %zu bytes at offset %" PRIu64
                       " are needed: the file is truncated",
                       window->source->name, offset + got, len, offset);
    return 0;
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

int im_window_place(struct im_window *window, struct im_sink *sink, uint64_t at, uint64_t len,
                    uint64_t offset, struct im_error *err)
{
    if (window->source->direct)
        return sink->place(sink, window->source, at, len, offset, err);
    while (len > 0) {
        const uint8_t *p;
        uint64_t step;
        int r = im_window_hole(window, at, len, &step, err);

        if (r == 0 && step == 0) {
            step = im_min(len, window->size);
            r = im_window_get(window, at, (size_t)step, &p, err);
            if (r == 0)
                r = sink->data(sink, p, (size_t)step, offset, err);
        }
        if (r < 0)
            return r;
        at += step;
        offset += step;
        len -= step;
        sink->progress(sink, at, window->source->size);
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

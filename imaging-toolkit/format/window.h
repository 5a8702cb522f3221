/* window - a buffer that moves forwards over a source, so that small structures can be looked at
 * one by one while the source is read in large pieces and no byte twice.
 *
 * It is not a cache: going back empties it.  One window belongs to one decoder and one thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "core/disk.h"
#include "core/extent.h"
#include "core/source.h"

/* What is usually read at once, bytes: larger pieces were measured to be no faster. */
#define IM_WINDOW_SIZE (1u << 20)

struct im_window {
    struct im_source *source; /* not owned */
    uint8_t *buf;             /* owned */
    size_t size;              /* of buf, bytes */
    uint64_t start;           /* source offset of buf[0] */
    size_t len;               /* bytes held */
    struct im_extent known;   /* the last answer of the source's map; len 0: none yet */
};

/* Prepare a window of `size` bytes on source; 0 or -ENOMEM. */
int im_window_init(struct im_window *window, struct im_source *source, size_t size,
                   struct im_error *err);

/* Release the buffer; the source stays open.  Harmless on a zeroed window. */
void im_window_done(struct im_window *window);

/* What is asked for by peek, get and read is structure, and what goes through place and data is the
 * disk's data: source->trail keeps the one and counts the other. */

/* The bytes at offset, up to len of them (at most the window's size): *ret points into the window
 * until the next call, *ret_len is less than len only at the end of the source.
 * Errors: the source's, -ECANCELED. */
int im_window_peek(struct im_window *window, uint64_t offset, size_t len, const uint8_t **ret,
                   size_t *ret_len, struct im_error *err);

/* The same for exactly len bytes; -EBADMSG when the source ends before. */
int im_window_get(struct im_window *window, uint64_t offset, size_t len, const uint8_t **ret,
                  struct im_error *err);

/* Copy exactly len bytes at offset, however many, into buf; of a direct source nothing more than
 * these is read.  Errors as im_window_get. */
int im_window_read(struct im_window *window, void *buf, size_t len, uint64_t offset,
                   struct im_error *err);

/* Give len bytes at `at` to the sink as the disk's at offset: by `place` when the source is a
 * direct one, else out of the window, so that what comes over a network is read once and in order.
 * Errors: the sink's, and as im_window_get. */
int im_window_place(struct im_window *window, struct im_sink *sink, uint64_t at, uint64_t len,
                    uint64_t offset, struct im_error *err);

/* The len bytes at offset, which are data in a shape the sink takes as it is: as im_window_get, but
 * *ret is NULL when an earlier process has brought them into the volume, and the sink does not get
 * them.  im_window_gave says that it has. */
int im_window_data(struct im_window *window, uint64_t offset, size_t len, const uint8_t **ret,
                   struct im_error *err);
void im_window_gave(struct im_window *window, size_t len);

/* How many bytes from offset on, at most len, the source knows to be a hole; *ret_hole is 0 when
 * there is data (or the source cannot tell).  Nothing is read.  Errors: the source's. */
int im_window_hole(struct im_window *window, uint64_t offset, uint64_t len, uint64_t *ret_hole,
                   struct im_error *err);

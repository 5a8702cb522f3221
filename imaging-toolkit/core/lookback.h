/* lookback - bytes that can only be had forwards, kept for a while: headers are read more than once
 * (probe, then open), and this is what core/source.h promises of a sequential source.
 *
 * It fetches nothing itself: whoever owns the stream gives the next bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* How far back a format may look. */
#define IM_LOOKBACK (1u << 20)

struct im_lookback {
    uint8_t *window; /* the bytes from start to start + held */
    uint64_t start;
    size_t held;
    bool ended; /* nothing follows them */
};

/* Put the next bytes of the stream, at most room (at least 1 MiB), into buf; perhaps none.
 * *ret_ended: nothing follows. */
typedef int (*im_more_fn)(void *arg, void *buf, size_t room, size_t *ret_len, bool *ret_ended,
                          struct im_error *err);

/* NULL when out of memory.  _free takes NULL, returns NULL. */
struct im_lookback *im_lookback_new(void);
struct im_lookback *im_lookback_free(struct im_lookback *back);

/* Copy the bytes at offset, up to len; *ret_len is less only at the end.  `what` is the stream's
 * name.  -EOPNOTSUPP: they are too far back; or more's errors. */
int im_lookback_read(struct im_lookback *back, const char *what, im_more_fn more, void *arg,
                     void *buf, size_t len, uint64_t offset, size_t *ret_len, struct im_error *err);

/* Go forwards to the end; more's errors. */
int im_lookback_drain(struct im_lookback *back, im_more_fn more, void *arg, struct im_error *err);

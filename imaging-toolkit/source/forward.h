/* forward - what sources share that come in order and only once: a window to look back into.
 *
 * Headers are read more than once (probe, then open), so the last bytes are kept: as many as
 * core/source.h promises. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Gives the next bytes: at least 1 and at most len of them into buf; 0 only at the end. */
typedef int (*im_forward_fn)(void *arg, void *buf, size_t len, size_t *ret_len,
                             struct im_error *err);

/* All zeros before im_forward_init. */
struct im_forward {
    uint8_t *window; /* the bytes from start to start + held */
    uint64_t start;
    size_t held;
    bool ended;
};

/* -ENOMEM. */
int im_forward_init(struct im_forward *forward, struct im_error *err);
void im_forward_done(struct im_forward *forward);

/* As im_source_ops.read; `name` is the source's, for messages.  -EOPNOTSUPP: offset lies further
 * back than the window; else what `next` fails with. */
int im_forward_read(struct im_forward *forward, const char *name, im_forward_fn next, void *arg,
                    void *buf, size_t len, uint64_t offset, size_t *ret_len, struct im_error *err);

/* progress - how far an upload is: a bar on a terminal, a line now and then elsewhere.
 *
 * It goes to standard error.  The historical clients drew it on standard output when that was a
 * terminal; but standard output is what programs read, and "euca-import-volume … | tee log" should
 * show a bar and yet log only the task.  With --json, standard output gets events instead. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"

struct euca_progress;

/* A new one for `total` bytes of a file.  The bar is labelled with its base name.  Silent unless
 * asked for or (without --no-progress) standard error is a terminal.  `path` must live as long.
 * NULL when out of memory. */
struct euca_progress *euca_progress_new(const char *program, const char *path, uint64_t total,
                                        const struct euca_progress_options *options);

/* How many parts there are. */
void euca_progress_parts(struct euca_progress *progress, size_t total);

/* Count bytes sent; negative when they have to be sent again.  Any thread. */
void euca_progress_add(struct euca_progress *progress, int64_t bytes);

/* Count bytes that were there already: done, but no measure of the speed.  Any thread. */
void euca_progress_skip(struct euca_progress *progress, uint64_t bytes);

/* One more part is there.  Any thread. */
void euca_progress_part(struct euca_progress *progress);

/* Show what is due; called several times a second by one thread. */
void euca_progress_tick(struct euca_progress *progress);

/* Show the end, where the upload came to it: the event "uploaded". */
void euca_progress_end(struct euca_progress *progress);

/* Show how far it came, unless shown, and free; takes NULL, returns NULL. */
struct euca_progress *euca_progress_free(struct euca_progress *progress);

/* Where an upload stands. */
struct euca_progress_state {
    uint64_t done, total; /* bytes */
    uint64_t sent;        /* of done: not those that were there already */
    int64_t elapsed_ms;
    size_t parts, parts_total; /* 0 in all: not known */
};

/* "45%  450.0 MiB of 1.0 GiB  45.0 MiB/s  ETA 0:12  parts 3/12", cut to fit; returns buf. */
const char *euca_progress_text(char *buf, size_t size, const struct euca_progress_state *state);

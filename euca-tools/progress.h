/* progress - how far an upload is: a bar on a terminal, a line now and then elsewhere.
 *
 * It goes to standard error.  The historical clients drew it on standard output when that was a
 * terminal; but standard output is what programs read, and "euca-import-volume … | tee log" should
 * show a bar and yet log only the task. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "options.h"

struct euca_progress;

/* A new one for `total` bytes.  `label`: the file's base name, copied.  Silent unless asked for or
 * (without --no-progress) standard error is a terminal.  NULL when out of memory. */
struct euca_progress *euca_progress_new(const char *program, const char *label, uint64_t total,
                                        const struct euca_progress_options *options);

/* Count bytes sent; negative when they have to be sent again.  Any thread. */
void euca_progress_add(struct euca_progress *progress, int64_t bytes);

/* Show what is due; called several times a second by one thread. */
void euca_progress_tick(struct euca_progress *progress);

/* Show the end and free; takes NULL, returns NULL. */
struct euca_progress *euca_progress_free(struct euca_progress *progress);

/* The text without label: "45%  450.0 MiB of 1.0 GiB  45.0 MiB/s  ETA 0:12".  For tests. */
const char *euca_progress_text(char *buf, size_t size, uint64_t done, uint64_t total,
                               int64_t elapsed_ms);

/* rate - at most so many bytes per second in and out, of this process.
 *
 * Counted are bytes read from sources, written to stores, and read back for digests; not those that
 * are shared by reference or left out as holes.  A child is told the rate by its own option. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A single piece of the copy loop takes eight seconds at this rate; slower looks like standing. */
#define IM_RATE_MIN (UINT64_C(64) << 10)

/* Set the limit in bytes per second; 0: none.  Before the first thread.  -EINVAL below IM_RATE_MIN.
 */
int im_rate_set(uint64_t bytes_per_second, struct im_error *err);

/* The limit; 0: none. */
uint64_t im_rate_limit(void);

/* `len` bytes go now: wait until the limit allows them.  Called by any thread.  -ECANCELED. */
int im_rate_spend(size_t len, struct im_error *err);

/* retry - full-jitter exponential backoff: 0.2 s × 2^n, at most 20 s between tries. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Tries of one request before its failure is final. */
#define IM_RETRY_TRIES 8

/* True for failures that may heal: the network (see im_http_do), and HTTP 408, 429 and 5xx. */
bool im_retry_errno(int number);
bool im_retry_status(long http_status);

/* Wait so many milliseconds.  Returns early and false when *cancel becomes true, which another
 * thread may do; cancel may be NULL. */
bool im_retry_pause(int64_t ms, const volatile bool *cancel);

/* Wait before try `n` (the second is 1), as im_retry_pause. */
bool im_retry_wait(unsigned n, const volatile bool *cancel);

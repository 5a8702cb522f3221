/* retry - full-jitter exponential backoff: 0.2 s × 2^n, at most 20 s between tries. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Tries of one request before its failure is final. */
#define IM_RETRY_TRIES 8

/* True for failures that may heal: the network (see im_http_do), and HTTP 408, 429 and 5xx. */
bool im_retry_errno(int number);
bool im_retry_status(long http_status);

/* Of the environment, for tests: what pauses are divided by, and what im_retry_stall_s returns. */
#define IM_RETRY_HASTE         "IMAGING_HASTE"
#define IM_RETRY_STALL_SECONDS "IMAGING_STALL_SECONDS"

/* Seconds without progress (below 1000 bytes/s) after which a try is given up: 30. */
long im_retry_stall_s(void);

/* A pause between tries, divided by IM_RETRY_HASTE. */
int64_t im_retry_hasten(int64_t ms);

/* Wait so many milliseconds, hastened.  Returns early
 * and false when *cancel becomes true, which another thread may do; cancel may be NULL. */
bool im_retry_pause(int64_t ms, const volatile bool *cancel);

/* Wait before try `n` (the second is 1), as im_retry_pause. */
bool im_retry_wait(unsigned n, const volatile bool *cancel);

/* rate - a token bucket that is kept as a time: when all bytes so far are paid for. */

#include <config.h>

#include "core/rate.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "core/cancel.h"

/* What was not used of the last tenth of a second may be used now. */
#define BURST_US 100000
/* Longest sleep, so that a wish to stop is seen. */
#define NAP_US 50000

static uint64_t rate;
static int64_t paid_us; /* by then */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int im_rate_set(uint64_t bytes_per_second, struct im_error *err)
{
    if (bytes_per_second > 0 && bytes_per_second < IM_RATE_MIN)
        return im_fail(err, EINVAL,
                       "a rate of %" PRIu64 " bytes per second is less than %" PRIu64
                       ", the least that can be kept",
                       bytes_per_second, IM_RATE_MIN);
    rate = bytes_per_second;
    paid_us = im_clock_monotonic_us();
    return 0;
}

uint64_t im_rate_limit(void)
{
    return rate;
}

/* When these bytes are paid for. */
static int64_t pay(size_t len)
{
    int64_t now = im_clock_monotonic_us(), until;

    (void)pthread_mutex_lock(&lock);
    if (paid_us < now - BURST_US)
        paid_us = now - BURST_US;
    paid_us += (int64_t)((double)len * 1e6 / (double)rate);
    until = paid_us;
    (void)pthread_mutex_unlock(&lock);
    return until;
}

int im_rate_spend(size_t len, struct im_error *err)
{
    int64_t until, left;
    int r = 0;

    if (rate == 0 || len == 0)
        return 0;
    until = pay(len);
    while (r == 0 && (left = until - im_clock_monotonic_us()) > 0) {
        struct timespec nap = { .tv_nsec = (left < NAP_US ? left : NAP_US) * 1000 };

        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
        r = im_cancel_check(err);
    }
    return r;
}

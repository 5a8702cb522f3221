/* retry - which failures may heal, and how long to wait before the next try. */

#include <config.h>

#include "base/retry.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"

#define BASE_MS 200
#define CAP_MS  20000

/* How often the cancel flag is looked at while waiting. */
#define SLICE_MS 50

#define STALL_S 30

/* Ceilings of what the environment may say: no pause at all, an hour. */
#define HASTE_MAX   1000000
#define STALL_MAX_S 3600

/* A number of the environment, 1 to max; preset when there is none.  The only such settings: they
 * let tests see in seconds what takes minutes. */
static uint64_t number_of(const char *name, uint64_t max, uint64_t preset)
{
    const char *text = getenv(name);
    uint64_t number;

    return text && im_parse_uint(text, max, &number) == 0 && number > 0 ? number : preset;
}

long im_retry_stall_s(void)
{
    return (long)number_of(IM_RETRY_STALL_SECONDS, STALL_MAX_S, STALL_S);
}

int64_t im_retry_hasten(int64_t ms)
{
    return ms / (int64_t)number_of(IM_RETRY_HASTE, HASTE_MAX, 1);
}

bool im_retry_errno(int number)
{
    switch (abs(number)) {
    case ECONNREFUSED:
    case ECONNRESET:
    case EHOSTUNREACH:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

bool im_retry_status(long http_status)
{
    return http_status == 408 || http_status == 429 || (http_status >= 500 && http_status <= 599);
}

/* Full jitter: anything up to the whole step, so that many clients do not return at once. */
static int64_t pause_ms(unsigned n)
{
    int64_t step = n < 7 ? (int64_t)BASE_MS << n : CAP_MS;
    uint32_t dice = UINT32_MAX / 2;

    if (step > CAP_MS)
        step = CAP_MS;
    (void)!getrandom(&dice, sizeof(dice), 0); /* without it: half the step */
    return (int64_t)(dice % (uint32_t)(step + 1));
}

bool im_retry_pause(int64_t ms, const volatile bool *cancel)
{
    int64_t until = im_clock_monotonic_ms() + im_retry_hasten(ms);

    for (;;) {
        int64_t left = until - im_clock_monotonic_ms();
        struct timespec slice = { .tv_nsec = SLICE_MS * 1000000L };

        if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED))
            return false;
        if (left <= 0)
            return true;
        if (left < SLICE_MS)
            slice.tv_nsec = (long)left * 1000000L;
        (void)nanosleep(&slice, NULL);
    }
}

bool im_retry_wait(unsigned n, const volatile bool *cancel)
{
    return im_retry_pause(pause_ms(n), cancel);
}

/* trail - how far a conversion is: keeping, giving again, and the moments of marks. */

#include <config.h>

#include "core/trail-inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "core/cancel.h"

/* What is kept in memory between two marks; more waits for the mark. */
#define LOG_FULL  (1u << 20)
#define RUNS_FULL (1u << 20)

/* Structure of a whole image: the formats that are gone on with have below a sixtieth of it, but
 * for small ones.  An image with more could be kept in the journal as a whole, which nobody wants:
 * then no more marks are made. */
#define LOG_SHARE 64u
#define LOG_LEAST (UINT64_C(16) << 20)

/* Time from a mark to the next: so long at least, and so many times what the last one took, that
 * the disk has other work most of the time.  A walk that waits for the network leaves it idle. */
#define PAUSE_MS      200
#define PAUSE_TIMES   8
#define PAUSE_WAIT_MS 10

/* How often a walk that waits looks whether its bytes have come. */
#define LOOK_MS 5

/* Three numbers of at most ten bytes stand before each piece of structure. */
#define NUMBER_MAX 10u

/* ---- numbers in the log: seven bits a byte, the lowest first ---- */

static size_t put_number(uint8_t *p, uint64_t n)
{
    size_t i = 0;

    for (; n >= 0x80; n >>= 7)
        p[i++] = (uint8_t)(n | 0x80);
    p[i++] = (uint8_t)n;
    return i;
}

/* False at the end of the log, or when it is no number. */
static bool get_number(const struct im_journal_mark *mark, size_t *at, uint64_t *ret)
{
    uint64_t n = 0;

    for (unsigned shift = 0; shift < 64 && *at < mark->log_len; shift += 7) {
        uint8_t byte = mark->log[(*at)++];

        n |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = n;
            return true;
        }
    }
    return false;
}

/* A distance, forwards or back, as a number that is small when it is. */
static uint64_t fold(uint64_t distance)
{
    return distance << 1 ^ (distance >> 63 ? UINT64_MAX : 0);
}

static uint64_t unfold(uint64_t n)
{
    return n >> 1 ^ (n & 1 ? UINT64_MAX : 0);
}

/* ---- giving again ---- */

int im_trail_diverged(uint64_t offset, struct im_error *err)
{
    return im_fail_code(err, ESTALE, "Diverged",
                        "what an earlier attempt has kept does not fit at byte %" PRIu64
                        " of the image; begin anew",
                        offset);
}

/* Stand before a piece of the log; 1, 0 when all was given, or -errno. */
static int need_log(struct im_trail *trail)
{
    while (trail->log_at == trail->mark.log_len) {
        int r;

        if (trail->replay.number == trail->marks)
            return 0;
        r = im_journal_next(&trail->replay, &trail->replayed, &trail->mark);
        if (r <= 0)
            return r < 0 ? r : -ESTALE;
        trail->log_at = 0;
    }
    return 1;
}

int im_trail_replay(struct im_trail *trail, void *buf, size_t len, uint64_t offset, size_t *ret_len,
                    struct im_error *err)
{
    uint64_t distance, asked, missing;
    int r;

    if (trail->live)
        return 0;
    r = need_log(trail);
    if (r == 0 && trail->data == trail->past_data) {
        trail->live = true;
        return 0;
    }
    if (r <= 0 || !get_number(&trail->mark, &trail->log_at, &distance) ||
        !get_number(&trail->mark, &trail->log_at, &asked) ||
        !get_number(&trail->mark, &trail->log_at, &missing) ||
        trail->expected + unfold(distance) != offset || asked != len || missing > asked ||
        asked - missing > trail->mark.log_len - trail->log_at)
        return im_trail_diverged(offset, err);
    *ret_len = (size_t)(asked - missing);
    if (*ret_len > 0)
        memcpy(buf, trail->mark.log + trail->log_at, *ret_len);
    trail->log_at += *ret_len;
    trail->expected = offset + *ret_len;
    return 1;
}

uint64_t im_trail_skip(struct im_trail *trail, uint64_t len)
{
    uint64_t skipped = im_min(len, trail->past_data - im_min(trail->data, trail->past_data));

    trail->data += skipped;
    return skipped;
}

size_t im_trail_rest(const struct im_trail *trail, void *buf, size_t len, uint64_t offset)
{
    uint64_t skip = offset - trail->rest_offset;

    if (offset < trail->rest_offset || skip >= trail->rest.len)
        return 0;
    len = (size_t)im_min(len, trail->rest.len - skip);
    if (buf)
        memcpy(buf, trail->rest.data + skip, len);
    return len;
}

bool im_trail_has_past(const struct im_trail *trail)
{
    return trail->marks > 0;
}

uint64_t im_trail_tell(struct im_trail *trail, uint64_t position)
{
    if (position > trail->position)
        trail->position = position;
    return trail->position;
}

uint64_t im_trail_told(const struct im_trail *trail)
{
    return trail->position;
}

uint64_t im_trail_total(const struct im_trail *trail)
{
    return trail->source->size;
}

int im_trail_past(struct im_trail *trail, im_trail_run_fn fn, void *arg, struct im_error *err)
{
    struct im_buffer buffer IM_BUFFER_DONE = IM_BUFFER(IM_JOURNAL_MARK_MAX);
    struct im_journal journal = trail->start;
    struct im_journal_mark mark;
    int r = 0;

    while (r == 0 && journal.number < trail->marks) {
        r = im_journal_next(&journal, &buffer, &mark);
        if (r <= 0)
            return r == 0 ? im_trail_diverged(0, err)
                          : im_fail_errno(err, -r, "cannot read the journal");
        r = 0;
        for (size_t i = 0; r == 0 && i < mark.run_count; i++) {
            struct im_journal_run run = im_journal_run_at(&mark, i);

            r = fn(arg, &run, err);
        }
    }
    return r;
}

/* ---- keeping ---- */

static void give_up(struct im_trail *trail)
{
    trail->off = true;
    im_buffer_done(&trail->log);
    (void)pthread_mutex_lock(&trail->lock);
    trail->full = true;
    (void)pthread_mutex_unlock(&trail->lock);
}

void im_trail_note(struct im_trail *trail, const void *buf, size_t len, size_t got, uint64_t offset)
{
    uint64_t most = trail->source->size / LOG_SHARE + LOG_LEAST;
    uint8_t head[3 * NUMBER_MAX];
    size_t n;

    if (trail->off)
        return;
    n = put_number(head, fold(offset - trail->expected));
    n += put_number(head + n, len);
    n += put_number(head + n, len - got);
    trail->expected = offset + got;
    trail->kept += n + got;
    if (trail->kept > most || im_buffer_add(&trail->log, head, n) < 0 ||
        im_buffer_add(&trail->log, buf, got) < 0)
        give_up(trail);
}

void im_trail_gave(struct im_trail *trail, uint64_t len)
{
    trail->data += len;
    if (!trail->live && need_log(trail) == 0)
        trail->live = true;
}

int im_trail_read(struct im_trail *trail, void *buf, size_t len, uint64_t offset, size_t *ret_len,
                  struct im_error *err)
{
    struct im_source *source = trail->source;
    int r = im_trail_replay(trail, buf, len, offset, ret_len, err);
    size_t here;

    if (r != 0)
        return r < 0 ? r : 0;
    here = im_source_ready(source, offset, len);
    r = im_trail_point(trail, here < len ? offset + here : UINT64_MAX, 0, NULL, 0, err);
    if (r == 0)
        r = im_source_fetch(source, buf, len, offset, ret_len, err);
    if (r == 0)
        im_trail_note(trail, buf, len, *ret_len, offset);
    return r;
}

/* ---- moments ---- */

/* Whether it is time for a mark.  Lock held. */
static bool is_due(const struct im_trail *trail, bool waits)
{
    int64_t least = waits ? PAUSE_WAIT_MS : PAUSE_MS;
    int64_t pause = waits ? trail->took_ms : PAUSE_TIMES * trail->took_ms;

    return im_clock_monotonic_ms() >= trail->done_ms + (pause > least ? pause : least);
}

/* Whether too much is kept in memory.  Lock held. */
static bool is_full(const struct im_trail *trail)
{
    return trail->log.len >= LOG_FULL || trail->runs[0].len + trail->runs[1].len >= RUNS_FULL;
}

static void look_again(struct im_trail *trail)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    (void)pthread_cond_timedwait(&trail->changed, &trail->lock, &until);
}

/* Wait until a mark may be made, or the byte is here.  Lock held on entry and return. */
static bool may_mark(struct im_trail *trail, uint64_t waits_at)
{
    bool waits = waits_at != UINT64_MAX;

    while (waits && (trail->busy || !(im_cancelled || is_due(trail, true)))) {
        bool here;

        (void)pthread_mutex_unlock(&trail->lock);
        here = im_source_ready(trail->source, waits_at, 1) > 0;
        (void)pthread_mutex_lock(&trail->lock);
        if (here)
            return false;
        look_again(trail);
    }
    while (trail->busy && is_full(trail))
        (void)pthread_cond_wait(&trail->changed, &trail->lock);
    return !trail->busy && (is_full(trail) || is_due(trail, waits));
}

void trail_hand_over(struct im_trail *trail)
{
    struct next_mark *next = &trail->next;
    struct im_buffer log = trail->log;

    trail->log = next->log; /* empty */
    next->log = log;
    next->data = trail->marked_data = trail->data;
    next->position = trail->position;
    next->rest_offset = trail->unused_offset;
    trail->marked_rest = trail->unused_offset + trail->unused.len;
    im_buffer_clear(&next->rest);
    (void)im_buffer_add(&next->rest, trail->unused.data, trail->unused.len);
    next->generation = trail->writer.fence ? trail->writer.fence(trail->writer.arg) : 0;
    trail->busy = true;
    (void)pthread_cond_broadcast(&trail->changed);
}

bool trail_has_news(const struct im_trail *trail)
{
    return trail->live && !trail->off &&
           (trail->log.len > 0 || trail->data != trail->marked_data ||
            trail->unused_offset + trail->unused.len > trail->marked_rest);
}

int im_trail_point(struct im_trail *trail, uint64_t waits_at, uint64_t rest_offset,
                   const void *rest, size_t rest_len, struct im_error *err)
{
    int number;
    bool full;

    if (!trail->live || trail->off)
        return 0;
    if (waits_at != UINT64_MAX && rest_len <= TRAIL_REST_MAX) {
        im_buffer_clear(&trail->unused);
        trail->unused_offset = rest_offset;
        (void)im_buffer_add(&trail->unused, rest, rest_len);
    }
    (void)pthread_mutex_lock(&trail->lock);
    full = trail->full;
    if (!full && trail_has_news(trail) && may_mark(trail, waits_at))
        trail_hand_over(trail);
    number = trail->failure.number;
    if (number && err)
        *err = trail->failure;
    (void)pthread_mutex_unlock(&trail->lock);
    if (full)
        give_up(trail);
    return -number;
}

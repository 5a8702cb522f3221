/* trail-mark - how far a conversion is: the thread that writes marks, beginning and end.
 *
 * The order makes a mark true whenever it can be read: the data given before it have been written,
 * the volume has reached the disk (fdatasync), then the mark has. */

#include <config.h>

#include "core/trail-inner.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "core/inflate.h"

/* Runs between two marks, 16 bytes each; the walk waits long before (core/trail.c). */
#define RUNS_MAX  (4u << 20)
#define LOG_MAX   (6u << 20)
#define PROOF_MAX (4u << 20)

_Static_assert(RUNS_MAX + LOG_MAX + PROOF_MAX + TRAIL_REST_MAX < IM_JOURNAL_MARK_MAX,
               "every mark can be written");

/* ---- marks ---- */

void im_trail_wrote(struct im_trail *trail, uint64_t generation, const void *buf, size_t len,
                    uint64_t offset)
{
    const uint8_t *p = buf;

    while (len > 0) {
        size_t step = (size_t)im_min(len, IM_TRAIL_RUN_MAX - offset % IM_TRAIL_RUN_MAX);
        struct im_journal_run run = { offset, (uint32_t)step, im_zlib_crc32(0, p, step) };

        (void)pthread_mutex_lock(&trail->lock);
        if (!trail->full && im_journal_add_run(&trail->runs[generation % 2], &run) < 0)
            trail->full = true; /* a mark without it would not be true */
        (void)pthread_mutex_unlock(&trail->lock);
        p += step;
        offset += step;
        len -= step;
    }
}

static int write_mark(struct im_trail *trail, const struct next_mark *next)
{
    struct im_buffer proof IM_BUFFER_DONE = IM_BUFFER(PROOF_MAX);
    struct im_buffer *runs = &trail->runs[next->generation % 2];
    struct im_journal_mark mark = {
        .data = next->data,
        .position = next->position,
        .rest_offset = next->rest_offset,
        .rest = (const uint8_t *)next->rest.data,
        .rest_len = next->rest.len,
        .log = (const uint8_t *)next->log.data,
        .log_len = next->log.len,
        .runs = (const uint8_t *)runs->data,
        .run_count = runs->len / 16,
    };
    int r = trail->source->ops->proven(trail->source, &proof);

    mark.proof = (const uint8_t *)proof.data;
    mark.proof_len = proof.len;
    return r < 0 ? r : im_journal_append(&trail->journal, &mark);
}

/* Make the mark `next`.  The lock is not held: what it needs is nobody else's meanwhile. */
static void make_mark(struct im_trail *trail)
{
    struct next_mark *next = &trail->next;
    const struct im_trail_writer *writer = &trail->writer;
    int64_t began = im_clock_monotonic_ms();
    struct im_error why = { 0 };
    bool full, failed = false;

    if (writer->passed && writer->passed(writer->arg, next->generation, &why) < 0)
        return; /* the walk will hear of it */
    if (fdatasync(trail->volume) < 0) {
        (void)im_fail_code(&why, EIO, "CannotWrite", "cannot write the volume to the disk: %s",
                           strerrordesc_np(errno));
        failed = true;
    }
    (void)pthread_mutex_lock(&trail->lock);
    full = trail->full;
    (void)pthread_mutex_unlock(&trail->lock);
    full = failed || full || write_mark(trail, next) < 0;
    (void)pthread_mutex_lock(&trail->lock);
    trail->full = full;
    if (failed)
        trail->failure = why;
    trail->done_ms = im_clock_monotonic_ms();
    trail->took_ms = trail->done_ms - began;
    im_buffer_clear(&trail->runs[next->generation % 2]);
    (void)pthread_mutex_unlock(&trail->lock);
}

static void *thread_main(void *arg)
{
    struct im_trail *trail = arg;

    (void)pthread_mutex_lock(&trail->lock);
    for (;;) {
        while (!trail->busy && !trail->stop)
            (void)pthread_cond_wait(&trail->changed, &trail->lock);
        if (!trail->busy)
            break;
        (void)pthread_mutex_unlock(&trail->lock);
        make_mark(trail);
        (void)pthread_mutex_lock(&trail->lock);
        im_buffer_clear(&trail->next.log);
        trail->busy = false;
        (void)pthread_cond_broadcast(&trail->changed);
    }
    (void)pthread_mutex_unlock(&trail->lock);
    return NULL;
}

/* ---- the past ---- */

static int take_mark(struct im_trail *trail, const struct im_journal_mark *mark)
{
    struct im_source *source = trail->source;

    trail->kept += mark->log_len;
    trail->past_data = mark->data;
    trail->past_position = mark->position;
    trail->rest_offset = mark->rest_offset;
    im_buffer_clear(&trail->rest);
    if (mark->rest_len > source->size || mark->rest_offset > source->size - mark->rest_len)
        return -ESTALE;
    /* one that is too long is fetched again */
    if (mark->rest_len <= TRAIL_REST_MAX &&
        im_buffer_add(&trail->rest, mark->rest, mark->rest_len) < 0)
        return -ENOMEM;
    return source->ops->trust(source, mark->proof, mark->proof_len) < 0 ? -ESTALE : 0;
}

static int take_past(struct im_trail *trail)
{
    struct im_buffer buffer IM_BUFFER_DONE = IM_BUFFER(IM_JOURNAL_MARK_MAX);
    struct im_journal_mark mark;
    int r;

    while ((r = im_journal_next(&trail->journal, &buffer, &mark)) > 0) {
        r = take_mark(trail, &mark);
        if (r < 0)
            return r;
    }
    trail->marks = trail->journal.number;
    trail->marked_data = trail->past_data;
    trail->marked_rest = trail->rest_offset + trail->rest.len;
    trail->live = trail->marks == 0;
    return r;
}

/* ---- beginning and end ---- */

static int start_thread(struct im_trail *trail)
{
    sigset_t all, before;
    int r;

    /* signals are for the main thread, whose system calls they must interrupt */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&trail->thread, NULL, thread_main, trail);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    trail->started = r == 0;
    return -r;
}

static void init_lock(struct im_trail *trail)
{
    pthread_condattr_t attributes;

    (void)pthread_mutex_init(&trail->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&trail->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

int im_trail_new(struct im_source *source, const struct im_journal *journal, int volume,
                 struct im_trail **ret_trail, struct im_error *err)
{
    struct im_trail *trail = calloc(1, sizeof(*trail));
    int r;

    if (!trail)
        return im_fail(err, ENOMEM, "out of memory");
    *trail = (struct im_trail){ .source = source, .volume = volume };
    trail->start = trail->replay = trail->journal = *journal;
    trail->replayed = IM_BUFFER(IM_JOURNAL_MARK_MAX);
    trail->rest = trail->next.rest = trail->unused = IM_BUFFER(TRAIL_REST_MAX);
    trail->log = trail->next.log = IM_BUFFER(LOG_MAX);
    trail->runs[0] = trail->runs[1] = IM_BUFFER(RUNS_MAX);
    init_lock(trail);
    r = take_past(trail);
    if (r == 0)
        r = start_thread(trail);
    if (r < 0) {
        im_trail_free(trail);
        return im_fail_errno(err, -r, "cannot go on with what an earlier attempt has left");
    }
    trail->position = trail->past_position;
    source->trail = trail;
    *ret_trail = trail;
    return 0;
}

static void end_thread(struct im_trail *trail)
{
    if (!trail->started)
        return;
    (void)pthread_mutex_lock(&trail->lock);
    trail->stop = true;
    (void)pthread_cond_broadcast(&trail->changed);
    (void)pthread_mutex_unlock(&trail->lock);
    (void)pthread_join(trail->thread, NULL);
    trail->started = false;
}

/* A mark of all there is, now. */
static void last_mark(struct im_trail *trail)
{
    (void)pthread_mutex_lock(&trail->lock);
    while (trail->busy)
        (void)pthread_cond_wait(&trail->changed, &trail->lock);
    if (trail_has_news(trail) && !trail->full && !trail->failure.number)
        trail_hand_over(trail);
    (void)pthread_mutex_unlock(&trail->lock);
}

bool im_trail_may_go_on(const struct im_error *err)
{
    enum im_status status = err ? im_error_status(err) : IM_FAILED;

    return status == IM_TRANSIENT || status == IM_CANCELLED || status == IM_INPUT_MISSING ||
           (err && err->number == EEXIST);
}

int im_trail_stop(struct im_trail *trail, bool interrupted, struct im_error *err)
{
    if (interrupted && trail->started)
        last_mark(trail);
    end_thread(trail);
    trail->off = true;
    trail->writer = (struct im_trail_writer){ 0 };
    if (trail->failure.number && err)
        *err = trail->failure;
    return -trail->failure.number;
}

bool im_trail_has_marks(const struct im_trail *trail)
{
    return trail->journal.number > 0;
}

struct im_trail *im_trail_free(struct im_trail *trail)
{
    if (!trail)
        return NULL;
    end_thread(trail);
    if (trail->source->trail == trail)
        trail->source->trail = NULL;
    im_buffer_done(&trail->replayed);
    im_buffer_done(&trail->rest);
    im_buffer_done(&trail->log);
    im_buffer_done(&trail->unused);
    im_buffer_done(&trail->next.log);
    im_buffer_done(&trail->next.rest);
    im_buffer_done(&trail->runs[0]);
    im_buffer_done(&trail->runs[1]);
    (void)pthread_cond_destroy(&trail->changed);
    (void)pthread_mutex_destroy(&trail->lock);
    free(trail);
    return NULL;
}

void im_trail_writer(struct im_trail *trail, const struct im_trail_writer *writer)
{
    (void)pthread_mutex_lock(&trail->lock);
    while (trail->busy) /* with a mark from before the first byte of data */
        (void)pthread_cond_wait(&trail->changed, &trail->lock);
    trail->writer = *writer;
    (void)pthread_mutex_unlock(&trail->lock);
}

/* Threads that share a list of work: each piece once, turns in order, and how all of them end. */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "command.h"
#include "crew.h"

#define PIECES 50

/* What the threads tell. */
struct log {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned done[PIECES];
    unsigned prepared, in_turn, most;
    size_t turns;
    bool in_order, ticked;
    size_t failing; /* the piece that fails */
    size_t waiting; /* pieces that wait for their end */
    bool interrupts;
};

#define LOG ((struct log){ PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, .in_order = true })

static int run(struct log *log, unsigned threads, unsigned ahead, size_t count,
               int (*one)(void *, struct euca_hand *, size_t, struct im_error *),
               struct im_error *err)
{
    const struct euca_crew crew = {
        .threads = threads, .ahead = ahead, .count = count, .one = one, .arg = log
    };

    return euca_crew_run(&crew, err);
}

static int count_piece(void *arg, struct euca_hand *hand, size_t n, struct im_error *err)
{
    struct log *log = arg;

    pthread_mutex_lock(&log->lock);
    log->done[n]++;
    pthread_mutex_unlock(&log->lock);
    /* what a request leaves that healed */
    (void)im_fail(err, ECONNRESET, "for a moment");
    return hand->http ? 0 : -EINVAL;
}

static void each_piece_is_done_once(void **state)
{
    static const unsigned threads[] = { 1, 3, EUCA_CREW_MAX, 2 * EUCA_CREW_MAX };

    (void)state;
    for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
        struct log log = LOG;
        struct im_error err = { 0 };

        assert_int_equal(run(&log, threads[i], 0, PIECES, count_piece, &err), 0);
        for (size_t n = 0; n < PIECES; n++)
            assert_int_equal(log.done[n], 1);
        assert_int_equal(run(&log, threads[i], 0, 0, count_piece, &err), 0);
    }
}

static int take_turn(void *arg, struct euca_hand *hand, size_t n, struct im_error *err)
{
    struct log *log = arg;
    int r;

    pthread_mutex_lock(&log->lock);
    log->prepared++;
    pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->lock);
    r = euca_crew_turn(hand, n, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&log->lock);
    log->in_order &= log->turns++ == n;
    if (++log->in_turn > log->most)
        log->most = log->in_turn;
    /* of three threads, those that have no turn prepare meanwhile */
    while (log->prepared < (n + 3 < PIECES ? n + 3 : PIECES))
        pthread_cond_wait(&log->changed, &log->lock);
    log->in_turn--;
    pthread_mutex_unlock(&log->lock);
    return 0;
}

static void turns_are_in_order(void **state)
{
    struct log one = LOG, two = LOG;
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(run(&one, 1, 2, PIECES, take_turn, &err), 0);
    assert_true(one.in_order);
    assert_int_equal(one.turns, PIECES);
    assert_int_equal(one.most, 1);
    assert_int_equal(run(&two, 2, 1, PIECES, take_turn, &err), 0);
    assert_int_equal(two.turns, PIECES);
    assert_in_range(two.most, 1, 2);
}

/* Three that go on until they are told to stop, and the one that ends it, when they are there. */
static int wait_or_fail(void *arg, struct euca_hand *hand, size_t n, struct im_error *err)
{
    struct log *log = arg;

    pthread_mutex_lock(&log->lock);
    if (n == log->failing) {
        while (log->waiting < 3)
            pthread_cond_wait(&log->changed, &log->lock);
        pthread_mutex_unlock(&log->lock);
        if (!log->interrupts)
            return im_fail(err, EIO, "piece %zu fails", n);
        __atomic_store_n(&euca_interrupted, true, __ATOMIC_RELAXED);
    } else {
        log->waiting++;
        pthread_cond_signal(&log->changed);
        pthread_mutex_unlock(&log->lock);
    }
    while (!__atomic_load_n(hand->stop, __ATOMIC_RELAXED))
        ;
    return im_fail(err, ECANCELED, "piece %zu is stopped", n);
}

static void the_first_failure_stops_all(void **state)
{
    struct log log = LOG;
    struct im_error err = { 0 };

    (void)state;
    log.failing = 2;
    assert_int_equal(run(&log, 4, 0, PIECES, wait_or_fail, &err), -EIO);
    assert_string_equal(err.message, "piece 2 fails");
    assert_int_equal(log.waiting, 3);
}

/* The one that fails has its turn; the others wait for theirs. */
static int fail_in_turn(void *arg, struct euca_hand *hand, size_t n, struct im_error *err)
{
    struct log *log = arg;
    int r;

    pthread_mutex_lock(&log->lock);
    log->waiting += n > 0;
    pthread_cond_signal(&log->changed);
    pthread_mutex_unlock(&log->lock);
    r = euca_crew_turn(hand, n, err);
    return r < 0 ? r : wait_or_fail(arg, hand, n, err);
}

static void who_waits_for_a_turn_is_stopped(void **state)
{
    (void)state;
    for (int interrupts = 0; interrupts < 2; interrupts++) {
        struct log log = LOG;
        struct im_error err = { 0 };

        log.interrupts = interrupts;
        assert_int_equal(run(&log, 1, 3, PIECES, fail_in_turn, &err),
                         interrupts ? -ECANCELED : -EIO);
        assert_string_equal(err.message, interrupts ? "interrupted" : "piece 0 fails");
        assert_int_equal(log.waiting, 3);
        euca_interrupted = false;
    }
}

/* A tick that lasts until all is done, and pieces that wait for it to begin. */
static void slow_tick(void *arg)
{
    struct log *log = arg;

    pthread_mutex_lock(&log->lock);
    log->ticked = true;
    pthread_cond_broadcast(&log->changed);
    while (log->turns < PIECES)
        pthread_cond_wait(&log->changed, &log->lock);
    pthread_mutex_unlock(&log->lock);
}

static int wait_for_tick(void *arg, struct euca_hand *hand, size_t n, struct im_error *err)
{
    struct log *log = arg;

    (void)hand, (void)n, (void)err;
    pthread_mutex_lock(&log->lock);
    while (!log->ticked)
        pthread_cond_wait(&log->changed, &log->lock);
    log->turns++;
    pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->lock);
    return 0;
}

static void who_shows_progress_stops_nobody(void **state)
{
    struct log log = LOG;
    struct im_error err = { 0 };
    const struct euca_crew crew = {
        .threads = 2, .count = PIECES, .one = wait_for_tick, .tick = slow_tick, .arg = &log
    };

    (void)state;
    assert_int_equal(euca_crew_run(&crew, &err), 0);
    assert_int_equal(log.turns, PIECES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_piece_is_done_once),
        cmocka_unit_test(turns_are_in_order),
        cmocka_unit_test(the_first_failure_stops_all),
        cmocka_unit_test(who_waits_for_a_turn_is_stopped),
        cmocka_unit_test(who_shows_progress_stops_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* crew - threads that take one piece of work after the other, until there is none or one fails. */

#include <config.h>

#include "crew.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "command.h"

#define TICK_MS 100

struct euca_crew_state {
    const struct euca_crew *crew;
    volatile bool stop; /* ends every exchange: interrupt or failure */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    pthread_cond_t turn;   /* another may have it, or none any more */
    size_t next;           /* first piece that nobody has taken */
    size_t begun;          /* pieces that have or had their turn: those below */
    unsigned in_turn;      /* threads that have it */
    unsigned running;      /* threads at work */
    struct im_error first; /* the failure that stopped the others; number 0 without */
};

static bool is_set(const volatile bool *flag)
{
    return __atomic_load_n(flag, __ATOMIC_RELAXED);
}

/* Lock held. */
static void stop(struct euca_crew_state *state)
{
    __atomic_store_n(&state->stop, true, __ATOMIC_RELAXED);
    (void)pthread_cond_broadcast(&state->turn);
}

/* ---- a thread ---- */

int euca_crew_turn(struct euca_hand *hand, size_t n, struct im_error *err)
{
    struct euca_crew_state *state = hand->state;

    pthread_mutex_lock(&state->lock);
    while (!is_set(&state->stop) && (state->begun != n || state->in_turn >= state->crew->threads))
        (void)pthread_cond_wait(&state->turn, &state->lock);
    hand->has_turn = !is_set(&state->stop);
    if (hand->has_turn) {
        state->begun++;
        state->in_turn++;
        (void)pthread_cond_broadcast(&state->turn);
    }
    pthread_mutex_unlock(&state->lock);
    return hand->has_turn ? 0 : im_fail(err, ECANCELED, "interrupted");
}

/* The next piece for this thread, whose turn for the one before is over. */
static bool take(struct euca_hand *hand, size_t *ret_n)
{
    struct euca_crew_state *state = hand->state;
    bool taken;

    pthread_mutex_lock(&state->lock);
    if (hand->has_turn) {
        state->in_turn--;
        (void)pthread_cond_broadcast(&state->turn);
    }
    hand->has_turn = false;
    taken = !is_set(&state->stop) && state->next < state->crew->count;
    if (taken)
        *ret_n = state->next++;
    pthread_mutex_unlock(&state->lock);
    return taken;
}

/* The thread is done; its failure stops the others, whose own then are only echoes. */
static void leave(struct euca_crew_state *state, int r, const struct im_error *err)
{
    pthread_mutex_lock(&state->lock);
    state->running--;
    if (r < 0 && !state->first.number)
        state->first = *err;
    if (r < 0)
        stop(state);
    (void)pthread_cond_signal(&state->ended);
    pthread_mutex_unlock(&state->lock);
}

static void *work(void *arg)
{
    struct euca_crew_state *state = arg;
    struct euca_hand hand = { .http = im_http_new(), .stop = &state->stop, .state = state };
    struct im_error err = { 0 };
    size_t n;
    int r = hand.http ? 0 : im_fail_memory(&err);

    while (r == 0 && take(&hand, &n))
        r = state->crew->one(state->crew->arg, &hand, n, &err);
    im_http_free(hand.http);
    leave(state, r, &err);
    return NULL;
}

/* ---- all of them ---- */

/* Returns early when a thread ends.  Lock held. */
static void wait_a_tick(struct euca_crew_state *state)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&state->ended, &state->lock, &until);
}

/* Until all threads have left: pass the interrupt on, and let the caller show something, without
 * the lock, for a terminal may be slow. */
static void watch(struct euca_crew_state *state)
{
    pthread_mutex_lock(&state->lock);
    while (state->running > 0) {
        wait_a_tick(state);
        if (is_set(&euca_interrupted))
            stop(state);
        if (!state->crew->tick)
            continue;
        pthread_mutex_unlock(&state->lock);
        state->crew->tick(state->crew->arg);
        pthread_mutex_lock(&state->lock);
    }
    pthread_mutex_unlock(&state->lock);
}

static unsigned start(struct euca_crew_state *state, pthread_t *thread)
{
    unsigned wanted = state->crew->threads + state->crew->ahead, started = 0;

    pthread_mutex_lock(&state->lock); /* those that have started wait until all are counted */
    while (started < wanted && started < EUCA_CREW_MAX && started < state->crew->count &&
           pthread_create(&thread[started], NULL, work, state) == 0)
        started++;
    state->running = started;
    pthread_mutex_unlock(&state->lock);
    return started;
}

static void init(struct euca_crew_state *state)
{
    pthread_condattr_t attributes;

    (void)pthread_mutex_init(&state->lock, NULL);
    (void)pthread_cond_init(&state->turn, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&state->ended, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

static void done(struct euca_crew_state *state)
{
    (void)pthread_cond_destroy(&state->ended);
    (void)pthread_cond_destroy(&state->turn);
    (void)pthread_mutex_destroy(&state->lock);
}

int euca_crew_run(const struct euca_crew *crew, struct im_error *err)
{
    struct euca_crew_state state = { .crew = crew };
    pthread_t thread[EUCA_CREW_MAX];
    unsigned started;

    init(&state);
    started = start(&state, thread);
    watch(&state);
    for (unsigned i = 0; i < started; i++)
        (void)pthread_join(thread[i], NULL);
    done(&state);
    if (is_set(&euca_interrupted))
        return im_fail(err, ECANCELED, "interrupted");
    if (state.first.number) {
        *err = state.first;
        return -err->number;
    }
    return started == 0 && crew->count > 0 ? im_fail(err, EAGAIN, "cannot start a thread") : 0;
}

/* pool - segments in memory: who waits, what is fetched next, what makes room.
 *
 * One mutex guards the slots and is never held while filling, proving or copying.  A slot's buffer
 * belongs to the thread that fills or proves it while FILLING or PROVING, to those who pinned it
 * while READY, and to nobody while HERE, when it waits for others to be proven with. */

#include <config.h>

#include "source/pool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "core/cancel.h"

/* One for each segment of a group, so that a group comes together; each has a connection. */
#define THREADS IM_POOL_GROUP

/* Segments wanted beyond the one being read.  With it they leave one slot for another place (a
 * footer, a table) that is looked at now and then. */
#define AHEAD (IM_POOL_SLOTS - 2)

/* How often a waiting reader looks at the cancel flag. */
#define LOOK_MS 100

enum state { FREE, WANTED, FILLING, HERE, PROVING, READY, FAILED };

struct slot {
    enum state state;
    size_t segment;
    uint8_t *buf;
    size_t len;
    unsigned pins;
    bool urgent;      /* a reader waits for it */
    unsigned damaged; /* how often it was found so */
    uint64_t tick;    /* when it was last wanted */
    uint64_t used;    /* bytes given to readers */
    struct im_error err;
};

struct im_pool {
    struct im_pool_owner owner;
    size_t segments, slot_size;
    int file; /* the memory of all slots, one after the other … */
    uint8_t *memory;
    size_t stride; /* … in whole pages */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread[THREADS];
    size_t thread_count;
    bool stop;
    unsigned waiting; /* readers */
    uint64_t tick;
    struct slot slot[IM_POOL_SLOTS];
};

static struct slot *find(struct im_pool *pool, size_t segment)
{
    for (size_t i = 0; i < IM_POOL_SLOTS; i++)
        if (pool->slot[i].state != FREE && pool->slot[i].segment == segment)
            return &pool->slot[i];
    return NULL;
}

/* ---- the threads ---- */

/* What to fill next: what a reader waits for, else what comes first. */
static struct slot *next_wanted(struct im_pool *pool)
{
    struct slot *best = NULL;

    for (size_t i = 0; i < IM_POOL_SLOTS; i++) {
        struct slot *slot = &pool->slot[i];

        if (slot->state != WANTED)
            continue;
        if (!best || slot->urgent > best->urgent ||
            (slot->urgent == best->urgent && slot->segment < best->segment))
            best = slot;
    }
    return best;
}

/* Called and left with the lock held. */
static void fill(struct im_pool *pool, struct slot *slot, struct im_http *http)
{
    const struct im_pool_owner *owner = &pool->owner;
    size_t segment = slot->segment;
    int r = -ENOMEM;

    slot->state = FILLING;
    slot->buf = pool->memory + (size_t)(slot - pool->slot) * pool->stride;
    (void)pthread_mutex_unlock(&pool->lock);
    if (http)
        r = owner->fill(owner->arg, http, segment, slot->damaged, slot->buf, &slot->len,
                        &slot->err);
    else
        (void)im_fail(&slot->err, ENOMEM, "out of memory");
    (void)pthread_mutex_lock(&pool->lock);
    slot->state = r < 0 ? FAILED : r > 0 ? HERE : READY;
    (void)pthread_cond_broadcast(&pool->changed);
    if (r != 0)
        return;
    (void)pthread_mutex_unlock(&pool->lock);
    owner->filled(owner->arg, segment);
    (void)pthread_mutex_lock(&pool->lock);
}

/* The segments to prove now, in ret_group: as many as are proven together; fewer only when a reader
 * waits for one of them, or has nothing proven left before it and no more are on their way. */
static size_t next_group(struct im_pool *pool, struct slot *ret_group[IM_POOL_GROUP])
{
    bool due = true;
    size_t count = 0;

    for (size_t i = 0; i < IM_POOL_SLOTS; i++) {
        struct slot *slot = &pool->slot[i];

        if (slot->state == FILLING || (slot->state == READY && slot->used == 0))
            due = false;
    }
    for (size_t i = 0; i < IM_POOL_SLOTS && count < IM_POOL_GROUP; i++) {
        struct slot *slot = &pool->slot[i];

        if (slot->state != HERE)
            continue;
        due = due || slot->urgent;
        ret_group[count++] = slot;
    }
    return due || count == IM_POOL_GROUP ? count : 0;
}

/* Called and left with the lock held. */
static void prove(struct im_pool *pool, struct slot *const group[], size_t count)
{
    struct im_pool_proof proof[IM_POOL_GROUP];

    for (size_t i = 0; i < count; i++) {
        struct slot *slot = group[i];

        slot->state = PROVING;
        proof[i] = (struct im_pool_proof){ .segment = slot->segment,
                                           .buf = slot->buf,
                                           .len = slot->len,
                                           .damaged = slot->damaged,
                                           .err = &slot->err };
    }
    (void)pthread_mutex_unlock(&pool->lock);
    pool->owner.prove(pool->owner.arg, proof, count);
    (void)pthread_mutex_lock(&pool->lock);
    for (size_t i = 0; i < count; i++) {
        group[i]->state = proof[i].good ? READY : WANTED;
        group[i]->damaged += !proof[i].good;
    }
    (void)pthread_cond_broadcast(&pool->changed);
}

static void *thread_main(void *arg)
{
    struct im_pool *pool = arg;
    struct im_http *http = im_http_new();

    (void)pthread_mutex_lock(&pool->lock);
    while (!pool->stop) {
        struct slot *group[IM_POOL_GROUP];
        size_t count = next_group(pool, group);
        struct slot *slot = next_wanted(pool);

        if (count > 0)
            prove(pool, group, count);
        else if (slot)
            fill(pool, slot, http);
        else
            (void)pthread_cond_wait(&pool->changed, &pool->lock);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    im_http_free(http);
    return NULL;
}

/* ---- what makes room ---- */

/* True when `slot` is a better one to reuse than `best`. */
static bool is_staler(const struct slot *slot, const struct slot *best)
{
    bool used_up = slot->used >= slot->len, best_used_up = best && best->used >= best->len;

    return !best || used_up > best_used_up || (used_up == best_used_up && slot->tick < best->tick);
}

/* A slot for `segment`, to be filled: a free one, else the one least recently used outside
 * low…high, those read to their end first.  A reader that waits may also take the place of a
 * read-ahead that has not begun.  NULL when all are busy. */
static struct slot *want(struct im_pool *pool, size_t segment, size_t low, size_t high, bool urgent)
{
    struct slot *best = NULL, *ahead = NULL;

    for (size_t i = 0; i < IM_POOL_SLOTS; i++) {
        struct slot *slot = &pool->slot[i];
        bool kept = slot->segment >= low && slot->segment <= high;

        if (slot->state == FREE || (slot->state == FAILED && !kept)) {
            best = slot;
            break;
        }
        if (slot->state == WANTED && !slot->urgent)
            ahead = slot;
        if (slot->state == READY && slot->pins == 0 && !kept && is_staler(slot, best))
            best = slot;
    }
    if (!best && urgent)
        best = ahead;
    if (!best)
        return NULL;
    best->state = WANTED;
    best->segment = segment;
    best->urgent = urgent;
    best->damaged = 0;
    best->used = 0;
    best->tick = ++pool->tick;
    (void)pthread_cond_broadcast(&pool->changed);
    return best;
}

/* Ask for the segments a reader of `segment` will want next. */
static void look_ahead(struct im_pool *pool, size_t segment)
{
    size_t next = segment + 1;

    for (int asked = 0; asked < AHEAD && next < pool->segments; next++) {
        if (!pool->owner.is_wanted(pool->owner.arg, next))
            continue;
        if (!find(pool, next) && !want(pool, next, segment, next, false))
            return;
        asked++;
    }
}

/* Entering a segment from the one before it is going forwards, too. */
static bool enters(struct im_pool *pool, size_t segment, const struct slot *slot)
{
    return segment > 0 && (!slot || slot->used == 0) && find(pool, segment - 1);
}

/* ---- readers ---- */

static void wait_for_change(struct im_pool *pool)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    (void)pthread_cond_timedwait(&pool->changed, &pool->lock, &until);
}

/* The slot of `segment` once it is READY, or NULL with the reason.  Lock held. */
static struct slot *wait_ready(struct im_pool *pool, size_t segment, bool forwards,
                               struct im_error *err)
{
    for (;;) {
        struct slot *slot = find(pool, segment);

        if (im_cancel_check(err) < 0)
            return NULL;
        forwards = forwards || enters(pool, segment, slot);
        if (!slot)
            slot = want(pool, segment, segment, segment, true);
        if (forwards)
            look_ahead(pool, segment);
        if (slot && slot->state == READY)
            return slot;
        if (slot && slot->state == FAILED) {
            slot->state = FREE;
            *err = slot->err;
            return NULL;
        }
        if (slot && !slot->urgent) {
            slot->urgent = true;
            (void)pthread_cond_broadcast(&pool->changed);
        }
        pool->waiting++;
        wait_for_change(pool);
        pool->waiting--;
    }
}

static void ask_for(struct im_pool *pool, size_t segment, struct slot *slot)
{
    bool forwards = enters(pool, segment, slot);

    if (!slot)
        slot = want(pool, segment, segment, segment, true);
    if (forwards)
        look_ahead(pool, segment);
    if (slot && !slot->urgent) {
        slot->urgent = true;
        (void)pthread_cond_broadcast(&pool->changed);
    }
}

bool im_pool_is_here(struct im_pool *pool, size_t segment, bool ask)
{
    struct slot *slot;
    bool here;

    (void)pthread_mutex_lock(&pool->lock);
    slot = find(pool, segment);
    here = slot && (slot->state == READY || slot->state == FAILED);
    if (!here && ask)
        ask_for(pool, segment, slot);
    (void)pthread_mutex_unlock(&pool->lock);
    return here;
}

static void pin(struct im_pool *pool, struct slot *slot, const uint8_t **ret_buf, size_t *ret_len)
{
    slot->tick = ++pool->tick;
    slot->pins++;
    *ret_buf = slot->buf;
    *ret_len = slot->len;
}

int im_pool_acquire(struct im_pool *pool, size_t segment, bool forwards, const uint8_t **ret_buf,
                    size_t *ret_len, struct im_error *err)
{
    struct im_error why = { 0 };
    struct slot *slot;

    (void)pthread_mutex_lock(&pool->lock);
    slot = wait_ready(pool, segment, forwards, &why);
    if (slot)
        pin(pool, slot, ret_buf, ret_len);
    (void)pthread_mutex_unlock(&pool->lock);
    if (!slot && err)
        *err = why;
    return slot ? 0 : -why.number;
}

bool im_pool_peek(struct im_pool *pool, size_t segment, const uint8_t **ret_buf, size_t *ret_len)
{
    struct slot *slot;
    bool here;

    (void)pthread_mutex_lock(&pool->lock);
    slot = find(pool, segment);
    here = slot && slot->state == READY;
    if (here)
        pin(pool, slot, ret_buf, ret_len);
    (void)pthread_mutex_unlock(&pool->lock);
    return here;
}

static void note_used(struct im_pool *pool, size_t segment, size_t used, unsigned unpin)
{
    struct slot *slot;

    (void)pthread_mutex_lock(&pool->lock);
    slot = find(pool, segment);
    assert(slot); /* it is pinned */
    slot->pins -= unpin;
    /* a reader waits for a place, perhaps this one; or the last proven segment is begun */
    if (pool->waiting > 0 || slot->used == 0)
        (void)pthread_cond_broadcast(&pool->changed);
    slot->used += used;
    (void)pthread_mutex_unlock(&pool->lock);
}

void im_pool_release(struct im_pool *pool, size_t segment, size_t used)
{
    note_used(pool, segment, used, 1);
}

void im_pool_begin(struct im_pool *pool, size_t segment)
{
    note_used(pool, segment, 1, 0);
}

uint64_t im_pool_memory(struct im_pool *pool)
{
    uint64_t bytes = 0;

    (void)pthread_mutex_lock(&pool->lock);
    for (size_t i = 0; i < IM_POOL_SLOTS; i++)
        bytes += pool->slot[i].buf ? pool->slot_size : 0;
    (void)pthread_mutex_unlock(&pool->lock);
    return bytes;
}

int im_pool_file(const struct im_pool *pool, uint64_t *ret_len)
{
    *ret_len = IM_POOL_SLOTS * (uint64_t)pool->stride;
    return pool->file;
}

uint64_t im_pool_place(const struct im_pool *pool, const uint8_t *buf)
{
    return (uint64_t)(buf - pool->memory);
}

/* ---- from birth to death ---- */

/* Whoever reads it relies on its size.  And who is given it cannot write to it, however it is
 * opened again, since it is mapped here by now (Linux before 5.1 does not know that). */
static int seal(int file)
{
    const int size = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    int r = fcntl(file, F_ADD_SEALS, size | F_SEAL_FUTURE_WRITE);

    return r < 0 && errno == EINVAL ? fcntl(file, F_ADD_SEALS, size) : r;
}

/* Room for all slots, which takes memory only as it is used. */
static int make_memory(struct im_pool *pool, struct im_error *err)
{
    size_t size = IM_POOL_SLOTS * pool->stride;
    void *memory = MAP_FAILED;

    if (size == 0)
        return 0;
    pool->file = memfd_create("segments", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (pool->file >= 0 && ftruncate(pool->file, (off_t)size) == 0)
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, pool->file, 0);
    if (memory != MAP_FAILED)
        pool->memory = memory;
    return memory != MAP_FAILED && seal(pool->file) == 0
               ? 0
               : im_fail_errno(err, errno, "cannot have %zu bytes of memory", size);
}

static void start_threads(struct im_pool *pool)
{
    size_t wanted = pool->segments < THREADS ? pool->segments : THREADS;
    sigset_t all, before;

    /* signals are for the main thread, whose system calls they must interrupt */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->thread_count < wanted &&
           pthread_create(&pool->thread[pool->thread_count], NULL, thread_main, pool) == 0)
        pool->thread_count++;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int im_pool_new(const struct im_pool_owner *owner, size_t segments, size_t slot_size,
                struct im_pool **ret_pool, struct im_error *err)
{
    struct im_pool *pool = calloc(1, sizeof(*pool));
    pthread_condattr_t attributes;
    int r;

    if (!pool)
        return im_fail(err, ENOMEM, "out of memory");
    pool->owner = *owner;
    pool->segments = segments;
    pool->slot_size = slot_size;
    pool->stride = (size_t)im_round_up(slot_size, 4096);
    pool->file = -1;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&pool->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    r = segments > 0 ? make_memory(pool, err) : 0;
    if (r == 0)
        start_threads(pool);
    if (r == 0 && segments > 0 && pool->thread_count == 0)
        r = im_fail(err, EAGAIN, "cannot start a thread");
    if (r < 0)
        im_pool_free(pool);
    else
        *ret_pool = pool;
    return r;
}

struct im_pool *im_pool_free(struct im_pool *pool)
{
    if (!pool)
        return NULL;
    (void)pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    (void)pthread_cond_broadcast(&pool->changed);
    (void)pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < pool->thread_count; i++)
        (void)pthread_join(pool->thread[i], NULL);
    if (pool->memory)
        (void)munmap(pool->memory, IM_POOL_SLOTS * pool->stride);
    im_cleanup_close(&pool->file);
    (void)pthread_cond_destroy(&pool->changed);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool);
    return NULL;
}

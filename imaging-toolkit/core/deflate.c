/* deflate - a pool of threads that compress grains.
 *
 * A thread that has compressed a batch waits for its turn and then gives it to the output itself,
 * so that the order is the disk's and nothing is copied once more. */

#include <config.h>

#include "core/deflate.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/compress.h"
#include "core/inflate.h"

/* The smallest grain is a page. */
#define GRAINS_MAX (IM_DEFLATE_BATCH / 4096)

struct batch {
    struct batch *next;
    uint64_t turn;
    uint64_t offset;
    size_t len;
    uint8_t *in, *out;
    size_t packed[GRAINS_MAX]; /* bytes of each grain's stream, 0: the grain is all zeros */
};

struct im_deflater {
    im_deflated_fn output;
    void *arg;
    enum im_level level;
    size_t grain;
    size_t room; /* for one stream in a batch's output */
    pthread_mutex_t lock;
    pthread_cond_t work;  /* something is queued, or the end has come */
    pthread_cond_t space; /* a batch became free */
    pthread_cond_t turns; /* the next turn began */
    struct batch *free, *first, *last;
    struct batch *open;               /* being filled by the caller; no lock needed */
    struct im_compressor *compressor; /* the caller's */
    uint64_t queued;                  /* turns given out */
    uint64_t turn;                    /* whose turn it is */
    bool stop;
    struct im_error failure; /* the first one; number 0 while there is none */
    unsigned threads;
    pthread_t thread[IM_INFLATE_JOBS_MAX];
    struct batch batches[2 * IM_INFLATE_JOBS_MAX + 1];
};

static bool is_zero(const uint8_t *p, size_t len)
{
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

static int compress_batch(const struct im_deflater *deflater, struct im_compressor *compressor,
                          struct batch *batch, struct im_error *err)
{
    if (!compressor)
        return im_fail(err, ENOMEM, "out of memory");
    for (size_t i = 0; i * deflater->grain < batch->len; i++) {
        const uint8_t *grain = batch->in + i * deflater->grain;

        batch->packed[i] = 0;
        if (is_zero(grain, deflater->grain))
            continue;
        batch->packed[i] = im_compress(compressor, grain, deflater->grain,
                                       batch->out + i * deflater->room, deflater->room);
        if (batch->packed[i] == 0)
            return im_fail(err, EIO, "a grain of %zu bytes does not fit into %zu when compressed",
                           deflater->grain, deflater->room);
    }
    return 0;
}

static int give_output(const struct im_deflater *deflater, const struct batch *batch,
                       struct im_error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i * deflater->grain < batch->len; i++)
        if (batch->packed[i])
            r = deflater->output(deflater->arg, batch->out + i * deflater->room, batch->packed[i],
                                 batch->offset + i * deflater->grain, err);
    return r;
}

/* The first queued batch, or NULL; the lock is held. */
static struct batch *take(struct im_deflater *deflater)
{
    struct batch *batch = deflater->first;

    if (batch)
        deflater->first = batch->next;
    return batch;
}

/* Compress, wait for the turn, give; the lock is held before and after, but not meanwhile. */
static void do_batch(struct im_deflater *deflater, struct im_compressor *compressor,
                     struct batch *batch)
{
    struct im_error err = { 0 };
    bool skip = deflater->failure.number != 0;

    (void)pthread_mutex_unlock(&deflater->lock);
    if (!skip)
        (void)compress_batch(deflater, compressor, batch, &err);
    (void)pthread_mutex_lock(&deflater->lock);
    while (deflater->turn != batch->turn)
        (void)pthread_cond_wait(&deflater->turns, &deflater->lock);
    skip |= deflater->failure.number != 0 || deflater->stop;
    (void)pthread_mutex_unlock(&deflater->lock);
    if (!skip && !err.number)
        (void)give_output(deflater, batch, &err);
    (void)pthread_mutex_lock(&deflater->lock);
    if (err.number && !deflater->failure.number)
        deflater->failure = err;
    deflater->turn++;
    (void)pthread_cond_broadcast(&deflater->turns);
    batch->next = deflater->free;
    deflater->free = batch;
    (void)pthread_cond_broadcast(&deflater->space);
}

static void *run(void *arg)
{
    struct im_deflater *deflater = arg;
    struct im_compressor *compressor = im_compressor_new(deflater->level);

    (void)pthread_mutex_lock(&deflater->lock);
    while (!deflater->stop) {
        struct batch *batch = take(deflater);

        if (batch)
            do_batch(deflater, compressor, batch);
        else
            (void)pthread_cond_wait(&deflater->work, &deflater->lock);
    }
    (void)pthread_mutex_unlock(&deflater->lock);
    im_compressor_free(compressor);
    return NULL;
}

/* Whoever would only wait for the pool does a batch: of N threads one is the caller's. */
static void help(struct im_deflater *deflater, pthread_cond_t *news)
{
    struct batch *batch = take(deflater);

    if (batch)
        do_batch(deflater, deflater->compressor, batch);
    else
        (void)pthread_cond_wait(news, &deflater->lock);
}

static bool make_batches(struct im_deflater *deflater, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct batch *batch = &deflater->batches[i];

        batch->in = malloc(IM_DEFLATE_BATCH);
        batch->out = malloc(IM_DEFLATE_BATCH / deflater->grain * deflater->room);
        if (!batch->in || !batch->out)
            return false;
        batch->next = deflater->free;
        deflater->free = batch;
    }
    return true;
}

struct im_deflater *im_deflater_new(unsigned jobs, enum im_level level, size_t grain,
                                    im_deflated_fn output, void *arg)
{
    struct im_deflater *deflater = calloc(1, sizeof(*deflater));
    sigset_t all, old;

    if (!deflater)
        return NULL;
    deflater->output = output;
    deflater->arg = arg;
    deflater->level = level;
    deflater->grain = grain;
    deflater->room = im_compress_room(grain);
    (void)pthread_mutex_init(&deflater->lock, NULL);
    (void)pthread_cond_init(&deflater->work, NULL);
    (void)pthread_cond_init(&deflater->space, NULL);
    (void)pthread_cond_init(&deflater->turns, NULL);
    deflater->compressor = im_compressor_new(level);
    if (!deflater->compressor || !make_batches(deflater, 2 * jobs + 1))
        return im_deflater_free(deflater);
    (void)sigfillset(&all); /* signals are the main thread's */
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    while (deflater->threads + 1 < jobs &&
           pthread_create(&deflater->thread[deflater->threads], NULL, run, deflater) == 0)
        deflater->threads++;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return deflater;
}

static int failure(const struct im_deflater *deflater, struct im_error *err)
{
    if (deflater->failure.number && err)
        *err = deflater->failure;
    return -deflater->failure.number;
}

/* Queue the open batch, if there is one; the lock is held. */
static void submit(struct im_deflater *deflater)
{
    struct batch *batch = deflater->open;

    if (!batch)
        return;
    deflater->open = NULL;
    batch->next = NULL;
    batch->turn = deflater->queued++;
    if (deflater->first)
        deflater->last->next = batch;
    else
        deflater->first = batch;
    deflater->last = batch;
    (void)pthread_cond_signal(&deflater->work);
}

int im_deflater_reserve(struct im_deflater *deflater, size_t len, uint64_t offset, void **ret_buf,
                        struct im_error *err)
{
    struct batch *batch;
    int r;

    (void)pthread_mutex_lock(&deflater->lock);
    submit(deflater);
    while (!deflater->free)
        help(deflater, &deflater->space);
    r = failure(deflater, err);
    if (r == 0) {
        batch = deflater->open = deflater->free;
        deflater->free = batch->next;
        batch->offset = offset;
        batch->len = len;
        *ret_buf = batch->in;
    }
    (void)pthread_mutex_unlock(&deflater->lock);
    return r;
}

int im_deflater_drain(struct im_deflater *deflater, struct im_error *err)
{
    int r;

    (void)pthread_mutex_lock(&deflater->lock);
    submit(deflater);
    while (deflater->turn < deflater->queued)
        help(deflater, &deflater->turns);
    r = failure(deflater, err);
    (void)pthread_mutex_unlock(&deflater->lock);
    return r;
}

struct im_deflater *im_deflater_free(struct im_deflater *deflater)
{
    if (!deflater)
        return NULL;
    (void)pthread_mutex_lock(&deflater->lock);
    deflater->stop = true;
    (void)pthread_cond_broadcast(&deflater->work);
    (void)pthread_mutex_unlock(&deflater->lock);
    for (unsigned i = 0; i < deflater->threads; i++)
        (void)pthread_join(deflater->thread[i], NULL);
    im_compressor_free(deflater->compressor);
    for (size_t i = 0; i < sizeof(deflater->batches) / sizeof(deflater->batches[0]); i++) {
        free(deflater->batches[i].in);
        free(deflater->batches[i].out);
    }
    (void)pthread_cond_destroy(&deflater->turns);
    (void)pthread_cond_destroy(&deflater->space);
    (void)pthread_cond_destroy(&deflater->work);
    (void)pthread_mutex_destroy(&deflater->lock);
    free(deflater);
    return NULL;
}

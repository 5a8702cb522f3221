/* inflate - a pool of threads that inflate compressed grains. */

#include <config.h>

#include "core/inflate.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>

/* A batch is full at so many grains or bytes, in or out; a larger grain is a batch alone. */
#define BATCH_GRAINS 8
#define BATCH_BYTES  IM_INFLATE_PLAIN_MAX

struct grain {
    size_t in, in_len;   /* in the batch's input */
    size_t out, out_len; /* in its output */
    uint64_t offset;     /* of the disk */
    uint64_t origin;     /* of the source */
    bool plain;          /* not compressed: already in the output */
    bool tag;
};

struct batch {
    struct batch *next;
    unsigned count;
    bool busy;           /* queued or in work */
    uint64_t generation; /* see im_inflater_fence */
    struct grain grain[BATCH_GRAINS];
    uint8_t *in, *out;
    size_t in_len, out_len, in_size, out_size;
};

struct im_inflater {
    im_inflated_fn output;
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t work;  /* something is queued, or the end has come */
    pthread_cond_t space; /* a batch became free */
    struct batch *free, *first, *last;
    struct batch *open;   /* being filled by the caller; no lock needed */
    struct im_zlib *zlib; /* the caller's */
    unsigned busy;        /* batches queued or in work */
    uint64_t generation;
    bool stop;
    struct im_error failure; /* the first one; number 0 while there is none */
    unsigned threads;
    pthread_t thread[IM_INFLATE_JOBS_MAX];
    struct batch batches[2 * IM_INFLATE_JOBS_MAX + 1];
};

struct im_zlib *im_zlib_new(void)
{
    return (struct im_zlib *)libdeflate_alloc_decompressor();
}

uint32_t im_zlib_crc32(uint32_t crc, const void *data, size_t len)
{
    return libdeflate_crc32(crc, data, len);
}

struct im_zlib *im_zlib_free(struct im_zlib *zlib)
{
    libdeflate_free_decompressor((struct libdeflate_decompressor *)zlib);
    return NULL;
}

int im_zlib_inflate(struct im_zlib *zlib, const void *in, size_t in_len, void *out, size_t room,
                    size_t *ret_len)
{
    enum libdeflate_result result = libdeflate_zlib_decompress(
        (struct libdeflate_decompressor *)zlib, in, in_len, out, room, ret_len);

    if (result == LIBDEFLATE_SUCCESS)
        return 0;
    return result == LIBDEFLATE_INSUFFICIENT_SPACE ? -EFBIG : -EBADMSG;
}

static int inflate_grain(struct im_zlib *zlib, const struct batch *batch, const struct grain *grain,
                         struct im_error *err)
{
    size_t len = 0;
    int r = im_zlib_inflate(zlib, batch->in + grain->in, grain->in_len, batch->out + grain->out,
                            grain->out_len, &len);

    if (r == 0 && len == grain->out_len)
        return 0;
    if (r != -EBADMSG)
        return im_fail_code(err, EBADMSG, "GrainLength",
                            "Uncompressed data has an invalid length: the grain at byte %" PRIu64
                            " of the file inflates to %s%zu bytes where %zu are needed",
                            grain->origin, r < 0 ? "more than " : "", r < 0 ? grain->out_len : len,
                            grain->out_len);
    return im_fail_code(err, EBADMSG, "DamagedGrain",
                        "the grain at byte %" PRIu64
                        " of the file (%zu bytes, for disk offset %" PRIu64
                        ") is not a whole zlib stream with a right checksum",
                        grain->origin, grain->in_len, grain->offset);
}

/* Hand on what was inflated, neighbours at once. */
static int give_output(struct im_inflater *inflater, const struct batch *batch,
                       struct im_error *err)
{
    unsigned i = 0;

    while (i < batch->count) {
        const struct grain *first = &batch->grain[i];
        size_t len = first->out_len;
        int r;

        while (++i < batch->count && batch->grain[i].offset == first->offset + len &&
               batch->grain[i].tag == first->tag)
            len += batch->grain[i].out_len;
        r = inflater->output(inflater->arg, batch->out + first->out, len, first->offset, first->tag,
                             batch->generation, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int do_batch(struct im_inflater *inflater, struct im_zlib *zlib, const struct batch *batch,
                    struct im_error *err)
{
    for (unsigned i = 0; i < batch->count; i++) {
        const struct grain *grain = &batch->grain[i];
        int r = grain->plain ? 0 : inflate_grain(zlib, batch, grain, err);

        if (r < 0)
            return r;
    }
    return give_output(inflater, batch, err);
}

/* The first queued batch, or NULL; the lock is held. */
static struct batch *take(struct im_inflater *inflater)
{
    struct batch *batch = inflater->first;

    if (batch)
        inflater->first = batch->next;
    return batch;
}

/* Do what take gave; the lock is held before and after, but not meanwhile. */
static void work(struct im_inflater *inflater, struct im_zlib *zlib, struct batch *batch)
{
    bool skip = inflater->failure.number != 0;
    struct im_error err = { 0 };

    (void)pthread_mutex_unlock(&inflater->lock);
    if (!zlib)
        (void)im_fail(&err, ENOMEM, "out of memory");
    else if (!skip)
        (void)do_batch(inflater, zlib, batch, &err);
    (void)pthread_mutex_lock(&inflater->lock);
    if (err.number && !inflater->failure.number)
        inflater->failure = err;
    batch->next = inflater->free;
    batch->busy = false;
    inflater->free = batch;
    inflater->busy--;
    (void)pthread_cond_broadcast(&inflater->space);
}

static void *run(void *arg)
{
    struct im_inflater *inflater = arg;
    struct im_zlib *zlib = im_zlib_new();

    (void)pthread_mutex_lock(&inflater->lock);
    while (!inflater->stop) {
        struct batch *batch = take(inflater);

        if (batch)
            work(inflater, zlib, batch);
        else
            (void)pthread_cond_wait(&inflater->work, &inflater->lock);
    }
    (void)pthread_mutex_unlock(&inflater->lock);
    im_zlib_free(zlib);
    return NULL;
}

/* Whoever would only wait for the pool does a batch: of N threads one is the caller's. */
static void help(struct im_inflater *inflater, struct im_zlib *zlib)
{
    struct batch *batch = take(inflater);

    if (batch)
        work(inflater, zlib, batch);
    else
        (void)pthread_cond_wait(&inflater->space, &inflater->lock);
}

struct im_inflater *im_inflater_new(unsigned jobs, im_inflated_fn output, void *arg)
{
    struct im_inflater *inflater = calloc(1, sizeof(*inflater));
    sigset_t all, old;

    if (!inflater)
        return NULL;
    inflater->output = output;
    inflater->arg = arg;
    inflater->zlib = im_zlib_new();
    (void)pthread_mutex_init(&inflater->lock, NULL);
    (void)pthread_cond_init(&inflater->work, NULL);
    (void)pthread_cond_init(&inflater->space, NULL);
    for (unsigned i = 0; i < 2 * jobs + 1; i++) {
        inflater->batches[i].next = inflater->free;
        inflater->free = &inflater->batches[i];
    }
    (void)sigfillset(&all); /* signals are the main thread's */
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    while (inflater->threads + 1 < jobs &&
           pthread_create(&inflater->thread[inflater->threads], NULL, run, inflater) == 0)
        inflater->threads++;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return inflater->zlib ? inflater : im_inflater_free(inflater);
}

static int failure(struct im_inflater *inflater, struct im_error *err)
{
    if (inflater->failure.number && err)
        *err = inflater->failure;
    return -inflater->failure.number;
}

static void submit(struct im_inflater *inflater)
{
    struct batch *batch = inflater->open;

    inflater->open = NULL;
    batch->next = NULL;
    if (inflater->first)
        inflater->last->next = batch;
    else
        inflater->first = batch;
    inflater->last = batch;
    batch->busy = true;
    batch->generation = inflater->generation;
    inflater->busy++;
    (void)pthread_cond_signal(&inflater->work);
}

/* Make sure there is an open batch that takes so many more bytes. */
static int need_batch(struct im_inflater *inflater, size_t in, size_t out, struct im_error *err)
{
    struct batch *batch = inflater->open;
    int r;

    if (batch && batch->count < BATCH_GRAINS && batch->in_len + in <= BATCH_BYTES &&
        batch->out_len + out <= BATCH_BYTES)
        return 0;
    (void)pthread_mutex_lock(&inflater->lock);
    if (batch)
        submit(inflater);
    while (!inflater->free)
        help(inflater, inflater->zlib);
    r = failure(inflater, err);
    if (r == 0) {
        batch = inflater->free;
        inflater->free = batch->next;
        batch->count = 0;
        batch->in_len = batch->out_len = 0;
        inflater->open = batch;
    }
    (void)pthread_mutex_unlock(&inflater->lock);
    return r;
}

static int make_room(uint8_t **buf, size_t *size, size_t used, size_t more)
{
    size_t want = used + more < BATCH_BYTES ? BATCH_BYTES : used + more;
    uint8_t *grown;

    if (used + more <= *size)
        return 0;
    grown = realloc(*buf, want);
    if (!grown)
        return -ENOMEM;
    *buf = grown;
    *size = want;
    return 0;
}

int im_inflater_add(struct im_inflater *inflater, const void *zlib, size_t zlib_len, size_t len,
                    uint64_t offset, uint64_t origin, struct im_error *err)
{
    struct batch *batch;
    int r = need_batch(inflater, zlib_len, len, err);

    if (r < 0)
        return r;
    batch = inflater->open;
    if (make_room(&batch->in, &batch->in_size, batch->in_len, zlib_len) < 0 ||
        make_room(&batch->out, &batch->out_size, batch->out_len, len) < 0)
        return im_fail(err, ENOMEM, "out of memory");
    memcpy(batch->in + batch->in_len, zlib, zlib_len);
    batch->grain[batch->count++] = (struct grain){
        .in = batch->in_len,
        .in_len = zlib_len,
        .out = batch->out_len,
        .out_len = len,
        .offset = offset,
        .origin = origin,
    };
    batch->in_len += zlib_len;
    batch->out_len += len;
    return 0;
}

int im_inflater_reserve(struct im_inflater *inflater, size_t len, uint64_t offset, bool tag,
                        void **ret_buf, struct im_error *err)
{
    struct batch *batch;
    int r = need_batch(inflater, 0, len, err);

    if (r < 0)
        return r;
    batch = inflater->open;
    if (make_room(&batch->out, &batch->out_size, batch->out_len, len) < 0)
        return im_fail(err, ENOMEM, "out of memory");
    *ret_buf = batch->out + batch->out_len;
    batch->grain[batch->count++] = (struct grain){
        .out = batch->out_len, .out_len = len, .offset = offset, .plain = true, .tag = tag
    };
    batch->out_len += len;
    return 0;
}

int im_inflater_drain(struct im_inflater *inflater, struct im_error *err)
{
    int r;

    (void)pthread_mutex_lock(&inflater->lock);
    if (inflater->open)
        submit(inflater);
    while (inflater->busy)
        help(inflater, inflater->zlib);
    r = failure(inflater, err);
    (void)pthread_mutex_unlock(&inflater->lock);
    return r;
}

uint64_t im_inflater_fence(struct im_inflater *inflater)
{
    uint64_t generation;

    (void)pthread_mutex_lock(&inflater->lock);
    if (inflater->open)
        submit(inflater);
    generation = inflater->generation++;
    (void)pthread_mutex_unlock(&inflater->lock);
    return generation;
}

static bool has_passed(const struct im_inflater *inflater, uint64_t generation)
{
    for (size_t i = 0; i < sizeof(inflater->batches) / sizeof(inflater->batches[0]); i++)
        if (inflater->batches[i].busy && inflater->batches[i].generation <= generation)
            return false;
    return true;
}

int im_inflater_passed(struct im_inflater *inflater, uint64_t generation, struct im_error *err)
{
    struct im_zlib *zlib = im_zlib_new(); /* the other one is the thread's that queues */
    int r;

    (void)pthread_mutex_lock(&inflater->lock);
    while (!has_passed(inflater, generation))
        help(inflater, zlib);
    r = failure(inflater, err);
    (void)pthread_mutex_unlock(&inflater->lock);
    im_zlib_free(zlib);
    return r;
}

struct im_inflater *im_inflater_free(struct im_inflater *inflater)
{
    if (!inflater)
        return NULL;
    (void)pthread_mutex_lock(&inflater->lock);
    inflater->stop = true;
    (void)pthread_cond_broadcast(&inflater->work);
    (void)pthread_mutex_unlock(&inflater->lock);
    for (unsigned i = 0; i < inflater->threads; i++)
        (void)pthread_join(inflater->thread[i], NULL);
    im_zlib_free(inflater->zlib);
    for (size_t i = 0; i < sizeof(inflater->batches) / sizeof(inflater->batches[0]); i++) {
        free(inflater->batches[i].in);
        free(inflater->batches[i].out);
    }
    (void)pthread_cond_destroy(&inflater->space);
    (void)pthread_cond_destroy(&inflater->work);
    (void)pthread_mutex_destroy(&inflater->lock);
    free(inflater);
    return NULL;
}

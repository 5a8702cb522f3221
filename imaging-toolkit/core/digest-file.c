/* digest-file - the digests of a file that is there: read by several threads, holes left out. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/io.h"
#include "core/cancel.h"
#include "core/digest.h"
#include "core/inflate.h"
#include "core/rate.h"

/* A thread takes so much of the file at a time … */
#define SLICE (64u << 20)
/* … and reads so much of it at once: a whole number of groups. */
#define PIECE (1u << 20)

struct reading {
    int fd;
    uint64_t size;
    struct im_digest *digest;
    struct im_progress *progress;
    _Atomic uint64_t next; /* slice */
    _Atomic uint64_t done; /* bytes */
    pthread_mutex_t lock;
    struct im_error failure; /* the first one */
};

static int read_exactly(int fd, void *buf, size_t len, uint64_t offset, struct im_error *err)
{
    ssize_t n = im_pread(fd, buf, len, offset);

    if (n >= 0 && (size_t)n == len)
        return im_rate_spend(len, err);
    return im_fail_code(err, EIO, "ReadFailed", "cannot read %zu bytes at offset %" PRIu64 ": %s",
                        len, offset,
                        n < 0 ? strerrordesc_np((int)-n) : "the file has become shorter");
}

static int read_back(void *arg, void *buf, size_t len, uint64_t offset, struct im_error *err)
{
    return read_exactly(((struct reading *)arg)->fd, buf, len, offset, err);
}

static int read_slice(struct reading *reading, uint64_t offset, void *buf, struct im_error *err)
{
    uint64_t end = im_min(offset + SLICE, reading->size);
    int r = 0;

    while (r == 0 && offset < end) {
        uint64_t step;
        bool hole;

        im_file_extent(reading->fd, offset, end - offset, &hole, &step);
        if (hole && step >= PIECE) {
            offset += step - step % PIECE; /* stay on whole groups */
            continue;
        }
        step = im_min(PIECE, end - offset);
        r = im_cancel_check(err);
        if (r == 0)
            r = read_exactly(reading->fd, buf, (size_t)step, offset, err);
        if (r == 0)
            r = im_digest_add(reading->digest, buf, (size_t)step, offset, err);
        offset += step;
    }
    return r;
}

static void tell(struct reading *reading)
{
    uint64_t done = atomic_fetch_add(&reading->done, SLICE) + SLICE;

    if (!reading->progress)
        return;
    (void)pthread_mutex_lock(&reading->lock);
    im_progress_update(reading->progress, im_min(done, reading->size), reading->size);
    (void)pthread_mutex_unlock(&reading->lock);
}

static void *read_slices(void *arg)
{
    struct reading *reading = arg;
    void *buf IM_FREE = malloc(PIECE);
    struct im_error err = { 0 };
    int r = buf ? 0 : im_fail(&err, ENOMEM, "out of memory");

    while (r == 0) {
        uint64_t offset = atomic_fetch_add(&reading->next, 1) * SLICE;

        if (offset >= reading->size)
            return NULL;
        r = read_slice(reading, offset, buf, &err);
        tell(reading);
    }
    atomic_store(&reading->next, reading->size / SLICE + 1); /* the others need not go on */
    (void)pthread_mutex_lock(&reading->lock);
    if (!reading->failure.number)
        reading->failure = err;
    (void)pthread_mutex_unlock(&reading->lock);
    return NULL;
}

static int read_all(struct reading *reading, unsigned jobs, struct im_error *err)
{
    pthread_t thread[IM_INFLATE_JOBS_MAX];
    unsigned threads = 0;

    while (threads + 1 < jobs && pthread_create(&thread[threads], NULL, read_slices, reading) == 0)
        threads++;
    (void)read_slices(reading);
    while (threads > 0)
        (void)pthread_join(thread[--threads], NULL);
    if (!reading->failure.number)
        return 0;
    *err = reading->failure;
    return -err->number;
}

int im_digest_file(int fd, uint64_t size, unsigned jobs, struct im_progress *progress,
                   uint8_t ret_digest[IM_FSVERITY_LEN], struct im_error *err)
{
    struct reading reading = {
        .fd = fd,
        .size = size,
        .digest = im_digest_new(),
        .progress = progress,
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };
    int r = reading.digest ? read_all(&reading, jobs, err) : im_fail(err, ENOMEM, "out of memory");

    if (r == 0)
        r = im_digest_end(reading.digest, size, read_back, &reading, ret_digest, err);
    im_digest_free(reading.digest);
    return r;
}

int im_sha256_file(int fd, uint64_t size, struct im_progress *progress, uint8_t ret_digest[32],
                   struct im_error *err)
{
    void *buf IM_FREE = malloc(PIECE);
    struct im_hasher *hasher = im_hasher_new(IM_SHA256);
    int r = buf && hasher ? 0 : im_fail(err, ENOMEM, "out of memory");

    for (uint64_t offset = 0; r == 0 && offset < size;) {
        size_t step = (size_t)im_min(PIECE, size - offset);

        r = im_cancel_check(err);
        if (r == 0)
            r = read_exactly(fd, buf, step, offset, err);
        if (r == 0)
            im_hasher_add(hasher, buf, step);
        offset += step;
        if (progress)
            im_progress_update(progress, offset, size);
    }
    if (r == 0)
        im_hasher_end(hasher, ret_digest);
    im_hasher_free(hasher);
    return r;
}

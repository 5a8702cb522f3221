/* pool - a bounded number of segments in memory, filled by a pool of threads.
 *
 * The memory is a file without a name (memfd_create), so that another process can read what is in
 * it where it stands (source/served.h).
 *
 * Knows segments by their number only; what they are and how they are proven is the owner's
 * business.  Ahead of a reader that goes forwards the next segments are filled before they are
 * asked for; otherwise those least recently used make room. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/http.h"

/* Segments that are proven together … */
#define IM_POOL_GROUP 3

/* … and segments in memory at once: a group that is read, a group that comes, and one for another
 * place.  70 MiB, which leaves decoders enough below 128 MiB in all. */
#define IM_POOL_SLOTS (2 * IM_POOL_GROUP + 1)

struct im_pool;

/* A segment that is to be proven. */
struct im_pool_proof {
    size_t segment;
    const uint8_t *buf;
    size_t len;
    unsigned damaged;     /* how often it was found damaged before */
    bool good;            /* the verdict … */
    struct im_error *err; /* … and the reason when it is not */
};

struct im_pool_owner {
    /* Fill buf (slot_size bytes) with a segment, *ret_len bytes long.  0: anybody may read it; 1:
     * it is to be proven first, best together with others.  damaged: how often it was found damaged
     * before; *err then says how, for the owner to give up with.  Called by several threads at
     * once. */
    int (*fill)(void *arg, struct im_http *http, size_t segment, unsigned damaged, uint8_t *buf,
                size_t *ret_len, struct im_error *err);
    /* Prove up to IM_POOL_GROUP segments at once; those not good are filled again. */
    void (*prove)(void *arg, struct im_pool_proof *proof, size_t count);
    /* The segment can be had from the pool now.  Called by the thread that filled it, unless it was
     * to be proven. */
    void (*filled)(void *arg, size_t segment);
    /* Whether to read ahead this segment.  Must not call the pool. */
    bool (*is_wanted)(void *arg, size_t segment);
    void *arg;
};

/* A pool over `segments` segments of at most slot_size bytes, with its threads running. */
int im_pool_new(const struct im_pool_owner *owner, size_t segments, size_t slot_size,
                struct im_pool **ret_pool, struct im_error *err);

/* Wait for the threads to end and free.  The owner has made its fills end early, somehow.
 * Takes NULL, returns NULL. */
struct im_pool *im_pool_free(struct im_pool *pool);

/* Wait until a segment is here and pin it: *ret_buf stays valid until im_pool_release.
 * `forwards` says that the segments after it will be wanted.  Errors: fill's, -ECANCELED. */
int im_pool_acquire(struct im_pool *pool, size_t segment, bool forwards, const uint8_t **ret_buf,
                    size_t *ret_len, struct im_error *err);

/* Whether im_pool_acquire would not wait for the segment.  `ask` for it, and for those after it,
 * when it would: as if it were acquired. */
bool im_pool_is_here(struct im_pool *pool, size_t segment, bool ask);

/* Pin a segment only when it is here already. */
bool im_pool_peek(struct im_pool *pool, size_t segment, const uint8_t **ret_buf, size_t *ret_len);

/* Unpin; `used` bytes of it were read (a segment read to its end is the first to make room). */
void im_pool_release(struct im_pool *pool, size_t segment, size_t used);

/* The same for a segment that stays pinned: it was begun. */
void im_pool_begin(struct im_pool *pool, size_t segment);

/* Bytes of buffers allocated so far. */
uint64_t im_pool_memory(struct im_pool *pool);

/* The memory of all buffers: its descriptor (the pool's own), which cannot shrink, and *ret_len
 * bytes of it; -1 when there are no segments. */
int im_pool_file(const struct im_pool *pool, uint64_t *ret_len);

/* Where in it a buffer begins that im_pool_acquire gave. */
uint64_t im_pool_place(const struct im_pool *pool, const uint8_t *buf);

/* deflate - a pool of threads that compress the grains of a disk; what comes out keeps the order.
 *
 * Memory is bounded: 2 × jobs + 1 batches, each about twice IM_DEFLATE_BATCH. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "core/format.h"

/* Bytes handed over at once, a whole number of grains. */
#define IM_DEFLATE_BATCH (1u << 20)

struct im_deflater;

/* Takes a grain's zlib stream (RFC 1950); one call at a time, by rising offset. */
typedef int (*im_deflated_fn)(void *arg, const void *zlib, size_t len, uint64_t offset,
                              struct im_error *err);

/* A pool of `jobs` threads (1…IM_INFLATE_JOBS_MAX), of which one is the caller's, for grains of
 * `grain` bytes, a power of two from 4 KiB to IM_DEFLATE_BATCH; NULL when out of memory. */
struct im_deflater *im_deflater_new(unsigned jobs, enum im_level level, size_t grain,
                                    im_deflated_fn output, void *arg);

/* Queue the next IM_DEFLATE_BATCH bytes or fewer, whole grains, from `offset` of the disk on, which
 * the caller puts into *ret_buf before the next call here.  Grains of zeros give no output.  Waits
 * while the pool is full.  Returns the first failure of any grain so far: -ENOMEM, the output's. */
int im_deflater_reserve(struct im_deflater *deflater, size_t len, uint64_t offset, void **ret_buf,
                        struct im_error *err);

/* Wait until everything queued has been given to the output; the first failure as above. */
int im_deflater_drain(struct im_deflater *deflater, struct im_error *err);

/* End the threads and free; what is still queued is dropped.  Takes NULL, returns NULL. */
struct im_deflater *im_deflater_free(struct im_deflater *deflater);

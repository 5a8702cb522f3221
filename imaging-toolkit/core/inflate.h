/* inflate - a pool of threads that inflate compressed grains and hand on what came out, and what
 * came plain.
 *
 * Grains go in batches, so that threads meet rarely and neighbours are written at once.  Memory is
 * bounded: 2 × jobs + 1 batches, each about twice 512 KiB (more only for larger single grains). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* One zlib decompressor, for one thread at a time; NULL when out of memory. */
struct im_zlib;
struct im_zlib *im_zlib_new(void);
struct im_zlib *im_zlib_free(struct im_zlib *zlib);

/* Inflate one zlib stream (RFC 1950, checksum included) into at most `room` bytes of out.
 * 0 and *ret_len, -EFBIG when it holds more than room, -EBADMSG when it is not a whole stream. */
int im_zlib_inflate(struct im_zlib *zlib, const void *in, size_t in_len, void *out, size_t room,
                    size_t *ret_len);

/* The CRC-32 (IEEE 802.3) of len bytes that follow those whose CRC is `crc` (0: they are the
 * first), as fast as memory gives them. */
uint32_t im_zlib_crc32(uint32_t crc, const void *data, size_t len);

struct im_inflater;

/* Takes inflated bytes, and plain ones with their tag; called by several threads at once.
 * `generation`: between which two fences they were queued. */
typedef int (*im_inflated_fn)(void *arg, const void *buf, size_t len, uint64_t offset, bool tag,
                              uint64_t generation, struct im_error *err);

/* A pool of `jobs` threads (1…IM_INFLATE_JOBS_MAX), of which one is the caller's: it works where it
 * would only wait.  NULL when out of memory. */
#define IM_INFLATE_JOBS_MAX 8
struct im_inflater *im_inflater_new(unsigned jobs, im_inflated_fn output, void *arg);

/* Queue one zlib stream that must inflate to exactly len bytes for `offset`; it starts at byte
 * `origin` of the source.  Copies the input; waits while the pool is full.  Returns the first
 * failure of any grain so far: -EBADMSG code "GrainLength" or "DamagedGrain", or the output's. */
int im_inflater_add(struct im_inflater *inflater, const void *zlib, size_t zlib_len, size_t len,
                    uint64_t offset, uint64_t origin, struct im_error *err);

/* Queue `len` plain bytes (at most IM_INFLATE_PLAIN_MAX) for `offset`, which the caller puts into
 * *ret_buf before the next call here.  Waits and fails as im_inflater_add. */
#define IM_INFLATE_PLAIN_MAX (512u * 1024)
int im_inflater_reserve(struct im_inflater *inflater, size_t len, uint64_t offset, bool tag,
                        void **ret_buf, struct im_error *err);

/* Wait until everything queued is done; the first failure as above. */
int im_inflater_drain(struct im_inflater *inflater, struct im_error *err);

/* What has been queued so far is of the generation that is returned (the first is 0), what comes
 * later of the next. */
uint64_t im_inflater_fence(struct im_inflater *inflater);

/* Wait until everything up to that generation is done, while more may be queued by another thread;
 * the first failure as above. */
int im_inflater_passed(struct im_inflater *inflater, uint64_t generation, struct im_error *err);

/* End the threads and free; what is still queued is dropped.  Takes NULL, returns NULL. */
struct im_inflater *im_inflater_free(struct im_inflater *inflater);

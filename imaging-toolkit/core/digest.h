/* digest - the Merkle digest that fs-verity defines, of data that come in any order.
 *
 * SHA-256, blocks of 4 KiB, no salt: what "fsverity digest FILE" prints (Linux:
 * Documentation/filesystems/fsverity.rst, "Merkle tree" and "fs-verity descriptor").  Zeros need
 * not be given and cost nothing.  Memory: 4 KiB for each 64 MiB of the file that hold data. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "core/progress.h"

#define IM_FSVERITY_LEN 32 /* bytes */

struct im_digest;

/* NULL when out of memory.  _free takes NULL, returns NULL. */
struct im_digest *im_digest_new(void);
struct im_digest *im_digest_free(struct im_digest *digest);

/* Take len bytes that are at `offset` of the file; by several threads at once, each byte once at
 * most.  -ENOMEM. */
int im_digest_add(struct im_digest *digest, const void *buf, size_t len, uint64_t offset,
                  struct im_error *err);

/* Reads len bytes at offset of the finished file. */
typedef int (*im_digest_read_fn)(void *arg, void *buf, size_t len, uint64_t offset,
                                 struct im_error *err);

/* The digest of the file, of `size` bytes; what came in pieces too odd is read again.
 * Errors: read's, -ENOMEM. */
int im_digest_end(struct im_digest *digest, uint64_t size, im_digest_read_fn read, void *arg,
                  uint8_t ret_digest[IM_FSVERITY_LEN], struct im_error *err);

/* The digest of a file of `size` bytes, read by `jobs` threads (1…IM_INFLATE_JOBS_MAX) but for its
 * holes; progress may be NULL.  -EIO, -ENOMEM, -ECANCELED. */
int im_digest_file(int fd, uint64_t size, unsigned jobs, struct im_progress *progress,
                   uint8_t ret_digest[IM_FSVERITY_LEN], struct im_error *err);

/* The SHA-256 of all bytes of a file, in one thread; progress may be NULL.  -EIO, -ENOMEM,
 * -ECANCELED. */
int im_sha256_file(int fd, uint64_t size, struct im_progress *progress, uint8_t ret_digest[32],
                   struct im_error *err);

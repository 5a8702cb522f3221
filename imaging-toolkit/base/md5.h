/* md5 - several MD5s side by side, and one whose state can be kept (RFC 1321).
 *
 * An MD5 is one chain of steps, each of which waits for the one before: a core that computes one is
 * mostly idle.  Three at once take hardly longer (measured: 2.3 GB/s instead of 0.9; four do
 * not fit into the registers).  For one alone there is base/crypto.h. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define IM_MD5_LANES 3

/* A run of bytes and, afterwards, its MD5. */
struct im_md5 {
    const void *data;
    size_t len; /* bytes */
    uint8_t digest[16];
};

/* Compute the MD5s of `count` runs, 1 to IM_MD5_LANES; those of one length take the least time. */
void im_md5_many(struct im_md5 *md5, size_t count);

/* A running MD5 as plain numbers, so that another process can go on with it. */
struct im_md5_run {
    uint64_t len; /* bytes so far */
    uint32_t word[4];
};

/* The MD5 of no bytes yet. */
struct im_md5_run im_md5_run_new(void);
/* Add len bytes, a multiple of 64. */
void im_md5_run_add(struct im_md5_run *run, const void *data, size_t len);
/* The MD5 of what was added and of the last len bytes, any number of them. */
void im_md5_run_end(const struct im_md5_run *run, const void *data, size_t len,
                    uint8_t ret_digest[16]);

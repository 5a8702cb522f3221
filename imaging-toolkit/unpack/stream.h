/* stream - packed bytes as a source of what comes out of them: read forwards, in bounded memory,
 * never more than was allowed.  It knows no kind of packing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/source.h"
#include "unpack/proof.h"

/* What comes out is bounded twice.  First, by a multiple of what goes in: deflate cannot give more
 * than 1032 bytes for one, so that gzip and zip never meet this limit; xz could give 7000 zeros.
 * Small files are none the worse for it. */
#define IM_EXPANSION_MAX  1100u
#define IM_EXPANSION_FREE (16u << 20) /* bytes that may come out of anything */
/* Second, by the largest disk any format here can hold (VHDX: 64 TiB) and its tables. */
#define IM_UNPACKED_MAX (UINT64_C(65) << 40)

struct im_limits {
    uint64_t max_size;  /* bytes that may come out */
    uint64_t expansion; /* of one byte, on the whole */
};

/* How one kind is unpacked. */
struct im_unpacker {
    const char *what; /* "gzip" */
    bool joined;      /* behind the end of one another may begin */

    /* Take up to *in_len bytes of in (`last`: nothing follows them), give up to room into out;
     * afterwards *in_len were taken and *ret_len given.  0: there is more to come; 1: that was the
     * end, all checksums were right, and nothing behind it was taken; -EBADMSG, -EOPNOTSUPP,
     * -ENOMEM. */
    int (*run)(void *state, const void *in, size_t *in_len, bool last, void *out, size_t room,
               size_t *ret_len, struct im_error *err);
    void (*free)(void *state);
};

/* What comes out of *source by unpacker and state, which is taken over; it is called `name` and
 * must have `size` bytes, if that is not IM_SIZE_UNKNOWN.  On success *source is the new one, which
 * owns what it was, and proof's argument; on failure state is freed and *source as it was. -ENOMEM.
 */
int im_stream_wrap(struct im_source **source, const char *name, uint64_t size,
                   const struct im_unpacker *unpacker, void *state, const struct im_limits *limits,
                   const struct im_proof *proof, struct im_error *err);

/* Unpack a gzip file (RFC 1952), joined members one after the other, checksums and lengths proven.
 * -ENOMEM. */
int im_gz_wrap(struct im_source **source, const char *name, uint64_t size,
               const struct im_limits *limits, struct im_error *err);

/* Unpack a bare deflate stream (RFC 1951). */
int im_deflate_wrap(struct im_source **source, const char *name, uint64_t size,
                    const struct im_limits *limits, const struct im_proof *proof,
                    struct im_error *err);

/* Unpack an xz file, joined streams one after the other, their checks proven.  The size is what the
 * indexes at the ends of the streams tell, where they can be read beforehand.  -ENOPKG: liblzma is
 * not installed; -EBADMSG. */
int im_xz_wrap(struct im_source **source, const char *name, uint64_t size,
               const struct im_limits *limits, struct im_error *err);

/* How an xz file, or one of the older kind "lzma alone", is unpacked, for whoever has its bytes, in at
 * most 80 MiB of memory; *ret_state is the caller's to free by the unpacker.  -ENOPKG, -ENOMEM. */
int im_xz_unpacker(bool alone, const struct im_unpacker **ret_unpacker, void **ret_state,
                   struct im_error *err);

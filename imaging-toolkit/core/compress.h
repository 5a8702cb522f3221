/* compress - one run of bytes becomes one zlib stream (RFC 1950): ISA-L when it must be fast,
 * libdeflate when it must be small; and bytes that come in pieces become a gzip file (RFC 1952). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/format.h"

struct im_compressor;

/* For one thread at a time; NULL when out of memory.  _free takes NULL, returns NULL. */
struct im_compressor *im_compressor_new(enum im_level level);
struct im_compressor *im_compressor_free(struct im_compressor *compressor);

/* Bytes that are enough for the stream of any `len` bytes. */
size_t im_compress_room(size_t len);

/* Compress len bytes into out, which has im_compress_room(len) bytes; the stream's length, or 0
 * when the library failed. */
size_t im_compress(struct im_compressor *compressor, const void *in, size_t len, void *out,
                   size_t room);

/* A gzip file in the making, compressed fast; NULL when out of memory.  _free takes NULL, returns
 * NULL. */
struct im_gzip;
struct im_gzip *im_gzip_new(void);
struct im_gzip *im_gzip_free(struct im_gzip *gzip);

/* Take up to *len bytes of in, the `last` ones or not, and give up to `room` bytes into out;
 * afterwards *len is how many were taken and *ret_len how many were given.  To be called until all
 * is taken and less than `room` was given: that is the end of the file when they were the last.
 * -EIO when the library failed. */
int im_gzip_add(struct im_gzip *gzip, const void *in, size_t *len, bool last, void *out,
                size_t room, size_t *ret_len);

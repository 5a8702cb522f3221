/* compress - one run of bytes becomes one zlib stream (RFC 1950): ISA-L when it must be fast,
 * libdeflate when it must be small. */
#pragma once

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

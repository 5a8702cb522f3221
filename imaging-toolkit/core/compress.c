/* compress - zlib streams by ISA-L (level 1: about five times as fast as anything else) and by
 * libdeflate (level 6: smaller than zlib's own, and still five times as fast). */

#include <config.h>

#include "core/compress.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include <isa-l/igzip_lib.h>
#include <libdeflate.h>

#define BEST_LEVEL 6

struct im_compressor {
    struct libdeflate_compressor *best; /* NULL: ISA-L */
    uint8_t work[ISAL_DEF_LVL1_DEFAULT];
};

struct im_compressor *im_compressor_new(enum im_level level)
{
    struct im_compressor *compressor = malloc(sizeof(*compressor));

    if (!compressor)
        return NULL;
    compressor->best = level == IM_LEVEL_BEST ? libdeflate_alloc_compressor(BEST_LEVEL) : NULL;
    return level == IM_LEVEL_BEST && !compressor->best ? im_compressor_free(compressor)
                                                       : compressor;
}

struct im_compressor *im_compressor_free(struct im_compressor *compressor)
{
    if (!compressor)
        return NULL;
    libdeflate_free_compressor(compressor->best);
    free(compressor);
    return NULL;
}

/* Stored blocks add 5 bytes to each 65535, the stream's header and checksum 6; ISA-L may begin a
 * block more often. */
size_t im_compress_room(size_t len)
{
    return len + len / 1024 + 64;
}

static size_t fast(struct im_compressor *compressor, const void *in, size_t len, void *out,
                   size_t room)
{
    struct isal_zstream stream;

    isal_deflate_stateless_init(&stream);
    stream.level = 1;
    stream.level_buf = compressor->work;
    stream.level_buf_size = sizeof(compressor->work);
    stream.gzip_flag = IGZIP_ZLIB;
    stream.end_of_stream = 1;
    stream.next_in = (uint8_t *)(uintptr_t)in; /* the library does not write there */
    stream.avail_in = (uint32_t)len;
    stream.next_out = out;
    stream.avail_out = (uint32_t)room;
    return isal_deflate_stateless(&stream) == COMP_OK && stream.avail_in == 0 ? stream.total_out
                                                                              : 0;
}

size_t im_compress(struct im_compressor *compressor, const void *in, size_t len, void *out,
                   size_t room)
{
    if (compressor->best)
        return libdeflate_zlib_compress(compressor->best, in, len, out, room);
    return fast(compressor, in, len, out, room);
}

struct im_gzip {
    struct isal_zstream stream;
    uint8_t work[ISAL_DEF_LVL1_DEFAULT];
};

struct im_gzip *im_gzip_new(void)
{
    struct im_gzip *gzip = malloc(sizeof(*gzip));

    if (!gzip)
        return NULL;
    isal_deflate_init(&gzip->stream);
    gzip->stream.level = 1;
    gzip->stream.level_buf = gzip->work;
    gzip->stream.level_buf_size = sizeof(gzip->work);
    gzip->stream.gzip_flag = IGZIP_GZIP;
    return gzip;
}

struct im_gzip *im_gzip_free(struct im_gzip *gzip)
{
    free(gzip);
    return NULL;
}

int im_gzip_add(struct im_gzip *gzip, const void *in, size_t *len, bool last, void *out,
                size_t room, size_t *ret_len)
{
    struct isal_zstream *stream = &gzip->stream;
    uint32_t given = (uint32_t)*len, free_room = (uint32_t)room;

    stream->next_in = (uint8_t *)(uintptr_t)in; /* the library does not write there */
    stream->avail_in = given;
    stream->next_out = out;
    stream->avail_out = free_room;
    stream->end_of_stream = last;
    if (isal_deflate(stream) != COMP_OK)
        return -EIO;
    *len = given - stream->avail_in;
    *ret_len = free_room - stream->avail_out;
    return 0;
}

/* gunzip - a gzip stream through zlib: of the libraries here the only one that takes a stream in
 * pieces and has met every hostile one. */

#include <config.h>

#include "core/gunzip.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include <zlib.h>

/* zlib's largest window: with a gzip header around the stream, and bare. */
#define GZIP_BITS (15 + 16)
#define BARE_BITS (-15)
/* zlib counts in unsigned int. */
#define PIECE (1u << 30)

struct im_gunzip {
    z_stream stream;
    uint64_t taken; /* bytes of input, for messages */
    bool ended;     /* the member */
    bool bare;
};

static struct im_gunzip *new_of(int bits)
{
    struct im_gunzip *gunzip = calloc(1, sizeof(*gunzip));

    if (gunzip && inflateInit2(&gunzip->stream, bits) != Z_OK) {
        free(gunzip);
        return NULL;
    }
    if (gunzip)
        gunzip->bare = bits < 0;
    return gunzip;
}

struct im_gunzip *im_gunzip_new(void)
{
    return new_of(GZIP_BITS);
}

struct im_gunzip *im_gunzip_new_bare(void)
{
    return new_of(BARE_BITS);
}

struct im_gunzip *im_gunzip_free(struct im_gunzip *gunzip)
{
    if (gunzip)
        (void)inflateEnd(&gunzip->stream);
    free(gunzip);
    return NULL;
}

static int judge(struct im_gunzip *gunzip, int result, struct im_error *err)
{
    gunzip->ended = result == Z_STREAM_END;
    if (gunzip->ended)
        return 1;
    if (result == Z_OK || result == Z_BUF_ERROR) /* the latter: nothing could be done */
        return 0;
    if (result == Z_MEM_ERROR)
        return im_fail(err, ENOMEM, "out of memory");
    return im_fail_code(err, EBADMSG, "DamagedGzip",
                        "the %s stream is damaged at byte %" PRIu64 ": %s",
                        gunzip->bare ? "deflate" : "gzip", gunzip->taken,
                        gunzip->stream.msg ? gunzip->stream.msg : "it needs a dictionary");
}

int im_gunzip(struct im_gunzip *gunzip, const void *in, size_t *in_len, void *out, size_t room,
              size_t *ret_len, struct im_error *err)
{
    z_stream *stream = &gunzip->stream;
    unsigned given = *in_len < PIECE ? (unsigned)*in_len : PIECE;
    unsigned free_room = room < PIECE ? (unsigned)room : PIECE;
    int result;

    if (gunzip->ended)
        (void)inflateReset(stream);
    stream->next_in = (Bytef *)(uintptr_t)in; /* the library does not write there */
    stream->avail_in = given;
    stream->next_out = out;
    stream->avail_out = free_room;
    result = inflate(stream, Z_NO_FLUSH);
    *in_len = given - stream->avail_in;
    *ret_len = free_room - stream->avail_out;
    gunzip->taken += *in_len;
    return judge(gunzip, result, err);
}

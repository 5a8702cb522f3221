/* xz - xz files as sources of what comes out of them, by liblzma where that is installed. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <lzma.h>

#include "base/library.h"
#include "core/cancel.h"
#include "unpack/stream.h"

/* Memory for indexes: 16 bytes for each block, of which a file has few, and some 400 for each
 * stream, of which it has one.  liblzma takes a time for them that grows with the square of their
 * number: a second for 20000 streams, which are 640 KB. */
#define INDEX_MEMORY_MAX (UINT64_C(2) << 20)
/* Read at once of them. */
#define INDEX_PIECE 4096u

/* What "xz -9" needs to unpack is 65 MiB; larger dictionaries are chosen by hand, or to hurt. */
#define MEMORY_MAX (UINT64_C(80) << 20)

static struct lzma {
    typeof(&lzma_stream_decoder) lzma_stream_decoder;
    typeof(&lzma_alone_decoder) lzma_alone_decoder;
    typeof(&lzma_code) lzma_code;
    typeof(&lzma_end) lzma_end;
    typeof(&lzma_memusage) lzma_memusage;
    typeof(&lzma_file_info_decoder) lzma_file_info_decoder;
    typeof(&lzma_index_uncompressed_size) lzma_index_uncompressed_size;
    typeof(&lzma_index_end) lzma_index_end;
} lzma;

static const struct im_symbol symbols[] = {
    IM_SYMBOL(lzma, lzma_stream_decoder),
    IM_SYMBOL(lzma, lzma_alone_decoder),
    IM_SYMBOL(lzma, lzma_code),
    IM_SYMBOL(lzma, lzma_end),
    IM_SYMBOL(lzma, lzma_memusage),
    IM_SYMBOL(lzma, lzma_file_info_decoder),
    IM_SYMBOL(lzma, lzma_index_uncompressed_size),
    IM_SYMBOL(lzma, lzma_index_end),
    { 0 },
};

static int judge(lzma_stream *stream, lzma_ret result, struct im_error *err)
{
    switch (result) {
    case LZMA_OK:
    case LZMA_BUF_ERROR: /* nothing could be done */
        return 0;
    case LZMA_STREAM_END:
        return 1;
    case LZMA_MEM_ERROR:
        return im_fail(err, ENOMEM, "out of memory");
    case LZMA_MEMLIMIT_ERROR:
        return im_fail(err, EOPNOTSUPP,
                       "unpacking it takes %" PRIu64 " MiB of memory, more than the %" PRIu64
                       " allowed; compress it again with xz -9 or less",
                       lzma.lzma_memusage(stream) >> 20, MEMORY_MAX >> 20);
    case LZMA_UNSUPPORTED_CHECK:
    case LZMA_OPTIONS_ERROR:
        return im_fail(err, EOPNOTSUPP,
                       "it uses a filter or a check that liblzma does not know; compress it again");
    case LZMA_FORMAT_ERROR:
        return im_fail_code(err, EBADMSG, "DamagedXz", "at byte %" PRIu64 " begins no xz stream",
                            stream->total_in);
    default:
        return im_fail_code(err, EBADMSG, "DamagedXz",
                            "the xz stream is damaged near byte %" PRIu64
                            ": its structure or its check is wrong",
                            stream->total_in);
    }
}

/* Read the indexes, from the last back to the first, as the library asks for it. */
static int read_indexes(struct im_source *source, lzma_stream *stream, struct im_error *err)
{
    uint8_t piece[INDEX_PIECE];
    lzma_ret result = LZMA_OK;
    uint64_t at = 0;

    while (result == LZMA_OK || result == LZMA_SEEK_NEEDED) {
        size_t got = 0;
        int r = im_cancel_check(err);

        if (result == LZMA_SEEK_NEEDED) {
            at = stream->seek_pos;
            stream->avail_in = 0;
        }
        if (r == 0 && stream->avail_in == 0) {
            r = im_source_read_some(source, piece, sizeof(piece), at, &got, err);
            stream->next_in = piece;
            stream->avail_in = got;
            at += got;
        }
        if (r < 0)
            return r;
        result = lzma.lzma_code(stream, LZMA_RUN);
    }
    if (result == LZMA_MEMLIMIT_ERROR) /* the size stays unknown; unpacking needs no index */
        return 0;
    return judge(stream, result, err);
}

/* How many bytes will come out; when they come, they are counted. */
static int find_size(struct im_source *source, uint64_t *ret_size, struct im_error *err)
{
    lzma_stream stream = LZMA_STREAM_INIT;
    lzma_index *index = NULL;
    int r;

    if (source->sequential || source->size == IM_SIZE_UNKNOWN)
        return 0;
    if (lzma.lzma_file_info_decoder(&stream, &index, INDEX_MEMORY_MAX, source->size) != LZMA_OK)
        return im_fail(err, ENOMEM, "out of memory");
    r = read_indexes(source, &stream, err);
    if (r > 0)
        *ret_size = lzma.lzma_index_uncompressed_size(index);
    lzma.lzma_index_end(index, NULL);
    lzma.lzma_end(&stream);
    if (r < 0)
        im_error_prefix(err, "'%s'", source->name);
    return r < 0 ? r : 0;
}

static int run(void *state, const void *in, size_t *in_len, bool last, void *out, size_t room,
               size_t *ret_len, struct im_error *err)
{
    lzma_stream *stream = state;
    lzma_ret result;

    stream->next_in = in;
    stream->avail_in = *in_len;
    stream->next_out = out;
    stream->avail_out = room;
    result = lzma.lzma_code(stream, last ? LZMA_FINISH : LZMA_RUN);
    *in_len -= stream->avail_in;
    *ret_len = room - stream->avail_out;
    return judge(stream, result, err);
}

static void release(void *state)
{
    lzma.lzma_end(state);
    free(state);
}

static const struct im_unpacker unpacker = { .what = "xz", .run = run, .free = release };

static lzma_ret start(lzma_stream *stream, bool alone)
{
    const uint32_t flags = LZMA_CONCATENATED | LZMA_TELL_UNSUPPORTED_CHECK;

    return alone ? lzma.lzma_alone_decoder(stream, MEMORY_MAX)
                 : lzma.lzma_stream_decoder(stream, MEMORY_MAX, flags);
}

int im_xz_unpacker(bool alone, const struct im_unpacker **ret_unpacker, void **ret_state,
                   struct im_error *err)
{
    int r = im_library_load("liblzma.so.5", symbols, &lzma, err);
    lzma_stream *stream;

    if (r < 0)
        return r;
    stream = calloc(1, sizeof(*stream));
    if (!stream || start(stream, alone) != LZMA_OK) {
        free(stream);
        return im_fail(err, ENOMEM, "out of memory");
    }
    *ret_unpacker = &unpacker;
    *ret_state = stream;
    return 0;
}

int im_xz_wrap(struct im_source **source, const char *name, uint64_t size,
               const struct im_limits *limits, struct im_error *err)
{
    const struct im_unpacker *how = NULL;
    void *state = NULL;
    int r = im_xz_unpacker(false, &how, &state, err);

    if (r == 0 && size == IM_SIZE_UNKNOWN)
        r = find_size(*source, &size, err);
    if (r < 0) {
        if (state)
            how->free(state);
        return r;
    }
    return im_stream_wrap(source, name, size, how, state, limits, NULL, err);
}

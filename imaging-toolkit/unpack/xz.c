/* xz - xz files as sources of what comes out of them, by liblzma where that is installed. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <lzma.h>

#include "base/library.h"
#include "unpack/stream.h"

/* What "xz -9" needs to unpack is 65 MiB; larger dictionaries are chosen by hand, or to hurt. */
#define MEMORY_MAX (UINT64_C(80) << 20)

static struct lzma {
    typeof(&lzma_stream_decoder) lzma_stream_decoder;
    typeof(&lzma_code) lzma_code;
    typeof(&lzma_end) lzma_end;
    typeof(&lzma_memusage) lzma_memusage;
} lzma;

static const struct im_symbol symbols[] = {
    IM_SYMBOL(lzma, lzma_stream_decoder),
    IM_SYMBOL(lzma, lzma_code),
    IM_SYMBOL(lzma, lzma_end),
    IM_SYMBOL(lzma, lzma_memusage),
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

int im_xz_wrap(struct im_source **source, const char *name, const struct im_limits *limits,
               struct im_error *err)
{
    static const struct im_unpacker unpacker = { .what = "xz", .run = run, .free = release };
    int r = im_library_load("liblzma.so.5", symbols, &lzma, err);
    lzma_stream *stream = r == 0 ? calloc(1, sizeof(*stream)) : NULL;

    if (r < 0)
        return r;
    if (!stream ||
        lzma.lzma_stream_decoder(stream, MEMORY_MAX,
                                 LZMA_CONCATENATED | LZMA_TELL_UNSUPPORTED_CHECK) != LZMA_OK) {
        free(stream);
        return im_fail(err, ENOMEM, "out of memory");
    }
    return im_stream_wrap(source, name, IM_SIZE_UNKNOWN, &unpacker, stream, limits, NULL, err);
}

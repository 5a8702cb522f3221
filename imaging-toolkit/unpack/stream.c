/* stream - packed bytes as a source of what comes out of them. */

#include <config.h>

#include "unpack/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "core/cancel.h"
#include "source/forward.h"

/* Read at once of what is packed. */
#define PIECE (256u << 10)

struct stream {
    struct im_source base;
    struct im_source *inner; /* owned */
    const struct im_unpacker *unpacker;
    void *state; /* the unpacker's */
    struct im_limits limits;
    struct im_proof proof;
    struct im_forward forward;
    uint8_t *in; /* PIECE bytes: from in_at to in_end they are to be taken */
    size_t in_at, in_end;
    uint64_t read;  /* bytes of inner that are, or were, in `in` */
    bool in_ended;  /* nothing follows them */
    bool at_an_end; /* of a member; another may begin */
    bool ended;     /* nothing comes out any more */
    uint64_t given;
};

static uint64_t taken(const struct stream *stream)
{
    return stream->read - (stream->in_end - stream->in_at);
}

static int check_limits(const struct stream *stream, struct im_error *err)
{
    uint64_t in = stream->inner->size == IM_SIZE_UNKNOWN ? taken(stream) : stream->inner->size;

    if (stream->given > stream->limits.max_size)
        return im_fail_code(err, EFBIG, "UnpacksTooLarge",
                            "'%s' holds more than the %" PRIu64 " bytes allowed: nothing was kept",
                            stream->base.name, stream->limits.max_size);
    if (stream->given > IM_EXPANSION_FREE && stream->given / stream->limits.expansion > in)
        return im_fail_code(err, EOPNOTSUPP, "Expansion",
                            "'%s' becomes more than %" PRIu64 " times as large (%" PRIu64
                            " bytes out of %" PRIu64
                            "): refused as a bomb; if it is none, unpack it yourself, or give the "
                            "stage 'unpack' a larger max-expansion",
                            stream->base.name, stream->limits.expansion, stream->given, in);
    return 0;
}

static int refill(struct stream *stream, struct im_error *err)
{
    size_t got = 0;
    int r;

    if (stream->in_at < stream->in_end || stream->in_ended)
        return 0;
    r = im_source_read_some(stream->inner, stream->in, PIECE, stream->read, &got, err);
    if (r < 0)
        return r;
    stream->in_at = 0;
    stream->in_end = got;
    stream->read += got;
    stream->in_ended = got < PIECE;
    return 0;
}

static int truncated(const struct stream *stream, struct im_error *err)
{
    return im_fail(err, EBADMSG,
                   "'%s' ends early: the %s data stop at byte %" PRIu64 ", after %" PRIu64
                   " bytes had come out; the file is truncated",
                   stream->base.name, stream->unpacker->what, taken(stream), stream->given);
}

/* Unpack once. */
static int step(struct stream *stream, uint8_t *out, size_t room, size_t *ret_len,
                struct im_error *err)
{
    size_t in_len, got = 0;
    bool none_left;
    int r = refill(stream, err);

    if (r < 0)
        return r;
    in_len = stream->in_end - stream->in_at;
    none_left = in_len == 0 && stream->in_ended;
    if (stream->at_an_end && none_left) {
        stream->ended = true;
        return 0;
    }
    r = stream->unpacker->run(stream->state, stream->in + stream->in_at, &in_len, stream->in_ended,
                              out, room, &got, err);
    if (r < 0) {
        im_error_prefix(err, "'%s'", stream->base.name);
        return r;
    }
    stream->in_at += in_len;
    stream->given += got;
    stream->at_an_end = r == 1;
    stream->ended = r == 1 && !stream->unpacker->joined;
    *ret_len = got;
    if (stream->proof.take && got > 0)
        stream->proof.take(stream->proof.arg, out, got);
    if (r == 0 && in_len == 0 && got == 0)
        return truncated(stream, err);
    return check_limits(stream, err);
}

static int next_bytes(void *arg, void *buf, size_t room, size_t *ret_len, struct im_error *err)
{
    struct stream *stream = arg;
    size_t len = 0;
    int r = 0;

    while (r == 0 && len < room && !stream->ended) {
        size_t got = 0;

        r = im_cancel_check(err);
        if (r == 0)
            r = step(stream, (uint8_t *)buf + len, room - len, &got, err);
        len += got;
    }
    *ret_len = len;
    return r;
}

static int stream_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                       size_t *ret_len, struct im_error *err)
{
    struct stream *stream = (struct stream *)source;

    return im_forward_read(&stream->forward, "what is unpacked in one pass", next_bytes, stream,
                           buf, len, offset, ret_len, err);
}

/* Unpack what nobody has asked for. */
static int drain(struct stream *stream, struct im_error *err)
{
    struct im_forward *forward = &stream->forward;
    int r = 0;

    while (r == 0 && !forward->ended) {
        uint8_t byte;
        size_t got;

        r = im_forward_read(forward, stream->base.name, next_bytes, stream, &byte, 1,
                            forward->start + forward->held, &got, err);
    }
    return r;
}

static int stream_finish(struct im_source *source, struct im_error *err)
{
    struct stream *stream = (struct stream *)source;
    int r = drain(stream, err);

    if (r == 0 && source->size != IM_SIZE_UNKNOWN && stream->given != source->size)
        r = im_fail(err, EBADMSG, "'%s' holds %" PRIu64 " bytes, and not %" PRIu64 " as was said",
                    source->name, stream->given, source->size);
    if (r == 0 && stream->proof.end)
        r = stream->proof.end(stream->proof.arg, taken(stream), stream->given, err);
    return r == 0 ? im_source_finish(stream->inner, err) : r;
}

static void stream_close(struct im_source *source)
{
    struct stream *stream = (struct stream *)source;

    if (stream->proof.free)
        stream->proof.free(stream->proof.arg);
    stream->unpacker->free(stream->state);
    im_forward_done(&stream->forward);
    free(stream->in);
    im_source_close(stream->inner);
}

static const struct im_source_ops stream_ops = {
    .name = "unpack",
    .read = stream_read,
    .finish = stream_finish,
    .close = stream_close,
};

int im_stream_wrap(struct im_source **source, const char *name, uint64_t size,
                   const struct im_unpacker *unpacker, void *state, const struct im_limits *limits,
                   const struct im_proof *proof, struct im_error *err)
{
    struct stream *stream = im_source_new(sizeof(*stream), &stream_ops, name);

    if (!stream) {
        unpacker->free(state);
        return im_fail(err, ENOMEM, "out of memory");
    }
    stream->unpacker = unpacker;
    stream->state = state;
    stream->limits = *limits;
    stream->base.size = size;
    stream->base.sequential = true;
    stream->in = malloc(PIECE);
    if (!stream->in || im_forward_init(&stream->forward, err) < 0) {
        im_source_close(&stream->base);
        return im_fail(err, ENOMEM, "out of memory");
    }
    stream->inner = *source; /* from here on nothing fails */
    if (proof)
        stream->proof = *proof;
    *source = &stream->base;
    return 0;
}

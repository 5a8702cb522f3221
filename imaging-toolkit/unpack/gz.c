/* gz - gzip files and bare deflate streams as sources of what comes out of them. */

#include <config.h>

#include <errno.h>

#include "core/gunzip.h"
#include "unpack/stream.h"

static int run(void *state, const void *in, size_t *in_len, bool last, void *out, size_t room,
               size_t *ret_len, struct im_error *err)
{
    (void)last;
    return im_gunzip(state, in, in_len, out, room, ret_len, err);
}

static void release(void *state)
{
    im_gunzip_free(state);
}

int im_gz_wrap(struct im_source **source, const char *name, uint64_t size,
               const struct im_limits *limits, struct im_error *err)
{
    static const struct im_unpacker unpacker = {
        .what = "gzip", .joined = true, .run = run, .free = release
    };
    struct im_gunzip *gunzip = im_gunzip_new();

    return gunzip ? im_stream_wrap(source, name, size, &unpacker, gunzip, limits, NULL, err)
                  : im_fail(err, ENOMEM, "out of memory");
}

int im_deflate_wrap(struct im_source **source, const char *name, uint64_t size,
                    const struct im_limits *limits, const struct im_proof *proof,
                    struct im_error *err)
{
    static const struct im_unpacker unpacker = { .what = "deflate", .run = run, .free = release };
    struct im_gunzip *gunzip = im_gunzip_new_bare();

    return gunzip ? im_stream_wrap(source, name, size, &unpacker, gunzip, limits, proof, err)
                  : im_fail(err, ENOMEM, "out of memory");
}

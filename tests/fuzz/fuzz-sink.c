/* fuzz-sink - takes the bytes of a walk and keeps only their sum, and where they were. */

#include <config.h>

#include "fuzz/fuzz-image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "core/inflate.h"

/* More is not looked at: a small recipe can be a disk of many gigabytes, all of it data. */
#define BYTES_MAX (64u << 20)
#define CALLS_MAX 50000u
/* What a walk may give at once; more would be a buffer nobody bounded. */
#define AT_ONCE_MAX (4u << 20)

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= UINT64_C(0x7fb5d329728ea185);
    x ^= x >> 27;
    x *= UINT64_C(0x81dadef4bc2dd44d);
    return x ^ x >> 33;
}

/* The memory was looked at by memcpy, which the sanitizers watch. */
__attribute__((no_sanitize("address"), no_sanitize("undefined"))) static fuzz_sum
add_words(fuzz_sum sum, const uint64_t *words, size_t n, uint64_t first)
{
    for (size_t i = 0; i < n; i++)
        if (words[i])
            sum += (fuzz_sum)words[i] * (mix(first + i) | 1);
    return sum;
}

fuzz_sum fuzz_add(fuzz_sum sum, const void *buf, size_t len, uint64_t offset)
{
    const uint8_t *p = buf;

    while (len > 0) {
        uint64_t words[512] = { 0 };
        size_t skip = (size_t)(offset % 8);
        size_t step = (size_t)im_min(len, sizeof(words) - skip);

        memcpy((uint8_t *)words + skip, p, step);
        sum = add_words(sum, words, (skip + step + 7) / 8, offset / 8);
        p += step;
        offset += step;
        len -= step;
    }
    return sum;
}

/* The first run that ends behind offset. */
static size_t find(const struct fuzz_sink *sink, uint64_t offset)
{
    size_t low = 0, high = sink->given_len;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (sink->given[middle].end > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void note(struct fuzz_sink *sink, uint64_t start, uint64_t end)
{
    size_t i = find(sink, start);

    if (i < sink->given_len && sink->given[i].start < end)
        fuzz_fault("byte %" PRIu64 " of the disk is given twice",
                   start > sink->given[i].start ? start : sink->given[i].start);
    if (i > 0 && sink->given[i - 1].end == start) {
        sink->given[i - 1].end = end;
        return;
    }
    if (sink->given_len == sink->given_size) {
        sink->given_size = sink->given_size ? 2 * sink->given_size : 64;
        sink->given = reallocarray(sink->given, sink->given_size, sizeof(*sink->given));
        if (!sink->given)
            fuzz_fault("out of memory");
    }
    memmove(sink->given + i + 1, sink->given + i, (sink->given_len - i) * sizeof(*sink->given));
    sink->given[i] = (struct fuzz_run){ start, end };
    sink->given_len++;
}

static int count(struct fuzz_sink *sink, size_t len, struct im_error *err)
{
    if (sink->enough)
        fuzz_fault("the walk goes on after its sink has failed");
    sink->bytes += len;
    sink->calls++;
    sink->enough = sink->fd < 0 && (sink->bytes > BYTES_MAX || sink->calls > CALLS_MAX);
    return sink->enough ? im_fail(err, ECANCELED, "enough") : 0;
}

static int on_data(struct im_sink *base, const void *buf, size_t len, uint64_t offset,
                   struct im_error *err)
{
    struct fuzz_sink *sink = (struct fuzz_sink *)base;
    int r;

    if (len == 0 || len > AT_ONCE_MAX || offset > UINT64_MAX - len)
        fuzz_fault("the walk gives %zu bytes at offset %" PRIu64, len, offset);
    r = count(sink, len, err);
    if (r < 0)
        return r;
    note(sink, offset, offset + len);
    if (offset + len > sink->end)
        sink->end = offset + len;
    sink->sum = fuzz_add(sink->sum, buf, len, offset);
    if (sink->fd >= 0 && pwrite(sink->fd, buf, len, (off_t)offset) != (ssize_t)len)
        return im_fail_errno(err, errno, "cannot write the disk");
    return 0;
}

/* In pieces of an odd length, holes left out. */
static int on_place(struct im_sink *base, struct im_source *source, uint64_t origin, uint64_t len,
                    uint64_t offset, struct im_error *err)
{
    struct fuzz_sink *sink = (struct fuzz_sink *)base;
    static uint8_t piece[70001];
    int r = count(sink, 0, err);

    if (!source->direct || offset > UINT64_MAX - len)
        fuzz_fault("the walk places %" PRIu64 " bytes at offset %" PRIu64, len, offset);
    if (offset + len > sink->end)
        sink->end = offset + len;
    while (r == 0 && len > 0) {
        struct im_extent extent = { 0 };
        uint64_t step;

        r = im_source_map(source, origin, len, &extent, err);
        step = extent.zero ? extent.len : im_min(extent.len, sizeof(piece));
        if (r == 0 && !extent.zero)
            r = im_source_read(source, piece, (size_t)step, origin, err);
        if (r == 0 && !extent.zero)
            r = on_data(base, piece, (size_t)step, offset, err);
        origin += step;
        offset += step;
        len -= step;
    }
    return r;
}

static int on_deflated(struct im_sink *base, const void *zlib, size_t zlib_len, size_t len,
                       uint64_t offset, uint64_t origin, struct im_error *err)
{
    struct im_zlib *inflate = im_zlib_new();
    uint8_t *plain IM_FREE = malloc(len);
    size_t got = 0;
    int r;

    if (!inflate || !plain || len > AT_ONCE_MAX)
        fuzz_fault("a grain of %zu bytes", len);
    r = im_zlib_inflate(inflate, zlib, zlib_len, plain, len, &got);
    im_zlib_free(inflate);
    if (r < 0 || got != len)
        return im_fail_code(err, EBADMSG, "DamagedGrain", "the grain at byte %" PRIu64, origin);
    return on_data(base, plain, len, offset, err);
}

static void on_progress(struct im_sink *sink, uint64_t done, uint64_t total)
{
    (void)sink;
    (void)done;
    (void)total;
}

void fuzz_sink_init(struct fuzz_sink *sink, int fd)
{
    *sink = (struct fuzz_sink){
        .sink = { on_data, on_place, on_deflated, on_progress },
        .fd = fd,
    };
}

void fuzz_sink_done(struct fuzz_sink *sink)
{
    free(sink->given);
}

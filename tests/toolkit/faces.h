/* faces - look at an image in memory through every face of a disk, for the tests of formats.
 *
 * An image is opened as a file (walked, then read by map and read in pieces of odd lengths), as
 * something that is fetched (walked) and as a pipe (walked).  All of them must say the same. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>

#include "core/format.h"

/* No image of these tests is larger; what claims to be is refused by the size limit. */
#define FACES_MAX (8u << 20)
/* core/source.h: how far back a pipe can look */
#define FACES_LOOK_BACK (1u << 20)

/* --- a source in memory; bytes behind `len` up to base.size are a hole --- */

struct memory {
    struct im_source base;
    const uint8_t *bytes;
    uint64_t len;
    uint64_t position;   /* where the last read ended at most */
    uint64_t bytes_read; /* in total, holes as well */
};

static inline int memory_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                              size_t *ret_len, struct im_error *err)
{
    struct memory *memory = (struct memory *)source;
    uint64_t size = source->size == IM_SIZE_UNKNOWN ? memory->len : source->size;
    size_t n = offset >= size ? 0 : len < size - offset ? len : (size_t)(size - offset);

    if (source->sequential && offset + FACES_LOOK_BACK < memory->position)
        return im_fail(err, EOPNOTSUPP, "a pipe does not go back");
    memset(buf, 0, n);
    if (offset < memory->len)
        memcpy(buf, memory->bytes + offset,
               n < memory->len - offset ? n : (size_t)(memory->len - offset));
    if (offset + n > memory->position)
        memory->position = offset + n;
    memory->bytes_read += n;
    *ret_len = n;
    return 0;
}

/* Whole sectors of zeros are holes, as on a file system with very small blocks. */
static inline int memory_map(struct im_source *source, uint64_t offset, uint64_t len,
                             struct im_extent *ret, struct im_error *err)
{
    static const uint8_t zeros[512];
    struct memory *memory = (struct memory *)source;
    uint64_t at = offset;
    bool first = true;

    (void)err;
    *ret = (struct im_extent){ .offset = offset, .len = len, .zero = true };
    while (at < offset + len && at < memory->len) {
        uint64_t end = at - at % 512 + 512;
        size_t n = (size_t)((end < memory->len ? end : memory->len) - at);
        bool zero = memcmp(memory->bytes + at, zeros, n) == 0;

        if (!first && zero != ret->zero)
            break;
        ret->zero = zero;
        first = false;
        at += n;
    }
    if (at < offset + len && (at < memory->len || (!first && !ret->zero)))
        ret->len = at - offset;
    return 0;
}

static inline void memory_close(struct im_source *source)
{
    (void)source;
}

static const struct im_source_ops memory_ops = {
    .name = "memory",
    .read = memory_read,
    .map = memory_map,
    .close = memory_close,
};

static const struct im_source_ops pipe_ops = {
    .name = "pipe",
    .read = memory_read,
    .close = memory_close,
};

static inline struct memory memory_source(const void *bytes, uint64_t len, bool sequential)
{
    static char name[] = "image";

    return (struct memory){
        .base = { .ops = sequential ? &pipe_ops : &memory_ops,
                  .name = name,
                  .size = sequential ? IM_SIZE_UNKNOWN : len,
                  .sequential = sequential },
        .bytes = bytes,
        .len = len,
    };
}

/* --- a sink in memory --- */

struct taken {
    struct im_sink sink;
    uint8_t *bytes; /* FACES_MAX of them */
    uint8_t *given; /* 1 for every byte that came */
    uint64_t end;
    uint64_t progress;
    struct libdeflate_decompressor *inflate;
};

static inline int taken_data(struct im_sink *sink, const void *buf, size_t len, uint64_t offset,
                             struct im_error *err)
{
    struct taken *taken = (struct taken *)sink;

    (void)err;
    assert_true(len > 0 && offset <= FACES_MAX && len <= FACES_MAX - offset);
    assert_null(memchr(taken->given + offset, 1, len)); /* no byte twice */
    memset(taken->given + offset, 1, len);
    memcpy(taken->bytes + offset, buf, len);
    if (offset + len > taken->end)
        taken->end = offset + len;
    return 0;
}

/* What stands in a source is read at once, in pieces of an odd length. */
static inline int taken_place(struct im_sink *sink, struct im_source *source, uint64_t origin,
                              uint64_t len, uint64_t offset, struct im_error *err)
{
    uint8_t piece[7001];

    assert_true(source->direct);
    while (len > 0) {
        size_t step = len < sizeof(piece) ? (size_t)len : sizeof(piece);
        struct im_extent extent = { 0 };
        int r = im_source_map(source, origin, step, &extent, err);

        if (r == 0) {
            step = (size_t)extent.len;
            r = extent.zero ? 0 : im_source_read(source, piece, step, origin, err);
        }
        if (r == 0 && !extent.zero)
            r = sink->data(sink, piece, step, offset, err);
        if (r < 0)
            return r;
        origin += step;
        offset += step;
        len -= step;
    }
    return 0;
}

static inline int taken_deflated(struct im_sink *sink, const void *zlib, size_t zlib_len,
                                 size_t len, uint64_t offset, uint64_t origin, struct im_error *err)
{
    struct taken *taken = (struct taken *)sink;
    uint8_t *plain = malloc(len);
    enum libdeflate_result result;
    size_t got = 0;
    int r;

    assert_non_null(plain);
    assert_true(origin % 512 == 12);
    result = libdeflate_zlib_decompress(taken->inflate, zlib, zlib_len, plain, len, &got);
    if (result == LIBDEFLATE_INSUFFICIENT_SPACE || (result == LIBDEFLATE_SUCCESS && got != len))
        r = im_fail_code(err, EBADMSG, "GrainLength", "Uncompressed data has an invalid length");
    else if (result != LIBDEFLATE_SUCCESS)
        r = im_fail_code(err, EBADMSG, "DamagedGrain", "a grain is damaged");
    else
        r = taken_data(sink, plain, len, offset, err);
    free(plain);
    return r;
}

static inline void taken_progress(struct im_sink *sink, uint64_t done, uint64_t total)
{
    struct taken *taken = (struct taken *)sink;

    (void)total;
    taken->progress = done;
}

static inline void taken_clear(struct taken *taken)
{
    memset(taken->bytes, 0, taken->end);
    memset(taken->given, 0, taken->end);
    taken->end = taken->progress = 0;
}

static inline struct taken *taken_new(void)
{
    struct taken *taken = calloc(1, sizeof(*taken));

    assert_non_null(taken);
    taken->sink = (struct im_sink){ taken_data, taken_place, taken_deflated, taken_progress };
    taken->bytes = calloc(1, FACES_MAX);
    taken->given = calloc(1, FACES_MAX);
    taken->inflate = libdeflate_alloc_decompressor();
    assert_true(taken->bytes && taken->given && taken->inflate);
    return taken;
}

static inline void taken_free(struct taken *taken)
{
    free(taken->bytes);
    free(taken->given);
    libdeflate_free_decompressor(taken->inflate);
    free(taken);
}

/* --- faces --- */

enum face { FACE_WALK, FACE_READ, FACE_FETCH, FACE_PIPE, FACES };

/* The directory of an image's further files; NULL: there is none. */
static const char *faces_extents;

/* All bytes by map and read, in pieces that cross every border. */
static inline int faces_read(struct im_disk *disk, struct taken *taken, struct im_error *err)
{
    uint64_t offset = 0;
    size_t piece = 0;

    assert_true(disk->size <= FACES_MAX);
    taken->end = disk->size;
    while (offset < disk->size) {
        struct im_extent extent;
        int r = im_disk_map(disk, offset, disk->size - offset, &extent, err);

        if (r < 0)
            return r;
        assert_true(extent.offset == offset && extent.len > 0 && extent.len <= disk->size - offset);
        while (extent.len > 0) {
            piece = (piece * 7 + 4099) % 70001 + 1;
            if (piece > extent.len)
                piece = (size_t)extent.len;
            r = im_disk_read(disk, taken->bytes + offset, piece, offset, err);
            if (r < 0)
                return r;
            for (size_t i = 0; extent.zero && i < piece; i++)
                assert_int_equal(taken->bytes[offset + i], 0);
            offset += piece;
            extent.len -= piece;
        }
    }
    return 0;
}

/* Look at an image through one face: 0 and *ret_size (bytes in taken), or the failure. */
static inline int faces_take(const struct im_format *format, const void *image, size_t len,
                             enum face face, struct taken *taken, uint64_t *ret_size,
                             struct im_error *err)
{
    struct memory memory = memory_source(image, len, face == FACE_PIPE);
    struct im_open options = { .max_size = FACES_MAX, .extents = faces_extents };
    struct im_disk *disk = NULL;
    int r;

    memory.base.direct = face == FACE_WALK || face == FACE_READ;
    r = format->open(&memory.base, &options, &disk, err);
    taken_clear(taken);
    if (r < 0) {
        assert_null(disk);
        return r;
    }
    r = face == FACE_READ ? faces_read(disk, taken, err) : im_disk_walk(disk, &taken->sink, err);
    assert_true(taken->end <= disk->size);
    *ret_size = disk->size == IM_SIZE_UNKNOWN ? taken->end : disk->size;
    im_disk_close(disk);
    return r;
}

/* The image is accepted through every face and is these bytes. */
static inline void faces_accept(const struct im_format *format, const void *image, size_t len,
                                const void *disk, uint64_t disk_len)
{
    struct taken *taken = taken_new();

    for (enum face face = 0; face < FACES; face++) {
        struct im_error err = { 0 };
        uint64_t size = 0;
        int r = faces_take(format, image, len, face, taken, &size, &err);

        if (r < 0)
            fail_msg("face %d refuses: %s", (int)face, err.message);
        assert_int_equal(size, disk_len);
        assert_memory_equal(taken->bytes, disk, (size_t)disk_len);
    }
    taken_free(taken);
}

/* The image is refused through every face, with this code and words in the sentence.  A pipe may
 * find something else first, or refuse the layout. */
static inline void faces_refuse(const struct im_format *format, const void *image, size_t len,
                                int number, const char *code, const char *words)
{
    struct taken *taken = taken_new();

    for (enum face face = 0; face < FACES; face++) {
        struct im_error err = { 0 };
        uint64_t size;
        int r = faces_take(format, image, len, face, taken, &size, &err);

        if (r == 0)
            fail_msg("face %d accepts what it must refuse for: %s", (int)face, words);
        assert_int_equal(r, -err.number);
        assert_true(err.number == EBADMSG || err.number == EOPNOTSUPP || err.number == EFBIG);
        if (face == FACE_PIPE)
            continue;
        if (err.number != number || strcmp(err.code, code) != 0 || !strstr(err.message, words))
            fail_msg("face %d: %d %s '%s', not %d %s '%s'", (int)face, err.number, err.code,
                     err.message, number, code, words);
    }
    taken_free(taken);
}

/* Whatever the image is: all faces agree about it.  `disk`, when not NULL, is what it must be if it
 * is accepted.  Returns whether it is. */
static inline bool faces_agree(const struct im_format *format, const void *image, size_t len,
                               struct taken *a, struct taken *b, const void *disk)
{
    struct im_error walk = { 0 };
    uint64_t walk_size = 0;
    int walked = faces_take(format, image, len, FACE_WALK, a, &walk_size, &walk);

    for (enum face face = FACE_READ; face < FACES; face++) {
        struct im_error err = { 0 };
        uint64_t size = 0;
        int r = faces_take(format, image, len, face, b, &size, &err);

        if (r < 0 && walked < 0)
            continue;
        if (face == FACE_PIPE && r == -EOPNOTSUPP)
            continue;
        if (r != walked)
            fail_msg("the walk says '%s', face %d says '%s'", walk.message, (int)face, err.message);
        assert_int_equal(size, walk_size);
        assert_memory_equal(a->bytes, b->bytes, (size_t)size);
    }
    if (walked == 0 && disk)
        assert_memory_equal(a->bytes, disk, (size_t)walk_size);
    return walked == 0;
}

/* A small generator of its own, so that every machine tries the same. */
static inline uint32_t faces_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

/* Cut the image at every multiple of 512: refused, or the very same disk. */
static inline void faces_truncate(const struct im_format *format, const void *image, size_t len,
                                  const void *disk)
{
    struct taken *a = taken_new();
    struct taken *b = taken_new();

    for (size_t cut = 0; cut < len; cut += 512) {
        uint8_t *part = malloc(cut + 1); /* so that the sanitizer sees what is read behind it */

        assert_non_null(part);
        memcpy(part, image, cut);
        (void)faces_agree(format, part, cut, a, b, disk);
        free(part);
    }
    taken_free(a);
    taken_free(b);
}

/* Flip one to four bits, again and again: never a crash, never two answers. */
static inline void faces_flip(const struct im_format *format, const void *image, size_t len,
                              unsigned rounds, uint64_t seed)
{
    struct taken *a = taken_new();
    struct taken *b = taken_new();
    uint8_t *copy = malloc(len);
    unsigned accepted = 0;

    assert_non_null(copy);
    for (unsigned i = 0; i < rounds; i++) {
        memcpy(copy, image, len);
        for (unsigned n = faces_random(&seed) % 4 + 1; n > 0; n--)
            copy[faces_random(&seed) % len] ^= (uint8_t)(1u << faces_random(&seed) % 8);
        accepted += faces_agree(format, copy, len, a, b, NULL);
    }
    print_message("%u of %u damaged images were accepted\n", accepted, rounds);
    assert_true(accepted < rounds);
    free(copy);
    taken_free(a);
    taken_free(b);
}

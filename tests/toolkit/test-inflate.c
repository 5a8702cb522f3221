/* The inflate pool: every grain comes out once and right, and the first bad one ends the job. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <libdeflate.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/inflate.h"

#define GRAIN  65536
#define GRAINS 100

struct disk {
    pthread_mutex_t lock;
    uint8_t bytes[GRAIN * GRAINS];
    unsigned times[GRAINS]; /* each grain was given */
};

static int take(void *arg, const void *buf, size_t len, uint64_t offset, bool tag,
                uint64_t generation, struct im_error *err)
{
    struct disk *disk = arg;

    (void)tag;
    (void)generation;
    if (offset + len > sizeof(disk->bytes) || offset % GRAIN || len % GRAIN)
        return im_fail(err, EINVAL, "out of range");
    (void)pthread_mutex_lock(&disk->lock);
    memcpy(disk->bytes + offset, buf, len);
    for (size_t i = offset / GRAIN; i < (offset + len) / GRAIN; i++)
        disk->times[i]++;
    (void)pthread_mutex_unlock(&disk->lock);
    return 0;
}

static int refuse(void *arg, const void *buf, size_t len, uint64_t offset, bool tag,
                  uint64_t generation, struct im_error *err)
{
    (void)arg;
    (void)buf;
    (void)len;
    (void)offset;
    (void)tag;
    (void)generation;
    return im_fail(err, ENOSPC, "the store is full");
}

static void fill(uint8_t *grain, unsigned seed)
{
    for (size_t i = 0; i < GRAIN; i++)
        grain[i] = (uint8_t)(i * 7 / 64 + seed * 13);
}

static size_t deflate_grain(unsigned seed, uint8_t *out, size_t room)
{
    static uint8_t grain[GRAIN];
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(1);
    size_t len;

    fill(grain, seed);
    len = libdeflate_zlib_compress(compressor, grain, sizeof(grain), out, room);
    libdeflate_free_compressor(compressor);
    assert_true(len > 0);
    return len;
}

static void every_grain_comes_out_once_and_right(void **state)
{
    struct disk *disk = calloc(1, sizeof(*disk));
    struct im_inflater *inflater = im_inflater_new(3, take, disk);
    static uint8_t zlib[2 * GRAIN], grain[GRAIN];
    struct im_error err = { 0 };

    (void)state;
    (void)pthread_mutex_init(&disk->lock, NULL);
    for (unsigned i = 0; i < GRAINS; i++) {
        unsigned at = (i * 37) % GRAINS; /* out of order */
        size_t len = deflate_grain(at, zlib, sizeof(zlib));

        assert_int_equal(im_inflater_add(inflater, zlib, len, GRAIN, (uint64_t)at * GRAIN, i, &err),
                         0);
    }
    assert_int_equal(im_inflater_drain(inflater, &err), 0);
    for (unsigned i = 0; i < GRAINS; i++) {
        fill(grain, i);
        assert_int_equal(disk->times[i], 1);
        assert_memory_equal(disk->bytes + (size_t)i * GRAIN, grain, GRAIN);
    }
    im_inflater_free(inflater);
    free(disk);
}

static void expect_bad(const uint8_t *zlib, size_t len, size_t want, const char *code)
{
    struct disk *disk = calloc(1, sizeof(*disk));
    struct im_inflater *inflater = im_inflater_new(2, take, disk);
    struct im_error err = { 0 };

    assert_int_equal(im_inflater_add(inflater, zlib, len, want, 0, 512, &err), 0);
    assert_int_equal(im_inflater_drain(inflater, &err), -EBADMSG);
    assert_string_equal(err.code, code);
    assert_non_null(strstr(err.message, "byte 512 of the file"));
    assert_int_equal(disk->times[0], 0);
    im_inflater_free(inflater);
    free(disk);
}

static void a_grain_of_the_wrong_length_is_refused(void **state)
{
    static uint8_t zlib[2 * GRAIN];
    size_t len = deflate_grain(1, zlib, sizeof(zlib));

    (void)state;
    expect_bad(zlib, len, GRAIN - 1, "GrainLength"); /* inflates to one byte more */
    expect_bad(zlib, len, GRAIN + 1, "GrainLength"); /* … and one byte less */
}

static void a_damaged_grain_is_refused(void **state)
{
    static uint8_t zlib[2 * GRAIN];
    size_t len = deflate_grain(1, zlib, sizeof(zlib));

    (void)state;
    zlib[len - 1] ^= 1; /* Adler-32 */
    expect_bad(zlib, len, GRAIN, "DamagedGrain");
    zlib[len - 1] ^= 1;
    expect_bad(zlib, len - 5, GRAIN, "DamagedGrain"); /* cut */
}

static void the_stores_failure_is_the_jobs(void **state)
{
    struct im_inflater *inflater = im_inflater_new(2, refuse, NULL);
    static uint8_t zlib[2 * GRAIN];
    size_t len = deflate_grain(1, zlib, sizeof(zlib));
    struct im_error err = { 0 };
    int r = 0;

    (void)state;
    for (unsigned i = 0; r == 0 && i < 10000; i++)
        r = im_inflater_add(inflater, zlib, len, GRAIN, 0, 0, &err);
    assert_int_equal(r, -ENOSPC); /* told long before the end */
    assert_int_equal(im_inflater_drain(inflater, &err), -ENOSPC);
    im_inflater_free(inflater);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_grain_comes_out_once_and_right),
        cmocka_unit_test(a_grain_of_the_wrong_length_is_refused),
        cmocka_unit_test(a_damaged_grain_is_refused),
        cmocka_unit_test(the_stores_failure_is_the_jobs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

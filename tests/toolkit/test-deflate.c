/* The pool of compressing threads: every grain in order and whole, zeros left out, failures told.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/deflate.h"
#include "core/inflate.h"

#define GRAIN (64u * 1024)

/* What a disk is made of, by the number of the grain. */
enum { ZEROS, TEXT, NOISE, KINDS };

static void fill(uint8_t *grain, uint64_t number, size_t len)
{
    uint64_t seed = number * 2654435761u + 1;

    memset(grain, 0, len);
    for (size_t i = 0; number % KINDS != ZEROS && i < len; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        grain[i] = number % KINDS == TEXT ? (uint8_t)(i % 61 + number) : (uint8_t)(seed >> 56);
    }
}

/* Takes the output, inflates it and compares. */
struct taker {
    struct im_zlib *zlib;
    size_t grain;
    uint64_t next; /* no grain before this one may come any more */
    unsigned count;
    uint64_t fail_at; /* offset at which the output fails; UINT64_MAX: never */
    size_t bytes;
};

static int take(void *arg, const void *zlib, size_t len, uint64_t offset, struct im_error *err)
{
    struct taker *taker = arg;
    uint8_t *want = malloc(taker->grain), *got = malloc(taker->grain);
    size_t got_len = 0;

    if (offset == taker->fail_at)
        return free(want), free(got), im_fail(err, ENOSPC, "the store is full");
    assert_true(offset >= taker->next && offset % taker->grain == 0);
    taker->next = offset + taker->grain;
    fill(want, offset / taker->grain, taker->grain);
    assert_int_equal(im_zlib_inflate(taker->zlib, zlib, len, got, taker->grain, &got_len), 0);
    assert_int_equal(got_len, taker->grain);
    assert_memory_equal(got, want, taker->grain);
    taker->count++;
    taker->bytes += len;
    free(want);
    free(got);
    return 0;
}

/* Compress `grains` grains; the result of the first call that failed, or of the drain. */
static int compress(struct taker *taker, unsigned jobs, enum im_level level, uint64_t grains,
                    struct im_error *err)
{
    struct im_deflater *deflater = im_deflater_new(jobs, level, taker->grain, take, taker);
    uint64_t per_batch = IM_DEFLATE_BATCH / taker->grain;
    int r = 0;

    assert_non_null(deflater);
    taker->zlib = im_zlib_new();
    for (uint64_t at = 0; r == 0 && at < grains; at += per_batch) {
        uint64_t n = grains - at < per_batch ? grains - at : per_batch;
        void *buf = NULL;

        r = im_deflater_reserve(deflater, (size_t)n * taker->grain, at * taker->grain, &buf, err);
        for (uint64_t i = 0; r == 0 && i < n; i++)
            fill((uint8_t *)buf + i * taker->grain, at + i, taker->grain);
    }
    if (r == 0)
        r = im_deflater_drain(deflater, err);
    im_deflater_free(deflater);
    im_zlib_free(taker->zlib);
    return r;
}

static void all_come_in_order(void **state)
{
    static const size_t sizes[] = { 4096, GRAIN, IM_DEFLATE_BATCH };

    (void)state;
    for (unsigned jobs = 1; jobs <= IM_INFLATE_JOBS_MAX; jobs += jobs < 3 ? 1 : 5)
        for (enum im_level level = IM_LEVEL_FAST; level <= IM_LEVEL_BEST; level++)
            for (size_t i = 0; i < 3; i++) {
                struct taker taker = { .grain = sizes[i], .fail_at = UINT64_MAX };
                uint64_t grains = 5 * (IM_DEFLATE_BATCH / sizes[i]) + 2;
                struct im_error err = { 0 };

                assert_int_equal(compress(&taker, jobs, level, grains, &err), 0);
                assert_int_equal(taker.count, grains - (grains + 2) / 3); /* every third is zeros */
            }
}

/* Noise does not shrink; its stream still fits what decoders take. */
static void noise_grows_little(void **state)
{
    struct taker taker = { .grain = GRAIN, .fail_at = UINT64_MAX };
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(compress(&taker, 2, IM_LEVEL_FAST, 3, &err), 0);
    assert_int_equal(taker.count, 2);
    assert_in_range(taker.bytes, GRAIN, GRAIN + GRAIN / 8);
}

static void a_failure_of_the_output_is_told(void **state)
{
    struct im_error err = { 0 };

    (void)state;
    for (unsigned jobs = 1; jobs <= 2; jobs++)
        for (uint64_t grain = 1; grain < 200; grain += 36) {
            struct taker taker = { .grain = GRAIN, .fail_at = grain * GRAIN };

            assert_int_equal(compress(&taker, jobs, IM_LEVEL_FAST, 200, &err), -ENOSPC);
            assert_string_equal(err.message, "the store is full");
            assert_true(taker.next <= grain * GRAIN); /* and nothing comes after it */
        }
}

/* Freed with work in hand, as after a cancel. */
static void what_is_queued_is_dropped(void **state)
{
    struct taker taker = { .grain = GRAIN, .fail_at = UINT64_MAX, .zlib = im_zlib_new() };
    struct im_deflater *deflater = im_deflater_new(2, IM_LEVEL_BEST, GRAIN, take, &taker);
    struct im_error err = { 0 };

    (void)state;
    for (uint64_t at = 0; at < 8; at++) {
        void *buf;

        assert_int_equal(
            im_deflater_reserve(deflater, IM_DEFLATE_BATCH, at * IM_DEFLATE_BATCH, &buf, &err), 0);
        for (uint64_t i = 0; i < 16; i++)
            fill((uint8_t *)buf + i * GRAIN, at * 16 + i, GRAIN);
    }
    assert_null(im_deflater_free(deflater));
    im_zlib_free(taker.zlib);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_come_in_order),
        cmocka_unit_test(noise_grows_little),
        cmocka_unit_test(a_failure_of_the_output_is_told),
        cmocka_unit_test(what_is_queued_is_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Gzip streams in pieces of every size: the bytes come out, each defect is told, nothing is taken
 * that is not the stream's. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "core/gunzip.h"

#define PLAIN 100000u
#define ROOM  (PLAIN + 65536u)

static uint8_t plain[PLAIN], packed[ROOM], got[2 * PLAIN + 1];

/* Pack the first len bytes of plain; the length of the stream. */
static size_t pack(size_t len)
{
    z_stream stream = { 0 };
    size_t out;

    for (size_t i = 0; i < PLAIN; i++)
        plain[i] = (uint8_t)(i % 7 == 0 ? i * 31 >> 3 : i >> 9);
    assert_int_equal(deflateInit2(&stream, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = plain;
    stream.avail_in = (unsigned)len;
    stream.next_out = packed;
    stream.avail_out = ROOM;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out = ROOM - stream.avail_out;
    (void)deflateEnd(&stream);
    return out;
}

/* Unpack a member, `in` bytes and `out` bytes at once: im_gunzip's last result. */
static int unpack(struct im_gunzip *gunzip, size_t len, size_t in, size_t out, size_t *ret_taken,
                  size_t *ret_got, struct im_error *err)
{
    size_t taken = 0, given = 0;
    int r = 0;

    while (r == 0 && given + out <= sizeof(got)) {
        size_t n = in < len - taken ? in : len - taken, m = 0;

        r = im_gunzip(gunzip, packed + taken, &n, got + given, out, &m, err);
        taken += n;
        given += m;
        if (r == 0 && n == 0 && m == 0)
            break; /* it ends early */
    }
    *ret_taken = taken;
    *ret_got = given;
    return r;
}

static void all_pieces_give_the_same(void **state)
{
    static const size_t sizes[] = { 1, 7, 4096, ROOM };
    static const size_t lengths[] = { 0, 1, 32768, PLAIN };

    (void)state;
    for (size_t l = 0; l < 4; l++) {
        size_t len = pack(lengths[l]);

        for (size_t i = 0; i < 16; i++) {
            struct im_gunzip *gunzip = im_gunzip_new();
            size_t taken, given, out = sizes[i / 4] < PLAIN ? sizes[i / 4] : PLAIN;

            packed[len] = 'x'; /* follows it, and is none of its business */
            assert_int_equal(unpack(gunzip, len + 1, sizes[i % 4], out, &taken, &given, NULL), 1);
            assert_int_equal(taken, len);
            assert_int_equal(given, lengths[l]);
            assert_memory_equal(got, plain, given);
            im_gunzip_free(gunzip);
        }
    }
}

static void joined_members_follow_each_other(void **state)
{
    struct im_gunzip *gunzip = im_gunzip_new();
    size_t len = pack(5000), taken, given;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(unpack(gunzip, len, 100, 1000, &taken, &given, NULL), 1);
        assert_int_equal(given, 5000);
    }
    im_gunzip_free(gunzip);
}

/* Change one byte at `at` and unpack. */
static int damaged(size_t at, uint8_t change, struct im_error *err)
{
    struct im_gunzip *gunzip = im_gunzip_new();
    size_t len = pack(5000), taken, given;
    int r;

    packed[at == SIZE_MAX ? len - 8 : at] ^= change; /* SIZE_MAX: its CRC */
    r = unpack(gunzip, len, ROOM, PLAIN, &taken, &given, err);
    im_gunzip_free(gunzip);
    return r;
}

static void defects_are_told(void **state)
{
    struct im_gunzip *gunzip = im_gunzip_new();
    struct im_error err = { 0 };
    size_t len, taken, given;

    (void)state;
    assert_int_equal(damaged(4, 1, NULL), 1); /* its time: nobody's business */
    assert_int_equal(damaged(0, 1, &err), -EBADMSG);
    assert_string_equal(err.code, "DamagedGzip");
    assert_int_equal(damaged(SIZE_MAX, 1, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "incorrect data check"));
    len = pack(5000);
    /* cut: neither an end nor an error, for more could come */
    assert_int_equal(unpack(gunzip, len - 1, ROOM, PLAIN, &taken, &given, NULL), 0);
    im_gunzip_free(gunzip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_pieces_give_the_same),
        cmocka_unit_test(joined_members_follow_each_other),
        cmocka_unit_test(defects_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

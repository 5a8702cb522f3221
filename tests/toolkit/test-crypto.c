/* Digests, HMAC, AES-GCM and encodings against published values: RFC 1321, FIPS 180-4, RFC 2202,
 * RFC 4231, RFC 4648, NIST SP 800-38A, and the paper on GCM. */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/md5.h"
#include "base/sha256.h"

static const struct {
    enum im_hash hash;
    size_t size;
    const char *abc, *nothing, *hmac_jefe; /* HMAC case 2 of both RFCs */
} rows[] = {
    { IM_MD5, 16, "900150983cd24fb0d6963f7d28e17f72", "d41d8cd98f00b204e9800998ecf8427e",
      "750c783e6ab0b503eaa86e310a5db738" },
    { IM_SHA1, 20, "a9993e364706816aba3e25717850c26c9cd0d89d",
      "da39a3ee5e6b4b0d3255bfef95601890afd80709", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79" },
    { IM_SHA256, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void assert_digest(const uint8_t *digest, size_t size, const char *wanted)
{
    char hex[2 * IM_HASH_MAX + 1];

    im_hex(digest, size, hex);
    assert_string_equal(hex, wanted);
}

static void digests_are_the_published_ones(void **state)
{
    uint8_t digest[IM_HASH_MAX];

    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        struct im_hasher *hasher = im_hasher_new(rows[i].hash);

        assert_int_equal(im_hash_size(rows[i].hash), rows[i].size);
        im_hash(rows[i].hash, "abc", 3, digest);
        assert_digest(digest, rows[i].size, rows[i].abc);
        im_hash(rows[i].hash, NULL, 0, digest);
        assert_digest(digest, rows[i].size, rows[i].nothing);

        im_hasher_add(hasher, "a", 1);
        im_hasher_add(hasher, NULL, 0);
        im_hasher_add(hasher, "bc", 2);
        im_hasher_end(hasher, digest);
        assert_digest(digest, rows[i].size, rows[i].abc);
        assert_null(im_hasher_free(hasher));
    }
    assert_null(im_hasher_free(NULL));
}

static void hmacs_are_the_published_ones(void **state)
{
    const char *text = "what do ya want for nothing?";
    uint8_t digest[IM_HASH_MAX];

    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        im_hmac(rows[i].hash, "Jefe", 4, text, strlen(text), digest);
        assert_digest(digest, rows[i].size, rows[i].hmac_jefe);
    }
    /* Python: hmac.new(b'', b'', 'sha256') */
    im_hmac(IM_SHA256, NULL, 0, NULL, 0, digest);
    assert_digest(digest, 32, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void base64_is_padded(void **state)
{
    static const char *const pairs[][2] = {
        { "", "" },        { "f", "Zg==" },        { "fo", "Zm8=" },
        { "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "\xff\xfe\xfd", "//79" }
    };
    char out[16];

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        im_base64(pairs[i][0], strlen(pairs[i][0]), out);
        assert_string_equal(out, pairs[i][1]);
    }
}

static void comparison_takes_every_byte(void **state)
{
    (void)state;
    assert_true(im_equal_secret("", ""));
    assert_true(im_equal_secret("secret", "secret"));
    assert_false(im_equal_secret("secret", "Secret"));
    assert_false(im_equal_secret("secret", "secreT"));
    assert_false(im_equal_secret("secret", "secret1"));
    assert_false(im_equal_secret("secret", ""));
}

static void random_bytes_fill_the_buffer_and_differ(void **state)
{
    uint8_t first[33] = { 0 }, second[33] = { 0 };

    (void)state;
    im_random(first, 32);
    im_random(second, 32);
    assert_memory_not_equal(first, second, 32);
    assert_int_equal(first[32], 0);
}

/* Begun, kept as numbers, gone on with and ended: the MD5 OpenSSL finds at once. */
static void an_md5_that_is_gone_on_with(void **state)
{
    static uint8_t bytes[1024];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    for (size_t first = 0; first <= 512; first += 64)
        for (size_t rest = 0; rest <= 130; rest++) {
            struct im_md5_run run = im_md5_run_new(), kept;
            uint8_t md5[16], alone[16];

            im_md5_run_add(&run, bytes, first / 128 * 64);
            kept = (struct im_md5_run){ .len = run.len };
            memcpy(kept.word, run.word, sizeof(kept.word));
            im_md5_run_add(&kept, bytes + first / 128 * 64, first - first / 128 * 64);
            assert_int_equal(kept.len, first);
            im_md5_run_end(&kept, bytes + first, rest, md5);
            im_hash(IM_MD5, bytes, first + rest, alone);
            assert_memory_equal(md5, alone, 16);
        }
}

/* Whatever lies beside it, an MD5 is the one OpenSSL finds alone: all lengths around a block's end,
 * and long ones beside short ones. */
static void md5s_side_by_side(void **state)
{
    static const size_t lengths[] = { 0, 1, 3, 55, 56, 63, 64, 65, 119, 120, 128, 1000, 70001 };
    const size_t count = sizeof(lengths) / sizeof(lengths[0]);
    uint8_t *bytes IM_FREE = malloc(70001 + 2);
    uint8_t alone[IM_HASH_MAX];

    (void)state;
    for (size_t i = 0; i < 70001 + 2; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t i = 0; i < count * count * count; i++) {
        struct im_md5 md5[IM_MD5_LANES] = {
            { .data = bytes, .len = lengths[i % count] },
            { .data = bytes + 1, .len = lengths[i / count % count] },
            { .data = bytes + 2, .len = lengths[i / count / count] },
        };
        size_t lanes = 1 + i % IM_MD5_LANES;

        im_md5_many(md5, lanes);
        for (size_t l = 0; l < lanes; l++) {
            im_hash(IM_MD5, md5[l].data, md5[l].len, alone);
            assert_memory_equal(md5[l].digest, alone, 16);
        }
    }
}

/* Each block's SHA-256 is its own: every number of them, also where a few are left over, and sizes
 * that only OpenSSL takes. */
static void sha256s_side_by_side(void **state)
{
    static const size_t sizes[] = { 0, 1, 55, 64, 100, 128, 4096 };
    const size_t most = 3 * IM_SHA256_LANES + 1;
    uint8_t *bytes IM_FREE = malloc(4096 * most + 1);
    uint8_t *digests IM_FREE = malloc(32 * most);
    uint8_t alone[IM_HASH_MAX];

    (void)state;
    for (size_t i = 0; i < 4096 * most + 1; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) * (most + 1); i++) {
        size_t size = sizes[i / (most + 1)], count = i % (most + 1);

        memset(digests, 0, 32 * most);
        assert_int_equal(im_sha256_blocks(bytes + 1, size, count, digests), 0);
        for (size_t k = 0; k < count; k++) {
            im_hash(IM_SHA256, bytes + 1 + k * size, size, alone);
            assert_memory_equal(digests + 32 * k, alone, 32);
        }
    }
}

/* Bytes of hexadecimal text; how many. */
static size_t from_hex(const char *text, uint8_t *bytes)
{
    size_t len = strlen(text) / 2;

    for (size_t i = 0; i < len; i++) {
        char pair[3] = { text[2 * i], text[2 * i + 1], '\0' };

        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return len;
}

/* Test case 16 of "The Galois/Counter Mode of Operation (GCM)", McGrew and Viega. */
static void gcm_is_the_published_one(void **state)
{
    uint8_t key[32], nonce[12], aad[32], plain[64], cipher[64], tag[16], out[64], out_tag[16];
    size_t len, aad_len;

    (void)state;
    (void)from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", key);
    (void)from_hex("cafebabefacedbaddecaf888", nonce);
    (void)from_hex("76fc6ece0f4e1768cddf8853bb2d551b", tag);
    aad_len = from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2", aad);
    len = from_hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                   "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
                   plain);
    (void)from_hex("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
                   "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
                   cipher);
    im_gcm_seal(key, nonce, aad, aad_len, plain, len, out, out_tag);
    assert_memory_equal(out, cipher, len);
    assert_memory_equal(out_tag, tag, sizeof(tag));
    assert_int_equal(im_gcm_open(key, nonce, aad, aad_len, cipher, len, tag, out), 0);
    assert_memory_equal(out, plain, len);
    for (size_t i = 0; i < 8 * sizeof(tag); i++) {
        tag[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(im_gcm_open(key, nonce, aad, aad_len, cipher, len, tag, out), -EBADMSG);
        assert_int_equal(out[0] | out[len - 1], 0);
        tag[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    assert_int_equal(im_gcm_open(key, nonce, aad, aad_len - 1, cipher, len, tag, out), -EBADMSG);
}

/* Encrypt or decrypt len bytes, `step` at once; im_cbc_end's result. */
static int cbc(bool encrypt, const void *in, size_t len, size_t step, uint8_t *out, size_t *ret_len)
{
    static const uint8_t key[IM_CBC_KEY] = { 0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6,
                                             0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c };
    static const uint8_t vector[IM_CBC_KEY] = {
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    };
    struct im_cbc *context = im_cbc_new(encrypt, key, vector);
    size_t n;
    int r;

    *ret_len = 0;
    for (size_t at = 0; at < len; at += step) {
        im_cbc_add(context, (const uint8_t *)in + at, step < len - at ? step : len - at,
                   out + *ret_len, &n);
        *ret_len += n;
    }
    r = im_cbc_end(context, out + *ret_len, &n);
    *ret_len += r == 0 ? n : 0;
    im_cbc_free(context);
    return r;
}

/* SP 800-38A, F.2.1, the first two blocks. */
static void cbc_is_the_published_one(void **state)
{
    static const uint8_t plain[32] = { 0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96,
                                       0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a,
                                       0xae, 0x2d, 0x8a, 0x57, 0x1e, 0x03, 0xac, 0x9c,
                                       0x9e, 0xb7, 0x6f, 0xac, 0x45, 0xaf, 0x8e, 0x51 };
    uint8_t out[64], back[80];
    char hex[65];
    size_t len, back_len;

    (void)state;
    for (size_t step = 1; step <= 32; step++) {
        assert_int_equal(cbc(true, plain, 32, step, out, &len), 0);
        assert_int_equal(len, 48); /* with a block of padding */
        im_hex(out, 32, hex);
        assert_string_equal(hex,
                            "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2");
        assert_int_equal(cbc(false, out, 48, step, back, &back_len), 0);
        assert_int_equal(back_len, 32);
        assert_memory_equal(back, plain, 32);
        assert_int_equal(cbc(false, out, 32, step, back, &back_len), -EBADMSG); /* no padding */
        assert_int_equal(cbc(false, out, 47, step, back, &back_len), -EBADMSG);
    }
    assert_int_equal(cbc(false, out, 0, 1, back, &back_len), -EBADMSG);
}

static void wiped_bytes_are_zero(void **state)
{
    char secret[] = "secret";

    (void)state;
    im_wipe(secret, 3);
    assert_memory_equal(secret, "\0\0\0ret", 7);
    assert_true(im_equal_bytes("abc", "abd", 2));
    assert_false(im_equal_bytes("abc", "abd", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_the_published_ones),
        cmocka_unit_test(hmacs_are_the_published_ones),
        cmocka_unit_test(gcm_is_the_published_one),
        cmocka_unit_test(cbc_is_the_published_one),
        cmocka_unit_test(wiped_bytes_are_zero),
        cmocka_unit_test(base64_is_padded),
        cmocka_unit_test(comparison_takes_every_byte),
        cmocka_unit_test(random_bytes_fill_the_buffer_and_differ),
        cmocka_unit_test(md5s_side_by_side),
        cmocka_unit_test(an_md5_that_is_gone_on_with),
        cmocka_unit_test(sha256s_side_by_side),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

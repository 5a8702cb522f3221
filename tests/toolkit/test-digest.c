/* The Merkle digest: known answers (of Debian's fsverity 1.5), and the same digest whatever order
 * and pieces the data come in. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "core/digest.h"

#define MIB (UINT64_C(1) << 20)

/* A sparse file in memory: data every so often, read through read_file. */
struct file {
    uint64_t size;
    uint64_t stride, run; /* `run` bytes of data at every multiple of `stride` */
    unsigned reads;
};

static bool is_data(const struct file *file, uint64_t offset)
{
    return file->run > 0 && offset % file->stride < file->run;
}

static int read_file(void *arg, void *buf, size_t len, uint64_t offset, struct im_error *err)
{
    struct file *file = arg;
    uint8_t *out = buf;

    (void)err;
    assert_true(offset + len <= file->size);
    file->reads++;
    for (size_t i = 0; i < len; i++)
        out[i] = is_data(file, offset + i) ? (uint8_t)((offset + i) / 7 + (offset + i) % 251) : 0;
    return 0;
}

static void add(struct im_digest *digest, struct file *file, uint64_t offset, size_t len)
{
    struct im_error err = { 0 };
    uint8_t *buf = malloc(len);

    assert_non_null(buf);
    assert_int_equal(read_file(file, buf, len, offset, &err), 0);
    assert_int_equal(im_digest_add(digest, buf, len, offset, &err), 0);
    free(buf);
}

static const char *end(struct im_digest *digest, struct file *file)
{
    static char text[2 * IM_FSVERITY_LEN + 1];
    uint8_t value[IM_FSVERITY_LEN];
    struct im_error err = { 0 };

    file->reads = 0;
    assert_int_equal(im_digest_end(digest, file->size, read_file, file, value, &err), 0);
    im_digest_free(digest);
    im_hex(value, sizeof(value), text);
    return text;
}

static struct im_digest *new_digest(void)
{
    struct im_digest *digest = im_digest_new();

    assert_non_null(digest);
    return digest;
}

/* As a copy in disk order would do: pieces of `piece` bytes that hold data. */
static const char *in_order(struct file *file, size_t piece)
{
    struct im_digest *digest = new_digest();

    for (uint64_t offset = 0; offset < file->size; offset += piece) {
        size_t len = file->size - offset < piece ? (size_t)(file->size - offset) : piece;

        if (is_data(file, offset) || is_data(file, offset + len - 1))
            add(digest, file, offset, len);
    }
    return end(digest, file);
}

/* "truncate -s SIZE f; fsverity digest f" */
static void test_zeros(void **state)
{
    static const struct {
        uint64_t size;
        const char *digest;
    } cases[] = {
        { UINT64_C(0), "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95" },
        { UINT64_C(1), "b803429503d95915829b29fdbc8bbad142f3abfd11b1cadf5526582e685c0551" },
        { UINT64_C(4095), "5372beb83c78537c8970c8361e3254119fafdf1763854ecd57d3f0fe2da7c719" },
        { UINT64_C(4096), "babc284ee4ffe7f449377fbf6692715b43aec7bc39c094a95878904d34bac97e" },
        { UINT64_C(4097), "093756e4ea9683329106d4a16982682ed182c14bf076463a9e7f97305cbac743" },
        { UINT64_C(8192), "be54121da3877f8852c65136d731784f134c4dd9d95071502e80d7be9f99b263" },
        { UINT64_C(524288), "2d15bd7832895de85aa3d5bdfb57251e27bbec75ff467408340ab3eba858a2e1" },
        { UINT64_C(524289), "e4143a5705610b7ad2eb85482cfc033c7062a89b9faf9118603f592d53fd10e0" },
        { UINT64_C(67108864), "382b8844ad09fb5f7b53e0fc27413cd4e72f47d69604dac5d4865e609ba33c53" },
        { UINT64_C(67108865), "be5993679f703697692cc6ce69e480edc9721baff591795438ae8097275c0687" },
        { UINT64_C(8589934593),
          "c9edc0b71ef6a67bebfcb5cbceb13f04da52ea3308cf272cff705cd05161020a" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct file file = { .size = cases[i].size };

        assert_string_equal(end(new_digest(), &file), cases[i].digest);
        assert_true(file.reads <= 1); /* the last group; holes cost nothing */
    }
}

/* The digest of a file with data, by the file reader that verify uses. */
static void of_file(struct file *file, unsigned jobs, char *ret_text)
{
    FILE *real = tmpfile();
    uint8_t value[IM_FSVERITY_LEN];
    struct im_error err = { 0 };
    uint8_t *buf = malloc(MIB);

    assert_non_null(real);
    assert_int_equal(ftruncate(fileno(real), (off_t)file->size), 0);
    for (uint64_t offset = 0; offset < file->size; offset += file->stride) {
        uint64_t left = file->size - offset;
        size_t len = (size_t)(left < file->run ? left : file->run);

        assert_int_equal(read_file(file, buf, len, offset, &err), 0);
        assert_int_equal(pwrite(fileno(real), buf, len, (off_t)offset), len);
    }
    assert_int_equal(im_digest_file(fileno(real), file->size, jobs, NULL, value, &err), 0);
    im_hex(value, sizeof(value), ret_text);
    free(buf);
    (void)fclose(real);
}

static void test_any_order(void **state)
{
    struct file file = { .size = 70 * MIB + 4096 * 3 + 5, .stride = 192 * 1024, .run = 64 * 1024 };
    char wanted[2 * IM_FSVERITY_LEN + 1], two[2 * IM_FSVERITY_LEN + 1];
    struct im_digest *digest = new_digest();

    (void)state;
    of_file(&file, 1, wanted);
    of_file(&file, 4, two);
    assert_string_equal(two, wanted);
    assert_string_equal(in_order(&file, 64 * 1024), wanted);
    assert_int_equal(file.reads, 1); /* only the end, which is no whole group */
    assert_string_equal(in_order(&file, 4096), wanted);

    /* backwards, and then every other first: groups fall out of the open ones and are read again */
    for (uint64_t offset = file.size - file.size % file.stride; offset > 0; offset -= file.stride)
        add(digest, &file, offset - file.stride, 64 * 1024);
    add(digest, &file, file.size - file.size % file.stride,
        (size_t)(file.size % file.stride < file.run ? file.size % file.stride : file.run));
    assert_string_equal(end(digest, &file), wanted);
}

/* More groups in work than are kept open, and pieces that come back to them. */
static void test_late_pieces(void **state)
{
    struct file file = { .size = 400 * MIB, .stride = 256 * 1024, .run = 4096 };
    struct im_digest *digest = new_digest();
    char wanted[2 * IM_FSVERITY_LEN + 1];

    (void)state;
    (void)snprintf(wanted, sizeof(wanted), "%s", in_order(&file, 4096));
    for (uint64_t offset = 0; offset < file.size; offset += 2 * file.stride)
        add(digest, &file, offset, 4096);
    for (uint64_t offset = file.stride; offset < file.size; offset += 2 * file.stride)
        add(digest, &file, offset, 4096);
    assert_string_equal(end(digest, &file), wanted);
    assert_true(file.reads > 100);
}

/* Pieces that cut blocks in two. */
static void test_odd_pieces(void **state)
{
    struct file file = { .size = 3 * MIB + 700, .stride = 1, .run = 1 };
    char wanted[2 * IM_FSVERITY_LEN + 1];

    (void)state;
    (void)snprintf(wanted, sizeof(wanted), "%s", in_order(&file, 1 << 20));
    assert_string_equal(in_order(&file, 7001), wanted);
    assert_string_equal(in_order(&file, 512), wanted);
    assert_string_equal(in_order(&file, 12288), wanted);
}

static void test_too_large(void **state)
{
    struct im_digest *digest = new_digest();
    struct im_error err;
    uint8_t block[4096] = { 1 };

    (void)state;
    assert_int_equal(im_digest_add(digest, block, sizeof(block), UINT64_C(1) << 46, &err), -EFBIG);
    im_digest_free(digest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeros),       cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_late_pieces), cmocka_unit_test(test_odd_pieces),
        cmocka_unit_test(test_too_large),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

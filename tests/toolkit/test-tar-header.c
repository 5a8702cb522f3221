/* Headers of tar files byte by byte: which numbers they may hold, what a member is called, and that
 * a header made here is read again.  Bundles as whole files are toolkit/unbundle.py's. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "source/tar.h"

enum { SIZE = 124, SUM = 148, TYPE = 156 };

/* Put the checksum that the bytes have, with blanks before its digits. */
static void sum_up(uint8_t block[IM_TAR_BLOCK])
{
    unsigned sum = 0;
    char digits[9];

    memset(block + SUM, ' ', 8);
    for (size_t i = 0; i < IM_TAR_BLOCK; i++)
        sum += block[i];
    (void)snprintf(digits, sizeof(digits), "%7o ", sum);
    memcpy(block + SUM, digits, 8);
}

static int read_size(const char field[12], uint64_t *ret_size, struct im_error *err)
{
    struct im_tar_header header = { .size = 77 };
    uint8_t block[IM_TAR_BLOCK];
    int r;

    im_tar_make(block, "a", 0);
    memcpy(block + SIZE, field, 12);
    sum_up(block);
    r = im_tar_header(block, &header, err);
    *ret_size = header.size;
    return r;
}

static void sizes_are_octal_or_binary(void **state)
{
    static const struct {
        char field[13];
        uint64_t size;
    } good[] = {
        { "00000000012", 10 },
        { "         12 ", 10 },
        { "12\0\0\0\0\0\0\0\0\0\0", 10 },
        { "777777777777", (UINT64_C(1) << 36) - 1 },
        { "\x80\0\0\0\0\0\0\2\0\0\0\1", (UINT64_C(2) << 32) + 1 },
        { "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", INT64_MAX },
    };
    static const char bad[][13] = {
        "            ",
        "\0\0\0\0\0\0\0\0\0\0\0\0",
        "00000000018",
        "-0000000001",
        "1 1        ",
        "\x80\0\0\0\x80\0\0\0\0\0\0\0", /* beyond INT64_MAX */
        "\x80\0\0\1\0\0\0\0\0\0\0\0",
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", /* negative */
    };
    struct im_error err;
    uint64_t size;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(read_size(good[i].field, &size, &err), 0);
        assert_true(size == good[i].size);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(read_size(bad[i], &size, &err), -EBADMSG);
        assert_string_equal(err.message, "a tar header has a damaged size");
        assert_int_equal(size, 77);
    }
}

static void what_is_made_is_read_again(void **state)
{
    static const uint64_t sizes[] = { 0, 512, (UINT64_C(1) << 33) - 1, UINT64_C(1) << 33,
                                      INT64_MAX };
    struct im_tar_header header;
    uint8_t block[IM_TAR_BLOCK];
    struct im_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        im_tar_make(block, "image", sizes[i]);
        assert_int_equal(im_tar_header(block, &header, &err), 0);
        assert_int_equal(header.kind, IM_TAR_FILE);
        assert_true(header.size == sizes[i]);
        block[0] ^= 1;
        assert_int_equal(im_tar_header(block, &header, &err), -EBADMSG);
        assert_string_equal(err.message, "what should be a tar header has a wrong checksum");
    }
    memset(block, 0, sizeof(block));
    assert_int_equal(im_tar_header(block, &header, &err), 0);
    assert_int_equal(header.kind, IM_TAR_END);
}

static void members_have_kinds_and_names(void **state)
{
    static const struct {
        const char *name;
        char type;
        enum im_tar_kind kind;
        const char *called; /* NULL: it is never told */
    } rows[] = {
        { "a", '0', IM_TAR_FILE, NULL },
        { "a", '\0', IM_TAR_FILE, NULL },
        { "a/", '\0', IM_TAR_OTHER, "a directory" },
        { "a", 'x', IM_TAR_PAX, NULL },
        { "a", 'L', IM_TAR_NAME, NULL },
        { "a", '1', IM_TAR_OTHER, "a hard link" },
        { "a", '2', IM_TAR_OTHER, "a symbolic link" },
        { "a", '3', IM_TAR_OTHER, "a device" },
        { "a", '4', IM_TAR_OTHER, "a device" },
        { "a", '5', IM_TAR_OTHER, "a directory" },
        { "a", '6', IM_TAR_OTHER, "a pipe" },
        { "a", 'S', IM_TAR_OTHER, "a sparse file (made by 'tar -S')" },
        { "a", 'g', IM_TAR_OTHER, "something that is no file" },
    };
    struct im_tar_header header;
    uint8_t block[IM_TAR_BLOCK];
    struct im_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        im_tar_make(block, rows[i].name, 1);
        block[TYPE] = (uint8_t)rows[i].type;
        sum_up(block);
        assert_int_equal(im_tar_header(block, &header, &err), 0);
        assert_int_equal(header.kind, rows[i].kind);
        assert_int_equal(header.type, rows[i].type);
        if (rows[i].called)
            assert_string_equal(im_tar_type_name(header.type), rows[i].called);
    }
}

static void pax_records_are_whole(void **state)
{
    static const struct {
        const char *records;
        int wanted;
        const char *words;
    } rows[] = {
        { "", 0, "77" },
        { "13 size=3000\n", 0, "3000" },
        { "12 mtime=77\n13 size=3000\n", 0, "3000" },
        { "12 xsize=30\n", 0, "77" },
        { "28 size=9223372036854775807\n", 0, "9223372036854775807" },
        { "28 size=9223372036854775808\n", -EBADMSG, "a damaged size" },
        { "33 size=000000000000000000000030\n", -EBADMSG, "a damaged size" },
        { "9 size=x\n", -EBADMSG, "a damaged size" },
        { "8 size=\n", -EBADMSG, "a damaged size" },
        { "14 size=3000\n", -EBADMSG, "a pax header is damaged" },
        { "12 size=3000\n", -EBADMSG, "a pax header is damaged" },
        { "7 size=3000\n", -EBADMSG, "a pax header is damaged" },
        { "x3 size=3000\n", -EBADMSG, "a pax header is damaged" },
        { " size=3000\n", -EBADMSG, "a pax header is damaged" },
        { "13size=3000\n", -EBADMSG, "a pax header is damaged" },
        { "10 size30\n", -EBADMSG, "a pax header is damaged" },
        { "000000000000000000000000000013 size=3000\n", -EBADMSG, "a pax header is damaged" },
        { "22 GNU.sparse.major=1\n", -EOPNOTSUPP, "sparse member" },
    };
    char size_text[24];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct im_error err = { 0 };
        uint64_t size = 77;
        int r = im_tar_pax(rows[i].records, strlen(rows[i].records), &size, &err);

        (void)snprintf(size_text, sizeof(size_text), "%llu", (unsigned long long)size);
        if (r != rows[i].wanted || !strstr(r < 0 ? err.message : size_text, rows[i].words))
            fail_msg("'%s': %d, %s, %s", rows[i].records, r, err.message, size_text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_octal_or_binary),
        cmocka_unit_test(what_is_made_is_read_again),
        cmocka_unit_test(members_have_kinds_and_names),
        cmocka_unit_test(pax_records_are_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

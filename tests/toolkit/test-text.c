/* The smallest helpers of base: text, buffer, clock, error. */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

/* ---- text ---- */

static void numbers_are_digits_only(void **state)
{
    static const struct {
        const char *text;
        uint64_t max;
        int result;
        uint64_t value;
    } rows[] = {
        { "0", 0, 0, 0 },
        { "007", 10, 0, 7 },
        { "18446744073709551615", UINT64_MAX, 0, UINT64_MAX },
        { "18446744073709551616", UINT64_MAX, -ERANGE, 0 },
        { "99999999999999999999", UINT64_MAX, -ERANGE, 0 },
        { "11", 10, -ERANGE, 0 },
        { "10", 10, 0, 10 },
        { "", 10, -EINVAL, 0 },
        { "+1", 10, -EINVAL, 0 },
        { "-1", 10, -EINVAL, 0 },
        { " 1", 10, -EINVAL, 0 },
        { "1 ", 10, -EINVAL, 0 },
        { "0x1", 10, -EINVAL, 0 },
        { "99999999999999999999x", UINT64_MAX, -EINVAL, 0 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint64_t value = 4711;

        if (im_parse_uint(rows[i].text, rows[i].max, &value) != rows[i].result)
            fail_msg("'%s'", rows[i].text);
        assert_int_equal(value, rows[i].result ? 4711 : rows[i].value);
    }
}

static void sizes_have_binary_units(void **state)
{
    static const struct {
        const char *text;
        int result;
        uint64_t value;
    } rows[] = {
        { "4096", 0, 4096 },
        { "1k", 0, 1024 },
        { "25M", 0, UINT64_C(25) << 20 },
        { "2GB", 0, UINT64_C(2) << 30 },
        { "3tb", 0, UINT64_C(3) << 40 },
        { "7b", 0, 7 },
        { "16777215T", 0, UINT64_C(16777215) << 40 },
        { "16777216T", -ERANGE, 0 },
        { "18446744073709551616", -ERANGE, 0 },
        { "1000000000000000000000000", -ERANGE, 0 },
        { "", -EINVAL, 0 },
        { "k", -EINVAL, 0 },
        { "1x", -EINVAL, 0 },
        { "1kk", -EINVAL, 0 },
        { "1 k", -EINVAL, 0 },
        { "-1", -EINVAL, 0 },
        { "1.5G", -EINVAL, 0 },
        { "1bb", -EINVAL, 0 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint64_t value = 4711;

        if (im_parse_size(rows[i].text, &value) != rows[i].result)
            fail_msg("'%s'", rows[i].text);
        assert_int_equal(value, rows[i].result ? 4711 : rows[i].value);
    }
}

static void sizes_are_shown_in_the_next_unit_before_it_says_1024(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {
        { 0, "0 B" },
        { 1023, "1023 B" },
        { 1024, "1.0 KiB" },
        { 1536, "1.5 KiB" },
        { 1048575, "1.0 MiB" },
        { 1048473, "1023.9 KiB" },
        { UINT64_C(10) << 30, "10.0 GiB" },
        { UINT64_MAX, "16.0 EiB" },
    };
    char buf[16];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_string_equal(im_format_size(buf, sizeof(buf), rows[i].bytes), rows[i].text);
}

static void printable_text_is_one_harmless_line(void **state)
{
    static const char *const rows[][2] = {
        { "plain", "plain" },
        { "a\nb\tc\rd", "a b c d" },
        { "esc\x1b[31m", "esc?[31m" },
        { "del\x7f!", "del?!" },
        { "csi\xc2\x9b"
          "31m",
          "csi?31m" }, /* U+009B, the one-character ESC [ */
        { "a\xe2\x80\xa8"
          "b\xe2\x80\xa9",
          "a?b?" }, /* line and paragraph separator */
        { "\xc3\xa9\xe1\x88\xb4\xf0\x9f\x98\x80", "\xc3\xa9\xe1\x88\xb4\xf0\x9f\x98\x80" },
        { "\xc2\xa0", "\xc2\xa0" },
        { "\xc3", "?" },
        { "\xc3(", "?(" },
        { "\xff\xfe", "??" },
        { "\xc0\xaf", "??" },
        { "\xed\xa0\x80", "???" },
        { "\xef\xbf\xbf", "?" }, /* U+FFFF, which XML forbids */
    };
    char buf[64];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_string_equal(im_text_printable(buf, sizeof(buf), rows[i][0]), rows[i][1]);
        assert_int_equal(im_text_is_printable(rows[i][0]), strcmp(rows[i][0], rows[i][1]) == 0);
        assert_true(im_text_is_xml(buf, strlen(buf)));
    }
}

static void printable_text_is_cut_between_characters(void **state)
{
    char buf[8];

    (void)state;
    memset(buf, 'x', sizeof(buf));
    assert_string_equal(im_text_printable(buf, 4, "ab\xc3\xa9"), "ab");
    assert_string_equal(im_text_printable(buf, 5, "ab\xc3\xa9"), "ab\xc3\xa9");
    assert_string_equal(im_text_printable(buf, 3, "\x01\x02\x03"), "??");
    assert_string_equal(im_text_printable(buf, 1, "a"), "");
    assert_int_equal(buf[5], 'x');
}

static void xml_text_is_told_from_utf8(void **state)
{
    static const struct {
        const char *text;
        size_t len;
        bool utf8, xml;
    } rows[] = {
        { "", 0, true, true },
        { "a\t\r\n", 4, true, true },
        { "\x7f\xc2\x85", 3, true, true },
        { "\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbd\xf4\x8f\xbf\xbf", 13, true, true },
        { "\x0b", 1, true, false },
        { "a\0b", 3, true, false },
        { "\xef\xbf\xbe", 3, true, false },
        { "\xef\xbf\xbf", 3, true, false },
        { "\xc3", 1, false, false },
        { "\xc3\xa9", 1, false, false },
        { "\x80", 1, false, false },
        { "\xc1\xbf", 2, false, false },
        { "\xe0\x9f\xbf", 3, false, false },
        { "\xed\xa0\x80", 3, false, false },
        { "\xed\xbf\xbf", 3, false, false },
        { "\xf0\x8f\xbf\xbf", 4, false, false },
        { "\xf4\x90\x80\x80", 4, false, false },
        { "\xf8\x88\x80\x80\x80", 5, false, false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        if (im_text_is_utf8(rows[i].text, rows[i].len) != rows[i].utf8 ||
            im_text_is_xml(rows[i].text, rows[i].len) != rows[i].xml)
            fail_msg("row %zu", i);
}

static void shown_urls_keep_no_secret(void **state)
{
    static const char *const rows[][2] = {
        { "http://h/p?X-Amz-Signature=secret", "http://h/p" },
        { "http://h/p#secret", "http://h/p" },
        { "http://h?secret", "http://h" },
        { "https://user:secret@h:1/p?secret", "https://h:1/p" },
        { "http://user:se@cret@h/p", "http://h/p" },
        { "user:secret@h/p", "h/p" },
        { "http://h/a@b", "http://h/a@b" },
        { "http://h/p?u=http://x:secret@y", "http://h/p" },
        { "/plain/path?secret", "/plain/path" },
        { "http://h/\x1b[2J", "http://h/?[2J" },
        { "", "" },
    };
    char buf[128];
    char *huge = calloc(1, 10001);

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_string_equal(im_text_url(buf, sizeof(buf), rows[i][0]), rows[i][1]);
    memset(huge, 'a', 10000);
    memcpy(huge, "http://u:secret@", 16);
    im_text_url(buf, sizeof(buf), huge);
    assert_int_equal(strlen(buf), sizeof(buf) - 1);
    assert_memory_equal(buf, "http://aaaa", 11);
    free(huge);
}

/* ---- buffer ---- */

static void base_names_stand_behind_the_last_slash(void **state)
{
    (void)state;
    assert_string_equal(im_text_basename("disk.img"), "disk.img");
    assert_string_equal(im_text_basename("/disk.img"), "disk.img");
    assert_string_equal(im_text_basename("a/b//disk.img"), "disk.img");
    assert_string_equal(im_text_basename("a/b/"), "");
    assert_string_equal(im_text_basename(""), "");
}

static void patterns_stand_for_whole_texts(void **state)
{
    (void)state;
    assert_true(im_text_matches("active", "active"));
    assert_false(im_text_matches("activ", "active"));
    assert_false(im_text_matches("active", "activ"));
    assert_false(im_text_matches("Active", "active"));
    assert_true(im_text_matches("", ""));
    assert_true(im_text_matches("*", ""));
    assert_false(im_text_matches("?", ""));
    assert_true(im_text_matches("import-*-?b*", "import-vol-1b2"));
    assert_true(im_text_matches("*ab*abc", "ab-abab-ababc"));
    assert_false(im_text_matches("*ab*abc", "ab-abab-abab"));
    assert_true(im_text_matches("\\*\\?\\\\", "*?\\"));
    assert_false(im_text_matches("\\*", "x"));
    assert_true(im_text_matches("end\\", "end\\"));
}

static void buffers_grow_to_their_ceiling_and_no_further(void **state)
{
    struct im_buffer buffer IM_BUFFER_DONE = IM_BUFFER(1000);
    char block[999];

    (void)state;
    memset(block, 'a', sizeof(block));
    assert_int_equal(im_buffer_add(&buffer, "", 0), 0);
    assert_string_equal(buffer.data, "");
    assert_int_equal(im_buffer_add(&buffer, block, 999), 0);
    assert_int_equal(im_buffer_puts(&buffer, "bc"), -EFBIG);
    assert_int_equal(im_buffer_printf(&buffer, "%d", 10), -EFBIG);
    assert_int_equal(buffer.len, 999);
    assert_int_equal(im_buffer_printf(&buffer, "%d", 7), 0);
    assert_int_equal(buffer.len, 1000);
    assert_string_equal(buffer.data + 998, "a7");
    assert_int_equal(im_buffer_add(&buffer, NULL, SIZE_MAX), -EFBIG);
    im_buffer_clear(&buffer);
    assert_string_equal(buffer.data, "");
    assert_int_equal(im_buffer_add(&buffer, "x\0y", 3), 0);
    assert_memory_equal(buffer.data, "x\0y", 4);
}

static void a_size_that_cannot_be_doubled_is_refused(void **state)
{
    struct im_buffer buffer IM_BUFFER_DONE = IM_BUFFER(SIZE_MAX);

    (void)state;
    assert_int_equal(im_buffer_puts(&buffer, "kept"), 0);
    assert_int_equal(im_buffer_add(&buffer, "x", SIZE_MAX / 2), -ENOMEM);
    assert_string_equal(buffer.data, "kept");
}

static void stolen_buffers_start_again(void **state)
{
    struct im_buffer buffer = IM_BUFFER(10);
    char *text;

    (void)state;
    text = im_buffer_steal(&buffer);
    assert_string_equal(text, "");
    free(text);
    assert_int_equal(im_buffer_puts(&buffer, "0123456789"), 0);
    text = im_buffer_steal(&buffer);
    assert_string_equal(text, "0123456789");
    free(text);
    assert_int_equal(im_buffer_puts(&buffer, "9876543210"), 0);
    im_buffer_done(&buffer);
    im_buffer_clear(&buffer);
    assert_null(buffer.data);
}

/* ---- clock ---- */

static void times_are_shown_in_utc(void **state)
{
    char buf[21], http[30];

    (void)state;
    assert_string_equal(im_clock_iso8601(buf, sizeof(buf), 0), "1970-01-01T00:00:00Z");
    assert_string_equal(im_clock_iso8601(buf, sizeof(buf), -1), "1969-12-31T23:59:59Z");
    assert_string_equal(im_clock_iso8601(buf, sizeof(buf), INT64_C(1795221702999)),
                        "2026-11-21T00:41:42Z");
    assert_string_equal(im_clock_basic(buf, 17, INT64_C(1795221702000)), "20261121T004142Z");
    assert_string_equal(im_clock_http(http, sizeof(http), INT64_C(1795221702000)),
                        "Sat, 21 Nov 2026 00:41:42 GMT");
    assert_string_equal(im_clock_iso8601(buf, sizeof(buf), INT64_MAX), "");
    assert_string_equal(im_clock_iso8601(buf, sizeof(buf), INT64_MIN), "");
}

static void clocks_run(void **state)
{
    int64_t before = im_clock_monotonic_ms();

    (void)state;
    assert_true(im_clock_now_ms() > INT64_C(1700000000000)); /* after 2023, in milliseconds */
    assert_true(im_clock_monotonic_ms() >= before);
}

static void dates_are_read_or_refused(void **state)
{
    static const struct {
        const char *text;
        int64_t basic, http; /* -1: refused */
    } rows[] = {
        { "20261121T004142Z", INT64_C(1795221702000), -1 },
        { "19700101T000000Z", 0, -1 },
        { "20240229T235959Z", INT64_C(1709251199000), -1 },
        { "20230229T000000Z", -1, -1 },
        { "20231301T000000Z", -1, -1 },
        { "20230100T000000Z", -1, -1 },
        { "20230101T240000Z", -1, -1 },
        { "20230101T235960Z", -1, -1 },
        { "19691231T235959Z", -1, -1 },
        { "20261121T004142", -1, -1 },
        { "20261121T004142ZZ", -1, -1 },
        { "2026-11-21T00:41:42Z", -1, -1 },
        { "+0261121T004142Z", -1, -1 },
        { "", -1, -1 },
        { "Sat, 21 Nov 2026 00:41:42 GMT", -1, INT64_C(1795221702000) },
        { "Sat, 21 Nov 2026 00:41:42 -0000", -1, INT64_C(1795221702000) },
        { "Sat, 21 Nov 2026 00:41:42 UTC", -1, INT64_C(1795221702000) },
        { "21 Nov 2026 00:41:42 GMT", -1, INT64_C(1795221702000) },
        { "Sat, 21 Nov 2026 02:11:42 +0130", -1, INT64_C(1795221702000) },
        { "Fri, 20 Nov 2026 16:41:42 -0800", -1, INT64_C(1795221702000) },
        { "Thu, 1 Jan 1970 00:00:09 GMT", -1, 9000 },
        { "Thu, 01 Jan 1970 00:00:09 GMT", -1, 9000 },
        { "Sat, 31 Nov 2026 00:41:42 GMT", -1, -1 },
        { "Sat, 21 nov 2026 00:41:42 GMT", -1, -1 },
        { "Sat, 21 Nov 26 00:41:42 GMT", -1, -1 },
        { "Sat, 21 Nov 2026 00:41 GMT", -1, -1 },
        { "Sat, 21 Nov 2026 00:41:42", -1, -1 },
        { "Sat, 21 Nov 2026 00:41:42 CET", -1, -1 },
        { "Sat, 21 Nov 2026 00:41:42 +9900", -1, -1 },
        { "Sat, 21 Nov 2026 00:41:42 GMT ", -1, -1 },
        { "Sat,", -1, -1 },
        { "2", -1, -1 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t basic = -1, http = -1;
        int r = im_clock_parse_basic(rows[i].text, &basic);
        int s = im_clock_parse_http(rows[i].text, &http);

        if (basic != rows[i].basic || http != rows[i].http)
            fail_msg("'%s': %lld %lld", rows[i].text, (long long)basic, (long long)http);
        assert_int_equal(r, basic < 0 ? -EINVAL : 0);
        assert_int_equal(s, http < 0 ? -EINVAL : 0);
    }
}

/* ---- error ---- */

static void memory_that_is_not_there_is_a_failure_like_others(void **state)
{
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_fail_memory(&err), -ENOMEM);
    assert_int_equal(err.number, ENOMEM);
    assert_string_equal(err.code, "OutOfMemory");
    assert_string_equal(err.message, "out of memory");
}

static void failures_have_code_sentence_and_status(void **state)
{
    static const struct {
        int number;
        const char *code;
        enum im_status status;
    } rows[] = {
        { EBADMSG, "DamagedImage", IM_INVALID_IMAGE },
        { EFBIG, "TooLarge", IM_NO_SPACE },
        { ENOENT, "NotFound", IM_INPUT_MISSING },
        { EAGAIN, "TryAgain", IM_TRANSIENT },
        { EINVAL, "InvalidArgument", IM_USAGE },
        { ECANCELED, "Cancelled", IM_CANCELLED },
        { ENOPKG, "DependencyMissing", IM_DEPENDENCY_MISSING },
        { EKEYREJECTED, "VerificationFailed", IM_MISMATCH },
        { EPROTO, "Failed", IM_FAILED },
    };
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_error_status(&err), IM_OK);
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(im_fail(&err, rows[i].number, "grain %d", 7), -rows[i].number);
        assert_int_equal(err.number, rows[i].number);
        assert_string_equal(err.code, rows[i].code);
        assert_string_equal(err.message, "grain 7");
        assert_int_equal(im_error_status(&err), rows[i].status);
    }
    assert_int_equal(im_fail_code(&err, EINVAL, "OwnCode", "x"), -EINVAL);
    assert_string_equal(err.code, "OwnCode");
    assert_int_equal(im_fail(NULL, EIO, "nobody listens"), -EIO);
    assert_int_equal(im_fail_errno(NULL, EIO, "nobody listens"), -EIO);

    /* errno of a library that does not set it: a failure all the same */
    assert_int_equal(im_fail_errno(&err, 0, "cannot"), -EIO);
    assert_int_equal(err.number, EIO);
    assert_int_equal(im_fail(&err, -EINVAL, "wrong sign"), -EIO);
    im_error_prefix(NULL, "nobody listens");
}

static void sentences_are_extended_and_cut(void **state)
{
    struct im_error err = { 0 };
    char longer[IM_ERROR_MAX + 10];

    (void)state;
    assert_int_equal(im_fail_errno(&err, ENOENT, "cannot open '%s'", "x"), -ENOENT);
    assert_string_equal(err.message, "cannot open 'x': No such file or directory");
    im_error_prefix(&err, "part %d", 3);
    assert_string_equal(err.message, "part 3: cannot open 'x': No such file or directory");
    assert_int_equal(err.number, ENOENT);

    /* A sentence made of the one before. */
    im_fail(&err, EIO, "[%s]", err.message);
    assert_string_equal(err.message, "[part 3: cannot open 'x': No such file or directory]");
    im_error_prefix(&err, "%.7s", err.message);
    assert_string_equal(err.message,
                        "[part 3: [part 3: cannot open 'x': No such file or directory]");

    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    im_fail(&err, EIO, "%s", longer);
    assert_int_equal(strlen(err.message), IM_ERROR_MAX - 1);
    im_error_prefix(&err, "before");
    assert_int_equal(strlen(err.message), IM_ERROR_MAX - 1);
    assert_memory_equal(err.message, "before: aaa", 11);
    im_error_prefix(&err, "%s", longer);
    assert_int_equal(strlen(err.message), IM_ERROR_MAX - 1);
    im_fail_errno(&err, EIO, "%s", longer);
    assert_int_equal(strlen(err.message), IM_ERROR_MAX - 1);
}

/* What im_error_print() writes on standard error. */
static void printed_errors_are_one_line(void **state)
{
    struct im_error err = { .number = EIO, .code = "Failed", .message = "two\nlines\x1b[2J" };
    char line[128] = "";
    FILE *file IM_FCLOSE = tmpfile();
    int kept IM_CLOSE = dup(STDERR_FILENO);

    (void)state;
    assert_non_null(file);
    fflush(stderr);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    im_error_print("imaging-toolkit", &err);
    fflush(stderr);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    rewind(file);
    assert_true(fread(line, 1, sizeof(line) - 1, file) > 0);
    assert_string_equal(line, "imaging-toolkit: error: two lines?[2J\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_digits_only),
        cmocka_unit_test(sizes_have_binary_units),
        cmocka_unit_test(sizes_are_shown_in_the_next_unit_before_it_says_1024),
        cmocka_unit_test(printable_text_is_one_harmless_line),
        cmocka_unit_test(printable_text_is_cut_between_characters),
        cmocka_unit_test(xml_text_is_told_from_utf8),
        cmocka_unit_test(shown_urls_keep_no_secret),
        cmocka_unit_test(base_names_stand_behind_the_last_slash),
        cmocka_unit_test(patterns_stand_for_whole_texts),
        cmocka_unit_test(buffers_grow_to_their_ceiling_and_no_further),
        cmocka_unit_test(a_size_that_cannot_be_doubled_is_refused),
        cmocka_unit_test(stolen_buffers_start_again),
        cmocka_unit_test(times_are_shown_in_utc),
        cmocka_unit_test(clocks_run),
        cmocka_unit_test(dates_are_read_or_refused),
        cmocka_unit_test(memory_that_is_not_there_is_a_failure_like_others),
        cmocka_unit_test(failures_have_code_sentence_and_status),
        cmocka_unit_test(sentences_are_extended_and_cut),
        cmocka_unit_test(printed_errors_are_one_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Query strings and form bodies: every spelling clients send, and every one that is refused. */

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

#include "aws/query.h"
#include "base/text.h"

/* "name=value|name|" as parsed: shows names, values and bareness at once. */
static char *shown(const char *text)
{
    struct im_query query IM_QUERY_DONE = { 0 };
    char *out = strdup("");

    assert_int_equal(im_query_parse(text, strlen(text), &query, NULL), 0);
    for (size_t i = 0; i < query.count; i++) {
        char *longer = im_asprintf("%s%s%s%s|", out, query.param[i].name,
                                   query.param[i].bare ? "" : "=", query.param[i].value);

        free(out);
        out = longer;
    }
    return out;
}

static void lists_are_taken_apart(void **state)
{
    static const char *const rows[][2] = {
        { "", "" },
        { "&", "" },
        { "a=1", "a=1|" },
        { "a=1&b=2", "a=1|b=2|" },
        { "b=2&a=1&b=1", "b=2|a=1|b=1|" },
        { "&&a=1&&b=2&", "a=1|b=2|" },
        { "acl", "acl|" },
        { "acl=", "acl=|" },
        { "=v", "=v|" },
        { "a=b=c", "a=b=c|" },
        { "a+b=c+d%2B%20e", "a b=c d+ e|" },
        { "%41%6a%6A=%26%3D%25", "Ajj=&=%|" },
        { "d=%E1%88%B4", "d=\xe1\x88\xb4|" },
        { "d=\xe1\x88\xb4", "d=\xe1\x88\xb4|" },
        { "d=line%0Aline", "d=line\nline|" },
        { "a=%2541", "a=%41|" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *text = shown(rows[i][0]);

        assert_string_equal(text, rows[i][1]);
        free(text);
    }
}

static void only_len_bytes_are_read(void **state)
{
    struct im_query query IM_QUERY_DONE = { 0 };

    (void)state;
    assert_int_equal(im_query_parse("a=%41BC&d=1", 6, &query, NULL), 0);
    assert_int_equal(query.count, 1);
    assert_string_equal(query.param[0].value, "AB");
    assert_int_equal(im_query_parse("a=%41", 4, &(struct im_query){ 0 }, NULL), -EBADMSG);
}

static void the_first_of_a_name_is_found(void **state)
{
    struct im_query query IM_QUERY_DONE = { 0 };
    const char *text = "a=1&b&a=2";

    (void)state;
    assert_int_equal(im_query_parse(text, strlen(text), &query, NULL), 0);
    assert_string_equal(im_query_get(&query, "a"), "1");
    assert_string_equal(im_query_get(&query, "b"), "");
    assert_null(im_query_get(&query, "c"));
    assert_null(im_query_get(&query, "A"));
}

static void damaged_lists_are_refused(void **state)
{
    static const char *const texts[] = {
        "a=%",        "a=%4",          "a=%4g",    "a=%g4",        "%zz=1",
        "a=1&b=%00c", "a=%C3",         "a=%C3%28", "a=%C0%AF",     "a=%ED%A0%80",
        "a=\xff",     "%F4%90%80%80=", "a=%+1",    "a=%E1%88&b=1", "ok=1&a=%F8%88%80%80%80",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct im_query query = { .count = 42 };
        struct im_error err = { 0 };

        if (im_query_parse(texts[i], strlen(texts[i]), &query, &err) != -EBADMSG)
            fail_msg("'%s' was taken", texts[i]);
        assert_string_equal(err.code, "MalformedQueryString");
        assert_int_equal(query.count, 42);
    }
}

static void too_many_parameters_are_refused(void **state)
{
    char text[2 * (IM_QUERY_MAX + 1) + 1];
    struct im_query query = { 0 };
    struct im_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(text) - 1; i += 2)
        memcpy(text + i, "a&", 2);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(im_query_parse(text, 2 * IM_QUERY_MAX, &query, NULL), 0);
    assert_int_equal(query.count, IM_QUERY_MAX);
    im_query_done(&query);
    assert_int_equal(query.count, 0);
    assert_int_equal(im_query_parse(text, 2 * IM_QUERY_MAX + 1, &query, &err), -EFBIG);
    assert_non_null(strstr(err.message, "1001 parameters; the limit is 1000"));
}

static void percent_decoding_keeps_plus_and_nul_when_asked(void **state)
{
    char out[16];
    size_t len = 0;

    (void)state;
    assert_int_equal(im_percent_decode("a+b%00%2f", 9, false, out, &len), 0);
    assert_int_equal(len, 5);
    assert_memory_equal(out, "a+b\0/", 6);
    assert_int_equal(im_percent_decode("%2", 2, false, out, &len), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_taken_apart),
        cmocka_unit_test(only_len_bytes_are_read),
        cmocka_unit_test(the_first_of_a_name_is_found),
        cmocka_unit_test(damaged_lists_are_refused),
        cmocka_unit_test(too_many_parameters_are_refused),
        cmocka_unit_test(percent_decoding_keeps_plus_and_nul_when_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

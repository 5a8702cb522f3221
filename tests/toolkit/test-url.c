/* Percent-encoding and splitting URLs: what two parsers could read differently is refused. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/http.h"

static void bytes_are_encoded(void **state)
{
    static const struct {
        const char *text;
        bool keep_slash;
        const char *encoded;
    } rows[] = {
        { "azAZ09-._~", false, "azAZ09-._~" },
        { "a b+c%d", false, "a%20b%2Bc%25d" },
        { "dir//x=1&y", true, "dir//x%3D1%26y" },
        { "dir/x", false, "dir%2Fx" },
        { "\xc3\xa9\x7f\x01*", false, "%C3%A9%7F%01%2A" },
        { "", false, "" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(100);
        char *text;

        assert_int_equal(
            im_url_encode(&out, rows[i].text, strlen(rows[i].text), rows[i].keep_slash), 0);
        text = im_buffer_steal(&out);
        assert_string_equal(text, rows[i].encoded);
        free(text);
    }
}

static void a_full_buffer_stays_as_it_was(void **state)
{
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(6);

    (void)state;
    assert_int_equal(im_buffer_puts(&out, "abc"), 0);
    assert_int_equal(im_url_encode(&out, "x%", 2, false), -EFBIG);
    assert_string_equal(out.data, "abc");
    assert_int_equal(im_url_encode(&out, "%", 1, false), 0);
    assert_string_equal(out.data, "abc%25");
}

static void urls_are_split(void **state)
{
    static const struct {
        const char *url;
        bool https;
        const char *host, *path, *query;
        bool has_user_info;
    } rows[] = {
        { "http://host", false, "host", "", NULL, false },
        { "https://host:8773/services//b/../k?a=b&c#f", true, "host:8773", "/services//b/../k",
          "a=b&c", false },
        { "HTTP://10.0.0.1/x", false, "10.0.0.1", "/x", NULL, false },
        { "http://[::1]:80/?", false, "[::1]:80", "/", "", false },
        { "http://user:pw@host/p", false, "host", "/p", NULL, true },
        { "http://s3@evil@host/p", false, "host", "/p", NULL, true },
        { "http://host/p@q?r@s", false, "host", "/p@q", "r@s", false },
        { "http://host#@s3/", false, "host", "", NULL, false },
        { "http://host?q", false, "host", "", "q", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct im_url url;
        struct im_error err = { 0 };

        if (im_url_split(rows[i].url, &url, &err) < 0)
            fail_msg("%s: %s", rows[i].url, err.message);
        assert_int_equal(url.https, rows[i].https);
        assert_int_equal(url.host_len, strlen(rows[i].host));
        assert_memory_equal(url.host, rows[i].host, url.host_len);
        assert_int_equal(url.path_len, strlen(rows[i].path));
        assert_memory_equal(url.path, rows[i].path, url.path_len);
        assert_int_equal(url.query == NULL, rows[i].query == NULL);
        if (url.query) {
            assert_int_equal(url.query_len, strlen(rows[i].query));
            assert_memory_equal(url.query, rows[i].query, url.query_len);
        }
        assert_int_equal(url.has_user_info, rows[i].has_user_info);
    }
}

static void doubtful_urls_are_refused(void **state)
{
    static const char *const urls[] = {
        "",
        "host/path",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "gopher://host/",
        "ftp://host/",
        "http:/host/",
        "http:///path",
        "http://",
        "http://:80/",
        "http://user@/",
        "http://host:/",
        "http://host:0/",
        "http://host:65536/",
        "http://host:8x/",
        "http://[::1/",
        "http://[]/",
        "http://[::1]x/",
        "http://[127.0.0.1]:80/",
        "http://s3\\@evil/",
        "http://ho%73t/",
        "http://\xe2\x91\xa0.host/", /* a circled digit */
        "http://host/a b",
        "http://host/a\tb",
        "http://host/a\r\nX-Evil: 1",
        "http://host/\x7f",
        "http://ho st/",
        "http://{a,b}/",
    };
    struct im_url url = { .host_len = 12345 };

    (void)state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct im_error err = { 0 };

        if (im_url_split(urls[i], &url, &err) != -EINVAL)
            fail_msg("'%s' was accepted", urls[i]);
        assert_int_equal(err.number, EINVAL);
        assert_true(strlen(err.message) > 0);
    }
    assert_int_equal(url.host_len, 12345); /* untouched on failure */
}

static void refusals_keep_secrets(void **state)
{
    struct im_url url;
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_url_split("http://user:pw@host/key x?Signature=s3cret", &url, &err),
                     -EINVAL);
    assert_null(strstr(err.message, "pw"));
    assert_null(strstr(err.message, "s3cret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_encoded),     cmocka_unit_test(a_full_buffer_stays_as_it_was),
        cmocka_unit_test(urls_are_split),        cmocka_unit_test(doubtful_urls_are_refused),
        cmocka_unit_test(refusals_keep_secrets),
    };

    return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}

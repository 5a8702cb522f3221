/* One HTTP exchange: what is on the wire is what was asked for and nothing else; what comes back is
 * bounded, undecoded and not followed. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>

#include "../lib/fault-server.h"
#include "base/cleanup.h"
#include "base/http.h"
#include "base/retry.h"

#define LEN 300000
static uint8_t content[LEN];
static struct im_http *http;

static int group_setup(void **state)
{
    (void)state;
    /* nobody must listen to these */
    (void)setenv("http_proxy", "http://127.0.0.1:1", 1);
    (void)setenv("all_proxy", "http://127.0.0.1:1", 1);
    im_http_global();
    server_start();
    fill_pattern(content, LEN, 7);
    server_put("object", content, LEN);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    server_stop();
    return 0;
}

static int setup(void **state)
{
    (void)state;
    server_forget();
    http = im_http_new();
    return http ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    http = im_http_free(http);
    return 0;
}

struct taken {
    size_t len;
    int failure;
};

static int take(void *arg, const void *data, size_t len)
{
    struct taken *taken = arg;

    assert_true(taken->len + len <= LEN);
    assert_memory_equal(data, content + taken->len, len);
    taken->len += len;
    return taken->failure;
}

static void bodies_are_streamed(void **state)
{
    struct taken taken = { 0 };
    struct im_http_request request = {
        .method = "GET", .url = server_url("ok", "object"), .on_data = take, .arg = &taken
    };
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };

    (void)state;
    assert_int_equal(im_http_do(http, &request, &response, NULL), 0);
    assert_int_equal(response.status, 200);
    assert_int_equal(response.length, LEN);
    assert_int_equal(taken.len, LEN);
    assert_int_equal(strlen(response.etag), 32); /* without its quotes */
    assert_int_equal(response.text.len, 0);
    assert_true(strlen(response.date) > 20);
}

static void heads_have_a_length_and_no_body(void **state)
{
    struct im_http_request request = { .method = "HEAD", .url = server_url("ok", "object") };
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };

    (void)state;
    assert_int_equal(im_http_do(http, &request, &response, NULL), 0);
    assert_int_equal(response.length, LEN);
    assert_int_equal(response.text.len, 0);
}

static void requests_are_sent_as_they_are(void **state)
{
    static const char *const headers[] = { "Range: bytes=5-9", NULL };
    struct im_http_request request = { .method = "GET",
                                       .url = server_url("ok", "a//b/../object/./%2e%2E?q=%20&&x"),
                                       .headers = headers };
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    char line[SERVER_LINE], want[128];

    (void)state;
    assert_int_equal(im_http_do(http, &request, &response, NULL), 0);
    assert_int_equal(response.status, 404);
    assert_int_equal(server_saw("GET", "", line), 1);
    (void)snprintf(want, sizeof(want), "\thost=127.0.0.1:%u\n", server.port);
    assert_non_null(strstr(line, want));
    *strstr(line, "\thost=") = '\0';
    assert_string_equal(line, "GET\t/ok/a//b/../object/./%2e%2E?q=%20&&x\taccept=*/*\t"
                              "accept-encoding=gzip, deflate\trange=bytes=5-9");
}

static void answers_are_not_decoded(void **state)
{
    struct im_http_request request = { .method = "GET",
                                       .url = server_url("gzip", "object"),
                                       .text_max = 2 * LEN };
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };

    (void)state;
    assert_int_equal(im_http_do(http, &request, &response, NULL), 0);
    assert_string_equal(response.content_encoding, "gzip");
    assert_memory_equal(response.text.data, "\x1f\x8b", 2);
}

static void redirects_are_answers(void **state)
{
    char target[300];
    struct im_http_request request = { .method = "GET" };
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };

    (void)state;
    (void)snprintf(target, sizeof(target), "object?%s", server_url("ok", "object"));
    request.url = server_url("redirect", target);
    assert_int_equal(im_http_do(http, &request, &response, NULL), 0);
    assert_int_equal(response.status, 302);
    assert_int_equal(server_saw("GET", "", NULL), 1);
}

static void texts_are_bounded(void **state)
{
    struct im_http_request request = { .method = "GET",
                                       .url = server_url("ok", "object"),
                                       .text_max = LEN };
    struct im_http_response response = { 0 };
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_http_do(http, &request, &response, &err), 0);
    assert_int_equal(response.text.len, LEN);
    assert_memory_equal(response.text.data, content, LEN);
    im_http_response_done(&response);

    request.text_max = LEN - 1;
    assert_int_equal(im_http_do(http, &request, &response, &err), -EFBIG);
    assert_non_null(strstr(err.message, "299999 bytes"));
    im_http_response_done(&response);
}

static void error_documents_do_not_reach_the_taker_and_are_cut(void **state)
{
    struct taken taken = { 0 };
    struct im_http_request request = {
        .method = "GET", .url = server_url("bigerror", "object"), .on_data = take, .arg = &taken
    };
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };

    (void)state;
    assert_int_equal(im_http_do(http, &request, &response, NULL), 0);
    assert_int_equal(response.status, 403);
    assert_int_equal(taken.len, 0);
    assert_int_equal(response.text.len, 64 * 1024);
}

static void a_taker_can_end_the_exchange(void **state)
{
    struct taken taken = { .failure = -ENOSPC };
    struct im_http_request request = {
        .method = "GET", .url = server_url("ok", "object"), .on_data = take, .arg = &taken
    };
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_http_do(http, &request, &response, &err), -ENOSPC);
    assert_int_equal(err.number, ENOSPC);
    assert_int_equal(response.status, 200); /* the head is there */
}

/* ---- request bodies ---- */

struct given {
    size_t at;
    unsigned rewinds;
    size_t fail_at;
};

static long give(void *arg, void *buf, size_t len)
{
    struct given *given = arg;

    if (given->fail_at && given->at >= given->fail_at)
        return -EIO;
    if (len > LEN - given->at)
        len = LEN - given->at;
    memcpy(buf, content + given->at, len);
    given->at += len;
    return (long)len;
}

static int give_again(void *arg)
{
    struct given *given = arg;

    given->at = 0;
    given->rewinds++;
    return 0;
}

static void check_stored(const char *name)
{
    struct taken taken = { 0 };
    struct im_http_request request = {
        .method = "GET", .url = server_url("ok", name), .on_data = take, .arg = &taken
    };
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };

    assert_int_equal(im_http_do(http, &request, &response, NULL), 0);
    assert_int_equal(taken.len, LEN);
}

static void bodies_are_sent_from_memory_and_streams(void **state)
{
    static const char *const headers[] = { "Content-Type: text/plain", NULL };
    struct given given = { 0 };
    struct im_http_request request = { .method = "PUT",
                                       .url = server_url("ok", "put"),
                                       .read_body = give,
                                       .body_len = LEN,
                                       .arg = &given };
    struct im_http_response response = { 0 };
    char line[SERVER_LINE];

    (void)state;
    assert_int_equal(im_http_do(http, &request, &response, NULL), 0);
    assert_int_equal(response.status, 200);
    im_http_response_done(&response);
    assert_int_equal(server_saw("PUT", "/put", line), 1);
    assert_non_null(strstr(line, "content-length=300000"));
    assert_null(strstr(line, "expect="));
    assert_null(strstr(line, "accept-encoding="));
    assert_null(strstr(line, "content-type="));
    check_stored("put");

    request = (struct im_http_request){ .method = "POST",
                                        .url = server_url("ok", "posted"),
                                        .headers = headers,
                                        .body = content,
                                        .body_len = LEN };
    assert_int_equal(im_http_do(http, &request, &response, NULL), 0);
    im_http_response_done(&response);
    assert_int_equal(server_saw("POST", "content-type=text/plain", NULL), 1);
    check_stored("posted");

    request.body_len = 0;
    assert_int_equal(im_http_do(http, &request, &response, NULL), 0);
    im_http_response_done(&response);
    assert_int_equal(server_saw("POST", "content-length=0", NULL), 1);

    request = (struct im_http_request){ .method = "DELETE", .url = server_url("ok", "posted") };
    assert_int_equal(im_http_do(http, &request, &response, NULL), 0);
    assert_int_equal(response.status, 204);
    im_http_response_done(&response);
}

static void a_stream_starts_again_on_a_fresh_connection(void **state)
{
    struct given given = { 0 };
    struct im_http_request get = { .method = "GET",
                                   .url = server_url("dropnext", "object"),
                                   .text_max = LEN };
    struct im_http_request put = { .method = "PUT",
                                   .url = server_url("ok", "again"),
                                   .read_body = give,
                                   .rewind_body = give_again,
                                   .body_len = LEN,
                                   .arg = &given };
    struct im_http_response response = { 0 };

    (void)state;
    assert_int_equal(im_http_do(http, &get, &response, NULL), 0);
    im_http_response_done(&response);
    assert_int_equal(im_http_do(http, &put, &response, NULL), 0);
    assert_int_equal(response.status, 200);
    im_http_response_done(&response);
    assert_int_equal(given.rewinds, 1);
    assert_int_equal(server_saw("PUT", "/again", NULL), 2);
    check_stored("again");
}

static void a_reader_that_fails_ends_the_exchange(void **state)
{
    struct given given = { .fail_at = 100000 };
    struct im_http_request request = { .method = "PUT",
                                       .url = server_url("ok", "half"),
                                       .read_body = give,
                                       .body_len = LEN,
                                       .arg = &given };
    struct im_http_response response = { 0 };

    (void)state;
    assert_int_equal(im_http_do(http, &request, &response, NULL), -EIO);
    im_http_response_done(&response);

    /* a stream that is shorter than announced */
    given = (struct given){ 0 };
    request.body_len = LEN + 1;
    assert_int_equal(im_http_do(http, &request, &response, NULL), -EIO);
    im_http_response_done(&response);
}

/* ---- refusals and failures ---- */

static void doubtful_urls_are_not_asked(void **state)
{
    static const char *const urls[] = {
        "http://user:pw@127.0.0.1:%u/x", "http://u@127.0.0.1:%u/x", "http://127.0.0.1:%u/a b",
        "http://127.0.0.1:%u/a\r\nX: y", "file:///etc/passwd",      "ftp://127.0.0.1:%u/x"
    };

    (void)state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct im_http_response response = { 0 };
        struct im_error err = { 0 };
        char url[128], port[8];
        const char *mark = strstr(urls[i], "%u");

        (void)snprintf(port, sizeof(port), "%u", server.port);
        (void)snprintf(url, sizeof(url), "%.*s%s%s", mark ? (int)(mark - urls[i]) : 100, urls[i],
                       mark ? port : "", mark ? mark + 2 : "");
        assert_int_equal(im_http_do(http, &(struct im_http_request){ .method = "GET", .url = url },
                                    &response, &err),
                         -EINVAL);
        assert_null(strstr(err.message, "pw"));
        im_http_response_done(&response);
    }
    assert_int_equal(server_saw("GET", "", NULL), 0);
}

static void failures_have_numbers_and_keep_secrets(void **state)
{
    static const struct {
        const char *url; /* NULL: the server's */
        const char *script;
        int number;
    } rows[] = {
        { "http://127.0.0.1:1/x?Signature=s3cret", NULL, ECONNREFUSED },
        { "http://no-such-host.invalid/x?Signature=s3cret", NULL, EHOSTUNREACH },
        { NULL, "resethead", ECONNRESET },
        { NULL, "resetbody", ECONNRESET },
        { NULL, "cut", ECONNRESET },
        { NULL, "stall", ETIMEDOUT },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct im_http_request request = {
            .method = "GET",
            .url =
                rows[i].url ? rows[i].url : server_url(rows[i].script, "object?Signature=s3cret"),
            .text_max = LEN,
            .stall_timeout_s = rows[i].number == ETIMEDOUT ? 1 : 0,
        };
        struct im_http_response response = { 0 };
        struct im_error err = { 0 };

        assert_int_equal(im_http_do(http, &request, &response, &err), -rows[i].number);
        assert_true(im_retry_errno(-rows[i].number) && im_retry_errno(rows[i].number));
        assert_null(strstr(err.message, "s3cret"));
        assert_non_null(strstr(err.message, rows[i].url ? "/x" : "/object"));
        im_http_response_done(&response);
    }
    assert_false(im_retry_errno(EINVAL) || im_retry_errno(ENOENT) || im_retry_errno(ECANCELED));
    assert_true(im_retry_status(500) && im_retry_status(503) && im_retry_status(429) &&
                im_retry_status(408));
    assert_false(im_retry_status(200) || im_retry_status(302) || im_retry_status(404) ||
                 im_retry_status(403) || im_retry_status(600));
}

static volatile bool cancel;

static void *cancel_when_asked(void *arg)
{
    (void)arg;
    (void)server_sees("GET", "/object", 1);
    cancel = true;
    return NULL;
}

static void exchanges_can_be_cancelled(void **state)
{
    struct im_http_request request = {
        .method = "GET", .url = server_url("stall", "object"), .text_max = LEN, .cancel = &cancel
    };
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    int64_t start = im_clock_monotonic_ms();
    pthread_t thread;

    (void)state;
    cancel = false;
    assert_int_equal(pthread_create(&thread, NULL, cancel_when_asked, NULL), 0);
    assert_int_equal(im_http_do(http, &request, &response, NULL), -ECANCELED);
    (void)pthread_join(thread, NULL);
    assert_true(im_clock_monotonic_ms() - start < 4000);
}

static void a_total_time_can_be_set(void **state)
{
    struct im_http_request request = { .method = "GET",
                                       .url = server_url("stall", "object"),
                                       .text_max = LEN,
                                       .total_timeout_ms = 200 };
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    int64_t start = im_clock_monotonic_ms();

    (void)state;
    assert_int_equal(im_http_do(http, &request, &response, NULL), -ETIMEDOUT);
    assert_true(im_clock_monotonic_ms() - start < 10000); /* a stall takes 30 s */
}

static void pauses_grow_and_can_be_cancelled(void **state)
{
    static volatile bool yes = true;
    int64_t start = im_clock_monotonic_ms();

    (void)state;
    assert_false(im_retry_wait(8, &yes));
    assert_true(im_clock_monotonic_ms() - start < 1000);
    assert_true(im_retry_wait(0, NULL)); /* 0.2 s at most */
    assert_true(im_clock_monotonic_ms() - start < 1500);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(bodies_are_streamed),
        TEST(heads_have_a_length_and_no_body),
        TEST(requests_are_sent_as_they_are),
        TEST(answers_are_not_decoded),
        TEST(redirects_are_answers),
        TEST(texts_are_bounded),
        TEST(error_documents_do_not_reach_the_taker_and_are_cut),
        TEST(a_taker_can_end_the_exchange),
        TEST(bodies_are_sent_from_memory_and_streams),
        TEST(a_stream_starts_again_on_a_fresh_connection),
        TEST(a_reader_that_fails_ends_the_exchange),
        TEST(doubtful_urls_are_not_asked),
        TEST(failures_have_numbers_and_keep_secrets),
        TEST(exchanges_can_be_cancelled),
        TEST(a_total_time_can_be_set),
        TEST(pauses_grow_and_can_be_cancelled),
    };

    return cmocka_run_group_tests_name("http", tests, group_setup, group_teardown);
}

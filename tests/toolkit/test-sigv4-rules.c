/* The rules of a V4 signature in the Authorization header that the published vectors do not show:
 * what must be signed, what may differ between clients, which requests are refused before any
 * arithmetic. Signed by our own signer. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "aws/canonical.h"
#include "base/crypto.h"

#define SECRET     "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define OTHER_HASH "0000000000000000000000000000000000000000000000000000000000000000"
#define DATE       "20261121T004142Z"
#define NOW_MS     INT64_C(1795221702000)

static const struct im_sigv4_key ec2_key = {
    .access_key = "AKIDEXAMPLE", .secret_key = SECRET, .region = "undefined-4711", .service = "ec2"
};
static const struct im_sigv4_key s3_key = {
    .access_key = "AKIDEXAMPLE", .secret_key = SECRET, .region = "us-east-1", .service = "s3"
};

/* A request of up to eight headers that a test fills, signs, changes and sends. */
struct message {
    struct im_header headers[8];
    struct im_signable request;
    struct im_buffer authorization;
};

static void put(struct message *m, const char *name, const char *value)
{
    assert_true(m->request.header_count < 8);
    m->headers[m->request.header_count++] = (struct im_header){ name, value };
}

static struct im_header *header_of(struct message *m, const char *name)
{
    for (size_t i = 0; i < m->request.header_count; i++)
        if (strcmp(m->headers[i].name, name) == 0)
            return &m->headers[i];
    fail_msg("no header %s", name);
    return NULL;
}

static void start(struct message *m, bool s3)
{
    *m = (struct message){ .authorization = IM_BUFFER(8192) };
    m->request = (struct im_signable){ .method = "POST",
                                       .path = s3 ? "/bucket//a b%20c%7Ed+e" : "/",
                                       .query = "",
                                       .headers = m->headers,
                                       .payload_hash = IM_EMPTY_SHA256,
                                       .s3 = s3 };
    put(m, "Host", "127.0.0.1:8773");
    put(m, "X-Amz-Date", DATE);
}

static void sign(struct message *m)
{
    const struct im_sigv4_key *key = m->request.s3 ? &s3_key : &ec2_key;

    assert_int_equal(im_sigv4_authorization(&m->request, key, DATE, &m->authorization, NULL), 0);
    put(m, "Authorization", m->authorization.data);
}

/* What a server says: "ok" or the code of the refusal. */
static const char *answer_at(const struct message *m, int64_t now_ms)
{
    struct im_sigv4_claim claim;
    struct im_error err = { 0 };

    if (im_sigv4_parse(&m->request, &claim, &err) == 0)
        (void)im_sigv4_verify(&m->request, &claim, SECRET, now_ms, &err);
    return err.code ? err.code : "ok";
}

static const char *answer(const struct message *m)
{
    return answer_at(m, NOW_MS);
}

static void our_signature_is_accepted_until_something_changes(void **state)
{
    struct message m;
    struct im_sigv4_claim claim;

    (void)state;
    start(&m, false);
    put(&m, "Content-Type", "application/x-www-form-urlencoded");
    put(&m, "Accept", "*/*");
    sign(&m);
    assert_string_equal(answer(&m), "ok");
    assert_int_equal(im_sigv4_parse(&m.request, &claim, NULL), 0);
    assert_string_equal(claim.access_key, "AKIDEXAMPLE");
    assert_string_equal(claim.region, "undefined-4711");
    assert_string_equal(claim.service, "ec2");
    assert_string_equal(claim.signed_headers, "accept;content-type;host;x-amz-date");
    assert_false(claim.presigned);

    m.request.payload_hash = OTHER_HASH;
    assert_string_equal(answer(&m), "SignatureDoesNotMatch");
    m.request.payload_hash = IM_EMPTY_SHA256;
    header_of(&m, "Accept")->value = "text/html";
    assert_string_equal(answer(&m), "SignatureDoesNotMatch");
    im_buffer_done(&m.authorization);
}

static void host_is_tried_without_its_port_but_not_with_another(void **state)
{
    struct message m;

    (void)state;
    start(&m, false);
    header_of(&m, "Host")->value = "[::1]";
    sign(&m);
    header_of(&m, "Host")->value = "[::1]:8773";
    assert_string_equal(answer(&m), "ok");
    header_of(&m, "Host")->value = "[::2]:8773";
    assert_string_equal(answer(&m), "SignatureDoesNotMatch");
    im_buffer_done(&m.authorization);

    start(&m, false);
    sign(&m);
    header_of(&m, "Host")->value = "127.0.0.1";
    assert_string_equal(answer(&m), "SignatureDoesNotMatch");
    im_buffer_done(&m.authorization);
}

static void host_and_amz_headers_must_be_signed(void **state)
{
    struct message m;
    char *host;

    (void)state;
    start(&m, false);
    sign(&m);
    put(&m, "X-Amz-Target", "evil");
    assert_string_equal(answer(&m), "IncompleteSignature");
    m.headers[3].name = "X-Amz-Security-Token"; /* some services add it after signing */
    assert_string_equal(answer(&m), "ok");
    m.headers[3].name = "X-Forwarded-For";
    assert_string_equal(answer(&m), "ok");
    m.headers[0].name = "X-Host"; /* an HTTP/1.0 request */
    assert_string_equal(answer(&m), "IncompleteSignature");
    m.headers[0].name = "Host";

    host = strstr(m.authorization.data, "=host;");
    assert_non_null(host);
    memmove(host + 1, host + 6, strlen(host + 6) + 1);
    assert_string_equal(answer(&m), "IncompleteSignature");
    im_buffer_done(&m.authorization);
}

static void payload_header_rules(void **state)
{
    static const struct {
        bool s3;
        const char *header, *body, *answer;
    } rows[] = {
        { false, IM_EMPTY_SHA256, IM_EMPTY_SHA256, "ok" },
        { false, OTHER_HASH, IM_EMPTY_SHA256, "SignatureDoesNotMatch" },
        { false, IM_UNSIGNED_PAYLOAD, IM_EMPTY_SHA256, "InvalidRequest" },
        { false, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", IM_EMPTY_SHA256, "InvalidRequest" },
        { true, IM_EMPTY_SHA256, IM_UNSIGNED_PAYLOAD, "ok" },
        { true, OTHER_HASH, IM_UNSIGNED_PAYLOAD, "ok" }, /* the HTTP layer hashes the body */
        { true, IM_UNSIGNED_PAYLOAD, OTHER_HASH, "ok" },
        { true, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", OTHER_HASH, "InvalidRequest" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct message m;

        start(&m, rows[i].s3);
        put(&m, "X-Amz-Content-SHA256", rows[i].header);
        m.request.payload_hash = rows[i].body;
        sign(&m);
        if (strcmp(answer(&m), rows[i].answer) != 0)
            fail_msg("row %zu: %s", i, answer(&m));
        im_buffer_done(&m.authorization);
    }
}

static void a_changed_payload_header_is_refused_for_s3(void **state)
{
    struct message m;

    (void)state;
    start(&m, true);
    put(&m, "X-Amz-Content-SHA256", IM_EMPTY_SHA256);
    sign(&m);
    header_of(&m, "X-Amz-Content-SHA256")->value = IM_UNSIGNED_PAYLOAD;
    assert_string_equal(answer(&m), "SignatureDoesNotMatch");
    im_buffer_done(&m.authorization);
}

static void date_header_stands_in_for_x_amz_date(void **state)
{
    struct message m;

    (void)state;
    start(&m, false);
    m.headers[1] = (struct im_header){ "Date", "Sat, 21 Nov 2026 00:41:42 -0000" };
    sign(&m);
    assert_string_equal(answer(&m), "ok");
    assert_string_equal(answer_at(&m, NOW_MS + IM_SIGV4_SKEW_MS + 1), "RequestExpired");
    m.headers[1].value = "yesterday";
    assert_string_equal(answer(&m), "IncompleteSignature");
    m.headers[1].name = "X-Date";
    assert_string_equal(answer(&m), "IncompleteSignature");
    im_buffer_done(&m.authorization);
}

static void scope_day_must_be_the_date_s(void **state)
{
    struct message m;

    (void)state;
    start(&m, false);
    sign(&m);
    strstr(m.authorization.data, "20261121")[7] = '0';
    assert_string_equal(answer(&m), "IncompleteSignature");
    im_buffer_done(&m.authorization);
}

#define CREDENTIAL "Credential=AKID/20261121/r/ec2/aws4_request"
#define SIGNED     "SignedHeaders=host;x-amz-date"
#define A16        "aaaaaaaaaaaaaaaa"

static void malformed_authorization_headers_are_refused(void **state)
{
    static const char *const values[] = {
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ",
        "AWS4-ECDSA-P256-SHA256 " CREDENTIAL ", " SIGNED ", Signature=ab",
        "AWS4-HMAC-SHA256" CREDENTIAL ", " SIGNED ", Signature=ab",
        "AWS4-HMAC-SHA256 " CREDENTIAL ", " SIGNED,
        "AWS4-HMAC-SHA256 " CREDENTIAL ", Signature=ab",
        "AWS4-HMAC-SHA256 " SIGNED ", Signature=ab",
        "AWS4-HMAC-SHA256 " CREDENTIAL ", " CREDENTIAL ", " SIGNED ", Signature=ab",
        "AWS4-HMAC-SHA256 " CREDENTIAL ", " SIGNED ", Signature=ab, More=1",
        "AWS4-HMAC-SHA256 " CREDENTIAL ",, " SIGNED ", Signature=ab",
        "AWS4-HMAC-SHA256 " CREDENTIAL ", " SIGNED ", Signature=",
        "AWS4-HMAC-SHA256 " CREDENTIAL ", " SIGNED ", Signature=" A16 A16 A16 A16 "a",
        "AWS4-HMAC-SHA256 Credential=AKID/20261121/r/ec2, " SIGNED ", Signature=ab",
        "AWS4-HMAC-SHA256 Credential=AKID/20261121/r/ec2/aws3_request, " SIGNED ", Signature=ab",
        "AWS4-HMAC-SHA256 Credential=AKID/20261121/r/ec2/aws4, " SIGNED ", Signature=ab",
        "AWS4-HMAC-SHA256 Credential=AKID/20261121/r/ec2/, " SIGNED ", Signature=ab",
        "AWS4-HMAC-SHA256 Credential=AKID/20261121/r/ec2/aws4_request/x, " SIGNED ", Signature=ab",
        "AWS4-HMAC-SHA256 Credential=/20261121/r/ec2/aws4_request, " SIGNED ", Signature=ab",
        "AWS4-HMAC-SHA256 Credential=AKID/202611210/r/ec2/aws4_request, " SIGNED ", Signature=ab",
        "AWS4-HMAC-SHA256 " CREDENTIAL ", SignedHeaders=Host;x-amz-date, Signature=ab",
        "AWS4-HMAC-SHA256 " CREDENTIAL ", SignedHeaders=x-amz-date;host, Signature=ab",
        "AWS4-HMAC-SHA256 " CREDENTIAL ", SignedHeaders=host;host;x-amz-date, Signature=ab",
        "AWS4-HMAC-SHA256 " CREDENTIAL ", SignedHeaders=host;;x-amz-date, Signature=ab",
        "AWS4-HMAC-SHA256 " CREDENTIAL ", SignedHeaders=host;x-amz-date;, Signature=ab",
        "AWS4-HMAC-SHA256 " CREDENTIAL ", SignedHeaders=;host;x-amz-date, Signature=ab",
    };
    struct message m;

    (void)state;
    start(&m, false);
    put(&m, "Authorization", "");
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        header_of(&m, "Authorization")->value = values[i];
        if (strcmp(answer(&m), "IncompleteSignature") != 0)
            fail_msg("'%s' gives %s", values[i], answer(&m));
    }
    /* The same without a defect is read, in boto 2's spelling and in another order. */
    header_of(&m, "Authorization")->value = "AWS4-HMAC-SHA256 Signature=ab," SIGNED "," CREDENTIAL;
    assert_string_equal(answer(&m), "SignatureDoesNotMatch");
}

static void a_token_is_carried_and_bounded(void **state)
{
    char *token = calloc(1, 4098);
    struct im_sigv4_claim claim;
    struct message m;

    (void)state;
    memset(token, 't', 4096);
    start(&m, false);
    put(&m, "X-Amz-Security-Token", token);
    sign(&m);
    assert_string_equal(answer(&m), "ok");
    assert_int_equal(im_sigv4_parse(&m.request, &claim, NULL), 0);
    assert_string_equal(claim.token, token);
    token[4096] = 't';
    assert_string_equal(answer(&m), "IncompleteSignature");
    im_buffer_done(&m.authorization);
    free(token);
}

static void two_signatures_or_two_headers_are_refused(void **state)
{
    static const char *const queries[] = { "X-Amz-Signature=ab", "X-Amz-Algorithm=AWS4-HMAC-SHA256",
                                           "AWSAccessKeyId=AKID&Signature=ab",
                                           "a=b&SignatureVersion=2" };
    static const char *const names[] = { "Authorization", "HOST", "X-AMZ-Date",
                                         "x-amz-content-sha256", "x-amz-security-token" };
    struct message m;

    (void)state;
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        start(&m, false);
        m.request.query = queries[i];
        sign(&m);
        assert_string_equal(answer(&m), "IncompleteSignature");
        im_buffer_done(&m.authorization);
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        start(&m, false);
        put(&m, names[i], IM_EMPTY_SHA256);
        put(&m, names[i], IM_EMPTY_SHA256);
        sign(&m);
        assert_string_equal(answer(&m), "IncompleteSignature");
        im_buffer_done(&m.authorization);
    }
}

static void floods_are_refused(void **state)
{
    struct im_header many[IM_SIGNABLE_HEADERS_MAX + 1];
    char *huge = calloc(1, IM_CANONICAL_MAX + 1);
    struct message m;

    (void)state;
    start(&m, false);
    sign(&m);
    memcpy(many, m.headers, sizeof(m.headers));
    for (size_t i = m.request.header_count; i <= IM_SIGNABLE_HEADERS_MAX; i++)
        many[i] = (struct im_header){ "X-Filler", "1" };
    m.request.headers = many;
    m.request.header_count = IM_SIGNABLE_HEADERS_MAX;
    assert_string_equal(answer(&m), "ok");
    m.request.header_count++;
    assert_string_equal(answer(&m), "InvalidRequest");
    assert_true(im_sigv4_authorization(&m.request, &ec2_key, DATE, &m.authorization, NULL) < 0);
    m.request.header_count--;

    memset(huge, 'a', IM_CANONICAL_MAX);
    huge[0] = '/';
    m.request.path = huge;
    assert_string_equal(answer(&m), "InvalidRequest");
    m.request.path = "/";
    memset(huge, '&', IM_CANONICAL_MAX);
    for (size_t i = 0; i < 2 * (IM_QUERY_MAX + 1); i += 2)
        huge[i] = 'a';
    m.request.query = huge;
    assert_string_equal(answer(&m), "MalformedQueryString");
    free(huge);
    im_buffer_done(&m.authorization);
}

/* The line of the canonical request, counted from 0. */
static void assert_canonical_line(const struct message *m, const char *signed_headers, int line,
                                  const char *wanted)
{
    struct im_buffer out = IM_BUFFER(IM_CANONICAL_MAX);
    char *at;

    assert_int_equal(im_sigv4_canonical(&m->request, signed_headers, &out, NULL), 0);
    at = out.data;
    while (line-- > 0) {
        at = strchr(at, '\n');
        assert_non_null(at);
        at++;
    }
    at[strcspn(at, "\n")] = '\0';
    assert_string_equal(at, wanted);
    im_buffer_done(&out);
}

static void queries_are_sorted_by_name_then_value(void **state)
{
    struct message m;

    (void)state;
    start(&m, true);
    m.request.query = "b=2&a-1=x&a=z&X-Amz-Signature=1&a=b+c&a&a=b%2Bc&acl&=v";
    assert_canonical_line(&m, "host", 2, "=v&a=&a=b%20c&a=b%2Bc&a=z&a-1=x&acl=&b=2");
}

static void a_signed_payload_header_stands_for_an_s3_body_only(void **state)
{
    struct message m;

    (void)state;
    for (int s3 = 0; s3 < 2; s3++) {
        start(&m, s3);
        put(&m, "X-Amz-Content-SHA256", OTHER_HASH);
        assert_canonical_line(&m, "host;x-amz-content-sha256", 7,
                              s3 ? OTHER_HASH : IM_EMPTY_SHA256);
        assert_canonical_line(&m, "host", 6, IM_EMPTY_SHA256);
    }
}

static void s3_paths_are_decoded_once_and_kept(void **state)
{
    static const struct {
        bool s3;
        const char *path, *canonical;
    } rows[] = {
        { true, "/bucket//a/../b/./c%2B+~%7E%2f", "/bucket//a/../b/./c%2B%2B~~/" },
        { true, "", "/" },
        { false, "/services/compute/", "/services/compute/" },
        { false, "/a%20b", "/a%2520b" },
        { false, "/../../a//b/../..", "/" },
        { false, "/a/b/../.c/..d/", "/a/.c/..d/" },
        { false, "", "/" },
    };
    struct message m;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        start(&m, rows[i].s3);
        m.request.path = rows[i].path;
        assert_canonical_line(&m, "host", 1, rows[i].canonical);
    }
    start(&m, true);
    sign(&m);
    assert_string_equal(answer(&m), "ok");
    m.request.path = "/bucket/%4";
    assert_string_equal(answer(&m), "InvalidURI");
    im_buffer_done(&m.authorization);
}

static void presence_is_seen_in_header_and_query_only(void **state)
{
    struct message m;

    (void)state;
    start(&m, true);
    assert_false(im_sigv4_present(&m.request));
    m.request.query = "NotX-Amz-Algorithm=1&X-Amz-AlgorithmX=1&X-Amz-Signatur=1";
    assert_false(im_sigv4_present(&m.request));
    m.request.query = "a=b&X-Amz-Algorithm=AWS4-HMAC-SHA256";
    assert_true(im_sigv4_present(&m.request));
    m.request.query = "";
    put(&m, "authorization", "AWS AKID:sig");
    assert_false(im_sigv4_present(&m.request));
    m.headers[2].value = "AWS4-HMAC-SHA256 x";
    assert_true(im_sigv4_present(&m.request));
}

static void long_secrets_are_refused(void **state)
{
    char secret[IM_SECRET_MAX + 2] = "", signature[65];

    (void)state;
    memset(secret, 's', IM_SECRET_MAX);
    assert_int_equal(im_sigv4_signature(secret, DATE, "r", "s", "x", signature), 0);
    secret[IM_SECRET_MAX] = 's';
    assert_true(im_sigv4_signature(secret, DATE, "r", "s", "x", signature) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_signature_is_accepted_until_something_changes),
        cmocka_unit_test(host_is_tried_without_its_port_but_not_with_another),
        cmocka_unit_test(host_and_amz_headers_must_be_signed),
        cmocka_unit_test(payload_header_rules),
        cmocka_unit_test(a_changed_payload_header_is_refused_for_s3),
        cmocka_unit_test(date_header_stands_in_for_x_amz_date),
        cmocka_unit_test(scope_day_must_be_the_date_s),
        cmocka_unit_test(malformed_authorization_headers_are_refused),
        cmocka_unit_test(a_token_is_carried_and_bounded),
        cmocka_unit_test(two_signatures_or_two_headers_are_refused),
        cmocka_unit_test(floods_are_refused),
        cmocka_unit_test(queries_are_sorted_by_name_then_value),
        cmocka_unit_test(a_signed_payload_header_stands_for_an_s3_body_only),
        cmocka_unit_test(s3_paths_are_decoded_once_and_kept),
        cmocka_unit_test(presence_is_seen_in_header_and_query_only),
        cmocka_unit_test(long_secrets_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

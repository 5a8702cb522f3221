/* Presigned V4 URLs: ours are accepted as long as they say and for nothing else, and every
 * parameter is checked. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "aws/sigv4.h"
#include "base/http.h"
#include "base/text.h"

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

struct presigned {
    char *url, *path, *query, *host;
    struct im_header header;
    struct im_signable request;
};

/* Presign, then take the URL apart as the server that is asked for it. */
static void presign(struct presigned *p, const struct im_sigv4_key *key, const char *url,
                    uint64_t expires_s)
{
    struct im_buffer out = IM_BUFFER(8192);
    struct im_url parts;

    assert_int_equal(im_sigv4_presign("GET", url, key, NOW_MS, expires_s, &out, NULL), 0);
    p->url = im_buffer_steal(&out);
    assert_int_equal(im_url_split(p->url, &parts, NULL), 0);
    p->path = strndup(parts.path, parts.path_len);
    p->query = strndup(parts.query, parts.query_len);
    p->host = strndup(parts.host, parts.host_len);
    p->header = (struct im_header){ "Host", p->host };
    p->request = (struct im_signable){ .method = "GET",
                                       .path = p->path,
                                       .query = p->query,
                                       .headers = &p->header,
                                       .header_count = 1,
                                       .payload_hash = IM_EMPTY_SHA256,
                                       .s3 = strcmp(key->service, "s3") == 0 };
}

static void presigned_done(struct presigned *p)
{
    free(p->url);
    free(p->path);
    free(p->query);
    free(p->host);
}

/* What a server says: "ok" or the code of the refusal. */
static const char *answer_at(const struct presigned *p, int64_t now_ms)
{
    struct im_sigv4_claim claim;
    struct im_error err = { 0 };

    if (im_sigv4_parse(&p->request, &claim, &err) == 0)
        (void)im_sigv4_verify(&p->request, &claim, SECRET, now_ms, &err);
    return err.code ? err.code : "ok";
}

static void our_presigned_urls_live_as_long_as_they_say(void **state)
{
    static const char *const urls[] = {
        "http://127.0.0.1:9000/bucket/a//b%20c.manifest.xml",
        "https://s3.example.com/bucket/key?versionId=1&response-content-type=a%2Fb",
        "http://host.example?",
        "http://[::1]:9000#fragment",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct presigned p;

        presign(&p, &s3_key, urls[i], 60);
        assert_string_equal(answer_at(&p, NOW_MS), "ok");
        assert_string_equal(answer_at(&p, NOW_MS + 60000), "ok");
        assert_string_equal(answer_at(&p, NOW_MS + 60001), "RequestExpired");
        assert_string_equal(answer_at(&p, NOW_MS - IM_SIGV4_SKEW_MS), "ok");
        assert_string_equal(answer_at(&p, NOW_MS - IM_SIGV4_SKEW_MS - 1), "RequestExpired");
        p.request.payload_hash = IM_UNSIGNED_PAYLOAD; /* an upload still on its way */
        assert_string_equal(answer_at(&p, NOW_MS), "ok");
        p.request.method = "HEAD";
        assert_string_equal(answer_at(&p, NOW_MS), "SignatureDoesNotMatch");
        presigned_done(&p);
    }
}

static void a_presigned_call_of_another_service_covers_the_body(void **state)
{
    struct presigned p;

    (void)state;
    presign(&p, &ec2_key, "http://127.0.0.1:8773/?Action=DescribeConversionTasks", 60);
    assert_string_equal(answer_at(&p, NOW_MS), "ok");
    p.request.payload_hash = OTHER_HASH;
    assert_string_equal(answer_at(&p, NOW_MS), "SignatureDoesNotMatch");
    presigned_done(&p);

    presign(&p, &s3_key, "http://127.0.0.1:8773/", 60); /* signs UNSIGNED-PAYLOAD */
    assert_string_equal(answer_at(&p, NOW_MS), "ok");
    p.request.s3 = false;
    assert_string_equal(answer_at(&p, NOW_MS), "SignatureDoesNotMatch");
    presigned_done(&p);
}

static void the_scheme_s_own_port_is_not_signed(void **state)
{
    struct presigned p;

    (void)state;
    presign(&p, &s3_key, "https://s3.example.com:443/b/k", 60);
    p.header.value = "s3.example.com"; /* what libcurl sends */
    assert_string_equal(answer_at(&p, NOW_MS), "ok");
    presigned_done(&p);
    presign(&p, &s3_key, "http://s3.example.com:443/b/k", 60);
    p.header.value = "s3.example.com";
    assert_string_equal(answer_at(&p, NOW_MS), "SignatureDoesNotMatch");
    presigned_done(&p);
}

/* Change the query of a presigned request: replace `from`, which must be there, by `to`. */
static void edit_query(struct presigned *p, const char *from, const char *to)
{
    char *at = strstr(p->query, from);
    char *edited;

    assert_non_null(at);
    edited = im_asprintf("%.*s%s%s", (int)(at - p->query), p->query, to, at + strlen(from));
    free(p->query);
    p->request.query = p->query = edited;
}

static void presigned_parameters_are_checked(void **state)
{
    static const struct {
        const char *from, *to, *answer;
    } rows[] = {
        { "X-Amz-Expires=60", "X-Amz-Expires=61", "SignatureDoesNotMatch" },
        { "X-Amz-Expires=60", "X-Amz-Expires=0", "InvalidParameterValue" },
        { "X-Amz-Expires=60", "X-Amz-Expires=604801", "InvalidParameterValue" },
        { "X-Amz-Expires=60", "X-Amz-Expires=-60", "InvalidParameterValue" },
        { "X-Amz-Expires=60", "X-Amz-Expires=99999999999999999999", "InvalidParameterValue" },
        { "&X-Amz-Expires=60", "", "IncompleteSignature" },
        { "X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=60", "IncompleteSignature" },
        { "X-Amz-Date=20261121T", "X-Amz-Date=20261121t", "IncompleteSignature" },
        { "X-Amz-Date=20261121T", "X-Amz-Date=20261122T", "IncompleteSignature" },
        { "X-Amz-Date=20261121T004142Z", "X-Amz-Date=2", "IncompleteSignature" },
        { "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", "IncompleteSignature" },
        { "X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=accept", "IncompleteSignature" },
        { "X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=accept%3Bhost",
          "SignatureDoesNotMatch" },
        { "us-east-1", "us-east-2", "SignatureDoesNotMatch" },
        { "&X-Amz-Signature=", "&X-Amz-Signature=0", "IncompleteSignature" },
        { "&X-Amz-Signature=", "&x=%zz&X-Amz-Signature=", "MalformedQueryString" },
        { "&X-Amz-Signature=", "&x=1&X-Amz-Signature=", "SignatureDoesNotMatch" },
        { "&X-Amz-Signature=", "&AWSAccessKeyId=1&X-Amz-Signature=", "IncompleteSignature" },
        { "&X-Amz-Signature=", "&&X-Amz-Signature=", "ok" },
    };
    struct presigned p;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        presign(&p, &s3_key, "http://127.0.0.1:9000/bucket/key", 60);
        edit_query(&p, rows[i].from, rows[i].to);
        if (strcmp(answer_at(&p, NOW_MS), rows[i].answer) != 0)
            fail_msg("'%s' gives %s", rows[i].to, answer_at(&p, NOW_MS));
        presigned_done(&p);
    }
}

static void a_presigned_token_may_stand_inside_or_outside(void **state)
{
    struct im_sigv4_key key = s3_key;
    struct im_sigv4_claim claim;
    struct presigned p;

    (void)state;
    key.token = "to/ken==";
    presign(&p, &key, "http://127.0.0.1:9000/bucket/key", 60);
    assert_string_equal(answer_at(&p, NOW_MS), "ok");
    assert_int_equal(im_sigv4_parse(&p.request, &claim, NULL), 0);
    assert_string_equal(claim.token, "to/ken==");
    edit_query(&p, "to%2Fken", "other");
    assert_string_equal(answer_at(&p, NOW_MS), "SignatureDoesNotMatch");
    presigned_done(&p);

    presign(&p, &s3_key, "http://127.0.0.1:9000/bucket/key", 60);
    edit_query(&p, "&X-Amz-Signature=", "&X-Amz-Security-Token=added&X-Amz-Signature=");
    assert_string_equal(answer_at(&p, NOW_MS), "ok");
    presigned_done(&p);
}

static void what_cannot_be_presigned_is_refused_and_adds_nothing(void **state)
{
    static const struct {
        const char *url;
        uint64_t expires_s;
    } rows[] = { { "http://h/k", 0 },        { "http://h/k", IM_SIGV4_EXPIRES_MAX + 1 },
                 { "http://u:p@h/k", 60 },   { "ftp://h/k", 60 },
                 { "http://h/k?a=%zz", 60 }, { "http://h/%zz", 60 } };
    struct im_buffer out = IM_BUFFER(4096);
    struct im_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_true(im_sigv4_presign("GET", rows[i].url, &s3_key, NOW_MS, rows[i].expires_s, &out,
                                     &err) < 0);
        assert_int_equal(out.len, 0);
        assert_null(strstr(err.message, "u:p"));
    }
    assert_int_equal(
        im_sigv4_presign("GET", "http://h/k", &s3_key, NOW_MS, IM_SIGV4_EXPIRES_MAX, &out, &err),
        0);
    im_buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_presigned_urls_live_as_long_as_they_say),
        cmocka_unit_test(a_presigned_call_of_another_service_covers_the_body),
        cmocka_unit_test(the_scheme_s_own_port_is_not_signed),
        cmocka_unit_test(presigned_parameters_are_checked),
        cmocka_unit_test(a_presigned_token_may_stand_inside_or_outside),
        cmocka_unit_test(what_cannot_be_presigned_is_refused_and_adds_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

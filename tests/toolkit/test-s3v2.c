/* The S3 signature of 2006: AWS's published examples, what belongs to the resource, the clock, and
 * what is refused. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "aws/s3v2.h"
#include "base/text.h"

#define KEY      "AKIAIOSFODNN7EXAMPLE"
#define SECRET   "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define PUPPY_MS INT64_C(1175024202000) /* Tue, 27 Mar 2007 19:36:42 +0000 */

/* "Signing and authenticating REST requests", S3 Developer Guide, section "Examples". */
static const struct {
    const char *method, *query, *resource, *signature;
    int64_t now_ms;
    struct im_header headers[12];
} examples[] = {
    { "GET",
      "",
      "/johnsmith/photos/puppy.jpg",
      "bWq2s1WEIj+Ydj0vQ697zp+IXMU=",
      PUPPY_MS,
      { { "Host", "johnsmith.s3.amazonaws.com" }, { "Date", "Tue, 27 Mar 2007 19:36:42 +0000" } } },
    { "PUT",
      "",
      "/johnsmith/photos/puppy.jpg",
      "MyyxeRY7whkBe+bq8fHCL/2kKUg=",
      INT64_C(1175030145000),
      { { "Content-Type", "image/jpeg" },
        { "Content-Length", "94328" },
        { "Host", "johnsmith.s3.amazonaws.com" },
        { "Date", "Tue, 27 Mar 2007 21:15:45 +0000" } } },
    { "GET",
      "prefix=photos&max-keys=50&marker=puppy",
      "/johnsmith/",
      "htDYFYduRNen8P9ZfE/s9SuKy0U=",
      INT64_C(1175024561000),
      { { "User-Agent", "Mozilla/5.0" },
        { "Host", "johnsmith.s3.amazonaws.com" },
        { "Date", "Tue, 27 Mar 2007 19:42:41 +0000" } } },
    { "GET",
      "acl",
      "/johnsmith/",
      "c2WLPFtWHVgbEmeEG93a4cG37dM=",
      INT64_C(1175024686000),
      { { "Host", "johnsmith.s3.amazonaws.com" }, { "Date", "Tue, 27 Mar 2007 19:44:46 +0000" } } },
    { "PUT",
      "",
      "/static.johnsmith.net/db-backup.dat.gz",
      "ilyl83RwaSoYIEdixDQcA4OnAnc=",
      INT64_C(1175029568000),
      { { "User-Agent", "curl/7.15.5" },
        { "Host", "static.johnsmith.net:8080" },
        { "Date", "Tue, 27 Mar 2007 21:06:08 +0000" },
        { "x-amz-acl", "public-read" },
        { "content-type", "application/x-download" },
        { "Content-MD5", "4gJE4saaMU4BqNR0kLY+lw==" },
        { "X-Amz-Meta-ReviewedBy", "joe@johnsmith.net" },
        { "X-Amz-Meta-ReviewedBy", "jane@johnsmith.net" },
        { "X-Amz-Meta-FileChecksum", "0x02661779" },
        { "X-Amz-Meta-ChecksumAlgorithm", "crc32" },
        { "Content-Encoding", "gzip" } } },
    { "GET",
      "",
      "/",
      "qGdzdERIC03wnaRNKh6OqZehG9s=",
      INT64_C(1175045399000),
      { { "Host", "s3.amazonaws.com" }, { "Date", "Wed, 28 Mar 2007 01:29:59 +0000" } } },
    { "GET",
      "",
      "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re",
      "DNEZGsoieTZ92F3bUfSPQcbGmlM=",
      INT64_C(1175046589000),
      { { "Host", "s3.amazonaws.com" }, { "Date", "Wed, 28 Mar 2007 01:49:49 +0000" } } },
};
#define EXAMPLES (sizeof(examples) / sizeof(examples[0]))

static size_t count_headers(const struct im_header *headers)
{
    size_t n = 0;

    while (n < 12 && headers[n].name)
        n++;
    return n;
}

static struct im_signable request_of(size_t example, struct im_header *headers)
{
    size_t n = count_headers(examples[example].headers);

    memcpy(headers, examples[example].headers, n * sizeof(*headers));
    return (struct im_signable){ .method = examples[example].method,
                                 .path = examples[example].resource,
                                 .query = examples[example].query,
                                 .headers = headers,
                                 .header_count = n,
                                 .payload_hash = IM_UNSIGNED_PAYLOAD,
                                 .s3 = true };
}

/* What a server says: "ok" or the code of the refusal. */
static const char *answer(const struct im_signable *request, const char *resource,
                          const char *secret, int64_t now_ms)
{
    struct im_s3v2_claim claim;
    struct im_error err = { 0 };

    if (im_s3v2_parse(request, &claim, &err) == 0)
        (void)im_s3v2_verify(request, resource, &claim, secret, now_ms, &err);
    return err.code ? err.code : "ok";
}

static void published_examples_are_accepted_until_something_changes(void **state)
{
    (void)state;
    for (size_t i = 0; i < EXAMPLES; i++) {
        struct im_header headers[13] = { 0 };
        struct im_signable request = request_of(i, headers);
        const char *resource = examples[i].resource;
        int64_t now_ms = examples[i].now_ms;
        char *authorization = im_asprintf("AWS " KEY ":%s", examples[i].signature);

        headers[request.header_count++] = (struct im_header){ "Authorization", authorization };
        assert_true(im_s3v2_present(&request));
        if (strcmp(answer(&request, resource, SECRET, now_ms), "ok") != 0)
            fail_msg("example %zu: %s", i, answer(&request, resource, SECRET, now_ms));
        assert_string_equal(answer(&request, resource, SECRET "x", now_ms),
                            "SignatureDoesNotMatch");
        assert_string_equal(answer(&request, "/johnsmith/x", SECRET, now_ms),
                            "SignatureDoesNotMatch");
        request.method = "DELETE";
        assert_string_equal(answer(&request, resource, SECRET, now_ms), "SignatureDoesNotMatch");
        request.method = examples[i].method;
        authorization[strlen(authorization) - 2] ^= 1;
        assert_string_equal(answer(&request, resource, SECRET, now_ms), "SignatureDoesNotMatch");
        free(authorization);
    }
}

static void every_signed_header_counts(void **state)
{
    static const char *const unsigned_names[] = { "User-Agent", "Host", "Content-Encoding" };
    struct im_header headers[13] = { 0 };
    struct im_signable request = request_of(4, headers);
    size_t count = request.header_count;

    (void)state;
    headers[request.header_count++] =
        (struct im_header){ "Authorization", "AWS " KEY ":ilyl83RwaSoYIEdixDQcA4OnAnc=" };
    for (size_t i = 0; i < count; i++) {
        const char *kept = headers[i].value;
        bool free_to_change = false;

        for (size_t n = 0; n < 3; n++)
            free_to_change |= strcmp(headers[i].name, unsigned_names[n]) == 0;
        headers[i].value =
            strcmp(headers[i].name, "Date") == 0 ? "Tue, 27 Mar 2007 21:06:09 +0000" : "changed";
        assert_string_equal(answer(&request, examples[4].resource, SECRET, examples[4].now_ms),
                            free_to_change ? "ok" : "SignatureDoesNotMatch");
        headers[i].value = kept;
    }
}

static void assert_string_to_sign(const struct im_signable *request, const char *resource,
                                  bool presigned, const char *wanted)
{
    struct im_buffer out = IM_BUFFER(4096);

    assert_int_equal(im_s3v2_string_to_sign(request, resource, presigned, &out), 0);
    assert_string_equal(out.data, wanted);
    im_buffer_done(&out);
}

static void string_to_sign_takes_subresources_and_amz_headers_only(void **state)
{
    struct im_header headers[] = {
        { "Date", " Tue, 27 Mar 2007 21:20:26 +0000 " },
        { "X-Amz-Meta-B", "  two  blanks\r\n  and a fold " },
        { "x-amz-date", "Tue, 27 Mar 2007 21:20:27 +0000" },
        { "Content-Type", "text/plain" },
        { "X-AMZ-Acl", "private" },
    };
    struct im_signable request = { .method = "PUT",
                                   .path = "/b/k",
                                   .query = "uploadId=a%2Fb&progressbar_label=disk.part.0+%281%2F3"
                                            "%29&partNumber=7&acl&Uploads&response-expires=",
                                   .headers = headers,
                                   .header_count = 5 };

    (void)state;
    assert_string_to_sign(&request, "/b//k%20k", false,
                          "PUT\n\ntext/plain\n\nx-amz-acl:private\nx-amz-date:Tue, 27 Mar 2007 "
                          "21:20:27 +0000\nx-amz-meta-b:two  blanks and a fold\n"
                          "/b//k%20k?acl&partNumber=7&response-expires=&uploadId=a/b");
    request.header_count = 1;
    request.query = "";
    assert_string_to_sign(&request, "/", false, "PUT\n\n\nTue, 27 Mar 2007 21:20:26 +0000\n/");
    request.query = "Expires=77&AWSAccessKeyId=x&Signature=y";
    assert_string_to_sign(&request, "/", true, "PUT\n\n\n77\n/");
}

static void clocks_may_differ_by_a_quarter_of_an_hour(void **state)
{
    struct im_header headers[13] = { 0 };
    struct im_signable request = request_of(0, headers);
    const char *resource = examples[0].resource;

    (void)state;
    headers[request.header_count++] =
        (struct im_header){ "Authorization", "AWS " KEY ":bWq2s1WEIj+Ydj0vQ697zp+IXMU=" };
    assert_string_equal(answer(&request, resource, SECRET, PUPPY_MS + IM_SIGV4_SKEW_MS), "ok");
    assert_string_equal(answer(&request, resource, SECRET, PUPPY_MS - IM_SIGV4_SKEW_MS), "ok");
    assert_string_equal(answer(&request, resource, SECRET, PUPPY_MS + IM_SIGV4_SKEW_MS + 1),
                        "RequestTimeTooSkewed");
    assert_string_equal(answer(&request, resource, SECRET, PUPPY_MS - IM_SIGV4_SKEW_MS - 1),
                        "RequestTimeTooSkewed");
    headers[1].value = "soon";
    assert_string_equal(answer(&request, resource, SECRET, PUPPY_MS), "AccessDenied");
    headers[1].name = "X-Date";
    assert_string_equal(answer(&request, resource, SECRET, PUPPY_MS), "AccessDenied");
}

static void a_bucket_alone_may_be_signed_with_a_slash(void **state)
{
    struct im_header headers[13] = { 0 };
    struct im_signable request = request_of(2, headers);

    (void)state;
    headers[request.header_count++] =
        (struct im_header){ "Authorization", "AWS " KEY ":htDYFYduRNen8P9ZfE/s9SuKy0U=" };
    assert_string_equal(answer(&request, "/johnsmith/", SECRET, examples[2].now_ms), "ok");
    assert_string_equal(answer(&request, "/johnsmith", SECRET, examples[2].now_ms), "ok");
    assert_string_equal(answer(&request, "/johnsmit", SECRET, examples[2].now_ms),
                        "SignatureDoesNotMatch");
    /* A folder of the bucket is another object than the key without the slash. */
    headers[3].value = "AWS " KEY ":OjPn1P3p+3sPRXTjtND+deDQNGQ=";
    assert_string_equal(answer(&request, "/johnsmith/a/", SECRET, examples[2].now_ms), "ok");
    assert_string_equal(answer(&request, "/johnsmith/a", SECRET, examples[2].now_ms),
                        "SignatureDoesNotMatch");
}

/* AWS's "Query string request authentication alternative example" of the same page. */
#define PRESIGNED                                                                                  \
    "AWSAccessKeyId=" KEY "&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620"
#define EXPIRES_MS INT64_C(1175139620000)

static void published_presigned_example_lives_until_it_expires(void **state)
{
    struct im_header host = { "Host", "johnsmith.s3.amazonaws.com" };
    struct im_signable request = { .method = "GET",
                                   .path = "/photos/puppy.jpg",
                                   .query = PRESIGNED,
                                   .headers = &host,
                                   .header_count = 1 };
    const char *resource = examples[0].resource;

    (void)state;
    assert_true(im_s3v2_present(&request));
    assert_string_equal(answer(&request, resource, SECRET, EXPIRES_MS), "ok");
    assert_string_equal(answer(&request, resource, SECRET, 0), "ok");
    assert_string_equal(answer(&request, resource, SECRET, EXPIRES_MS + 1), "AccessDenied");
    request.query = PRESIGNED "0";
    assert_string_equal(answer(&request, resource, SECRET, EXPIRES_MS), "SignatureDoesNotMatch");
    request.query = PRESIGNED "&acl";
    assert_string_equal(answer(&request, resource, SECRET, EXPIRES_MS), "SignatureDoesNotMatch");
    request.query = "progressbar_label=1&" PRESIGNED;
    assert_string_equal(answer(&request, resource, SECRET, EXPIRES_MS), "ok");
    request.method = "HEAD";
    assert_string_equal(answer(&request, resource, SECRET, EXPIRES_MS), "SignatureDoesNotMatch");
}

/* As botocore writes it: the header is signed, and stands in the query. */
static void a_token_is_claimed_and_signed(void **state)
{
    struct im_header headers[] = { { "x-amz-security-token", "in+header" },
                                   { "Authorization", "AWS " KEY ":sig" } };
    struct im_signable request = { .method = "GET",
                                   .path = "/b/k",
                                   .query = "Expires=77&AWSAccessKeyId=x&Signature=y&"
                                            "x-amz-security-token=in%2Bquery",
                                   .headers = headers,
                                   .header_count = 0 };
    struct im_s3v2_claim claim;
    struct im_error err;

    (void)state;
    assert_int_equal(im_s3v2_parse(&request, &claim, &err), 0);
    assert_string_equal(claim.token, "in+query");
    assert_string_to_sign(&request, "/", true, "GET\n\n\n77\nx-amz-security-token:in+query\n/");
    request.header_count = 1;
    assert_int_equal(im_s3v2_parse(&request, &claim, &err), 0);
    assert_string_equal(claim.token, "in+header");
    assert_string_to_sign(&request, "/", true, "GET\n\n\n77\nx-amz-security-token:in+header\n/");
    request.header_count = 2;
    request.query =
        "x-amz-security-token=in%2Bquery"; /* means nothing beside a header's signature */
    assert_int_equal(im_s3v2_parse(&request, &claim, &err), 0);
    assert_string_equal(claim.token, "in+header");
    assert_string_to_sign(&request, "/", false, "GET\n\n\n\nx-amz-security-token:in+header\n/");
    headers[0].name = "x-other";
    assert_int_equal(im_s3v2_parse(&request, &claim, &err), 0);
    assert_string_equal(claim.token, "");
    assert_string_to_sign(&request, "/", false, "GET\n\n\n\n/");
}

static const struct im_sigv4_key signer = { .access_key = KEY, .secret_key = SECRET };

static void published_signatures_are_made(void **state)
{
    struct im_error err;

    (void)state;
    for (size_t i = 0; i < EXAMPLES; i++) {
        struct im_buffer out = IM_BUFFER(1024);
        struct im_header headers[13] = { 0 };
        struct im_signable request = request_of(i, headers);

        assert_int_equal(im_s3v2_authorization(&request, examples[i].resource, &signer, &out, &err),
                         0);
        assert_memory_equal(out.data, "AWS " KEY ":", strlen("AWS " KEY ":"));
        assert_string_equal(out.data + strlen("AWS " KEY ":"), examples[i].signature);
        im_buffer_done(&out);
    }
}

static void published_presigned_url_is_made(void **state)
{
    struct im_buffer out = IM_BUFFER(1024);
    struct im_error err;

    (void)state;
    assert_int_equal(im_s3v2_presign("GET", "http://johnsmith.s3.amazonaws.com/photos/puppy.jpg",
                                     examples[0].resource, &signer, EXPIRES_MS / 1000, &out, &err),
                     0);
    assert_string_equal(out.data, "http://johnsmith.s3.amazonaws.com/photos/puppy.jpg"
                                  "?AWSAccessKeyId=" KEY
                                  "&Expires=1175139620&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D");
    im_buffer_done(&out);
}

/* Keys, and the token in the query, come back from an URL as they went into it. */
static void what_is_presigned_is_accepted(void **state)
{
    struct im_sigv4_key odd = { .access_key = "AK/ID+1", .secret_key = SECRET, .token = "t/k+n==" };
    struct im_header host = { "Host", "h" };
    struct im_signable request = {
        .method = "HEAD", .path = "/b/a%20b", .headers = &host, .header_count = 1
    };
    struct im_buffer out = IM_BUFFER(1024);
    struct im_s3v2_claim claim;
    struct im_error err;

    (void)state;
    assert_int_equal(
        im_s3v2_presign("HEAD", "http://h/s/b/a%20b", "/b/a%20b", &odd, 77, &out, &err), 0);
    request.query = strchr(out.data, '?') + 1;
    assert_int_equal(im_s3v2_parse(&request, &claim, &err), 0);
    assert_string_equal(claim.access_key, odd.access_key);
    assert_string_equal(claim.token, odd.token);
    assert_string_equal(answer(&request, "/b/a%20b", SECRET, 77000), "ok");
    assert_string_equal(answer(&request, "/b/a%20b", SECRET, 77001), "AccessDenied");
    assert_string_equal(answer(&request, "/b/a", SECRET, 77000), "SignatureDoesNotMatch");
    im_buffer_done(&out);
}

static void malformed_claims_are_refused(void **state)
{
    static const char A129[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    static const struct {
        const char *authorization, *query, *code;
    } rows[] = {
        { "AWS nocolon", "", "InvalidArgument" },
        { "AWS :sig", "", "InvalidArgument" },
        { "AWS AKID:", "", "InvalidArgument" },
        { "AWS AKID:sig", "AWSAccessKeyId=AKID&Expires=1&Signature=x", "InvalidArgument" },
        { "AWS AKID:sig", "X-Amz-Algorithm=AWS4-HMAC-SHA256", "InvalidArgument" },
        { "Basic AKID", "AWSAccessKeyId=AKID&Expires=1&Signature=x", "InvalidArgument" },
        { NULL, "AWSAccessKeyId=AKID&Signature=x", "AccessDenied" },
        { NULL, "AWSAccessKeyId=AKID&Expires=1", "AccessDenied" },
        { NULL, "AWSAccessKeyId=AKID&Expires=&Signature=x", "AccessDenied" },
        { NULL, "AWSAccessKeyId=AKID&Expires=-1&Signature=x", "AccessDenied" },
        { NULL, "AWSAccessKeyId=AKID&Expires=9223372036854775807&Signature=x", "AccessDenied" },
        { NULL, "AWSAccessKeyId=AKID&Expires=1&Expires=2&Signature=x", "AccessDenied" },
        { NULL, "AWSAccessKeyId=&Expires=1&Signature=x", "InvalidArgument" },
        { NULL, "AWSAccessKeyId=AKID&Expires=1&Signature=%zz", "MalformedQueryString" },
    };
    char *key = im_asprintf("AWS %s:sig", A129), *signature = im_asprintf("AWS AKID:%.65s", A129);
    struct im_header header = { "Authorization", key };
    struct im_signable request = { .method = "GET", .path = "/", .query = "", .headers = &header };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        header.value = rows[i].authorization;
        request.header_count = rows[i].authorization ? 1 : 0;
        request.query = rows[i].query;
        if (strcmp(answer(&request, "/", SECRET, 0), rows[i].code) != 0)
            fail_msg("row %zu: %s", i, answer(&request, "/", SECRET, 0));
    }
    request = (struct im_signable){ "GET", "/", "", &header, 1, IM_EMPTY_SHA256, true };
    header.value = key;
    assert_string_equal(answer(&request, "/", SECRET, 0), "InvalidArgument");
    header.value = signature;
    assert_string_equal(answer(&request, "/", SECRET, 0), "InvalidArgument");
    header.value = "AWS4-HMAC-SHA256 x";
    assert_false(im_s3v2_present(&request));
    free(key);
    free(signature);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_examples_are_accepted_until_something_changes),
        cmocka_unit_test(every_signed_header_counts),
        cmocka_unit_test(string_to_sign_takes_subresources_and_amz_headers_only),
        cmocka_unit_test(clocks_may_differ_by_a_quarter_of_an_hour),
        cmocka_unit_test(a_bucket_alone_may_be_signed_with_a_slash),
        cmocka_unit_test(published_presigned_example_lives_until_it_expires),
        cmocka_unit_test(a_token_is_claimed_and_signed),
        cmocka_unit_test(published_signatures_are_made),
        cmocka_unit_test(published_presigned_url_is_made),
        cmocka_unit_test(what_is_presigned_is_accepted),
        cmocka_unit_test(malformed_claims_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

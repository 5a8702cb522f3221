/* fuzz-signature - requests whose signatures are verified: Version 4 and 2 of the query API and of
 * S3 (aws/sigv4.h, sigv2.h, s3v2.h), and the canonical request below them.
 *
 * An input is a request as it is on the wire: "METHOD /path?query", header lines, an empty line, a
 * body.  It is verified as it came; and with its own signature taken away it is signed here.  A
 * finding is a report of a sanitizer, or
 * - a signature that another secret key accepts, or that is good for another method, path, query,
 *   host or body, too;
 * - one of ours that is refused, or accepted after its time;
 * - a canonical request that depends on the order of the parameters, or that has another one.
 *
 * A program of its own beside those of fuzz-image.h; without libFuzzer main is fuzz-bytes.c's. */

#include <config.h>

#include "fuzz/fuzz-bytes.h"
#include "fuzz/fuzz-request.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "aws/canonical.h"
#include "aws/s3v2.h"
#include "aws/sigv2.h"
#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/http.h"
#include "base/text.h"

#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define WRONG  "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEz"
/* 2026-11-21T00:41:42Z, which the seeds were signed at */
#define NOW_MS    INT64_C(1795221702000)
#define NOW_BASIC "20261121T004142Z"
#define NOW_ISO   "2026-11-21T00:41:42Z"
#define NOW_HTTP  "Sat, 21 Nov 2026 00:41:42 GMT"
#define HOST      "host.example:8773"
#define EXPIRES_S 60

#define TEXT_MAX (4u * IM_CANONICAL_MAX)

static const struct im_sigv4_key key = {
    .access_key = "AKIDEXAMPLE", .secret_key = SECRET, .region = "eucalyptus", .service = "ec2"
};

/* True when the query has nothing of a signature. */
static bool is_unsigned(const struct im_query *query)
{
    for (size_t i = 0; i < query->count; i++)
        if (strncmp(query->param[i].name, "X-Amz-", 6) == 0 ||
            strcmp(query->param[i].name, "AWSAccessKeyId") == 0 ||
            strcmp(query->param[i].name, "Signature") == 0 ||
            strcmp(query->param[i].name, "SignatureVersion") == 0 ||
            strcmp(query->param[i].name, "Expires") == 0)
            return false;
    return true;
}

/* ---- who accepts a request: 0, or what refused it ---- */

typedef int verify_fn(const struct im_signable *request, const char *secret, int64_t now_ms,
                      struct im_error *err);

static int verify_v4(const struct im_signable *request, const char *secret, int64_t now_ms,
                     struct im_error *err)
{
    struct im_sigv4_claim claim;
    int r = im_sigv4_parse(request, &claim, err);

    return r < 0 ? r : im_sigv4_verify(request, &claim, secret, now_ms, err);
}

static int verify_s3v2(const struct im_signable *request, const char *secret, int64_t now_ms,
                       struct im_error *err)
{
    struct im_s3v2_claim claim;
    int r = im_s3v2_parse(request, &claim, err);

    return r < 0 ? r : im_s3v2_verify(request, request->path, &claim, secret, now_ms, err);
}

static int verify_v2(const struct im_signable *request, const char *secret, int64_t now_ms,
                     struct im_error *err)
{
    struct im_query params IM_QUERY_DONE = { 0 };
    struct im_sigv2_claim claim;
    int r = im_query_parse(request->query, strlen(request->query), &params, err);

    if (r == 0)
        r = im_sigv2_parse(&params, &claim, err);
    return r < 0 ? r : im_sigv2_verify(request, &params, &claim, secret, now_ms, err);
}

/* What one signature covers beside method and path. */
enum { COVERS_QUERY = 1, COVERS_HOST = 2, COVERS_BODY = 4 };

static void refuses(verify_fn *verify, const struct im_signable *request, const char *what)
{
    struct im_error err = { 0 };
    int r = verify(request, SECRET, NOW_MS, &err);

    if (r == 0)
        fault(what);
    fault_unless_told(r, &err);
}

/* A request that is accepted, but for one thing. */
static void refuses_others(verify_fn *verify, const struct im_signable *request, unsigned covers)
{
    char *method IM_FREE = im_asprintf("%sX", request->method);
    char *path IM_FREE = im_asprintf("%sx", request->path);
    char *query IM_FREE = im_asprintf("%s&x", request->query);
    struct im_signable other = *request;

    if (!method || !path || !query)
        fault("out of memory");
    if (verify(request, WRONG, NOW_MS, NULL) == 0)
        fault("another secret key is accepted");
    other.method = method;
    refuses(verify, &other, "the signature is good for another method");
    other = *request;
    other.path = path;
    refuses(verify, &other, "the signature is good for another path");
    other = *request;
    other.query = query;
    if (covers & COVERS_QUERY)
        refuses(verify, &other, "the signature is good for another query");
    other = *request;
    other.payload_hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b856";
    if (covers & COVERS_BODY)
        refuses(verify, &other, "the signature is good for another body");
}

static void refuses_another_host(verify_fn *verify, const struct im_signable *request)
{
    struct im_header header[FUZZ_HEADERS_MAX];
    struct im_signable other = *request;
    char *value IM_FREE = NULL;

    for (size_t i = 0; i < request->header_count; i++) {
        header[i] = request->headers[i];
        if (!value && strcasecmp(header[i].name, "host") == 0)
            header[i].value = value =
                im_asprintf("x%s", header[i].value + strspn(header[i].value, " \t\r\n"));
    }
    other.headers = header;
    refuses(verify, &other, "the signature is good for another host");
}

/* A request that must be accepted, now and not later; and no other. */
static void accepts(verify_fn *verify, const struct im_signable *request, unsigned covers)
{
    struct im_error err = { 0 };

    if (verify(request, SECRET, NOW_MS, &err) < 0)
        fault(*err.message ? err.message : "our signature is refused");
    if (verify(request, SECRET, NOW_MS + 2 * IM_SIGV4_SKEW_MS, NULL) == 0)
        fault("a signature is accepted after its time");
    refuses_others(verify, request, covers);
    if (covers & COVERS_HOST)
        refuses_another_host(verify, request);
}

/* ---- the request as it came ---- */

static bool look_at(verify_fn *verify, const struct im_signable *request, unsigned covers)
{
    struct im_error err = { 0 };
    int r = verify(request, SECRET, NOW_MS, &err);

    fault_unless_told(r, &err);
    if (verify(request, WRONG, NOW_MS, NULL) == 0)
        fault("another secret key is accepted");
    if (r == 0)
        refuses_others(verify, request, covers);
    if (r == 0 && covers & COVERS_HOST)
        refuses_another_host(verify, request);
    return r == 0;
}

/* ---- signed here ---- */

static void sign_v4(const struct fuzz_request *message)
{
    struct im_buffer value IM_BUFFER_DONE = IM_BUFFER(TEXT_MAX);
    struct fuzz_request own;

    fuzz_request_unsigned(message, &own);
    fuzz_request_add(&own, "host", HOST);
    fuzz_request_add(&own, "X-Amz-Date", NOW_BASIC);
    if (im_sigv4_authorization(&own.request, &key, NOW_BASIC, &value, NULL) < 0)
        return;
    fuzz_request_add(&own, "Authorization", value.data);
    if (own.request.header_count <= IM_SIGNABLE_HEADERS_MAX)
        accepts(verify_v4, &own.request, COVERS_QUERY | COVERS_HOST | COVERS_BODY);
}

/* A presigned URL, taken apart again into `request`. */
static bool take_url(const struct im_buffer *url, char **ret_copy, struct im_signable *request)
{
    char *copy = strdup(url->data), *query;

    *ret_copy = copy;
    if (!copy || !(query = strchr(copy, '?')))
        fault("a presigned URL has no query");
    *query++ = '\0';
    request->path = copy + strlen("http://" HOST);
    request->query = query;
    return true;
}

static void presign_v4(const struct fuzz_request *message)
{
    struct im_buffer signed_url IM_BUFFER_DONE = IM_BUFFER(TEXT_MAX);
    const struct im_signable *request = &message->request;
    char *url IM_FREE = im_asprintf("http://" HOST "%s%s%s", request->path,
                                    *request->query ? "?" : "", request->query);
    const struct im_header host = { "Host", HOST };
    struct im_signable own = { .method = request->method,
                               .headers = &host,
                               .header_count = 1,
                               .payload_hash = IM_EMPTY_SHA256,
                               .s3 = request->s3 };
    struct im_sigv4_key with_service = key;
    char *copy IM_FREE = NULL;

    with_service.service = request->s3 ? "s3" : "ec2";
    with_service.token = "to/ken+==";
    if (!url || strchr(url, '#') || /* the rest is not sent */
        im_sigv4_presign(request->method, url, &with_service, NOW_MS, EXPIRES_S, &signed_url,
                         NULL) < 0)
        return;
    if (take_url(&signed_url, &copy, &own))
        accepts(verify_v4, &own, COVERS_QUERY | COVERS_HOST | (request->s3 ? 0 : COVERS_BODY));
}

static void sign_s3v2(const struct fuzz_request *message)
{
    struct im_buffer value IM_BUFFER_DONE = IM_BUFFER(TEXT_MAX);
    struct fuzz_request own;

    fuzz_request_unsigned(message, &own);
    fuzz_request_add(&own, "Date", NOW_HTTP);
    fuzz_request_add(&own, "x-amz-security-token", "to/ken+==");
    if (im_s3v2_authorization(&own.request, own.request.path, &key, &value, NULL) < 0)
        return;
    fuzz_request_add(&own, "Authorization", value.data);
    if (own.request.header_count <= IM_SIGNABLE_HEADERS_MAX)
        accepts(verify_s3v2, &own.request, 0);
}

static void presign_s3v2(const struct fuzz_request *message)
{
    struct im_buffer signed_url IM_BUFFER_DONE = IM_BUFFER(TEXT_MAX);
    const char *path = message->request.path;
    char *url IM_FREE = im_asprintf("http://" HOST "%s", path);
    struct im_signable own = { .method = message->request.method };
    char *copy IM_FREE = NULL;

    if (!url || im_s3v2_presign(own.method, url, path, &key, NOW_MS / 1000 + EXPIRES_S, &signed_url,
                                NULL) < 0)
        return;
    if (take_url(&signed_url, &copy, &own))
        accepts(verify_s3v2, &own, 0);
}

/* The string to sign of Version 2 does not depend on the order of the parameters. */
static void compare_turned(const struct im_signable *request, const char *query,
                           const struct im_buffer *to_sign)
{
    struct im_buffer other IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);
    struct im_query params IM_QUERY_DONE = { 0 };
    char *list IM_FREE = fuzz_turned(query);

    if (im_query_parse(list, strlen(list), &params, NULL) < 0 ||
        im_sigv2_string_to_sign(request->method, HOST, request->path, &params, &other) < 0 ||
        strcmp(other.data, to_sign->data) != 0)
        fault("the string to sign depends on the order of the parameters");
}

/* "&name=value" of what Version 2 adds, signed by what its definition says. */
static void sign_v2(const struct fuzz_request *message, const struct im_query *params,
                    enum im_hash hash)
{
    struct im_buffer to_sign IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);
    struct im_buffer query IM_BUFFER_DONE = IM_BUFFER(TEXT_MAX);
    struct im_query all IM_QUERY_DONE = { 0 };
    const struct im_header host = { "Host", HOST };
    struct im_signable own = { .method = message->request.method,
                               .path = message->request.path,
                               .headers = &host,
                               .header_count = 1 };
    char signature[4 * ((IM_HASH_MAX + 2) / 3) + 1];
    uint8_t digest[IM_HASH_MAX];

    if (im_query_get(params, "SignatureMethod") || im_query_get(params, "Timestamp") ||
        im_query_get(params, "SecurityToken") ||
        im_buffer_printf(&query,
                         "%s&AWSAccessKeyId=AKID&SignatureVersion=2&SignatureMethod=Hmac%s&"
                         "Timestamp=" NOW_ISO,
                         message->request.query, hash == IM_SHA1 ? "SHA1" : "SHA256") < 0 ||
        im_query_parse(query.data, query.len, &all, NULL) < 0 ||
        im_sigv2_string_to_sign(own.method, HOST, own.path, &all, &to_sign) < 0)
        return;
    compare_turned(&own, query.data, &to_sign);
    im_hmac(hash, SECRET, strlen(SECRET), to_sign.data, to_sign.len, digest);
    im_base64(digest, im_hash_size(hash), signature);
    if (im_buffer_puts(&query, "&Signature=") < 0 ||
        im_url_encode(&query, signature, strlen(signature), false) < 0)
        fault("out of memory");
    own.query = query.data;
    if (all.count < IM_QUERY_MAX)
        accepts(verify_v2, &own, COVERS_QUERY | COVERS_HOST);
}

/* ---- canonical requests ---- */

static void canonical(const struct im_signable *request, const char *names, struct im_buffer *out)
{
    im_buffer_clear(out);
    if (im_sigv4_canonical(request, names, out, NULL) < 0)
        fault("what has a canonical request has none when it is written otherwise");
}

/* The canonical request is one: of the turned query, and of what it says itself. */
static void look_at_canonical(const struct im_signable *request)
{
    struct im_buffer names IM_BUFFER_DONE = IM_BUFFER(TEXT_MAX);
    struct im_buffer first IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);
    struct im_buffer second IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);
    char *list IM_FREE = fuzz_turned(request->query);
    struct im_signable other = *request;
    char *lines IM_FREE = NULL;
    char *rest, *path;

    if (im_signable_names(request, "", &names) < 0 || names.len == 0 ||
        im_sigv4_canonical(request, names.data, &first, NULL) < 0)
        return;
    other.query = list;
    canonical(&other, names.data, &second);
    if (strcmp(first.data, second.data) != 0)
        fault("the canonical request depends on the order of the parameters");
    rest = lines = strdup(first.data);
    (void)strsep(&rest, "\n");
    path = strsep(&rest, "\n");
    other.path = other.s3 ? path : other.path; /* others' paths are encoded once more */
    other.query = strsep(&rest, "\n");
    canonical(&other, names.data, &second);
    if (strcmp(first.data, second.data) != 0)
        fault("a canonical request has another canonical request");
}

/* Signed in one of the ways, which the sum of its bytes decides: all of them take long. */
static void sign(struct fuzz_request *message, const struct im_query *query, unsigned sum)
{
    message->request.s3 = sum / 6 % 2;
    switch (sum % 6) {
    case 0:
        sign_v4(message);
        break;
    case 1:
        presign_v4(message);
        break;
    case 2:
        sign_s3v2(message);
        break;
    case 3:
        presign_s3v2(message);
        break;
    case 4:
        sign_v2(message, query, IM_SHA256);
        break;
    default:
        sign_v2(message, query, IM_SHA1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct fuzz_request message;
    struct im_signable *request = &message.request;
    struct im_query query IM_QUERY_DONE = { 0 };
    char *text IM_FREE = fuzz_text(data, len);
    bool accepted = false;
    unsigned sum = 0;

    fuzz_refused = true;
    if (!text || !fuzz_request_read(text, &message))
        return 0;
    for (int s3 = 0; s3 < 2; s3++) {
        request->s3 = s3;
        accepted |= look_at(verify_v4, request, COVERS_QUERY | COVERS_HOST);
        look_at_canonical(request);
    }
    accepted |= look_at(verify_v2, request, COVERS_QUERY | COVERS_HOST);
    accepted |= look_at(verify_s3v2, request, 0);
    fuzz_refused = !accepted;
    for (size_t i = 0; i < len; i++)
        sum += data[i];
    if (im_query_parse(request->query, strlen(request->query), &query, NULL) == 0 &&
        is_unsigned(&query))
        sign(&message, &query, sum);
    return 0;
}

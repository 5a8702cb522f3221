/* s3v2 - verifying and making the older S3 signature, HMAC-SHA1 over a few headers and the
 * resource.
 *
 * "Signing and authenticating REST requests" of the S3 Developer Guide.  Not the query Signature
 * Version 2 of EC2, which signs other things with another hash. */

#include <config.h>

#include "aws/s3v2.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/canonical.h"
#include "base/crypto.h"
#include "aws/query.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/http.h"
#include "base/text.h"

/* The query parameters that belong to the resource, in byte order; all others (a client's own
 * "progressbar_label", say) are neither signed nor looked at.  The guide's list and the later
 * additions botocore signs. */
static const char *const subresources[] = {
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
};
#define SUBRESOURCES (sizeof(subresources) / sizeof(subresources[0]))

/* A header, which in a presigned URL (botocore's) stands in the query and is signed as if it were
 * one. */
#define TOKEN "x-amz-security-token"

static const char *header_signature(const struct im_signable *request)
{
    const char *value = im_signable_header(request, "authorization");

    return value && strncmp(value, "AWS ", 4) == 0 ? value + 4 : NULL;
}

/* Looks for "name=" at the start of a parameter. */
static bool query_has(const char *query, const char *name)
{
    for (const char *p = query; p; p = strchr(p, '&')) {
        p += *p == '&';
        if (strncmp(p, name, strlen(name)) == 0)
            return true;
    }
    return false;
}

bool im_s3v2_present(const struct im_signable *request)
{
    return header_signature(request) || query_has(request->query, "AWSAccessKeyId=");
}

static int invalid(struct im_error *err, const char *what)
{
    return im_fail_code(err, EINVAL, "InvalidArgument", "%s", what);
}

/* Copy key and signature; both are short in every client. */
static int set_claim(struct im_s3v2_claim *claim, const char *key, size_t key_len,
                     const char *signature, struct im_error *err)
{
    size_t len = strlen(signature);

    if (key_len == 0 || key_len >= sizeof(claim->access_key) || len == 0 ||
        len >= sizeof(claim->signature))
        return im_fail_code(err, EINVAL, "InvalidArgument",
                            "access key and signature have %zu and %zu characters; 1 to %zu and 1 "
                            "to %zu are allowed",
                            key_len, len, sizeof(claim->access_key) - 1,
                            sizeof(claim->signature) - 1);
    memcpy(claim->access_key, key, key_len);
    claim->access_key[key_len] = '\0';
    memcpy(claim->signature, signature, len + 1);
    return 0;
}

static int parse_header(const char *text, struct im_s3v2_claim *claim, struct im_error *err)
{
    const char *colon;

    text += strspn(text, " ");
    colon = strrchr(text, ':');
    if (!colon)
        return invalid(err, "the Authorization header must be 'AWS KEY:SIGNATURE'");
    return set_claim(claim, text, (size_t)(colon - text), colon + 1, err);
}

/* The value of a parameter that must be there once. */
static const char *single(const struct im_query *query, const char *name)
{
    const char *value = NULL;

    for (size_t i = 0; i < query->count; i++) {
        if (strcmp(query->param[i].name, name) != 0)
            continue;
        if (value)
            return NULL;
        value = query->param[i].value;
    }
    return value;
}

static int parse_presigned(const struct im_query *query, struct im_s3v2_claim *claim,
                           struct im_error *err)
{
    const char *key = single(query, "AWSAccessKeyId");
    const char *expires = single(query, "Expires");
    const char *signature = single(query, "Signature");
    uint64_t seconds;

    if (!key || !expires || !signature)
        return im_fail_code(err, EACCES, "AccessDenied",
                            "a presigned URL must hold AWSAccessKeyId, Expires and Signature, each "
                            "once");
    if (im_parse_uint(expires, INT64_MAX / 1000, &seconds) < 0)
        return im_fail_code(err, EACCES, "AccessDenied",
                            "Expires is '%.32s'; it must be seconds since 1970", expires);
    claim->presigned = true;
    claim->expires = (int64_t)seconds;
    return set_claim(claim, key, strlen(key), signature, err);
}

static int set_token(struct im_s3v2_claim *claim, const char *token, struct im_error *err)
{
    if (!token)
        return 0;
    if (strlen(token) >= sizeof(claim->token))
        return im_fail_code(err, EINVAL, "InvalidArgument",
                            "the session token has %zu characters; %zu are allowed", strlen(token),
                            sizeof(claim->token) - 1);
    memcpy(claim->token, token, strlen(token) + 1);
    return 0;
}

int im_s3v2_parse(const struct im_signable *request, struct im_s3v2_claim *ret_claim,
                  struct im_error *err)
{
    const char *header = header_signature(request);
    const char *token = im_signable_header(request, TOKEN);
    struct im_query query IM_QUERY_DONE = { 0 };
    struct im_s3v2_claim claim = { 0 };
    int r;

    if (query_has(request->query, "AWSAccessKeyId=") + im_sigv4_present(request) +
            (im_signable_header(request, "authorization") != NULL) >
        1)
        return invalid(err, "the request is signed in two ways; use the Authorization header or "
                            "the query, not both");
    if (header) {
        r = parse_header(header, &claim, err);
    } else {
        r = im_query_parse(request->query, strlen(request->query), &query, err);
        if (r == 0)
            r = parse_presigned(&query, &claim, err);
        if (r == 0 && !token)
            token = single(&query, TOKEN);
    }
    if (r == 0)
        r = set_token(&claim, token, err);
    if (r == 0)
        *ret_claim = claim;
    return r;
}

/* ---- the string to sign ---- */

/* The value of a header without outer blanks, and LF; only the LF when it was not sent. */
static int add_plain(const struct im_signable *request, const char *name, struct im_buffer *out)
{
    struct im_buffer line IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);
    int r = im_signable_line(request, name, false, &line);

    if (r == -ENOENT)
        return im_buffer_puts(out, "\n");
    return r < 0 ? r : im_buffer_puts(out, line.data + strlen(name) + 1);
}

/* The request with the token of its query, if it has one there, among its headers. */
static struct im_signable with_token(const struct im_signable *request,
                                     const struct im_query *query,
                                     struct im_header headers[IM_SIGNABLE_HEADERS_MAX])
{
    const char *token = single(query, TOKEN);
    struct im_signable whole = *request;

    if (!token || im_signable_header(request, TOKEN) ||
        request->header_count >= IM_SIGNABLE_HEADERS_MAX)
        return whole;
    if (whole.header_count > 0)
        memcpy(headers, whole.headers, whole.header_count * sizeof(*headers));
    headers[whole.header_count++] = (struct im_header){ TOKEN, token };
    whole.headers = headers;
    return whole;
}

static int add_amz_headers(const struct im_signable *request, struct im_buffer *out)
{
    struct im_buffer names IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);
    char *rest = NULL;
    int r = im_signable_names(request, "x-amz-", &names);

    for (char *name = names.len > 0 ? strtok_r(names.data, ";", &rest) : NULL; name && r == 0;
         name = strtok_r(NULL, ";", &rest))
        r = im_signable_line(request, name, false, out);
    return r;
}

/* Each subresource of the query in byte order, values decoded; "acl" stays bare, "acl=" does not.
 */
static int add_resource(const struct im_query *query, const char *resource, struct im_buffer *out)
{
    const char *separator = "?";
    int r = im_buffer_puts(out, resource);

    for (size_t s = 0; s < SUBRESOURCES; s++)
        for (size_t i = 0; i < query->count && r == 0; i++) {
            const struct im_param *param = &query->param[i];

            if (strcmp(param->name, subresources[s]) != 0)
                continue;
            r = im_buffer_printf(out, "%s%s%s%s", separator, param->name, param->bare ? "" : "=",
                                 param->value);
            separator = "&";
        }
    return r;
}

static int add_date(const struct im_signable *request, const struct im_query *query, bool presigned,
                    struct im_buffer *out)
{
    const char *expires = im_query_get(query, "Expires");

    if (presigned)
        return im_buffer_printf(out, "%s\n", expires ? expires : "");
    if (im_signable_header(request, "x-amz-date"))
        return im_buffer_puts(out, "\n"); /* it is among the x-amz-* headers */
    return add_plain(request, "date", out);
}

int im_s3v2_string_to_sign(const struct im_signable *request, const char *resource, bool presigned,
                           struct im_buffer *out)
{
    struct im_header headers[IM_SIGNABLE_HEADERS_MAX];
    struct im_query query IM_QUERY_DONE = { 0 };
    struct im_signable whole = *request;
    int r = im_query_parse(request->query, strlen(request->query), &query, NULL);

    if (r == 0 && presigned)
        whole = with_token(request, &query, headers);
    if (r == 0)
        r = im_buffer_printf(out, "%s\n", request->method);
    if (r == 0)
        r = add_plain(request, "content-md5", out);
    if (r == 0)
        r = add_plain(request, "content-type", out);
    if (r == 0)
        r = add_date(request, &query, presigned, out);
    if (r == 0)
        r = add_amz_headers(&whole, out);
    if (r == 0)
        r = add_resource(&query, resource, out);
    return r;
}

/* Room for the base64 of a SHA-1. */
#define SIGNATURE_SIZE (4 * ((IM_HASH_MAX + 2) / 3) + 1)

/* The signature of a request; `presigned` as for the string to sign. */
static int sign(const struct im_signable *request, const char *resource, bool presigned,
                const char *secret_key, char ret_signature[SIGNATURE_SIZE])
{
    struct im_buffer to_sign IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);
    uint8_t digest[IM_HASH_MAX];
    int r = im_s3v2_string_to_sign(request, resource, presigned, &to_sign);

    if (r < 0)
        return r;
    im_hmac(IM_SHA1, secret_key, strlen(secret_key), to_sign.data, to_sign.len, digest);
    im_base64(digest, im_hash_size(IM_SHA1), ret_signature);
    return 0;
}

/* ---- verifying ---- */

static int check_time(const struct im_signable *request, const struct im_s3v2_claim *claim,
                      int64_t now_ms, struct im_error *err)
{
    const char *date = im_signable_header(request, "x-amz-date");
    char now[21];
    int64_t ms;

    (void)im_clock_iso8601(now, sizeof(now), now_ms);
    if (claim->presigned) {
        if (now_ms <= claim->expires * 1000)
            return 0;
        return im_fail_code(err, EACCES, "AccessDenied",
                            "Request has expired: it was valid until %" PRId64
                            " s after 1970 and it is now %s",
                            claim->expires, now);
    }
    if (!date)
        date = im_signable_header(request, "date");
    if (!date || (im_clock_parse_http(date, &ms) < 0 && im_clock_parse_basic(date, &ms) < 0))
        return im_fail_code(err, EACCES, "AccessDenied",
                            "AWS authentication requires a valid Date or x-amz-date header");
    if (ms - IM_SIGV4_SKEW_MS <= now_ms && now_ms <= ms + IM_SIGV4_SKEW_MS)
        return 0;
    return im_fail_code(err, EACCES, "RequestTimeTooSkewed",
                        "the request is of '%.40s' and it is now %s; set the clock", date, now);
}

/* 1 when the request has the claimed signature over that resource, 0 when not, or a failure. */
static int try_resource(const struct im_signable *request, const char *resource,
                        const struct im_s3v2_claim *claim, const char *secret_key,
                        struct im_error *err)
{
    char signature[SIGNATURE_SIZE];
    int r = sign(request, resource, claim->presigned, secret_key, signature);

    if (r < 0)
        return im_fail_code(
            err, -r, "InvalidArgument",
            "the headers or the query of the request cannot be read or are above %d "
            "bytes",
            IM_CANONICAL_MAX);
    return im_equal_secret(signature, claim->signature);
}

/* "/bucket/" for "/bucket", else NULL.  botocore asks for the one and signs the other, as S3 wants
 * it; other clients sign what they ask for. */
static char *bucket_with_slash(const char *resource)
{
    if (resource[0] != '/' || !resource[1] || strchr(resource + 1, '/'))
        return NULL;
    return im_asprintf("%s/", resource);
}

int im_s3v2_verify(const struct im_signable *request, const char *resource,
                   const struct im_s3v2_claim *claim, const char *secret_key, int64_t now_ms,
                   struct im_error *err)
{
    char *bucket IM_FREE = bucket_with_slash(resource);
    int r = check_time(request, claim, now_ms, err);

    if (r < 0)
        return r;
    r = try_resource(request, resource, claim, secret_key, err);
    if (r == 0 && bucket)
        r = try_resource(request, bucket, claim, secret_key, err);
    if (r == 0)
        return im_fail_code(err, EACCES, "SignatureDoesNotMatch",
                            "the signature does not belong to this request and this access key; "
                            "check the secret key, and that nothing on the way changes requests");
    return r < 0 ? r : 0;
}

/* ---- making ---- */

static int cannot_sign(int r, struct im_error *err)
{
    return im_fail(err, -r,
                   "cannot sign: the headers or the URL are above %d bytes, or there is no "
                   "memory",
                   IM_CANONICAL_MAX);
}

int im_s3v2_authorization(const struct im_signable *request, const char *resource,
                          const struct im_sigv4_key *key, struct im_buffer *out,
                          struct im_error *err)
{
    char signature[SIGNATURE_SIZE];
    int r = sign(request, resource, false, key->secret_key, signature);

    if (r == 0)
        r = im_buffer_printf(out, "AWS %s:%s", key->access_key, signature);
    return r < 0 ? cannot_sign(r, err) : 0;
}

/* "&name=value", percent-encoded. */
static int add_param(struct im_buffer *query, const char *name, const char *value)
{
    int r = im_buffer_printf(query, "%s%s=", query->len > 0 ? "&" : "", name);

    return r < 0 ? r : im_url_encode(query, value, strlen(value), false);
}

int im_s3v2_presign(const char *method, const char *url, const char *resource,
                    const struct im_sigv4_key *key, int64_t expires, struct im_buffer *out,
                    struct im_error *err)
{
    struct im_buffer query IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);
    struct im_signable request = { .method = method, .path = resource };
    char signature[SIGNATURE_SIZE], seconds[24];
    int r;

    (void)snprintf(seconds, sizeof(seconds), "%" PRId64, expires);
    r = add_param(&query, "AWSAccessKeyId", key->access_key);
    if (r == 0)
        r = add_param(&query, "Expires", seconds);
    if (r == 0 && key->token)
        r = add_param(&query, TOKEN, key->token);
    request.query = query.data;
    if (r == 0)
        r = sign(&request, resource, true, key->secret_key, signature);
    if (r == 0)
        r = add_param(&query, "Signature", signature);
    if (r == 0)
        r = im_buffer_printf(out, "%s?%s", url, query.data);
    return r < 0 ? cannot_sign(r, err) : 0;
}

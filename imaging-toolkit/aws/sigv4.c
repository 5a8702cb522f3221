/* sigv4 - what a request claims about its V4 signature, and whether that is true.
 *
 * "Signature Version 4 signing process" of the AWS General Reference; for presigned requests
 * "Authenticating requests: using query parameters" of the S3 API Reference.  Making signatures is
 * sigv4-sign.c's; who owns a key, and whether the body has the hash, is the caller's. */

#include <config.h>

#include "aws/sigv4.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "aws/canonical.h"
#include "base/crypto.h"
#include "aws/query.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

static int incomplete(struct im_error *err, const char *what)
{
    return im_fail_code(err, EINVAL, "IncompleteSignature", "%s", what);
}

/* True when a raw query has a parameter of that name. */
static bool query_has(const char *query, const char *name)
{
    size_t len = strlen(name);

    for (;;) {
        size_t n = strcspn(query, "&");

        if (n >= len && strncmp(query, name, len) == 0 && (n == len || query[len] == '='))
            return true;
        if (!query[n])
            return false;
        query += n + 1;
    }
}

static bool is_presigned(const struct im_signable *request)
{
    return query_has(request->query, "X-Amz-Algorithm") ||
           query_has(request->query, "X-Amz-Signature");
}

bool im_sigv4_present(const struct im_signable *request)
{
    const char *authorization = im_signable_header(request, "authorization");

    return (authorization && strncmp(authorization, "AWS4-", 5) == 0) || is_presigned(request);
}

/* Copy len bytes into a field of the claim. */
static int copy(char *field, size_t size, const char *text, size_t len, const char *what,
                struct im_error *err)
{
    if (len == 0 || len >= size)
        return im_fail_code(err, EINVAL, "IncompleteSignature",
                            "%s of the signature has %zu characters; 1 to %zu are allowed", what,
                            len, size - 1);
    memcpy(field, text, len);
    field[len] = '\0';
    return 0;
}

/* "AKID/20261121/region/service/aws4_request" */
static int parse_credential(const char *text, size_t len, struct im_sigv4_claim *claim,
                            struct im_error *err)
{
    const struct {
        char *field;
        size_t size;
        const char *what;
    } parts[] = { { claim->access_key, sizeof(claim->access_key), "the access key" },
                  { claim->day, sizeof(claim->day), "the day" },
                  { claim->region, sizeof(claim->region), "the region" },
                  { claim->service, sizeof(claim->service), "the service" } };
    int r = 0;

    for (size_t i = 0; i < 4; i++) {
        const char *slash = len > 0 ? memchr(text, '/', len) : NULL;
        size_t n = slash ? (size_t)(slash - text) : 0;

        if (!slash)
            return incomplete(err, "Credential must be KEY/YYYYMMDD/REGION/SERVICE/aws4_request");
        r = copy(parts[i].field, parts[i].size, text, n, parts[i].what, err);
        if (r < 0)
            return r;
        text += n + 1;
        len -= n + 1;
    }
    if (len != strlen("aws4_request") || strncmp(text, "aws4_request", len) != 0)
        return incomplete(err, "Credential must end in /aws4_request");
    return 0;
}

/* Lower-case header names in rising order, each once. */
static int parse_signed_headers(const char *text, size_t len, struct im_sigv4_claim *claim,
                                struct im_error *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-_.;!#$%&'*+^`|~";
    const char *before = NULL;
    int r =
        copy(claim->signed_headers, sizeof(claim->signed_headers), text, len, "SignedHeaders", err);

    if (r < 0)
        return r;
    if (claim->signed_headers[strspn(claim->signed_headers, allowed)])
        return incomplete(err, "SignedHeaders must be lower-case header names joined with ';'");
    for (const char *name = claim->signed_headers;; name += strcspn(name, ";") + 1) {
        size_t n = strcspn(name, ";");
        size_t before_n = before ? strcspn(before, ";") : 0;
        int order = before ? strncmp(before, name, before_n < n ? before_n : n) : -1;

        if (n == 0 || order > 0 || (order == 0 && before_n >= n))
            return incomplete(err, "SignedHeaders must be sorted and name each header once");
        before = name;
        if (!name[n])
            return 0;
    }
}

/* One "Name=value" of an Authorization header; *seen collects which ones were there. */
static int parse_part(const char *text, size_t len, unsigned *seen, struct im_sigv4_claim *claim,
                      struct im_error *err)
{
    static const char *const names[] = { "Credential=", "SignedHeaders=", "Signature=" };

    for (unsigned i = 0; i < 3; i++) {
        size_t n = strlen(names[i]);

        if (len < n || strncmp(text, names[i], n) != 0)
            continue;
        if (*seen & 1u << i)
            break;
        *seen |= 1u << i;
        text += n;
        len -= n;
        if (i == 0)
            return parse_credential(text, len, claim, err);
        if (i == 1)
            return parse_signed_headers(text, len, claim, err);
        return copy(claim->signature, sizeof(claim->signature), text, len, "Signature", err);
    }
    return incomplete(err, "the Authorization header must hold Credential, SignedHeaders and "
                           "Signature, each once, and nothing else");
}

static int parse_authorization(const char *text, struct im_sigv4_claim *claim, struct im_error *err)
{
    unsigned seen = 0;
    int r;

    if (strncmp(text, ALGORITHM, strlen(ALGORITHM)) != 0 || text[strlen(ALGORITHM)] != ' ')
        return incomplete(err, "the Authorization header must begin with " ALGORITHM
                               " and a blank; no other algorithm is known");
    text += strlen(ALGORITHM);
    /* boto 2 puts no blank after the comma. */
    while (*(text += strspn(text, " "))) {
        size_t n = strcspn(text, ", ");

        r = parse_part(text, n, &seen, claim, err);
        if (r < 0)
            return r;
        text += n;
        text += strspn(text, " ");
        text += *text == ',';
    }
    return seen == 7 ? 0 : parse_part("", 0, &seen, claim, err);
}

/* The time of signing: X-Amz-Date, else Date, as X-Amz-Date has it. */
static int parse_date(const struct im_signable *request, struct im_sigv4_claim *claim,
                      struct im_error *err)
{
    const char *text = im_signable_header(request, "x-amz-date");
    int64_t ms;

    if (!text)
        text = im_signable_header(request, "date");
    if (!text)
        return incomplete(err, "the request has neither X-Amz-Date nor Date; send one");
    if (im_clock_parse_basic(text, &ms) < 0 && im_clock_parse_http(text, &ms) < 0)
        return incomplete(err, "the date of the request is not of the form 20261121T004142Z");
    (void)im_sigv4_date(claim->date, sizeof(claim->date), ms);
    return 0;
}

static int parse_header_claim(const struct im_signable *request, const char *authorization,
                              struct im_sigv4_claim *claim, struct im_error *err)
{
    const char *token = im_signable_header(request, "x-amz-security-token");
    int r = parse_authorization(authorization, claim, err);

    if (r == 0)
        r = parse_date(request, claim, err);
    if (r == 0 && token)
        r = copy(claim->token, sizeof(claim->token), token, strlen(token), "the session token",
                 err);
    return r;
}

/* The value of a query parameter that may be there once. */
static int take_param(const struct im_query *query, const char *name, const char **ret_value,
                      struct im_error *err)
{
    size_t count = 0;

    for (size_t i = 0; i < query->count; i++)
        if (strcmp(query->param[i].name, name) == 0) {
            *ret_value = query->param[i].value;
            count++;
        }
    if (count == 1)
        return 0;
    return im_fail_code(err, EINVAL, "IncompleteSignature",
                        "the query must hold %s once; it holds it %zu times", name, count);
}

static int parse_expiry(const char *date, const char *expires, struct im_sigv4_claim *claim,
                        struct im_error *err)
{
    int64_t ms;

    if (im_clock_parse_basic(date, &ms) < 0)
        return incomplete(err, "X-Amz-Date is not of the form 20261121T004142Z");
    memcpy(claim->date, date, sizeof(claim->date));
    if (im_parse_uint(expires, IM_SIGV4_EXPIRES_MAX, &claim->expires_s) < 0 ||
        claim->expires_s == 0)
        return im_fail_code(err, EINVAL, "InvalidParameterValue",
                            "X-Amz-Expires is '%.32s'; it must be 1 to %d seconds", expires,
                            IM_SIGV4_EXPIRES_MAX);
    return 0;
}

static int parse_presigned(const struct im_query *query, struct im_sigv4_claim *claim,
                           struct im_error *err)
{
    static const char *const names[] = { "X-Amz-Algorithm",     "X-Amz-Credential",
                                         "X-Amz-Date",          "X-Amz-Expires",
                                         "X-Amz-SignedHeaders", "X-Amz-Signature",
                                         "X-Amz-Security-Token" };
    bool has_token = im_query_get(query, names[6]) != NULL;
    const char *v[7] = { NULL };
    int r = 0;

    claim->presigned = true;
    for (size_t i = 0; i < (has_token ? 7 : 6) && r == 0; i++)
        r = take_param(query, names[i], &v[i], err);
    if (r < 0)
        return r;
    if (strcmp(v[0], ALGORITHM) != 0)
        return incomplete(err, "X-Amz-Algorithm must be " ALGORITHM);
    r = parse_credential(v[1], strlen(v[1]), claim, err);
    if (r == 0)
        r = parse_expiry(v[2], v[3], claim, err);
    if (r == 0)
        r = parse_signed_headers(v[4], strlen(v[4]), claim, err);
    if (r == 0)
        r = copy(claim->signature, sizeof(claim->signature), v[5], strlen(v[5]), names[5], err);
    if (r == 0 && v[6])
        r = copy(claim->token, sizeof(claim->token), v[6], strlen(v[6]), names[6], err);
    return r;
}

/* Headers that decide something must not be there twice: one would be signed, the other obeyed. */
static int check_single_headers(const struct im_signable *request, struct im_error *err)
{
    static const char *const names[] = { "authorization",        "host",
                                         "x-amz-date",           "date",
                                         "x-amz-content-sha256", "x-amz-security-token" };

    if (request->header_count > IM_SIGNABLE_HEADERS_MAX)
        return im_fail_code(err, EFBIG, "InvalidRequest",
                            "the request has %zu headers; the limit is %d", request->header_count,
                            IM_SIGNABLE_HEADERS_MAX);
    for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
        unsigned count = 0;

        for (size_t i = 0; i < request->header_count; i++)
            count += strcasecmp(request->headers[i].name, names[n]) == 0;
        if (count > 1)
            return im_fail_code(err, EINVAL, "IncompleteSignature",
                                "the request has %u headers '%s'; send one", count, names[n]);
    }
    return 0;
}

/* One request, one signature (V2's parameters count as another). */
static int check_one_kind(const struct im_signable *request, const struct im_query *query,
                          struct im_error *err)
{
    bool header = im_signable_header(request, "authorization") != NULL;
    bool old = im_query_get(query, "AWSAccessKeyId") || im_query_get(query, "SignatureVersion");

    if (header + is_presigned(request) + old > 1)
        return incomplete(err, "the request is signed in two ways; use the Authorization header or "
                               "the query, not both");
    return 0;
}

int im_sigv4_parse(const struct im_signable *request, struct im_sigv4_claim *ret_claim,
                   struct im_error *err)
{
    const char *authorization = im_signable_header(request, "authorization");
    struct im_query query IM_QUERY_DONE = { 0 };
    struct im_sigv4_claim claim = { 0 };
    int r = im_query_parse(request->query, strlen(request->query), &query, err);

    if (r == 0)
        r = check_single_headers(request, err);
    if (r == 0)
        r = check_one_kind(request, &query, err);
    if (r < 0)
        return r;
    if (is_presigned(request))
        r = parse_presigned(&query, &claim, err);
    else if (authorization)
        r = parse_header_claim(request, authorization, &claim, err);
    else
        r = incomplete(err, "the request is not signed");
    if (r == 0)
        *ret_claim = claim;
    return r;
}

/* What a client must not leave unsigned.  Two x-amz-* headers may be: the session token, which some
 * services add after signing and which proves itself, and the mark CloudFront adds on its way. */
static int check_coverage(const struct im_signable *request, const struct im_sigv4_claim *claim,
                          struct im_error *err)
{
    if (!im_signable_is_listed(claim->signed_headers, "host") ||
        !im_signable_header(request, "host"))
        return incomplete(err, "the Host header must be sent and named in SignedHeaders");
    for (size_t i = 0; i < request->header_count; i++) {
        const char *name = request->headers[i].name;

        if (strncasecmp(name, "x-amz-", 6) == 0 &&
            !im_signable_is_listed(claim->signed_headers, name) &&
            strcasecmp(name, "x-amz-security-token") != 0 && strcasecmp(name, "x-amz-cf-id") != 0)
            return im_fail_code(err, EINVAL, "IncompleteSignature",
                                "the header '%.64s' must be named in SignedHeaders", name);
    }
    if (strncmp(claim->day, claim->date, 8) != 0)
        return im_fail_code(err, EINVAL, "IncompleteSignature",
                            "the day in Credential is '%s' but the request is of %s", claim->day,
                            claim->date);
    return 0;
}

/* The hash the client states must be of the body, which for S3 is only known later. */
static int check_payload(const struct im_signable *request, struct im_error *err)
{
    const char *sent = im_signable_header(request, "x-amz-content-sha256");

    if (!sent)
        return 0;
    if (strncmp(sent, "STREAMING-", 10) == 0)
        return im_fail_code(err, EINVAL, "InvalidRequest",
                            "X-Amz-Content-SHA256 is '%.64s'; chunked signatures are not taken, "
                            "sign the whole body or " IM_UNSIGNED_PAYLOAD,
                            sent);
    if (request->s3 || strcmp(sent, request->payload_hash) == 0)
        return 0;
    if (strcmp(sent, IM_UNSIGNED_PAYLOAD) == 0)
        return im_fail_code(err, EINVAL, "InvalidRequest",
                            "X-Amz-Content-SHA256 is " IM_UNSIGNED_PAYLOAD
                            "; this service takes only the hash of the body");
    return im_fail_code(err, EACCES, "SignatureDoesNotMatch",
                        "the body's SHA-256 is %.64s but X-Amz-Content-SHA256 says '%.64s'",
                        request->payload_hash, sent);
}

static int check_time(const struct im_sigv4_claim *claim, int64_t now_ms, struct im_error *err)
{
    int64_t lifetime_ms = IM_SIGV4_SKEW_MS;
    char now[17];
    int64_t signed_ms;

    if (im_clock_parse_basic(claim->date, &signed_ms) < 0)
        return incomplete(err, "the date of the request is not of the form 20261121T004142Z");
    if (claim->presigned)
        lifetime_ms = (int64_t)claim->expires_s * 1000;
    if (signed_ms - IM_SIGV4_SKEW_MS <= now_ms && now_ms <= signed_ms + lifetime_ms)
        return 0;
    return im_fail_code(err, EACCES, "RequestExpired",
                        "Request has expired. It was signed at %s for %" PRId64
                        " s and it is now %s; set the clock or sign again.",
                        claim->date, lifetime_ms / 1000, im_sigv4_date(now, sizeof(now), now_ms));
}

/* 1 when this reading of the request has the claimed signature, 0 when not, or a failure. */
static int try_reading(const struct im_signable *request, const struct im_query *query,
                       const struct im_sigv4_claim *claim, const char *secret_key,
                       const struct im_sigv4_reading *reading, struct im_error *err)
{
    struct im_buffer canonical IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);
    struct im_buffer to_sign IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);
    char signature[65];
    int r = im_sigv4_add_canonical(request, query, reading, claim->signed_headers, &canonical, err);

    if (r < 0)
        return r;
    r = im_sigv4_string_to_sign(canonical.data, claim->date, claim->region, claim->service,
                                &to_sign);
    if (r == 0)
        r = im_sigv4_signature(secret_key, claim->date, claim->region, claim->service, to_sign.data,
                               signature);
    if (r < 0)
        return im_fail(err, -r,
                       "cannot compute the signature: no memory, or a secret key above %d "
                       "bytes",
                       IM_SECRET_MAX);
    return im_equal_secret(signature, claim->signature);
}

/* Host's value without its port, or NULL when it has none. */
static char *host_without_port(const char *host)
{
    const char *bracket = strrchr(host, ']'); /* of an IPv6 address */
    const char *colon = strchr(bracket ? bracket : host, ':');

    return colon ? strndup(host, (size_t)(colon - host)) : NULL;
}

static int try_readings(const struct im_signable *request, const struct im_query *query,
                        const struct im_sigv4_claim *claim, const char *secret_key,
                        struct im_error *err)
{
    char *bare_host IM_FREE
    = host_without_port(im_signable_header(request, "host"));
    const char *hosts[2] = { NULL, bare_host };
    const char *payloads[2] = { NULL, IM_UNSIGNED_PAYLOAD };
    int payload_count = claim->presigned && request->s3 ? 2 : 1;
    int token_count = claim->presigned && claim->token[0] ? 2 : 1;
    int host_count = bare_host ? 2 : 1;
    int r = 0;

    for (int i = 0; i < host_count * payload_count * token_count && r == 0; i++) {
        struct im_sigv4_reading reading = {
            .host = hosts[i % host_count],
            .payload = payloads[i / host_count % payload_count],
            .without_token = i / host_count / payload_count > 0,
        };

        r = try_reading(request, query, claim, secret_key, &reading, err);
    }
    return r;
}

int im_sigv4_verify(const struct im_signable *request, const struct im_sigv4_claim *claim,
                    const char *secret_key, int64_t now_ms, struct im_error *err)
{
    struct im_query query IM_QUERY_DONE = { 0 };
    int r = check_coverage(request, claim, err);

    if (r == 0)
        r = check_payload(request, err);
    if (r == 0)
        r = check_time(claim, now_ms, err);
    if (r == 0)
        r = im_query_parse(request->query, strlen(request->query), &query, err);
    if (r == 0)
        r = try_readings(request, &query, claim, secret_key, err);
    if (r == 0)
        return im_fail_code(err, EACCES, "SignatureDoesNotMatch",
                            IM_SIGNATURE_MISMATCH);
    return r < 0 ? r : 0;
}

/* sigv2 - what a request claims about its Version 2 signature, and whether that is true. */

#include <config.h>

#include "aws/sigv2.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/canonical.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/http.h"
#include "base/text.h"

/* Bytes of a host name and its port (RFC 1035 section 2.3.4). */
#define HOST_MAX 262

/* The host as sent; without a port, or with each of the two that may be left out. */
#define HOSTS_MAX 3

bool im_sigv2_present(const struct im_query *params)
{
    static const char *const names[] = { "AWSAccessKeyId", "Signature", "SignatureVersion",
                                         "SignatureMethod" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (im_query_get(params, names[i]))
            return true;
    return false;
}

/* ---- the claim ---- */

/* The value of a parameter that may be there once; *ret NULL when it is not there. */
static int take_one(const struct im_query *params, const char *name, const char **ret,
                    struct im_error *err)
{
    *ret = NULL;
    for (size_t i = 0; i < params->count; i++) {
        if (strcmp(params->param[i].name, name) != 0)
            continue;
        if (*ret)
            return im_fail_code(err, EINVAL, "InvalidParameterValue",
                                "The parameter %s may only be given once.", name);
        *ret = params->param[i].value;
    }
    return 0;
}

/* The same for one that must be there and fit. */
static int take_text(const struct im_query *params, const char *name, char *field, size_t size,
                     struct im_error *err)
{
    const char *value;
    int r = take_one(params, name, &value, err);

    if (r < 0)
        return r;
    if (!value || !*value)
        return im_fail_code(err, EINVAL, "MissingParameter",
                            "The request must contain the parameter %s", name);
    if (strlen(value) >= size)
        return im_fail_code(err, EINVAL, "InvalidParameterValue",
                            "Value for parameter %s is invalid. It has %zu characters; %zu are "
                            "allowed.",
                            name, strlen(value), size - 1);
    memcpy(field, value, strlen(value) + 1);
    return 0;
}

static int take_kind(const struct im_query *params, enum im_hash *ret_hash, struct im_error *err)
{
    char version[32], method[32];
    int r = take_text(params, "SignatureVersion", version, sizeof(version), err);

    if (r == 0)
        r = take_text(params, "SignatureMethod", method, sizeof(method), err);
    if (r < 0)
        return r;
    if (strcmp(version, "2") != 0)
        return im_fail_code(
            err, EINVAL, "InvalidParameterValue",
            "Value (%s) for parameter SignatureVersion is invalid. It must be 2, or "
            "sign with Signature Version 4.",
            version);
    if (strcmp(method, "HmacSHA256") != 0 && strcmp(method, "HmacSHA1") != 0)
        return im_fail_code(err, EINVAL, "InvalidParameterValue",
                            "Value (%s) for parameter SignatureMethod is invalid. It must be "
                            "HmacSHA256 or HmacSHA1.",
                            method);
    *ret_hash = strcmp(method, "HmacSHA1") == 0 ? IM_SHA1 : IM_SHA256;
    return 0;
}

static int take_time(const struct im_query *params, struct im_sigv2_claim *claim,
                     struct im_error *err)
{
    const char *timestamp, *expires, *name, *value;
    int r = take_one(params, "Timestamp", &timestamp, err);

    if (r == 0)
        r = take_one(params, "Expires", &expires, err);
    if (r < 0)
        return r;
    if (timestamp && expires)
        return im_fail_code(err, EINVAL, "InvalidParameterCombination",
                            "The parameters Timestamp and Expires cannot be used together");
    name = expires ? "Expires" : "Timestamp";
    value = expires ? expires : timestamp;
    if (!value)
        return im_fail_code(err, EINVAL, "MissingParameter",
                            "The request must contain the parameter Timestamp or Expires");
    if (im_clock_parse_iso8601(value, &claim->time_ms) < 0)
        return im_fail_code(err, EINVAL, "InvalidParameterValue",
                            "Value (%.40s) for parameter %s is invalid. A time like "
                            "2026-11-20T10:00:00Z is expected.",
                            value, name);
    claim->expires = expires != NULL;
    return 0;
}

int im_sigv2_parse(const struct im_query *params, struct im_sigv2_claim *ret_claim,
                   struct im_error *err)
{
    struct im_sigv2_claim claim = { 0 };
    const char *token;
    int r = take_text(params, "AWSAccessKeyId", claim.access_key, sizeof(claim.access_key), err);

    if (r == 0)
        r = take_text(params, "Signature", claim.signature, sizeof(claim.signature), err);
    if (r == 0)
        r = take_kind(params, &claim.hash, err);
    if (r == 0)
        r = take_time(params, &claim, err);
    if (r == 0)
        r = take_one(params, "SecurityToken", &token, err);
    if (r == 0 && token && *token) /* some clients always send one */
        r = take_text(params, "SecurityToken", claim.token, sizeof(claim.token), err);
    if (r == 0)
        *ret_claim = claim;
    return r;
}

/* ---- the string to sign ---- */

static int compare_params(const void *a, const void *b)
{
    const struct im_param *left = *(const struct im_param *const *)a;
    const struct im_param *right = *(const struct im_param *const *)b;
    int order = strcmp(left->name, right->name);

    return order ? order : strcmp(left->value, right->value);
}

static int add_params(const struct im_query *params, struct im_buffer *out)
{
    const struct im_param **sorted IM_FREE =
        calloc(params->count + 1, sizeof(const struct im_param *));
    size_t count = 0;
    int r = sorted ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < params->count; i++)
        if (strcmp(params->param[i].name, "Signature") != 0)
            sorted[count++] = &params->param[i];
    if (r == 0)
        qsort(sorted, count, sizeof(sorted[0]), compare_params);
    for (size_t i = 0; r == 0 && i < count; i++) {
        r = i > 0 ? im_buffer_puts(out, "&") : 0;
        if (r == 0)
            r = im_url_encode(out, sorted[i]->name, strlen(sorted[i]->name), false);
        if (r == 0)
            r = im_buffer_puts(out, "=");
        if (r == 0)
            r = im_url_encode(out, sorted[i]->value, strlen(sorted[i]->value), false);
    }
    return r;
}

int im_sigv2_string_to_sign(const char *method, const char *host, const char *path,
                            const struct im_query *params, struct im_buffer *out)
{
    int r = im_buffer_printf(out, "%s\n", method);

    for (; r == 0 && *host; host++) {
        char c = (char)tolower((unsigned char)*host);

        r = im_buffer_add(out, &c, 1);
    }
    if (r == 0)
        r = im_buffer_printf(out, "\n%s\n", *path ? path : "/");
    return r == 0 ? add_params(params, out) : r;
}

/* ---- verifying ---- */

static int check_time(const struct im_sigv2_claim *claim, int64_t now_ms, struct im_error *err)
{
    int64_t first = claim->expires ? INT64_MIN : claim->time_ms - IM_SIGV4_SKEW_MS;
    int64_t last = claim->expires ? claim->time_ms : claim->time_ms + IM_SIGV4_SKEW_MS;
    char at[24], now[24];

    if (first <= now_ms && now_ms <= last)
        return 0;
    return im_fail_code(
        err, EACCES, "RequestExpired", "Request has expired. %s date is %s, and it is now %s.",
        claim->expires ? "Expires" : "Timestamp", im_clock_iso8601(at, sizeof(at), claim->time_ms),
        im_clock_iso8601(now, sizeof(now), now_ms));
}

/* What clients may have signed for a Host header; the number of them, 0 for a header that is none.
 */
static size_t hosts_of(const char *sent, char hosts[HOSTS_MAX][HOST_MAX])
{
    const char *bracket = strrchr(sent, ']');
    const char *colon = strrchr(bracket ? bracket : sent, ':');
    size_t len = strlen(sent);

    if (len == 0 || len + sizeof(":443") > HOST_MAX)
        return 0;
    memcpy(hosts[0], sent, len + 1);
    memcpy(hosts[1], sent, len + 1);
    if (colon) {
        hosts[1][colon - sent] = '\0';
        return 2;
    }
    memcpy(hosts[1] + len, ":80", sizeof(":80"));
    (void)snprintf(hosts[2], HOST_MAX, "%s:443", sent);
    return 3;
}

/* 1 when the claimed signature is that of this string, 0 when not. */
static int is_signature(const struct im_sigv2_claim *claim, const char *secret_key,
                        const struct im_buffer *to_sign)
{
    char signature[4 * ((IM_HASH_MAX + 2) / 3) + 1];
    uint8_t digest[IM_HASH_MAX];

    im_hmac(claim->hash, secret_key, strlen(secret_key), to_sign->data, to_sign->len, digest);
    im_base64(digest, im_hash_size(claim->hash), signature);
    return im_equal_secret(signature, claim->signature);
}

int im_sigv2_verify(const struct im_signable *request, const struct im_query *params,
                    const struct im_sigv2_claim *claim, const char *secret_key, int64_t now_ms,
                    struct im_error *err)
{
    const char *sent = im_signable_header(request, "host");
    char hosts[HOSTS_MAX][HOST_MAX];
    size_t count = sent ? hosts_of(sent, hosts) : 0;
    int r = check_time(claim, now_ms, err), found = 0;

    if (r == 0 && count == 0)
        return im_fail_code(err, EINVAL, "IncompleteSignature",
                            "The request has no Host header, which is part of what is signed.");
    for (size_t i = 0; r == 0 && i < count; i++) { /* all of them, whichever is right */
        struct im_buffer to_sign IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);

        r = im_sigv2_string_to_sign(request->method, hosts[i], request->path, params, &to_sign);
        if (r == -EFBIG)
            return im_fail_code(err, EFBIG, "InvalidParameterValue",
                                "The parameters of the request are above %d bytes.",
                                IM_CANONICAL_MAX);
        if (r < 0)
            return im_fail(err, ENOMEM, "out of memory");
        found |= is_signature(claim, secret_key, &to_sign);
    }
    if (r == 0 && !found)
        return im_fail_code(err, EACCES, "SignatureDoesNotMatch",
                            IM_SIGNATURE_MISMATCH);
    return r;
}

/* sigv4-sign - making V4 signatures: the string to sign, the key chain, the header, the URL.
 *
 * "Calculate the signature" of the AWS General Reference. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "aws/canonical.h"
#include "base/crypto.h"
#include "aws/sigv4.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/http.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

/* Bytes of a string to sign and of a credential: a few names of at most a hundred bytes each. */
#define SHORT_MAX 1024

const char *im_sigv4_date(char *buf, size_t size, int64_t ms)
{
    return im_clock_basic(buf, size, ms);
}

int im_sigv4_string_to_sign(const char *canonical, const char *date, const char *region,
                            const char *service, struct im_buffer *out)
{
    uint8_t digest[IM_HASH_MAX];
    char hex[2 * IM_HASH_MAX + 1];

    im_hash(IM_SHA256, canonical, strlen(canonical), digest);
    im_hex(digest, im_hash_size(IM_SHA256), hex);
    return im_buffer_printf(out, ALGORITHM "\n%s\n%.8s/%s/%s/aws4_request\n%s", date, date, region,
                            service, hex);
}

int im_sigv4_signature(const char *secret_key, const char *date, const char *region,
                       const char *service, const char *string_to_sign, char ret_signature[65])
{
    const char *const links[] = { region, service, "aws4_request", string_to_sign };
    const size_t size = im_hash_size(IM_SHA256);
    uint8_t key[IM_HASH_MAX], next[IM_HASH_MAX];
    char seed[4 + IM_SECRET_MAX] = "AWS4";
    size_t len = strlen(secret_key);

    if (len > IM_SECRET_MAX)
        return -EINVAL;
    memcpy(seed + 4, secret_key, len);
    im_hmac(IM_SHA256, seed, 4 + len, date, strnlen(date, 8), key);
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        im_hmac(IM_SHA256, key, size, links[i], strlen(links[i]), next);
        memcpy(key, next, size);
    }
    im_hex(key, size, ret_signature);
    explicit_bzero(seed, sizeof(seed));
    explicit_bzero(next, sizeof(next));
    return 0;
}

/* Canonical request to signature. */
static int sign(const struct im_signable *request, const struct im_sigv4_key *key, const char *date,
                const char *signed_headers, char ret_signature[65], struct im_error *err)
{
    struct im_buffer canonical IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);
    struct im_buffer to_sign IM_BUFFER_DONE = IM_BUFFER(SHORT_MAX);
    int r = im_sigv4_canonical(request, signed_headers, &canonical, err);

    if (r < 0)
        return r;
    r = im_sigv4_string_to_sign(canonical.data, date, key->region, key->service, &to_sign);
    if (r == 0)
        r = im_sigv4_signature(key->secret_key, date, key->region, key->service, to_sign.data,
                               ret_signature);
    if (r < 0)
        return im_fail(err, -r,
                       "cannot sign: region, service or secret key is too long, or there "
                       "is no memory");
    return 0;
}

int im_sigv4_authorization(const struct im_signable *request, const struct im_sigv4_key *key,
                           const char *date, struct im_buffer *out, struct im_error *err)
{
    struct im_sigv4_claim *bounds = NULL; /* what the reader at the other end has room for */
    struct im_buffer names IM_BUFFER_DONE = IM_BUFFER(sizeof(bounds->signed_headers) - 1);
    char signature[65];
    int r = im_signable_names(request, "", &names);

    if (r < 0 || names.len == 0)
        return im_fail(err, r < 0 ? -r : EINVAL, "cannot sign the %zu headers of a request",
                       request->header_count);
    r = sign(request, key, date, names.data, signature, err);
    if (r < 0)
        return r;
    r = im_buffer_printf(out,
                         ALGORITHM " Credential=%s/%.8s/%s/%s/aws4_request, SignedHeaders=%s, "
                                   "Signature=%s",
                         key->access_key, date, key->region, key->service, names.data, signature);
    return r < 0 ? im_fail(err, -r, "cannot keep the Authorization header") : 0;
}

/* The query as it will be sent, but for the signature. */
static int add_presign_query(const struct im_url *url, const struct im_sigv4_key *key,
                             const char *date, uint64_t expires_s, struct im_buffer *out)
{
    struct im_buffer credential IM_BUFFER_DONE = IM_BUFFER(SHORT_MAX);
    int r = im_buffer_printf(&credential, "%s/%.8s/%s/%s/aws4_request", key->access_key, date,
                             key->region, key->service);

    if (r == 0 && url->query_len > 0)
        r = im_buffer_add(out, url->query, url->query_len);
    if (r == 0)
        r = im_buffer_printf(out, "%sX-Amz-Algorithm=" ALGORITHM "&X-Amz-Credential=",
                             url->query_len > 0 ? "&" : "");
    if (r == 0)
        r = im_url_encode(out, credential.data, credential.len, false);
    if (r == 0)
        r = im_buffer_printf(out,
                             "&X-Amz-Date=%s&X-Amz-Expires=%" PRIu64 "&X-Amz-SignedHeaders=host",
                             date, expires_s);
    if (r == 0 && key->token)
        r = im_buffer_puts(out, "&X-Amz-Security-Token=");
    if (r == 0 && key->token)
        r = im_url_encode(out, key->token, strlen(key->token), false);
    return r;
}

/* Host as a client sends it: without the port that the scheme implies. */
static char *host_of(const struct im_url *url)
{
    const char *port = url->https ? ":443" : ":80";
    size_t port_len = strlen(port);
    size_t len = url->host_len;

    if (len > port_len && strncmp(url->host + len - port_len, port, port_len) == 0)
        len -= port_len;
    return strndup(url->host, len);
}

static int split(const char *url, uint64_t expires_s, struct im_url *ret_url, struct im_error *err)
{
    int r;

    if (expires_s == 0 || expires_s > IM_SIGV4_EXPIRES_MAX)
        return im_fail(err, EINVAL, "a presigned URL lives 1 to %d seconds, not %" PRIu64,
                       IM_SIGV4_EXPIRES_MAX, expires_s);
    r = im_url_split(url, ret_url, err);
    if (r == 0 && ret_url->has_user_info)
        r = im_fail(err, EINVAL, "a URL with user name or password cannot be presigned");
    return r;
}

int im_sigv4_presign(const char *method, const char *url, const struct im_sigv4_key *key,
                     int64_t now_ms, uint64_t expires_s, struct im_buffer *out,
                     struct im_error *err)
{
    struct im_buffer query IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);
    char *host IM_FREE
    = NULL, *path IM_FREE
    = NULL;
    bool s3 = strcmp(key->service, "s3") == 0;
    struct im_header host_header = { .name = "Host" };
    char date[17], signature[65];
    struct im_url parts;
    int r = split(url, expires_s, &parts, err);

    if (r < 0)
        return r;
    host = host_of(&parts);
    path = parts.path_len > 0 ? strndup(parts.path, parts.path_len) : strdup("/");
    r = add_presign_query(&parts, key, im_sigv4_date(date, sizeof(date), now_ms), expires_s,
                          &query);
    if (r < 0 || !host || !path)
        return im_fail(err, r < 0 ? -r : ENOMEM, "cannot keep a presigned URL");
    host_header.value = host;
    r = sign(&(struct im_signable){ .method = method,
                                    .path = path,
                                    .query = query.data,
                                    .headers = &host_header,
                                    .header_count = 1,
                                    .payload_hash = s3 ? IM_UNSIGNED_PAYLOAD : IM_EMPTY_SHA256,
                                    .s3 = s3 },
             key, date, "host", signature, err);
    if (r < 0)
        return r;
    r = im_buffer_printf(out, "http%s://%.*s%s?%s&X-Amz-Signature=%s", parts.https ? "s" : "",
                         (int)parts.host_len, parts.host, path, query.data, signature);
    return r < 0 ? im_fail(err, -r, "cannot keep a presigned URL") : 0;
}

/* sign - collect the headers of a request, sign them, add Authorization. */

#include <config.h>

#include "sign.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/s3v2.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/text.h"

/* Bytes of an Authorization header: names of headers, a key, a signature. */
#define AUTHORIZATION_MAX 16384

void euca_signature_done(struct euca_signature *signature)
{
    for (size_t i = 0; i < signature->count; i++)
        free(signature->line[i]);
    im_buffer_done(&signature->authorization);
    free(signature->host);
    free(signature->path);
}

struct im_sigv4_key euca_signer(const struct euca_endpoint *endpoint)
{
    return (struct im_sigv4_key){ .access_key = endpoint->access_key,
                                  .secret_key = endpoint->secret_key,
                                  .token = endpoint->token,
                                  .region = endpoint->region,
                                  .service = endpoint->service };
}

/* Add a header; the value must live as long as the list.  A NULL value adds nothing. */
static int add_header(struct euca_signature *signature, const char *name, const char *value)
{
    size_t n = signature->count;

    if (!value)
        return 0;
    if (n == EUCA_HEADERS_MAX)
        return -ENOSPC;
    signature->line[n] = im_asprintf("%s: %s", name, value);
    if (!signature->line[n])
        return -ENOMEM;
    signature->header[n] = (struct im_header){ name, value };
    signature->count++;
    return 0;
}

static void base64_of_hex(const char *hex, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[IM_HASH_MAX];
    size_t n = 0;

    for (; hex[0] && hex[1] && n < sizeof(bytes); hex += 2)
        bytes[n++] =
            (uint8_t)((strchr(digits, hex[0]) - digits) << 4 | (strchr(digits, hex[1]) - digits));
    im_base64(bytes, n, ret_text);
}

static void set_sha256(const struct euca_request *request, struct euca_signature *signature)
{
    uint8_t digest[IM_HASH_MAX];

    if (request->sha256) {
        (void)snprintf(signature->sha256, sizeof(signature->sha256), "%s", request->sha256);
    } else {
        im_hash(IM_SHA256, request->body ? request->body : "", (size_t)request->body_len, digest);
        im_hex(digest, im_hash_size(IM_SHA256), signature->sha256);
    }
}

/* Date and payload: version 4 has headers of its own for them. */
static int add_time(const struct euca_endpoint *endpoint, const struct euca_request *request,
                    struct euca_signature *signature)
{
    int64_t now_ms = im_clock_now_ms();
    int r;

    if (endpoint->sigv2)
        return add_header(signature, "Date",
                          im_clock_http(signature->date, sizeof(signature->date), now_ms));
    set_sha256(request, signature);
    r = add_header(signature, "X-Amz-Date",
                   im_sigv4_date(signature->date, sizeof(signature->date), now_ms));
    return r < 0 ? r : add_header(signature, "X-Amz-Content-SHA256", signature->sha256);
}

/* Everything but Authorization. */
static int collect(const struct euca_endpoint *endpoint, const struct euca_request *request,
                   const struct im_url *url, struct euca_signature *signature)
{
    int r;

    signature->host = strndup(url->host, url->host_len);
    signature->path = url->path_len > 0 ? strndup(url->path, url->path_len) : strdup("/");
    if (!signature->host || !signature->path)
        return -ENOMEM;
    if (request->md5)
        base64_of_hex(request->md5, signature->md5);
    r = add_header(signature, "Host", signature->host);
    if (r == 0)
        r = add_time(endpoint, request, signature);
    if (r == 0)
        r = add_header(signature, "X-Amz-Security-Token", endpoint->token);
    if (r == 0)
        r = add_header(signature, "Content-Type", request->content_type);
    if (r == 0)
        r = add_header(signature, "Content-MD5", request->md5 ? signature->md5 : NULL);
    return r;
}

static int authorize(const struct euca_endpoint *endpoint, const struct euca_request *request,
                     struct euca_signature *signature, struct im_error *err)
{
    struct im_sigv4_key key = euca_signer(endpoint);
    struct im_signable signable = { .method = request->method,
                                    .path = signature->path,
                                    .query = request->query ? request->query : "",
                                    .headers = signature->header,
                                    .header_count = signature->count,
                                    .payload_hash = signature->sha256,
                                    .s3 = strcmp(endpoint->service, "s3") == 0 };

    /* the resource is the path behind the endpoint's own */
    if (endpoint->sigv2)
        return im_s3v2_authorization(&signable, request->path ? request->path : "/", &key,
                                     &signature->authorization, err);
    return im_sigv4_authorization(&signable, &key, signature->date, &signature->authorization, err);
}

int euca_sign(const struct euca_endpoint *endpoint, const struct euca_request *request,
              const char *url, struct euca_signature *ret_signature, struct im_error *err)
{
    struct im_url parts;
    int r = im_url_split(url, &parts, err);

    if (r < 0)
        return r;
    ret_signature->authorization = IM_BUFFER(AUTHORIZATION_MAX);
    r = collect(endpoint, request, &parts, ret_signature);
    if (r < 0)
        return im_fail_errno(err, -r, "cannot build the request");
    r = authorize(endpoint, request, ret_signature, err);
    if (r < 0)
        return r;
    r = add_header(ret_signature, "Authorization", ret_signature->authorization.data);
    return r < 0 ? im_fail_errno(err, -r, "cannot build the request") : 0;
}

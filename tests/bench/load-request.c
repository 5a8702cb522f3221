/* load-request - a request as boto3 sends it: a form in a POST, signed in its Authorization header.
 *
 * The signature is made by the signer the clients of this project use. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "load.h"

#define FORM "application/x-www-form-urlencoded; charset=utf-8"

/* Bytes of an Authorization header; ours has under 250. */
#define AUTHORIZATION_MAX 1024

static int sign(const struct load_plan *plan, const char *host, const char *date,
                struct im_buffer *out, struct im_error *err)
{
    const struct im_header headers[] = {
        { "Content-Type", FORM },
        { "Host", host },
        { "X-Amz-Date", date },
    };
    uint8_t digest[IM_HASH_MAX];
    char hex[2 * IM_HASH_MAX + 1];
    const struct im_signable request = {
        .method = "POST",
        .path = plan->path,
        .query = "",
        .headers = headers,
        .header_count = sizeof(headers) / sizeof(headers[0]),
        .payload_hash = hex,
    };
    int r;

    im_hash(IM_SHA256, plan->body, strlen(plan->body), digest);
    im_hex(digest, im_hash_size(IM_SHA256), hex);
    r = im_buffer_puts(out, "Authorization: ");
    if (r == 0)
        r = im_sigv4_authorization(&request, &plan->key, date, out, err);
    return r < 0 ? r : im_buffer_puts(out, "\r\n");
}

int load_request(const struct load_plan *plan, int64_t now_ms, struct im_buffer *out,
                 struct im_error *err)
{
    struct im_buffer authorization IM_BUFFER_DONE = IM_BUFFER(AUTHORIZATION_MAX);
    static atomic_uint invocations; /* boto3 sends an UUID */
    char host[32], date[17];
    int r = 0;

    (void)snprintf(host, sizeof(host), "127.0.0.1:%" PRIu64, plan->port);
    (void)im_sigv4_date(date, sizeof(date), now_ms);
    if (plan->signing != LOAD_SIGN_NONE)
        r = sign(plan, host, date, &authorization, err);
    if (r < 0)
        return r;
    r = im_buffer_printf(out,
                         "POST %s HTTP/1.1\r\n"
                         "Host: %s\r\n"
                         "Accept-Encoding: identity\r\n"
                         "Content-Type: " FORM "\r\n"
                         "User-Agent: Boto3/1.26 Python/3.11 Linux/6.1 Botocore/1.29\r\n"
                         "X-Amz-Date: %s\r\n"
                         "%s"
                         "amz-sdk-invocation-id: %d-%u\r\n"
                         "Content-Length: %zu\r\n"
                         "\r\n"
                         "%s",
                         plan->path, host, date, authorization.len > 0 ? authorization.data : "",
                         (int)getpid(), atomic_fetch_add(&invocations, 1), strlen(plan->body),
                         plan->body);
    return r < 0 ? im_fail(err, -r, "a request cannot be kept") : 0;
}

/* client - sign, send, try again.
 *
 * What a request means is its caller's business; only what may be sent twice is decided here. */

#include <config.h>

#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "aws/sigv4.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/retry.h"
#include "base/text.h"

#include "command.h"

/* The historical clients speak this version, so every import service does. */
#define API_VERSION "2015-10-01"

/* Bytes of a form: 1000 task ids, or one import with its manifest URL, are far below. */
#define FORM_MAX (256 * 1024)

/* Host, date, payload, token, type, MD5, Authorization: seven are ever made. */
#define HEADERS_MAX 8

struct headers {
    size_t count;
    struct im_header header[HEADERS_MAX];
    char *line[HEADERS_MAX + 1]; /* "Name: value", NULL-terminated */
};

static void headers_done(struct headers *headers)
{
    for (size_t i = 0; i < headers->count; i++)
        free(headers->line[i]);
}

/* Add a header; the value must live as long as the list.  A NULL value adds nothing. */
static int add_header(struct headers *headers, const char *name, const char *value)
{
    size_t n = headers->count;

    if (!value)
        return 0;
    if (n == HEADERS_MAX)
        return -ENOSPC;
    headers->line[n] = im_asprintf("%s: %s", name, value);
    if (!headers->line[n])
        return -ENOMEM;
    headers->header[n] = (struct im_header){ name, value };
    headers->count++;
    return 0;
}

/* Text of the whole URL, new string. */
static char *full_url(const struct euca_endpoint *endpoint, const struct euca_request *request)
{
    return im_asprintf("%s%s%s%s", endpoint->url, request->path ? request->path : "",
                       request->query ? "?" : "", request->query ? request->query : "");
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

/* What signing works on, alive while the headers are. */
struct signing {
    char date[17];
    char sha256[2 * IM_HASH_MAX + 1];
    char md5[4 * IM_HASH_MAX / 2 + 1];
    char *host;
    char *path;
    struct im_buffer authorization;
    struct headers headers;
};

static void signing_done(struct signing *signing)
{
    headers_done(&signing->headers);
    im_buffer_done(&signing->authorization);
    free(signing->host);
    free(signing->path);
}

static void set_digests(const struct euca_request *request, struct signing *signing)
{
    uint8_t digest[IM_HASH_MAX];

    if (request->sha256) {
        (void)snprintf(signing->sha256, sizeof(signing->sha256), "%s", request->sha256);
    } else {
        im_hash(IM_SHA256, request->body ? request->body : "", (size_t)request->body_len, digest);
        im_hex(digest, im_hash_size(IM_SHA256), signing->sha256);
    }
    if (request->md5)
        base64_of_hex(request->md5, signing->md5);
}

/* Fill in everything but Authorization. */
static int collect(const struct euca_endpoint *endpoint, const struct euca_request *request,
                   const struct im_url *url, struct signing *signing)
{
    struct headers *headers = &signing->headers;
    int r;

    im_sigv4_date(signing->date, sizeof(signing->date), im_clock_now_ms());
    set_digests(request, signing);
    signing->host = strndup(url->host, url->host_len);
    signing->path = url->path_len > 0 ? strndup(url->path, url->path_len) : strdup("/");
    if (!signing->host || !signing->path)
        return -ENOMEM;
    r = add_header(headers, "Host", signing->host);
    if (r == 0)
        r = add_header(headers, "X-Amz-Date", signing->date);
    if (r == 0)
        r = add_header(headers, "X-Amz-Content-SHA256", signing->sha256);
    if (r == 0)
        r = add_header(headers, "X-Amz-Security-Token", endpoint->token);
    if (r == 0)
        r = add_header(headers, "Content-Type", request->content_type);
    if (r == 0)
        r = add_header(headers, "Content-MD5", request->md5 ? signing->md5 : NULL);
    return r;
}

/* All headers of a signed request. */
static int sign(const struct euca_endpoint *endpoint, const struct euca_request *request,
                const char *text, struct signing *signing, struct im_error *err)
{
    struct im_sigv4_key key = { endpoint->access_key, endpoint->secret_key, endpoint->token,
                                endpoint->region, endpoint->service };
    struct im_signable signable = { .method = request->method,
                                    .query = request->query ? request->query : "",
                                    .payload_hash = signing->sha256,
                                    .s3 = strcmp(endpoint->service, "s3") == 0 };
    struct im_url url;
    int r = im_url_split(text, &url, err);

    if (r < 0)
        return r;
    r = collect(endpoint, request, &url, signing);
    if (r < 0)
        return im_fail_errno(err, -r, "cannot build the request");
    signable.path = signing->path;
    signable.headers = signing->headers.header;
    signable.header_count = signing->headers.count;
    r = im_sigv4_authorization(&signable, &key, signing->date, &signing->authorization, err);
    if (r < 0)
        return r;
    r = add_header(&signing->headers, "Authorization", signing->authorization.data);
    return r < 0 ? im_fail_errno(err, -r, "cannot build the request") : 0;
}

static const volatile bool *cancel_of(const struct euca_request *request)
{
    return request->cancel ? request->cancel : &euca_interrupted;
}

static void debug_line(const struct euca_request *request, const char *url, int r, long status)
{
    char shown[512];

    im_text_url(shown, sizeof(shown), url);
    if (r < 0)
        fprintf(stderr, "debug: %s %s -> %s\n", request->method, shown, strerrordesc_np(-r));
    else
        fprintf(stderr, "debug: %s %s -> %ld\n", request->method, shown, status);
}

/* Put a network failure into the historical words; others keep theirs. */
static int network_failure(int r, struct im_error *err)
{
    char why[IM_ERROR_MAX];

    if (r == -ECANCELED)
        return im_fail(err, ECANCELED, "interrupted");
    if (!im_retry_errno(-r) && r != -EACCES)
        return r;
    (void)snprintf(why, sizeof(why), "%s", err->message);
    return im_fail(err, -r, "connection error (%s)", why);
}

/* An answer to a PUT whose ETag is not the MD5 of what was sent. */
static int check_etag(const struct euca_request *request, const struct im_http_response *response,
                      const char *url, struct im_error *err)
{
    char shown[256];

    if (!request->md5 || response->status < 200 || response->status > 299 ||
        strcmp(response->etag, request->md5) == 0)
        return 0;
    return im_fail(err, EILSEQ,
                   "upload was corrupted during transit: the server answered ETag '%s' for %s, the "
                   "MD5 of what was sent is %s",
                   response->etag, im_text_url(shown, sizeof(shown), url), request->md5);
}

int euca_send(struct im_http *http, const struct euca_endpoint *endpoint,
              const struct euca_request *request, struct im_http_response *ret_response,
              struct im_error *err)
{
    char *url IM_FREE
    = full_url(endpoint, request);
    struct signing signing IM_CLEANUP(signing_done) = { .authorization = IM_BUFFER(16384) };
    struct im_http_request exchange = { .method = request->method,
                                        .url = url,
                                        .body = request->body,
                                        .read_body = request->read_body,
                                        .rewind_body = request->rewind_body,
                                        .body_len = request->body_len,
                                        .arg = request->arg,
                                        .text_max = request->text_max,
                                        .cancel = cancel_of(request) };
    int r;

    *ret_response = (struct im_http_response){ 0 };
    if (!url)
        return im_fail(err, ENOMEM, "out of memory");
    r = sign(endpoint, request, url, &signing, err);
    if (r < 0)
        return r;
    exchange.headers = (const char *const *)signing.headers.line;
    r = im_http_do(http, &exchange, ret_response, err);
    if (endpoint->debug)
        debug_line(request, url, r, ret_response->status);
    return r < 0 ? network_failure(r, err) : check_etag(request, ret_response, url, err);
}

/* May the same request succeed a moment later? */
static bool may_heal(int r, const struct im_http_response *response)
{
    struct euca_fault fault;

    if (r < 0)
        return r == -EILSEQ || im_retry_errno(-r);
    if (im_retry_status(response->status))
        return true;
    if (response->status != 400)
        return false;
    /* S3 says 400 for bytes damaged or lost on their way. */
    euca_reply_fault(response->text.data, response->text.len, &fault);
    return strcmp(fault.code, "BadDigest") == 0 || strcmp(fault.code, "RequestTimeout") == 0 ||
           strcmp(fault.code, "IncompleteBody") == 0 ||
           strcmp(fault.code, "XAmzContentSHA256Mismatch") == 0;
}

int euca_send_again(struct im_http *http, const struct euca_endpoint *endpoint,
                    const struct euca_request *request, unsigned tries,
                    struct im_http_response *ret_response, struct im_error *err)
{
    for (unsigned n = 1;; n++) {
        int r = euca_send(http, endpoint, request, ret_response, err);

        if (n == tries || !may_heal(r, ret_response))
            return r;
        im_http_response_done(ret_response);
        if (!im_retry_wait(n, cancel_of(request)))
            return im_fail(err, ECANCELED, "interrupted");
        r = request->rewind_body ? request->rewind_body(request->arg) : 0;
        if (r < 0)
            return im_fail_errno(err, -r, "cannot read the part again");
    }
}

static const char *reason_of(long status)
{
    static const struct {
        long status;
        const char *reason;
    } reasons[] = {
        { 301, "Moved Permanently" },
        { 302, "Found" },
        { 307, "Temporary Redirect" },
        { 308, "Permanent Redirect" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 409, "Conflict" },
        { 411, "Length Required" },
        { 412, "Precondition Failed" },
        { 413, "Content Too Large" },
        { 429, "Too Many Requests" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 502, "Bad Gateway" },
        { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
        { 507, "Insufficient Storage" },
    };

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "unexpected answer";
}

/* The part of euca_refused that also serves a fault already read. */
static int refused(long status, const struct euca_fault *fault, struct im_error *err)
{
    char number[24];

    (void)snprintf(number, sizeof(number), "%ld", status);
    return im_fail_code(err, EREMOTEIO, EUCA_SERVER, "(%s): %s",
                        *fault->code ? fault->code : number,
                        *fault->message ? fault->message : reason_of(status));
}

int euca_refused(const struct im_http_response *response, struct im_error *err)
{
    struct euca_fault fault;

    euca_reply_fault(response->text.data, response->text.len, &fault);
    return refused(response->status, &fault, err);
}

void euca_answer_done(struct euca_answer *answer)
{
    im_buffer_done(&answer->text);
}

static int add_param(struct im_buffer *form, const char *name, const char *value)
{
    int r = 0;

    if (!value || !*value)
        return 0;
    if (form->len > 0)
        r = im_buffer_puts(form, "&");
    if (r == 0)
        r = im_url_encode(form, name, strlen(name), false);
    if (r == 0)
        r = im_buffer_puts(form, "=");
    return r < 0 ? r : im_url_encode(form, value, strlen(value), false);
}

static int make_form(const char *action, const struct euca_param *params, struct im_buffer *form,
                     struct im_error *err)
{
    int r = add_param(form, "Action", action);

    if (r == 0)
        r = add_param(form, "Version", API_VERSION);
    for (; r == 0 && params->name; params++)
        r = add_param(form, params->name, params->value);
    if (r == -EFBIG)
        return im_fail(err, EFBIG, "the request would be larger than %d bytes", FORM_MAX);
    return r < 0 ? im_fail(err, ENOMEM, "out of memory") : 0;
}

/* May the server have stored what an action makes, although it did not say so?  ImportVolume has no
 * ClientToken: sent twice it makes two tasks, so it is sent again only where this is false.  After
 * a broken or silent connection it is true; not when no connection came about.  After 500, 502 or
 * 504 it is true; not after 503, which refuses a request before it is looked at (RFC 9110 section
 * 15.6.4, and the answer of proxies that have no server to pass it to). */
static bool may_be_stored(int r, long status)
{
    if (r < 0)
        return r == -ECONNRESET || r == -ETIMEDOUT || r == -ECANCELED || r == -EFBIG;
    return status >= 500 && status != 503;
}

/* Tell that a failed action may have done its work all the same. */
static int maybe_stored(const char *action, int r, struct im_error *err)
{
    char why[IM_ERROR_MAX];

    (void)snprintf(why, sizeof(why), "%.*s", IM_ERROR_MAX - 160, err->message);
    return im_fail_code(err, -r, err->code,
                        "%s; %s was sent and may have made its task: look with "
                        "euca-describe-conversion-tasks before trying again",
                        why, action);
}

static int call_once(const struct euca_endpoint *ec2, const struct euca_request *request,
                     struct im_http_response *ret_response, struct im_error *err)
{
    /* A connection of its own: on one kept alive libcurl itself sends again when it finds it
     * closed. */
    struct im_http *http = im_http_new();
    int r;

    *ret_response = (struct im_http_response){ 0 };
    if (!http)
        return im_fail(err, ENOMEM, "out of memory");
    r = euca_send(http, ec2, request, ret_response, err);
    im_http_free(http);
    return r;
}

int euca_call(const struct euca_endpoint *ec2, const char *action, const struct euca_param *params,
              bool once, struct euca_answer *ret_answer, struct im_error *err)
{
    struct im_buffer form IM_BUFFER_DONE = IM_BUFFER(FORM_MAX);
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    struct euca_request request = {
        .method = "POST",
        .content_type = "application/x-www-form-urlencoded; charset=utf-8",
        .text_max = EUCA_REPLY_MAX,
    };
    int r = make_form(action, params, &form, err);

    *ret_answer = (struct euca_answer){ 0 };
    if (r < 0)
        return r;
    request.body = form.data;
    request.body_len = form.len;
    for (unsigned n = 1;; n++) {
        r = call_once(ec2, &request, &response, err);
        if (n == EUCA_TRIES || !may_heal(r, &response) ||
            (once && may_be_stored(r, response.status)))
            break;
        im_http_response_done(&response);
        if (!im_retry_wait(n, &euca_interrupted))
            return im_fail(err, ECANCELED, "interrupted");
    }
    if (r == 0 && response.status == 200) {
        ret_answer->text = response.text;
        response.text = (struct im_buffer){ 0 };
        return 0;
    }
    if (r == 0) {
        euca_reply_fault(response.text.data, response.text.len, &ret_answer->fault);
        r = refused(response.status, &ret_answer->fault, err);
    }
    /* A fault in EC2's own words is the service telling that it failed. */
    if (once && !*ret_answer->fault.code && may_be_stored(r == -EREMOTEIO ? 0 : r, response.status))
        return maybe_stored(action, r, err);
    return r;
}

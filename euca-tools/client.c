/* client - sign, send, try again.
 *
 * What a request means is its caller's business; only what may be sent twice is decided here. */

#include <config.h>

#include "client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/retry.h"
#include "base/text.h"

#include "command.h"
#include "sign.h"

/* The historical clients speak this version, so every import service does. */
#define API_VERSION "2015-10-01"

/* Text of the whole URL, new string. */
static char *full_url(const struct euca_endpoint *endpoint, const struct euca_request *request)
{
    return im_asprintf("%s%s%s%s", endpoint->url, request->path ? request->path : "",
                       request->query ? "?" : "", request->query ? request->query : "");
}

static const volatile bool *cancel_of(const struct euca_request *request)
{
    return request->cancel ? request->cancel : &euca_interrupted;
}

static void debug_line(const struct euca_request *request, const char *url, int r, long status)
{
    char shown[2048];

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

/* An answer to a PUT whose ETag is not the MD5 of what was sent.  Where a key service encrypts, the
 * ETag is none, and only the server can tell by Content-MD5. */
static int check_etag(const struct euca_request *request, const struct im_http_response *response,
                      const char *url, struct im_error *err)
{
    char shown[IM_ERROR_MAX - 512];

    if (!request->md5 || response->status < 200 || response->status > 299 ||
        strcasecmp(response->etag, request->md5) == 0 || im_http_is_sealed(response))
        return 0;
    return im_fail(err, EILSEQ,
                   "upload was corrupted during transit: the server answered ETag '%s' for %s, the "
                   "MD5 of what was sent is %s",
                   response->etag, im_text_url(shown, sizeof(shown), url), request->md5);
}

/* Once; results as of euca_send_again. */
static int send_once(struct im_http *http, const struct euca_endpoint *endpoint,
                     const struct euca_request *request, struct im_http_response *ret_response,
                     struct im_error *err)
{
    char *url IM_FREE = full_url(endpoint, request);
    struct euca_signature signature EUCA_SIGNATURE_DONE = { 0 };
    struct im_http_request exchange = { .method = request->method,
                                        .url = url,
                                        .body = request->body,
                                        .read_body = request->read_body,
                                        .rewind_body = request->rewind_body,
                                        .body_len = request->body_len,
                                        .arg = request->arg,
                                        .text_max = request->text_max,
                                        .connect_timeout_ms = endpoint->timeout_s * 1000L,
                                        .stall_timeout_s = endpoint->timeout_s,
                                        .ca_file = endpoint->ca_file,
                                        .any_certificate = endpoint->any_certificate,
                                        .cancel = cancel_of(request) };
    int r;

    *ret_response = (struct im_http_response){ 0 };
    if (!url)
        return im_fail_memory(err);
    r = euca_sign(endpoint, request, url, &signature, err);
    if (r < 0)
        return r;
    exchange.headers = (const char *const *)signature.line;
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

/* Wait before try n + 1: as long as the server asked for, and a little that nobody else waits. */
static int wait_for_try(unsigned n, const struct euca_request *request,
                        const struct im_http_response *response, struct im_error *err)
{
    if (im_retry_pause(im_http_retry_after_ms(response), cancel_of(request)) &&
        im_retry_wait(n, cancel_of(request)))
        return 0;
    return im_fail(err, ECANCELED, "interrupted");
}

int euca_send_again(struct im_http *http, const struct euca_endpoint *endpoint,
                    const struct euca_request *request, unsigned tries,
                    struct im_http_response *ret_response, struct im_error *err)
{
    if (endpoint->tries)
        tries = endpoint->tries;
    for (unsigned n = 1;; n++) {
        int r = send_once(http, endpoint, request, ret_response, err);

        if (n == tries || !may_heal(r, ret_response))
            return r;
        r = wait_for_try(n, request, ret_response, err);
        im_http_response_done(ret_response);
        if (r < 0)
            return r;
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
    return im_fail_code(err, im_retry_status(status) ? EBUSY : EREMOTEIO, EUCA_SERVER, "(%s): %s",
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

void euca_form_done(struct euca_form *form)
{
    im_buffer_done(&form->text);
}

/* "&name=value", the first without "&". */
static int add_pair(struct im_buffer *text, const char *name, const char *value)
{
    int r = text->len > 0 ? im_buffer_puts(text, "&") : 0;

    if (r == 0)
        r = im_url_encode(text, name, strlen(name), false);
    if (r == 0)
        r = im_buffer_puts(text, "=");
    return r < 0 ? r : im_url_encode(text, value, strlen(value), false);
}

void euca_form_add(struct euca_form *form, const char *value, const char *name, ...)
{
    char full[128]; /* the longest, of a launch specification, has 60 */
    va_list args;

    if (!value || !*value || form->failed)
        return;
    va_start(args, name);
    (void)vsnprintf(full, sizeof(full), name, args);
    va_end(args);
    form->failed = add_pair(&form->text, full, value);
}

/* Whether all was added. */
static int check_form(const struct euca_form *form, struct im_error *err)
{
    if (form->failed == -EFBIG)
        return im_fail(err, EFBIG, "the request would be larger than %d bytes", EUCA_FORM_MAX);
    return form->failed < 0 ? im_fail_memory(err) : 0;
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

int euca_maybe_stored(const char *action, struct im_error *err)
{
    char why[IM_ERROR_MAX];

    (void)snprintf(why, sizeof(why), "%.*s", IM_ERROR_MAX - 160, err->message);
    return im_fail_code(err, err->number, err->code,
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
        return im_fail_memory(err);
    r = send_once(http, ec2, request, ret_response, err);
    im_http_free(http);
    return r;
}

int euca_call(const struct euca_endpoint *ec2, const char *action, struct euca_form *form,
              bool once, struct euca_answer *ret_answer, struct im_error *err)
{
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    struct euca_request request = {
        .method = "POST",
        .content_type = "application/x-www-form-urlencoded; charset=utf-8",
        .text_max = EUCA_REPLY_MAX,
    };
    unsigned tries = ec2->tries ? ec2->tries : EUCA_TRIES;
    bool answered;
    int r;

    euca_form_add(form, action, "Action");
    euca_form_add(form, API_VERSION, "Version");
    *ret_answer = (struct euca_answer){ 0 };
    r = check_form(form, err);
    if (r < 0)
        return r;
    request.body = form->text.data;
    request.body_len = form->text.len;
    for (unsigned n = 1;; n++) {
        r = call_once(ec2, &request, &response, err);
        if (n == tries || !may_heal(r, &response) || (once && may_be_stored(r, response.status)))
            break;
        r = wait_for_try(n, &request, &response, err);
        im_http_response_done(&response);
        if (r < 0)
            return r;
    }
    if (r == 0 && response.status == 200) {
        ret_answer->text = response.text;
        response.text = (struct im_buffer){ 0 };
        return 0;
    }
    answered = r == 0;
    if (answered) {
        euca_reply_fault(response.text.data, response.text.len, &ret_answer->fault);
        r = refused(response.status, &ret_answer->fault, err);
    }
    /* A fault in EC2's own words is the service telling that it failed. */
    if (once && !*ret_answer->fault.code && may_be_stored(answered ? 0 : r, response.status))
        return euca_maybe_stored(action, err);
    return r;
}

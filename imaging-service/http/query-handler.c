/* query-handler - HTTP requests to the EC2 query API.
 *
 * Whatever goes wrong is answered with the API's own error document: clients cannot read anything
 * else. */

#include <config.h>

#include "http/query-handler.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/verify.h"
#include "base/clock.h"
#include "base/text.h"
#include "log.h"

/* Bytes of a form body.  The largest sane request, 21 presigned disks, has under 60 KiB. */
#define BODY_MAX (64u * 1024)

struct query_state {
    const struct svc_query_service *service;
    const struct svc_request *request;
    struct im_buffer body;
    bool too_large;
};

static void refuse(const struct svc_request *request, struct svc_response *response,
                   enum svc_code code, const char *message)
{
    struct svc_answer answer = { .body = &response->body };

    svc_api_refuse(code, message, request->id, &answer);
    response->status = answer.status;
    response->content_type = SVC_XML_TYPE;
}

static void malformed(const struct svc_request *request, struct svc_response *response,
                      const char *reason)
{
    struct im_error err;

    (void)im_fail(&err, EINVAL, "The HTTP request is not valid: %s.", reason);
    refuse(request, response, SVC_INVALID_REQUEST, err.message);
}

static bool is_served(const char *path)
{
    static const char *const paths[] = { "/", "/services/compute", "/services/compute/" };

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        if (strcmp(path, paths[i]) == 0)
            return true;
    return false;
}

static void refuse_too_large(const struct svc_request *request, struct svc_response *response)
{
    struct im_error err;

    (void)im_fail(&err, EFBIG, "The request body is longer than the %u bytes allowed.", BODY_MAX);
    refuse(request, response, SVC_TOO_LARGE, err.message);
}

static void *begin(void *service, const struct svc_request *request, struct svc_response *response)
{
    struct query_state *state;

    if (!is_served(request->path)) {
        refuse(request, response, SVC_NOT_FOUND, NULL);
        return NULL;
    }
    if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "POST") != 0) {
        refuse(request, response, SVC_METHOD_NOT_ALLOWED, NULL);
        svc_response_field(response, "Allow", "GET, POST");
        return NULL;
    }
    if (request->content_length > BODY_MAX) {
        refuse_too_large(request, response);
        return NULL;
    }
    state = calloc(1, sizeof(*state));
    if (!state) {
        refuse(request, response, SVC_INTERNAL_ERROR, NULL);
        return NULL;
    }
    state->service = service;
    state->request = request;
    state->body = IM_BUFFER(BODY_MAX);
    return state;
}

static bool data(void *arg, const void *bytes, size_t len)
{
    struct query_state *state = arg;

    if (im_buffer_add(&state->body, bytes, len) < 0)
        state->too_large = true;
    return !state->too_large;
}

/* The parameters are in the query string or in the body, never in both: which would be meant? */
static int decode(const struct query_state *state, struct im_query *params, struct im_error *err)
{
    const char *query = state->request->query;
    const char *body = state->body.len > 0 ? state->body.data : "";

    if (*query && *body)
        return im_fail_code(err, EINVAL, "MalformedQueryString",
                            "Parameters must be in the query string or in the body, not in both.");
    if (*query)
        return im_query_parse(query, strlen(query), params, err);
    return im_query_parse(body, state->body.len, params, err);
}

/* Authenticate first; what is wrong with the parameters is told to known clients only, unless it is
 * why no signature was found. */
static int check(const struct query_state *state, struct im_query *params,
                 struct svc_caller *ret_caller, struct im_error *err)
{
    const struct svc_request *request = state->request;
    struct im_signable signable = svc_request_signable(request);
    struct im_error fault = { 0 };
    int decoded = decode(state, params, &fault);
    int r;

    if (decoded < 0 && !svc_request_header(request, "Authorization")) {
        *err = fault;
        return decoded;
    }
    r = svc_verify_api(state->service->accounts, &signable, decoded == 0 ? params : NULL,
                       state->body.len > 0 ? state->body.data : "", state->body.len,
                       im_clock_now_ms(), ret_caller, err);
    if (r == 0 && decoded < 0) {
        *err = fault;
        return decoded;
    }
    return r;
}

/* Refuse for a fault found before an operation; limits are the client's fault as well.  What is
 * ours is told to the log. */
static void refuse_fault(const struct svc_request *request, struct svc_response *response,
                         const struct im_error *err)
{
    enum svc_code code = err->number == EFBIG ? SVC_MALFORMED_QUERY : svc_code_find(err->code);

    if (code != SVC_INTERNAL_ERROR) {
        refuse(request, response, code, err->message);
        return;
    }
    svc_log(SVC_ERROR, "request %s: %s", request->id, err->message);
    refuse(request, response, svc_code_of_failure(err->number), NULL);
}

static void end(void *arg, struct svc_response *response)
{
    struct query_state *state = arg;
    struct im_query params IM_QUERY_DONE = { 0 };
    struct svc_answer answer = { .body = &response->body };
    struct im_error err = { 0 };
    struct svc_caller caller;
    int r;

    if (state->too_large) {
        refuse_too_large(state->request, response);
        return;
    }
    r = check(state, &params, &caller, &err);
    response->action = svc_api_known(im_query_get(&params, "Action"));
    if (r < 0) {
        refuse_fault(state->request, response, &err);
        return;
    }
    (void)snprintf(response->account, sizeof(response->account), "%s", caller.account);
    svc_api_run(state->service->api, &caller, state->request->id, &params, &answer);
    response->status = answer.status;
    response->content_type = SVC_XML_TYPE;
}

static void release(void *arg)
{
    struct query_state *state = arg;

    im_buffer_done(&state->body);
    free(state);
}

const struct svc_handler svc_query_handler = {
    .begin = begin,
    .data = data,
    .end = end,
    .release = release,
    .malformed = malformed,
};

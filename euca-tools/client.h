/* client - signed requests: one exchange, one exchange tried again, one EC2 action.
 *
 * Signatures are version 4 in the Authorization header. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/http.h"

#include "credentials.h"
#include "reply.h"

/* Tries of an EC2 action and of the first word with an object store: somebody waits at a terminal
 * and may have mistyped the URL.  Once work is in progress IM_RETRY_TRIES are worth it. */
#define EUCA_TRIES 3

/* A request below an endpoint. */
struct euca_request {
    const char *method;
    const char *path;          /* percent-encoded, "/bucket/key"; NULL: the endpoint's own path */
    const char *query;         /* "max-keys=0"; NULL: none */
    const char *content_type;  /* NULL: none */
    const char *md5;           /* hex MD5 of the body: sent as Content-MD5, and the answer's ETag
                                  must be it; NULL: neither */
    const char *sha256;        /* hex SHA-256 of a streamed body; NULL: hash `body` */
    const void *body;          /* in memory … */
    im_http_body_fn read_body; /* … or streamed */
    int (*rewind_body)(void *arg);
    void *arg;
    uint64_t body_len;
    size_t text_max;             /* ceiling of the answer, 0: 64 KiB */
    const volatile bool *cancel; /* NULL: euca_interrupted */
};

/* Sign and send once.  0 when an answer arrived, whatever its status; end with
 * im_http_response_done() in any case.
 * Errors: as im_http_do, messages of network failures as "connection error (…)"; -EILSEQ when the
 * ETag tells that other bytes arrived than were sent. */
int euca_send(struct im_http *http, const struct euca_endpoint *endpoint,
              const struct euca_request *request, struct im_http_response *ret_response,
              struct im_error *err);

/* The same, up to `tries` times: after network failures, damage in transit and statuses that may
 * heal. */
int euca_send_again(struct im_http *http, const struct euca_endpoint *endpoint,
                    const struct euca_request *request, unsigned tries,
                    struct im_http_response *ret_response, struct im_error *err);

/* Record what a server answered instead of the wished: returns -EREMOTEIO, code EUCA_SERVER,
 * "(Code): Message" or else "(HTTP status): reason". */
int euca_refused(const struct im_http_response *response, struct im_error *err);

/* One parameter of an EC2 action; one without a value is not sent. */
struct euca_param {
    const char *name;
    const char *value;
};

/* The answer of an EC2 action. */
struct euca_answer {
    struct im_buffer text;   /* of success */
    struct euca_fault fault; /* of a refusal, "" codes otherwise */
};
#define EUCA_ANSWER_DONE __attribute__((cleanup(euca_answer_done)))
void euca_answer_done(struct euca_answer *answer);

/* Do an action; params end with a NULL name.  `once`: the action makes something new, so it is sent
 * again only after failures that prove nothing was made.
 * Errors: -EREMOTEIO with the fault in ret_answer, or as euca_send. */
int euca_call(const struct euca_endpoint *ec2, const char *action, const struct euca_param *params,
              bool once, struct euca_answer *ret_answer, struct im_error *err);

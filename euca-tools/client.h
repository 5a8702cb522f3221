/* client - signed requests: one exchange, one exchange tried again, one EC2 action.
 *
 * Signatures are in the Authorization header (sign.h). */
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

/* Sign and send, up to `tries` times, unless the endpoint has a number of its own: after network
 * failures, damage in transit and statuses that may heal.  0 when an answer arrived, whatever its
 * status; end with im_http_response_done() in any case.
 * Errors: as im_http_do, messages of network failures as "connection error (…)"; -EILSEQ when the
 * ETag tells that other bytes arrived than were sent. */
int euca_send_again(struct im_http *http, const struct euca_endpoint *endpoint,
                    const struct euca_request *request, unsigned tries,
                    struct im_http_response *ret_response, struct im_error *err);

/* Record what a server answered instead of the wished: returns -EREMOTEIO, or -EBUSY when a moment
 * later it may answer otherwise (im_retry_status); code EUCA_SERVER, "(Code): Message" or else
 * "(HTTP status): reason". */
int euca_refused(const struct im_http_response *response, struct im_error *err);

/* The parameters of an EC2 action, percent-encoded as they are added.  Whoever adds need not look
 * at errors: euca_call tells the first. */
struct euca_form {
    struct im_buffer text;
    int failed; /* -errno of the first parameter that could not be added */
};
#define EUCA_FORM_MAX  (256 * 1024) /* bytes: 1000 task ids, or 21 disks, are far below */
#define EUCA_FORM      ((struct euca_form){ .text = IM_BUFFER(EUCA_FORM_MAX) })
#define EUCA_FORM_DONE __attribute__((cleanup(euca_form_done)))
void euca_form_done(struct euca_form *form);

/* Add the parameter that name (a printf format) and what follows make; a value that is NULL or ""
 * is not sent. */
void euca_form_add(struct euca_form *form, const char *value, const char *name, ...)
    __attribute__((format(printf, 3, 4)));

/* The answer of an EC2 action. */
struct euca_answer {
    struct im_buffer text;   /* of success */
    struct euca_fault fault; /* of a refusal, "" codes otherwise */
};
#define EUCA_ANSWER_DONE __attribute__((cleanup(euca_answer_done)))
void euca_answer_done(struct euca_answer *answer);

/* Do an action; Action and Version are added to the form.  `once`: the action makes something new,
 * so it is sent again only after failures that prove nothing was made.
 * Errors: as euca_refused, with the fault in ret_answer, or as euca_send_again. */
int euca_call(const struct euca_endpoint *ec2, const char *action, struct euca_form *form,
              bool once, struct euca_answer *ret_answer, struct im_error *err);

/* Add to the failure in err that the action may have done its work all the same: for answers of
 * success that cannot be read.  Returns -err->number. */
int euca_maybe_stored(const char *action, struct im_error *err);

/* message - one HTTP request and its answer, free of the HTTP library.
 *
 * A handler sees a request twice: when its headers have arrived, so that it can refuse before a
 * body is accepted, and when the body is complete. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aws/sigv4.h"
#include "base/buffer.h"

/* Header lines of one request; real clients send under twenty. */
#define SVC_HEADERS_MAX 64

/* Bytes of an answer made in memory: a listing of all of an account's tasks is the largest. */
#define SVC_ANSWER_MAX (64u * 1024 * 1024)

/* Header fields a handler may add to an answer, and the bytes of each value. */
#define SVC_FIELDS_MAX 8
#define SVC_FIELD_SIZE 400

struct svc_request {
    char id[37]; /* UUID, told to the client and written to the log */
    const char *method;
    char *path;  /* raw, up to '?' */
    char *query; /* raw, after '?', "" when there is none */
    struct im_header header[SVC_HEADERS_MAX];
    size_t header_count;
    uint64_t content_length; /* as announced; 0 when nothing was */
    bool chunked;            /* the length is not announced */
};

struct svc_response {
    unsigned status;          /* HTTP status; 0: not answered yet */
    const char *action;       /* what was asked for, one of metrics.c's; NULL: nothing known … */
    char account[13];         /* … and by whom, once that is proven; both stay through a reset */
    const char *content_type; /* static; NULL: none */
    struct im_buffer body;
    int fd;                  /* the body comes from this file instead when it is not -1 … */
    uint64_t offset, length; /* … these bytes of it */
    struct svc_field {
        const char *name; /* static */
        char value[SVC_FIELD_SIZE];
    } field[SVC_FIELDS_MAX];
    size_t field_count;
};

#define SVC_RESPONSE ((struct svc_response){ .body = IM_BUFFER(SVC_ANSWER_MAX), .fd = -1 })

/* What answers the requests below a path.  `service` is the handler's own data; functions are
 * called from several threads at once, but for one request from one thread at a time. */
struct svc_handler {
    /* The headers are here.  Either fill the response and return NULL, or return the state that
     * takes the body (of any length, also none). */
    void *(*begin)(void *service, const struct svc_request *request, struct svc_response *response);
    /* Bytes of the body; false: they are of no more use (the answer is decided). */
    bool (*data)(void *state, const void *data, size_t len);
    /* The body is complete, as announced: fill the response. */
    void (*end)(void *state, struct svc_response *response);
    /* Release the state, whether or not the request came to its end. */
    void (*release)(void *state);
    /* Fill the response: 400, the request is not well-formed HTTP for the reason given. */
    void (*malformed)(const struct svc_request *request, struct svc_response *response,
                      const char *reason);
};

/* Value of the first header of that name (any case), or NULL. */
const char *svc_request_header(const struct svc_request *request, const char *name);

/* The request as signatures see it; points into it.  payload_hash is left NULL. */
struct im_signable svc_request_signable(const struct svc_request *request);

/* Add a header field to the answer; values too long or one field too many are left out. */
void svc_response_field(struct svc_response *response, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Forget what was said so far (closes the file), to answer something else. */
void svc_response_reset(struct svc_response *response);

/* Release what the response owns. */
void svc_response_done(struct svc_response *response);

/* fetch - bytes of remote objects: asked for, proven, and asked for again while that may help. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/http.h"

/* Tokens of a job's retry budget, what a retry costs, and what a request brings back that succeeded
 * at once: the standard mode of AWS's SDKs.  A hundred retries without a success between them and
 * nothing is asked twice any more, so that a dead store is not hammered. */
#define IM_FETCH_BUDGET     500
#define IM_FETCH_RETRY_COST 5
#define IM_FETCH_SUCCESS    1

/* How patient to be; shared by all requests of one job. */
struct im_fetch_rules {
    unsigned tries;              /* of one request; 0: IM_RETRY_TRIES */
    long stall_timeout_s;        /* as in im_http_request */
    const volatile bool *cancel; /* not NULL */
    atomic_int *budget;          /* tokens left, IM_FETCH_BUDGET at first; not NULL */
    const char *missing_code;    /* error code of HTTP 404, static storage; NULL: "NotFound" */
};

/* Retries of one request. */
struct im_fetch_tries {
    const struct im_fetch_rules *rules;
    unsigned done;    /* retries so far */
    int64_t after_ms; /* the server asked not to come back earlier; 0: it did not */
};

/* After a failure (-errno): true when the request is worth another try, and then the pause is over
 * and the budget charged.  Network failures, -EAGAIN (see im_fetch_status) and, fewer times,
 * -EBADMSG (bytes that are not what was promised) are. */
bool im_fetch_again(struct im_fetch_tries *tries, int failure);

/* After a success: the budget gets back what the last retry took, or IM_FETCH_SUCCESS when there
 * was none; never more than it had at first. */
void im_fetch_healed(struct im_fetch_tries *tries);

/* What an HTTP answer means: 0 for 2xx; else -ENOENT (404, or an S3 error document NoSuchKey or
 * NoSuchBucket), -EACCES "AccessDenied" (403), -EAGAIN "ServerBusy" (worth a retry; also 2xx with
 * an error document in its text), -EACCES "DownloadFailed". `what` ("part 3 of 12") and url begin
 * the sentence. */
int im_fetch_status(const struct im_http_response *response, const char *what, const char *url,
                    const char *missing_code, struct im_error *err);

/* Do a request without side effects, retried; 0 means a 2xx answer.  The caller ends with
 * im_http_response_done() in any case. */
int im_fetch_exchange(struct im_http *http, struct im_http_request *request,
                      const struct im_fetch_rules *rules, const char *what,
                      struct im_http_response *ret_response, struct im_error *err);

/* A run of bytes of one object. */
struct im_fetch {
    const char *url;
    const char *what; /* for messages: "part 3 of 12" */
    uint64_t offset;  /* of the run in the object */
    size_t len;
    uint64_t object_size; /* bytes of the whole object */
    char etag[128];       /* the ETag it must have, or ""; afterwards the one it has */
    bool sealed;          /* afterwards: im_http_is_sealed was true */
};

/* Fetch the run into buf (len bytes).  Proven before 0 is returned: status, range, exact length, no
 * Content-Encoding, ETag.  Not proven: the MD5.
 * Errors: im_fetch_status's, im_http_do's, -EBADMSG "DamagedPart". */
int im_fetch(struct im_http *http, struct im_fetch *fetch, const struct im_fetch_rules *rules,
             void *buf, struct im_error *err);

/* True when an ETag has the form of an MD5 (32 hex digits), written to ret_md5 (16 bytes). */
bool im_fetch_md5_of_etag(const char *etag, uint8_t *ret_md5);

/* http - one HTTP(S) exchange with libcurl, with the same careful settings everywhere.
 *
 * No redirects, no netrc, no proxy from the environment, no decompression, http and https only,
 * certificates verified unless a request says otherwise.  Where it may lead is a policy of the
 * process.  Retrying is the caller's business (base/retry.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

struct im_http; /* one kept-alive connection; used by one thread at a time */

/* A new client; NULL when out of memory.  Call im_http_global() first. */
struct im_http *im_http_new(void);
struct im_http *im_http_free(struct im_http *http);

/* Prepare the library; once per process, before threads start. */
void im_http_global(void);

/* From now on every exchange of this process obeys the policy (base/url-policy.h), which must not
 * change after the first and outlives all of them.  Without one any http(s) URL is followed. */
struct im_url_policy;
void im_http_obey(const struct im_url_policy *policy);

/* May the URL be followed, as it is written?  Exchanges ask by themselves; this is for whoever
 * wants to know before.  0, or as im_url_policy_check, with the URL in the sentence. */
int im_http_may(const char *url, struct im_error *err);

/* Gives the next bytes of a request body: fills buf with up to len bytes.
 * Returns the count, 0 at the end, or -errno to abort. */
typedef long (*im_http_body_fn)(void *arg, void *buf, size_t len);

/* Takes the next bytes of a response body; 0, or -errno to abort. */
typedef int (*im_http_data_fn)(void *arg, const void *data, size_t len);

struct im_http_request {
    const char *method;         /* "GET", "HEAD", "PUT", "POST", "DELETE" */
    const char *url;            /* http:// or https://; sent as it is, slashes and dots kept */
    const char *const *headers; /* "Name: value" strings, NULL-terminated; may be NULL */
    const void *body;           /* request body in memory … */
    im_http_body_fn read_body;  /* … or streamed (then body_len bytes are announced) */
    int (*rewind_body)(void *arg); /* put a streamed body back to its start; 0 or -errno; may be NULL */
    uint64_t body_len;          /* bytes of request body */
    im_http_data_fn on_data;    /* response body, called only for 2xx statuses; NULL: kept in the
                                   response's text, at most text_max bytes */
    void *arg;                  /* given to the three functions */
    size_t text_max;            /* ceiling of response text (also of error documents); 0: 64 KiB */
    long connect_timeout_ms;    /* 0: 10 s */
    long stall_timeout_s;       /* abort below 1000 bytes/s for so long; 0: 30 s */
    long total_timeout_ms;      /* 0: none */
    const char *ca_file;        /* PEM, who signs certificates that are believed; NULL: the system's */
    bool any_certificate;       /* believe whoever answers; never without the user's own word */
    const volatile bool *cancel; /* when it becomes true the exchange ends with -ECANCELED; may be NULL */
};

struct im_http_response {
    long status;            /* HTTP status */
    uint64_t length;        /* Content-Length, or UINT64_MAX when it was not sent */
    char etag[128];         /* ETag without quotes; "" when absent, weak (W/) or too long */
    char content_range[96]; /* Content-Range value, "" when absent */
    char content_encoding[32]; /* "" when absent */
    char date[64];          /* Date header, "" when absent */
    char retry_after[64];   /* Retry-After, "" when absent */
    char encryption[32];    /* x-amz-server-side-encryption, "" when absent */
    char object_file[400];  /* X-Euca-Object-File (see source/local.h), "" when absent */
    struct im_buffer text;  /* body when there is no on_data, or of a status that is not 2xx */
};

/* Do the exchange.  0 when an HTTP answer arrived, whatever its status; the caller reads
 * response->status and ends with im_http_response_done() in any case.  The response's head is filled
 * before on_data is first called; the text of a status that is not 2xx is cut at text_max.
 * Errors: -ECONNREFUSED, -EHOSTUNREACH, -ECONNRESET, -ETIMEDOUT (all worth a retry), -EINVAL (bad
 * URL or scheme), -EACCES "UntrustedCertificate" or what the policy forbids (IM_URL_NOT_ALLOWED,
 * IM_ADDRESS_NOT_ALLOWED), -EFBIG (answer above text_max), -ECANCELED, or what on_data or read_body
 * returned; the message names the URL without its query. */
int im_http_do(struct im_http *http, const struct im_http_request *request,
               struct im_http_response *ret_response, struct im_error *err);

void im_http_response_done(struct im_http_response *response);
#define IM_HTTP_RESPONSE_DONE __attribute__((cleanup(im_http_response_done)))

/* Longest Retry-After that is waited for: what a store that is merely busy asks for. */
#define IM_HTTP_RETRY_AFTER_MAX_S 60

/* How long the server asks to be left alone (Retry-After of a status that may heal, a number of
 * seconds or a date), bounded; 0 when it does not. */
int64_t im_http_retry_after_ms(const struct im_http_response *response);

/* True when a key service encrypts the object at rest: its ETag looks like an MD5 and is none (S3's
 * API reference, "Object", on SSE-KMS). */
bool im_http_is_sealed(const struct im_http_response *response);

/* Percent-encode by RFC 3986 (unreserved characters stay; '/' too when keep_slash), upper-case hex,
 * appended to out.  0 or as im_buffer_add. */
int im_url_encode(struct im_buffer *out, const void *text, size_t len, bool keep_slash);

/* The parts of an absolute http(s) URL, pointing into it: no copy. */
struct im_url {
    bool https;
    const char *host; /* with port, as the Host header has it; without user-info */
    size_t host_len;
    const char *path; /* from the first '/', "" when there is none */
    size_t path_len;  /* up to '?' or '#' */
    const char *query; /* after '?', or NULL */
    size_t query_len;
    bool has_user_info;
};

/* Split; 0 or -EINVAL with the reason in err. */
int im_url_split(const char *url, struct im_url *ret_url, struct im_error *err);

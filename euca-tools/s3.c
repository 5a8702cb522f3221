/* s3 - buckets, keys and URLs of the object store.  Slashes in keys are never collapsed. */

#include <config.h>

#include "s3.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "aws/query.h"
#include "aws/s3v2.h"
#include "aws/sigv4.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/http.h"
#include "base/retry.h"
#include "base/text.h"

#include "client.h"
#include "command.h"
#include "interrupt.h"
#include "sign.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

#define DAY_S ((uint64_t)24 * 60 * 60)

/* Days that presigned URLs are valid.  Version 2 knows no limit; a century is ours. */
#define V4_DAYS     (IM_SIGV4_EXPIRES_MAX / DAY_S)
#define V2_DAYS     ((uint64_t)30)
#define V2_DAYS_MAX ((uint64_t)36500)

/* A path is a bucket and a key, each byte up to three. */
#define PATH_MAX_BYTES (3 * (256 + EUCA_KEY_MAX) + 2)

/* A presigned URL: endpoint, path, and a query that may hold a session token of 4 KiB. */
#define URL_MAX_BYTES (32 * 1024)

bool euca_s3_bucket_is_valid(const char *bucket)
{
    size_t len = strspn(bucket, LETTERS "0123456789.-_");

    /* "." and ".." would be taken out of a path on its way. */
    return len > 0 && len <= 255 && bucket[len] == '\0' && strcmp(bucket, ".") != 0 &&
           strcmp(bucket, "..") != 0;
}

char *euca_s3_path(const char *bucket, const char *key)
{
    struct im_buffer path IM_BUFFER_DONE = IM_BUFFER(PATH_MAX_BYTES);

    if (im_buffer_puts(&path, "/") < 0 || im_url_encode(&path, bucket, strlen(bucket), false) < 0)
        return NULL;
    if (key && (im_buffer_puts(&path, "/") < 0 || im_url_encode(&path, key, strlen(key), true) < 0))
        return NULL;
    return im_buffer_steal(&path);
}

int euca_s3_presign(const struct euca_endpoint *s3, const char *method, const char *bucket,
                    const char *key, int64_t now_ms, uint64_t expires_s, char **ret_url,
                    struct im_error *err)
{
    struct im_sigv4_key signer = euca_signer(s3);
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(URL_MAX_BYTES);
    char *path IM_FREE = euca_s3_path(bucket, key);
    char *url IM_FREE = path ? im_asprintf("%s%s", s3->url, path) : NULL;
    int r;

    if (!url)
        return im_fail_memory(err);
    /* what was asked of the command's own store may be more than one of the others takes */
    if (!s3->sigv2 && expires_s > IM_SIGV4_EXPIRES_MAX)
        expires_s = IM_SIGV4_EXPIRES_MAX;
    if (s3->sigv2)
        r = im_s3v2_presign(method, url, path, &signer, now_ms / 1000 + (int64_t)expires_s, &out,
                            err);
    else
        r = im_sigv4_presign(method, url, &signer, now_ms, expires_s, &out, err);
    if (r < 0)
        return r;
    *ret_url = im_buffer_steal(&out);
    return *ret_url ? 0 : im_fail_memory(err);
}

uint64_t euca_s3_expires_s(const char *program, const struct euca_endpoint *s3, uint64_t days)
{
    uint64_t most = s3->sigv2 ? V2_DAYS_MAX : V4_DAYS;

    if (days == 0) /* always meant the default */
        days = s3->sigv2 ? V2_DAYS : V4_DAYS;
    if (days > most) {
        /* not worth a failure: the historical default was 30 days */
        euca_say(program,
                 "warning: -x %" PRIu64 ": URLs signed with version %d are valid for %" PRIu64
                 " days at most, so it is %" PRIu64,
                 days, s3->sigv2 ? 2 : 4, most, most);
        days = most;
    }
    return days * DAY_S;
}

/* The value of a parameter as a number. */
static bool number_in(const struct im_query *query, const char *name, uint64_t *ret_value)
{
    const char *text = im_query_get(query, name);

    return text && im_parse_uint(text, INT64_MAX / 2000, ret_value) == 0;
}

int64_t euca_s3_expiry_ms(const char *url)
{
    struct im_query query IM_QUERY_DONE = { 0 };
    struct im_error err;
    struct im_url parts;
    uint64_t seconds;
    int64_t from_ms;

    if (im_url_split(url, &parts, &err) < 0 || !parts.query ||
        im_query_parse(parts.query, parts.query_len, &query, NULL) < 0)
        return INT64_MAX;
    if (im_query_get(&query, "AWSAccessKeyId") && number_in(&query, "Expires", &seconds))
        return (int64_t)seconds * 1000;
    if (im_query_get(&query, "X-Amz-Date") && number_in(&query, "X-Amz-Expires", &seconds) &&
        im_clock_parse_basic(im_query_get(&query, "X-Amz-Date"), &from_ms) == 0)
        return from_ms + (int64_t)seconds * 1000;
    return INT64_MAX;
}

/* ---- the bucket ---- */

/* Is a refusal of this code?  What it says is told in any case. */
static bool refused_as(const struct im_error *err, const char *code)
{
    size_t len = strlen(code);

    return strcmp(err->code, EUCA_SERVER) == 0 && err->message[0] == '(' &&
           strncmp(err->message + 1, code, len) == 0 && err->message[len + 1] == ')';
}

static int foreign(const char *bucket, struct im_error *err)
{
    char said[IM_ERROR_MAX];

    (void)snprintf(said, sizeof(said), "%.*s", IM_ERROR_MAX - 400, err->message);
    return im_fail_code(err, EREMOTEIO, EUCA_SERVER,
                        "%s (bucket '%s' belongs to somebody else, or these credentials may not "
                        "use it; choose another name)",
                        said, bucket);
}

/* Ask and give the status; -errno when there is none. */
static int ask(struct im_http *http, const struct euca_endpoint *s3,
               const struct euca_request *request, int good, struct im_error *err)
{
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    int r = euca_send_again(http, s3, request, EUCA_TRIES, &response, err);

    if (r < 0)
        return r;
    if ((response.status >= 200 && response.status <= 299) || response.status == good)
        return (int)response.status;
    return euca_refused(&response, err);
}

/* The body of a PUT that makes a bucket somewhere else than at the default place, new string; NULL
 * at that place. */
static int configure(const char *location, char **ret_body, struct im_error *err)
{
    *ret_body = NULL;
    if (!location || !*location)
        return 0;
    /* "us-west-2", RGW's "zonegroup:placement": nothing that XML minds */
    if (location[strspn(location, LETTERS "0123456789-_.:")])
        return im_fail(err, EINVAL,
                       "the location '%s' of new buckets may hold letters, digits, '-', '_', '.' "
                       "and ':' only",
                       location);
    *ret_body = im_asprintf("<CreateBucketConfiguration "
                            "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                            "<LocationConstraint>%s</LocationConstraint>"
                            "</CreateBucketConfiguration>",
                            location);
    return *ret_body ? 0 : im_fail_memory(err);
}

static int make_bucket(struct im_http *http, const struct euca_endpoint *s3, const char *bucket,
                       const char *path, struct im_error *err)
{
    struct euca_request make = { .method = "PUT", .path = path };
    char *body IM_FREE = NULL;
    int r = configure(s3->location, &body, err);

    if (r < 0)
        return r;
    if (body) {
        make.body = body;
        make.body_len = strlen(body);
        make.content_type = "application/xml";
    }
    r = ask(http, s3, &make, 200, err);
    if (r >= 0 || refused_as(err, "BucketAlreadyOwnedByYou")) /* just made by another command */
        return 0;
    return refused_as(err, "BucketAlreadyExists") ? foreign(bucket, err) : r;
}

int euca_s3_ensure_bucket(const struct euca_endpoint *s3, const char *bucket, bool make,
                          struct im_error *err)
{
    char *path IM_FREE = euca_s3_path(bucket, NULL);
    struct euca_request look = { .method = "GET", .path = path, .query = "max-keys=0" };
    struct im_http *http = im_http_new();
    int r = path && http ? ask(http, s3, &look, 404, err) : im_fail_memory(err);

    if (r == 404 && make)
        r = make_bucket(http, s3, bucket, path, err);
    else if (r < 0 && refused_as(err, "AccessDenied"))
        r = foreign(bucket, err);
    im_http_free(http);
    return r < 0 ? r : 0;
}

/* "bucket/key?…" as it stands in a URL; -EINVAL when it is not that. */
static int split_path(const char *path, char **ret_bucket, char **ret_key)
{
    size_t len = strcspn(path, "?#");
    size_t bucket_len = strcspn(path, "/?#");
    char *bucket IM_FREE = strndup(path, bucket_len);
    char *key IM_FREE = malloc(len + 1);
    size_t decoded;

    if (!bucket || !key)
        return -ENOMEM;
    if (!euca_s3_bucket_is_valid(bucket) || bucket_len + 1 >= len)
        return -EINVAL;
    if (im_percent_decode(path + bucket_len + 1, len - bucket_len - 1, false, key, &decoded) < 0 ||
        decoded > EUCA_KEY_MAX || !im_text_is_xml(key, decoded)) /* no NUL either */
        return -EINVAL;
    *ret_bucket = im_steal(bucket);
    *ret_key = im_steal(key);
    return 0;
}

/* What stands in the path behind the endpoint's; NULL when the URL is not below it. */
static const char *behind(const struct euca_endpoint *s3, const struct im_url *origin,
                          const char *path)
{
    struct im_error ignored;
    struct im_url own;
    size_t len;

    if (im_url_split(s3->url, &own, &ignored) < 0 || own.https != origin->https)
        return NULL;
    len = euca_endpoint_host_length(&own);
    if (len != euca_endpoint_host_length(origin) || strncasecmp(own.host, origin->host, len) != 0)
        return NULL;
    if (strncmp(path, own.path, own.path_len) != 0 || path[own.path_len] != '/')
        return NULL;
    return path + own.path_len + 1;
}

/* The store of the object: this one, or one of the others. */
static const struct euca_endpoint *find_store(const struct euca_endpoint *s3,
                                              const struct im_url *origin, const char *path,
                                              const char **ret_rest)
{
    *ret_rest = behind(s3, origin, path);
    if (*ret_rest)
        return s3;
    for (size_t i = 0; i < s3->other_count; i++) {
        *ret_rest = behind(&s3->other[i], origin, path);
        if (*ret_rest)
            return &s3->other[i];
    }
    return NULL;
}

int euca_s3_locate(const struct euca_endpoint *s3, const char *url,
                   const struct euca_endpoint **ret_store, char **ret_bucket, char **ret_key,
                   struct im_error *err)
{
    const char *host = strstr(url, "://");
    const char *path = host ? host + 3 + strcspn(host + 3, "/?#") : url;
    char *origin IM_FREE = strndup(url, (size_t)(path - url));
    const struct euca_endpoint *store = NULL;
    const char *rest;
    char shown[256];
    struct im_url parts;
    int r = -EINVAL;

    if (!origin)
        return im_fail_memory(err);
    if (im_url_split(origin, &parts, err) == 0 && !parts.has_user_info)
        store = find_store(s3, &parts, path, &rest);
    if (store)
        r = split_path(rest, ret_bucket, ret_key);
    if (r == -ENOMEM)
        return im_fail_memory(err);
    if (r < 0)
        return im_fail(err, EINVAL,
                       "URL '%s' matches no known object storage endpoints.  Supply one via the "
                       "command line or configuration.",
                       im_text_url(shown, sizeof(shown), url));
    *ret_store = store;
    return 0;
}

int euca_s3_delete(struct im_http *http, const struct euca_endpoint *s3, const char *bucket,
                   const char *key, const volatile bool *cancel, struct im_error *err)
{
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    char *path IM_FREE = euca_s3_path(bucket, key);
    struct euca_request request = { .method = "DELETE", .path = path, .cancel = cancel };
    int r;

    if (!path)
        return im_fail_memory(err);
    r = euca_send_again(http, s3, &request, IM_RETRY_TRIES, &response, err);
    if (r < 0)
        return r;
    if (response.status == 404 || (response.status >= 200 && response.status <= 299))
        return 0;
    return euca_refused(&response, err);
}

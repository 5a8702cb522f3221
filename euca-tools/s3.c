/* s3 - buckets, keys and URLs of the object store.  Slashes in keys are never collapsed. */

#include <config.h>

#include "s3.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aws/query.h"
#include "aws/sigv4.h"
#include "base/cleanup.h"
#include "base/http.h"
#include "base/text.h"

#include "client.h"

/* A path is a bucket and a key, each byte up to three. */
#define PATH_MAX_BYTES (3 * (256 + EUCA_KEY_MAX) + 2)

/* A presigned URL: endpoint, path, and a query that may hold a session token of 4 KiB. */
#define URL_MAX_BYTES (32 * 1024)

bool euca_s3_bucket_is_valid(const char *bucket)
{
    size_t len = strspn(bucket, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789.-_");

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
    struct im_sigv4_key signer = { s3->access_key, s3->secret_key, s3->token, s3->region,
                                   s3->service };
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(URL_MAX_BYTES);
    char *path IM_FREE
    = euca_s3_path(bucket, key);
    char *url IM_FREE
    = path ? im_asprintf("%s%s", s3->url, path) : NULL;
    int r;

    if (!url)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_sigv4_presign(method, url, &signer, now_ms, expires_s, &out, err);
    if (r < 0)
        return r;
    *ret_url = im_buffer_steal(&out);
    return *ret_url ? 0 : im_fail(err, ENOMEM, "out of memory");
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

int euca_s3_ensure_bucket(const struct euca_endpoint *s3, const char *bucket, struct im_error *err)
{
    char *path IM_FREE
    = euca_s3_path(bucket, NULL);
    struct euca_request look = { .method = "GET", .path = path, .query = "max-keys=0" };
    struct euca_request make = { .method = "PUT", .path = path };
    struct im_http *http;
    int r;

    if (!path)
        return im_fail(err, ENOMEM, "out of memory");
    http = im_http_new();
    if (!http)
        return im_fail(err, ENOMEM, "out of memory");
    r = ask(http, s3, &look, 404, err);
    if (r == 404)
        r = ask(http, s3, &make, 200, err);
    im_http_free(http);
    return r < 0 ? r : 0;
}

/* "bucket/key?…" as it stands in a URL; -EINVAL when it is not that. */
static int split_path(const char *path, char **ret_bucket, char **ret_key)
{
    size_t len = strcspn(path, "?#");
    size_t bucket_len = strcspn(path, "/?#");
    char *bucket IM_FREE
    = strndup(path, bucket_len);
    char *key IM_FREE
    = malloc(len + 1);
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

int euca_s3_locate(const struct euca_endpoint *s3, const char *url, char **ret_bucket,
                   char **ret_key, struct im_error *err)
{
    size_t base = strlen(s3->url);
    char shown[256];
    int r = -EINVAL;

    if (strncmp(url, s3->url, base) == 0 && url[base] == '/')
        r = split_path(url + base + 1, ret_bucket, ret_key);
    if (r == -ENOMEM)
        return im_fail(err, ENOMEM, "out of memory");
    if (r < 0)
        return im_fail(err, EINVAL,
                       "URL '%s' matches no known object storage endpoints.  Supply one via the "
                       "command line or configuration.",
                       im_text_url(shown, sizeof(shown), url));
    return 0;
}

/* http - an http:// or https:// URL as a source.
 *
 * The server must tell the size, and know ranges when the object is larger than one segment of
 * source/parts.h.  URLs presigned for GET refuse HEAD; those are asked for their first byte. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/http.h"
#include "base/text.h"
#include "core/cancel.h"
#include "core/source.h"
#include "source/fetch.h"
#include "source/parts.h"
#include "source/served.h"

#define WHAT "the image"

static bool http_accepts(const char *spec)
{
    return strncasecmp(spec, "http://", 7) == 0 || strncasecmp(spec, "https://", 8) == 0;
}

/* The size after the slash of "bytes 0-0/4096". */
static int parse_total(const char *content_range, uint64_t *ret_size)
{
    const char *slash = strchr(content_range, '/');

    if (strncasecmp(content_range, "bytes ", 6) != 0 || !slash)
        return -EINVAL;
    return im_parse_uint(slash + 1, INT64_MAX, ret_size);
}

/* The body of an answer whose head says enough. */
static int no_more(void *arg, const void *data, size_t len)
{
    (void)arg;
    (void)data;
    (void)len;
    return -ENODATA;
}

/* The failure of a question that decides; those of others are nobody's business. */
static int give(struct im_error *err, const struct im_error *why, int r)
{
    if (err)
        *err = *why;
    return r;
}

/* Ask for one byte; the size stands beside it. */
static int ask_by_range(struct im_http *http, const char *url, const struct im_fetch_rules *rules,
                        struct im_http_response *response, uint64_t *ret_size, struct im_error *err)
{
    static const char *const headers[] = { "Range: bytes=0-0", NULL };
    struct im_http_request request = {
        .method = "GET", .url = url, .headers = headers, .on_data = no_more
    };
    struct im_error why = { 0 };
    int r = im_fetch_exchange(http, &request, rules, WHAT, response, &why);

    /* an empty object has no first byte */
    if (response->status == 416 && parse_total(response->content_range, ret_size) == 0 &&
        *ret_size == 0)
        return 0;
    if (r < 0 && r != -ENODATA)
        return give(err, &why, r);
    if (response->status == 206)
        return parse_total(response->content_range, ret_size) < 0 ? -ENODATA : 0;
    *ret_size = response->length;
    return *ret_size == UINT64_MAX ? -ENODATA : 0;
}

static int ask_size(struct im_http *http, const char *url, const struct im_fetch_rules *rules,
                    struct im_http_response *response, uint64_t *ret_size, struct im_error *err)
{
    struct im_http_request request = { .method = "HEAD", .url = url };
    struct im_error why = { 0 };
    int r = im_fetch_exchange(http, &request, rules, WHAT, response, &why);
    char shown[256];

    *ret_size = response->length;
    if (r == 0 && *ret_size != UINT64_MAX)
        return 0;
    if (r < 0 && r != -EACCES) /* -EACCES: 403, 405, 501 … to HEAD; GET may be allowed */
        return give(err, &why, r);
    im_http_response_done(response);
    r = ask_by_range(http, url, rules, response, ret_size, err);
    if (r == -ENODATA)
        return im_fail_code(err, EACCES, "SizeUnknown",
                            "the server of %s does not tell the size; download the image first",
                            im_text_url(shown, sizeof(shown), url));
    return r;
}

static int open_sized(const char *url, uint64_t size, const char *etag,
                      struct im_source **ret_source, struct im_error *err)
{
    const struct im_piece piece = { .url = url, .len = size, .etag = etag };
    const struct im_parts_options options = { .what = WHAT };
    char shown[1024];

    return im_parts_open(im_text_url(shown, sizeof(shown), url), &piece, size > 0 ? 1 : 0, &options,
                         ret_source, err);
}

static void free_http(struct im_http **http)
{
    im_http_free(*http);
}

static int open_here(const char *spec, struct im_source **ret_source, struct im_error *err)
{
    struct im_http *http IM_CLEANUP(free_http) = im_http_new();
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    atomic_int budget = IM_FETCH_BUDGET;
    const struct im_fetch_rules rules = { .cancel = &im_cancelled, .budget = &budget };
    uint64_t size;
    int r;

    if (!http)
        return im_fail(err, ENOMEM, "out of memory");
    r = ask_size(http, spec, &rules, &response, &size, err);
    return r < 0 ? r : open_sized(spec, size, response.etag, ret_source, err);
}

static int http_prepare(const char *spec, struct im_error *err)
{
    return im_served_prepare(open_here, spec, err);
}

static int http_open(const char *spec, struct im_source **ret_source, struct im_error *err)
{
    return im_served_open(open_here, spec, ret_source, err);
}

const struct im_source_type im_source_http = {
    .name = "http",
    .summary = "http(s)://…: a web server that tells sizes and knows ranges",
    .accepts = http_accepts,
    .prepare = http_prepare,
    .open = http_open,
};

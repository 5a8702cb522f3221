/* canonical - a request's headers and V4's canonical request, as both sides of every signature need
 * them.
 *
 * "Create a canonical request" of the AWS General Reference; where clients differ, the reading that
 * satisfies all of them is noted.  Nothing here knows a key. */

#include <config.h>

#include "aws/canonical.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/http.h"

const char *im_signable_header(const struct im_signable *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (strcasecmp(request->headers[i].name, name) == 0)
            return request->headers[i].value;
    return NULL;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char *lower_case(const char *text)
{
    char *copy = strdup(text);

    for (char *p = copy; p && *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return copy;
}

int im_signable_names(const struct im_signable *request, const char *prefix, struct im_buffer *out)
{
    char *names[IM_SIGNABLE_HEADERS_MAX];
    size_t count = 0;
    int r = 0;

    if (request->header_count > IM_SIGNABLE_HEADERS_MAX)
        return -EFBIG;
    for (size_t i = 0; i < request->header_count && r == 0; i++) {
        const char *name = request->headers[i].name;

        if (strncasecmp(name, prefix, strlen(prefix)) != 0 ||
            strcasecmp(name, "authorization") == 0)
            continue;
        names[count] = lower_case(name);
        r = names[count] ? 0 : -ENOMEM;
        count += r == 0;
    }
    qsort(names, count, sizeof(names[0]), compare_text);
    for (size_t i = 0; i < count; i++)
        if (r == 0 && (i == 0 || strcmp(names[i], names[i - 1]) != 0))
            r = im_buffer_printf(out, "%s%s", i > 0 ? ";" : "", names[i]);
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    return r;
}

/* Append a value without outer blanks.  A run of blanks becomes one when it folds a line (RFC 9112
 * section 5.2) or squeeze is set. */
static int add_value(struct im_buffer *out, const char *value, bool squeeze)
{
    static const char blanks[] = " \t\r\n";
    int r = 0;

    value += strspn(value, blanks);
    while (*value && r == 0) {
        size_t word = strcspn(value, blanks);
        size_t gap = strspn(value + word, blanks);
        size_t fold = strcspn(value + word, "\r\n");

        r = im_buffer_add(out, value, word);
        if (r == 0 && value[word + gap])
            r = squeeze || fold < gap ? im_buffer_puts(out, " ")
                                      : im_buffer_add(out, value + word, gap);
        value += word + gap;
    }
    return r;
}

int im_signable_line(const struct im_signable *request, const char *name, bool squeeze,
                     struct im_buffer *out)
{
    const char *before = name;
    int r = 0;

    for (size_t i = 0; i < request->header_count && r == 0; i++) {
        if (strcasecmp(request->headers[i].name, name) != 0)
            continue;
        if (before == name)
            r = im_buffer_printf(out, "%s:", name);
        else
            r = im_buffer_puts(out, ",");
        before = NULL;
        if (r == 0)
            r = add_value(out, request->headers[i].value, squeeze);
    }
    if (r == 0)
        r = before ? -ENOENT : im_buffer_puts(out, "\n");
    return r;
}

bool im_signable_is_listed(const char *list, const char *name)
{
    size_t len = strlen(name);

    for (;;) {
        size_t n = strcspn(list, ";");

        if (n == len && strncasecmp(list, name, len) == 0)
            return true;
        if (!list[n])
            return false;
        list += n + 1;
    }
}

/* "/a//./b/../c/" to "/a/c/" (RFC 3986 section 6.2.2.3, and no empty segments); for all but S3. */
static int normalise_path(const char *path, struct im_buffer *out)
{
    bool slash_at_end = *path && path[strlen(path) - 1] == '/';
    int r = 0;

    while (*path && r == 0) {
        size_t n = strcspn(path, "/");

        if (n == 2 && strncmp(path, "..", 2) == 0) {
            while (out->len > 0 && out->data[--out->len] != '/')
                ;
        } else if (n > 0 && !(n == 1 && *path == '.')) {
            r = im_buffer_puts(out, "/");
            if (r == 0)
                r = im_buffer_add(out, path, n);
        }
        path += n + (path[n] == '/');
    }
    if (r == 0 && (slash_at_end || out->len == 0))
        r = im_buffer_puts(out, "/");
    return r;
}

static int add_path(const struct im_signable *request, struct im_buffer *out, struct im_error *err)
{
    struct im_buffer normal IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);
    char *decoded IM_FREE
    = NULL;
    size_t len;
    int r;

    if (!request->s3) {
        r = normalise_path(request->path, &normal);
        return r < 0 ? r : im_url_encode(out, normal.data, normal.len, true);
    }
    /* Sent encoded in many ways ("%7E", raw '+'); signed in one. */
    decoded = malloc(strlen(request->path) + 1);
    if (!decoded)
        return -ENOMEM;
    if (im_percent_decode(request->path, strlen(request->path), false, decoded, &len) < 0)
        return im_fail_code(err, EINVAL, "InvalidURI",
                            "the path holds a '%%' without two hexadecimal digits after it");
    return im_url_encode(out, len > 0 ? decoded : "/", len > 0 ? len : 1, true);
}

struct pair {
    char *name, *value; /* encoded */
};

/* Names first, then values: "Param" before "Param-3", though '-' sorts before '='. */
static int compare_pairs(const void *a, const void *b)
{
    const struct pair *left = a, *right = b;
    int order = strcmp(left->name, right->name);

    return order ? order : strcmp(left->value, right->value);
}

static char *encoded(const char *text)
{
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(IM_CANONICAL_MAX);

    return im_url_encode(&out, text, strlen(text), false) < 0 ? NULL : im_buffer_steal(&out);
}

static bool is_signed_param(const char *name, const struct im_sigv4_reading *reading)
{
    return strcmp(name, "X-Amz-Signature") != 0 &&
           !(reading->without_token && strcmp(name, "X-Amz-Security-Token") == 0);
}

static int add_query(const struct im_query *query, const struct im_sigv4_reading *reading,
                     struct im_buffer *out)
{
    struct pair *pairs IM_FREE
    = calloc(query->count + 1, sizeof(*pairs));
    size_t count = 0;
    int r = pairs ? 0 : -ENOMEM;

    for (size_t i = 0; i < query->count && r == 0; i++) {
        if (!is_signed_param(query->param[i].name, reading))
            continue;
        pairs[count].name = encoded(query->param[i].name);
        pairs[count].value = encoded(query->param[i].value);
        r = pairs[count].name && pairs[count].value ? 0 : -ENOMEM;
        count++;
    }
    if (r == 0)
        qsort(pairs, count, sizeof(*pairs), compare_pairs);
    for (size_t i = 0; i < count; i++) {
        if (r == 0)
            r = im_buffer_printf(out, "%s%s=%s", i > 0 ? "&" : "", pairs[i].name, pairs[i].value);
        free(pairs[i].name);
        free(pairs[i].value);
    }
    return r;
}

static int add_headers(const struct im_signable *request, const struct im_sigv4_reading *reading,
                       const char *signed_headers, struct im_buffer *out, struct im_error *err)
{
    char *list IM_FREE
    = strdup(signed_headers);
    char *rest = NULL;
    int r = list ? 0 : -ENOMEM;

    for (char *name = r == 0 ? strtok_r(list, ";", &rest) : NULL; name && r == 0;
         name = strtok_r(NULL, ";", &rest)) {
        if (reading->host && strcmp(name, "host") == 0)
            r = im_buffer_printf(out, "host:%s\n", reading->host);
        else
            r = im_signable_line(request, name, true, out);
        if (r == -ENOENT)
            return im_fail_code(err, EACCES, "SignatureDoesNotMatch",
                                "the signature covers the header '%s', which did not arrive", name);
    }
    return r;
}

static const char *payload_of(const struct im_signable *request,
                              const struct im_sigv4_reading *reading, const char *signed_headers)
{
    const char *sent = im_signable_header(request, "x-amz-content-sha256");

    if (reading->payload)
        return reading->payload;
    if (request->s3 && sent && im_signable_is_listed(signed_headers, "x-amz-content-sha256"))
        return sent;
    return request->payload_hash;
}

/* -EFBIG and -ENOMEM of the buffers come without a sentence; it is added at the end. */
int im_sigv4_add_canonical(const struct im_signable *request, const struct im_query *query,
                           const struct im_sigv4_reading *reading, const char *signed_headers,
                           struct im_buffer *out, struct im_error *err)
{
    int r = im_buffer_printf(out, "%s\n", request->method);

    if (r == 0)
        r = add_path(request, out, err);
    if (r == 0)
        r = im_buffer_puts(out, "\n");
    if (r == 0)
        r = add_query(query, reading, out);
    if (r == 0)
        r = im_buffer_puts(out, "\n");
    if (r == 0)
        r = add_headers(request, reading, signed_headers, out, err);
    if (r == 0)
        r = im_buffer_printf(out, "\n%s\n", signed_headers);
    if (r == 0)
        r = add_value(out, payload_of(request, reading, signed_headers), false);
    if (r == -ENOMEM)
        return im_fail(err, ENOMEM, "out of memory");
    if (r == -EFBIG)
        return im_fail_code(err, EFBIG, "InvalidRequest",
                            "path, query and signed headers are above %d bytes", IM_CANONICAL_MAX);
    return r;
}

int im_sigv4_canonical(const struct im_signable *request, const char *signed_headers,
                       struct im_buffer *out, struct im_error *err)
{
    struct im_query query IM_QUERY_DONE = { 0 };
    int r = im_query_parse(request->query, strlen(request->query), &query, err);

    if (r < 0)
        return r;
    return im_sigv4_add_canonical(request, &query, &(struct im_sigv4_reading){ 0 }, signed_headers,
                                  out, err);
}

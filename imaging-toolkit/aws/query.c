/* query - taking apart the name=value lists of query strings and form bodies.
 *
 * What the names mean is the reader's business; writing such lists is base/url.c's. */

#include <config.h>

#include "aws/query.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Value of a hexadecimal digit, -1 for anything else. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int im_percent_decode(const char *text, size_t len, bool plus, char *ret_text, size_t *ret_len)
{
    size_t out = 0;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '%') {
            int high = len - i > 2 ? hex_value(text[i + 1]) : -1;
            int low = len - i > 2 ? hex_value(text[i + 2]) : -1;

            if (high < 0 || low < 0)
                return -EBADMSG;
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        ret_text[out++] = c;
    }
    ret_text[out] = '\0';
    *ret_len = out;
    return 0;
}

/* One side of a pair as a new string. */
static int decode(const char *text, size_t len, char **ret_text, struct im_error *err)
{
    char *decoded = malloc(len + 1);
    size_t n;

    if (!decoded)
        return im_fail(err, ENOMEM, "out of memory");
    *ret_text = decoded; /* the list owns it from here on, whatever happens */
    if (im_percent_decode(text, len, true, decoded, &n) < 0)
        return im_fail_code(err, EBADMSG, "MalformedQueryString",
                            "a parameter holds a '%%' without two hexadecimal digits after it");
    if (memchr(decoded, '\0', n))
        return im_fail_code(err, EBADMSG, "MalformedQueryString", "a parameter holds a NUL byte");
    if (!im_text_is_utf8(decoded, n))
        return im_fail_code(err, EBADMSG, "MalformedQueryString",
                            "a parameter is not valid UTF-8 text");
    return 0;
}

static int add_pair(struct im_query *query, const char *text, size_t len, struct im_error *err)
{
    const char *equals = memchr(text, '=', len);
    size_t name_len = equals ? (size_t)(equals - text) : len;
    size_t value_len = equals ? len - name_len - 1 : 0;
    struct im_param *param = &query->param[query->count++];
    int r;

    param->bare = !equals;
    r = decode(text, name_len, &param->name, err);
    if (r < 0)
        return r;
    return decode(equals ? equals + 1 : "", value_len, &param->value, err);
}

/* Bytes up to the next '&' or the end. */
static size_t piece_len(const char *text, size_t len)
{
    const char *end = len > 0 ? memchr(text, '&', len) : NULL;

    return end ? (size_t)(end - text) : len;
}

static size_t count_pieces(const char *text, size_t len)
{
    size_t count = 0;

    for (size_t at = 0; at < len;) {
        size_t n = piece_len(text + at, len - at);

        count += n > 0;
        at += n + 1;
    }
    return count;
}

int im_query_parse(const char *text, size_t len, struct im_query *ret_query, struct im_error *err)
{
    struct im_query query IM_QUERY_DONE = { 0 };
    size_t count = count_pieces(text, len);
    int r;

    if (count > IM_QUERY_MAX)
        return im_fail_code(err, EFBIG, "MalformedQueryString",
                            "the request holds %zu parameters; the limit is %d", count,
                            IM_QUERY_MAX);
    query.param = calloc(count + 1, sizeof(*query.param)); /* + 1: never an empty allocation */
    if (!query.param)
        return im_fail(err, ENOMEM, "out of memory");

    for (size_t at = 0; at < len;) {
        size_t n = piece_len(text + at, len - at);

        if (n > 0) {
            r = add_pair(&query, text + at, n, err);
            if (r < 0)
                return r;
        }
        at += n + 1;
    }
    *ret_query = query;
    query = (struct im_query){ 0 };
    return 0;
}

const char *im_query_get(const struct im_query *query, const char *name)
{
    for (size_t i = 0; i < query->count; i++)
        if (strcmp(query->param[i].name, name) == 0)
            return query->param[i].value;
    return NULL;
}

void im_query_done(struct im_query *query)
{
    for (size_t i = 0; i < query->count; i++) {
        free(query->param[i].name);
        free(query->param[i].value);
    }
    free(query->param);
    *query = (struct im_query){ 0 };
}

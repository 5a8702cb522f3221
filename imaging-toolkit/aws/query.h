/* query - name=value lists as query strings and form bodies carry them
 * (application/x-www-form-urlencoded: WHATWG URL section 5, RFC 3986 section 2). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Ceiling on parameters in one request: the largest sane request (21 disks, tags) has under 400. */
#define IM_QUERY_MAX 1000

struct im_param {
    char *name;  /* decoded, NUL-terminated */
    char *value; /* decoded; "" for a bare name */
    bool bare;   /* there was no '=' */
};

struct im_query {
    size_t count;
    struct im_param *param; /* in order of arrival */
};

/* Decode `text` (len bytes, without '?').  "+" is a space.  Empty pieces ("a&&b") are skipped.
 * Errors: -EBADMSG code "MalformedQueryString" (bad %XX, NUL, not UTF-8), -EFBIG with the same
 * code (too many), -ENOMEM.  ret_query is untouched on failure; end with im_query_done(). */
int im_query_parse(const char *text, size_t len, struct im_query *ret_query, struct im_error *err);

/* Value of the first parameter called name, or NULL. */
const char *im_query_get(const struct im_query *query, const char *name);

/* Decode the %XX of len bytes into ret_text (len + 1 bytes), "+" to a space when plus;
 * NUL-terminated, *ret_len without the NUL (a decoded %00 counts).  0, or -EBADMSG for a '%'
 * without two digits. */
int im_percent_decode(const char *text, size_t len, bool plus, char *ret_text, size_t *ret_len);

void im_query_done(struct im_query *query);
#define IM_QUERY_DONE __attribute__((cleanup(im_query_done)))

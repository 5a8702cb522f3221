/* canonical - a request's headers and V4's canonical request; shared by the signature files. */
#pragma once

#include <stdbool.h>

#include "aws/query.h"
#include "aws/sigv4.h"
#include "base/buffer.h"
#include "base/error.h"

/* Bytes of a canonical request: three times (percent-encoding) a generous header block. */
#define IM_CANONICAL_MAX (256 * 1024)

/* Value of the first header called name (any case), or NULL. */
const char *im_signable_header(const struct im_signable *request, const char *name);

/* Lower-case names of the headers that begin with prefix ("" for all) except Authorization: sorted,
 * each once, joined with ';', appended to out.  Errors: -EFBIG (more than IM_SIGNABLE_HEADERS_MAX
 * headers, or above out's ceiling), -ENOMEM. */
int im_signable_names(const struct im_signable *request, const char *prefix, struct im_buffer *out);

/* Append "name:value\n": the values of all headers of that name in order of arrival, joined with
 * ",", without outer blanks, line folds as one blank; squeeze turns every run of blanks into one.
 * Errors: -ENOENT (no such header), -EFBIG, -ENOMEM. */
int im_signable_line(const struct im_signable *request, const char *name, bool squeeze,
                     struct im_buffer *out);

/* True when name (any case) is one of a list joined with ';'. */
bool im_signable_is_listed(const char *list, const char *name);

/* What may differ between two readings of one request; zeros mean "as it is". */
struct im_sigv4_reading {
    const char *host;    /* in place of Host's value */
    const char *payload; /* in place of the payload hash */
    bool without_token;  /* X-Amz-Security-Token was put into the query after signing */
};

/* As im_sigv4_canonical(), of a query already taken apart and in one reading. */
int im_sigv4_add_canonical(const struct im_signable *request, const struct im_query *query,
                           const struct im_sigv4_reading *reading, const char *signed_headers,
                           struct im_buffer *out, struct im_error *err);

/* fuzz-request - an HTTP request as bytes, for targets that look at signatures. */
#pragma once

#include <stdbool.h>

#include "aws/sigv4.h"
#include "base/crypto.h"

/* Headers of a request: all that are taken, and those that a target adds. */
#define FUZZ_HEADERS_ADDED 8
#define FUZZ_HEADERS_MAX   (IM_SIGNABLE_HEADERS_MAX + FUZZ_HEADERS_ADDED)

struct fuzz_request {
    struct im_signable request; /* points into the two below */
    struct im_header header[FUZZ_HEADERS_MAX];
    char hash[2 * IM_HASH_MAX + 1]; /* of the body: request.payload_hash */
};

/* Take `text` ("METHOD /path?query", header lines, an empty line, a body) apart in its place, which
 * *ret_message then points into; false: it is no request. */
bool fuzz_request_read(char *text, struct fuzz_request *ret_message);

/* Add a header, one of FUZZ_HEADERS_ADDED. */
void fuzz_request_add(struct fuzz_request *message, const char *name, const char *value);

/* The request without the headers that are part of a signature, or that may be there once. */
void fuzz_request_unsigned(const struct fuzz_request *message, struct fuzz_request *ret_copy);

/* The pieces of a list joined with '&', the last first; the caller frees it. */
char *fuzz_turned(const char *list);

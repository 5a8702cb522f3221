/* sign - the headers of a signed request: version 4, or version 2 for object stores that know
 * nothing newer. */
#pragma once

#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "aws/sigv4.h"

#include "client.h"

/* Host, date, payload, token, type, MD5, Authorization: seven are ever made. */
#define EUCA_HEADERS_MAX 8

/* The headers, and what they point to. */
struct euca_signature {
    size_t count;
    struct im_header header[EUCA_HEADERS_MAX];
    char *line[EUCA_HEADERS_MAX + 1]; /* "Name: value", NULL-terminated */
    char date[32];
    char sha256[65];
    char md5[32]; /* base64 */
    char *host;
    char *path;
    struct im_buffer authorization;
};
#define EUCA_SIGNATURE_DONE __attribute__((cleanup(euca_signature_done)))
void euca_signature_done(struct euca_signature *signature);

/* Make all headers of a request to `url`, which is the endpoint's and the request's.  The caller
 * ends ret_signature also after a failure. */
int euca_sign(const struct euca_endpoint *endpoint, const struct euca_request *request,
              const char *url, struct euca_signature *ret_signature, struct im_error *err);

/* The key that an endpoint's requests are signed with; points into the endpoint. */
struct im_sigv4_key euca_signer(const struct euca_endpoint *endpoint);

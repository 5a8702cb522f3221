/* s3v2 - the older S3 signature ("Authorization: AWS AKID:signature" and presigned
 * AWSAccessKeyId/Expires/Signature), HMAC-SHA1: what stock euca2ools and boto 2 send; verified, and
 * made for object stores that know nothing newer. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "aws/sigv4.h"

struct im_s3v2_claim {
    char access_key[129];
    char signature[65]; /* base64 */
    char token[4097];   /* x-amz-security-token, "" when absent */
    bool presigned;
    int64_t expires; /* of a presigned request: seconds since 1970 */
};

/* True when the request carries such a signature. */
bool im_s3v2_present(const struct im_signable *request);

/* Read the claim; code "InvalidArgument" or "AccessDenied" on failure. */
int im_s3v2_parse(const struct im_signable *request, struct im_s3v2_claim *ret_claim,
                  struct im_error *err);

/* Check.  `resource` is the path as signed ("/bucket/key", raw); a bucket alone is tried with and
 * without a slash at its end.  Codes: "SignatureDoesNotMatch", "RequestTimeTooSkewed",
 * "AccessDenied" (expired, or no date). */
int im_s3v2_verify(const struct im_signable *request, const char *resource,
                   const struct im_s3v2_claim *claim, const char *secret_key, int64_t now_ms,
                   struct im_error *err);

/* The string to sign, for tests.  Appended to out; 0, or -EBADMSG (query), -EFBIG, -ENOMEM. */
int im_s3v2_string_to_sign(const struct im_signable *request, const char *resource, bool presigned,
                           struct im_buffer *out);

/* The value of an Authorization header for a request whose headers are complete (Date, and a
 * session token's X-Amz-Security-Token, among them); of the key, region and service are not looked
 * at. `resource` as above.  Appended to out; untouched on failure. */
int im_s3v2_authorization(const struct im_signable *request, const char *resource,
                          const struct im_sigv4_key *key, struct im_buffer *out,
                          struct im_error *err);

/* A presigned URL: method, absolute URL without a query, the resource it is, and the second since
 * 1970 until which it is valid.  Appended to out; untouched on failure. */
int im_s3v2_presign(const char *method, const char *url, const char *resource,
                    const struct im_sigv4_key *key, int64_t expires, struct im_buffer *out,
                    struct im_error *err);

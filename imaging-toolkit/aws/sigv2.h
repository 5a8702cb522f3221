/* sigv2 - AWS Signature Version 2 of query APIs: parameters that are signed themselves, in the
 * query of a GET or the form of a POST.
 *
 * "Signature Version 2 signing process" of the AWS General Reference.  Only verified, never made:
 * everything of ours signs with Version 4.  S3's older signature is another one (s3v2.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "aws/query.h"
#include "aws/sigv4.h"
#include "base/buffer.h"
#include "base/crypto.h"
#include "base/error.h"

struct im_sigv2_claim {
    char access_key[129];
    char signature[65]; /* base64 */
    char token[4097];   /* SecurityToken, "" when absent or empty */
    enum im_hash hash;  /* of the HMAC: IM_SHA256 or IM_SHA1 */
    bool expires;       /* time_ms is the end of the request's life, not its date */
    int64_t time_ms;    /* since 1970 */
};

/* True when the parameters hold one of those that only this signature has. */
bool im_sigv2_present(const struct im_query *params);

/* Read the claim.  Codes: "MissingParameter", "InvalidParameterValue" (version, method, time, one
 * of the signature's parameters twice or too long), "InvalidParameterCombination" (Timestamp and
 * Expires); number EINVAL. */
int im_sigv2_parse(const struct im_query *params, struct im_sigv2_claim *ret_claim,
                   struct im_error *err);

/* Check the claim about request (method, path and headers) and its parameters against the secret
 * and the clock.  Host is tried as sent, without its port, and with the ports of http and https
 * when it has none.  Codes: "SignatureDoesNotMatch", "RequestExpired", "IncompleteSignature" (no
 * Host); EACCES or EINVAL. */
int im_sigv2_verify(const struct im_signable *request, const struct im_query *params,
                    const struct im_sigv2_claim *claim, const char *secret_key, int64_t now_ms,
                    struct im_error *err);

/* The string to sign, for tests and as the base of the above: method, host in lower case, path ("/"
 * when it is empty), and all parameters but Signature, sorted by the bytes of name and value.
 * Appended to out; 0, -EFBIG, -ENOMEM. */
int im_sigv2_string_to_sign(const char *method, const char *host, const char *path,
                            const struct im_query *params, struct im_buffer *out);

/* sigv4 - AWS Signature Version 4: sign, presign, verify.  One canonicaliser for both sides.
 *
 * "Signature Version 4 signing process" of the AWS General Reference; the choices where clients
 * differ are noted beside the code. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

#define IM_EMPTY_SHA256     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define IM_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"

/* Presigned URLs live seven days at most. */
#define IM_SIGV4_EXPIRES_MAX 604800

/* Bytes of a secret key; AWS's have 40, Eucalyptus's too. */
#define IM_SECRET_MAX 128

/* Clocks may differ by fifteen minutes. */
#define IM_SIGV4_SKEW_MS (15 * 60 * 1000)

/* AWS's sentence to SignatureDoesNotMatch. */
#define IM_SIGNATURE_MISMATCH                                                                      \
    "The request signature we calculated does not match the signature you provided. Check your "   \
    "AWS Secret Access Key and signing method. Consult the service documentation for details."

struct im_header {
    const char *name;  /* as sent, any case */
    const char *value; /* as sent */
};

/* Headers of one request that are looked at; clients send under 30, and the HTTP layer's own limit
 * on the header block is reached long before. */
#define IM_SIGNABLE_HEADERS_MAX 200

/* A request as it is on the wire. */
struct im_signable {
    const char *method;
    const char *path;  /* raw, without the query, "/" at least */
    const char *query; /* raw, without '?', "" when there is none */
    const struct im_header *headers;
    size_t header_count;
    const char *payload_hash; /* lower-case hex SHA-256 of the body, or IM_UNSIGNED_PAYLOAD */
    bool s3;                  /* S3 rules: the path is neither normalised nor encoded again */
};

/* What a request claims about its signature; every string is bounded and NUL-terminated. */
struct im_sigv4_claim {
    char access_key[129];
    char date[17];   /* "20261121T004142Z" */
    char day[9];     /* of the scope: "20261121" */
    char region[65]; /* of the scope, whatever the client put there */
    char service[65];
    char signed_headers[1025]; /* "content-type;host;x-amz-date" */
    char signature[65];
    char token[4097];   /* session token, "" when absent */
    bool presigned;     /* by query parameters */
    uint64_t expires_s; /* of a presigned request */
};

struct im_sigv4_key {
    const char *access_key;
    const char *secret_key;
    const char *token; /* session token or NULL */
    const char *region;
    const char *service; /* "ec2", "s3" */
};

/* True when the request carries a V4 signature, in the header or in the query. */
bool im_sigv4_present(const struct im_signable *request);

/* Read the claim.  Errors carry the code for the client: "IncompleteSignature" (also for two kinds
 * of signature in one request), "InvalidParameterValue", "MalformedQueryString"; number EINVAL,
 * EBADMSG or EFBIG. */
int im_sigv4_parse(const struct im_signable *request, struct im_sigv4_claim *ret_claim,
                   struct im_error *err);

/* Check the claim against the secret and the clock (ms since 1970).  Tried until one matches: Host
 * as sent and without its port; for a presigned request the session token inside and outside the
 * signed query; for a presigned S3 request UNSIGNED-PAYLOAD and the real hash.  A wrong signature
 * costs all of them, so verifying against a made-up secret takes as long as against a real one. A
 * signed X-Amz-Content-SHA256 stands for the body of an S3 request: the caller still has to compare
 * it with the bytes that arrive.  Errors (EACCES, or EINVAL for a malformed request): codes
 * "SignatureDoesNotMatch", "RequestExpired", "IncompleteSignature" (host or an x-amz-* header left
 * out of SignedHeaders, scope day unlike the date), "InvalidRequest" (a payload kind that is not
 * taken), "InvalidURI". */
int im_sigv4_verify(const struct im_signable *request, const struct im_sigv4_claim *claim,
                    const char *secret_key, int64_t now_ms, struct im_error *err);

/* The canonical request for a list of signed headers ("host;x-amz-date"), without X-Amz-Signature
 * of the query; its last line is a signed X-Amz-Content-SHA256 for S3, else payload_hash.  Appended
 * to out.  For tests, and the base of everything above. */
int im_sigv4_canonical(const struct im_signable *request, const char *signed_headers,
                       struct im_buffer *out, struct im_error *err);

/* The string to sign of a canonical request; date as in im_sigv4_claim, its first eight characters
 * are the scope's day.  Appended to out; 0 or as im_buffer_add. */
int im_sigv4_string_to_sign(const char *canonical, const char *date, const char *region,
                            const char *service, struct im_buffer *out);

/* The signature of a string to sign: 64 hexadecimal digits and a NUL.  0, or -EINVAL for a secret
 * above IM_SECRET_MAX bytes. */
int im_sigv4_signature(const char *secret_key, const char *date, const char *region,
                       const char *service, const char *string_to_sign, char ret_signature[65]);

/* The value of an Authorization header for a request whose headers are complete (Host, X-Amz-Date
 * and a session token's X-Amz-Security-Token among them); all of them are signed.  date is the
 * value of X-Amz-Date.  Appended to out; untouched on failure. */
int im_sigv4_authorization(const struct im_signable *request, const struct im_sigv4_key *key,
                           const char *date, struct im_buffer *out, struct im_error *err);

/* A presigned URL: method and absolute URL (may have a query), valid expires_s seconds from now_ms
 * (1 to IM_SIGV4_EXPIRES_MAX); signs only Host, without a port that is the scheme's own, as HTTP
 * clients send it.  Payload UNSIGNED-PAYLOAD for service "s3", an empty body for any other.
 * Appended to out; untouched on failure. */
int im_sigv4_presign(const char *method, const char *url, const struct im_sigv4_key *key,
                     int64_t now_ms, uint64_t expires_s, struct im_buffer *out,
                     struct im_error *err);

/* "20261121T004142Z" into buf (at least 17 bytes); returns buf. */
const char *im_sigv4_date(char *buf, size_t size, int64_t ms);

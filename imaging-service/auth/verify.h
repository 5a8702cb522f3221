/* verify - whose request is this, and is it what they signed?
 *
 * Failures carry the code the client is to see in err->code; for a key that does not exist the same
 * work is done as for one that does. */
#pragma once

#include <stdint.h>

#include "auth/keys.h"
#include "aws/query.h"
#include "aws/sigv4.h"

/* A request to the EC2 query API: Signature Version 4 in the Authorization header or in the query, or
 * Version 2 in its parameters.  request has no payload_hash yet; body, len bytes, is hashed here.
 * params are the decoded parameters, NULL when they could not be decoded.
 * 0 and *ret_account (lives as long as keys); else the codes of ec2-import-export: AuthFailure,
 * SignatureDoesNotMatch, RequestExpired, IncompleteSignature, MissingParameter, InvalidRequest,
 * InvalidParameterValue. */
int svc_verify_api(const struct svc_keys *keys, const struct im_signable *request,
                   const struct im_query *params, const void *body, size_t len, int64_t now_ms,
                   const char **ret_account, struct im_error *err);

/* A request to the object store: V4 in header or query, V2 in header or query, checked from the
 * headers alone.  prefix ("/objects") is the part of the path a V2 client may leave out.
 * 0, *ret_account, and in ret_payload (65 bytes) the hash the body must have, "" when none was
 * promised; else S3's codes. */
int svc_verify_object(const struct svc_keys *keys, const struct im_signable *request,
                      const char *prefix, int64_t now_ms, const char **ret_account,
                      char *ret_payload, struct im_error *err);

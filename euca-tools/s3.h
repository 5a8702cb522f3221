/* s3 - names of objects and the few questions about buckets; path style only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/http.h"

#include "credentials.h"

/* Bytes of a key: S3's limit. */
#define EUCA_KEY_MAX 1024

/* Is it a bucket's name: 1-255 letters, digits, '.', '-', '_'? */
bool euca_s3_bucket_is_valid(const char *bucket);

/* "/bucket/key", percent-encoded, as a new string; key may be NULL.  NULL when out of memory. */
char *euca_s3_path(const char *bucket, const char *key);

/* Seconds that URLs presigned for `days` are valid; 0 days: the default.  Version 4 has a limit of
 * 7 days, which is its default, too; a warning tells when that is less than was asked for.  Version
 * 2 has none, and the historical default of 30 days. */
uint64_t euca_s3_expires_s(const char *program, const struct euca_endpoint *s3, uint64_t days);

/* When a presigned URL of either version expires, in ms since 1970; INT64_MAX when it does not say.
 */
int64_t euca_s3_expiry_ms(const char *url);

/* Presigned URL of an object, valid expires_s seconds from now_ms, for whoever has it: nothing but
 * Host is signed.  New string in *ret_url. */
int euca_s3_presign(const struct euca_endpoint *s3, const char *method, const char *bucket,
                    const char *key, int64_t now_ms, uint64_t expires_s, char **ret_url,
                    struct im_error *err);

/* See that the bucket may be used; one that is not there is made, at the endpoint's location, or
 * without `make` left to be made.  Errors: -EREMOTEIO with the server's words, and what they mean
 * when the bucket belongs to somebody else. */
int euca_s3_ensure_bucket(const struct euca_endpoint *s3, const char *bucket, bool make,
                          struct im_error *err);

/* Bucket and key of an object's URL (its query is not looked at), as new strings, and the endpoint
 * that it is below: s3 or, which lives as long, one of its others.  Errors: -EINVAL when it is
 * below none of them. */
int euca_s3_locate(const struct euca_endpoint *s3, const char *url,
                   const struct euca_endpoint **ret_store, char **ret_bucket, char **ret_key,
                   struct im_error *err);

/* Delete an object; that it is not there is no error.  Ends with -ECANCELED when *cancel becomes
 * true; NULL: euca_interrupted. */
int euca_s3_delete(struct im_http *http, const struct euca_endpoint *s3, const char *bucket,
                   const char *key, const volatile bool *cancel, struct im_error *err);

/* s3 - names of objects and the few questions about buckets; path style only. */
#pragma once

#include <stdint.h>

#include "base/error.h"

#include "credentials.h"

/* Bytes of a key: S3's limit. */
#define EUCA_KEY_MAX 1024

/* Is it a bucket's name: 1-255 letters, digits, '.', '-', '_'? */
bool euca_s3_bucket_is_valid(const char *bucket);

/* "/bucket/key", percent-encoded, as a new string; key may be NULL.  NULL when out of memory. */
char *euca_s3_path(const char *bucket, const char *key);

/* Presigned URL of an object, valid expires_s seconds from now_ms; new string in *ret_url. */
int euca_s3_presign(const struct euca_endpoint *s3, const char *method, const char *bucket,
                    const char *key, int64_t now_ms, uint64_t expires_s, char **ret_url,
                    struct im_error *err);

/* Make the bucket unless it is there. */
int euca_s3_ensure_bucket(const struct euca_endpoint *s3, const char *bucket, struct im_error *err);

/* Bucket and key of an object's URL (its query is not looked at), as new strings.  Errors: -EINVAL
 * when it is not below the endpoint. */
int euca_s3_locate(const struct euca_endpoint *s3, const char *url, char **ret_bucket,
                   char **ret_key, struct im_error *err);

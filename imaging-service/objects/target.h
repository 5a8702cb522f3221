/* target - what the path and headers of an object request mean; pure functions. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "objects/store.h"

/* Where the object store begins. */
#define SVC_OBJECTS_PATH "/objects"

struct svc_target {
    char bucket[SVC_BUCKET_MAX + 1]; /* "" : the service */
    char key[SVC_KEY_MAX + 1];       /* "" : the bucket */
};

/* Read the raw path, which begins with SVC_OBJECTS_PATH.  The key is everything behind the bucket's
 * slash, percent-decoded and otherwise untouched: double slashes and dots are part of it.
 * Codes: InvalidURI, InvalidBucketName, KeyTooLongError. */
int svc_target_parse(const char *path, struct svc_target *ret_target, struct im_error *err);

/* Read a Range header for an object of size bytes (RFC 9110, section 14).  1 and the range; 0 when
 * the whole object is to be sent (no header, several ranges, or not understood); -ERANGE when it
 * begins behind the end. */
int svc_range_parse(const char *range, uint64_t size, uint64_t *ret_offset, uint64_t *ret_length);

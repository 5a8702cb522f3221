/* manifest - the import manifest of an upload: read from the bucket, made, made anew. */
#pragma once

#include <stddef.h>

#include "aws/manifest.h"
#include "base/error.h"
#include "base/http.h"

#include "credentials.h"
#include "upload.h"

/* Bytes of a manifest that is made here, unless somebody asked for the size of its parts: what
 * Eucalyptus reads (its max_manifest_size). */
#define EUCA_MANIFEST_MAX (5u * 1024 * 1024)

/* Bytes at the beginning of a manifest's key that those of its parts share, with a '/' behind: the
 * parts are beside the manifest, or below it when its key has no slash. */
size_t euca_manifest_directory(const char *key);

/* Read the manifest of that key.  Whoever can write to the bucket can write a manifest, and the one
 * who follows it may be allowed more: so only parts are taken that an upload can have made, in the
 * directory of the manifest or below it.  Errors: -ENOENT when there is none, -ENXIO when its
 * bucket is not there, -EBADMSG when it is none, those of the network and the server. */
int euca_manifest_get(struct im_http *http, const struct euca_endpoint *s3, const char *bucket,
                      const char *key, unsigned tries, struct im_manifest **ret_manifest,
                      struct im_error *err);

/* The same for the upload's own, which must be of a file of this size (code EUCA_USAGE). */
int euca_manifest_find(struct im_http *http, const struct euca_upload *upload,
                       struct im_manifest **ret_manifest, struct im_error *err);

/* Make the manifest of an upload, and write it: it goes before the parts, so that whoever looks
 * knows what is still to come. */
int euca_manifest_make(struct im_http *http, const struct euca_upload *upload,
                       struct im_manifest **ret_manifest, struct im_error *err);

/* URLs made anew, under the same keys, and written, where they have less left than a day, or
 * than half of the upload's expires_s when that is shorter. */
int euca_manifest_renew(struct im_http *http, const struct euca_upload *upload,
                        struct im_manifest *manifest, struct im_error *err);

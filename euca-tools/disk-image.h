/* disk-image - what an upload left in the object store: an import manifest and the parts it names.
 */
#pragma once

#include "aws/manifest.h"
#include "base/error.h"

#include "credentials.h"

struct euca_disk_image {
    const struct euca_endpoint *s3; /* where it is; the caller's */
    char *bucket;
    char *key; /* of the manifest */
    struct im_manifest *manifest;
};

/* Read the manifest at `url`, whose query is not looked at, and prove that all it names may be
 * deleted: a part lies in the directory of the manifest, or below it.  s3 must outlive the image.
 * Errors: -ENOENT code EUCA_USAGE when there is no manifest; -EINVAL when the URL is below no known
 * endpoint; -EBADMSG for what is wrong with the manifest; of the network and the server. */
int euca_disk_image_find(const struct euca_endpoint *s3, const char *url,
                         struct euca_disk_image *ret_image, struct im_error *err);

/* Delete all parts, several at a time, and then the manifest: whatever comes between, the same can
 * be done again.  What is gone already is no error.  -ECANCELED when interrupted, else of the
 * network and the server. */
int euca_disk_image_delete(const struct euca_disk_image *image, struct im_error *err);

void euca_disk_image_done(struct euca_disk_image *image);
#define EUCA_DISK_IMAGE_DONE __attribute__((cleanup(euca_disk_image_done)))

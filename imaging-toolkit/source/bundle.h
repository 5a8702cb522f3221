/* bundle - the image in an encrypted bundle as a source: decrypted, inflated and taken out of its
 * tar file as it is read, forwards only.
 *
 * The parts' digests are proven before their bytes are used, that of the tar file at the end. */
#pragma once

#include "aws/bundle.h"
#include "core/source.h"

/* What opens a bundle; all but manifest and key may be NULL or 0. */
struct im_bundle_keys {
    const char *manifest;      /* path or URL; the parts are beside it */
    const char *key;           /* PEM file of the reader's private key */
    const char *certificate;   /* PEM file of the signer's certificate; NULL: the signature is not
                                  looked at, whoever may write the manifest is trusted */
    enum im_bundle_for reader; /* who the key belongs to */
};

/* Read the manifest and open the bundle; the source's size is the image's.
 * Errors: -EBADMSG codes "InvalidManifest", "BadSignature", "WrongKey", "DamagedPart",
 * "SizeMismatch", "DamagedImage"; -EOPNOTSUPP "BadBundle": the tar file holds something else than
 * one regular file; those of files and of the network. */
int im_bundle_source(const struct im_bundle_keys *keys, struct im_source **ret_source,
                     struct im_error *err);

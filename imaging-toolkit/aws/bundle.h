/* bundle - manifests of encrypted bundles: what they hold, their signature, the key in them.
 *
 * There are two kinds.  The manifest beside a bundle (version 2007-10-10) names its parts, and has
 * the key sealed for the user and for the cloud.  A download manifest (version 2014-01-14,
 * file-format BUNDLE), made for one consumer, has URLs of the parts and the key sealed for the
 * consumer.  The parts, one after the other, are AES-128-CBC of gzip of a tar file with one member.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/crypto.h"
#include "base/error.h"
#include "base/rsa.h"

/* Bytes of a manifest that is still read, and parts in it. */
#define IM_BUNDLE_MANIFEST_MAX (8u * 1024 * 1024)
#define IM_BUNDLE_PARTS_MAX    20000

/* Bytes of one part: those of all tools have 10 MiB; a few are in memory at once. */
#define IM_BUNDLE_PART_MAX (32u * 1024 * 1024)

#define IM_BUNDLE_SHA1 20

struct im_bundle_part {
    char *name; /* of a file beside the manifest, a plain name; or an http(s) URL */
    uint8_t sha1[IM_BUNDLE_SHA1];
};

/* What was sealed for somebody by RSA. */
struct im_bundle_sealed {
    uint8_t data[IM_RSA_MAX];
    size_t len; /* 0: there is none */
};

enum im_bundle_for { IM_BUNDLE_USER, IM_BUNDLE_CLOUD, IM_BUNDLE_READERS };

struct im_bundle {
    bool download; /* a download manifest: parts are URLs, the key is IM_BUNDLE_USER's */
    char *name, *arch, *user, *kernel, *ramdisk; /* NULL: not said */
    uint64_t size;                               /* of the image */
    uint64_t bundled_size;                       /* of all parts together */
    bool has_digest;                             /* download manifests have none */
    uint8_t digest[IM_BUNDLE_SHA1];              /* of the tar file */
    struct im_bundle_sealed key[IM_BUNDLE_READERS], vector[IM_BUNDLE_READERS];
    size_t part_count;
    struct im_bundle_part *part;
    char
        *is_signed; /* the bytes the signature is of; NULL: not laid out so that they can be told */
    size_t signed_len;
    struct im_bundle_sealed signature; /* len 0: none, or "UNSIGNED" */
};

/* Parse and prove: no DOCTYPE, comment or CDATA, depth and sizes bounded, count = number of parts,
 * indexes 0…n-1 each once, names plain and each once, sizes that fit each other.
 * Errors: -EBADMSG code "InvalidManifest", with element and value. */
int im_bundle_parse(const char *xml, size_t len, struct im_bundle **ret_bundle,
                    struct im_error *err);

/* Takes NULL, returns NULL. */
struct im_bundle *im_bundle_free(struct im_bundle *bundle);

/* Is it signed by the key of the certificate?  -EBADMSG code "BadSignature". */
int im_bundle_verify(const struct im_bundle *bundle, const struct im_rsa *certificate,
                     struct im_error *err);

/* The key and the vector of the parts.  When `mine` is another key than they were sealed for, they
 * are random, and what they decrypt makes no sense (see im_rsa_open).  -EBADMSG code "WrongKey":
 * the lengths alone tell that. */
int im_bundle_open_key(const struct im_bundle *bundle, enum im_bundle_for reader,
                       const struct im_rsa *mine, uint8_t ret_key[IM_CBC_KEY],
                       uint8_t ret_vector[IM_CBC_KEY], struct im_error *err);

/* Seal the key and the vector for the holder of a certificate; -EINVAL. */
int im_bundle_seal_key(struct im_bundle *bundle, enum im_bundle_for reader,
                       const struct im_rsa *certificate, const uint8_t key[IM_CBC_KEY],
                       const uint8_t vector[IM_CBC_KEY], struct im_error *err);

/* Text that stands in a written manifest as it is: letters, digits and ._+@:- */
bool im_bundle_is_plain(const char *text);

/* Append the manifest of a bundle, signed by `mine`; all texts must be plain.  -EFBIG, -ENOMEM,
 * -EINVAL: it cannot be signed. */
int im_bundle_write(const struct im_bundle *bundle, const struct im_rsa *mine,
                    struct im_buffer *out, struct im_error *err);

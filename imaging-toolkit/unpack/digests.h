/* digests - the manifest of an OVA (DSP0243, section 5.1): "SHA256(disk.vmdk)= …", a line for each
 * file.  It only reads lines and compares. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/crypto.h"
#include "base/error.h"

/* A line for each of 256 files, with names of 255 bytes. */
#define IM_DIGESTS_MAX (256u << 10)

struct im_digest_list;

/* Read the text.  -EBADMSG code "InvalidOvaManifest": a line that is none, two of one name;
 * -ENOMEM.
 */
int im_digest_list_parse(const char *text, size_t len, struct im_digest_list **ret_list,
                         struct im_error *err);
struct im_digest_list *im_digest_list_free(struct im_digest_list *list);

/* The kind of hash that is listed for `name`; -EBADMSG: none. */
int im_digest_list_kind(const struct im_digest_list *list, const char *name, enum im_hash *ret_hash,
                        struct im_error *err);

/* Compare with the digest found; -EBADMSG code "DigestMismatch" tells both. */
int im_digest_list_check(const struct im_digest_list *list, const char *name, const uint8_t *digest,
                         struct im_error *err);

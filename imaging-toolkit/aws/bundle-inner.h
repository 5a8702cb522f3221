/* bundle-inner - what the files of aws/bundle.h share. */
#pragma once

#include "aws/bundle.h"

/* Hex text into 1 to `room` bytes; -EINVAL. */
int im_bundle_hex(const char *text, uint8_t *ret, size_t room, size_t *ret_len);

/* Is each part named once, and do the sizes fit each other?  -EBADMSG "InvalidManifest". */
int im_bundle_prove(const struct im_bundle *bundle, struct im_error *err);

/* Find in the document the bytes that its signature is of, and keep a copy. */
int im_bundle_find_signed(struct im_bundle *bundle, const char *xml, size_t len,
                          struct im_error *err);

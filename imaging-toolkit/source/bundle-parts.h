/* bundle-parts - the parts of a bundle, one after the other, from beside the manifest or by URLs.
 *
 * A few are read ahead by the threads of source/pool.h.  No byte is given out before the SHA-1 of
 * its part is that of the manifest. */
#pragma once

#include "aws/bundle.h"

struct im_bundle_parts;

/* The parts of `bundle`, which stays the caller's and must outlast this.  `dir` is open on the
 * directory they lie in (taken over, also on failure), or `prefix` is the URL their names follow;
 * for a download manifest neither (-1, NULL).
 * Files are looked at at once: -ENOENT, -EBADMSG "SizeMismatch". */
int im_bundle_parts_open(const struct im_bundle *bundle, int dir, const char *prefix,
                         struct im_bundle_parts **ret_parts, struct im_error *err);

/* The next part, good until the next call; *ret_len is 0 after the last, when all bytes together
 * were as many as the manifest says.  Errors: -EBADMSG "DamagedPart", "SizeMismatch"; im_fetch's;
 * -ECANCELED. */
int im_bundle_parts_next(struct im_bundle_parts *parts, const uint8_t **ret_bytes, size_t *ret_len,
                         struct im_error *err);

/* Takes NULL, returns NULL. */
struct im_bundle_parts *im_bundle_parts_free(struct im_bundle_parts *parts);

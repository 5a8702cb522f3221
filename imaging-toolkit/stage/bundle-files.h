/* bundle-files - the files of a bundle that is written: parts and manifest, all of them or none.
 *
 * They grow in a directory of their own inside the one they are meant for, which nobody else can
 * enter, and are moved out of it at the end, the manifest last. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aws/bundle.h"

/* Bytes of a prefix; "PREFIX.manifest.xml" is a name, and one begins with a dot and has more. */
#define IM_BUNDLE_PREFIX_MAX 200

struct im_bundle_files;

/* Files called PREFIX.part.NN and PREFIX.manifest.xml in the directory `to`; parts have part_size
 * bytes but for the last.  With `force` they may replace others.
 * Errors: -EEXIST "Exists", -ENOENT, -EIO "CannotWrite". */
int im_bundle_files_open(const char *to, const char *prefix, size_t part_size, bool force,
                         struct im_bundle_files **ret_files, struct im_error *err);

/* Append to the parts; each is entered in `bundle` when it is full.  -ENOSPC, -EFBIG: more than
 * IM_BUNDLE_PARTS_MAX parts. */
int im_bundle_files_add(struct im_bundle_files *files, struct im_bundle *bundle, const void *data,
                        size_t len, struct im_error *err);

/* End the last part. */
int im_bundle_files_end(struct im_bundle_files *files, struct im_bundle *bundle,
                        struct im_error *err);

/* Write the manifest and let everything appear.  On failure nothing of it is left, but what `force`
 * was to replace may be gone. */
int im_bundle_files_publish(struct im_bundle_files *files, const struct im_bundle *bundle,
                            const struct im_buffer *manifest, struct im_error *err);

/* What has not been published disappears.  Takes NULL, returns NULL. */
struct im_bundle_files *im_bundle_files_free(struct im_bundle_files *files);

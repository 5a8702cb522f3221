/* verify - the two halves of the command: digests of a manifest, an image through a second reader.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "core/format.h"
#include "core/progress.h"

struct json_t;

/* The volume: a plain disk in a regular file or on a block device. */
struct im_volume {
    const char *name;
    int fd;
    uint64_t size; /* bytes */
};

/* Check the volume against the manifest at `path`: its size, and each digest there.  Adds "digests"
 * to report.  Errors: -ENOENT no manifest, -EBADMSG or -EOPNOTSUPP damaged or from another version,
 * -EKEYREJECTED volume and manifest differ, -EIO, -ECANCELED. */
int im_verify_digests(const struct im_volume *volume, const char *path,
                      struct im_progress *progress, struct json_t *report, struct im_error *err);

/* Check that the volume holds what is in `image` as the second reader finds it, and zeros after it.
 * Adds "against" to report.  Errors: -EKEYREJECTED they differ, those of im_second_reader_open and
 * of opening the image, -EIO, -ECANCELED. */
int im_verify_against(const struct im_volume *volume, const char *image,
                      const struct im_format *format, const struct im_open *options,
                      struct im_progress *progress, struct json_t *report, struct im_error *err);

/* upload - an import manifest and the parts of a file into a bucket. */
#pragma once

#include <stdint.h>

#include "base/error.h"

#include "credentials.h"
#include "image.h"
#include "progress.h"

/* Bytes of a part as all clients make it. */
#define EUCA_PART_SIZE ((uint64_t)10 * 1024 * 1024)

/* Parts of one upload; files that need more get larger parts.  A part is 1.4 to 2 KiB of manifest
 * with its three V4 URLs, so this many stay below IM_MANIFEST_MAX; where they are above what
 * Eucalyptus reads, parts grow further (manifest.c). */
#define EUCA_PARTS_MAX 4000

/* Bytes of a part at most: what S3 takes in one PUT. */
#define EUCA_PART_SIZE_MAX ((uint64_t)5 * 1024 * 1024 * 1024)

struct euca_upload {
    const char *program; /* in front of lines that tell of the progress */
    const struct euca_endpoint *s3;
    const struct euca_image *image;
    const char *bucket;
    const char *manifest_key;
    const char *basename;    /* of the file, for the parts' keys */
    const char *file_format; /* as the task has it */
    uint64_t disk_size;      /* Image.Bytes */
    uint64_t volume_gib;
    uint64_t expires_s; /* of the URLs in the manifest */
    uint64_t part_size; /* bytes, of a manifest that is not there yet; 0: as the file's size asks */
    unsigned uploads;   /* parts at a time, 1 to EUCA_UPLOADS_MAX */
    const struct euca_progress_options *progress_options; /* how euca_upload shows its progress */
    struct euca_progress *progress;                       /* euca_upload's own */
};

/* Bytes of each part but the last of a file: EUCA_PART_SIZE, or the multiple of 1 MiB that keeps
 * the count at EUCA_PARTS_MAX; 0 when the file is too large even so. */
uint64_t euca_upload_part_size(uint64_t file_size);

/* Would euca_upload begin?  A manifest that is there must be of this file; *ret_is_there, which may
 * be NULL, tells whether one is.  Changes nothing; errors as below. */
int euca_upload_check(const struct euca_upload *upload, bool *ret_is_there, struct im_error *err);

/* Write the manifest, then upload all parts.  A manifest that is already there is followed, with
 * URLs made anew where they will not last; a part that is there is compared by size and MD5, and
 * sent again unless both are the file's.  That comes before anything that is missing is sent: when
 * nothing is missing any more, all is the file as it is now.
 * Ends early with -ECANCELED when euca_interrupted becomes true.  Errors: of the network and the
 * server, -ESTALE when the file changes meanwhile, code EUCA_USAGE when it has another size than
 * the manifest tells. */
int euca_upload(const struct euca_upload *upload, struct im_error *err);

/* upload - an import manifest and the parts of a file into a bucket. */
#pragma once

#include <stdint.h>

#include "base/error.h"

#include "credentials.h"
#include "image.h"
#include "progress.h"

/* Bytes of a part as all clients make it, and how many are sent at a time. */
#define EUCA_PART_SIZE ((uint64_t)10 * 1024 * 1024)
#define EUCA_UPLOADS   4

/* Parts of one upload.  A part is about 2 KiB of manifest with its three V4 URLs, so this many
 * stay below IM_MANIFEST_MAX; files that need more get larger parts. */
#define EUCA_PARTS_MAX 4000

/* Bytes of a part at most: what S3 takes in one PUT. */
#define EUCA_PART_SIZE_MAX ((uint64_t)5 * 1024 * 1024 * 1024)

struct euca_upload {
    const struct euca_endpoint *s3;
    const struct euca_image *image;
    const char *bucket;
    const char *manifest_key;
    const char *basename;    /* of the file, for the parts' keys */
    const char *file_format; /* as the task has it */
    uint64_t disk_size;      /* Image.Bytes */
    uint64_t volume_gib;
    uint64_t expires_s; /* of the URLs in the manifest */
    struct euca_progress *progress;
};

/* Bytes of each part but the last of a file: EUCA_PART_SIZE, or the multiple of 1 MiB that keeps
 * the count at EUCA_PARTS_MAX; 0 when the file is too large even so. */
uint64_t euca_upload_part_size(uint64_t file_size);

/* Write the manifest, then upload all parts; a manifest that is already there is followed, and
 * parts that are there with the right size and MD5 are left alone.  Ends early with -ECANCELED when
 * euca_interrupted becomes true.  Errors: of the network and the server, -ESTALE when the file
 * changes meanwhile, code EUCA_USAGE when it has another size than the manifest tells. */
int euca_upload(const struct euca_upload *upload, struct im_error *err);

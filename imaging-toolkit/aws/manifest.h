/* manifest - the VM Import manifest (version 2010-11-15): read, prove, write. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

/* Bytes of a manifest that is still read: more than our clients write (euca-tools/manifest.h), and
 * enough for 39 GiB in parts of 10 MiB with V4 URLs. */
#define IM_MANIFEST_MAX (8u * 1024 * 1024 - 1)

/* Parts in one manifest. */
#define IM_MANIFEST_PARTS_MAX 20000

struct im_manifest_part {
    uint64_t start, end; /* offsets in the uploaded file; end is the last byte's */
    char *key;
    char *head_url, *get_url, *delete_url;
};

struct im_manifest {
    char *file_format;
    char *importer_name, *importer_version;
    char *self_destruct_url;
    uint64_t size;       /* import/size: Image.Bytes as the task has it */
    uint64_t volume_gib; /* import/volume-size */
    uint64_t file_size;  /* of the upload: last end + 1, 0 without parts */
    size_t part_count;
    struct im_manifest_part *part; /* by index, ranges adjoining from 0 */
};

/* Parse and prove: no DOCTYPE, depth and sizes bounded, count = number of parts, indexes 0…n-1 each
 * once, ranges adjoining without gap or overlap, URLs http(s) without user-info.
 * Errors: -EBADMSG code "InvalidManifest", with element and value. */
int im_manifest_parse(const char *xml, size_t len, struct im_manifest **ret_manifest,
                      struct im_error *err);

/* Append the document, two-space indent; the inverse of parse. */
int im_manifest_write(const struct im_manifest *manifest, struct im_buffer *out,
                      struct im_error *err);

/* Takes NULL, returns NULL. */
struct im_manifest *im_manifest_free(struct im_manifest *manifest);

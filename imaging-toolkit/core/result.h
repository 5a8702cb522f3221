/* result - what came of a job, and the manifest that tells it beside the volume. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/store.h"

/* Digests of the result, a set of bits. */
enum {
    IM_DIGEST_FSVERITY = 1u << 0, /* the Merkle tree of fs-verity: SHA-256, blocks of 4 KiB */
    IM_DIGEST_SHA256 = 1u << 1,   /* of all bytes, holes included */
};

struct im_copy_result {
    uint64_t size;          /* bytes of the disk */
    uint64_t file_size;     /* bytes of what was written; of a raw disk the same */
    uint64_t data_bytes;    /* of the disk, that are not known to be zeros */
    uint64_t shared_bytes;  /* of those, shared by reference instead of copied */
    uint64_t scratch_bytes; /* most that were in scratch at once */
    const char *format;     /* of the image, static */
    const char *failed;     /* name of the stage that was at fault, static; NULL: none was */
    const char *boot_mode;  /* as validators found it, static; NULL: none looked */
    bool kept;              /* it failed, and the next one of this kind goes on from where it was */
    unsigned digests;       /* which of the following are there */
    uint8_t fsverity[32];
    uint8_t sha256[32];
};

/* The set of bits a text like "fs-verity,sha256" names ("none": no bit); 0 or -EINVAL. */
int im_digest_parse(const char *text, unsigned *ret_digests, struct im_error *err);

/* The numbers of a result as a new jansson object; NULL when out of memory. */
struct json_t *im_result_json(const struct im_copy_result *result);

/* What else the manifest of a volume tells. */
struct im_manifest_facts {
    const char *volume;        /* path; its base name is told */
    const char *format;        /* of the volume */
    const char *source;        /* as it may be shown: never a secret */
    const char *source_format; /* of the image */
    int64_t started_ms, ended_ms;
};

/* The text of a result manifest, JSON, owned by the caller; extents come from the store the volume
 * is in.  NULL when out of memory. */
char *im_manifest_text(const struct im_manifest_facts *facts, const struct im_copy_result *result,
                       struct im_store *store);

/* Path of the manifest that belongs to a volume, owned by the caller; NULL when out of memory. */
char *im_manifest_path(const char *volume);

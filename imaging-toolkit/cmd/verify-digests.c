/* verify-digests - a volume against the manifest that was written beside it. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/io.h"
#include "base/text.h"
#include "cmd/verify.h"
#include "core/digest.h"
#include "core/job.h"

/* A manifest lists at most 4096 extents (core/result.c), 50 bytes each: 256 KiB. */
#define MANIFEST_MAX (1u << 20)
#define VERSION      1
#define HEX_LEN      (2 * 32)

static int by_fsverity(const struct im_volume *volume, struct im_progress *progress,
                       uint8_t *ret_digest, struct im_error *err)
{
    return im_digest_file(volume->fd, volume->size, im_jobs_default(), progress, ret_digest, err);
}

static int by_sha256(const struct im_volume *volume, struct im_progress *progress,
                     uint8_t *ret_digest, struct im_error *err)
{
    return im_sha256_file(volume->fd, volume->size, progress, ret_digest, err);
}

static const struct digest {
    const char *name;
    const char *prefix; /* of its text in the manifest; hexadecimal digits follow */
    int (*find)(const struct im_volume *volume, struct im_progress *progress, uint8_t *ret_digest,
                struct im_error *err);
} digests[] = {
    { "fs-verity", "sha256:", by_fsverity },
    { "sha256", "", by_sha256 },
};
#define DIGESTS (sizeof(digests) / sizeof(digests[0]))

static const struct digest *find_digest(const char *name)
{
    for (size_t i = 0; i < DIGESTS; i++)
        if (strcmp(digests[i].name, name) == 0)
            return &digests[i];
    return NULL;
}

static int read_manifest(const char *path, const char *volume, json_t **ret_manifest,
                         struct im_error *err)
{
    char *text IM_FREE = NULL;
    json_error_t at;
    struct stat st;
    size_t len;
    int r;

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) /* a FIFO would let us wait */
        return im_fail(err, EBADMSG, "the manifest '%s' is no regular file", path);
    r = im_read_file(path, MANIFEST_MAX, &text, &len, err);
    if (r == -ENOENT)
        return im_fail(err, ENOENT,
                       "there is no manifest '%s' to verify '%s' by; convert with --digest "
                       "fs-verity, or give --manifest FILE or --against IMAGE",
                       path, volume);
    if (r == -EFBIG)
        return im_fail(err, EBADMSG, "the manifest '%s' is longer than %u bytes, which none is",
                       path, MANIFEST_MAX);
    if (r < 0)
        return r;
    *ret_manifest = json_loadb(text, len, JSON_REJECT_DUPLICATES, &at);
    if (!*ret_manifest) /* what stands there is told to nobody: it may be any file */
        return im_fail(err, EBADMSG, "the manifest '%s' is not JSON, see line %d, column %d", path,
                       at.line, at.column);
    return 0;
}

/* The version is ours, and the size that of the volume. */
static int check_head(const json_t *manifest, const char *path, const struct im_volume *volume,
                      struct im_error *err)
{
    const json_t *version = json_object_get(manifest, "version");
    const json_t *size = json_object_get(manifest, "file_size");

    if (!json_is_integer(version))
        return im_fail(err, EBADMSG, "'%s' is not a manifest: it has no \"version\"", path);
    if (json_integer_value(version) != VERSION)
        return im_fail(err, EOPNOTSUPP,
                       "the manifest '%s' is of version %" JSON_INTEGER_FORMAT
                       ", not %d; use the imaging-toolkit that wrote it",
                       path, json_integer_value(version), VERSION);
    if (!size)
        size = json_object_get(manifest, "size");
    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return im_fail(err, EBADMSG, "the manifest '%s' has no \"size\" in bytes", path);
    if ((uint64_t)json_integer_value(size) != volume->size)
        return im_fail(err, EKEYREJECTED,
                       "'%s' has %" PRIu64 " bytes, but its manifest says %" JSON_INTEGER_FORMAT,
                       volume->name, volume->size, json_integer_value(size));
    return 0;
}

/* A digest this program cannot check must not pass for one that was. */
static int check_text(const char *path, const char *name, const json_t *value,
                      const struct digest *digest, struct im_error *err)
{
    const char *text = json_string_value(value);
    char printable[100];
    size_t prefix;

    if (!digest)
        return im_fail(err, EOPNOTSUPP,
                       "the manifest '%s' holds the digest '%s'; known are fs-verity and sha256",
                       path, im_text_printable(printable, sizeof(printable), name));
    prefix = strlen(digest->prefix);
    if (!text || strncmp(text, digest->prefix, prefix) != 0 || strlen(text) != prefix + HEX_LEN ||
        strspn(text + prefix, "0123456789abcdef") != HEX_LEN)
        return im_fail(err, EBADMSG,
                       "the manifest '%s' gives '%s' as %s, not %s and %d lower-case hexadecimal "
                       "digits",
                       path, im_text_printable(printable, sizeof(printable), text ? text : ""),
                       digest->name, *digest->prefix ? digest->prefix : "nothing", HEX_LEN);
    return 0;
}

static int check_digest(const struct im_volume *volume, const struct digest *digest,
                        const char *wanted, struct im_progress *progress, struct im_error *err)
{
    uint8_t found[32];
    char text[16 + HEX_LEN + 1];
    size_t prefix = strlen(digest->prefix);
    int r;

    im_progress_stage(progress, digest->name);
    r = digest->find(volume, progress, found, err);
    if (r < 0)
        return r;
    im_progress_finish(progress);
    memcpy(text, digest->prefix, prefix);
    im_hex(found, sizeof(found), text + prefix);
    if (strcmp(text, wanted) == 0)
        return 0;
    return im_fail(err, EKEYREJECTED,
                   "the %s digest of '%s' is %s, but its manifest says %s: it was changed or "
                   "damaged since",
                   digest->name, volume->name, text, wanted);
}

int im_verify_digests(const struct im_volume *volume, const char *path,
                      struct im_progress *progress, struct json_t *report, struct im_error *err)
{
    json_t *manifest = NULL, *listed, *value;
    const char *name;
    int r = read_manifest(path, volume->name, &manifest, err);

    if (r == 0)
        r = check_head(manifest, path, volume, err);
    listed = json_object_get(manifest, "digests");
    if (r == 0 && json_object_size(listed) == 0)
        r = im_fail(err, EBADMSG,
                    "the manifest '%s' holds no digest, so nothing can be verified by it; convert "
                    "with --digest fs-verity",
                    path);
    if (r == 0)
        json_object_foreach(listed, name, value)
        {
            r = check_text(path, name, value, find_digest(name), err);
            if (r < 0)
                break;
        }
    if (r == 0)
        json_object_foreach(listed, name, value)
        {
            r = check_digest(volume, find_digest(name), json_string_value(value), progress, err);
            if (r < 0)
                break;
        }
    if (r == 0 && json_object_set(report, "digests", listed) < 0)
        r = im_fail(err, ENOMEM, "out of memory");
    json_decref(manifest);
    return r;
}

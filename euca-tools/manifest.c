/* manifest - what is uploaded, where it goes, and URLs for whoever fetches it.
 *
 * What is written is read again first, by the proof that every reader makes: im_manifest_parse
 * wants all that schemas/xml/import-manifest.xsd does, and that the parts adjoin, which no schema
 * can say. */

#include <config.h>

#include "manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/retry.h"
#include "base/text.h"

#include "client.h"
#include "options.h"
#include "s3.h"

#define DAY_MS ((int64_t)24 * 60 * 60 * 1000)

/* ---- reading ---- */

/* "." and "..", which servers and proxies may take out of a path, so that it leads elsewhere. */
static bool has_dots(const char *path)
{
    while (path) {
        size_t len = strcspn(path, "/");

        if ((len == 1 && path[0] == '.') || (len == 2 && path[0] == '.' && path[1] == '.'))
            return true;
        path = path[len] ? path + len + 1 : NULL;
    }
    return false;
}

size_t euca_manifest_directory(const char *key)
{
    const char *slash = strrchr(key, '/');

    return slash ? (size_t)(slash - key) : strlen(key);
}

static bool is_in_its_directory(const char *manifest_key, const char *part_key)
{
    size_t len = euca_manifest_directory(manifest_key);

    return strncmp(part_key, manifest_key, len) == 0 && part_key[len] == '/' && part_key[len + 1] &&
           !has_dots(part_key + len + 1);
}

static int check_keys(const struct im_manifest *manifest, const char *bucket,
                      const char *manifest_key, struct im_error *err)
{
    for (size_t i = 0; i < manifest->part_count; i++) {
        const char *key = manifest->part[i].key;

        if (!is_in_its_directory(manifest_key, key) || strcmp(key, manifest_key) == 0)
            return im_fail(err, EBADMSG,
                           "part %zu of the import manifest \"%.200s/%.200s\" is '%.200s', which "
                           "is not in the manifest's directory: no upload made that, and "
                           "nothing was done",
                           i, bucket, manifest_key, key);
    }
    return 0;
}

/* There is no manifest; without its bucket there cannot be one either. */
static int missing(const struct im_http_response *response, const char *bucket, const char *key,
                   struct im_error *err)
{
    static const char no_bucket[] = "(NoSuchBucket)";
    char said[IM_ERROR_MAX];

    (void)euca_refused(response, err);
    if (strncmp(err->message, no_bucket, strlen(no_bucket)) != 0)
        return im_fail(err, ENOENT, "import manifest \"%s/%s\" does not exist", bucket, key);
    (void)snprintf(said, sizeof(said), "%.*s", IM_ERROR_MAX - 300, err->message);
    return im_fail_code(err, ENXIO, EUCA_SERVER, "%s (there is no bucket '%s'; make it first)",
                        said, bucket);
}

int euca_manifest_get(struct im_http *http, const struct euca_endpoint *s3, const char *bucket,
                      const char *key, unsigned tries, struct im_manifest **ret_manifest,
                      struct im_error *err)
{
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    char *path IM_FREE = euca_s3_path(bucket, key);
    struct euca_request get = { .method = "GET", .path = path, .text_max = IM_MANIFEST_MAX };
    struct im_manifest *manifest = NULL;
    int r = path ? euca_send_again(http, s3, &get, tries, &response, err) : im_fail_memory(err);

    if (r < 0)
        return r;
    if (response.status == 404)
        return missing(&response, bucket, key, err);
    if (response.status != 200)
        return euca_refused(&response, err);
    r = im_manifest_parse(response.text.data ? response.text.data : "", response.text.len,
                          &manifest, err);
    if (r == 0)
        r = check_keys(manifest, bucket, key, err);
    if (r == 0)
        *ret_manifest = manifest;
    else
        im_manifest_free(manifest);
    return r;
}

int euca_manifest_find(struct im_http *http, const struct euca_upload *upload,
                       struct im_manifest **ret_manifest, struct im_error *err)
{
    uint64_t actual = upload->image->file_size, expected;
    int r = euca_manifest_get(http, upload->s3, upload->bucket, upload->manifest_key,
                              IM_RETRY_TRIES, ret_manifest, err);

    if (r < 0 || (*ret_manifest)->file_size == actual)
        return r;
    expected = (*ret_manifest)->file_size;
    *ret_manifest = im_manifest_free(*ret_manifest);
    return euca_usage(err,
                      "file \"%s\" is not the same size as the file the import started with "
                      "(expected: %" PRIu64 ", actual: %" PRIu64 ")",
                      upload->image->path, expected, actual);
}

/* ---- making ---- */

static char *part_key(const struct euca_upload *upload, size_t n)
{
    return im_asprintf("%.*s/%s.part.%zu", (int)euca_manifest_directory(upload->manifest_key),
                       upload->manifest_key, upload->basename, n);
}

/* Put a presigned URL in place of what is there. */
static int presign(const struct euca_upload *upload, const char *method, const char *key,
                   int64_t now_ms, char **url, struct im_error *err)
{
    char *old = *url;
    int r = euca_s3_presign(upload->s3, method, upload->bucket, key, now_ms, upload->expires_s, url,
                            err);

    if (r == 0)
        free(old);
    return r;
}

/* URLs for everything. */
static int sign(const struct euca_upload *upload, struct im_manifest *manifest,
                struct im_error *err)
{
    int64_t now_ms = im_clock_now_ms();
    int r =
        presign(upload, "DELETE", upload->manifest_key, now_ms, &manifest->self_destruct_url, err);

    for (size_t i = 0; r == 0 && i < manifest->part_count; i++) {
        struct im_manifest_part *part = &manifest->part[i];

        r = presign(upload, "HEAD", part->key, now_ms, &part->head_url, err);
        if (r == 0)
            r = presign(upload, "GET", part->key, now_ms, &part->get_url, err);
        if (r == 0)
            r = presign(upload, "DELETE", part->key, now_ms, &part->delete_url, err);
    }
    return r;
}

static int fill_part(const struct euca_upload *upload, size_t n, uint64_t part_size,
                     struct im_manifest_part *part)
{
    uint64_t left;

    part->start = n * part_size;
    left = upload->image->file_size - part->start;
    part->end = part->start + (left < part_size ? left : part_size) - 1;
    part->key = part_key(upload, n);
    return part->key ? 0 : -ENOMEM;
}

/* Who wrote it, once. */
static int set_importer(struct im_manifest *manifest)
{
    if (!manifest->importer_name)
        manifest->importer_name = strdup("euca-imaging");
    if (!manifest->importer_version)
        manifest->importer_version = strdup(PACKAGE_VERSION);
    return manifest->importer_name && manifest->importer_version ? 0 : -ENOMEM;
}

static int fill(const struct euca_upload *upload, uint64_t part_size, struct im_manifest *manifest,
                struct im_error *err)
{
    uint64_t file_size = upload->image->file_size;
    size_t count = (size_t)(file_size / part_size + (file_size % part_size != 0));

    manifest->file_format = strdup(upload->file_format);
    manifest->size = upload->disk_size;
    manifest->volume_gib = upload->volume_gib;
    manifest->file_size = file_size;
    manifest->part = calloc(count, sizeof(*manifest->part));
    if (!manifest->file_format || !manifest->part || set_importer(manifest) < 0)
        return im_fail_memory(err);
    while (manifest->part_count < count) {
        size_t n = manifest->part_count++;

        if (fill_part(upload, n, part_size, &manifest->part[n]) < 0)
            return im_fail_memory(err);
    }
    return sign(upload, manifest, err);
}

/* Write it, and prove that it will be taken. */
static int write_proven(const struct im_manifest *manifest, struct im_buffer *xml,
                        struct im_error *err)
{
    struct im_manifest *again = NULL;
    int r = im_manifest_write(manifest, xml, err);

    if (r == 0)
        r = im_manifest_parse(xml->data, xml->len, &again, err);
    im_manifest_free(again);
    return r;
}

static int build(const struct euca_upload *upload, uint64_t part_size,
                 struct im_manifest **ret_manifest, struct im_buffer *xml, struct im_error *err)
{
    struct im_manifest *manifest = calloc(1, sizeof(*manifest));
    int r = manifest ? fill(upload, part_size, manifest, err) : im_fail_memory(err);

    if (r == 0)
        r = write_proven(manifest, xml, err);
    if (r < 0) {
        im_manifest_free(manifest);
        return r;
    }
    *ret_manifest = manifest;
    return 0;
}

/* With the size of parts that was asked for, or none. */
static int make_as_told(const struct euca_upload *upload, struct im_manifest **ret_manifest,
                        struct im_buffer *xml, struct im_error *err)
{
    if (upload->image->file_size / upload->part_size >= IM_MANIFEST_PARTS_MAX)
        return im_fail(err, EFBIG,
                       "'%s' of %" PRIu64 " bytes would have more than %d parts of %" PRIu64
                       " bytes; use larger parts",
                       upload->image->path, upload->image->file_size, IM_MANIFEST_PARTS_MAX,
                       upload->part_size);
    return build(upload, upload->part_size, ret_manifest, xml, err);
}

/* Make a manifest that its readers will take: long keys and session tokens make long URLs, and
 * then parts grow until the document is small enough.  Where they cannot grow any more,
 * one that only our service reads is better than none. */
static int make_as_needed(const struct euca_upload *upload, struct im_manifest **ret_manifest,
                          struct im_buffer *xml, struct im_error *err)
{
    uint64_t part_size = euca_upload_part_size(upload->image->file_size);

    if (upload->part_size > 0)
        return make_as_told(upload, ret_manifest, xml, err);
    while (part_size > 0) {
        int r = build(upload, part_size, ret_manifest, xml, err);

        if (r == 0 && xml->len > EUCA_MANIFEST_MAX && part_size < EUCA_PART_SIZE_MAX) {
            *ret_manifest = im_manifest_free(*ret_manifest);
            r = -EFBIG;
        }
        if (r != -EFBIG)
            return r;
        im_buffer_clear(xml);
        part_size = part_size < EUCA_PART_SIZE_MAX ? im_min(2 * part_size, EUCA_PART_SIZE_MAX) : 0;
    }
    return im_fail(err, EFBIG, "'%s' of %" PRIu64 " bytes is too large for one import manifest",
                   upload->image->path, upload->image->file_size);
}

/* ---- writing ---- */

static int put(struct im_http *http, const struct euca_upload *upload, const struct im_buffer *xml,
               struct im_error *err)
{
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    char *path IM_FREE = euca_s3_path(upload->bucket, upload->manifest_key);
    uint8_t digest[IM_HASH_MAX];
    char md5[33];
    struct euca_request request = { .method = "PUT",
                                    .path = path,
                                    .content_type = "application/xml",
                                    .md5 = md5,
                                    .body = xml->data,
                                    .body_len = xml->len };
    int r;

    if (!path)
        return im_fail_memory(err);
    im_hash(IM_MD5, xml->data, xml->len, digest);
    im_hex(digest, im_hash_size(IM_MD5), md5);
    r = euca_send_again(http, upload->s3, &request, IM_RETRY_TRIES, &response, err);
    if (r < 0)
        return r;
    return response.status >= 200 && response.status <= 299 ? 0 : euca_refused(&response, err);
}

/* When the first of its URLs expires. */
static int64_t expiry_ms(const struct im_manifest *manifest)
{
    int64_t first = euca_s3_expiry_ms(manifest->self_destruct_url);

    for (size_t i = 0; i < manifest->part_count; i++) {
        const struct im_manifest_part *part = &manifest->part[i];
        const char *const urls[] = { part->head_url, part->get_url, part->delete_url };

        for (size_t u = 0; u < 3; u++) {
            int64_t expiry = euca_s3_expiry_ms(urls[u]);

            first = expiry < first ? expiry : first;
        }
    }
    return first;
}

int euca_manifest_make(struct im_http *http, const struct euca_upload *upload,
                       struct im_manifest **ret_manifest, struct im_error *err)
{
    struct im_buffer xml IM_BUFFER_DONE = IM_BUFFER(IM_MANIFEST_MAX);
    int r = make_as_needed(upload, ret_manifest, &xml, err);

    return r < 0 ? r : put(http, upload, &xml, err);
}

/* URLs that have no more left are as good as expired: the upload takes time, and then whoever
 * imports needs some.  New ones have at least twice as much. */
static int64_t enough_ms(const struct euca_upload *upload)
{
    int64_t half = (int64_t)upload->expires_s * 1000 / 2;

    return half < DAY_MS ? half : DAY_MS;
}

int euca_manifest_renew(struct im_http *http, const struct euca_upload *upload,
                        struct im_manifest *manifest, struct im_error *err)
{
    struct im_buffer xml IM_BUFFER_DONE = IM_BUFFER(IM_MANIFEST_MAX);
    int r;

    if (expiry_ms(manifest) - im_clock_now_ms() >= enough_ms(upload))
        return 0;
    r = set_importer(manifest) < 0 ? im_fail_memory(err) : sign(upload, manifest, err);
    if (r == 0)
        r = write_proven(manifest, &xml, err);
    return r < 0 ? r : put(http, upload, &xml, err);
}

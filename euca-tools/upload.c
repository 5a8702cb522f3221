/* upload - manifest first, then parts, four at a time.
 *
 * A part is read twice with pread, once to hash it (its digests go before its bytes) and once to
 * send it; it is never held in memory.  Threads share the list of parts and nothing else. */

#include <config.h>

#include "upload.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/crypto.h"
#include "aws/manifest.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/retry.h"
#include "base/text.h"

#include "client.h"
#include "command.h"
#include "s3.h"

#define MIB          ((uint64_t)1024 * 1024)
#define HASH_BLOCK   65536
#define TICK_MS      100
#define HEX_MD5_SIZE 33
#define HEX_SHA_SIZE 65

/* What the threads work on. */
struct parts {
    const struct euca_upload *upload;
    const struct im_manifest *manifest;
    bool resuming;      /* parts may be there already */
    volatile bool stop; /* ends every exchange: interrupt or failure */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    size_t next;           /* first part nobody has taken */
    unsigned running;      /* threads at work */
    struct im_error first; /* the failure that stopped the others; number 0 without */
};

/* The body of one PUT. */
struct body {
    const struct euca_upload *upload;
    uint64_t start, len;
    uint64_t sent;
};

uint64_t euca_upload_part_size(uint64_t file_size)
{
    uint64_t size = file_size / EUCA_PARTS_MAX + (file_size % EUCA_PARTS_MAX != 0);

    if (size <= EUCA_PART_SIZE)
        return EUCA_PART_SIZE;
    if (size > EUCA_PART_SIZE_MAX)
        return 0;
    return im_round_up(size, MIB);
}

static int no_memory(struct im_error *err)
{
    return im_fail(err, ENOMEM, "out of memory");
}

static int too_short(const struct euca_upload *upload, uint64_t at, struct im_error *err)
{
    return im_fail(err, ESTALE,
                   "'%s' changed while it was uploaded: it ends at byte %" PRIu64
                   " but had %" PRIu64 "; upload it again when nothing writes to it",
                   upload->image->path, at, upload->image->file_size);
}

/* ---- the manifest ---- */

/* Key of part n: beside the manifest; below it when its key has no slash. */
static char *part_key(const struct euca_upload *upload, size_t n)
{
    const char *slash = strrchr(upload->manifest_key, '/');
    size_t len = slash ? (size_t)(slash - upload->manifest_key) : strlen(upload->manifest_key);

    return im_asprintf("%.*s/%s.part.%zu", (int)len, upload->manifest_key, upload->basename, n);
}

static int presign(const struct euca_upload *upload, const char *method, const char *key,
                   int64_t now_ms, char **ret_url, struct im_error *err)
{
    return euca_s3_presign(upload->s3, method, upload->bucket, key, now_ms, upload->expires_s,
                           ret_url, err);
}

static int make_part(const struct euca_upload *upload, size_t n, uint64_t part_size, int64_t now_ms,
                     struct im_manifest_part *part, struct im_error *err)
{
    uint64_t left;
    int r;

    part->start = n * part_size;
    left = upload->image->file_size - part->start;
    part->end = part->start + (left < part_size ? left : part_size) - 1;
    part->key = part_key(upload, n);
    if (!part->key)
        return no_memory(err);
    r = presign(upload, "HEAD", part->key, now_ms, &part->head_url, err);
    if (r == 0)
        r = presign(upload, "GET", part->key, now_ms, &part->get_url, err);
    if (r == 0)
        r = presign(upload, "DELETE", part->key, now_ms, &part->delete_url, err);
    return r;
}

static int fill_manifest(const struct euca_upload *upload, uint64_t part_size,
                         struct im_manifest *manifest, struct im_error *err)
{
    int64_t now_ms = im_clock_now_ms();
    uint64_t file_size = upload->image->file_size;
    size_t count = (size_t)(file_size / part_size + (file_size % part_size != 0));
    int r;

    manifest->file_format = strdup(upload->file_format);
    manifest->importer_name = strdup("euca-imaging");
    manifest->importer_version = strdup(PACKAGE_VERSION);
    manifest->size = upload->disk_size;
    manifest->volume_gib = upload->volume_gib;
    manifest->file_size = file_size;
    manifest->part = calloc(count, sizeof(*manifest->part));
    if (!manifest->file_format || !manifest->importer_name || !manifest->importer_version ||
        !manifest->part)
        return no_memory(err);
    r = presign(upload, "DELETE", upload->manifest_key, now_ms, &manifest->self_destruct_url, err);
    while (r == 0 && manifest->part_count < count) {
        size_t n = manifest->part_count++;

        r = make_part(upload, n, part_size, now_ms, &manifest->part[n], err);
    }
    return r;
}

static int build_manifest(const struct euca_upload *upload, uint64_t part_size,
                          struct im_manifest **ret_manifest, struct im_buffer *xml,
                          struct im_error *err)
{
    struct im_manifest *manifest = calloc(1, sizeof(*manifest));
    int r = manifest ? fill_manifest(upload, part_size, manifest, err) : no_memory(err);

    if (r == 0)
        r = im_manifest_write(manifest, xml, err);
    if (r < 0) {
        im_manifest_free(manifest);
        return r;
    }
    *ret_manifest = manifest;
    return 0;
}

/* Make a manifest that its readers will take: long keys and session tokens make long URLs, and
 * then parts grow until the document is small enough. */
static int make_manifest(const struct euca_upload *upload, struct im_manifest **ret_manifest,
                         struct im_buffer *xml, struct im_error *err)
{
    uint64_t part_size = euca_upload_part_size(upload->image->file_size);

    for (; part_size > 0 && part_size <= EUCA_PART_SIZE_MAX; part_size *= 2) {
        int r = build_manifest(upload, part_size, ret_manifest, xml, err);

        if (r != -EFBIG)
            return r;
        im_buffer_clear(xml);
    }
    return im_fail(err, EFBIG, "'%s' of %" PRIu64 " bytes is too large for one import manifest",
                   upload->image->path, upload->image->file_size);
}

static void hex_digest(enum im_hash hash, const void *data, size_t len, char *ret_hex)
{
    uint8_t digest[IM_HASH_MAX];

    im_hash(hash, data, len, digest);
    im_hex(digest, im_hash_size(hash), ret_hex);
}

static int put_manifest(struct im_http *http, const struct euca_upload *upload, const char *path,
                        const struct im_buffer *xml, struct im_error *err)
{
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    char md5[HEX_MD5_SIZE];
    struct euca_request put = { .method = "PUT",
                                .path = path,
                                .content_type = "application/xml",
                                .md5 = md5,
                                .body = xml->data,
                                .body_len = xml->len };
    int r;

    hex_digest(IM_MD5, xml->data, xml->len, md5);
    r = euca_send_again(http, upload->s3, &put, IM_RETRY_TRIES, &response, err);
    if (r < 0)
        return r;
    return response.status >= 200 && response.status <= 299 ? 0 : euca_refused(&response, err);
}

/* The manifest of an upload that began earlier must be of this very file. */
static int check_resumed(const struct euca_upload *upload, const struct im_manifest *manifest,
                         struct im_error *err)
{
    if (manifest->file_size == upload->image->file_size)
        return 0;
    return euca_usage(err,
                      "file \"%s\" is not the same size as the file the import started with "
                      "(expected: %" PRIu64 ", actual: %" PRIu64 ")",
                      upload->image->path, manifest->file_size, upload->image->file_size);
}

/* Find the manifest, or write a new one: it goes before the parts, so that whoever looks knows what
 * is still to come. */
static int begin(struct im_http *http, const struct euca_upload *upload,
                 struct im_manifest **ret_manifest, bool *ret_resuming, struct im_error *err)
{
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    struct im_buffer xml IM_BUFFER_DONE = IM_BUFFER(IM_MANIFEST_MAX);
    char *path IM_FREE
    = euca_s3_path(upload->bucket, upload->manifest_key);
    struct euca_request get = { .method = "GET", .path = path, .text_max = IM_MANIFEST_MAX };
    int r;

    if (!path)
        return no_memory(err);
    r = euca_send_again(http, upload->s3, &get, IM_RETRY_TRIES, &response, err);
    if (r < 0)
        return r;
    if (response.status == 200) {
        r = im_manifest_parse(response.text.data ? response.text.data : "", response.text.len,
                              ret_manifest, err);
        *ret_resuming = true;
        return r < 0 ? r : check_resumed(upload, *ret_manifest, err);
    }
    if (response.status != 404)
        return euca_refused(&response, err);
    *ret_resuming = false;
    r = make_manifest(upload, ret_manifest, &xml, err);
    return r < 0 ? r : put_manifest(http, upload, path, &xml, err);
}

/* ---- one part ---- */

static long read_body(void *arg, void *buf, size_t len)
{
    struct body *body = arg;
    uint64_t left = body->len - body->sent;
    size_t want = left < len ? (size_t)left : len;
    ssize_t n = im_pread(body->upload->image->fd, buf, want, body->start + body->sent);

    if (n < 0)
        return n;
    if ((size_t)n < want)
        return -ESTALE;
    body->sent += (uint64_t)n;
    euca_progress_add(body->upload->progress, n);
    return n;
}

static int rewind_body(void *arg)
{
    struct body *body = arg;

    euca_progress_add(body->upload->progress, -(int64_t)body->sent);
    body->sent = 0;
    return 0;
}

/* MD5 and SHA-256 of a part as hex. */
static int hash_part(const struct parts *parts, const struct im_manifest_part *part, char *ret_md5,
                     char *ret_sha256, struct im_error *err)
{
    struct im_hasher *md5 = im_hasher_new(IM_MD5);
    struct im_hasher *sha256 = im_hasher_new(IM_SHA256);
    uint8_t digest[IM_HASH_MAX];
    char block[HASH_BLOCK];
    int r = md5 && sha256 ? 0 : no_memory(err);

    for (uint64_t at = part->start; r == 0 && at <= part->end;) {
        uint64_t left = part->end - at + 1;
        size_t want = left < sizeof(block) ? (size_t)left : sizeof(block);
        ssize_t n = im_pread(parts->upload->image->fd, block, want, at);

        if (parts->stop)
            r = im_fail(err, ECANCELED, "interrupted");
        else if (n < 0)
            r = im_fail_errno(err, (int)-n, "cannot read '%s' at byte %" PRIu64,
                              parts->upload->image->path, at);
        else if ((size_t)n < want)
            r = too_short(parts->upload, at + (uint64_t)n, err);
        if (r < 0)
            break;
        im_hasher_add(md5, block, want);
        im_hasher_add(sha256, block, want);
        at += want;
    }
    if (r == 0) {
        im_hasher_end(md5, digest);
        im_hex(digest, im_hash_size(IM_MD5), ret_md5);
        im_hasher_end(sha256, digest);
        im_hex(digest, im_hash_size(IM_SHA256), ret_sha256);
    }
    im_hasher_free(md5);
    im_hasher_free(sha256);
    return r;
}

/* 1 when the object is there with this size and MD5, else 0: an object that a broken upload left is
 * replaced, not trusted. */
static int is_there(struct im_http *http, const struct parts *parts, const char *path,
                    const struct body *body, const char *md5, struct im_error *err)
{
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    struct euca_request head = { .method = "HEAD", .path = path, .cancel = &parts->stop };
    int r = euca_send_again(http, parts->upload->s3, &head, IM_RETRY_TRIES, &response, err);

    if (r < 0)
        return r;
    if (response.status == 404)
        return 0;
    if (response.status != 200)
        return euca_refused(&response, err);
    return response.length == body->len && strcmp(response.etag, md5) == 0;
}

static int put_part(struct im_http *http, const struct parts *parts, const char *path,
                    struct body *body, const char *md5, const char *sha256, struct im_error *err)
{
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    struct euca_request put = { .method = "PUT",
                                .path = path,
                                .content_type = "application/octet-stream",
                                .md5 = md5,
                                .sha256 = sha256,
                                .read_body = read_body,
                                .rewind_body = rewind_body,
                                .arg = body,
                                .body_len = body->len,
                                .cancel = &parts->stop };
    int r = euca_send_again(http, parts->upload->s3, &put, IM_RETRY_TRIES, &response, err);

    if (r == -ESTALE)
        return too_short(parts->upload, body->start + body->sent, err);
    if (r < 0)
        return r;
    return response.status >= 200 && response.status <= 299 ? 0 : euca_refused(&response, err);
}

static int upload_part(struct im_http *http, const struct parts *parts,
                       const struct im_manifest_part *part, struct im_error *err)
{
    struct body body = { parts->upload, part->start, part->end - part->start + 1, 0 };
    char *path IM_FREE
    = euca_s3_path(parts->upload->bucket, part->key);
    char md5[HEX_MD5_SIZE], sha256[HEX_SHA_SIZE];
    int r;

    if (!path)
        return no_memory(err);
    r = euca_image_unchanged(parts->upload->image, err);
    if (r == 0)
        r = hash_part(parts, part, md5, sha256, err);
    if (r < 0)
        return r;
    if (parts->resuming) {
        r = is_there(http, parts, path, &body, md5, err);
        if (r > 0)
            euca_progress_add(parts->upload->progress, (int64_t)body.len);
        if (r != 0)
            return r < 0 ? r : 0;
    }
    return put_part(http, parts, path, &body, md5, sha256, err);
}

/* ---- all parts ---- */

static const struct im_manifest_part *take(struct parts *parts)
{
    const struct im_manifest_part *part = NULL;

    pthread_mutex_lock(&parts->lock);
    if (!parts->stop && parts->next < parts->manifest->part_count)
        part = &parts->manifest->part[parts->next++];
    pthread_mutex_unlock(&parts->lock);
    return part;
}

/* The thread is done; its failure stops the others, whose own then are only echoes. */
static void leave(struct parts *parts, const struct im_error *err)
{
    pthread_mutex_lock(&parts->lock);
    parts->running--;
    if (err->number && !parts->first.number)
        parts->first = *err;
    if (err->number)
        parts->stop = true;
    pthread_cond_signal(&parts->ended);
    pthread_mutex_unlock(&parts->lock);
}

static void *work(void *arg)
{
    struct parts *parts = arg;
    const struct im_manifest_part *part;
    struct im_http *http = im_http_new();
    struct im_error err = { 0 };
    int r = http ? 0 : no_memory(&err);

    while (r == 0 && (part = take(parts)))
        r = upload_part(http, parts, part, &err);
    im_http_free(http);
    /* A request that healed left its first failure behind. */
    if (r == 0)
        err.number = 0;
    leave(parts, &err);
    return NULL;
}

/* Until all threads have left: show progress, pass the interrupt on. */
static void watch(struct parts *parts)
{
    pthread_mutex_lock(&parts->lock);
    while (parts->running > 0) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += TICK_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_nsec -= 1000000000L;
            until.tv_sec++;
        }
        (void)pthread_cond_timedwait(&parts->ended, &parts->lock, &until);
        if (euca_interrupted)
            parts->stop = true;
        euca_progress_tick(parts->upload->progress);
    }
    pthread_mutex_unlock(&parts->lock);
}

static int upload_parts(struct parts *parts, struct im_error *err)
{
    pthread_t thread[EUCA_UPLOADS];
    size_t started = 0;

    pthread_mutex_lock(&parts->lock); /* those that have started wait until all are counted */
    while (started < EUCA_UPLOADS && started < parts->manifest->part_count &&
           pthread_create(&thread[started], NULL, work, parts) == 0)
        started++;
    parts->running = (unsigned)started;
    pthread_mutex_unlock(&parts->lock);
    watch(parts);
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(thread[i], NULL);
    if (euca_interrupted)
        return im_fail(err, ECANCELED, "interrupted");
    if (parts->first.number) {
        *err = parts->first;
        return -err->number;
    }
    if (started == 0 && parts->manifest->part_count > 0)
        return im_fail(err, EAGAIN, "cannot start a thread");
    return euca_image_unchanged(parts->upload->image, err);
}

int euca_upload(const struct euca_upload *upload, struct im_error *err)
{
    struct parts parts = { .upload = upload,
                           .lock = PTHREAD_MUTEX_INITIALIZER,
                           .ended = PTHREAD_COND_INITIALIZER };
    struct im_manifest *manifest = NULL;
    struct im_http *http = im_http_new();
    int r = http ? begin(http, upload, &manifest, &parts.resuming, err) : no_memory(err);

    im_http_free(http);
    parts.manifest = manifest;
    if (r == 0)
        r = upload_parts(&parts, err);
    im_manifest_free(manifest);
    return r;
}

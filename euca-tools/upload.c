/* upload - manifest first, then parts, several at a time.
 *
 * An import begins when the last part arrives that it misses.  So a resumed upload goes over its
 * parts twice: all that is there is made what the file is now, and then what is missing is sent.
 *
 * A part is read twice with pread, once to hash it (its digests go before its bytes) and once to
 * send it; it is never held in memory.  A thread does both for one part after the other; there are
 * a few more of them than may send, which hash meanwhile. */

#include <config.h>

#include "upload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/crypto.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/retry.h"
#include "base/text.h"

#include "client.h"
#include "crew.h"
#include "manifest.h"
#include "s3.h"

#define MIB        ((uint64_t)1024 * 1024)
#define HASH_BLOCK 65536

/* Parts that are hashed while others are on their way: the store shall not wait for that. */
#define HASHED_AHEAD 2

#define HEX_MD5_SIZE 33
#define HEX_SHA_SIZE 65

/* What the threads work on. */
struct parts {
    const struct euca_upload *upload;
    const struct im_manifest *manifest;
    const struct im_manifest_part **missing; /* to be sent, in their order */
    size_t missing_count;
};

_Static_assert(EUCA_UPLOADS_MAX + HASHED_AHEAD <= EUCA_CREW_MAX, "each has a thread");

/* Of a part, as hex; signatures of version 2 know no SHA-256: it is "" then. */
struct digests {
    char md5[HEX_MD5_SIZE];
    char sha256[HEX_SHA_SIZE];
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

static int too_short(const struct euca_upload *upload, uint64_t at, struct im_error *err)
{
    return im_fail(err, ESTALE,
                   "'%s' changed while it was uploaded: it ends at byte %" PRIu64
                   " but had %" PRIu64 "; upload it again when nothing writes to it",
                   upload->image->path, at, upload->image->file_size);
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

static int read_block(const struct parts *parts, const struct euca_hand *hand, char *block,
                      size_t want, uint64_t at, struct im_error *err)
{
    ssize_t n = im_pread(parts->upload->image->fd, block, want, at);

    if (__atomic_load_n(hand->stop, __ATOMIC_RELAXED))
        return im_fail(err, ECANCELED, "interrupted");
    if (n < 0)
        return im_fail_errno(err, (int)-n, "cannot read '%s' at byte %" PRIu64,
                             parts->upload->image->path, at);
    return (size_t)n < want ? too_short(parts->upload, at + (uint64_t)n, err) : 0;
}

static void end_digest(struct im_hasher *hasher, enum im_hash hash, char *ret_hex)
{
    uint8_t digest[IM_HASH_MAX];

    im_hasher_end(hasher, digest);
    im_hex(digest, im_hash_size(hash), ret_hex);
}

static int hash_part(const struct parts *parts, const struct euca_hand *hand,
                     const struct im_manifest_part *part, struct digests *ret_digests,
                     struct im_error *err)
{
    bool both = !parts->upload->s3->sigv2;
    struct im_hasher *md5 = im_hasher_new(IM_MD5);
    struct im_hasher *sha256 = both ? im_hasher_new(IM_SHA256) : NULL;
    char block[HASH_BLOCK];
    int r = md5 && (sha256 || !both) ? 0 : im_fail_memory(err);

    for (uint64_t at = part->start; r == 0 && at <= part->end;) {
        uint64_t left = part->end - at + 1;
        size_t len = left < sizeof(block) ? (size_t)left : sizeof(block);

        r = read_block(parts, hand, block, len, at, err);
        if (r < 0)
            break;
        im_hasher_add(md5, block, len);
        if (both)
            im_hasher_add(sha256, block, len);
        at += len;
    }
    ret_digests->sha256[0] = '\0';
    if (r == 0)
        end_digest(md5, IM_MD5, ret_digests->md5);
    if (r == 0 && both)
        end_digest(sha256, IM_SHA256, ret_digests->sha256);
    im_hasher_free(md5);
    im_hasher_free(sha256);
    return r;
}

/* What the store has of a part.  1, or 0 when it has nothing. */
static int look(const struct parts *parts, const struct euca_hand *hand,
                const struct im_manifest_part *part, struct im_http_response *ret_response,
                struct im_error *err)
{
    char *path IM_FREE = euca_s3_path(parts->upload->bucket, part->key);
    struct euca_request head = { .method = "HEAD", .path = path, .cancel = hand->stop };
    int r = path ? euca_send_again(hand->http, parts->upload->s3, &head, IM_RETRY_TRIES,
                                   ret_response, err)
                 : im_fail_memory(err);

    if (r < 0 || ret_response->status == 404)
        return r;
    return ret_response->status == 200 ? 1 : euca_refused(ret_response, err);
}

static int prepare_part(const struct parts *parts, const struct euca_hand *hand,
                        const struct im_manifest_part *part, struct digests *ret_digests,
                        struct im_error *err)
{
    int r = euca_image_unchanged(parts->upload->image, err);

    return r < 0 ? r : hash_part(parts, hand, part, ret_digests, err);
}

static int put_part(const struct parts *parts, const struct euca_hand *hand,
                    const struct im_manifest_part *part, const struct digests *digests,
                    struct im_error *err)
{
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    struct body body = { parts->upload, part->start, part->end - part->start + 1, 0 };
    char *path IM_FREE = euca_s3_path(parts->upload->bucket, part->key);
    struct euca_request put = { .method = "PUT",
                                .path = path,
                                .content_type = "application/octet-stream",
                                .md5 = digests->md5,
                                .sha256 = digests->sha256,
                                .read_body = read_body,
                                .rewind_body = rewind_body,
                                .arg = &body,
                                .body_len = body.len,
                                .cancel = hand->stop };
    int r =
        path ? euca_send_again(hand->http, parts->upload->s3, &put, IM_RETRY_TRIES, &response, err)
             : im_fail_memory(err);

    if (r == -ESTALE)
        return too_short(parts->upload, body.start + body.sent, err);
    if (r < 0)
        return r;
    if (response.status < 200 || response.status > 299)
        return euca_refused(&response, err);
    euca_progress_part(parts->upload->progress);
    return 0;
}

/* A part that is there stays when it has the size and the MD5; what a broken upload left, or the
 * file as it was, is replaced. */
static int compare_part(void *arg, struct euca_hand *hand, size_t n, struct im_error *err)
{
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    const struct parts *parts = arg;
    const struct im_manifest_part *part = &parts->manifest->part[n];
    uint64_t len = part->end - part->start + 1;
    struct digests digests;
    int r = look(parts, hand, part, &response, err);

    if (r == 0)
        parts->missing[n] = part;
    if (r <= 0)
        return r;
    r = prepare_part(parts, hand, part, &digests, err);
    if (r < 0)
        return r;
    if (response.length != len || strcasecmp(response.etag, digests.md5) != 0)
        return put_part(parts, hand, part, &digests, err);
    euca_progress_skip(parts->upload->progress, len);
    euca_progress_part(parts->upload->progress);
    return 0;
}

static int send_part(void *arg, struct euca_hand *hand, size_t n, struct im_error *err)
{
    const struct parts *parts = arg;
    const struct im_manifest_part *part = parts->missing[n];
    struct digests digests;
    int r = prepare_part(parts, hand, part, &digests, err);

    if (r == 0)
        r = euca_crew_turn(hand, n, err);
    return r < 0 ? r : put_part(parts, hand, part, &digests, err);
}

/* ---- all parts ---- */

static void tick(void *arg)
{
    const struct parts *parts = arg;

    euca_progress_tick(parts->upload->progress);
}

static int send_missing(struct parts *parts, struct im_error *err)
{
    const struct euca_crew crew = { .threads = parts->upload->uploads,
                                    .ahead = HASHED_AHEAD,
                                    .count = parts->missing_count,
                                    .one = send_part,
                                    .tick = tick,
                                    .arg = parts };

    return euca_crew_run(&crew, err);
}

/* Of a manifest that was there: find out what is missing, put right what is not. */
static int compare(struct parts *parts, struct im_error *err)
{
    size_t count = parts->manifest->part_count;
    const struct euca_crew crew = { .threads = parts->upload->uploads,
                                    .count = count,
                                    .one = compare_part,
                                    .tick = tick,
                                    .arg = parts };
    int r = euca_crew_run(&crew, err);

    for (size_t i = 0; r == 0 && i < count; i++)
        if (parts->missing[i])
            parts->missing[parts->missing_count++] = parts->missing[i];
    return r;
}

static void miss_all(struct parts *parts)
{
    while (parts->missing_count < parts->manifest->part_count) {
        parts->missing[parts->missing_count] = &parts->manifest->part[parts->missing_count];
        parts->missing_count++;
    }
}

static int upload_parts(const struct euca_upload *upload, struct im_http *http,
                        struct im_manifest *manifest, bool is_new, struct im_error *err)
{
    const struct im_manifest_part **missing IM_FREE =
        calloc(manifest->part_count, sizeof(const struct im_manifest_part *));
    struct parts parts = { .upload = upload, .manifest = manifest, .missing = missing };
    int r = 0;

    if (!missing)
        return im_fail_memory(err);
    euca_progress_parts(upload->progress, manifest->part_count);
    if (is_new)
        miss_all(&parts);
    else
        r = compare(&parts, err);
    /* Where its URLs had expired, an import could not begin until now. */
    if (r == 0 && !is_new)
        r = euca_manifest_renew(http, upload, manifest, err);
    if (r == 0)
        r = send_missing(&parts, err);
    return r < 0 ? r : euca_image_unchanged(upload->image, err);
}

static int upload_all(const struct euca_upload *upload, struct im_error *err)
{
    struct im_manifest *manifest = NULL;
    struct im_http *http = im_http_new();
    int r = http ? euca_manifest_find(http, upload, &manifest, err) : im_fail_memory(err);
    bool is_new = r == -ENOENT;

    if (is_new)
        r = euca_manifest_make(http, upload, &manifest, err);
    if (r == 0)
        r = upload_parts(upload, http, manifest, is_new, err);
    im_http_free(http);
    if (r == 0)
        euca_progress_end(upload->progress);
    im_manifest_free(manifest);
    return r;
}

int euca_upload_check(const struct euca_upload *upload, bool *ret_is_there, struct im_error *err)
{
    struct im_manifest *manifest = NULL;
    struct im_http *http = im_http_new();
    int r = http ? euca_manifest_find(http, upload, &manifest, err) : im_fail_memory(err);

    im_http_free(http);
    im_manifest_free(manifest);
    if (ret_is_there && (r == 0 || r == -ENOENT))
        *ret_is_there = r == 0;
    return r == -ENOENT ? 0 : r;
}

int euca_upload(const struct euca_upload *upload, struct im_error *err)
{
    struct euca_upload shown = *upload;
    int r;

    shown.progress = euca_progress_new(upload->program, upload->image->path,
                                       upload->image->file_size, upload->progress_options);
    if (!shown.progress)
        return im_fail_memory(err);
    r = upload_all(&shown, err);
    euca_progress_free(shown.progress);
    return r;
}

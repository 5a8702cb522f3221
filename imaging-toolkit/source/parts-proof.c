/* parts-proof - remote objects as one flat source: fetching, and the proof of what was fetched.
 *
 * An object that is one segment is proven when it is fetched, the MD5s of several of them at once.
 * One of several segments has a running MD5 when its ETag is one; its first bytes are given out
 * before the last are known to be right, so a mismatch ends the source for good, and finish() does
 * not let the result be committed before. */

#include <config.h>

#include "source/parts-inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crypto.h"
#include "base/io.h"
#include "base/text.h"
#include "core/cancel.h"

_Static_assert(IM_PARTS_CUT % 64 == 0, "what im_md5_run_add takes");
_Static_assert(IM_POOL_GROUP == IM_MD5_LANES, "segments are proven as many at once");

struct name {
    char text[64];
};

static struct name name_of(const struct parts *parts, const struct piece *piece)
{
    struct name name;

    if (parts->what)
        (void)snprintf(name.text, sizeof(name.text), "%s", parts->what);
    else
        (void)snprintf(name.text, sizeof(name.text), "part %zu of %zu",
                       (size_t)(piece - parts->piece) + 1, parts->piece_count);
    return name;
}

/* ---- proof ---- */

/* Whether the piece has an MD5 to be compared with.  Lock held. */
static bool has_digest(const struct piece *piece, uint8_t md5[16])
{
    return !piece->sealed && im_fetch_md5_of_etag(piece->etag, md5);
}

bool parts_has_running_digest(const struct piece *piece)
{
    uint8_t md5[16];

    return piece->segments > 1 && has_digest(piece, md5);
}

bool parts_is_proven(struct parts *parts, size_t segment)
{
    const struct piece *piece = parts_piece_of(parts, segment);
    bool proven;

    (void)pthread_mutex_lock(&parts->lock);
    if (piece->file)
        proven = piece->proven_file;
    else if (parts_has_running_digest(piece))
        proven = segment - piece->first < piece->hashed;
    else
        proven = parts->fetched[segment];
    (void)pthread_mutex_unlock(&parts->lock);
    return proven;
}

/* The piece's bytes have this MD5; is it the ETag's?  Lock held. */
static bool compare_digest(struct parts *parts, struct piece *piece, const uint8_t have[16],
                           struct im_error *err)
{
    uint8_t want[16];
    char text[33], url[256];

    if (!has_digest(piece, want) || memcmp(want, have, sizeof(want)) == 0)
        return true;
    im_hex(have, sizeof(want), text);
    (void)im_fail_code(err, EBADMSG, "DamagedPart",
                       "%s (%s): the bytes have MD5 %s, but the server's ETag says %s",
                       name_of(parts, piece).text, im_text_url(url, sizeof(url), piece->url), text,
                       piece->etag);
    return false;
}

/* Hash the segment that is next in order, if it is in the pool; true when it was. */
static bool hash_next(struct parts *parts, struct piece *piece)
{
    size_t segment = piece->first + piece->hashed; /* only the thread that hashes changes these */
    bool last = piece->hashed + 1 == piece->segments;
    struct im_md5_run run = piece->md5;
    uint8_t md5[16];
    const uint8_t *buf;
    size_t len;

    if (piece->hashed == piece->segments || !im_pool_peek(parts->pool, segment, &buf, &len))
        return false;
    if (last)
        im_md5_run_end(&run, buf, len, md5);
    else
        im_md5_run_add(&run, buf, len);
    im_pool_release(parts->pool, segment, 0);
    (void)pthread_mutex_lock(&parts->lock);
    piece->md5 = run;
    piece->hashed++;
    if (last)
        (void)compare_digest(parts, piece, md5, &parts->broken);
    (void)pthread_mutex_unlock(&parts->lock);
    return true;
}

/* Carry the running MD5 on as far as the segments in the pool reach.  One thread at a time; one
 * that comes meanwhile only knocks, and the first looks again. */
void parts_advance_digest(struct parts *parts, struct piece *piece)
{
    unsigned knocks;

    (void)pthread_mutex_lock(&parts->lock);
    piece->knocks++;
    if (parts_has_running_digest(piece) && !piece->hashing && piece->hashed < piece->segments) {
        piece->hashing = true;
        while (piece->hashing) {
            knocks = piece->knocks;
            (void)pthread_mutex_unlock(&parts->lock);
            while (hash_next(parts, piece))
                ;
            (void)pthread_mutex_lock(&parts->lock);
            piece->hashing = knocks != piece->knocks;
        }
        (void)pthread_cond_broadcast(&parts->hashed);
    }
    (void)pthread_mutex_unlock(&parts->lock);
}

void parts_wait_digest(struct parts *parts, struct piece *piece)
{
    (void)pthread_mutex_lock(&parts->lock);
    while (piece->hashing)
        (void)pthread_cond_wait(&parts->hashed, &parts->lock);
    (void)pthread_mutex_unlock(&parts->lock);
}

int parts_is_broken(struct parts *parts, struct im_error *err)
{
    int number;

    (void)pthread_mutex_lock(&parts->lock);
    number = parts->broken.number;
    if (number && err)
        *err = parts->broken;
    (void)pthread_mutex_unlock(&parts->lock);
    return -number;
}

/* ---- pieces that stand on this machine ---- */

/* Bytes of a long piece read at once. */
#define READ_AT_ONCE (1u << 20)

/* Read from the piece's file; false: that cannot be done any more, and the piece is fetched. */
static bool read_file(struct parts *parts, struct piece *piece, void *buf, size_t len,
                      uint64_t offset)
{
    bool done;
    int fd;

    (void)pthread_mutex_lock(&parts->lock);
    fd = parts_file_of(parts, piece);
    done = fd >= 0 && im_pread(fd, buf, len, offset) == (ssize_t)len;
    if (!done)
        parts_forget_file(piece);
    (void)pthread_mutex_unlock(&parts->lock);
    return done;
}

static int judge_file(struct parts *parts, struct piece *piece, const uint8_t md5[16],
                      struct im_error *err)
{
    (void)pthread_mutex_lock(&parts->lock);
    piece->proven_file = compare_digest(parts, piece, md5, err);
    (void)pthread_mutex_unlock(&parts->lock);
    return piece->proven_file ? 0 : -EBADMSG;
}

/* Whether there is a file and it is not proven yet. */
static bool needs_proof(struct parts *parts, struct piece *piece)
{
    uint8_t md5[16];
    bool needs;

    (void)pthread_mutex_lock(&parts->lock);
    piece->proven_file = piece->proven_file || !has_digest(piece, md5);
    needs = piece->file && !piece->proven_file;
    (void)pthread_mutex_unlock(&parts->lock);
    return needs;
}

/* A piece of several segments. */
static int prove_long_file(struct parts *parts, struct piece *piece, struct im_error *err)
{
    struct im_hasher *hasher = im_hasher_new(IM_MD5);
    void *buf = malloc(READ_AT_ONCE);
    int r = hasher && buf ? 0 : im_fail(err, ENOMEM, "out of memory");
    uint8_t md5[IM_HASH_MAX];
    uint64_t at = 0;

    while (r == 0 && at < piece->len) {
        size_t len = (size_t)im_min(READ_AT_ONCE, piece->len - at);

        r = im_cancel_check(err);
        if (r < 0 || !read_file(parts, piece, buf, len, at))
            break;
        im_hasher_add(hasher, buf, len);
        at += len;
    }
    if (r == 0 && at == piece->len) {
        im_hasher_end(hasher, md5);
        r = judge_file(parts, piece, md5, err);
    }
    im_hasher_free(hasher);
    free(buf);
    return r;
}

/* This one of one segment and those after it, hashed side by side. */
static int prove_short_files(struct parts *parts, struct piece *piece, struct im_error *err)
{
    struct piece *end = parts->piece + parts->piece_count, *group[IM_MD5_LANES];
    struct im_md5 md5[IM_MD5_LANES] = { 0 };
    uint8_t *buf[IM_MD5_LANES] = { 0 };
    size_t count = 0;
    int r = 0;

    for (; r == 0 && piece < end && count < IM_MD5_LANES; piece++) {
        if (piece->segments > 1 || !needs_proof(parts, piece))
            continue;
        free(buf[count]); /* of one that could not be read */
        buf[count] = malloc((size_t)piece->len);
        r = buf[count] ? im_cancel_check(err) : im_fail(err, ENOMEM, "out of memory");
        if (r < 0 || !read_file(parts, piece, buf[count], (size_t)piece->len, 0))
            continue;
        md5[count] = (struct im_md5){ .data = buf[count], .len = (size_t)piece->len };
        group[count++] = piece;
    }
    if (r == 0 && count > 0)
        im_md5_many(md5, count);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = judge_file(parts, group[i], md5[i].digest, err);
    for (size_t i = 0; i < IM_MD5_LANES; i++)
        free(buf[i]);
    return r;
}

int parts_prove_file(struct parts *parts, struct piece *piece, struct im_error *err)
{
    if (!needs_proof(parts, piece))
        return 0;
    return piece->segments > 1 ? prove_long_file(parts, piece, err)
                               : prove_short_files(parts, piece, err);
}

/* ---- what the pool asks ---- */

/* Take what an answer told of the object.  0, 1 when the MD5 is still to be compared, or -EBADMSG.
 * Lock held. */
static int take_answer(struct parts *parts, struct piece *piece, size_t segment,
                       const struct im_fetch *fetch, struct im_error *err)
{
    uint8_t md5[16];

    if (!piece->etag[0])
        memcpy(piece->etag, fetch->etag, sizeof(piece->etag));
    else if (fetch->etag[0] && strcmp(piece->etag, fetch->etag) != 0)
        return im_fail_code(err, EBADMSG, "DamagedPart", "%s changed while it was read",
                            fetch->what);
    piece->sealed = piece->sealed || fetch->sealed;
    if (piece->segments == 1 && has_digest(piece, md5))
        return 1;
    parts->fetched[segment] = true;
    return 0;
}

static int fill_segment(void *arg, struct im_http *http, size_t segment, unsigned damaged,
                        uint8_t *buf, size_t *ret_len, struct im_error *err)
{
    struct parts *parts = arg;
    struct im_fetch_tries tries = { .rules = &parts->rules, .done = damaged - 1 };
    struct piece *piece = parts_piece_of(parts, segment);
    struct name name = name_of(parts, piece);
    uint64_t offset = parts_offset_in_piece(piece, segment);
    struct im_fetch fetch = {
        .url = piece->url,
        .what = name.text,
        .offset = offset,
        .len = piece->segments == 1 ? (size_t)piece->len
                                    : (size_t)im_min(IM_PARTS_CUT, piece->len - offset),
        .object_size = piece->len,
    };
    int r;

    if (damaged > 0 && !im_fetch_again(&tries, -EBADMSG))
        return -EBADMSG;
    (void)pthread_mutex_lock(&parts->lock);
    memcpy(fetch.etag, piece->etag, sizeof(fetch.etag));
    (void)pthread_mutex_unlock(&parts->lock);
    r = im_fetch(http, &fetch, &parts->rules, buf, err);
    if (r < 0)
        return r;
    (void)pthread_mutex_lock(&parts->lock);
    r = take_answer(parts, piece, segment, &fetch, err);
    (void)pthread_mutex_unlock(&parts->lock);
    *ret_len = fetch.len;
    return r;
}

static void prove_segments(void *arg, struct im_pool_proof *proof, size_t count)
{
    struct parts *parts = arg;
    struct im_md5 md5[IM_POOL_GROUP] = { 0 };

    for (size_t i = 0; i < count; i++)
        md5[i] = (struct im_md5){ .data = proof[i].buf, .len = proof[i].len };
    if (count == 1) /* one alone is faster there */
        im_hash(IM_MD5, md5[0].data, md5[0].len, md5[0].digest);
    else
        im_md5_many(md5, count);

    (void)pthread_mutex_lock(&parts->lock);
    for (size_t i = 0; i < count; i++) {
        struct im_fetch_tries tries = { .rules = &parts->rules, .done = proof[i].damaged };
        struct piece *piece = parts_piece_of(parts, proof[i].segment);

        proof[i].good = compare_digest(parts, piece, md5[i].digest, proof[i].err);
        if (proof[i].good && proof[i].damaged > 0) /* else its fetching told already */
            im_fetch_healed(&tries);
        if (!proof[i].good && !piece->told) /* the answer was wrong; so may be its ETag */
            piece->etag[0] = '\0';
        parts->fetched[proof[i].segment] = proof[i].good;
    }
    (void)pthread_mutex_unlock(&parts->lock);
}

static void segment_filled(void *arg, size_t segment)
{
    struct parts *parts = arg;

    parts_advance_digest(parts, parts_piece_of(parts, segment));
}

static bool is_wanted(void *arg, size_t segment)
{
    struct parts *parts = arg;
    const struct piece *piece = parts_piece_of(parts, segment);
    bool has_file;

    if (atomic_load(&parts->finishing))
        return !parts_is_proven(parts, segment);
    (void)pthread_mutex_lock(&parts->lock);
    has_file = piece->file != NULL;
    (void)pthread_mutex_unlock(&parts->lock);
    return !has_file;
}

int parts_start_pool(struct parts *parts, struct im_error *err)
{
    const struct im_pool_owner owner = {
        .fill = fill_segment,
        .prove = prove_segments,
        .filled = segment_filled,
        .is_wanted = is_wanted,
        .arg = parts,
    };
    uint64_t longest = 0;

    for (size_t i = 0; i < parts->piece_count; i++)
        if (parts->piece[i].segments > 1 && longest < IM_PARTS_CUT)
            longest = IM_PARTS_CUT;
        else if (parts->piece[i].segments == 1 && longest < parts->piece[i].len)
            longest = parts->piece[i].len;
    return im_pool_new(&owner, parts->segment_count, (size_t)longest, &parts->pool, err);
}

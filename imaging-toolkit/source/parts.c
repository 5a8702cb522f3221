/* parts - remote objects as one flat source: places, and the proof of what was read.
 *
 * An object that is one segment is proven when it is fetched.  One of several segments has a
 * running MD5 when its ETag is one; its first bytes are given out before the last are known to be
 * right, so a mismatch ends the source for good, and finish() does not let the result be committed
 * before. */

#include <config.h>

#include "source/parts.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "core/cancel.h"
#include "source/fetch.h"
#include "source/pool.h"

/* A reader that went forwards for so many bytes will go on. */
#define AHEAD_AFTER (256u * 1024)

struct piece {
    char *url;
    uint64_t start, len;
    size_t first, segments;   /* its segments, counted over the whole source */
    char etag[128];           /* "" until known */
    struct im_hasher *hasher; /* running MD5 of a piece of several segments */
    size_t hashed;            /* segments it has seen, in order */
    bool hashing;             /* a thread is at it */
    unsigned knocks;          /* times a thread found it so, or did it */
};

struct parts {
    struct im_source base;
    char *what, *file_format;
    size_t piece_count, segment_count;
    struct piece *piece;
    struct im_pool *pool;
    struct im_fetch_rules rules;
    atomic_int budget;
    volatile bool stop;

    pthread_mutex_t lock;      /* guards what follows, and the pieces; taken after the pool's */
    pthread_cond_t hashed;     /* some thread stopped hashing */
    bool *fetched;             /* per segment: was here, proven but for its piece's MD5 */
    uint64_t next_offset, run; /* where the last read ended; how long it went forwards */
    bool finishing;
    struct im_error broken; /* a piece proved wrong after its first bytes were given out */
};

/* ---- places ---- */

/* The piece that holds a segment, or the byte at an offset. */
static struct piece *find_piece(struct parts *parts, uint64_t place, bool is_offset)
{
    size_t low = 0, high = parts->piece_count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        const struct piece *piece = &parts->piece[middle];

        if ((is_offset ? piece->start : piece->first) <= place)
            low = middle;
        else
            high = middle;
    }
    return &parts->piece[low];
}

static struct piece *piece_of(struct parts *parts, size_t segment)
{
    return find_piece(parts, segment, false);
}

static uint64_t offset_in_piece(const struct piece *piece, size_t segment)
{
    return (uint64_t)(segment - piece->first) * IM_PARTS_CUT;
}

static size_t segment_at(struct parts *parts, uint64_t offset)
{
    const struct piece *piece = find_piece(parts, offset, true);
    uint64_t nth = piece->segments == 1 ? 0 : (offset - piece->start) / IM_PARTS_CUT;

    return piece->first + (size_t)nth;
}

static size_t segments_of(uint64_t len)
{
    return len <= IM_PARTS_WHOLE_MAX ? 1 : (size_t)((len - 1) / IM_PARTS_CUT + 1);
}

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

/* Whether the piece needs a running MD5.  Lock held. */
static bool has_digest(const struct piece *piece)
{
    uint8_t md5[16];

    return piece->segments > 1 && im_fetch_md5_of_etag(piece->etag, md5);
}

static bool is_proven(struct parts *parts, size_t segment)
{
    const struct piece *piece = piece_of(parts, segment);
    bool proven;

    (void)pthread_mutex_lock(&parts->lock);
    proven = has_digest(piece) ? segment - piece->first < piece->hashed : parts->fetched[segment];
    (void)pthread_mutex_unlock(&parts->lock);
    return proven;
}

/* After the last segment was hashed.  Lock held. */
static void compare_digest(struct parts *parts, struct piece *piece)
{
    uint8_t want[16] = { 0 }, have[16];
    char text[33];

    im_hasher_end(piece->hasher, have);
    piece->hasher = im_hasher_free(piece->hasher);
    (void)im_fetch_md5_of_etag(piece->etag, want);
    im_hex(have, sizeof(have), text);
    if (memcmp(want, have, sizeof(want)) != 0)
        (void)im_fail_code(&parts->broken, EBADMSG, "DamagedPart",
                           "%s: its bytes have MD5 %s, but the server's ETag says %s",
                           name_of(parts, piece).text, text, piece->etag);
}

/* Hash the segment that is next in order, if it is in the pool; true when it was. */
static bool hash_next(struct parts *parts, struct piece *piece)
{
    size_t segment = piece->first + piece->hashed; /* only the thread that hashes changes it */
    const uint8_t *buf;
    size_t len;

    if (piece->hashed == piece->segments || !im_pool_peek(parts->pool, segment, &buf, &len))
        return false;
    im_hasher_add(piece->hasher, buf, len);
    im_pool_release(parts->pool, segment, 0);
    (void)pthread_mutex_lock(&parts->lock);
    if (++piece->hashed == piece->segments)
        compare_digest(parts, piece);
    (void)pthread_mutex_unlock(&parts->lock);
    return true;
}

/* Carry the running MD5 on as far as the segments in the pool reach.  One thread at a time; one
 * that comes meanwhile only knocks, and the first looks again. */
static void advance_digest(struct parts *parts, struct piece *piece)
{
    unsigned knocks;

    (void)pthread_mutex_lock(&parts->lock);
    piece->knocks++;
    if (has_digest(piece) && !piece->hashing && piece->hashed < piece->segments) {
        if (!piece->hasher)
            piece->hasher = im_hasher_new(IM_MD5);
        if (!piece->hasher)
            (void)im_fail(&parts->broken, ENOMEM, "out of memory");
        piece->hashing = piece->hasher != NULL;
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

static void wait_digest(struct parts *parts, struct piece *piece)
{
    (void)pthread_mutex_lock(&parts->lock);
    while (piece->hashing)
        (void)pthread_cond_wait(&parts->hashed, &parts->lock);
    (void)pthread_mutex_unlock(&parts->lock);
}

static int is_broken(struct parts *parts, struct im_error *err)
{
    int number;

    (void)pthread_mutex_lock(&parts->lock);
    number = parts->broken.number;
    if (number && err)
        *err = parts->broken;
    (void)pthread_mutex_unlock(&parts->lock);
    return -number;
}

/* ---- what the pool asks ---- */

static int fill_segment(void *arg, struct im_http *http, size_t segment, uint8_t *buf,
                        size_t *ret_len, struct im_error *err)
{
    struct parts *parts = arg;
    struct piece *piece = piece_of(parts, segment);
    struct name name = name_of(parts, piece);
    uint64_t offset = offset_in_piece(piece, segment);
    struct im_fetch fetch = {
        .url = piece->url,
        .what = name.text,
        .offset = offset,
        .len = piece->segments == 1 ? (size_t)piece->len
                                    : (size_t)im_min(IM_PARTS_CUT, piece->len - offset),
        .object_size = piece->len,
    };
    int r;

    (void)pthread_mutex_lock(&parts->lock);
    memcpy(fetch.etag, piece->etag, sizeof(fetch.etag));
    (void)pthread_mutex_unlock(&parts->lock);
    r = im_fetch(http, &fetch, &parts->rules, buf, err);
    if (r < 0)
        return r;
    (void)pthread_mutex_lock(&parts->lock);
    if (!piece->etag[0])
        memcpy(piece->etag, fetch.etag, sizeof(piece->etag));
    else if (fetch.etag[0] && strcmp(piece->etag, fetch.etag) != 0)
        r = im_fail_code(err, EBADMSG, "DamagedPart", "%s changed while it was read", name.text);
    if (r == 0)
        parts->fetched[segment] = true;
    (void)pthread_mutex_unlock(&parts->lock);
    *ret_len = fetch.len;
    return r;
}

static void segment_filled(void *arg, size_t segment)
{
    struct parts *parts = arg;

    advance_digest(parts, piece_of(parts, segment));
}

static bool is_wanted(void *arg, size_t segment)
{
    struct parts *parts = arg;

    return !parts->finishing || !is_proven(parts, segment);
}

/* ---- the source ---- */

/* Keep account of where reads go; true when they go forwards. */
static bool note_read(struct parts *parts, uint64_t offset, size_t len)
{
    bool forwards;

    (void)pthread_mutex_lock(&parts->lock);
    parts->run = offset == parts->next_offset ? parts->run + len : len;
    parts->next_offset = offset + len;
    forwards = parts->run >= AHEAD_AFTER;
    (void)pthread_mutex_unlock(&parts->lock);
    return forwards;
}

static int parts_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                      size_t *ret_len, struct im_error *err)
{
    struct parts *parts = (struct parts *)source;
    bool forwards;
    size_t done = 0;

    if (offset >= source->size)
        len = 0;
    else if (len > source->size - offset)
        len = (size_t)(source->size - offset);
    forwards = note_read(parts, offset, len);

    while (done < len) {
        size_t segment = segment_at(parts, offset + done), segment_len, skip, n;
        const struct piece *piece = piece_of(parts, segment);
        const uint8_t *bytes;
        int r = is_broken(parts, err);

        if (r == 0)
            r = im_pool_acquire(parts->pool, segment, forwards, &bytes, &segment_len, err);
        if (r < 0)
            return r;
        skip = (size_t)(offset + done - piece->start - offset_in_piece(piece, segment));
        n = (size_t)im_min(len - done, segment_len - skip);
        memcpy((uint8_t *)buf + done, bytes + skip, n);
        im_pool_release(parts->pool, segment, n);
        done += n;
    }
    *ret_len = done;
    return 0;
}

/* Fetch what was never read, and what the running digests missed because it came out of order. */
static int parts_finish(struct im_source *source, struct im_error *err)
{
    struct parts *parts = (struct parts *)source;

    parts->finishing = true;
    for (size_t segment = 0; segment < parts->segment_count; segment++)
        while (!is_proven(parts, segment)) {
            const uint8_t *bytes;
            size_t len;
            int r = is_broken(parts, err);

            if (r == 0)
                r = im_pool_acquire(parts->pool, segment, true, &bytes, &len, err);
            if (r < 0)
                return r;
            advance_digest(parts, piece_of(parts, segment));
            wait_digest(parts, piece_of(parts, segment));
            im_pool_release(parts->pool, segment, len);
        }
    return is_broken(parts, err);
}

static void parts_close(struct im_source *source)
{
    struct parts *parts = (struct parts *)source;

    parts->stop = true;
    im_pool_free(parts->pool);
    for (size_t i = 0; parts->piece && i < parts->piece_count; i++) {
        im_hasher_free(parts->piece[i].hasher);
        free(parts->piece[i].url);
    }
    (void)pthread_cond_destroy(&parts->hashed);
    (void)pthread_mutex_destroy(&parts->lock);
    free(parts->piece);
    free(parts->fetched);
    free(parts->what);
    free(parts->file_format);
}

static const struct im_source_ops parts_ops = {
    .name = "parts",
    .read = parts_read,
    .finish = parts_finish,
    .close = parts_close,
};

const char *im_parts_file_format(const struct im_source *source)
{
    return source->ops == &parts_ops ? ((const struct parts *)source)->file_format : NULL;
}

uint64_t im_parts_memory(const struct im_source *source)
{
    return im_pool_memory(((const struct parts *)source)->pool);
}

/* ---- opening ---- */

static int take_pieces(struct parts *parts, const struct im_piece *pieces, size_t count,
                       struct im_error *err)
{
    parts->piece = calloc(count + 1, sizeof(*parts->piece));
    if (!parts->piece)
        return im_fail(err, ENOMEM, "out of memory");
    parts->piece_count = count;
    for (size_t i = 0; i < count; i++) {
        struct piece *piece = &parts->piece[i];

        piece->start = parts->base.size;
        piece->len = pieces[i].len;
        piece->first = parts->segment_count;
        piece->segments = segments_of(piece->len);
        if (__builtin_add_overflow(parts->base.size, piece->len, &parts->base.size) ||
            piece->segments > IM_PARTS_SEGMENTS_MAX - parts->segment_count)
            return im_fail(err, EFBIG, "'%s' is larger than the 64 TiB that can be read",
                           parts->base.name);
        parts->segment_count += piece->segments;
        (void)snprintf(piece->etag, sizeof(piece->etag), "%s", pieces[i].etag);
        piece->url = strdup(pieces[i].url);
        if (!piece->url)
            return im_fail(err, ENOMEM, "out of memory");
    }
    parts->fetched = calloc(parts->segment_count + 1, sizeof(*parts->fetched));
    return parts->fetched ? 0 : im_fail(err, ENOMEM, "out of memory");
}

static int copy_text(char **ret, const char *text, struct im_error *err)
{
    *ret = text ? strdup(text) : NULL;
    return *ret || !text ? 0 : im_fail(err, ENOMEM, "out of memory");
}

static int start_pool(struct parts *parts, struct im_error *err)
{
    const struct im_pool_owner owner = {
        .fill = fill_segment, .filled = segment_filled, .is_wanted = is_wanted, .arg = parts
    };
    uint64_t longest = 0;

    for (size_t i = 0; i < parts->piece_count; i++)
        if (parts->piece[i].segments > 1 && longest < IM_PARTS_CUT)
            longest = IM_PARTS_CUT;
        else if (parts->piece[i].segments == 1 && longest < parts->piece[i].len)
            longest = parts->piece[i].len;
    return im_pool_new(&owner, parts->segment_count, (size_t)longest, &parts->pool, err);
}

int im_parts_open(const char *name, const struct im_piece *pieces, size_t count,
                  const struct im_parts_options *options, struct im_source **ret_source,
                  struct im_error *err)
{
    struct parts *parts = im_source_new(sizeof(*parts), &parts_ops, name);
    int r;

    if (!parts)
        return im_fail(err, ENOMEM, "out of memory");
    (void)pthread_mutex_init(&parts->lock, NULL);
    (void)pthread_cond_init(&parts->hashed, NULL);
    atomic_init(&parts->budget, IM_FETCH_BUDGET);
    r = take_pieces(parts, pieces, count, err);
    if (r == 0)
        r = copy_text(&parts->what, options->what, err);
    if (r == 0)
        r = copy_text(&parts->file_format, options->file_format, err);
    parts->rules = (struct im_fetch_rules){
        .tries = options->tries,
        .stall_timeout_s = options->stall_timeout_s,
        .cancel = &parts->stop,
        .budget = &parts->budget,
        .missing_code = options->missing_code,
    };
    if (r == 0)
        r = start_pool(parts, err);
    if (r < 0)
        im_source_close(&parts->base);
    else
        *ret_source = &parts->base;
    return r;
}

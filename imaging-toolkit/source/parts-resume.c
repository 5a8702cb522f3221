/* parts-resume - remote objects as one flat source: what another process may go on with.
 *
 * What is told of proofs is a list of items, little-endian numbers of 32 bits:
 *   1, first segment, count: these were fetched, and their MD5 is right where they have one each;
 *   2, piece, segments hashed, the four words of the running MD5 behind them. */

#include <config.h>

#include "source/parts-inner.h"

#include <errno.h>
#include <inttypes.h>

#include "base/buffer.h"
#include "base/bytes.h"

enum { FETCHED = 1, HASHED = 2 };

#define FETCHED_LEN 12u
#define HASHED_LEN  28u

int parts_identify(struct im_source *source, struct im_buffer *text)
{
    struct parts *parts = (struct parts *)source;
    int r = im_buffer_printf(text, "parts %zu\n", parts->piece_count);

    for (size_t i = 0; r == 0 && i < parts->piece_count; i++) {
        const struct piece *piece = &parts->piece[i];

        /* nothing else tells an upload from another one under the same name */
        if (!piece->told)
            return -EOPNOTSUPP;
        r = im_buffer_printf(text, "%" PRIu64 " %d %s\n", piece->len, piece->sealed, piece->etag);
    }
    return r;
}

/* ---- telling ---- */

/* Tell of the fetched segments of the piece that nobody was told of; those that wait for the MD5 of
 * the whole piece are told of by it. */
static int tell_fetched(struct parts *parts, const struct piece *piece, struct im_buffer *proof)
{
    size_t end = piece->first + piece->segments;
    int r = 0;

    for (size_t s = piece->first; r == 0 && s < end;) {
        size_t first = s;

        for (; s < end && parts->fetched[s] && !parts->told[s]; s++)
            parts->told[s] = true;
        if (s > first) {
            r = im_buffer_le32(proof, FETCHED);
            r = r < 0 ? r : im_buffer_le32(proof, (uint32_t)first);
            r = r < 0 ? r : im_buffer_le32(proof, (uint32_t)(s - first));
        } else {
            s++;
        }
    }
    return r;
}

static int tell_hashed(struct parts *parts, struct piece *piece, struct im_buffer *proof)
{
    int r;

    if (piece->hashed == piece->told_hashed)
        return 0;
    piece->told_hashed = piece->hashed;
    r = im_buffer_le32(proof, HASHED);
    r = r < 0 ? r : im_buffer_le32(proof, (uint32_t)(piece - parts->piece));
    r = r < 0 ? r : im_buffer_le32(proof, (uint32_t)piece->hashed);
    for (int i = 0; r == 0 && i < 4; i++)
        r = im_buffer_le32(proof, piece->md5.word[i]);
    return r;
}

/* Whether the next segment for the piece's running MD5 has come. */
static bool lags(struct parts *parts, const struct piece *piece)
{
    bool late;

    (void)pthread_mutex_lock(&parts->lock);
    late = parts_has_running_digest(piece) && piece->hashed < piece->segments &&
           parts->fetched[piece->first + piece->hashed];
    (void)pthread_mutex_unlock(&parts->lock);
    return late;
}

int parts_proven(struct im_source *source, struct im_buffer *proof)
{
    struct parts *parts = (struct parts *)source;
    int r;

    /* what has been given away may not have been hashed yet, and would be fetched again for that */
    for (size_t i = 0; i < parts->piece_count; i++)
        if (lags(parts, &parts->piece[i])) {
            parts_advance_digest(parts, &parts->piece[i]);
            parts_wait_digest(parts, &parts->piece[i]);
        }

    (void)pthread_mutex_lock(&parts->lock);
    r = -parts->broken.number;
    for (size_t i = 0; r == 0 && i < parts->piece_count; i++) {
        struct piece *piece = &parts->piece[i];

        r = parts_has_running_digest(piece) ? tell_hashed(parts, piece, proof)
                                            : tell_fetched(parts, piece, proof);
    }
    (void)pthread_mutex_unlock(&parts->lock);
    return r;
}

/* ---- trusting ---- */

static int trust_fetched(struct parts *parts, const uint8_t *item)
{
    uint64_t first = im_le32(item + 4), count = im_le32(item + 8);

    if (first + count > parts->segment_count)
        return -EBADMSG;
    for (uint64_t s = first; s < first + count; s++)
        parts->fetched[s] = parts->told[s] = true;
    return 0;
}

static int trust_hashed(struct parts *parts, const uint8_t *item)
{
    uint32_t number = im_le32(item + 4), hashed = im_le32(item + 8);
    struct piece *piece;

    if (number >= parts->piece_count)
        return -EBADMSG;
    piece = &parts->piece[number];
    if (!parts_has_running_digest(piece) || hashed < piece->hashed || hashed > piece->segments)
        return -EBADMSG;
    piece->hashed = piece->told_hashed = hashed;
    piece->md5.len = (uint64_t)hashed * IM_PARTS_CUT;
    for (int i = 0; i < 4; i++)
        piece->md5.word[i] = im_le32(item + 12 + 4 * i);
    return 0;
}

int parts_trust(struct im_source *source, const void *proof, size_t len)
{
    struct parts *parts = (struct parts *)source;
    const uint8_t *item = proof, *end = item + len;
    int r = 0;

    (void)pthread_mutex_lock(&parts->lock);
    while (r == 0 && item < end) {
        size_t left = (size_t)(end - item), size = 0;
        uint32_t kind = left < 4 ? 0 : im_le32(item);

        if (kind == FETCHED && left >= FETCHED_LEN) {
            r = trust_fetched(parts, item);
            size = FETCHED_LEN;
        } else if (kind == HASHED && left >= HASHED_LEN) {
            r = trust_hashed(parts, item);
            size = HASHED_LEN;
        } else {
            r = -EBADMSG;
        }
        item += size;
    }
    (void)pthread_mutex_unlock(&parts->lock);
    return r;
}

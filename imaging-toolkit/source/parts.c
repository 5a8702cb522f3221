/* parts - remote objects as one flat source: places, reading, opening and closing. */

#include <config.h>

#include "source/parts-inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

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

struct piece *parts_piece_of(struct parts *parts, size_t segment)
{
    return find_piece(parts, segment, false);
}

struct piece *parts_piece_at(struct parts *parts, uint64_t offset)
{
    return find_piece(parts, offset, true);
}

uint64_t parts_offset_in_piece(const struct piece *piece, size_t segment)
{
    return (uint64_t)(segment - piece->first) * IM_PARTS_CUT;
}

size_t parts_segment_at(const struct piece *piece, uint64_t offset_in_piece)
{
    return piece->first + (size_t)(piece->segments == 1 ? 0 : offset_in_piece / IM_PARTS_CUT);
}

static size_t segments_of(uint64_t len)
{
    return len <= IM_PARTS_WHOLE_MAX ? 1 : (size_t)((len - 1) / IM_PARTS_CUT + 1);
}

/* ---- pieces that stand on this machine ---- */

int parts_file_of(struct parts *parts, struct piece *piece)
{
    int fd = piece->file ? im_local_file(parts->local, piece->file, piece->len) : -1;

    if (fd < 0)
        parts_forget_file(piece);
    return fd;
}

void parts_forget_file(struct piece *piece)
{
    free(piece->file);
    piece->file = NULL;
}

static int parts_local(struct im_source *source, uint64_t offset, uint64_t len, int *ret_fd,
                       uint64_t *ret_at, uint64_t *ret_len)
{
    struct parts *parts = (struct parts *)source;
    struct piece *piece;
    int fd;

    if (offset >= source->size)
        return -EOPNOTSUPP;
    piece = parts_piece_at(parts, offset);
    if (parts_prove_file(parts, piece, NULL) < 0)
        return -EOPNOTSUPP; /* reading says why */
    (void)pthread_mutex_lock(&parts->lock);
    fd = parts_file_of(parts, piece);
    (void)pthread_mutex_unlock(&parts->lock);
    if (fd < 0)
        return -EOPNOTSUPP;
    *ret_fd = fd;
    *ret_at = offset - piece->start;
    *ret_len = im_min(len, piece->len - *ret_at);
    return 0;
}

/* ---- the source ---- */

/* The file of a piece, all of it; or the segment that holds the byte. */
static int parts_lend(struct im_source *source, uint64_t offset, unsigned how, struct im_lent *ret,
                      struct im_error *err)
{
    struct parts *parts = (struct parts *)source;
    struct piece *piece = parts_piece_at(parts, offset);
    size_t segment = parts_segment_at(piece, offset - piece->start), len;
    int r = parts_is_broken(parts, err);

    if (r == 0)
        r = parts_prove_file(parts, piece, err);
    if (r < 0)
        return r;
    *ret = (struct im_lent){ .offset = piece->start, .len = piece->len, .segment = segment };
    (void)pthread_mutex_lock(&parts->lock);
    if (how & IM_LEND_MEMORY)
        parts_forget_file(piece);
    ret->file = parts_file_of(parts, piece);
    (void)pthread_mutex_unlock(&parts->lock);
    if (ret->file >= 0)
        return 0;
    r = im_pool_acquire(parts->pool, segment, how & IM_LEND_FORWARDS, &ret->bytes, &len, err);
    if (r < 0)
        return r;
    im_pool_begin(parts->pool, segment);
    ret->offset += parts_offset_in_piece(piece, segment);
    ret->len = len;
    ret->at = im_pool_place(parts->pool, ret->bytes);
    return 0;
}

static void parts_give_back(struct im_source *source, const struct im_lent *lent, size_t used)
{
    if (lent->file < 0)
        im_pool_release(((struct parts *)source)->pool, lent->segment, used);
}

static int parts_memory(const struct im_source *source, uint64_t *ret_len)
{
    return im_pool_file(((const struct parts *)source)->pool, ret_len);
}

static int parts_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                      size_t *ret_len, struct im_error *err)
{
    struct parts *parts = (struct parts *)source;
    bool forwards;

    (void)pthread_mutex_lock(&parts->lock);
    forwards = im_reads_note(&parts->reads, offset, len);
    (void)pthread_mutex_unlock(&parts->lock);
    return im_lend_read(source, buf, len, offset, forwards, ret_len, err);
}

/* A piece that stands on this machine is never waited for. */
static size_t parts_ready(struct im_source *source, uint64_t offset, size_t len)
{
    struct parts *parts = (struct parts *)source;
    size_t done = 0;

    while (done < len) {
        struct piece *piece = parts_piece_at(parts, offset + done);
        uint64_t at = offset + done - piece->start, end = piece->len;
        bool fetched;

        (void)pthread_mutex_lock(&parts->lock);
        fetched = !piece->file;
        (void)pthread_mutex_unlock(&parts->lock);
        if (fetched) {
            size_t segment = parts_segment_at(piece, at);

            if (!im_pool_is_here(parts->pool, segment, done == 0))
                break;
            if (segment + 1 < piece->first + piece->segments)
                end = parts_offset_in_piece(piece, segment + 1);
        }
        done += (size_t)im_min(len - done, end - at);
    }
    return done;
}

/* Fetch what was never read, and what the running digests missed because it came out of order. */
static int parts_finish(struct im_source *source, struct im_error *err)
{
    struct parts *parts = (struct parts *)source;

    for (size_t i = 0; i < parts->piece_count; i++) {
        int r = parts_prove_file(parts, &parts->piece[i], err);

        if (r < 0)
            return r;
    }
    atomic_store(&parts->finishing, true);
    for (size_t segment = 0; segment < parts->segment_count; segment++)
        while (!parts_is_proven(parts, segment)) {
            const uint8_t *bytes;
            size_t len;
            int r = parts_is_broken(parts, err);

            if (r == 0)
                r = im_pool_acquire(parts->pool, segment, true, &bytes, &len, err);
            if (r < 0)
                return r;
            parts_advance_digest(parts, parts_piece_of(parts, segment));
            parts_wait_digest(parts, parts_piece_of(parts, segment));
            im_pool_release(parts->pool, segment, len);
        }
    return parts_is_broken(parts, err);
}

static void parts_close(struct im_source *source)
{
    struct parts *parts = (struct parts *)source;

    __atomic_store_n(&parts->stop, true, __ATOMIC_RELAXED);
    im_pool_free(parts->pool);
    im_local_free(parts->local);
    for (size_t i = 0; parts->piece && i < parts->piece_count; i++) {
        free(parts->piece[i].file);
        free(parts->piece[i].url);
    }
    (void)pthread_cond_destroy(&parts->hashed);
    (void)pthread_mutex_destroy(&parts->lock);
    free(parts->piece);
    free(parts->fetched);
    free(parts->told);
    free(parts->what);
}

static const struct im_source_ops parts_ops = {
    .name = "parts",
    .read = parts_read,
    .local = parts_local,
    .finish = parts_finish,
    .ready = parts_ready,
    .identify = parts_identify,
    .proven = parts_proven,
    .trust = parts_trust,
    .lend = parts_lend,
    .give_back = parts_give_back,
    .memory = parts_memory,
    .close = parts_close,
};

uint64_t im_parts_memory(const struct im_source *source)
{
    return im_pool_memory(((const struct parts *)source)->pool);
}

/* ---- opening ---- */

static int copy_text(char **ret, const char *text, struct im_error *err)
{
    *ret = text ? strdup(text) : NULL;
    return *ret || !text ? 0 : im_fail(err, ENOMEM, "out of memory");
}

static int take_pieces(struct parts *parts, const struct im_piece *pieces, size_t count,
                       struct im_error *err)
{
    parts->piece = calloc(count + 1, sizeof(*parts->piece));
    if (!parts->piece)
        return im_fail(err, ENOMEM, "out of memory");
    parts->piece_count = count;
    parts->base.direct = count > 0;
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
        parts->base.direct = parts->base.direct && pieces[i].file;
        (void)snprintf(piece->etag, sizeof(piece->etag), "%s", pieces[i].etag);
        piece->told = piece->etag[0] != '\0';
        piece->sealed = pieces[i].sealed;
        piece->md5 = im_md5_run_new();
        if (copy_text(&piece->url, pieces[i].url, err) < 0 ||
            copy_text(&piece->file, pieces[i].file, err) < 0)
            return -ENOMEM;
    }
    parts->fetched = calloc(parts->segment_count + 1, sizeof(*parts->fetched));
    parts->told = calloc(parts->segment_count + 1, sizeof(*parts->told));
    return parts->fetched && parts->told ? 0 : im_fail(err, ENOMEM, "out of memory");
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
    atomic_init(&parts->budget, options->budget ? options->budget : IM_FETCH_BUDGET);
    r = take_pieces(parts, pieces, count, err);
    if (r == 0)
        r = copy_text(&parts->what, options->what, err);
    parts->rules = (struct im_fetch_rules){
        .tries = options->tries,
        .stall_timeout_s = options->stall_timeout_s,
        .cancel = &parts->stop,
        .budget = &parts->budget,
        .missing_code = options->missing_code,
    };
    if (options->local_dir)
        parts->local = im_local_new(options->local_dir);
    if (r == 0)
        r = parts_start_pool(parts, err);
    if (r < 0)
        im_source_close(&parts->base);
    else
        *ret_source = &parts->base;
    return r;
}

/* copy - the loop that moves a disk into a store.
 *
 * A store that takes offsets gets the disk's own walk, in source order; a pipe gets the disk in
 * disk order with the gaps filled.  Zeros are found in units of 4 KiB and never written to a store
 * that begins as a hole.  What stands in the source as it must stand in the store is shared by
 * reference where the file system can. */

#include <config.h>

#include "core/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "core/cancel.h"
#include "core/format.h"
#include "core/inflate.h"
#include "core/restore.h"

/* File systems allocate, and share, in blocks of this size. */
#define UNIT 4096u
/* Shared by one call, so that a wish to stop is seen in between. */
#define SHARE_MAX (UINT64_C(1) << 30)
/* Copied at once. */
#define PIECE IM_INFLATE_PLAIN_MAX

struct copy {
    struct im_sink sink;
    struct im_store *store;
    struct im_progress *progress;
    struct im_inflater *inflater;
    const struct im_copy_limits *limits;
    uint64_t position;    /* of a sequential store */
    bool unknown;         /* the disk's size is known only at its end … */
    uint64_t end;         /* … of the last byte given */
    bool cannot_share;    /* the store said so once */
    uint64_t done, total; /* of the progress told last */
    uint64_t shared_bytes;
    _Atomic uint64_t data_bytes; /* written by inflating threads too */
};

static bool is_zero(const uint8_t *p, size_t len)
{
    /* all bytes equal the one before them, and the first is zero */
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* Bytes from offset to the end of its unit, at most len. */
static size_t unit_at(uint64_t offset, size_t len)
{
    size_t unit = UNIT - (size_t)(offset % UNIT);

    return unit < len ? unit : len;
}

/* Length of the run of units at p, which belongs to offset, that are all zero, or all not. */
static size_t run_of(const uint8_t *p, size_t len, uint64_t offset, bool *ret_zero)
{
    size_t run = unit_at(offset, len);

    *ret_zero = is_zero(p, run);
    while (run < len) {
        size_t unit = unit_at(offset + run, len - run);

        if (is_zero(p + run, unit) != *ret_zero)
            break;
        run += unit;
    }
    return run;
}

/* Whoever looks at the volume's first bytes must not take it for an image that names other files.
 */
static int check_head(const void *buf, size_t len, struct im_error *err)
{
    const struct im_format *hidden = im_format_certain(buf, len);

    if (!hidden)
        return 0;
    return im_fail_code(err, EOPNOTSUPP, "HiddenFormat",
                        "the disk in the image begins with the header of a %s image: a raw volume "
                        "of it would be taken for one; extract the inner image and import that",
                        hidden->name);
}

/* The output of the pool; `there`: the bytes have been shared already. */
static int write_data(void *arg, const void *buf, size_t len, uint64_t offset, bool there,
                      uint64_t generation, struct im_error *err)
{
    struct copy *copy = arg;
    struct im_trail *trail = there ? NULL : copy->limits->trail;
    const uint8_t *p = buf;
    int r = offset == 0 && !copy->limits->bytes ? check_head(buf, len, err) : 0;

    while (r == 0 && len > 0) {
        bool zero;
        size_t run = run_of(p, len, offset, &zero);

        if (!zero && !there)
            r = im_store_write(copy->store, p, run, offset, err);
        if (r == 0 && !zero && copy->limits->digest)
            r = im_digest_add(copy->limits->digest, p, run, offset, err);
        if (r == 0 && !zero && trail)
            im_trail_wrote(trail, generation, p, run, offset);
        if (!zero)
            atomic_fetch_add(&copy->data_bytes, run);
        p += run;
        offset += run;
        len -= run;
    }
    return r;
}

static int fill_zeros(struct copy *copy, uint64_t end, struct im_error *err)
{
    static const uint8_t zeros[65536];

    while (copy->position < end) {
        size_t step = (size_t)im_min(sizeof(zeros), end - copy->position);
        int r = im_cancel_check(err);

        if (r == 0)
            r = im_store_write(copy->store, zeros, step, copy->position, err);
        if (r < 0)
            return r;
        copy->position += step;
    }
    return 0;
}

static int write_in_order(struct copy *copy, const void *buf, size_t len, uint64_t offset,
                          struct im_error *err)
{
    int r = offset == 0 && !copy->limits->bytes ? check_head(buf, len, err) : 0;

    if (r == 0)
        r = fill_zeros(copy, offset, err);
    if (r == 0)
        r = im_store_write(copy->store, buf, len, offset, err);
    if (r < 0)
        return r;
    copy->position += len;
    atomic_fetch_add(&copy->data_bytes, len);
    return 0;
}

/* The pool of threads that write; what is compressed or hashed is worth all of them. */
static int need_pool(struct copy *copy, unsigned jobs, struct im_error *err)
{
    if (!copy->inflater)
        copy->inflater = im_inflater_new(jobs, write_data, copy);
    return copy->inflater ? 0 : im_fail(err, ENOMEM, "out of memory");
}

/* Room for plain bytes in the pool.  Without a digest one thread writes while this one reads: more
 * of them would only wait, since writers of one file take turns. */
static int reserve(struct copy *copy, size_t len, uint64_t offset, bool there, void **ret_buf,
                   struct im_error *err)
{
    unsigned jobs =
        copy->limits->digest ? copy->limits->jobs : (unsigned)im_min(copy->limits->jobs, 2);
    int r = need_pool(copy, jobs, err);

    return r < 0 ? r : im_inflater_reserve(copy->inflater, len, offset, there, ret_buf, err);
}

/* Let the pool write a copy of the bytes. */
static int queue_data(struct copy *copy, const uint8_t *p, size_t len, uint64_t offset,
                      struct im_error *err)
{
    while (len > 0) {
        size_t step = (size_t)im_min(len, PIECE - offset % PIECE);
        void *buf = NULL;
        int r = reserve(copy, step, offset, false, &buf, err);

        if (r < 0)
            return r;
        memcpy(buf, p, step);
        p += step;
        offset += step;
        len -= step;
    }
    return 0;
}

static int on_data(struct im_sink *sink, const void *buf, size_t len, uint64_t offset,
                   struct im_error *err)
{
    struct copy *copy = (struct copy *)sink;
    int r = im_cancel_check(err);

    if (r < 0)
        return r;
    if (offset + len > copy->end)
        copy->end = offset + len;
    if (copy->unknown && copy->end > copy->limits->max_size)
        return im_fail(err, EFBIG, "the image holds more than the %" PRIu64 " bytes allowed",
                       copy->limits->max_size);
    return copy->store->sequential ? write_in_order(copy, buf, len, offset, err)
                                   : queue_data(copy, buf, len, offset, err);
}

static int on_deflated(struct im_sink *sink, const void *zlib, size_t zlib_len, size_t len,
                       uint64_t offset, uint64_t origin, struct im_error *err)
{
    struct copy *copy = (struct copy *)sink;
    int r = im_cancel_check(err);

    if (r == 0)
        r = need_pool(copy, copy->limits->jobs, err);
    return r < 0 ? r : im_inflater_add(copy->inflater, zlib, zlib_len, len, offset, origin, err);
}

/* ---- what stands in a source ---- */

/* Share the start of a range; *ret_len is 0 when it is to be copied. */
static int share(struct copy *copy, struct im_source *source, uint64_t origin, uint64_t len,
                 uint64_t offset, uint64_t *ret_len, struct im_error *err)
{
    uint64_t at, n;
    int fd, r;

    *ret_len = 0;
    if (copy->cannot_share || offset % UNIT || len < UNIT)
        return 0;
    if (im_source_local(source, origin, im_min(len, SHARE_MAX), &fd, &at, &n) < 0)
        return 0;
    n -= n % UNIT;
    if (at % UNIT || n == 0)
        return 0;
    r = im_store_share(copy->store, fd, at, n, offset, err);
    if (r == 0) {
        *ret_len = n;
        copy->shared_bytes += n;
    }
    copy->cannot_share = r == -EOPNOTSUPP;
    return copy->cannot_share ? 0 : r;
}

/* Let the pool write a piece, read to where it takes it from. */
static int read_piece(struct copy *copy, struct im_source *source, uint64_t origin, size_t len,
                      uint64_t offset, bool there, struct im_error *err)
{
    void *buf = NULL;
    int r = reserve(copy, len, offset, there, &buf, err);

    return r < 0 ? r : im_source_read(source, buf, len, origin, err);
}

/* Bytes that were shared are read all the same for a digest; the disk's first ones always. */
static int look_at_shared(struct copy *copy, struct im_source *source, uint64_t origin,
                          uint64_t len, uint64_t offset, struct im_error *err)
{
    int r = 0;

    if (!copy->limits->digest) {
        uint64_t head = offset == 0 ? UNIT : 0;

        atomic_fetch_add(&copy->data_bytes, len - head);
        len = head;
    }
    while (r == 0 && len > 0) {
        size_t step = (size_t)im_min(len, PIECE - offset % PIECE);

        r = im_cancel_check(err);
        if (r == 0)
            r = read_piece(copy, source, origin, step, offset, true, err);
        origin += step;
        offset += step;
        len -= step;
    }
    return r;
}

static int place_data(struct copy *copy, struct im_source *source, uint64_t origin, uint64_t len,
                      uint64_t offset, struct im_error *err)
{
    while (len > 0) {
        uint64_t step = 0;
        int r = im_cancel_check(err);

        if (r == 0)
            r = share(copy, source, origin, len, offset, &step, err);
        if (r < 0)
            return r;
        if (step == 0) {
            step = im_min(len, PIECE - offset % PIECE);
            r = read_piece(copy, source, origin, (size_t)step, offset, false, err);
        } else {
            r = look_at_shared(copy, source, origin, step, offset, err);
        }
        if (r < 0)
            return r;
        copy->done += step;
        im_progress_update(copy->progress, copy->done, copy->total);
        origin += step;
        offset += step;
        len -= step;
    }
    return 0;
}

/* What the source knows of the bytes for offset, in whole units of the disk: a unit that is partly
 * a hole counts as data. */
static int map_units(struct im_source *source, uint64_t origin, uint64_t len, uint64_t offset,
                     struct im_extent *ret, struct im_error *err)
{
    int r = im_source_map(source, origin, len, ret, err);
    uint64_t odd = (offset + ret->len) % UNIT;

    if (r < 0 || ret->len == len || odd == 0)
        return r;
    if (ret->zero && ret->len > odd) {
        ret->len -= odd;
    } else {
        ret->len = im_min(ret->len + UNIT - odd, len);
        ret->zero = false;
    }
    return 0;
}

static int on_place(struct im_sink *sink, struct im_source *source, uint64_t origin, uint64_t len,
                    uint64_t offset, struct im_error *err)
{
    struct copy *copy = (struct copy *)sink;

    while (len > 0) {
        struct im_extent extent = { 0 };
        int r = map_units(source, origin, len, offset, &extent, err);

        if (r == 0 && !extent.zero)
            r = place_data(copy, source, origin, extent.len, offset, err);
        if (r < 0)
            return r;
        if (extent.zero)
            copy->done += extent.len;
        origin += extent.len;
        offset += extent.len;
        len -= extent.len;
    }
    return 0;
}

static void on_progress(struct im_sink *sink, uint64_t done, uint64_t total)
{
    struct copy *copy = (struct copy *)sink;
    struct im_trail *trail = copy->limits->trail;

    if (trail) /* what an earlier attempt has done is done */
        done = im_trail_tell(trail, done);
    copy->done = done;
    copy->total = total;
    im_progress_update(copy->progress, done, total);
}

/* ---- going on ---- */

static uint64_t writer_fence(void *arg)
{
    return im_inflater_fence(((struct copy *)arg)->inflater);
}

static int writer_passed(void *arg, uint64_t generation, struct im_error *err)
{
    return im_inflater_passed(((struct copy *)arg)->inflater, generation, err);
}

static int restore_room(void *arg, size_t len, uint64_t offset, void **ret_buf,
                        struct im_error *err)
{
    return reserve(arg, len, offset, true, ret_buf, err);
}

/* What the earlier attempt wrote goes through the pool as if it were shared: hashed and counted. */
static int begin_trail(struct copy *copy, uint64_t size, struct im_error *err)
{
    struct im_trail *trail = copy->limits->trail;
    const struct im_trail_writer writer = { writer_fence, writer_passed, copy };
    int r = need_pool(copy, copy->limits->jobs, err);

    if (r == 0 && im_trail_has_past(trail)) {
        r = im_restore(trail, copy->store, size, restore_room, copy, copy->progress, err);
        if (r == 0)
            r = im_inflater_drain(copy->inflater, err);
    }
    if (r == 0)
        im_trail_writer(trail, &writer);
    return r;
}

/* r: how the walk went.  Only what the pool has written can be gone on with. */
static int end_trail(struct copy *copy, int r, struct im_error *err)
{
    bool written = copy->inflater && im_inflater_drain(copy->inflater, NULL) == 0;
    bool interrupted = r < 0 && written && im_trail_may_go_on(err);
    struct im_error why = { 0 };
    int stopped = im_trail_stop(copy->limits->trail, interrupted, &why);

    if (r == 0 && stopped < 0 && err)
        *err = why;
    return r < 0 ? r : stopped;
}

/* A pipe wants disk order; only a disk whose end is unknown (itself a pipe) walks in that order by
 * nature. */
static int walk(struct copy *copy, struct im_disk *disk, struct im_error *err)
{
    int r;

    if (copy->store->sequential && !copy->unknown) {
        r = im_disk_walk_in_order(disk, &copy->sink, err);
        return r < 0 ? r : fill_zeros(copy, disk->size, err);
    }
    r = im_disk_walk(disk, &copy->sink, err);
    if (r == 0 && copy->inflater) {
        r = im_inflater_drain(copy->inflater, err);
        while (disk->next)
            disk = disk->next;
        disk->failed |= r < 0; /* the decoder's fault, which shows late, if it is not the store's */
    }
    return r;
}

int im_copy(struct im_disk *disk, struct im_store *store, const struct im_copy_limits *limits,
            struct im_progress *progress, struct im_copy_result *ret_result, struct im_error *err)
{
    struct copy copy = {
        .sink = { .data = on_data,
                  .place = on_place,
                  .deflated = on_deflated,
                  .progress = on_progress },
        .store = store,
        .progress = progress,
        .limits = limits,
        .unknown = disk->size == IM_SIZE_UNKNOWN,
    };
    int r = limits->trail ? begin_trail(&copy, disk->size, err) : 0;

    if (r == 0)
        r = walk(&copy, disk, err);
    if (limits->trail)
        r = end_trail(&copy, r, err);
    im_inflater_free(copy.inflater);
    if (r < 0)
        return r;
    ret_result->size = ret_result->file_size = copy.unknown ? copy.end : disk->size;
    ret_result->data_bytes = atomic_load(&copy.data_bytes);
    ret_result->shared_bytes = copy.shared_bytes;
    return 0;
}

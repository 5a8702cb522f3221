/* copy - the loop that moves a disk into a store.
 *
 * A store that takes offsets gets the disk's own walk, in source order; a pipe gets the disk in
 * disk order with the gaps filled.  Zeros are found in units of 4 KiB and never written to a store
 * that begins as a hole. */

#include <config.h>

#include "core/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "core/cancel.h"
#include "core/inflate.h"

/* File systems allocate in blocks of this size. */
#define UNIT 4096u

struct copy {
    struct im_sink sink;
    struct im_store *store;
    struct im_progress *progress;
    struct im_inflater *inflater;
    const struct im_copy_limits *limits;
    uint64_t position;           /* of a sequential store */
    bool unknown;                /* the disk's size is known only at its end … */
    uint64_t end;                /* … of the last byte given */
    _Atomic uint64_t data_bytes; /* written by inflating threads too */
};

static bool is_zero(const uint8_t *p, size_t len)
{
    /* all bytes equal the one before them, and the first is zero */
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* Length of the run of units at p that are all zero, or all not. */
static size_t run_of(const uint8_t *p, size_t len, bool *ret_zero)
{
    size_t run = len < UNIT ? len : UNIT;

    *ret_zero = is_zero(p, run);
    while (run < len) {
        size_t unit = len - run < UNIT ? len - run : UNIT;

        if (is_zero(p + run, unit) != *ret_zero)
            break;
        run += unit;
    }
    return run;
}

static int write_data(void *arg, const void *buf, size_t len, uint64_t offset, struct im_error *err)
{
    struct copy *copy = arg;
    const uint8_t *p = buf;

    while (len > 0) {
        bool zero;
        size_t run = run_of(p, len, &zero);

        if (!zero) {
            int r = im_store_write(copy->store, p, run, offset, err);

            if (r < 0)
                return r;
            atomic_fetch_add(&copy->data_bytes, run);
        }
        p += run;
        offset += run;
        len -= run;
    }
    return 0;
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
    int r = fill_zeros(copy, offset, err);

    if (r == 0)
        r = im_store_write(copy->store, buf, len, offset, err);
    if (r < 0)
        return r;
    copy->position += len;
    atomic_fetch_add(&copy->data_bytes, len);
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
                                   : write_data(copy, buf, len, offset, err);
}

static int on_deflated(struct im_sink *sink, const void *zlib, size_t zlib_len, size_t len,
                       uint64_t offset, uint64_t origin, struct im_error *err)
{
    struct copy *copy = (struct copy *)sink;
    int r = im_cancel_check(err);

    if (r < 0)
        return r;
    if (!copy->inflater)
        copy->inflater = im_inflater_new(copy->limits->jobs, write_data, copy);
    if (!copy->inflater)
        return im_fail(err, ENOMEM, "out of memory or threads");
    return im_inflater_add(copy->inflater, zlib, zlib_len, len, offset, origin, err);
}

static void on_progress(struct im_sink *sink, uint64_t done, uint64_t total)
{
    im_progress_update(((struct copy *)sink)->progress, done, total);
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
    if (r == 0 && copy->inflater)
        r = im_inflater_drain(copy->inflater, err);
    return r;
}

int im_copy(struct im_disk *disk, struct im_store *store, const struct im_copy_limits *limits,
            struct im_progress *progress, struct im_copy_result *ret_result, struct im_error *err)
{
    struct copy copy = {
        .sink = { .data = on_data, .deflated = on_deflated, .progress = on_progress },
        .store = store,
        .progress = progress,
        .limits = limits,
        .unknown = disk->size == IM_SIZE_UNKNOWN,
    };
    int r = walk(&copy, disk, err);

    im_inflater_free(copy.inflater);
    if (r < 0)
        return r;
    ret_result->size = copy.unknown ? copy.end : disk->size;
    ret_result->data_bytes = atomic_load(&copy.data_bytes);
    return 0;
}

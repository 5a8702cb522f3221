/* restore - believe what an earlier attempt has written into a volume, after a look at it. */

#include <config.h>

#include "core/restore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "core/cancel.h"
#include "core/inflate.h"

/* What file systems allocate at once.  A unit is kept when any run reaches into it. */
#define UNIT 4096u

/* 64 TiB, the largest disk of any format that is gone on with: 2 GiB of bits, of which only those
 * for units with data are ever touched. */
#define UNITS_MAX (UINT64_C(1) << 34)

struct restore {
    struct im_trail *trail;
    struct im_store *store;
    uint64_t size;
    im_restore_room_fn room;
    void *arg;
    struct im_progress *progress;
    uint8_t *units; /* a bit for each that is told of */
};

static int changed(const struct restore *restore, const struct im_journal_run *run,
                   struct im_error *err)
{
    return im_fail_code(err, ESTALE, "Changed",
                        "'%s' does not hold what an earlier attempt wrote there, %" PRIu32
                        " bytes at byte %" PRIu64 "; begin anew",
                        restore->store->name, run->len, run->offset);
}

static int restore_run(void *arg, const struct im_journal_run *run, struct im_error *err)
{
    struct restore *restore = arg;
    void *buf = NULL;
    ssize_t n;
    int r = im_cancel_check(err);

    if (r < 0)
        return r;
    if (run->len == 0 || run->len > IM_TRAIL_RUN_MAX || run->offset > restore->size ||
        run->len > restore->size - run->offset)
        return changed(restore, run, err);
    r = restore->room(restore->arg, run->len, run->offset, &buf, err);
    if (r < 0)
        return r;
    n = im_pread(restore->store->fd, buf, run->len, run->offset);
    if (n < 0)
        return im_fail_code(err, EIO, "ReadFailed", "cannot read back '%s' at byte %" PRIu64 ": %s",
                            restore->store->name, run->offset, strerrordesc_np((int)-n));
    if ((size_t)n < run->len || im_zlib_crc32(0, buf, run->len) != run->crc)
        return changed(restore, run, err);
    for (uint64_t u = run->offset / UNIT; u <= (run->offset + run->len - 1) / UNIT; u++)
        restore->units[u / 8] |= (uint8_t)(1u << u % 8);
    im_progress_update(restore->progress, im_trail_told(restore->trail),
                       im_trail_total(restore->trail));
    return 0;
}

static bool is_told(const struct restore *restore, uint64_t unit)
{
    return restore->units[unit / 8] & 1u << unit % 8;
}

/* The units of an extent that nobody told of become zeros. */
static int clear_units(const struct restore *restore, uint64_t first, uint64_t end,
                       struct im_error *err)
{
    int r = 0;

    for (uint64_t u = first; r == 0 && u < end;) {
        uint64_t start = u;

        while (u < end && !is_told(restore, u))
            u++;
        if (u > start)
            r = im_store_clear(restore->store, im_min(u * UNIT, restore->size) - start * UNIT,
                               start * UNIT, err);
        while (u < end && is_told(restore, u))
            u++;
    }
    return r;
}

static int clear_others(const struct restore *restore, struct im_error *err)
{
    uint64_t offset = 0;
    int r = 0;

    while (r == 0 && offset < restore->size) {
        uint64_t len;
        bool hole;

        im_file_extent(restore->store->fd, offset, restore->size - offset, &hole, &len);
        r = im_cancel_check(err);
        if (r == 0 && !hole)
            r = clear_units(restore, offset / UNIT, (offset + len + UNIT - 1) / UNIT, err);
        offset += len;
    }
    return r;
}

int im_restore(struct im_trail *trail, struct im_store *store, uint64_t size,
               im_restore_room_fn room, void *arg, struct im_progress *progress,
               struct im_error *err)
{
    uint64_t units = size / UNIT + 1;
    uint8_t *bits IM_FREE = units > UNITS_MAX ? NULL : calloc((size_t)(units / 8 + 1), 1);
    struct restore restore = { .trail = trail,
                               .store = store,
                               .size = size,
                               .room = room,
                               .arg = arg,
                               .progress = progress,
                               .units = bits };
    int r;

    if (!bits)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_trail_past(trail, restore_run, &restore, err);
    return r < 0 ? r : clear_others(&restore, err);
}

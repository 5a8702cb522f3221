/* status - what a place holds, told and changed for people: limit, room, collection. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/bytes.h"
#include "cache/take.h"

static void close_place(struct im_place **place)
{
    im_place_close(*place);
}
#define CLOSE_PLACE __attribute__((cleanup(close_place)))

int im_cache_set_up(const char *where, struct im_error *err)
{
    struct im_place *place CLOSE_PLACE = NULL;

    return im_place_open(where, true, &place, err);
}

/* What the file system has left. */
static uint64_t left_on_disk(const struct im_place *place)
{
    struct statvfs fs;

    return fstatvfs(place->dir, &fs) < 0 ? 0 : (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* Bytes of entries that would make room: whatever is in use stays, and what that depends on. */
static uint64_t may_go(const struct im_items *items)
{
    uint64_t bytes = 0;
    bool more = true;

    while (more) {
        more = false;
        for (unsigned i = 0; i < items->count; i++) {
            struct im_item *item = &items->item[i];

            if (item->gone || item->in_use || im_items_children(items, item) > 0)
                continue;
            item->gone = more = true;
            bytes += item->bytes;
        }
    }
    return bytes;
}

/* The largest request that im_room_of still lets through. */
static uint64_t usable(uint64_t room)
{
    uint64_t bytes = room > IM_ROOM_MAPS + 4096 ? (room - IM_ROOM_MAPS - 4096) / 257 * 256 : 0;

    bytes = bytes / 4096 * 4096;
    while (im_room_of(bytes + 4096) <= room)
        bytes += 4096; /* a few at most: what was rounded off above */
    return bytes;
}

static uint64_t free_of(const struct im_place *place, const struct im_usage *usage,
                        const struct im_items *items)
{
    uint64_t left = left_on_disk(place), total = im_usage_total(usage), go = may_go(items);

    if (place->limit == IM_PLACE_NOBODY)
        return left + go;
    total -= im_min(go, total);
    return total >= place->limit ? 0 : im_min(usable(place->limit - total), left + go);
}

/* What others use, and is not ours, never makes room. */
static uint64_t most_of(const struct im_place *place, const struct im_usage *usage)
{
    uint64_t stays = usage->foreign + usage->books;

    if (place->limit == IM_PLACE_NOBODY)
        return UINT64_MAX;
    return stays >= place->limit ? 0 : usable(place->limit - stays);
}

static void list(const struct im_items *items, struct im_cache_status *status)
{
    for (unsigned i = 0; i < items->count; i++) {
        const struct im_item *item = &items->item[i];
        struct im_cache_entry *entry = &status->entry[i];

        memcpy(entry->id, item->entry.id, sizeof(entry->id));
        memcpy(entry->parent, item->entry.parent, sizeof(entry->parent));
        entry->size = item->entry.size;
        entry->bytes = item->bytes;
        entry->used_ms = (int64_t)item->used.tv_sec * 1000 + item->used.tv_nsec / 1000000;
        entry->in_use = item->in_use;
        entry->dependents = im_items_children(items, item);
    }
    status->count = items->count;
}

/* With the lock held. */
static int look(struct im_place *place, struct im_cache_status *status, struct im_error *err)
{
    struct im_items items = { 0 };
    struct im_usage usage;
    int r = im_place_count(place, &usage, err);

    if (r == 0)
        r = im_items_load(place, &items, err);
    if (r < 0)
        return r;
    status->entry = calloc(items.count + 1, sizeof(*status->entry));
    if (!status->entry) {
        im_items_done(&items);
        return im_fail(err, ENOMEM, "out of memory");
    }
    list(&items, status);
    status->limit = place->limit;
    status->fail = place->fail;
    status->scratch = usage.scratch;
    status->entries = usage.entries;
    status->foreign = usage.foreign;
    status->books = usage.books;
    status->reservations = usage.reservations;
    status->free = free_of(place, &usage, &items);
    status->most = most_of(place, &usage);
    im_items_done(&items);
    return 0;
}

int im_cache_look(const char *where, struct im_cache_status *ret_status, struct im_error *err)
{
    struct im_cache_status status = { .limit = IM_PLACE_NOBODY, .most = UINT64_MAX };
    struct im_place *place CLOSE_PLACE = NULL;
    int r = im_place_open(where, false, &place, err);

    if (r < 0)
        return r;
    status.set_up = place->state >= 0;
    if (status.set_up) {
        r = im_place_lock(place, err);
        if (r == 0)
            r = look(place, &status, err);
        im_place_unlock(place);
    } else {
        status.free = left_on_disk(place);
    }
    if (r == 0)
        *ret_status = status;
    return r;
}

void im_cache_status_done(struct im_cache_status *status)
{
    free(status->entry);
    *status = (struct im_cache_status){ 0 };
}

int im_cache_room(const char *where, struct im_cache_room *ret_room, struct im_error *err)
{
    struct im_cache_status status;
    int r = im_cache_look(where, &status, err);

    if (r < 0)
        return r;
    *ret_room =
        (struct im_cache_room){ .limit = status.limit, .most = status.most, .free = status.free };
    im_cache_status_done(&status);
    return 0;
}

/* With the lock held. */
static int set_limit(struct im_place *place, uint64_t limit, bool fail, struct im_error *err)
{
    struct im_usage usage;
    uint64_t total, freed = 0;
    int r = im_place_count(place, &usage, err);

    if (r < 0)
        return r;
    total = im_usage_total(&usage);
    if (total > limit) {
        r = im_evict(place, total - limit, &freed, NULL, err);
        if (r < 0)
            return r;
        total -= im_min(freed, total);
    }
    if (total > limit)
        return im_fail_code(err, ENOSPC, "ScratchLimit",
                            "'%s' cannot be limited to %" PRIu64 ": %" PRIu64
                            " bytes are taken and stay so (scratch %" PRIu64
                            ", other files %" PRIu64
                            "); wait for the jobs, remove files, or give a larger limit",
                            place->name, limit, total, usage.scratch, usage.foreign);
    return im_place_settle(place, limit, fail, err);
}

int im_cache_limit(const char *where, uint64_t limit, bool fail, struct im_error *err)
{
    struct im_place *place CLOSE_PLACE = NULL;
    int r = im_place_open(where, true, &place, err);

    if (r == 0)
        r = im_place_lock(place, err);
    return r < 0 ? r : set_limit(place, limit, fail, err);
}

/* With the lock held. */
static int collect(struct im_place *place, uint64_t target, uint64_t *ret_freed,
                   struct im_error *err)
{
    uint64_t freed = 0;
    struct im_usage usage;
    int r = im_place_count(place, &usage, err);

    if (r < 0)
        return r;
    if (usage.entries > target)
        r = im_evict(place, usage.entries - target, &freed, NULL, err);
    *ret_freed = freed + usage.taken_back;
    return r;
}

int im_cache_collect(const char *where, uint64_t target, uint64_t *ret_freed, struct im_error *err)
{
    struct im_place *place CLOSE_PLACE = NULL;
    int r = im_place_open(where, false, &place, err);

    if (r < 0)
        return r;
    if (place->state < 0) {
        *ret_freed = 0;
        return 0;
    }
    r = im_place_lock(place, err);
    return r < 0 ? r : collect(place, target, ret_freed, err);
}

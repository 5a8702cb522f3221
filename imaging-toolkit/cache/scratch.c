/* scratch - reservations, and the files that belong to them.
 *
 * The name of the file is the reservation, and its lock says that it holds.  The file keeps its
 * name, so that whoever comes after a process that died finds it and frees its bytes before they
 * are promised to somebody else. */

#include <config.h>

#include "cache/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/tmpfile.h"
#include "cache/take.h"

static void format_name(char *buf, uint64_t counted, const char *id)
{
    static atomic_uint number;

    (void)snprintf(buf, IM_SCRATCH_NAME, "%016" PRIx64 "-%08x-%016" PRIx64 "%s%s", im_place_me(),
                   atomic_fetch_add(&number, 1), counted, id ? "-" : "", id ? id : "");
}

/* Its id, when an entry is being made of it. */
static const char *id_of(const struct im_scratch *scratch)
{
    struct im_reservation found;

    return im_reservation_parse(scratch->name, &found) ? found.id : NULL;
}

/* Count it as `counted` from now on, with the lock held. */
static int recount(struct im_scratch *scratch, uint64_t counted)
{
    char name[IM_SCRATCH_NAME];

    format_name(name, counted, id_of(scratch));
    if (renameat(scratch->place->scratch, scratch->name, scratch->place->scratch, name) < 0)
        return -errno;
    memcpy(scratch->name, name, sizeof(name));
    scratch->counted = counted;
    return 0;
}

static int create(struct im_place *place, uint64_t bytes, uint64_t counted, const char *id,
                  struct im_scratch **ret_scratch, struct im_error *err)
{
    struct im_scratch *scratch = calloc(1, sizeof(*scratch));

    if (!scratch)
        return im_fail(err, ENOMEM, "out of memory");
    *scratch = (struct im_scratch){ .bytes = bytes, .place = place, .counted = counted };
    format_name(scratch->name, counted, id);
    scratch->fd = im_place_create(place, place->scratch, scratch->name, err);
    if (scratch->fd < 0 || flock(scratch->fd, LOCK_EX | LOCK_NB) < 0) {
        int r = scratch->fd < 0 ? scratch->fd : im_fail_errno(err, errno, "cannot lock scratch");

        if (scratch->fd >= 0)
            (void)close(scratch->fd);
        free(scratch);
        return r;
    }
    *ret_scratch = scratch;
    return 0;
}

/* Find room and take it.  1: not yet; 2: the entry is there. */
static int try(struct im_place *place, const struct im_wish *wish, struct im_scratch **ret_scratch,
               struct im_error *err)
{
    struct im_scratch *grows = wish->grows;
    uint64_t counted = im_room_of(wish->bytes);
    int r = wish->id ? im_entry_try(place, wish, err) : 0;

    if (r == 0)
        r = im_room_find(place, wish, grows ? counted - grows->counted : counted, err);
    if (r != 0)
        return r;
    if (!grows)
        return create(place, wish->bytes, counted, wish->id, ret_scratch, err);
    r = recount(grows, counted);
    if (r < 0)
        return im_fail_errno(err, -r, "cannot enlarge scratch");
    grows->bytes = wish->bytes;
    return 0;
}

int im_scratch_wish(struct im_place *place, const struct im_wish *wish,
                    struct im_scratch **ret_scratch, struct im_error *err)
{
    struct im_watch watch = IM_WATCH;
    int waits = -1;
    int r;

    for (;;) {
        r = im_place_lock(place, err);
        if (r < 0)
            break;
        r = try(place, wish, ret_scratch, err);
        if (r == 1) {
            im_watch_prepare(&watch, place);
            im_room_waits(place, &waits);
        } else {
            im_room_waits_no_more(place, &waits);
        }
        im_place_unlock(place);
        if (r != 1)
            break;
        r = im_watch_wait(&watch, err);
        if (r < 0)
            break;
    }
    im_room_waits_no_more(place, &waits); /* when it was cancelled */
    im_watch_done(&watch);
    return r;
}

/* Where nobody counts: a file without a name. */
static int create_uncounted(struct im_place *place, uint64_t bytes, struct im_scratch **ret_scratch,
                            struct im_error *err)
{
    struct im_scratch *scratch = calloc(1, sizeof(*scratch));
    int fd =
        scratch ? im_tmpfile(place->name, 0600, NULL, err) : im_fail(err, ENOMEM, "out of memory");

    if (fd < 0) {
        free(scratch);
        return fd;
    }
    *scratch = (struct im_scratch){ .fd = fd, .bytes = bytes, .place = place };
    *ret_scratch = scratch;
    return 0;
}

int im_scratch_take(const char *where, uint64_t bytes, struct im_scratch **ret_scratch,
                    struct im_error *err)
{
    const struct im_wish wish = { .bytes = bytes };
    struct im_place *place = NULL;
    int r = im_place_open(where, false, &place, err);

    if (r < 0)
        return r;
    r = place->state < 0 ? create_uncounted(place, bytes, ret_scratch, err)
                         : im_scratch_wish(place, &wish, ret_scratch, err);
    if (r < 0)
        im_place_close(place);
    return r;
}

int im_scratch_grow(struct im_scratch *scratch, uint64_t bytes, struct im_error *err)
{
    const struct im_wish wish = { .bytes = bytes, .grows = scratch };

    if (bytes <= scratch->bytes)
        return 0;
    if (scratch->place->state >= 0)
        return im_scratch_wish(scratch->place, &wish, &scratch, err);
    scratch->bytes = bytes;
    return 0;
}

/* Both parts in a place that is counted; the lock is held. */
static int split(struct im_scratch *scratch, struct im_place *place, uint64_t bytes,
                 struct im_scratch **ret_scratch, struct im_error *err)
{
    uint64_t whole = scratch->counted;
    uint64_t rest = im_room_of(scratch->bytes - bytes) - IM_ROOM_MAPS / 2;
    int r = recount(scratch, rest);

    if (r < 0)
        return im_fail_errno(err, -r, "cannot divide scratch");
    r = create(place, bytes, whole - rest, NULL, ret_scratch, err);
    if (r < 0)
        (void)recount(scratch, whole);
    return r;
}

int im_scratch_split(struct im_scratch *scratch, uint64_t bytes, struct im_scratch **ret_scratch,
                     struct im_error *err)
{
    struct im_place *place = NULL;
    int r;

    if (bytes > scratch->bytes)
        return im_scratch_exceeded(scratch->bytes, err);
    r = im_place_again(scratch->place, &place, err);
    if (r < 0)
        return r;
    if (place->state < 0) {
        r = create_uncounted(place, bytes, ret_scratch, err);
    } else {
        r = im_place_lock(place, err);
        if (r == 0)
            r = split(scratch, place, bytes, ret_scratch, err);
        im_place_unlock(place);
    }
    if (r < 0)
        im_place_close(place);
    else
        scratch->bytes -= bytes;
    return r;
}

void im_scratch_shrink(struct im_scratch *scratch, uint64_t bytes)
{
    if (bytes >= scratch->bytes)
        return;
    if (scratch->place->state >= 0 && im_place_lock_anyway(scratch->place, NULL) == 0) {
        (void)recount(scratch, im_min(im_room_of(bytes), scratch->counted));
        im_place_unlock(scratch->place);
    }
    scratch->bytes = bytes;
}

struct im_scratch *im_scratch_free(struct im_scratch *scratch)
{
    bool counted, locked;

    if (!scratch)
        return NULL;
    counted = scratch->place->state >= 0;
    locked = counted && im_place_lock_anyway(scratch->place, NULL) == 0;
    /* somebody may have it open still; and a child's confinement, which knows it, ends a little
     * later than the child */
    (void)!ftruncate(scratch->fd, 0);
    if (counted)
        (void)unlinkat(scratch->place->scratch, scratch->name, 0);
    (void)close(scratch->fd);
    if (locked)
        im_place_unlock(scratch->place);
    im_place_close(scratch->place);
    free(scratch);
    return NULL;
}

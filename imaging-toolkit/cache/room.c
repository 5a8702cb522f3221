/* room - is there room in a place, may somebody wait for it, or will there never be any? */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/bytes.h"
#include "cache/take.h"

/* File systems allocate in blocks of this size, and keep maps of them: ext4 at worst one block for
 * 340. */
#define BLOCK 4096u

uint64_t im_room_of(uint64_t bytes)
{
    if (bytes > UINT64_MAX / 2)
        return bytes; /* which never fits */
    return (bytes + BLOCK - 1) / BLOCK * BLOCK + bytes / 256 + IM_ROOM_MAPS;
}

int im_scratch_exceeded(uint64_t bytes, struct im_error *err)
{
    return im_fail_code(err, ENOSPC, "ScratchLimit",
                        "the copy in scratch needs more than the %" PRIu64
                        " bytes that were reserved for it: the image has changed meanwhile, or "
                        "its tables do not tell the truth",
                        bytes);
}

static int never_fits(const struct im_place *place, const struct im_wish *wish, uint64_t taken,
                      struct im_error *err)
{
    char why[160] = "";

    if (taken > 0)
        (void)snprintf(why, sizeof(why),
                       ", of which %" PRIu64 " are taken and stay so (with the maps of the file "
                       "system %" PRIu64 " would be)",
                       taken, im_room_of(wish->bytes));
    return im_fail_code(err, ENOSPC, "ScratchLimit",
                        "%" PRIu64 " bytes of scratch are needed, but '%s' is limited to %" PRIu64
                        "%s; raise the limit ('imaging-toolkit cache limit') or use another place",
                        wish->bytes, place->name, place->limit, why);
}

static int full(const struct im_place *place, const struct im_wish *wish, uint64_t total,
                const char *why, struct im_error *err)
{
    return im_fail_code(err, ENOSPC, "NoSpace", /* which may change */
                        "%" PRIu64 " bytes of scratch are needed, but '%s' is limited to %" PRIu64
                        " and %" PRIu64 " are taken; %s",
                        wish->bytes, place->name, place->limit, total, why);
}

/* There is no room: may we wait for it? */
static int may_wait(const struct im_place *place, const struct im_wish *wish,
                    const struct im_usage *usage, bool others_use, struct im_error *err)
{
    uint64_t total = im_usage_total(usage);

    if (place->fail)
        return full(place, wish, total, "try again when other jobs have ended", err);
    if (usage->own > 0 && !usage->others_work)
        return full(place, wish, total,
                    "everybody who holds some waits for more, so this one gives way; run fewer "
                    "jobs at once or raise the limit",
                    err);
    if (!usage->others && !others_use)
        return full(place, wish, total, "nobody is there who could let go of any", err);
    return 1;
}

int im_room_find(struct im_place *place, const struct im_wish *wish, uint64_t counted,
                 struct im_error *err)
{
    struct im_usage usage;
    bool others_use = false;
    uint64_t stays, total, freed = 0;
    int r = im_place_count(place, &usage, err);

    if (r < 0 || place->limit == IM_PLACE_NOBODY)
        return r;
    stays = usage.foreign + usage.books + usage.own;
    if (stays > place->limit || counted > place->limit - stays)
        return never_fits(place, wish, stays, err);
    total = im_usage_total(&usage);
    if (total > place->limit || counted > place->limit - total) {
        r = im_evict(place, total + counted - place->limit, &freed, &others_use, err);
        if (r < 0)
            return r;
        total -= im_min(freed, total);
        usage.entries -= im_min(freed, usage.entries);
    }
    /* who holds some goes first: they will let go of all of it */
    if (total <= place->limit && counted <= place->limit - total &&
        (usage.own > 0 || !usage.others_wait))
        return 0;
    return may_wait(place, wish, &usage, others_use, err);
}

/* Without the file others may believe that we work: they wait a little longer. */
void im_room_waits(struct im_place *place, int *fd)
{
    char name[IM_WAITS_NAME];

    if (*fd >= 0)
        return;
    *fd = im_place_create(place, place->scratch, im_waits_name(name, im_place_me()), NULL);
    if (*fd >= 0)
        (void)flock(*fd, LOCK_EX | LOCK_NB);
}

void im_room_waits_no_more(struct im_place *place, int *fd)
{
    char name[IM_WAITS_NAME];

    if (*fd < 0)
        return;
    (void)unlinkat(place->scratch, im_waits_name(name, im_place_me()), 0);
    (void)close(*fd);
    *fd = -1;
}

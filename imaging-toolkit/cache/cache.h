/* cache - bytes that are kept beside scratch, found again by what they are.
 *
 * An entry is a file that never changes.  It is named by the SHA-256 of its bytes; or, when it was
 * made of another one, by that one's name and by how, and it depends on that one.  Entries are what
 * makes room when scratch is needed: the one used longest ago goes first, but none that is in use
 * or that another depends on.  Two who want the same entry make it once: the second waits. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/confine.h"
#include "base/error.h"
#include "cache/scratch.h"

/* Characters of a name: a SHA-256 in lower-case hexadecimal. */
#define IM_CACHE_ID 64

/* An entry in use: nobody lets it go.  Read fd; it stays the entry's. */
struct im_entry {
    int fd;
    uint64_t size; /* bytes */
    char id[IM_CACHE_ID + 1];
    /* the rest is cache/'s own */
    struct im_place *place;
    char name[224];
    struct im_entry *next_own;
};

/* Is text a name of an entry: 64 hexadecimal digits in lower case? */
bool im_cache_is_id(const char *text);

/* The name of what is made of `parent` by `recipe` (text of the caller's: what is done, by which
 * version, with which arguments). */
void im_cache_derive(const char *parent, const char *recipe, char ret_id[IM_CACHE_ID + 1]);

/* Let a directory or device be a place that is counted from now on; without a limit at first. */
int im_cache_set_up(const char *place, struct im_error *err);

/* Take an entry.  What can be told without reading it is checked always: its size, and that nobody
 * has written to it since it was made (the time of its last change is set to a fixed one).  With
 * `verify`, and when that is not so, all of it is read and its SHA-256 compared.  One that is
 * damaged is removed.
 * Errors: -ENOENT code "NotCached" not there; -EBADMSG damaged and in use; -ECANCELED, -EIO. */
int im_cache_get(const char *place, const char *id, bool verify, struct im_entry **ret_entry,
                 struct im_error *err);

/* Take an entry, or room to make it: exactly one of the two is set.  Waits while another process
 * makes it.  Write at most `bytes` to the scratch and give it to im_cache_put; im_scratch_free
 * gives up, and the next one who waits makes it.  In a place nobody has set up there is always only
 * room.
 * Errors: as im_scratch_take, im_cache_get. */
int im_cache_take(const char *place, const char *id, uint64_t bytes, struct im_entry **ret_entry,
                  struct im_scratch **ret_scratch, struct im_error *err);

/* The scratch of im_cache_take, written, becomes the entry it was taken for, and is in use.  It is
 * released also on failure.  parent: what it was made of, which must be in use or at least there;
 * NULL: its SHA-256 must be its name.  In a place nobody has set up it is an entry only until it is
 * released.
 * Errors: -EKEYREJECTED code "DigestMismatch", -ENOENT the parent is gone, -ECANCELED, -EIO. */
int im_cache_put(struct im_scratch *scratch, const char *id, const char *parent,
                 struct im_entry **ret_entry, struct im_error *err);

/* No longer in use, from now on counted as used last.  Takes NULL, returns NULL. */
struct im_entry *im_entry_free(struct im_entry *entry);

/* Let a process that confines itself use the place from now on.  One that is a block device stays
 * mounted while the process lives; set confine->mounts before im_confine_begin.  Errors: those of a
 * confinement; a place that cannot be used is told when it is. */
int im_cache_allow(const char *place, struct im_confine *confine, struct im_error *err);

/* What plans want to know of a place. */
struct im_cache_room {
    uint64_t limit; /* UINT64_MAX: none */
    uint64_t most;  /* what a reservation can ever have of it, UINT64_MAX without a limit */
    uint64_t free;  /* what one could have now, when entries make room; without a limit, what the
                       file system has left */
};

int im_cache_room(const char *place, struct im_cache_room *ret_room, struct im_error *err);

/* Set the limit (UINT64_MAX: none) and what becomes of those who find no room.  Entries make room;
 * -ENOSPC "ScratchLimit" when more than that is taken even so, and nothing has changed. */
int im_cache_limit(const char *place, uint64_t limit, bool fail, struct im_error *err);

/* What a place holds. */
struct im_cache_entry {
    char id[IM_CACHE_ID + 1];
    char parent[IM_CACHE_ID + 1]; /* "": of none */
    uint64_t size, bytes;         /* of its content; that it takes */
    int64_t used_ms;              /* since 1970 */
    bool in_use;
    unsigned dependents;
};

struct im_cache_status {
    bool set_up;    /* else only `free` is known */
    uint64_t limit; /* UINT64_MAX: none */
    bool fail;
    uint64_t scratch, entries, foreign, books; /* bytes, see cache/place.h */
    uint64_t most, free;                       /* as im_cache_room */
    unsigned reservations, count;
    struct im_cache_entry *entry; /* the one used longest ago first */
};

int im_cache_look(const char *place, struct im_cache_status *ret_status, struct im_error *err);
void im_cache_status_done(struct im_cache_status *status);

/* Take back what dead processes left, and let entries go, the one used longest ago first, until
 * those that stay take at most `target` bytes (UINT64_MAX: no entry goes).  *ret_freed: bytes of
 * both. */
int im_cache_collect(const char *place, uint64_t target, uint64_t *ret_freed, struct im_error *err);

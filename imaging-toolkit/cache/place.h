/* place - a directory, or a block device, whose scratch and cache are counted; only cache/ knows
 * it.
 *
 * A place that somebody has set up ('imaging-toolkit cache limit') has a state directory, mode
 * 0700:
 *
 *     .imaging-cache/limit     the settings, as text
 *                    lock      held (flock) while anything is counted or changed
 *                    scratch/  one file per reservation, held (flock) by the process that has it
 *                    entries/  one file per entry, held (flock, shared) by whoever uses it
 *
 * In a directory where everybody may make files (/var/tmp) it is .imaging-cache-UID, and other
 * people's files are not counted.  A directory right below a place belongs to it.  Everything here
 * works relative to open directories and follows no link. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/error.h"

#define IM_PLACE_STATE  ".imaging-cache"
#define IM_PLACE_NOBODY UINT64_MAX /* limit: there is none */

/* "OWNER-NUMBER-BYTES" in hexadecimal, and "-ID" when an entry is being made. */
#define IM_SCRATCH_NAME 112
/* "ID.SIZE", and "+PARENT+SHA256" of a derived one. */
#define IM_ENTRY_NAME 224

struct im_place {
    char *name; /* for sentences */
    int dir;
    int state; /* -1: nobody has set the place up, and the following are not there */
    int scratch, entries;
    int lock;    /* -1: not held */
    bool shared; /* everybody may make files in it */
    uid_t uid;   /* whose it is */
    gid_t gid;
    uint64_t limit; /* bytes; as found when the lock was taken last */
    bool fail;      /* who finds no room fails, and does not wait */
};

/* Open what path names; set_up: make the state directory where there is none.
 * Errors: -EIO "PlaceUnavailable" (missing, a device that cannot be mounted, another user's). */
int im_place_open(const char *path, bool set_up, struct im_place **ret_place, struct im_error *err);
/* The same place once more. */
int im_place_again(const struct im_place *place, struct im_place **ret_place, struct im_error *err);
/* Takes NULL, returns NULL. */
struct im_place *im_place_close(struct im_place *place);

/* Hold the place's lock and read its settings; -ECANCELED. */
int im_place_lock(struct im_place *place, struct im_error *err);
/* The same without looking for the wish to stop, for letting go. */
int im_place_lock_anyway(struct im_place *place, struct im_error *err);
void im_place_unlock(struct im_place *place);

/* Write the settings; the lock is held. */
int im_place_settle(struct im_place *place, uint64_t limit, bool fail, struct im_error *err);

/* A new file `name` of directory dir (scratch or entries), mode 0600, the place's owner's. */
int im_place_create(struct im_place *place, int dir, const char *name, struct im_error *err);

/* Another open of a directory, for reading its names from the start; NULL and errno. */
struct __dirstream *im_place_names(int dir);

/* ---- what is in it; the lock is held (usage.c) ---- */

struct im_usage {
    uint64_t scratch; /* of all reservations, the larger of reserved and used */
    uint64_t own;     /* … of this process's */
    uint64_t entries;
    uint64_t foreign;    /* of all other files below the place */
    uint64_t books;      /* of the state directory's own files */
    uint64_t taken_back; /* that dead processes had; in none of the above */
    unsigned reservations;
    bool others;      /* another process has some scratch … */
    bool others_work; /* … and does not wait for more */
    bool others_wait; /* … and does */
};

/* Count; what dead processes have left is taken back. */
int im_place_count(struct im_place *place, struct im_usage *ret_usage, struct im_error *err);

static inline uint64_t im_usage_total(const struct im_usage *usage)
{
    return usage->scratch + usage->entries + usage->foreign + usage->books;
}

/* Who this process is in names of reservations. */
uint64_t im_place_me(void);

/* Is somebody at work on that file of a directory?  *ret_fd (may be NULL) gets it, held, where
 * nobody is. */
bool im_place_in_use(int dir, const char *name, int *ret_fd);

/* A name of a reservation, taken apart; false: it is none. */
struct im_reservation {
    uint64_t owner, bytes;
    const char *id; /* in the name; NULL: no entry is being made */
};
bool im_reservation_parse(const char *name, struct im_reservation *ret);

/* Name of the file a process holds while it has scratch and waits for more. */
#define IM_WAITS_NAME 32
const char *im_waits_name(char buf[IM_WAITS_NAME], uint64_t owner);

/* ---- entries; the lock is held (evict.c) ---- */

/* Entries of one place: they are disk images, and each is looked at whenever room is wanted. */
#define IM_ENTRIES_MAX 4096

struct im_entry_name {
    char id[65], parent[65], sha256[65]; /* the last two "" unless it is derived */
    uint64_t size;
};
bool im_entry_parse(const char *name, struct im_entry_name *ret);
/* NAME of an entry. */
void im_entry_format(const struct im_entry_name *entry, char ret_name[IM_ENTRY_NAME]);

struct im_item {
    struct im_entry_name entry;
    char name[IM_ENTRY_NAME];
    uint64_t bytes; /* that it takes */
    struct timespec used;
    bool in_use, gone;
};

struct im_items {
    unsigned count;
    struct im_item *item; /* the one used longest ago first */
};

int im_items_load(struct im_place *place, struct im_items *ret_items, struct im_error *err);
void im_items_done(struct im_items *items);
/* How many entries depend on this one. */
unsigned im_items_children(const struct im_items *items, const struct im_item *item);

/* Let entries go until `wanted` bytes are free, the one used longest ago first.  *ret_others (may
 * be NULL) tells whether other processes use some. */
int im_evict(struct im_place *place, uint64_t wanted, uint64_t *ret_freed, bool *ret_others,
             struct im_error *err);

/* Files this process itself holds as entries (entry.c). */
bool im_entry_is_own(const struct stat *st);

/* ---- block devices (device.c) ---- */

/* Mount the file system on a block device where nobody sees it, and give its top directory.
 * -EIO "PlaceUnavailable". */
int im_device_open(const char *path, int *ret_dir, struct im_error *err);

/* ---- waiting (wait.c) ---- */

/* Until something may have been let go, or half a second has passed.  The caller prepares while it
 * holds the lock, so that nothing is missed. */
struct im_watch {
    int fd; /* -1: the kernel gives none; then it is half a second always */
};
#define IM_WATCH                                                                                   \
    {                                                                                              \
        .fd = -1                                                                                   \
    }
void im_watch_prepare(struct im_watch *watch, const struct im_place *place);
int im_watch_wait(struct im_watch *watch, struct im_error *err);
void im_watch_done(struct im_watch *watch);

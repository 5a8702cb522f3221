/* entry - take entries, make them, let them go. */

#include <config.h>

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/crypto.h"
#include "cache/take.h"
#include "core/digest.h"

/* Time of the last change of every entry.  Whoever writes to one changes it. */
#define SEAL_SECONDS 1

void im_cache_derive(const char *parent, const char *recipe, char ret_id[IM_CACHE_ID + 1])
{
    struct im_hasher *hasher = im_hasher_new(IM_SHA256);
    uint8_t digest[32] = { 0 };

    if (hasher) {
        im_hasher_add(hasher, parent, strlen(parent));
        im_hasher_add(hasher, "\n", 1);
        im_hasher_add(hasher, recipe, strlen(recipe));
        im_hasher_end(hasher, digest);
        im_hasher_free(hasher);
    }
    im_hex(digest, sizeof(digest), ret_id);
}

/* ---- what this process holds ---- */

static struct im_entry *own;
static pthread_mutex_t own_lock = PTHREAD_MUTEX_INITIALIZER;

static void own_add(struct im_entry *entry)
{
    (void)pthread_mutex_lock(&own_lock);
    entry->next_own = own;
    own = entry;
    (void)pthread_mutex_unlock(&own_lock);
}

static void own_remove(const struct im_entry *entry)
{
    struct im_entry **at = &own;

    (void)pthread_mutex_lock(&own_lock);
    while (*at && *at != entry)
        at = &(*at)->next_own;
    if (*at)
        *at = entry->next_own;
    (void)pthread_mutex_unlock(&own_lock);
}

bool im_entry_is_own(const struct stat *st)
{
    struct stat held;
    bool found = false;

    (void)pthread_mutex_lock(&own_lock);
    for (const struct im_entry *entry = own; entry && !found; entry = entry->next_own)
        found =
            fstat(entry->fd, &held) == 0 && held.st_dev == st->st_dev && held.st_ino == st->st_ino;
    (void)pthread_mutex_unlock(&own_lock);
    return found;
}

/* ---- finding ---- */

/* The file of entry id; false: there is none. */
static bool find(struct im_place *place, const char *id, struct im_entry_name *ret)
{
    DIR *names = im_place_names(place->entries);
    struct dirent *entry;
    bool found = false;

    while (names && !found && (entry = readdir(names)))
        found = im_entry_parse(entry->d_name, ret) && strcmp(ret->id, id) == 0;
    if (names)
        (void)closedir(names);
    return found;
}

/* Used now.  The time of the last change stays what it is. */
static void touch(int fd)
{
    struct timespec times[2] = { { 0 }, { .tv_nsec = UTIME_OMIT } };

    (void)clock_gettime(CLOCK_REALTIME, &times[0]); /* finer than what the kernel would put there */
    (void)futimens(fd, times);
}

static void seal(int fd)
{
    struct timespec times[2] = { { 0 }, { .tv_sec = SEAL_SECONDS } };

    (void)clock_gettime(CLOCK_REALTIME, &times[0]);
    (void)futimens(fd, times);
}

static bool is_sealed(const struct im_entry *entry, const struct im_entry_name *name)
{
    struct stat st;

    return fstat(entry->fd, &st) == 0 && (uint64_t)st.st_size == name->size &&
           st.st_mtim.tv_sec == SEAL_SECONDS && st.st_mtim.tv_nsec == 0;
}

static struct im_entry *entry_new(int fd, const struct im_entry_name *name)
{
    struct im_entry *entry = calloc(1, sizeof(*entry));

    if (!entry)
        return NULL;
    entry->fd = fd;
    entry->size = name->size;
    memcpy(entry->id, name->id, sizeof(entry->id));
    im_entry_format(name, entry->name);
    return entry;
}

/* Use the entry called name, with the lock held.  The place is not set yet. */
static int use(struct im_place *place, const struct im_entry_name *name,
               struct im_entry **ret_entry, struct im_error *err)
{
    char file[IM_ENTRY_NAME];
    int fd IM_CLOSE = -1;
    struct im_entry *entry;
    struct stat st;

    im_entry_format(name, file);
    fd = openat(place->entries, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || flock(fd, LOCK_SH | LOCK_NB) < 0)
        return im_fail_code(err, EIO, "ReadFailed", "cannot open entry %.16s… of the cache: %s",
                            name->id, strerrordesc_np(errno));
    entry = entry_new(fd, name);
    if (!entry)
        return im_fail(err, ENOMEM, "out of memory");
    (void)im_steal_fd(&fd);
    touch(entry->fd);
    own_add(entry);
    *ret_entry = entry;
    return 0;
}

struct im_entry *im_entry_free(struct im_entry *entry)
{
    struct im_place *place;
    bool locked;

    if (!entry)
        return NULL;
    place = entry->place;
    locked = place && place->state >= 0 && im_place_lock_anyway(place, NULL) == 0;
    if (locked)
        touch(entry->fd); /* which tells those who wait */
    own_remove(entry);
    (void)close(entry->fd);
    if (locked)
        im_place_unlock(place);
    im_place_close(place);
    free(entry);
    return NULL;
}

/* ---- proving ---- */

/* All of it is read; true: it is what its name says. */
static int prove(const struct im_entry *entry, const struct im_entry_name *name, bool *ret_good,
                 struct im_error *err)
{
    uint8_t digest[32];
    char hex[IM_CACHE_ID + 1];
    struct stat st;
    int r;

    *ret_good = false;
    if (fstat(entry->fd, &st) < 0 || (uint64_t)st.st_size != name->size)
        return 0;
    r = im_sha256_file(entry->fd, name->size, NULL, digest, err);
    im_hex(digest, sizeof(digest), hex);
    *ret_good = r == 0 && strcmp(hex, *name->sha256 ? name->sha256 : name->id) == 0;
    return r;
}

/* A damaged one goes, unless somebody else reads it: its bytes would be there still. */
static int discard(struct im_entry *entry, struct im_error *err)
{
    struct im_place *place = entry->place;
    int r = im_place_lock(place, err);

    if (r == 0) {
        if (flock(entry->fd, LOCK_EX | LOCK_NB) == 0)
            (void)unlinkat(place->entries, entry->name, 0);
        else
            r = im_fail_code(err, EBADMSG, "DamagedEntry",
                             "entry %.16s… of the cache '%s' is damaged, and somebody reads it; "
                             "try again",
                             entry->id, place->name);
        im_place_unlock(place);
    }
    im_entry_free(entry);
    return r;
}

static int not_cached(const struct im_place *place, const char *id, struct im_error *err)
{
    return im_fail_code(err, ENOENT, "NotCached", "the cache '%s' has no entry %s", place->name,
                        id);
}

/* Is what has been taken good?  It is released when not: 0 with *ret_good, or a failure. */
static int check(struct im_entry *entry, bool verify, bool *ret_good, struct im_error *err)
{
    struct im_entry_name name;
    int r = 0;

    *ret_good = im_entry_parse(entry->name, &name) && is_sealed(entry, &name);
    if (*ret_good && !verify)
        return 0;
    r = prove(entry, &name, ret_good, err);
    if (r < 0)
        im_entry_free(entry);
    else if (*ret_good)
        seal(entry->fd);
    else
        r = discard(entry, err);
    return r;
}

int im_cache_get(const char *where, const char *id, bool verify, struct im_entry **ret_entry,
                 struct im_error *err)
{
    struct im_place *place = NULL;
    struct im_entry *entry = NULL;
    struct im_entry_name name;
    bool good = false;
    int r = im_place_open(where, false, &place, err);

    if (r < 0)
        return r;
    r = place->state < 0 ? not_cached(place, id, err) : im_place_lock(place, err);
    if (r == 0)
        r = find(place, id, &name) ? use(place, &name, &entry, err) : not_cached(place, id, err);
    im_place_unlock(place);
    if (r != 0) {
        im_place_close(place);
        return r;
    }
    entry->place = place;
    r = check(entry, verify, &good, err);
    if (r == 0 && !good)
        return im_fail_code(err, ENOENT, "NotCached",
                            "entry %s of the cache '%s' was damaged and has been removed", id,
                            where);
    if (r == 0)
        *ret_entry = entry;
    return r;
}

/* ---- making ---- */

/* Has another process scratch for entry id?  With the lock held, after a count. */
static bool is_being_made(struct im_place *place, const char *id)
{
    DIR *names = im_place_names(place->scratch);
    struct im_reservation found;
    struct dirent *entry;
    bool made = false;

    while (names && !made && (entry = readdir(names)))
        made = im_reservation_parse(entry->d_name, &found) && found.id && strcmp(found.id, id) == 0;
    if (names)
        (void)closedir(names);
    return made;
}

int im_entry_try(struct im_place *place, const struct im_wish *wish, struct im_error *err)
{
    struct im_entry_name name;
    struct im_usage usage;
    int r;

    if (find(place, wish->id, &name)) {
        r = use(place, &name, wish->ret_entry, err);
        return r < 0 ? r : 2;
    }
    r = im_place_count(place, &usage, err); /* what a dead process was making is gone then */
    if (r < 0 || !is_being_made(place, wish->id))
        return r;
    if (usage.own > 0 && !usage.others_work)
        return im_fail_code(err, ENOSPC, "NoSpace",
                            "another process makes entry %.16s… of the cache and waits for scratch "
                            "that this one holds; try again",
                            wish->id);
    return 1;
}

static int take_once(const char *where, const struct im_wish *wish, struct im_scratch **ret_scratch,
                     struct im_error *err)
{
    struct im_place *place = NULL;
    int r = im_place_open(where, false, &place, err);

    if (r < 0)
        return r;
    if (place->state < 0) {
        im_place_close(place);
        return im_scratch_take(where, wish->bytes, ret_scratch, err);
    }
    r = im_scratch_wish(place, wish, ret_scratch, err);
    if (r == 2)
        (*wish->ret_entry)->place = place;
    else if (r < 0)
        im_place_close(place);
    return r;
}

int im_cache_take(const char *where, const char *id, uint64_t bytes, struct im_entry **ret_entry,
                  struct im_scratch **ret_scratch, struct im_error *err)
{
    struct im_entry *entry = NULL;
    struct im_scratch *scratch = NULL;
    const struct im_wish wish = { .bytes = bytes, .id = id, .ret_entry = &entry };
    bool good = false;
    int r;

    do { /* a damaged one is gone the second time */
        r = take_once(where, &wish, &scratch, err);
        if (r == 2) {
            assert(entry);
            r = check(entry, false, &good, err);
        }
    } while (r == 0 && !scratch && !good);
    if (r < 0)
        return r;
    *ret_scratch = scratch;
    *ret_entry = scratch ? NULL : entry;
    return 0;
}

/* What the scratch will be called. */
static int name_it(const struct im_scratch *scratch, const char *id, const char *parent,
                   struct im_entry_name *ret, struct im_error *err)
{
    struct im_entry_name name = { 0 };
    uint8_t digest[32];
    char hex[IM_CACHE_ID + 1];
    struct stat st;
    int r;

    if (fstat(scratch->fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot look at scratch");
    name.size = (uint64_t)st.st_size;
    r = im_sha256_file(scratch->fd, name.size, NULL, digest, err);
    if (r < 0)
        return r;
    im_hex(digest, sizeof(digest), hex);
    if (!parent && strcmp(hex, id) != 0)
        return im_fail_code(err, EKEYREJECTED, "DigestMismatch",
                            "the SHA-256 of the %" PRIu64 " bytes is %s, not %s", name.size, hex,
                            id);
    memcpy(name.id, id, sizeof(name.id));
    if (parent) {
        memcpy(name.parent, parent, sizeof(name.parent));
        memcpy(name.sha256, hex, sizeof(name.sha256));
    }
    *ret = name;
    return 0;
}

/* One more entry than can be listed could never go. */
static int make_place(struct im_place *place, struct im_error *err)
{
    struct im_items items;
    uint64_t freed = 0;
    unsigned count;
    int r = im_items_load(place, &items, err);

    if (r < 0)
        return r;
    count = items.count;
    im_items_done(&items);
    if (count < IM_ENTRIES_MAX)
        return 0;
    r = im_evict(place, 1, &freed, NULL, err);
    if (r == 0 && freed == 0)
        r = im_fail_code(err, ENOSPC, "ScratchLimit",
                         "the cache '%s' has %u entries, and all are in use", place->name, count);
    return r;
}

/* Move the file from scratch to the entries, with the lock held; it stays open, and in use. */
static int publish(struct im_scratch *scratch, const struct im_entry_name *name,
                   struct im_entry **ret_entry, struct im_error *err)
{
    struct im_place *place = scratch->place;
    struct im_entry_name parent;
    struct im_entry *entry;
    int r = 0;

    if (*name->parent && !find(place, name->parent, &parent))
        return not_cached(place, name->parent, err);
    r = make_place(place, err);
    if (r < 0)
        return r;
    entry = entry_new(scratch->fd, name);
    if (!entry)
        return im_fail(err, ENOMEM, "out of memory");
    if (fchmod(scratch->fd, 0400) < 0 || flock(scratch->fd, LOCK_SH | LOCK_NB) < 0)
        r = -errno;
    seal(scratch->fd);
    if (r == 0 &&
        renameat2(place->scratch, scratch->name, place->entries, entry->name, RENAME_NOREPLACE) < 0)
        r = -errno;
    if (r < 0) {
        free(entry);
        return im_fail_errno(err, -r, "cannot keep entry %.16s… in '%s'", name->id, place->name);
    }
    own_add(entry);
    *ret_entry = entry;
    return 0;
}

/* Where nothing is kept. */
static int wrap(struct im_scratch *scratch, const struct im_entry_name *name,
                struct im_entry **ret_entry, struct im_error *err)
{
    *ret_entry = entry_new(scratch->fd, name);
    if (!*ret_entry)
        return im_fail(err, ENOMEM, "out of memory");
    own_add(*ret_entry);
    return 0;
}

int im_cache_put(struct im_scratch *scratch, const char *id, const char *parent,
                 struct im_entry **ret_entry, struct im_error *err)
{
    struct im_entry *entry = NULL;
    struct im_entry_name name;
    int r = name_it(scratch, id, parent, &name, err);

    if (r == 0 && scratch->place->state < 0) {
        r = wrap(scratch, &name, &entry, err);
    } else if (r == 0) {
        r = im_place_lock(scratch->place, err);
        if (r == 0)
            r = publish(scratch, &name, &entry, err);
        im_place_unlock(scratch->place);
    }
    if (r != 0) {
        im_scratch_free(scratch);
        return r;
    }
    entry->place = scratch->place;
    free(scratch);
    *ret_entry = entry;
    return 0;
}

/* usage - how much of a place is taken, and by what; what dead processes have left is taken back.
 *
 * A reservation's file is held by flock: the kernel lets go when the last process that has it open
 * is gone, children with it.  So a file that can be locked is nobody's. */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crypto.h"
#include "cache/place.h"

/* Directories in each other below a place; deeper ones would be a way to hide from the count. */
#define DEPTH_MAX 32

static uint64_t bytes_of(const struct stat *st)
{
    return (uint64_t)st->st_blocks * 512;
}

static void cleanup_dir(DIR **dir)
{
    if (*dir)
        (void)closedir(*dir);
}
#define CLOSE_DIR IM_CLEANUP(cleanup_dir)

static int cannot_count(const struct im_place *place, int number, struct im_error *err)
{
    return im_fail_code(err, EIO, "PlaceUnavailable", "cannot count what is in '%s': %s",
                        place->name, strerrordesc_np(number));
}

/* ---- names ---- */

uint64_t im_place_me(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static uint64_t me;
    static pid_t of; /* a child is somebody else */
    uint64_t found;

    (void)pthread_mutex_lock(&lock);
    if (of != getpid()) {
        im_random(&me, sizeof(me));
        of = getpid();
    }
    found = me;
    (void)pthread_mutex_unlock(&lock);
    return found;
}

/* `digits` lower-case hexadecimal digits. */
static bool parse_hex(const char *text, unsigned digits, uint64_t *ret)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < digits; i++) {
        char c = text[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        value = value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *ret = value;
    return true;
}

bool im_reservation_parse(const char *name, struct im_reservation *ret)
{
    size_t len = strlen(name);
    uint64_t number;

    if ((len != 42 && len != 107) || name[16] != '-' || name[25] != '-' ||
        !parse_hex(name, 16, &ret->owner) || !parse_hex(name + 17, 8, &number) ||
        !parse_hex(name + 26, 16, &ret->bytes))
        return false;
    ret->id = len == 107 ? name + 43 : NULL;
    return !ret->id || (name[42] == '-' && strspn(ret->id, "0123456789abcdef") == 64);
}

const char *im_waits_name(char buf[IM_WAITS_NAME], uint64_t owner)
{
    (void)snprintf(buf, IM_WAITS_NAME, "%016" PRIx64 "-waits", owner);
    return buf;
}

/* ---- reservations ---- */

bool im_place_in_use(int dir, const char *name, int *ret_fd)
{
    /* not for writing: closing it then would wake up all who wait */
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return errno != ENOENT;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || flock(fd, LOCK_EX | LOCK_NB) < 0) {
        (void)close(fd);
        return true;
    }
    if (ret_fd)
        *ret_fd = fd;
    else
        (void)close(fd);
    return false;
}

/* Its bytes first: whatever still has it open, they are free at once.  A file that has another name
 * as well is somebody else's, linked in here: it only loses this one. */
static void take_back(int dir, const char *name)
{
    int fd = openat(dir, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd >= 0) {
        if (fstat(fd, &st) == 0 && st.st_nlink == 1)
            (void)!ftruncate(fd, 0);
        (void)close(fd);
    }
    (void)unlinkat(dir, name, 0);
}

static void count_reservation(struct im_place *place, const char *name, const struct stat *st,
                              const struct im_reservation *found, struct im_usage *usage)
{
    uint64_t bytes = bytes_of(st) > found->bytes ? bytes_of(st) : found->bytes;
    char waits[IM_WAITS_NAME];
    int held IM_CLOSE = -1;
    bool own = found->owner == im_place_me();
    int fd IM_CLOSE = -1;

    if (!own && !im_place_in_use(place->scratch, name, &fd)) {
        take_back(place->scratch, name);
        usage->taken_back += bytes_of(st);
        return;
    }
    usage->reservations++;
    usage->scratch += bytes;
    if (own) {
        usage->own += bytes;
        return;
    }
    usage->others = true;
    (void)im_waits_name(waits, found->owner);
    if (faccessat(place->scratch, waits, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
        im_place_in_use(place->scratch, waits, &held))
        usage->others_wait = true;
    else
        usage->others_work = true;
}

/* The sign that a process waits is of no use without the process. */
static bool is_waits(struct im_place *place, const char *name)
{
    size_t len = strlen(name);
    uint64_t owner;

    if (len != 22 || !parse_hex(name, 16, &owner) || strcmp(name + 16, "-waits") != 0)
        return false;
    if (owner != im_place_me() && !im_place_in_use(place->scratch, name, NULL))
        take_back(place->scratch, name);
    return true;
}

static int count_scratch(struct im_place *place, struct im_usage *usage, struct im_error *err)
{
    DIR *names CLOSE_DIR = im_place_names(place->scratch);
    struct im_reservation found;
    struct dirent *entry;
    struct stat st;

    if (!names)
        return cannot_count(place, errno, err);
    while ((entry = readdir(names))) {
        if (fstatat(place->scratch, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            strcmp(entry->d_name, "..") == 0)
            continue;
        if (S_ISREG(st.st_mode) && im_reservation_parse(entry->d_name, &found))
            count_reservation(place, entry->d_name, &st, &found, usage);
        else if (strcmp(entry->d_name, ".") == 0 ||
                 (S_ISREG(st.st_mode) && is_waits(place, entry->d_name)))
            usage->books += bytes_of(&st);
        else
            usage->foreign += bytes_of(&st);
    }
    return 0;
}

static int count_entries(struct im_place *place, struct im_usage *usage, struct im_error *err)
{
    DIR *names CLOSE_DIR = im_place_names(place->entries);
    struct im_entry_name name;
    struct dirent *entry;
    struct stat st;

    if (!names)
        return cannot_count(place, errno, err);
    while ((entry = readdir(names))) {
        if (fstatat(place->entries, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            strcmp(entry->d_name, "..") == 0)
            continue;
        if (strcmp(entry->d_name, ".") == 0)
            usage->books += bytes_of(&st);
        else if (S_ISREG(st.st_mode) && im_entry_parse(entry->d_name, &name))
            usage->entries += bytes_of(&st);
        else
            usage->foreign += bytes_of(&st);
    }
    return 0;
}

/* ---- everything else ---- */

/* The state directory: its two parts are counted above, what is strange in it is foreign. */
static int count_state(struct im_place *place, struct im_usage *usage, struct im_error *err)
{
    static const char *const ours[] = { ".", "lock", "limit", "limit.new" };
    DIR *names CLOSE_DIR = im_place_names(place->state);
    struct dirent *entry;
    struct stat st;

    if (!names)
        return cannot_count(place, errno, err);
    while ((entry = readdir(names))) {
        const char *name = entry->d_name;
        bool own = false;

        if (strcmp(name, "..") == 0 || strcmp(name, "scratch") == 0 ||
            strcmp(name, "entries") == 0 ||
            fstatat(place->state, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
            own = own || strcmp(name, ours[i]) == 0;
        *(own ? &usage->books : &usage->foreign) += bytes_of(&st);
    }
    return 0;
}

struct walk {
    struct im_place *place;
    struct stat top, state;
    uint64_t bytes;
};

static int walk_dir(struct walk *walk, int dir, unsigned depth, struct im_error *err);

static int walk_into(struct walk *walk, int dir, const char *name, unsigned depth,
                     struct im_error *err)
{
    int fd IM_CLOSE = -1;

    if (depth == DEPTH_MAX)
        return im_fail_code(err, EIO, "PlaceUnavailable",
                            "directories in '%s' are more than %d deep and are not counted; "
                            "remove them",
                            walk->place->name, DEPTH_MAX);
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? 0 : walk_dir(walk, fd, depth + 1, err); /* what we may not see, or is gone */
}

static int walk_dir(struct walk *walk, int dir, unsigned depth, struct im_error *err)
{
    DIR *names CLOSE_DIR = im_place_names(dir);
    struct dirent *entry;
    struct stat st;
    int r = 0;

    while (names && r == 0 && (entry = readdir(names))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            st.st_dev != walk->top.st_dev || st.st_ino == walk->state.st_ino)
            continue;
        walk->bytes += bytes_of(&st);
        if (S_ISDIR(st.st_mode))
            r = walk_into(walk, dir, entry->d_name, depth, err);
    }
    return r;
}

static int count_foreign(struct im_place *place, struct im_usage *usage, struct im_error *err)
{
    struct walk walk = { .place = place };
    int r;

    if (place->shared)
        return 0;
    if (fstat(place->dir, &walk.top) < 0 || fstat(place->state, &walk.state) < 0)
        return cannot_count(place, errno, err);
    r = walk_dir(&walk, place->dir, 0, err);
    usage->foreign += walk.bytes;
    return r;
}

int im_place_count(struct im_place *place, struct im_usage *ret_usage, struct im_error *err)
{
    struct im_usage usage = { 0 };
    int r = count_scratch(place, &usage, err);

    if (r == 0)
        r = count_entries(place, &usage, err);
    if (r == 0)
        r = count_state(place, &usage, err);
    if (r == 0)
        r = count_foreign(place, &usage, err);
    if (r == 0)
        *ret_usage = usage;
    return r;
}

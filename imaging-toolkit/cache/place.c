/* place - open a place, hold its lock, read and write its settings. */

#include <config.h>

#include "cache/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "cache/cache.h"
#include "core/cancel.h"

#define DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* The settings are three short lines. */
#define SETTINGS_MAX 256

/* A place that is missing is not the image's fault. */
static int unavailable(const struct im_place *place, const char *why, struct im_error *err)
{
    return im_fail_code(err, EIO, "PlaceUnavailable", "'%s' cannot be a place for scratch: %s",
                        place->name, why);
}

/* ---- the state directory ---- */

/* What root makes in somebody's place is that user's: this thread is them while it makes it (who is
 * confined gives nothing away).  Neither call can fail for root. */
static void become(const struct im_place *place, bool owner)
{
    if (geteuid() != 0 || place->uid == 0)
        return;
    (void)setfsgid(owner ? place->gid : getegid());
    (void)setfsuid(owner ? place->uid : 0);
}

static int make_directory(const struct im_place *place, int dir, const char *name)
{
    int r;

    become(place, true);
    r = mkdirat(dir, name, 0700) < 0 ? -errno : 0;
    become(place, false);
    return r;
}

/* A file of the owner's alone, open for reading and writing; -errno. */
static int open_file(const struct im_place *place, int dir, const char *name, int flags)
{
    int fd;

    become(place, true);
    fd = openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
    if (fd < 0)
        fd = -errno;
    become(place, false);
    return fd;
}

static int open_below(const struct im_place *place, int dir, const char *name, bool create,
                      int *ret_fd)
{
    int fd;

    if (create)
        (void)make_directory(place, dir, name); /* or it is there */
    fd = openat(dir, name, DIRECTORY);
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

/* Everything depends on nobody else being able to put files there. */
static bool is_private(const struct im_place *place, int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_uid == place->uid && (st.st_mode & 077) == 0 &&
           (geteuid() == place->uid || geteuid() == 0);
}

/* Learn whose directory it is; false: this one cannot be looked at. */
static bool look_at(struct im_place *place)
{
    struct stat st;

    if (fstat(place->dir, &st) < 0)
        return false;
    place->shared = st.st_mode & S_ISVTX && st.st_mode & S_IWOTH;
    place->uid = place->shared ? geteuid() : st.st_uid;
    place->gid = place->shared ? getegid() : st.st_gid;
    return true;
}

/* 0 with or without a state directory, or why not. */
static int open_state(struct im_place *place, bool set_up, struct im_error *err)
{
    char name[40];
    int fd IM_CLOSE = -1;
    int r;

    if (!look_at(place))
        return unavailable(place, "it cannot be looked at", err);
    if (set_up && geteuid() != place->uid && geteuid() != 0)
        return unavailable(place,
                           "it belongs to another user, and only they can set it up; use a "
                           "directory of your own",
                           err);
    (void)snprintf(name, sizeof(name), place->shared ? "%s-%ju" : "%s", IM_PLACE_STATE,
                   (uintmax_t)geteuid());
    r = open_below(place, place->dir, name, set_up, &fd);
    if (r == -ENOENT && !set_up)
        return 0;
    if (r == -ENOTDIR || r == -ELOOP)
        return unavailable(place, "its .imaging-cache is no directory; remove what is there", err);
    if (r < 0)
        return unavailable(place, strerrordesc_np(-r), err);
    if (!is_private(place, fd)) {
        if (place->shared && !set_up)
            return 0; /* whoever planted it must not stop us */
        return unavailable(place,
                           "its .imaging-cache belongs to another user, or others may look into "
                           "it (mode 0700 is needed); use another place",
                           err);
    }
    r = open_below(place, fd, "scratch", true, &place->scratch);
    if (r == 0)
        r = open_below(place, fd, "entries", true, &place->entries);
    if (r < 0)
        return unavailable(place, strerrordesc_np(-r), err);
    place->state = im_steal_fd(&fd);
    return 0;
}

/* A directory right below a place, of the same owner, belongs to it. */
static int look_above(struct im_place *place, struct im_error *err)
{
    int above = openat(place->dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uid_t uid = place->uid;
    int below = place->dir;
    int r = 0;

    if (above < 0)
        return 0;
    place->dir = above;
    if (look_at(place) && !place->shared && place->uid == uid)
        r = open_state(place, false, err);
    if (place->state >= 0) {
        (void)close(below);
        return r;
    }
    place->dir = below;
    (void)close(above);
    return look_at(place) ? r : unavailable(place, "it cannot be looked at", err);
}

static int open_top(struct im_place *place, bool *ret_device, struct im_error *err)
{
    struct stat st;

    if (stat(place->name, &st) < 0)
        return unavailable(place, strerrordesc_np(errno), err);
    *ret_device = S_ISBLK(st.st_mode);
    if (*ret_device)
        return im_device_open(place->name, &place->dir, err);
    place->dir = open(place->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place->dir < 0)
        return unavailable(place, strerrordesc_np(errno), err);
    return 0;
}

int im_place_open(const char *path, bool set_up, struct im_place **ret_place, struct im_error *err)
{
    struct im_place *place = malloc(sizeof(*place));
    bool device = false;
    int r;

    if (!place)
        return im_fail(err, ENOMEM, "out of memory");
    *place = (struct im_place){ .name = strdup(path),
                                .dir = -1,
                                .state = -1,
                                .scratch = -1,
                                .entries = -1,
                                .lock = -1,
                                .limit = IM_PLACE_NOBODY };
    r = place->name ? open_top(place, &device, err) : im_fail(err, ENOMEM, "out of memory");
    if (r == 0) /* nothing else is on a device of ours: it is always counted */
        r = open_state(place, set_up || device, err);
    if (r == 0 && place->state < 0 && !place->shared)
        r = look_above(place, err);
    if (r < 0) {
        im_place_close(place);
        return r;
    }
    *ret_place = place;
    return 0;
}

/* -1 for one that is not there. */
static int again(int fd, bool *failed)
{
    int other = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);

    *failed = *failed || (fd >= 0 && other < 0);
    return other;
}

int im_place_again(const struct im_place *place, struct im_place **ret_place, struct im_error *err)
{
    struct im_place *other = malloc(sizeof(*other));
    bool failed = false;

    if (!other)
        return im_fail(err, ENOMEM, "out of memory");
    *other = *place;
    other->lock = -1;
    other->dir = again(place->dir, &failed);
    other->state = again(place->state, &failed);
    other->scratch = again(place->scratch, &failed);
    other->entries = again(place->entries, &failed);
    other->name = strdup(place->name);
    if (failed || !other->name) {
        im_place_close(other);
        return im_fail(err, EMFILE, "out of memory or descriptors");
    }
    *ret_place = other;
    return 0;
}

struct im_place *im_place_close(struct im_place *place)
{
    if (!place)
        return NULL;
    im_place_unlock(place);
    if (place->entries >= 0)
        (void)close(place->entries);
    if (place->scratch >= 0)
        (void)close(place->scratch);
    if (place->state >= 0)
        (void)close(place->state);
    if (place->dir >= 0)
        (void)close(place->dir);
    free(place->name);
    free(place);
    return NULL;
}

/* ---- settings ---- */

static int damaged(const struct im_place *place, struct im_error *err)
{
    return im_fail_code(err, EIO, "PlaceUnavailable",
                        "the settings of the place '%s' cannot be read; set its limit again with "
                        "'imaging-toolkit cache limit'",
                        place->name);
}

/* "limit N\npolicy WORD\n"; N is "none" where there is none. */
static int parse_settings(struct im_place *place, char *text, struct im_error *err)
{
    char *policy = strchr(text, '\n');
    char *end = policy ? strchr(policy + 1, '\n') : NULL;

    if (!end || end[1] || strncmp(text, "limit ", 6) != 0 || strncmp(policy + 1, "policy ", 7) != 0)
        return damaged(place, err);
    *policy = *end = '\0';
    policy += strlen("\npolicy ");
    if (strcmp(text + 6, "none") == 0)
        place->limit = IM_PLACE_NOBODY;
    else if (im_parse_uint(text + 6, INT64_MAX, &place->limit) < 0)
        return damaged(place, err);
    place->fail = strcmp(policy, "fail") == 0;
    return place->fail || strcmp(policy, "wait") == 0 ? 0 : damaged(place, err);
}

static int read_settings(struct im_place *place, struct im_error *err)
{
    char text[SETTINGS_MAX + 1];
    int fd IM_CLOSE = openat(place->state, "limit", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t n;

    place->limit = IM_PLACE_NOBODY;
    place->fail = false;
    if (fd < 0)
        return errno == ENOENT ? 0 : damaged(place, err);
    n = im_pread(fd, text, SETTINGS_MAX, 0);
    if (n < 0)
        return damaged(place, err);
    text[n] = '\0';
    return parse_settings(place, text, err);
}

int im_place_settle(struct im_place *place, uint64_t limit, bool fail, struct im_error *err)
{
    char number[24] = "none", text[SETTINGS_MAX];
    int fd IM_CLOSE = -1;
    int r;

    if (limit != IM_PLACE_NOBODY)
        (void)snprintf(number, sizeof(number), "%" PRIu64, limit);
    (void)snprintf(text, sizeof(text), "limit %s\npolicy %s\n", number, fail ? "fail" : "wait");
    (void)unlinkat(place->state, "limit.new", 0); /* of one that died */
    fd = im_place_create(place, place->state, "limit.new", err);
    if (fd < 0)
        return fd;
    r = im_write(fd, text, strlen(text));
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (r == 0 && renameat(place->state, "limit.new", place->state, "limit") < 0)
        r = -errno;
    if (r < 0)
        return im_fail_errno(err, -r, "cannot write the settings of '%s'", place->name);
    place->limit = limit;
    place->fail = fail;
    return 0;
}

/* ---- the lock ---- */

static int lock(struct im_place *place, bool may_cancel, struct im_error *err)
{
    int fd = open_file(place, place->state, "lock", 0);
    int r = 0;

    if (fd < 0)
        return im_fail_code(err, EIO, "PlaceUnavailable", "cannot open the lock of '%s': %s",
                            place->name, strerrordesc_np(-fd));
    place->lock = fd;
    while (r == 0 && flock(place->lock, LOCK_EX) < 0) {
        if (errno != EINTR)
            r = im_fail_errno(err, errno, "cannot lock '%s'", place->name);
        else if (may_cancel)
            r = im_cancel_check(err);
    }
    if (r == 0)
        r = read_settings(place, err);
    if (r < 0)
        im_place_unlock(place);
    return r;
}

int im_place_lock(struct im_place *place, struct im_error *err)
{
    return lock(place, true, err);
}

int im_place_lock_anyway(struct im_place *place, struct im_error *err)
{
    return lock(place, false, err);
}

void im_place_unlock(struct im_place *place)
{
    if (place->lock < 0)
        return;
    (void)flock(place->lock, LOCK_UN); /* a child between fork and exec has it open, too */
    (void)close(place->lock);
    place->lock = -1;
}

int im_place_create(struct im_place *place, int dir, const char *name, struct im_error *err)
{
    int fd = open_file(place, dir, name, O_EXCL);

    if (fd >= 0)
        return fd;
    if (fd == -ENOSPC || fd == -EDQUOT)
        return im_fail_errno(err, -fd, "cannot create a file in '%s'", place->name);
    return im_fail_code(err, EIO, "CannotWrite", "cannot create a file in '%s': %s", place->name,
                        strerrordesc_np(-fd));
}

struct __dirstream *im_place_names(int dir)
{
    int fd = openat(dir, ".", DIRECTORY);
    DIR *names = fd < 0 ? NULL : fdopendir(fd);

    if (!names && fd >= 0)
        (void)close(fd);
    return names;
}

/* ---- for who confines itself ---- */

/* Landlock knows files by where they are, so the descriptors serve: of a mount that is attached
 * nowhere they are all there is. */
static int allow_open(const struct im_place *place, struct im_confine *confine,
                      struct im_error *err)
{
    int r = im_confine_allow_fd(confine, place->dir, IM_MAY_LIST, err);

    return r < 0 || place->state < 0
               ? r
               : im_confine_allow_fd(confine, place->state, IM_MAY_READ | IM_MAY_WRITE, err);
}

int im_cache_allow(const char *path, struct im_confine *confine, struct im_error *err)
{
    static struct im_place *held; /* a device's: the rules are on the mounted file system's files */
    struct im_place *place = NULL;
    int r = im_confine_allow(confine, path, IM_MAY_READ | IM_MAY_WRITE, err);

    if (r < 0 || im_place_open(path, false, &place, NULL) < 0)
        return r;
    r = allow_open(place, confine, err);
    if (!confine->mounts)
        im_place_close(place);
    else if (!held)
        held = place;
    return r;
}

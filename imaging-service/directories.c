/* directories - a service's directories and its lock. */

#include <config.h>

#include "directories.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/io.h"

/* A child of a process that was killed holds its lock until it is a program of its own. */
#define LOCK_WAIT_MS 1000

static int make_dir(const char *path, struct im_error *err)
{
    struct stat st;

    if (mkdir(path, 0700) == 0)
        return im_sync_parent(path) < 0 ? im_fail_errno(err, errno, "cannot create '%s'", path) : 0;
    if (errno != EEXIST)
        return im_fail_errno(err, errno, "cannot create the directory '%s'", path);
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return im_fail(err, ENOTDIR, "'%s' is in the way: a directory is needed there", path);
    return 0;
}

int svc_flock_soon(int fd, int wait_ms)
{
    const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
    int64_t end_ms = im_clock_monotonic_ms() + wait_ms;

    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK || im_clock_monotonic_ms() >= end_ms)
            return -1;
        (void)nanosleep(&pause, NULL);
    }
    return 0;
}

/* Two services on one directory would undo each other's work. */
static int take_lock(const char *path, int *ret_lock, struct im_error *err)
{
    *ret_lock = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (*ret_lock < 0)
        return im_fail_errno(err, errno, "cannot open '%s'", path);
    if (svc_flock_soon(*ret_lock, LOCK_WAIT_MS) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return im_fail(err, EBUSY,
                       "another imaging-service is at work in '%.*s'; stop it, or choose another "
                       "directory",
                       (int)(strrchr(path, '/') - path), path);
    return im_fail_errno(err, errno, "cannot lock '%s'", path);
}

int svc_directory_need(const char *path, const char *cure, struct im_error *err)
{
    struct stat st;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return im_fail(err, ENOTDIR, "the directory '%s' is not there; %s", path, cure);
}

/* A directory of its own, with all that is kept. */
static int take_alone(const struct svc_conf *conf, int *ret_lock, struct im_error *err)
{
    const char *const dirs[] = { conf->objects_dir, conf->volumes_dir, conf->scratch_dir };
    int r = make_dir(conf->dir, err);

    if (r == 0)
        r = take_lock(conf->lock_path, ret_lock, err);
    for (size_t i = 0; r == 0 && i < sizeof(dirs) / sizeof(dirs[0]); i++)
        r = make_dir(dirs[i], err);
    return r;
}

/* Directories that several services share are not made: one that is missing may be a share that is
 * not mounted. */
static int take_shared(const struct svc_conf *conf, int *ret_lock, struct im_error *err)
{
    static const char cure[] = "make it once for all services that share it, or mount it";
    int r = make_dir(conf->scratch_dir, err);

    if (r == 0)
        r = take_lock(conf->lock_path, ret_lock, err);
    if (r == 0)
        r = svc_directory_need(conf->volumes_dir, cure, err);
    return r < 0 ? r : svc_directory_need(conf->state_dir, cure, err);
}

int svc_directories_take(const struct svc_conf *conf, int *ret_lock, struct im_error *err)
{
    return conf->database ? take_shared(conf, ret_lock, err) : take_alone(conf, ret_lock, err);
}

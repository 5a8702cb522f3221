/* resume - the two files of a conversion that can be gone on with. */

#include <config.h>

#include "core/resume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"

#define PARTIAL ".partial"
#define JOURNAL ".journal"

/* Attempts of one stage end after a few deaths and tries; more names are somebody's mistake. */
#define EARLIER_MAX 256

/* A journal that is locked and whose name is its own may be removed by its last owner in between.
 */
#define LOCK_TRIES 16

/* Names of one attempt and its journal, locked. */
struct attempt {
    char *partial, *journal;
    int fd;        /* of the journal, -1: not held */
    uint64_t data; /* as its last mark has it */
};

static void attempt_done(struct attempt *attempt)
{
    im_cleanup_close(&attempt->fd);
    free(attempt->partial);
    free(attempt->journal);
    *attempt = (struct attempt){ .fd = -1 };
}

static void remove_files(const char *partial, const char *journal)
{
    (void)unlink(partial);
    (void)unlink(journal); /* last: as long as it is there and locked, nobody begins anew */
}

/* An ordinary file of our own that has no other name. */
static bool is_ours(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_uid == geteuid();
}

/* The name still means the file that fd is open on. */
static bool is_named(int fd, const char *path)
{
    struct stat here, there;

    return fstat(fd, &here) == 0 && lstat(path, &there) == 0 && here.st_ino == there.st_ino &&
           here.st_dev == there.st_dev;
}

/* Open a journal and lock it.  -EBUSY: another process holds it; -ENOENT: it is gone; -errno. */
static int lock_journal(const char *path, int flags, int *ret_fd)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        int fd IM_CLOSE = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600);

        if (fd < 0)
            return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
            return errno == EWOULDBLOCK ? -EBUSY : -errno;
        if (!is_ours(fd) && is_named(fd, path))
            return -EPERM;
        if (is_named(fd, path)) {
            *ret_fd = im_steal_fd(&fd);
            return 0;
        }
    }
    return -EBUSY;
}

/* How far it came: its last mark.  -ESTALE: it is no journal, or has none. */
static int read_marks(struct attempt *attempt)
{
    struct im_buffer buffer IM_BUFFER_DONE = IM_BUFFER(IM_JOURNAL_MARK_MAX);
    struct im_journal journal;
    struct im_journal_mark mark;
    int r = im_journal_open(&journal, attempt->fd, NULL);

    if (r < 0)
        return r;
    while ((r = im_journal_next(&journal, &buffer, &mark)) > 0)
        attempt->data = mark.data;
    return r < 0 ? r : journal.number == 0 ? -ESTALE : 0;
}

/* Hold the attempt with that journal, when it can be gone on with.  What cannot is removed, but for
 * what another process holds. */
static int hold(const char *journal, struct attempt *ret_attempt)
{
    struct attempt attempt IM_CLEANUP(attempt_done) = { .fd = -1, .journal = strdup(journal) };
    struct stat st;
    int r;

    if (attempt.journal)
        attempt.partial =
            im_asprintf("%.*s" PARTIAL, (int)(strlen(journal) - strlen(JOURNAL)), journal);
    if (!attempt.partial)
        return -ENOMEM;
    r = lock_journal(journal, 0, &attempt.fd);
    if (r < 0)
        return r;
    r = lstat(attempt.partial, &st) < 0 || !S_ISREG(st.st_mode) ? -ESTALE : read_marks(&attempt);
    if (r == -ESTALE)
        remove_files(attempt.partial, attempt.journal);
    if (r < 0)
        return r;
    *ret_attempt = attempt;
    attempt = (struct attempt){ .fd = -1 };
    return 0;
}

/* Keep the one that came further. */
static void choose(struct attempt *best, struct attempt *other)
{
    struct attempt worse = *other;

    if (best->fd < 0 || other->data > best->data) {
        worse = *best;
        *best = *other;
    }
    if (worse.fd >= 0)
        remove_files(worse.partial, worse.journal);
    attempt_done(&worse);
}

static bool is_journal(const char *name, const char *prefix)
{
    size_t len = strlen(name);

    return strncmp(name, prefix, strlen(prefix)) == 0 && len > strlen(prefix) + strlen(JOURNAL) &&
           strcmp(name + len - strlen(JOURNAL), JOURNAL) == 0;
}

/* The best attempt under other names. */
static int look_around(const char *earlier, struct attempt *best)
{
    char *copy IM_FREE = strdup(earlier);
    const char *prefix = im_text_basename(earlier), *dir = copy ? dirname(copy) : NULL;
    DIR *entries = dir ? opendir(dir) : NULL;
    const struct dirent *entry;
    int r = 0;

    if (!entries)
        return copy ? 0 : -ENOMEM;
    for (int seen = 0; r == 0 && seen < EARLIER_MAX && (entry = readdir(entries));) {
        struct attempt found = { .fd = -1 };
        char *path IM_FREE = NULL;

        if (!is_journal(entry->d_name, prefix))
            continue;
        seen++;
        path = im_asprintf("%s/%s", dir, entry->d_name);
        r = path ? hold(path, &found) : -ENOMEM;
        if (r == 0)
            choose(best, &found);
        else if (r != -ENOMEM)
            r = 0; /* held, gone, or no good */
    }
    (void)closedir(entries);
    return r;
}

/* ---- under our names ---- */

static int busy(const char *path, struct im_error *err)
{
    return im_fail_code(err, EBUSY, "Busy", "another process is writing '%s'; let it end first",
                        path);
}

/* Let the attempt have our names; the journal last, without which the other file is nothing.  One
 * that is gone has been tidied up by whoever it belonged to. */
static int take_names(struct im_resume *resume, struct attempt *attempt, struct im_error *err)
{
    if (strcmp(attempt->journal, resume->journal) != 0 &&
        (rename(attempt->partial, resume->partial) < 0 ||
         rename(attempt->journal, resume->journal) < 0))
        return errno == ENOENT ? 0
                               : im_fail_code(err, EIO, "CannotWrite", "cannot rename '%s': %s",
                                              attempt->journal, strerrordesc_np(errno));
    resume->journal_fd = im_steal_fd(&attempt->fd);
    return 0;
}

static int take(struct im_resume *resume, const char *earlier, struct im_error *err)
{
    struct attempt best IM_CLEANUP(attempt_done) = { .fd = -1 };
    struct attempt own = { .fd = -1 };
    int r = hold(resume->journal, &own);

    if (r == -EBUSY)
        return busy(resume->journal, err);
    if (r == 0)
        choose(&best, &own);
    if (earlier && look_around(earlier, &best) < 0)
        return im_fail(err, ENOMEM, "out of memory");
    return best.fd >= 0 ? take_names(resume, &best, err) : 0;
}

int im_resume_take(const char *path, const char *earlier, struct im_resume **ret_resume,
                   struct im_error *err)
{
    struct im_resume *resume = calloc(1, sizeof(*resume));
    int r;

    if (!resume)
        return im_fail(err, ENOMEM, "out of memory");
    *resume = (struct im_resume){ .partial = im_asprintf("%s" PARTIAL, path),
                                  .journal = im_asprintf("%s" JOURNAL, path),
                                  .partial_fd = -1,
                                  .journal_fd = -1 };
    if (!resume->partial || !resume->journal)
        r = im_fail(err, ENOMEM, "out of memory");
    else
        r = take(resume, earlier, err);
    if (r < 0)
        (void)im_resume_end(resume, true);
    else
        *ret_resume = resume;
    return r;
}

/* ---- at work ---- */

static int open_partial(struct im_resume *resume, int flags)
{
    resume->partial_fd = open(resume->partial, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0666);
    return resume->partial_fd < 0 || !is_ours(resume->partial_fd) ? -1 : 0;
}

/* Two empty files.  1 when the place cannot have them. */
static int make_files(struct im_resume *resume, struct im_error *err)
{
    int r =
        resume->journal_fd < 0 ? lock_journal(resume->journal, O_CREAT, &resume->journal_fd) : 0;

    if (r == -EBUSY)
        return busy(resume->journal, err);
    if (r < 0 || (resume->partial_fd < 0 && open_partial(resume, O_CREAT) < 0))
        return 1;
    return ftruncate(resume->partial_fd, 0) < 0;
}

static int begin_anew(struct im_resume *resume, const uint8_t *identity, struct im_source *source,
                      struct im_error *err)
{
    struct im_journal journal;
    int r = make_files(resume, err);

    if (r != 0)
        return r;
    if (im_journal_create(&journal, resume->journal_fd, identity) < 0 ||
        im_sync_parent(resume->journal) < 0)
        return 1;
    return im_trail_new(source, &journal, resume->partial_fd, &resume->trail, err);
}

int im_resume_begin(struct im_resume *resume, const uint8_t *identity, bool afresh,
                    struct im_source *source, struct im_error *err)
{
    struct im_journal journal;

    if (afresh || resume->journal_fd < 0 ||
        im_journal_open(&journal, resume->journal_fd, identity) < 0 || open_partial(resume, 0) < 0)
        return begin_anew(resume, identity, source, err);
    return im_trail_new(source, &journal, resume->partial_fd, &resume->trail, err);
}

bool im_resume_end(struct im_resume *resume, bool keep)
{
    if (!resume)
        return false;
    if (resume->trail) {
        (void)im_trail_stop(resume->trail, keep, NULL);
        keep = keep && im_trail_has_marks(resume->trail);
    }
    im_trail_free(resume->trail);
    keep = keep && resume->journal_fd >= 0;
    /* what another process holds is not ours to remove */
    if (!keep && resume->journal_fd >= 0)
        remove_files(resume->partial, resume->journal);
    im_cleanup_close(&resume->partial_fd);
    im_cleanup_close(&resume->journal_fd);
    free(resume->partial);
    free(resume->journal);
    free(resume);
    return keep;
}

/* removal - one thread that removes volumes of cancelled tasks, then writes that they are gone; and
 * now and then what dead services left. */

#include <config.h>

#include "dispatch/removal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "dispatch/files.h"
#include "dispatch/leftovers.h"
#include "log.h"

/* It is woken when there is something to do; this is for what could not be written then. */
#define LOOK_MS 30000

/* Files of dead claims are only in the way of space. */
#define CLEAN_MS 600000

struct removal {
    const struct svc_conf *conf;
    struct task_table *table;
    atomic_bool stop;
    int wake_fd;
    pthread_t thread;
};

/* One volume; a negative number when there is none, or the table fails. */
static int remove_next(struct removal *removal)
{
    struct claim claim CLAIM_DONE = { 0 };
    struct im_error err = { 0 };
    int r = task_next_removal(removal->table, &claim, &err);

    if (r == 0) {
        files_remove_disk(removal->conf, &claim, true);
        svc_log(SVC_INFO, "%s: volume %s was removed", claim.task.id, claim.stage->volume_id);
        r = task_removed(removal->table, &claim, &err);
    }
    if (r < 0 && r != -EAGAIN)
        svc_log(SVC_ERROR, "volumes of cancelled tasks are not removed: %s", err.message);
    return r;
}

static void clean(struct removal *removal)
{
    struct im_error err = { 0 };

    if (leftovers_clean(removal->conf, removal->table, false, NULL, NULL, &err) < 0)
        svc_log(SVC_WARNING, "leftover files are not looked for: %s", err.message);
}

static void *work(void *arg)
{
    struct removal *removal = arg;
    int64_t clean_ms = im_clock_monotonic_ms() + CLEAN_MS;
    struct pollfd fd = { .fd = removal->wake_fd, .events = POLLIN };
    uint64_t count;

    while (!atomic_load(&removal->stop)) {
        while (!atomic_load(&removal->stop) && remove_next(removal) == 0)
            ;
        if (im_clock_monotonic_ms() >= clean_ms) {
            clean(removal);
            clean_ms = im_clock_monotonic_ms() + CLEAN_MS;
        }
        if (poll(&fd, 1, LOOK_MS) > 0)
            (void)!read(removal->wake_fd, &count, sizeof(count));
    }
    return NULL;
}

/* Signals are for the main thread. */
static int start_thread(struct removal *removal)
{
    sigset_t all, before;
    int r;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&removal->thread, NULL, work, removal);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

int removal_start(const struct svc_conf *conf, struct task_table *table,
                  struct removal **ret_removal, struct im_error *err)
{
    struct removal *removal = calloc(1, sizeof(*removal));
    int r;

    if (!removal)
        return im_fail(err, ENOMEM, "out of memory");
    removal->conf = conf;
    removal->table = table;
    removal->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = removal->wake_fd < 0 ? errno : start_thread(removal);
    if (r != 0) {
        im_cleanup_close(&removal->wake_fd);
        free(removal);
        return im_fail_errno(err, r, "cannot start the thread that removes volumes");
    }
    *ret_removal = removal;
    return 0;
}

void removal_wake(struct removal *removal)
{
    if (removal)
        (void)eventfd_write(removal->wake_fd, 1);
}

struct removal *removal_stop(struct removal *removal)
{
    if (!removal)
        return NULL;
    atomic_store(&removal->stop, true);
    removal_wake(removal);
    (void)pthread_join(removal->thread, NULL);
    (void)close(removal->wake_fd);
    free(removal);
    return NULL;
}

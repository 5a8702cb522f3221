/* dispatch - start, wake and stop the workers; who looks for work, and when.
 *
 * Idle workers wait together for one moment, `look_ms`.  Whoever wakes at it moves it on before
 * asking the table, so that all of them together ask at most once a second. */

#include <config.h>

#include "dispatch/dispatch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/spawn.h"
#include "base/text.h"
#include "dispatch/files.h"
#include "dispatch/leftovers.h"
#include "dispatch/news.h"
#include "dispatch/removal.h"
#include "dispatch/stores.h"
#include "dispatch/uploads.h"
#include "dispatch/worker.h"
#include "log.h"
#include "metrics.h"

/* Between two looks of idle workers: at least, at most (new tasks wake, so this is a safety net),
 * and while something is in the way. */
#define LOOK_MIN_MS     1000
#define LOOK_MAX_MS     10000
#define LOOK_TROUBLE_MS 2000

#define TROUBLE_MAX 512

struct slot {
    struct dispatch *dispatch;
    struct worker worker;
    pthread_t thread;
};

struct dispatch {
    const struct svc_conf *conf;
    struct task_table *table;
    atomic_bool stop;
    bool volumes_mounted, scratch_mounted; /* at the start */
    struct removal *removal;
    struct stores *stores;
    struct uploads *uploads; /* NULL: they stay */
    struct news *news;       /* of a table that other services use, too */

    pthread_mutex_t lock;      /* guards what follows */
    pthread_cond_t changed;    /* look_ms came nearer, or stop */
    int64_t look_ms;           /* monotonic: nobody asks the table before it */
    bool woken;                /* somebody called dispatch_wake since the last look */
    char trouble[TROUBLE_MAX]; /* last one logged, "" when there was none */

    unsigned started; /* threads */
    unsigned slots;
    struct slot slot[];
};

/* ---- trouble ---- */

static const char *toolkit_trouble(const char *toolkit, char *buf, size_t size)
{
    struct im_program found;

    if (toolkit && im_spawn_find(toolkit, &found))
        return NULL;
    (void)snprintf(buf, size,
                   "imaging-toolkit was not found: '%s' is not a program that can be run; install "
                   "it there or name another with --toolkit",
                   toolkit ? toolkit : "");
    return buf;
}

/* Whether something is mounted there. */
static bool is_mounted(const char *dir)
{
    char *above IM_FREE = im_asprintf("%s/..", dir);
    struct stat here, there;

    return above && stat(dir, &here) == 0 && stat(above, &there) == 0 &&
           here.st_dev != there.st_dev;
}

/* mounted: as is_mounted told at the start.  What is written where a file system is missing is on
 * another disk, and nobody else's. */
static const char *dir_trouble(const char *what, const char *dir, bool mounted, char *buf,
                               size_t size)
{
    if (mounted && !is_mounted(dir)) {
        (void)snprintf(
            buf, size,
            "the %s directory '%s' is not mounted any more, as it was at the start; mount "
            "it again",
            what, dir);
        return buf;
    }
    if (faccessat(AT_FDCWD, dir, R_OK | W_OK | X_OK, AT_EACCESS) == 0)
        return NULL;
    (void)snprintf(buf, size, "the %s directory '%s' cannot be written: %s", what, dir,
                   strerrordesc_np(errno));
    return buf;
}

const char *dispatch_trouble_of(struct dispatch *dispatch, unsigned n, char *buf, size_t size)
{
    const struct svc_conf *conf = dispatch->conf;

    switch (n) {
    case 0:
        return toolkit_trouble(conf->toolkit, buf, size);
    case 1:
        return dir_trouble("volume", conf->volumes_dir, dispatch->volumes_mounted, buf, size);
    default:
        return dir_trouble("scratch", conf->scratch_dir, dispatch->scratch_mounted, buf, size);
    }
}

const char *dispatch_trouble(struct dispatch *dispatch, char *buf, size_t size)
{
    const char *trouble = NULL;

    for (unsigned i = 0; i < DISPATCH_TROUBLES && !trouble; i++)
        trouble = dispatch_trouble_of(dispatch, i, buf, size);
    return trouble;
}

/* Say what is in the way when it is not what was said last.  Lock held. */
static void log_trouble(struct dispatch *dispatch, const char *trouble)
{
    if (strcmp(dispatch->trouble, trouble ? trouble : "") == 0)
        return;
    if (trouble)
        svc_log(SVC_ERROR, "no task is worked on: %s", trouble);
    else
        svc_log(SVC_INFO, "tasks are worked on again");
    (void)snprintf(dispatch->trouble, sizeof(dispatch->trouble), "%s", trouble ? trouble : "");
}

/* ---- looking for work ---- */

/* Ask for a stage: true with one, else false and *ret_pause_ms until the next look makes sense.
 * Lock not held. */
static bool look(struct slot *slot, struct claim *ret_claim, int64_t *ret_pause_ms)
{
    struct dispatch *dispatch = slot->dispatch;
    int64_t wait = INT64_MAX;
    char buf[TROUBLE_MAX];
    const char *trouble = dispatch_trouble(dispatch, buf, sizeof(buf));
    struct im_error err = { 0 };
    int r = -EAGAIN;

    *ret_pause_ms = LOOK_TROUBLE_MS;
    if (!trouble) {
        r = task_claim(dispatch->table, WORKER_LEASE_MS, ret_claim, &wait, &err);
        if (task_left_removals(dispatch->table))
            removal_wake(dispatch->removal);
        if (r == 0)
            metric_add(METRIC_CLAIMS, ret_claim->stage->kind == STAGE_LAUNCH ? "launch" : "convert",
                       NULL, 1);
        if (r == -EAGAIN)
            *ret_pause_ms = wait > LOOK_MAX_MS   ? LOOK_MAX_MS
                            : wait < LOOK_MIN_MS ? LOOK_MIN_MS
                                                 : wait;
        else if (r < 0)
            trouble = err.message;
    }
    (void)pthread_mutex_lock(&dispatch->lock);
    log_trouble(dispatch, trouble);
    (void)pthread_mutex_unlock(&dispatch->lock);
    return r == 0;
}

/* Wait for the moment of the next look.  Lock held. */
static void wait_for_look(struct dispatch *dispatch)
{
    struct timespec until = {
        .tv_sec = (time_t)(dispatch->look_ms / 1000),
        .tv_nsec = (long)(dispatch->look_ms % 1000) * 1000000,
    };

    (void)pthread_cond_timedwait(&dispatch->changed, &dispatch->lock, &until);
}

/* Anybody idle may look now.  Lock held. */
static void look_now(struct dispatch *dispatch)
{
    dispatch->look_ms = 0;
    (void)pthread_cond_signal(&dispatch->changed);
}

/* One round of an idle worker; lock held at both ends, not between. */
static void look_and_work(struct slot *slot)
{
    struct dispatch *dispatch = slot->dispatch;
    int64_t began = im_clock_monotonic_ms(), pause;
    struct claim claim CLAIM_DONE = { 0 };
    bool found;

    dispatch->look_ms = began + LOOK_MIN_MS; /* the others keep still meanwhile */
    dispatch->woken = false;
    (void)pthread_mutex_unlock(&dispatch->lock);
    found = look(slot, &claim, &pause);
    (void)pthread_mutex_lock(&dispatch->lock);
    if (!found) {
        if (!dispatch->woken)
            dispatch->look_ms = began + pause;
        return;
    }
    look_now(dispatch); /* there may be more */
    (void)pthread_mutex_unlock(&dispatch->lock);
    worker_do(&slot->worker, &claim);
    removal_wake(dispatch->removal); /* a failure ends what was published beside it */
    uploads_wake(dispatch->uploads);
    (void)pthread_mutex_lock(&dispatch->lock);
    look_now(dispatch);
}

static void *work(void *arg)
{
    struct slot *slot = arg;
    struct dispatch *dispatch = slot->dispatch;

    (void)pthread_mutex_lock(&dispatch->lock);
    while (!atomic_load(&dispatch->stop)) {
        if (im_clock_monotonic_ms() < dispatch->look_ms)
            wait_for_look(dispatch);
        else
            look_and_work(slot);
    }
    (void)pthread_mutex_unlock(&dispatch->lock);
    return NULL;
}

/* ---- start and stop ---- */

static struct dispatch *dispatch_new(const struct svc_conf *conf, struct task_table *table,
                                     const char *objects_url)
{
    unsigned slots = conf->workers;
    struct dispatch *dispatch = calloc(1, sizeof(*dispatch) + slots * sizeof(struct slot));
    pthread_condattr_t attributes;

    if (!dispatch)
        return NULL;
    dispatch->conf = conf;
    dispatch->table = table;
    dispatch->slots = slots;
    dispatch->volumes_mounted = is_mounted(conf->volumes_dir);
    dispatch->scratch_mounted = is_mounted(conf->scratch_dir);
    dispatch->stores = stores_new(); /* without it nobody keeps account, no more */
    (void)pthread_mutex_init(&dispatch->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&dispatch->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    for (unsigned i = 0; i < slots; i++) {
        dispatch->slot[i].dispatch = dispatch;
        dispatch->slot[i].worker = (struct worker){
            .conf = conf,
            .table = table,
            .stores = dispatch->stores,
            .stop = &dispatch->stop,
            .objects_url = objects_url,
            .wake_fd = -1,
        };
    }
    return dispatch;
}

struct recovery {
    const struct worker *worker;
    struct im_error *err;
};

static int recover_one(void *arg, const struct claim *claim)
{
    const struct recovery *recovery = arg;

    svc_log(SVC_WARNING, "%s: stage %u was being worked on when the service died (death %u)",
            claim->task.id, claim->stage->number, claim->stage->deaths);
    return worker_settle(recovery->worker, claim, recovery->err);
}

static int recover(struct dispatch *dispatch, struct im_error *err)
{
    struct worker worker = {
        .conf = dispatch->conf,
        .table = dispatch->table,
    };
    struct recovery recovery = { .worker = &worker, .err = err };
    int r = task_recover(dispatch->table, recover_one, &recovery, err);

    if (r >= 0)
        r = leftovers_clean(dispatch->conf, dispatch->table, false, NULL, NULL, err);
    if (r >= 0 && !dispatch->conf->database)
        files_sweep(dispatch->conf);
    return r;
}

static int start_thread(struct slot *slot, struct im_error *err)
{
    int r;

    slot->worker.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (slot->worker.wake_fd < 0)
        return im_fail_errno(err, errno, "cannot start a worker");
    r = pthread_create(&slot->thread, NULL, work, slot);
    if (r != 0)
        return im_fail_errno(err, r, "cannot start a worker");
    slot->dispatch->started++;
    return 0;
}

/* Signals are for the main thread. */
static int start_threads(struct dispatch *dispatch, struct im_error *err)
{
    sigset_t all, before;
    int r = 0;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; r == 0 && i < dispatch->slots; i++)
        r = start_thread(&dispatch->slot[i], err);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

static void wake(void *arg)
{
    dispatch_wake(arg);
}

int dispatch_start(const struct svc_conf *conf, struct task_table *table, const char *objects_url,
                   struct dispatch **ret_dispatch, struct im_error *err)
{
    struct dispatch *dispatch = dispatch_new(conf, table, objects_url);
    char buf[TROUBLE_MAX];
    int r;

    if (!dispatch)
        return im_fail(err, ENOMEM, "out of memory");
    log_trouble(dispatch, dispatch_trouble(dispatch, buf, sizeof(buf)));
    r = recover(dispatch, err);
    if (r == 0)
        r = removal_start(conf, table, &dispatch->removal, err);
    if (r == 0 && svc_conf_is(conf->delete_uploads))
        r = uploads_start(conf, table, objects_url, &dispatch->uploads, err);
    if (r == 0 && conf->database)
        r = news_start(table, wake, dispatch, &dispatch->news, err);
    if (r == 0)
        r = start_threads(dispatch, err);
    if (r < 0) {
        dispatch_stop(dispatch);
        return r;
    }
    *ret_dispatch = dispatch;
    return 0;
}

/* Lock not held: an eventfd write does not block, its counter is emptied before it is full. */
static void poke_busy(struct dispatch *dispatch)
{
    for (unsigned i = 0; i < dispatch->slots; i++)
        if (dispatch->slot[i].worker.wake_fd >= 0)
            (void)eventfd_write(dispatch->slot[i].worker.wake_fd, 1);
}

void dispatch_wake(struct dispatch *dispatch)
{
    (void)pthread_mutex_lock(&dispatch->lock);
    dispatch->woken = true;
    look_now(dispatch);
    (void)pthread_mutex_unlock(&dispatch->lock);
    poke_busy(dispatch);
    removal_wake(dispatch->removal);
}

void dispatch_halt(struct dispatch *dispatch)
{
    (void)pthread_mutex_lock(&dispatch->lock);
    atomic_store(&dispatch->stop, true);
    (void)pthread_cond_broadcast(&dispatch->changed);
    (void)pthread_mutex_unlock(&dispatch->lock);
    poke_busy(dispatch);
}

struct dispatch *dispatch_stop(struct dispatch *dispatch)
{
    if (!dispatch)
        return NULL;
    dispatch_halt(dispatch);
    for (unsigned i = 0; i < dispatch->started; i++)
        (void)pthread_join(dispatch->slot[i].thread, NULL);
    dispatch->news = news_stop(dispatch->news);
    dispatch->removal = removal_stop(dispatch->removal);
    dispatch->uploads = uploads_stop(dispatch->uploads);
    dispatch->stores = stores_free(dispatch->stores);
    for (unsigned i = 0; i < dispatch->slots; i++)
        im_cleanup_close(&dispatch->slot[i].worker.wake_fd);
    (void)pthread_cond_destroy(&dispatch->changed);
    (void)pthread_mutex_destroy(&dispatch->lock);
    free(dispatch);
    return NULL;
}

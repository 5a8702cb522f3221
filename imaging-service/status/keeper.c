/* keeper - the thread that looks whether this service can do its work.
 *
 * A look is done without the lock; only its result is put in place under it. */

#include <config.h>

#include "status/keeper.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/confine.h"
#include "base/text.h"
#include "log.h"
#include "status/formats.h"

/* A step of a look (the table, the directories) that takes longer is a reason by itself.  A call of
 * a database gives up before that. */
#define STEP_MAX_MS 5000

/* How often the rows are counted, if somebody wants to know, and the toolkit is asked, at most.  A
 * toolkit that failed is asked again at the next look, so that the service is ready as soon as it
 * is mended. */
#define COUNT_MS   5000
#define FORMATS_MS 60000

/* Bytes of one reason. */
#define LINE_SIZE 1024

struct keeper {
    const struct status_options *options;
    pthread_t thread;
    atomic_bool stop;
    atomic_bool wanted; /* the counts, since they were counted last */

    /* of the thread alone */
    int64_t counted_ms, asked_ms; /* when it last worked; 0: never */
    struct im_buffer formats;     /* the toolkit's notes */
    bool unconfined;              /* this machine cannot confine it, and the settings allow that */

    pthread_mutex_t lock; /* guards what follows; held for moments */
    pthread_cond_t changed;
    bool stopping;
    const char *step; /* what is looked at; NULL: nothing that could hang */
    int64_t step_ms;  /* since then */
    struct keeper_view seen;
};

static void say(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Add a line to a text of KEEPER_TEXT_SIZE; what does not fit is left out. */
static void say(char *text, const char *format, ...)
{
    char line[LINE_SIZE], printable[LINE_SIZE];
    size_t len = strlen(text);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    im_text_printable(printable, sizeof(printable), line);
    if (len + strlen(printable) + 2 <= KEEPER_TEXT_SIZE)
        (void)snprintf(text + len, KEEPER_TEXT_SIZE - len, "%s\n", printable);
}

/* The next step begins; what NULL: one that keeps its own time. */
static void step(struct keeper *keeper, const char *what)
{
    (void)pthread_mutex_lock(&keeper->lock);
    keeper->step = what;
    keeper->step_ms = im_clock_monotonic_ms();
    (void)pthread_mutex_unlock(&keeper->lock);
}

static void look_at_workers(struct keeper *keeper, struct keeper_view *view)
{
    const struct status_options *options = keeper->options;
    char buf[LINE_SIZE];

    for (unsigned i = 0; options->trouble && i < options->troubles; i++) {
        const char *trouble = options->trouble(options->worker, i, buf, sizeof(buf));

        if (trouble)
            say(view->reasons, "%s", trouble);
    }
}

static void look_at_scratch(struct keeper *keeper, struct keeper_view *view)
{
    const struct svc_conf *conf = keeper->options->conf;
    uint64_t reserve = (uint64_t)conf->scratch_reserve << 20;
    char has[16], wanted[16];
    struct statvfs fs;

    if (statvfs(conf->scratch_dir, &fs) < 0) {
        say(view->reasons, "the free space of '%s' cannot be told: %s", conf->scratch_dir,
            strerrordesc_np(errno));
        return;
    }
    view->has_scratch = true;
    view->scratch_size = (double)fs.f_blocks * (double)fs.f_frsize;
    view->scratch_free = (double)fs.f_bavail * (double)fs.f_frsize;
    if (view->scratch_free < (double)reserve)
        say(view->reasons, "the scratch directory '%s' has %s left, less than scratch-reserve, %s",
            conf->scratch_dir,
            im_format_size(has, sizeof(has), (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize),
            im_format_size(wanted, sizeof(wanted), reserve));
}

static void look_at_tables(struct keeper *keeper, struct keeper_view *view)
{
    const struct status_options *options = keeper->options;
    int64_t now_ms = im_clock_monotonic_ms();
    struct im_error err = { 0 };

    if (options->check_tables && options->check_tables(options->tables, &err) < 0) {
        say(view->reasons, "the task table cannot be used: %s", err.message);
        return;
    }
    if (!options->task_counts)
        return;
    if (keeper->counted_ms > 0 &&
        (now_ms - keeper->counted_ms < COUNT_MS || !atomic_load(&keeper->wanted))) {
        view->has_counts = keeper->seen.has_counts; /* written by this thread alone */
        view->counts = keeper->seen.counts;
        return;
    }
    if (options->task_counts(options->tables, &view->counts, &err) < 0) {
        say(view->reasons, "the task table cannot be read: %s", err.message);
        return;
    }
    view->has_counts = true;
    atomic_store(&keeper->wanted, false);
    keeper->counted_ms = now_ms;
}

/* A toolkit that is not there at all is a trouble of the workers. */
static void look_at_formats(struct keeper *keeper, struct keeper_view *view)
{
    const char *toolkit = keeper->options->conf->toolkit;
    int64_t now_ms = im_clock_monotonic_ms();
    struct im_error err = { 0 };
    int r = 0;

    if (keeper->asked_ms == 0 || now_ms - keeper->asked_ms >= FORMATS_MS) {
        im_buffer_clear(&keeper->formats);
        r = formats_missing(toolkit, &keeper->stop, &keeper->formats, &err);
        keeper->asked_ms = r == 0 ? now_ms : 0;
    }
    if (r == 0)
        (void)snprintf(view->notes, sizeof(view->notes), "%s",
                       keeper->formats.len > 0 ? keeper->formats.data : "");
    else if (r != -ENOPKG || !view->reasons[0])
        say(view->reasons, "imaging-toolkit does not work: %s", err.message);
}

static void log_change(const struct keeper_view *before, const struct keeper_view *after)
{
    if (strcmp(before->reasons, after->reasons) == 0)
        return;
    if (!after->ready)
        svc_log(SVC_ERROR, "not ready: %.*s", (int)strcspn(after->reasons, "\n"), after->reasons);
    else if (before->look_ms > 0)
        svc_log(SVC_INFO, "ready again");
}

static void look(struct keeper *keeper)
{
    struct keeper_view *view = calloc(1, sizeof(*view)); /* large for a stack */

    if (!view)
        return; /* the last one grows old, which is told */
    step(keeper, "the disk");
    look_at_workers(keeper, view);
    look_at_scratch(keeper, view);
    step(keeper, "the task table");
    look_at_tables(keeper, view);
    step(keeper, NULL);
    look_at_formats(keeper, view);
    if (keeper->unconfined)
        say(view->notes, "imaging-toolkit runs unconfined: this kernel cannot do better");
    view->ready = view->reasons[0] == '\0';
    view->look_ms = im_clock_monotonic_ms();
    log_change(&keeper->seen, view);
    (void)pthread_mutex_lock(&keeper->lock);
    keeper->seen = *view;
    (void)pthread_mutex_unlock(&keeper->lock);
    free(view);
}

/* Until the next look is due; false when there is to be none.  Lock held. */
static bool rest(struct keeper *keeper)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += KEEPER_LOOK_MS / 1000;
    while (!atomic_load(&keeper->stop))
        if (pthread_cond_timedwait(&keeper->changed, &keeper->lock, &until) == ETIMEDOUT)
            return true;
    return false;
}

static void *work(void *arg)
{
    struct keeper *keeper = arg;
    bool more = true;

    while (more) {
        look(keeper);
        (void)pthread_mutex_lock(&keeper->lock);
        more = rest(keeper);
        (void)pthread_mutex_unlock(&keeper->lock);
    }
    return NULL;
}

static int start_thread(struct keeper *keeper)
{
    sigset_t all, before;
    int r;

    (void)sigfillset(&all); /* signals are for the main thread */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&keeper->thread, NULL, work, keeper);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

static void release(struct keeper *keeper)
{
    (void)pthread_cond_destroy(&keeper->changed);
    (void)pthread_mutex_destroy(&keeper->lock);
    im_buffer_done(&keeper->formats);
    free(keeper);
}

int keeper_start(const struct status_options *options, struct keeper **ret_keeper,
                 struct im_error *err)
{
    struct keeper *keeper = calloc(1, sizeof(*keeper));
    pthread_condattr_t monotonic;
    int r;

    if (!keeper)
        return im_fail(err, ENOMEM, "out of memory");
    keeper->options = options;
    keeper->formats = IM_BUFFER(KEEPER_TEXT_SIZE - 1);
    keeper->unconfined = im_confine_check(NULL, NULL) == -ENOTSUP;
    say(keeper->seen.reasons, "starting: nothing has been looked at yet");
    (void)pthread_mutex_init(&keeper->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&keeper->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    r = start_thread(keeper);
    if (r != 0) {
        release(keeper);
        return im_fail_errno(err, r, "cannot start the thread that looks after the service");
    }
    *ret_keeper = keeper;
    return 0;
}

void keeper_want_counts(struct keeper *keeper)
{
    atomic_store(&keeper->wanted, true);
}

void keeper_view(struct keeper *keeper, int64_t now_ms, struct keeper_view *ret_view)
{
    const char *hangs = NULL;
    int64_t since_ms = 0;
    bool stopping;

    (void)pthread_mutex_lock(&keeper->lock);
    *ret_view = keeper->seen;
    stopping = keeper->stopping;
    if (keeper->step && now_ms - keeper->step_ms > STEP_MAX_MS) {
        hangs = keeper->step;
        since_ms = keeper->step_ms;
    }
    (void)pthread_mutex_unlock(&keeper->lock);
    if (hangs)
        say(ret_view->reasons, "%s has not answered for %" PRId64 " s", hangs,
            (now_ms - since_ms) / 1000);
    if (stopping)
        say(ret_view->reasons, "stopping: the service has been told to end");
    ret_view->ready = ret_view->reasons[0] == '\0';
}

void keeper_stopping(struct keeper *keeper)
{
    (void)pthread_mutex_lock(&keeper->lock);
    keeper->stopping = true;
    (void)pthread_mutex_unlock(&keeper->lock);
}

struct keeper *keeper_stop(struct keeper *keeper)
{
    if (!keeper)
        return NULL;
    (void)pthread_mutex_lock(&keeper->lock);
    atomic_store(&keeper->stop, true);
    (void)pthread_cond_broadcast(&keeper->changed);
    (void)pthread_mutex_unlock(&keeper->lock);
    (void)pthread_join(keeper->thread, NULL);
    release(keeper);
    return NULL;
}

/* worker - one task from claim to end: plan, start the toolkit, follow it, publish or say why not.
 *
 * Files of a claim are removed before the row tells of its end, so that whoever reads "cancelled"
 * finds nothing left.  The one exception is the volume itself: its rename happens inside the
 * transaction that completes the row. */

#include <config.h>

#include "dispatch/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "dispatch/child.h"
#include "dispatch/files.h"
#include "dispatch/message.h"
#include "dispatch/plan.h"
#include "log.h"

/* Heartbeats: at least, with news to tell, and when somebody woke us. */
#define BEAT_MS       2000
#define BEAT_NEWS_MS  500
#define BEAT_WOKEN_MS 100

/* The toolkit gets so long to end by itself; a cancelled task must be over within 5 s. */
#define GRACE_MS 2000

/* A task that took so many of its processes with it is not tried again. */
#define DEATHS_MAX 3

/* Attempts of a task that fail in ways that may heal; the last failure is final. */
#define TRIES_MAX 8

/* Pauses before the next attempt, and before the next look for an upload: they double up to these.
 */
#define PAUSE_MS          1000
#define PAUSE_TRY_MAX_MS  60000
#define PAUSE_WAIT_MAX_MS 15000

/* One claim. */
struct run {
    const struct worker *worker;
    const struct task *task;
    struct claim_files files;
    int64_t beat_ms;    /* monotonic time of the last heartbeat */
    uint64_t told_done; /* bytes it told of */
    bool deaf;          /* the last heartbeat failed; said once */
};

int64_t worker_now(const struct worker *worker)
{
    return worker->clock_ms + im_clock_monotonic_ms();
}

/* PAUSE_MS × 2^n, at most max. */
static int64_t pause_ms(unsigned n, int64_t max)
{
    int64_t pause = PAUSE_MS;

    while (n-- > 0 && pause < max)
        pause *= 2;
    return pause < max ? pause : max;
}

/* part of whole as a share of n; whole is not 0. */
static uint64_t share(uint64_t n, uint64_t part, uint64_t whole)
{
    return (uint64_t)((unsigned __int128)n * part / whole);
}

/* ---- ends of a claim ---- */

/* The row moved on, or could not be written; the second is ours to tell. */
static void tell_write(const struct run *run, int r, const struct im_error *err)
{
    if (r < 0 && r != -ESTALE)
        svc_log(SVC_ERROR, "%s: its row could not be written: %s", run->task->id, err->message);
}

/* End as cancelled; the owner's own reason wins over message.  1, or why it could not be written.
 */
static int end_task(const struct run *run, const char *message)
{
    struct im_error err = { 0 };
    int r;

    claim_files_remove_part(&run->files);
    r = task_end_cancelled(run->worker->table, run->task, message, worker_now(run->worker), &err);
    if (r == 0)
        svc_log(SVC_INFO, "%s: ended, cancelled: %s", run->task->id,
                message ? message : "its owner asked for it");
    tell_write(run, r, &err);
    return r < 0 ? r : 1;
}

/* Give it back for another claim; 0.  When its owner asked to stop meanwhile, end it; as end_task.
 */
static int give_back(const struct run *run, enum task_return why, int64_t pause,
                     const char *message)
{
    struct im_error err = { 0 };
    int r;

    claim_files_remove_part(&run->files);
    r = task_postpone(run->worker->table, run->task, worker_now(run->worker) + pause, why, message,
                      &err);
    if (r == -ESTALE)
        return end_task(run, NULL);
    tell_write(run, r, &err);
    return r;
}

/* A failure that may heal: again later (0), or the end when it was the last attempt (1). */
static int try_again(const struct run *run, int status, const char *code, const char *sentence)
{
    unsigned tries = run->task->tries + 1;
    char text[MESSAGE_SIZE], message[MESSAGE_SIZE];

    if (tries < TRIES_MAX) {
        (void)snprintf(message, sizeof(message),
                       "Pending : attempt %u of %d failed and is repeated: %s", tries, TRIES_MAX,
                       sentence);
        svc_log(SVC_WARNING, "%s: %s", run->task->id, message);
        return give_back(run, TASK_TRIED, pause_ms(run->task->tries, PAUSE_TRY_MAX_MS), message);
    }
    (void)snprintf(text, sizeof(text), "%d attempts failed, the last one: %s", TRIES_MAX, sentence);
    return end_task(run, message_failure(message, status, code, text));
}

/* The process died of something that is not our doing. */
static void died(const struct run *run, const char *how)
{
    unsigned deaths = run->task->deaths + 1;
    char text[160], message[MESSAGE_SIZE];

    (void)snprintf(text, sizeof(text), "the process that worked on it %.80s, death %u of %d", how,
                   deaths, DEATHS_MAX);
    svc_log(SVC_WARNING, "%s: %s", run->task->id, text);
    if (deaths >= DEATHS_MAX) {
        (void)end_task(run, message_internal(message, text));
        return;
    }
    (void)snprintf(message, sizeof(message), "Pending : repeated, because %s", text);
    (void)give_back(run, TASK_DIED, pause_ms(run->task->deaths, PAUSE_TRY_MAX_MS), message);
}

/* ---- publication ---- */

struct publication {
    const struct claim_files *files;
    bool begun;
};

static int publish(void *arg, struct im_error *err)
{
    struct publication *publication = arg;

    publication->begun = true;
    return claim_files_publish(publication->files, err);
}

/* The volume has its name from an earlier claim that could not write the row. */
static int adopt(void *arg, struct im_error *err)
{
    const char *volume = arg;
    int r = im_sync_parent(volume);

    return r < 0 ? im_fail_errno(err, -r, "cannot make the name '%s' durable", volume) : 0;
}

/* The toolkit's word is good, but a volume of another size would be a promise broken. */
static int check_part(const struct run *run, struct im_error *err)
{
    uint64_t wanted;
    struct stat st;
    int r = plan_volume_bytes(run->task, &wanted, err);

    if (r < 0)
        return r;
    if (lstat(run->files.part, &st) < 0)
        return im_fail_errno(err, errno, "the toolkit ended well but left no volume");
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != wanted)
        return im_fail(err, EIO,
                       "the toolkit left a volume of %" PRIu64 " bytes instead of %" PRIu64,
                       (uint64_t)st.st_size, wanted);
    return 0;
}

static void complete(const struct run *run)
{
    struct publication publication = { .files = &run->files };
    char message[MESSAGE_SIZE];
    struct im_error err = { 0 };
    char *digest IM_FREE = claim_files_digest(&run->files, false);
    int r = check_part(run, &err);

    if (r < 0) {
        (void)end_task(run, message_internal(message, err.message));
        return;
    }
    r = task_complete(run->worker->table, run->task, worker_now(run->worker), digest, publish,
                      &publication, &err);
    if (r == 0) {
        svc_log(SVC_INFO, "%s: completed, volume %s, fs-verity %s", run->task->id,
                run->task->volume_id, digest ? digest : "unknown");
        return;
    }
    if (r == -ESTALE) {
        (void)end_task(run, NULL);
        return;
    }
    /* The row stands as it was, perhaps with the volume already in its place.  There the volume
     * stays for the next claim, or the next start, to adopt; it goes only when the row has ended
     * without it.  Never is a completed row without its volume. */
    if (try_again(run, IM_FAILED, "", err.message) > 0 && publication.begun)
        claim_files_unpublish(&run->files);
}

/* ---- the toolkit ---- */

static void wait_for_upload(const struct run *run, const char *sentence)
{
    char message[MESSAGE_SIZE];

    (void)snprintf(message, sizeof(message), "Pending : waiting for the upload: %s", sentence);
    (void)give_back(run, TASK_WAITS, pause_ms(run->task->waits, PAUSE_WAIT_MAX_MS), message);
}

/* It ended by itself: what follows from how. */
static void judge(const struct run *run, const struct child *child, int wait_status)
{
    char sentence[IM_ERROR_MAX], message[MESSAGE_SIZE];
    int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;

    if (status == IM_OK) {
        complete(run);
        return;
    }
    if (!*child->message)
        child_log_tail(child, run->task->id);
    if (WIFSIGNALED(wait_status)) {
        (void)snprintf(sentence, sizeof(sentence), "died by signal %d (%s)", WTERMSIG(wait_status),
                       sigdescr_np(WTERMSIG(wait_status)) ? sigdescr_np(WTERMSIG(wait_status))
                                                          : "?");
        died(run, sentence);
        return;
    }
    (void)snprintf(sentence, sizeof(sentence), "%s", child->message);
    if (!*sentence)
        (void)snprintf(sentence, sizeof(sentence),
                       "imaging-toolkit ended with status %d and no reason; see the log", status);
    if (status == IM_INPUT_MISSING && strcmp(child->code, "PendingUpload") == 0)
        wait_for_upload(run, sentence);
    else if (status == IM_TRANSIENT || status == IM_CANCELLED) /* cancelled, but not by us */
        (void)try_again(run, status, child->code, sentence);
    else if (*child->message)
        (void)end_task(run, message_failure(message, status, child->code, sentence));
    else /* a status without a reason proves nothing about the client's file */
        (void)end_task(run, message_internal(message, sentence));
}

/* Tell the table how far it is.  1 when the owner asked to stop, -ESTALE when the claim is lost;
 * else 0: a table that cannot be written now may be at the next beat, or the lease runs out. */
static int beat(struct run *run, const struct child *child)
{
    uint64_t bytes = run->task->bytes_converted;
    char text[32], *message = NULL;
    struct im_error err = { 0 };
    bool cancel = false;
    int r;

    if (child->total > 0) {
        bytes = share(run->task->image_bytes, child->done, child->total);
        (void)snprintf(text, sizeof(text), "Progress: %" PRIu64 "%%",
                       share(100, child->done, child->total));
        message = text;
    }
    run->beat_ms = im_clock_monotonic_ms();
    run->told_done = child->done;
    r = task_heartbeat(run->worker->table, run->task, worker_now(run->worker), WORKER_LEASE_MS,
                       bytes, message, &cancel, &err);
    if (r < 0 && r != -ESTALE && !run->deaf)
        tell_write(run, r, &err);
    run->deaf = r < 0;
    return r == -ESTALE ? r : cancel;
}

static int64_t beat_due(const struct run *run, const struct child *child, bool woken)
{
    return run->beat_ms + (woken                           ? BEAT_WOKEN_MS
                           : child->done != run->told_done ? BEAT_NEWS_MS
                                                           : BEAT_MS);
}

/* Empty the eventfd; true when somebody had written to it. */
static bool drain(int wake_fd)
{
    uint64_t count;

    return read(wake_fd, &count, sizeof(count)) > 0;
}

/* Follow the child to its end.  0 and its wait status when it ended by itself; 1 when the owner
 * asked to stop, -ESTALE when the claim is lost, -ECANCELED when the service stops: it is dead
 * then too. */
static int follow(struct run *run, struct child *child, int *ret_status)
{
    int fd = run->worker->wake_fd;
    bool woken = true; /* a cancel may have come between claim and here */
    int r = 0;

    while (r == 0) {
        int64_t left = beat_due(run, child, woken) - im_clock_monotonic_ms();

        if (child_wait(child, fd, left > 0 ? (int)left : 0)) {
            *ret_status = child_end(child, 0);
            return 0;
        }
        woken |= drain(fd);
        if (atomic_load(run->worker->stop)) {
            r = -ECANCELED;
        } else if (im_clock_monotonic_ms() >= beat_due(run, child, woken)) {
            r = beat(run, child);
            woken = false;
        }
    }
    (void)child_end(child, GRACE_MS);
    return r;
}

static void not_started(const struct run *run, int r, const struct im_error *err)
{
    char message[MESSAGE_SIZE];

    if (r != -ENOPKG) {
        (void)try_again(run, IM_FAILED, "", err->message);
        return;
    }
    /* not the task's fault, and it heals when somebody installs the toolkit */
    svc_log(SVC_WARNING, "%s: %s", run->task->id, err->message);
    (void)snprintf(message, sizeof(message), "Pending : waiting for the service: %s", err->message);
    (void)give_back(run, TASK_RELEASED, 2 * PAUSE_MS, message);
}

/* Start the toolkit with the job and see what becomes of it. */
static void convert(struct run *run, const char *job)
{
    struct child child CHILD_DONE = { .pid_fd = -1, .progress_fd = -1, .stderr_fd = -1 };
    struct im_error err = { 0 };
    int status = 0;
    int r = claim_files_create(&run->files, &err);

    if (r == 0)
        r = child_start(&child, run->worker->conf->toolkit, job, &err);
    if (r < 0) {
        claim_files_remove_scratch(&run->files);
        not_started(run, r, &err);
        return;
    }
    r = follow(run, &child, &status);
    claim_files_remove_scratch(&run->files);
    if (r == 0)
        judge(run, &child, status);
    else if (r == -ECANCELED)
        (void)give_back(run, TASK_RELEASED, 0, "Pending");
    else if (r == -ESTALE)
        claim_files_remove_part(&run->files);
    else
        (void)end_task(run, NULL);
}

static void plan_and_convert(struct run *run)
{
    const struct worker *worker = run->worker;
    const struct plan_objects objects = {
        .url = worker->objects_url ? atomic_load(worker->objects_url) : NULL,
        .dir = worker->conf->objects_dir,
    };
    char *job IM_FREE = NULL;
    char message[MESSAGE_SIZE];
    struct im_error err = { 0 };

    if (plan_job(run->task, &run->files, objects.url ? &objects : NULL, &job, &err) < 0)
        (void)end_task(run,
                       message_failure(message, (int)im_error_status(&err), err.code, err.message));
    else
        convert(run, job);
}

/* The volume stands already: complete the row.  1, or -errno. */
static int complete_adopted(const struct run *run, struct im_error *err)
{
    char *digest IM_FREE = claim_files_digest(&run->files, true);
    int r = task_complete(run->worker->table, run->task, worker_now(run->worker), digest, adopt,
                          run->files.volume, err);

    if (r == -ESTALE) { /* cancelled before the row could be completed: the row decides */
        if (end_task(run, NULL) > 0)
            claim_files_unpublish(&run->files);
        return 1;
    }
    if (r < 0)
        return r;
    svc_log(SVC_INFO, "%s: completed, volume %s was already in its place", run->task->id,
            run->task->volume_id);
    return 1;
}

/* What needs no work: the volume stands, or too many died of it.  1 when that was it, 0 when the
 * task is to be worked on, -errno. */
static int settle(const struct run *run, struct im_error *err)
{
    char text[128], message[MESSAGE_SIZE];

    if (claim_files_published(&run->files))
        return complete_adopted(run, err);
    if (run->task->deaths < DEATHS_MAX)
        return 0;
    (void)snprintf(text, sizeof(text), "the processes that worked on it died %u times",
                   run->task->deaths);
    (void)end_task(run, message_internal(message, text));
    return 1;
}

void worker_do(const struct worker *worker, const struct task *task)
{
    struct run run = { .worker = worker, .task = task };
    struct im_error err = { 0 };
    int r;

    if (claim_files_init(worker->conf, task, &run.files, &err) < 0) {
        svc_log(SVC_ERROR, "%s: %s", task->id, err.message); /* its lease runs out */
        return;
    }
    svc_log(SVC_INFO, "%s: claim %" PRIu64 " begins", task->id, task->epoch);
    r = settle(&run, &err);
    if (r == 0)
        plan_and_convert(&run);
    else if (r < 0 && try_again(&run, IM_FAILED, "", err.message) > 0)
        claim_files_unpublish(&run.files); /* the row ended without it */
    claim_files_done(&run.files);
}

/* The service itself died with this task in work.  Is it fair to count that against the task?
 * Mostly it is the power, the operator or the out-of-memory killer, and never the image's bytes
 * directly, because only the toolkit reads them.  But a conversion can bring a small machine down
 * with it, and a service that starts the same conversion again after every crash never serves
 * anybody.  So it counts, for those tasks alone that were in work at that moment: three such
 * accidents in one task's short working life are more likely its doing than chance.  An orderly
 * stop counts nothing. */
int worker_settle(const struct worker *worker, const struct task *task, struct im_error *err)
{
    struct run run = { .worker = worker, .task = task };
    int r = claim_files_init(worker->conf, task, &run.files, err);

    if (r < 0)
        return r;
    r = settle(&run, err);
    claim_files_done(&run.files);
    return r < 0 ? r : 0;
}

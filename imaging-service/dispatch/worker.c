/* worker - one stage from claim to end.  For a disk: plan, start the toolkit, follow it, publish or
 * say why not; the launch is machine.c's.
 *
 * Files of a claim are removed before the row tells of its end.  The one exception is the volume
 * itself: its rename happens inside the transaction that completes the row. */

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
#include "dispatch/machine.h"
#include "dispatch/message.h"
#include "dispatch/plan.h"
#include "dispatch/run.h"
#include "log.h"
#include "metrics.h"

/* The toolkit gets so long to end by itself; a cancelled task must be over within 5 s. */
#define GRACE_MS 2000

int64_t worker_now(const struct worker *worker)
{
    return worker->clock_ms + im_clock_monotonic_ms();
}

/* part of whole as a share of n; whole is not 0. */
static uint64_t share(uint64_t n, uint64_t part, uint64_t whole)
{
    return (uint64_t)((unsigned __int128)n * part / whole);
}

static void remove_part(const struct run *run, bool for_good)
{
    (void)for_good;
    claim_files_remove_part(&run->files);
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
    int r = plan_volume_bytes(run->stage, &wanted, err);

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

static void count_completed(const struct run *run, uint64_t data_bytes)
{
    metric_add(METRIC_STAGES_ENDED, "completed", NULL, 1);
    metric_add(METRIC_BYTES_IN, NULL, NULL, run->stage->image_bytes - run->bytes);
    metric_add(METRIC_BYTES_OUT, NULL, NULL, data_bytes);
}

static void complete(const struct run *run, const char *boot_mode, uint64_t data_bytes)
{
    struct publication publication = { .files = &run->files };
    char message[MESSAGE_SIZE];
    struct im_error err = { 0 };
    char *digest IM_FREE = claim_files_digest(&run->files, false);
    const struct stage_result result = { .digest = digest,
                                         .boot_mode = *boot_mode ? boot_mode : NULL };
    int r = check_part(run, &err);

    if (r < 0) {
        (void)run_end(run, message_internal(message, err.message));
        return;
    }
    r = task_complete(run->worker->table, run->claim, worker_now(run->worker), &result, publish,
                      &publication, &err);
    if (r == 0) {
        svc_log(SVC_INFO, "%s: completed, volume %s, fs-verity %s", run->name,
                run->stage->volume_id, digest ? digest : "unknown");
        count_completed(run, data_bytes);
        return;
    }
    if (r == -ESTALE) {
        (void)run_end(run, NULL);
        return;
    }
    /* The row stands as it was, perhaps with the volume already in its place.  There the volume
     * stays for the next claim, or the next start, to adopt; it goes only when the row has ended
     * without it.  Never is a completed row without its volume. */
    if (run_try_again(run, IM_FAILED, "", err.message) > 0 && publication.begun)
        claim_files_unpublish(&run->files);
}

/* ---- the toolkit ---- */

static void wait_for_upload(const struct run *run, const char *sentence)
{
    char message[MESSAGE_SIZE];

    metric_add(METRIC_RETRIES, "PendingUpload", NULL, 1);
    (void)snprintf(message, sizeof(message), "waiting for the upload: %s", sentence);
    (void)run_give_back(run, TASK_WAITS, run_pause_ms(run->stage->waits, PAUSE_WAIT_MAX_MS),
                        message);
}

/* Of a run that we did not end. */
static void count_end(int wait_status)
{
    char name[16];

    if (WIFEXITED(wait_status)) {
        metric_add_number(METRIC_TOOLKIT_EXITS, WEXITSTATUS(wait_status));
        return;
    }
    (void)snprintf(name, sizeof(name), "SIG%s",
                   sigabbrev_np(WTERMSIG(wait_status)) ? sigabbrev_np(WTERMSIG(wait_status)) : "");
    metric_add(METRIC_TOOLKIT_SIGNALS, name, NULL, 1);
}

/* It ended by itself: what follows from how. */
static void judge(const struct run *run, const struct child *child, int wait_status)
{
    char sentence[IM_ERROR_MAX], message[MESSAGE_SIZE];
    int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;

    if (status == IM_OK) {
        complete(run, child->boot_mode, child->data_bytes);
        return;
    }
    if (!*child->message)
        child_log_tail(child, run->name);
    if (WIFSIGNALED(wait_status)) {
        (void)snprintf(sentence, sizeof(sentence), "died by signal %d (%s)", WTERMSIG(wait_status),
                       sigdescr_np(WTERMSIG(wait_status)) ? sigdescr_np(WTERMSIG(wait_status))
                                                          : "?");
        run_died(run, sentence);
        return;
    }
    (void)snprintf(sentence, sizeof(sentence), "%s", child->message);
    if (!*sentence)
        (void)snprintf(sentence, sizeof(sentence),
                       "imaging-toolkit ended with status %d and no reason; see the log", status);
    if (status == IM_INPUT_MISSING && strcmp(child->code, "PendingUpload") == 0)
        wait_for_upload(run, sentence);
    else if (status == IM_TRANSIENT || status == IM_CANCELLED) /* cancelled, but not by us */
        (void)run_try_again(run, status, child->code, sentence);
    else if (*child->message)
        (void)run_end(run, message_failure(message, status, child->code, sentence));
    else /* a status without a reason proves nothing about the client's file */
        (void)run_end(run, message_internal(message, sentence));
}

/* Tell the table how far it is; as run_beat. */
static int beat(struct run *run, const struct child *child)
{
    uint64_t bytes = run->bytes;
    char text[32], *message = NULL;

    if (child->total > 0) {
        bytes = share(run->stage->image_bytes, child->done, child->total);
        (void)snprintf(text, sizeof(text), "Progress: %" PRIu64 "%%",
                       share(100, child->done, child->total));
        message = text;
    }
    run->told_done = child->done;
    return run_beat(run, bytes, message);
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
        (void)run_try_again(run, IM_FAILED, "", err->message);
        return;
    }
    /* not the task's fault, and it heals when somebody installs the toolkit */
    svc_log(SVC_WARNING, "%s: %s", run->name, err->message);
    (void)snprintf(message, sizeof(message), "waiting for the service: %s", err->message);
    (void)run_give_back(run, TASK_RELEASED, 2 * PAUSE_MS, message);
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
    if (r == 0)
        count_end(status);
    claim_files_remove_scratch(&run->files);
    if (r == 0)
        judge(run, &child, status);
    else if (r == -ECANCELED)
        (void)run_give_back(run, TASK_RELEASED, 0, NULL);
    else if (r == -ESTALE)
        claim_files_remove_part(&run->files);
    else
        (void)run_end(run, NULL);
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

    if (plan_job(run->claim, &run->files, objects.url ? &objects : NULL, &job, &err) < 0)
        (void)run_end(run,
                      message_failure(message, (int)im_error_status(&err), err.code, err.message));
    else
        convert(run, job);
}

/* The volume stands already: complete the row.  1, or -errno. */
static int complete_adopted(const struct run *run, struct im_error *err)
{
    char *digest IM_FREE = claim_files_digest(&run->files, true);
    const struct stage_result result = { .digest = digest };
    int r = task_complete(run->worker->table, run->claim, worker_now(run->worker), &result, adopt,
                          run->files.volume, err);

    if (r == -ESTALE) { /* cancelled before the row could be completed: the row decides */
        if (run_end(run, NULL) > 0)
            claim_files_unpublish(&run->files);
        return 1;
    }
    if (r < 0)
        return r;
    svc_log(SVC_INFO, "%s: completed, volume %s was already in its place", run->name,
            run->stage->volume_id);
    metric_add(METRIC_STAGES_ENDED, "completed", NULL, 1);
    return 1;
}

/* Too many died of it. */
static const char *deaths_message(const struct claim *claim, char *buf)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "the processes that worked on it died %u times",
                   claim->stage->deaths);
    return message_internal(buf, text);
}

/* What needs no work: the volume stands, or too many died of it.  1 when that was it, 0 when the
 * disk is to be worked on, -errno. */
static int settle(const struct run *run, struct im_error *err)
{
    char message[MESSAGE_SIZE];

    if (claim_files_published(&run->files))
        return complete_adopted(run, err);
    if (run->stage->deaths < DEATHS_MAX)
        return 0;
    (void)run_end(run, deaths_message(run->claim, message));
    return 1;
}

static void convert_claim(const struct worker *worker, const struct claim *claim)
{
    struct im_error err = { 0 };
    struct run run;
    int r;

    run_init(&run, worker, claim, remove_part);
    if (claim_files_init(worker->conf, claim, &run.files, &err) < 0) {
        svc_log(SVC_ERROR, "%s: %s", run.name, err.message); /* its lease runs out */
        return;
    }
    svc_log(SVC_INFO, "%s: claim %" PRIu64 " begins", run.name, claim->stage->epoch);
    r = settle(&run, &err);
    if (r == 0)
        plan_and_convert(&run);
    else if (r < 0 && run_try_again(&run, IM_FAILED, "", err.message) > 0)
        claim_files_unpublish(&run.files); /* the row ended without it */
    claim_files_done(&run.files);
}

static void launch_claim(const struct worker *worker, const struct claim *claim)
{
    char message[MESSAGE_SIZE];

    if (claim->stage->deaths >= DEATHS_MAX)
        machine_give_up(worker, claim, deaths_message(claim, message));
    else
        machine_do(worker, claim);
}

void worker_do(const struct worker *worker, const struct claim *claim)
{
    if (claim->stage->kind == STAGE_LAUNCH)
        launch_claim(worker, claim);
    else
        convert_claim(worker, claim);
}

/* The service itself died with this stage in work.  Is it fair to count that against the task?
 * Mostly it is the power, the operator or the out-of-memory killer, and never the image's bytes
 * directly, because only the toolkit reads them.  But a conversion can bring a small machine down
 * with it, and a service that starts the same conversion again after every crash never serves
 * anybody.  So it counts, for those tasks alone that were in work at that moment: three such
 * accidents in one task's short working life are more likely its doing than chance.  An orderly
 * stop counts nothing. */
int worker_settle(const struct worker *worker, const struct claim *claim, struct im_error *err)
{
    char message[MESSAGE_SIZE];
    struct run run;
    int r;

    if (claim->stage->kind == STAGE_LAUNCH) {
        if (claim->stage->deaths >= DEATHS_MAX)
            machine_give_up(worker, claim, deaths_message(claim, message));
        return 0;
    }
    run_init(&run, worker, claim, remove_part);
    r = claim_files_init(worker->conf, claim, &run.files, err);
    if (r < 0)
        return r;
    r = settle(&run, err);
    claim_files_done(&run.files);
    return r < 0 ? r : 0;
}

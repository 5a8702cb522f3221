/* worker - one stage from claim to end.  For a disk: plan, start the toolkit, follow it, publish or
 * say why not; the launch is machine.c's.
 *
 * Files of a claim are removed before its row tells of its end. */

#include <config.h>

#include "dispatch/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "dispatch/child.h"
#include "dispatch/files.h"
#include "dispatch/machine.h"
#include "dispatch/message.h"
#include "dispatch/plan.h"
#include "dispatch/publish.h"
#include "dispatch/run.h"
#include "log.h"
#include "metrics.h"

/* The toolkit gets so long to end by itself; a cancelled task must be over within 5 s. */
#define GRACE_MS 2000

/* A toolkit that does not come on by 10 MiB for so long hangs.  So much, the most that it tells of
 * at once, takes 10486 s from a store that gives the 1000 bytes a second it must; what goes through
 * the whole volume before it tells anything gets as long again for each 100 GiB. */
_Atomic int64_t worker_still_ms = INT64_C(3) * 3600 * 1000;
#define STILL_STEP  (UINT64_C(10) << 20)
#define STILL_BYTES (UINT64_C(100) << 30)

/* part of whole as a share of n; whole is not 0. */
static uint64_t share(uint64_t n, uint64_t part, uint64_t whole)
{
    return (uint64_t)((unsigned __int128)n * part / whole);
}

/* Its own alone: until the row has said so the claim may be lost, and other files a volume to be.
 */
static void remove_part(const struct run *run, bool for_good)
{
    if (for_good)
        claim_files_remove_part(&run->files);
    else
        claim_files_leave_part(&run->files);
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

static void wait_for_store(const struct run *run, int64_t pause_ms, const char *sentence)
{
    char message[MESSAGE_SIZE];

    (void)snprintf(message, sizeof(message), "waiting for the store: %s", sentence);
    (void)run_give_back(run, TASK_RELEASED, pause_ms, message);
}

/* The store did not answer for the manifest.  Whether there is an upload nobody knows: it is no
 * attempt of the task, unless nothing speaks for it that the store exists. */
static void store_is_away(const struct run *run, int status, const char *code, const char *sentence)
{
    bool counts;
    int64_t pause = stores_failed(run->worker->stores, run->stage->manifest_url,
                                  im_clock_monotonic_ms(), &counts);

    if (run->stage->waits > 0 || run->stage->bytes_converted > 0)
        counts = false;
    if (counts) {
        (void)run_try_again(run, status, code, sentence);
        return;
    }
    metric_add(METRIC_RETRIES, "StoreAway", NULL, 1);
    wait_for_store(run, pause, sentence);
}

static void store_answered(struct run *run)
{
    if (!run->answered)
        stores_answered(run->worker->stores, run->stage->manifest_url, im_clock_monotonic_ms());
    run->answered = true;
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
static void judge(struct run *run, const struct child *child, int wait_status)
{
    char sentence[IM_ERROR_MAX], message[MESSAGE_SIZE];
    int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;

    if (status == IM_OK || status == IM_INPUT_MISSING || status == IM_INVALID_IMAGE)
        store_answered(run);
    if (status == IM_OK) {
        publish_part(run, child->boot_mode, child->data_bytes);
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
    if (strcmp(child->code, "AddressNotAllowed") == 0) /* its owner is not told which */
        svc_log(SVC_WARNING, "%s: %s", run->name, sentence);
    if (!*sentence)
        (void)snprintf(sentence, sizeof(sentence),
                       "imaging-toolkit ended with status %d and no reason; see the log", status);
    if (status == IM_INPUT_MISSING && strcmp(child->code, "PendingUpload") == 0)
        wait_for_upload(run, sentence);
    else if (status == IM_TRANSIENT && strcmp(child->code, "StoreAway") == 0)
        store_is_away(run, status, child->code, sentence);
    else if (status == IM_TRANSIENT || status == IM_CANCELLED || /* cancelled, but not by us */
             strcmp(child->code, "NoSpace") == 0)                /* somebody frees some, perhaps */
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
        store_answered(run);
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

/* What no toolkit needs more of.  Its files: the volume, copies of the image and of the disk in
 * scratch; twice that and 1 GiB for what is not known before.  Its memory: CHILD_MEMORY, and a
 * byte for each KiB for tables. */
static struct child_limits limits_of(uint64_t volume_bytes, uint64_t image_bytes)
{
    uint64_t bytes = volume_bytes > image_bytes ? volume_bytes : image_bytes;

    return (struct child_limits){
        .file = bytes < INT64_MAX / 4 ? 2 * bytes + (UINT64_C(1) << 30) : 0,
        .memory = CHILD_MEMORY + bytes / 1024,
    };
}

/* How far a toolkit is, and since when.  What it tells may be an image's words: to go back and
 * forth is no progress, and neither is more than there can be. */
struct pace {
    uint64_t done, most; /* bytes: so far; of what is told, what may count */
    int64_t since_ms;
    int64_t still_ms; /* it hangs when it was there for longer */
};

static struct pace pace_begin(uint64_t volume_bytes, const struct child_limits *limits)
{
    return (struct pace){
        .most = limits->file ? limits->file : UINT64_MAX,
        .since_ms = im_clock_monotonic_ms(),
        .still_ms = worker_still_ms * (int64_t)(1 + volume_bytes / STILL_BYTES),
    };
}

static bool hangs(const struct child *child, struct pace *pace)
{
    int64_t now_ms = im_clock_monotonic_ms();
    bool steps = child->done >= pace->done + STILL_STEP ||
                 (child->done > pace->done && child->done == child->total);

    if (steps && child->done <= pace->most) {
        pace->done = child->done;
        pace->since_ms = now_ms;
    }
    return now_ms - pace->since_ms > pace->still_ms;
}

/* Follow the child to its end.  0 and its wait status when it ended by itself; 1 when the owner
 * asked to stop, -ESTALE when the claim is lost, -ECANCELED when the service stops, -ETIME when
 * it hangs: it is dead then too. */
static int follow(struct run *run, struct child *child, struct pace *pace, int *ret_status)
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
        } else if (hangs(child, pace)) {
            r = -ETIME;
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

/* It made no progress for too long, and was ended: as one that died of its image. */
static void hung(const struct run *run, const struct child *child, const struct pace *pace)
{
    char sentence[80];

    child_log_tail(child, run->name);
    (void)snprintf(sentence, sizeof(sentence), "made no progress for %" PRId64 " s and was ended",
                   pace->still_ms / 1000);
    run_died(run, sentence);
}

/* Start the toolkit with the job and see what becomes of it. */
static void convert(struct run *run, const char *job, uint64_t volume_bytes)
{
    struct child_limits limits = limits_of(volume_bytes, run->stage->image_bytes);
    struct pace pace = pace_begin(volume_bytes, &limits);
    struct child child CHILD_DONE = { .pid_fd = -1, .progress_fd = -1, .stderr_fd = -1 };
    struct im_error err = { 0 };
    int status = 0;
    int r = claim_files_create(&run->files, &err);

    if (r == 0)
        r = child_start(&child, run->worker->conf->toolkit, "run", job, &limits, &err);
    if (r < 0) {
        claim_files_remove_scratch(&run->files);
        not_started(run, r, &err);
        return;
    }
    r = follow(run, &child, &pace, &status);
    if (r == 0)
        count_end(status);
    claim_files_remove_scratch(&run->files);
    if (r == 0)
        judge(run, &child, status);
    else if (r == -ECANCELED)
        (void)run_give_back(run, TASK_RELEASED, 0, NULL);
    else if (r == -ETIME)
        hung(run, &child, &pace);
    else if (r == -ESTALE)
        claim_files_remove_part(&run->files);
    else
        (void)run_end(run, NULL);
}

static void plan_and_convert(struct run *run)
{
    const struct worker *worker = run->worker;
    const struct plan_objects objects = {
        .url = worker->objects_url,
        .dir = worker->conf->objects_dir,
    };
    char *job IM_FREE = NULL;
    char message[MESSAGE_SIZE];
    struct im_error err = { 0 };
    uint64_t volume_bytes;
    int r = plan_volume_bytes(run->stage, &volume_bytes, &err);

    if (r == 0)
        r = plan_job(worker->conf, run->claim, &run->files, objects.url ? &objects : NULL, &job,
                     &err);
    if (r < 0)
        (void)run_end(run,
                      message_failure(message, (int)im_error_status(&err), err.code, err.message));
    else
        convert(run, job, volume_bytes);
}

/* Too many died of it. */
static const char *deaths_message(const struct claim *claim, char *buf)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "the processes that worked on it died %u times",
                   claim->stage->deaths);
    return message_internal(buf, text);
}

/* Whose files: those of the claim that won, once that is decided. */
static uint64_t files_epoch(const struct stage *stage)
{
    return stage->state == STAGE_PUBLISHING ? stage->won_epoch : stage->epoch;
}

static bool needs_store(const struct stage *stage)
{
    return stage->state != STAGE_PUBLISHING && stage->deaths < DEATHS_MAX;
}

static void convert_claim(const struct worker *worker, const struct claim *claim)
{
    char message[MESSAGE_SIZE];
    struct im_error err = { 0 };
    int64_t pause = 0;
    struct run run;

    run_init(&run, worker, claim, remove_part);
    if (claim_files_init(worker->conf, claim, files_epoch(claim->stage), &run.files, &err) < 0) {
        svc_log(SVC_ERROR, "%s: %s", run.name, err.message); /* its lease runs out */
        return;
    }
    if (needs_store(claim->stage))
        pause = stores_ask(worker->stores, claim->stage->manifest_url, im_clock_monotonic_ms());
    if (pause == 0)
        svc_log(SVC_INFO, "%s: claim %" PRIu64 " begins", run.name, claim->stage->epoch);
    if (pause > 0) {
        wait_for_store(&run, pause, "it does not answer");
    } else if (claim->stage->state == STAGE_PUBLISHING) {
        publish_finish(&run, 0);
    } else if (claim->stage->deaths >= DEATHS_MAX) {
        (void)run_end(&run, deaths_message(claim, message));
    } else {
        plan_and_convert(&run);
        stores_left(worker->stores, claim->stage->manifest_url);
    }
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

    if (claim->stage->deaths < DEATHS_MAX || claim->stage->state == STAGE_PUBLISHING)
        return 0;
    if (claim->stage->kind == STAGE_LAUNCH) {
        machine_give_up(worker, claim, deaths_message(claim, message));
        return 0;
    }
    run_init(&run, worker, claim, remove_part);
    r = claim_files_init(worker->conf, claim, claim->stage->epoch, &run.files, err);
    if (r < 0)
        return r;
    (void)run_end(&run, deaths_message(claim, message));
    claim_files_done(&run.files);
    return 0;
}

/* run - the ways a claim ends without success. */

#include <config.h>

#include "dispatch/run.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "dispatch/message.h"
#include "log.h"
#include "metrics.h"
#include "task/state.h"

void run_init(struct run *run, const struct worker *worker, const struct claim *claim,
              void (*leave)(const struct run *run, bool for_good))
{
    const struct stage *stage = claim->stage;

    *run = (struct run){ .worker = worker,
                         .claim = claim,
                         .stage = stage,
                         .leave = leave,
                         .bytes = stage->bytes_converted };
    if (claim->task.kind == TASK_VOLUME)
        (void)snprintf(run->name, sizeof(run->name), "%s", claim->task.id);
    else if (stage->kind == STAGE_LAUNCH)
        (void)snprintf(run->name, sizeof(run->name), "%s launch", claim->task.id);
    else
        (void)snprintf(run->name, sizeof(run->name), "%s disk %u", claim->task.id, stage->number);
}

int64_t run_pause_ms(unsigned n, int64_t max)
{
    int64_t pause = PAUSE_MS;

    while (n-- > 0 && pause < max)
        pause *= 2;
    return pause < max ? pause : max;
}

/* A row that moved on is no news; one that could not be written is ours to tell. */
static void tell_write(const struct run *run, int r, const struct im_error *err)
{
    if (r < 0 && r != -ESTALE)
        svc_log(SVC_ERROR, "%s: its row could not be written: %s", run->name, err->message);
}

/* So many bytes of the image are converted now; the number never falls. */
static void count_bytes(struct run *run, uint64_t bytes)
{
    if (bytes <= run->bytes)
        return;
    metric_add(METRIC_BYTES_IN, NULL, NULL, bytes - run->bytes);
    run->bytes = bytes;
}

int run_beat(struct run *run, uint64_t bytes, const char *message)
{
    struct im_error err = { 0 };
    bool cancel = false;
    int r;

    run->beat_ms = im_clock_monotonic_ms();
    count_bytes(run, bytes);
    r = task_heartbeat(run->worker->table, run->claim, WORKER_LEASE_MS, bytes, message, &cancel,
                       &err);
    if (r < 0 && r != -ESTALE && !run->deaf)
        tell_write(run, r, &err);
    run->deaf = r < 0;
    return r == -ESTALE ? r : cancel;
}

bool run_awaits(const struct run *run, int r)
{
    struct pollfd fd = { .fd = run->worker->wake_fd, .events = POLLIN };
    uint64_t count;

    if ((r != -EHOSTDOWN && r != -ETIMEDOUT) || !run->worker->stop ||
        atomic_load(run->worker->stop))
        return false; /* without a stop it is the start that settles, which cannot wait */
    if (poll(&fd, fd.fd >= 0, PAUSE_MS) > 0)
        (void)!read(fd.fd, &count, sizeof(count));
    return !atomic_load(run->worker->stop);
}

int run_end(const struct run *run, const char *message)
{
    struct im_error err = { 0 };
    int r;

    run->leave(run, true);
    do
        r = task_end_cancelled(run->worker->table, run->claim, message, &err);
    while (run_awaits(run, r));
    if (r == 0) {
        svc_log(SVC_INFO, "%s: ended, cancelled: %s", run->name,
                message ? message : "its task is to stop");
        metric_add(METRIC_STAGES_ENDED, "cancelled", NULL, 1);
    }
    tell_write(run, r, &err);
    return r < 0 ? r : 1;
}

/* What AWS says of a stage that waits, and more. */
static const char *waiting_message(const struct run *run, const char *words, char *buf, size_t size)
{
    const char *colon = words ? " : " : "";

    words = words ? words : "";
    if (run->stage->kind == STAGE_LAUNCH)
        (void)snprintf(buf, size, "%s%s%s", TASK_MESSAGE_LAUNCH, colon, words);
    else if (run->claim->task.kind == TASK_VOLUME)
        (void)snprintf(buf, size, TASK_MESSAGE_PENDING "%s%s", colon, words);
    else
        (void)snprintf(buf, size, TASK_MESSAGE_DOWNLOADED " %" PRIu64 "%s%s", run->bytes, colon,
                       words);
    return buf;
}

int run_give_back(const struct run *run, enum task_return why, int64_t pause, const char *words)
{
    char message[MESSAGE_SIZE];
    struct im_error err = { 0 };
    int r;

    run->leave(run, false);
    (void)waiting_message(run, words, message, sizeof(message));
    do
        r = task_postpone(run->worker->table, run->claim, pause, why, message, &err);
    while (run_awaits(run, r));
    if (r == -ESTALE)
        return run_end(run, NULL);
    tell_write(run, r, &err);
    return r;
}

int run_try_again(const struct run *run, int status, const char *code, const char *sentence)
{
    unsigned tries = run->stage->tries + 1;
    char text[MESSAGE_SIZE], message[MESSAGE_SIZE];

    if (tries < TRIES_MAX) {
        (void)snprintf(text, sizeof(text), "attempt %u of %d failed and is repeated: %s", tries,
                       TRIES_MAX, sentence);
        svc_log(SVC_WARNING, "%s: %s", run->name, text);
        metric_add(METRIC_RETRIES,
                   code && *code            ? code
                   : status == IM_TRANSIENT ? "TryAgain"
                                            : "Internal",
                   NULL, 1);
        return run_give_back(run, TASK_TRIED, run_pause_ms(run->stage->tries, PAUSE_TRY_MAX_MS),
                             text);
    }
    (void)snprintf(text, sizeof(text), "%d attempts failed, the last one: %s", TRIES_MAX, sentence);
    return run_end(run, message_failure(message, status, code, text));
}

void run_died(const struct run *run, const char *how)
{
    unsigned deaths = run->stage->deaths + 1;
    char text[160], words[200], message[MESSAGE_SIZE];

    (void)snprintf(text, sizeof(text), "the process that worked on it %.80s, death %u of %d", how,
                   deaths, DEATHS_MAX);
    svc_log(SVC_WARNING, "%s: %s", run->name, text);
    if (deaths >= DEATHS_MAX) {
        (void)run_end(run, message_internal(message, text));
        return;
    }
    metric_add(METRIC_RETRIES, "Died", NULL, 1);
    (void)snprintf(words, sizeof(words), "repeated, because %s", text);
    (void)run_give_back(run, TASK_DIED, run_pause_ms(run->stage->deaths, PAUSE_TRY_MAX_MS), words);
}

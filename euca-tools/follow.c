/* follow - poll, with patience.
 *
 * What is shown of the tasks is the caller's business, but for the one line of euca_wait. */

#include <config.h>

#include "follow.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/retry.h"
#include "base/text.h"

#include "command.h"
#include "events.h"
#include "hint.h"
#include "interrupt.h"
#include "output.h"
#include "task.h"
#include "terminal.h"

/* Pauses between looks, hastened like all pauses: a task in progress moves every second, one that
 * waits for its upload or a worker may do so for days. */
#define FIRST_MS 500
#define LAST_MS  5000

/* How long a service that does not answer is waited for: more than a restart or an upgrade takes,
 * less than a script should hang. */
#define PATIENCE_MS (15 * 60 * 1000)

/* ---- looking ---- */

/* May the next look succeed where this one did not? */
static bool may_heal(int r)
{
    return r == -EBUSY || im_retry_errno(-r);
}

/* Look once, or as often as it takes the service to come back. */
static int look(const struct euca_follow *follow, bool patient, struct euca_tasks *ret_tasks,
                struct im_error *err)
{
    int64_t until = im_clock_monotonic_ms() + im_retry_hasten(PATIENCE_MS);

    for (unsigned n = 1;; n++) {
        int r = euca_task_describe(follow->ec2, follow->ids, follow->id_count, ret_tasks, err);

        if (r == 0 || !patient || !may_heal(r) || im_clock_monotonic_ms() > until)
            return r;
        if (n == 1) {
            euca_terminal_clear(); /* the line of euca_wait */
            euca_say(follow->program, "warning: %s%s; waiting for the service",
                     strcmp(err->code, EUCA_SERVER) == 0 ? "error " : "", err->message);
        }
        if (!im_retry_wait(n, &euca_interrupted))
            return im_fail(err, ECANCELED, "interrupted");
    }
}

int euca_follow(const struct euca_follow *follow, struct im_error *err)
{
    bool patient = follow->begun;
    int64_t pause_ms = FIRST_MS;

    for (;;) {
        struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
        int r = look(follow, patient, &tasks, err);

        if (r == 0)
            r = follow->seen(follow->arg, &tasks, err);
        if (r < 0)
            return r;
        if (r == EUCA_SEEN_THE_END)
            return 0;
        patient = true;
        pause_ms = r == EUCA_SEEN_NEWS ? FIRST_MS : pause_ms * 3 / 2;
        if (pause_ms > LAST_MS)
            pause_ms = LAST_MS;
        if (!im_retry_pause(follow->every_ms ? follow->every_ms : pause_ms, &euca_interrupted))
            return im_fail(err, ECANCELED, "interrupted");
    }
}

/* ---- stage and progress ---- */

/* Bytes of a disk, and how many of them were converted; false when its size is not known.  Services
 * that count what they have fetched may count more than the disk has. */
static bool disk_bytes(const struct euca_task_disk *disk, uint64_t *ret_done, uint64_t *ret_total)
{
    uint64_t done = 0;

    if (!disk->size || im_parse_uint(disk->size, INT64_MAX, ret_total) < 0)
        return false;
    if (disk->bytes_converted)
        (void)im_parse_uint(disk->bytes_converted, INT64_MAX, &done);
    *ret_done = im_min(done, *ret_total);
    return true;
}

/* ", 45% of 8.0 GiB", with the disk's number when there are several; "" when nothing is known. */
static void disk_progress(char *buf, size_t size, const struct euca_task *task, size_t n)
{
    uint64_t done, total;
    char number[32] = "", whole[16];

    *buf = '\0';
    if (!disk_bytes(&task->disk[n], &done, &total) || done == 0)
        return;
    if (task->disk_count > 1)
        (void)snprintf(number, sizeof(number), "disk %zu: ", n + 1);
    (void)snprintf(buf, size, ", %s%u%% of %s", number,
                   (unsigned)((double)done / (double)total * 100),
                   im_format_size(whole, sizeof(whole), total));
}

const char *euca_task_progress(char *buf, size_t size, const struct euca_task *task)
{
    const char *stage = task->status_message ? task->status_message : task->state;
    size_t used;

    im_text_printable(buf, size, stage ? stage : "?");
    used = strlen(buf);
    for (size_t i = 0; i < task->disk_count && euca_task_is_active(task); i++) {
        disk_progress(buf + used, size - used, task, i);
        used += strlen(buf + used);
    }
    return buf;
}

/* ---- waiting for one ---- */

struct wait {
    const char *program;
    const char *id;
    bool line;        /* one that is written anew, on a terminal */
    bool lines;       /* one below the other */
    char last[256];   /* what was learnt by the last look */
    int64_t shown_ms; /* when the last of the lines was printed, 0: none */
    struct euca_tasks end;
};

static void wait_done(struct wait *wait)
{
    euca_tasks_done(&wait->end);
}

/* One line, cut to the width of the terminal. */
static void draw(const struct wait *wait)
{
    char text[2 * sizeof(wait->last)], shown[sizeof(text)];
    size_t columns = euca_terminal_columns();

    (void)snprintf(text, sizeof(text), "%s: %s", wait->id, wait->last);
    im_text_printable(shown, columns < sizeof(shown) ? columns : sizeof(shown), text);
    euca_terminal_line("%s", shown);
}

static void show(struct wait *wait)
{
    int64_t now = im_clock_monotonic_ms();

    if (wait->line) {
        draw(wait);
    } else if (wait->lines && (wait->shown_ms == 0 ||
                               now - wait->shown_ms >= im_retry_hasten(EUCA_LINE_EVERY_MS))) {
        euca_say(wait->program, "%s: %s", wait->id, wait->last);
        wait->shown_ms = now;
    }
}

/* The event "status": what the service says, and bytes of all disks, null unless all are known. */
static void tell_status(const struct euca_task *task)
{
    uint64_t bytes = 0, total = 0, disk_done, disk_total;
    bool known = task->disk_count > 0;
    struct euca_field fields[] = {
        EUCA_TEXT_FIELD("task_id", task->id),
        EUCA_TEXT_FIELD("state", task->state),
        EUCA_TEXT_FIELD("message", task->status_message),
        EUCA_TEXT_FIELD("bytes", NULL),
        EUCA_TEXT_FIELD("total", NULL),
        { 0 },
    };

    for (size_t i = 0; known && i < task->disk_count; i++) {
        known = disk_bytes(&task->disk[i], &disk_done, &disk_total);
        known = known && disk_total <= INT64_MAX - total;
        if (known) {
            bytes += disk_done;
            total += disk_total;
        }
    }
    if (known) {
        fields[3] = (struct euca_field)EUCA_NUMBER_FIELD("bytes", bytes);
        fields[4] = (struct euca_field)EUCA_NUMBER_FIELD("total", total);
    }
    euca_event("status", fields);
}

static int wait_seen(void *arg, struct euca_tasks *tasks, struct im_error *err)
{
    struct wait *wait = arg;
    const struct euca_task *task = euca_task_among(tasks, wait->id);
    char text[sizeof(wait->last)];
    bool news;

    if (!task)
        return im_fail(err, ENOENT, "the service does not know task '%s' any more", wait->id);
    if (euca_task_has_ended(task)) {
        wait->end = *tasks;
        *tasks = (struct euca_tasks){ 0 };
        return EUCA_SEEN_THE_END;
    }
    if (!euca_task_is_active(task))
        return euca_task_strange(task, err);
    euca_task_progress(text, sizeof(text), task);
    news = strcmp(text, wait->last) != 0;
    if (news) {
        memcpy(wait->last, text, sizeof(text));
        tell_status(task);
    }
    show(wait);
    return news ? EUCA_SEEN_NEWS : EUCA_SEEN_NOTHING_NEW;
}

/* The result of a task that has ended is that of the program. */
static int result_of(const struct euca_task *task, struct im_error *err)
{
    if (euca_task_has_completed(task))
        return 0;
    return im_fail(err, EIO, "task %s was %s: %s", task->id, task->state,
                   task->status_message ? task->status_message : "the service gives no reason");
}

static void tell_how_to_go_on(const char *program, const struct euca_common *common, const char *id)
{
    const char *const words[] = { "--watch", id, NULL };
    char *hint IM_FREE = euca_hint("describe-conversion-tasks", common, words);

    if (!hint)
        return;
    euca_say(program, "task %s goes on; watch it with: %s", id, hint);
    euca_tell_keys(program, common, NULL);
}

int euca_wait(const char *program, const struct euca_common *common,
              const struct euca_endpoint *ec2, const char *id, bool quiet, struct im_error *err)
{
    bool terminal = isatty(STDERR_FILENO);
    struct wait wait IM_CLEANUP(wait_done) = {
        .program = program,
        .id = id,
        .line = terminal && !quiet,
        .lines = !terminal && !quiet && !euca_events(),
    };
    const struct euca_follow follow = { .program = program,
                                        .ec2 = ec2,
                                        .ids = &id,
                                        .id_count = 1,
                                        .begun = true,
                                        .seen = wait_seen,
                                        .arg = &wait };
    int r = euca_follow(&follow, err);

    euca_terminal_clear();
    if (r == 0) {
        const struct euca_task *task = euca_task_among(&wait.end, id);

        if (euca_events())
            euca_event_task(task);
        else
            euca_print_task(stdout, task);
        return result_of(task, err);
    }
    if (r == -ECANCELED || may_heal(r))
        tell_how_to_go_on(program, common, id);
    return r;
}

/* publish - from a part file to a volume. */

#include <config.h>

#include "dispatch/publish.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "dispatch/files.h"
#include "dispatch/message.h"
#include "dispatch/plan.h"
#include "log.h"
#include "metrics.h"

/* What counts is decided: the table itself sees to the files. */
static void leave_volume(const struct run *run, bool for_good)
{
    (void)run;
    (void)for_good;
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

/* Again and again while the database is away: the work is done, and whoever has the lease by then
 * decides.  What was written already is not written twice. */
static int patiently(const struct run *run,
                     int (*write)(const struct run *run, const struct stage_result *result,
                                  struct im_error *err),
                     const struct stage_result *result, struct im_error *err)
{
    int r;

    do
        r = write(run, result, err);
    while (run_awaits(run, r == -ECONNABORTED ? -EHOSTDOWN : r));
    return r;
}

static int write_complete(const struct run *run, const struct stage_result *result,
                          struct im_error *err)
{
    return task_complete(run->worker->table, run->claim, result, err);
}

static int write_publish(const struct run *run, const struct stage_result *result,
                         struct im_error *err)
{
    return task_publish(run->worker->table, run->claim, result, err);
}

static void count_completed(const struct run *run, uint64_t data_bytes)
{
    metric_add(METRIC_STAGES_ENDED, "completed", NULL, 1);
    metric_add(METRIC_BYTES_IN, NULL, NULL, run->stage->image_bytes - run->bytes);
    metric_add(METRIC_BYTES_OUT, NULL, NULL, data_bytes);
}

void publish_finish(struct run *run, uint64_t data_bytes)
{
    char message[MESSAGE_SIZE];
    struct im_error err = { 0 };
    int r = claim_files_publish(&run->files, &err);

    run->leave = leave_volume;
    if (r == 0) {
        files_remove_disk(run->worker->conf, run->claim, false);
        r = patiently(run, write_complete, NULL, &err);
    }
    if (r == 0) {
        svc_log(SVC_INFO, "%s: completed, volume %s", run->name, run->stage->volume_id);
        count_completed(run, data_bytes);
    } else if (r == -ENOENT) { /* neither part file nor volume: no attempt can succeed */
        (void)run_end(run, message_internal(message, err.message));
    } else if (r != -ESTALE) /* else somebody took over, and goes on */
        (void)run_try_again(run, IM_FAILED, "", err.message);
}

/* The claim is over, but had it been decided that its work counts?  An answer may have been lost,
 * and somebody have taken over since: its part file is the volume to be, then. */
static bool has_won(const struct run *run)
{
    const struct claim *claim = run->claim;
    struct task task TASK_DONE = { 0 };
    struct im_error err = { 0 };
    int r = task_get(run->worker->table, claim->task.account, claim->task.id, &task, &err);

    if (r < 0)
        return r != -ENOENT; /* perhaps: the ledger sees to it */
    for (size_t i = 0; i < task.stage_count; i++)
        if (task.stage[i].number == run->stage->number)
            return task.stage[i].won_epoch == run->stage->epoch;
    return false;
}

void publish_part(struct run *run, const char *boot_mode, uint64_t data_bytes)
{
    char message[MESSAGE_SIZE];
    struct im_error err = { 0 };
    int taken = claim_files_take(&run->files, &err);
    char *digest IM_FREE = claim_files_digest(&run->files);
    const struct stage_result result = { .digest = digest,
                                         .boot_mode = *boot_mode ? boot_mode : NULL };
    int r;

    if (taken < 0 && taken != -ENOENT && taken != -EBADMSG) {
        (void)run_try_again(run, IM_FAILED, "", err.message);
        return;
    }
    r = taken == -EBADMSG ? taken : check_part(run, &err);
    if (r < 0) {
        (void)run_end(run, message_internal(message, err.message));
        return;
    }
    r = patiently(run, write_publish, &result, &err);
    if (r == 0) {
        svc_log(SVC_INFO, "%s: is being published, fs-verity %s", run->name,
                digest ? digest : "unknown");
        publish_finish(run, data_bytes);
    } else if (r == -ESTALE) {
        if (!has_won(run))
            (void)run_end(run, NULL);
    } else if (r == -EHOSTDOWN || r == -ECONNABORTED || r == -ETIMEDOUT) {
        /* perhaps it is decided: the file stays, and the lease runs out */
        svc_log(SVC_ERROR, "%s: its row could not be written: %s", run->name, err.message);
    } else {
        (void)run_try_again(run, IM_FAILED, "", err.message);
    }
}

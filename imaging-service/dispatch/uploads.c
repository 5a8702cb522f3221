/* uploads - one thread that has the toolkit delete uploads which are volumes by now.
 *
 * Before it begins, an upload is put off in the ledger as if the attempt had failed: so a death in
 * the middle counts, and other services leave it alone meanwhile. */

#include <config.h>

#include "dispatch/uploads.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/retry.h"
#include "dispatch/background.h"
#include "dispatch/child.h"
#include "dispatch/plan.h"
#include "log.h"
#include "metrics.h"

/* It is woken when there is something to do; this is for what becomes due, and for the ledger's own
 * failures. */
#define LOOK_MS     10000
#define LOOK_MIN_MS 100

/* The toolkit gets so long to end by itself. */
#define GRACE_MS 2000

struct uploads {
    const struct svc_conf *conf;
    struct task_table *table;
    const char *objects_url;
    struct background background;
};

/* ---- one upload ---- */

static int64_t pause_ms(unsigned tries)
{
    int64_t pause = UPLOADS_PAUSE_MS << (tries < 6 ? tries : 6);

    return im_retry_hasten(pause < UPLOADS_PAUSE_MAX_MS ? pause : UPLOADS_PAUSE_MAX_MS);
}

static int left_ms(int64_t until_ms)
{
    int64_t left = until_ms - im_clock_monotonic_ms();

    return left > 0 ? (int)left : 0;
}

/* Run the toolkit: its wait status, or -errno; -ECANCELED when the service stops, -ETIMEDOUT when
 * it takes too long. */
static int run(struct uploads *uploads, const char *url, struct child *child, struct im_error *err)
{
    static const struct child_limits limits = { .memory = CHILD_MEMORY };
    int64_t until_ms;
    json_t *object = json_pack("{s:s, s:o}", "manifest", url, "urls",
                               plan_urls(uploads->conf, uploads->objects_url));
    char *job IM_FREE = object ? json_dumps(object, JSON_COMPACT) : NULL;
    int r;

    json_decref(object);
    if (!job)
        return im_fail(err, EINVAL, "the URL of its manifest cannot be written as a job");
    r = child_start(child, uploads->conf->toolkit, "delete-upload", job, &limits, err);
    if (r < 0)
        return r;
    until_ms = im_clock_monotonic_ms() + im_retry_hasten(UPLOADS_ATTEMPT_MS);
    while (!child_wait(child, uploads->background.wake_fd, left_ms(until_ms))) {
        if (background_stops(&uploads->background)) {
            (void)child_end(child, GRACE_MS);
            return im_fail(err, ECANCELED, "the service stops");
        }
        if (left_ms(until_ms) == 0) {
            (void)child_end(child, GRACE_MS);
            return im_fail(err, ETIMEDOUT, "the store takes longer than %" PRId64 " s to delete it",
                           UPLOADS_ATTEMPT_MS / 1000);
        }
        background_drain(&uploads->background); /* what wakes us is looked at afterwards */
    }
    return child_end(child, 0);
}

/* 0: it is gone; else why not, and whether it may be another time. */
static int delete_upload(struct uploads *uploads, const struct thing *thing, bool *ret_heals,
                         struct im_error *err)
{
    struct child child CHILD_DONE = { .pid_fd = -1, .progress_fd = -1, .stderr_fd = -1 };
    int r = run(uploads, thing->url, &child, err), status;

    *ret_heals = true;
    if (r < 0)
        return r;
    status = WIFEXITED(r) ? WEXITSTATUS(r) : -1;
    if (status == IM_OK)
        return 0;
    if (*child.message) /* of the customer's doing, or of a signed URL that has expired */
        *ret_heals = status != IM_INPUT_MISSING && status != IM_INVALID_IMAGE;
    else
        child_log_tail(&child, thing->task_id);
    return im_fail(err, EIO, "%s", *child.message ? child.message : "imaging-toolkit failed");
}

static int forget(const struct uploads *uploads, const struct thing *thing, struct im_error *err)
{
    int r = task_forget_thing(uploads->table, thing, err);

    if (r < 0)
        svc_log(SVC_ERROR, "%s: the ledger cannot be written: %s", thing->task_id, err->message);
    return r;
}

/* An attempt at an upload that is due; 0, or a negative number when the ledger fails. */
static int attempt(struct uploads *uploads, const struct thing *thing, struct im_error *err)
{
    unsigned tries = thing->tries + 1;
    struct im_error why = { 0 };
    bool heals;
    int r = task_upload_later(uploads->table, thing, pause_ms(thing->tries), err);

    if (r < 0)
        return r;
    r = delete_upload(uploads, thing, &heals, &why);
    if (r == 0) {
        svc_log(SVC_INFO, "%s: the upload of disk %u is deleted", thing->task_id, thing->number);
        return forget(uploads, thing, err);
    }
    if (r == -ECANCELED) /* it goes on after the next start, when it is due again */
        return 0;
    metric_add(METRIC_UPLOAD_DELETE_FAILURES, NULL, NULL, 1);
    if (heals && tries < UPLOADS_TRIES_MAX) {
        svc_log(SVC_WARNING,
                "%s: the upload of disk %u is not deleted, attempt %u of %d: %s; it is tried again",
                thing->task_id, thing->number, tries, UPLOADS_TRIES_MAX, why.message);
        return 0;
    }
    svc_log(SVC_ERROR, "%s: the upload of disk %u is not deleted, for good: %s", thing->task_id,
            thing->number, why.message);
    return forget(uploads, thing, err);
}

/* ---- the thread ---- */

/* One upload; a negative number when none is due, or the table fails. */
static int next(struct uploads *uploads)
{
    struct thing thing THING_DONE = { 0 };
    struct im_error err = { 0 };
    int r = task_next_upload(uploads->table, &thing, &err);

    if (r == 0)
        r = attempt(uploads, &thing, &err);
    if (r < 0 && r != -EAGAIN)
        svc_log(SVC_ERROR, "uploads are not deleted: %s", err.message);
    return r;
}

static void work(void *arg)
{
    struct uploads *uploads = arg;
    int look_ms = LOOK_MIN_MS + (int)im_retry_hasten(LOOK_MS);

    while (!background_stops(&uploads->background)) {
        while (!background_stops(&uploads->background) && next(uploads) == 0)
            ;
        background_wait(&uploads->background, look_ms);
    }
}

int uploads_start(const struct svc_conf *conf, struct task_table *table, const char *objects_url,
                  struct uploads **ret_uploads, struct im_error *err)
{
    struct uploads *uploads = calloc(1, sizeof(*uploads));
    int r;

    if (!uploads)
        return im_fail(err, ENOMEM, "out of memory");
    uploads->conf = conf;
    uploads->table = table;
    uploads->objects_url = objects_url;
    r = background_start(&uploads->background, "the thread that deletes uploads", work, uploads,
                         err);
    if (r < 0)
        free(uploads);
    else
        *ret_uploads = uploads;
    return r;
}

void uploads_wake(struct uploads *uploads)
{
    if (uploads)
        background_wake(&uploads->background);
}

struct uploads *uploads_stop(struct uploads *uploads)
{
    if (!uploads)
        return NULL;
    background_stop(&uploads->background);
    free(uploads);
    return NULL;
}

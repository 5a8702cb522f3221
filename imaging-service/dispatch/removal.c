/* removal - one thread that removes volumes of cancelled tasks, then writes that they are gone; and
 * now and then what dead services left. */

#include <config.h>

#include "dispatch/removal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "dispatch/background.h"
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
    struct background background;
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

static void work(void *arg)
{
    struct removal *removal = arg;
    struct background *background = &removal->background;
    int64_t clean_ms = im_clock_monotonic_ms() + CLEAN_MS;

    while (!background_stops(background)) {
        while (!background_stops(background) && remove_next(removal) == 0)
            ;
        if (im_clock_monotonic_ms() >= clean_ms) {
            clean(removal);
            clean_ms = im_clock_monotonic_ms() + CLEAN_MS;
        }
        background_wait(background, LOOK_MS);
    }
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
    r = background_start(&removal->background, "the thread that removes volumes", work, removal,
                         err);
    if (r < 0)
        free(removal);
    else
        *ret_removal = removal;
    return r;
}

void removal_wake(struct removal *removal)
{
    if (removal)
        background_wake(&removal->background);
}

struct removal *removal_stop(struct removal *removal)
{
    if (!removal)
        return NULL;
    background_stop(&removal->background);
    free(removal);
    return NULL;
}

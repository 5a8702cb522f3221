/* leftovers - from the ledger to the disk. */

#include <config.h>

#include "dispatch/leftovers.h"

#include <errno.h>

#include "dispatch/files.h"
#include "log.h"

struct cleaning {
    const struct svc_conf *conf;
    struct task_table *table;
    bool only_look;
    int (*each)(void *arg, const struct leftover *leftover);
    void *arg;
};

struct finding {
    const struct cleaning *cleaning;
    const struct thing *thing;
    bool stays; /* some of it */
};

static int clean_path(void *arg, const char *path, uint64_t bytes)
{
    struct finding *finding = arg;
    const struct cleaning *cleaning = finding->cleaning;
    struct leftover leftover = { .thing = finding->thing, .path = path, .bytes = bytes };

    if (!cleaning->only_look)
        leftover.stays = !files_remove(path);
    finding->stays |= leftover.stays;
    return cleaning->each ? cleaning->each(cleaning->arg, &leftover) : 0;
}

static int clean(void *arg, const struct thing *thing)
{
    const struct cleaning *cleaning = arg;
    struct finding finding = { .cleaning = cleaning, .thing = thing };
    struct im_error err = { 0 };
    int r = files_of_thing(cleaning->conf, thing, clean_path, &finding);

    if (r < 0 || cleaning->only_look || finding.stays)
        return r;
    if (thing->over && !thing->kept && task_forget_thing(cleaning->table, thing, &err) < 0)
        svc_log(SVC_WARNING, "%s: the ledger cannot be written: %s", thing->task_id, err.message);
    return 0;
}

int leftovers_clean(const struct svc_conf *conf, struct task_table *table, bool only_look,
                    int (*each)(void *arg, const struct leftover *leftover), void *arg,
                    struct im_error *err)
{
    struct cleaning cleaning = { conf, table, only_look, each, arg };
    int r = task_list_files(table, clean, &cleaning, err);

    return r == -ENOMEM ? im_fail(err, ENOMEM, "out of memory") : r;
}

/* leftovers - from the ledger to the disk. */

#include <config.h>

#include "dispatch/leftovers.h"

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
};

static int tell(void *arg, const char *path, uint64_t bytes)
{
    const struct finding *finding = arg;
    const struct leftover leftover = { finding->thing, path, bytes };

    return finding->cleaning->each(finding->cleaning->arg, &leftover);
}

static int clean(void *arg, const struct thing *thing)
{
    const struct cleaning *cleaning = arg;
    struct finding finding = { cleaning, thing };
    struct im_error err = { 0 };
    int r = cleaning->each ? files_of_thing(cleaning->conf, thing, tell, &finding) : 0;

    if (r < 0 || cleaning->only_look)
        return r;
    files_remove_thing(cleaning->conf, thing);
    if (thing->over && !thing->kept && task_forget_thing(cleaning->table, thing, &err) < 0)
        svc_log(SVC_WARNING, "%s: the ledger cannot be written: %s", thing->task_id, err.message);
    return 0;
}

int leftovers_clean(const struct svc_conf *conf, struct task_table *table, bool only_look,
                    int (*each)(void *arg, const struct leftover *leftover), void *arg,
                    struct im_error *err)
{
    struct cleaning cleaning = { conf, table, only_look, each, arg };

    return task_list_files(table, clean, &cleaning, err);
}

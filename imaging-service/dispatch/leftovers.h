/* leftovers - files of claims that are over, found by the ledger; `imaging-service gc` and every start.
 *
 * Only what the ledger names is touched: other files in the same directories are not ours. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "conf/conf.h"
#include "task/task.h"

/* One file or directory that is left over. */
struct leftover {
    const struct thing *thing; /* whose it is */
    const char *path;
    uint64_t bytes; /* on the disk; of a directory, with all in it */
};

/* Find what claims left that are over, tell each(arg) of it (NULL: nobody), and remove it unless
 * only_look.  What a claim to come goes on with stays and is not told.  0, or the table's failure,
 * or the first negative return of each. */
int leftovers_clean(const struct svc_conf *conf, struct task_table *table, bool only_look,
                    int (*each)(void *arg, const struct leftover *leftover), void *arg,
                    struct im_error *err);

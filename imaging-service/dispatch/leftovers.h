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
    bool stays;     /* it was to be removed and could not be; the log says why */
};

/* Find what claims left that are over, remove it unless only_look, and tell each(arg) of it (NULL:
 * nobody).  What a claim to come goes on with stays and is not told; what could not be removed
 * stays in the ledger.  Services may be at work.  0, or the table's failure, or the first negative
 * return of each. */
int leftovers_clean(const struct svc_conf *conf, struct task_table *table, bool only_look,
                    int (*each)(void *arg, const struct leftover *leftover), void *arg,
                    struct im_error *err);

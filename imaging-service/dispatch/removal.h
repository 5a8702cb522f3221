/* removal - the thread that takes back published volumes of tasks that end as cancelled, and looks
 * for leftovers.
 *
 * It is no worker: those may be busy for hours, and who cancels does not wait so long. */
#pragma once

#include "base/error.h"
#include "conf/conf.h"
#include "task/task.h"

struct removal;

/* Start; what is to be removed already goes now.  conf and table outlive it. */
int removal_start(const struct svc_conf *conf, struct task_table *table,
                  struct removal **ret_removal, struct im_error *err);

/* Look now: a task was cancelled or has failed.  Takes NULL. */
void removal_wake(struct removal *removal);

/* Takes NULL, returns NULL. */
struct removal *removal_stop(struct removal *removal);

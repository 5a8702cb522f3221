/* worker - one stage from claim to end. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "conf/conf.h"
#include "dispatch/stores.h"
#include "task/task.h"

/* A claim is good for so long after its last heartbeat. */
#define WORKER_LEASE_MS 30000

/* Milliseconds for which a toolkit may make no progress, three hours, before it counts as one that
 * hangs; more for large volumes.  Tests shorten it. */
extern _Atomic int64_t worker_still_ms;

/* What a worker thread has. */
struct worker {
    const struct svc_conf *conf;
    struct task_table *table;
    struct stores *stores;   /* NULL: none are asked */
    const atomic_bool *stop; /* end the child and give the task back */
    const char *objects_url; /* as dispatch_start was told it, or NULL */
    int wake_fd;             /* eventfd: look at the row and at stop now */
};

/* Do a claimed stage.  When it returns the row says how it went, and no process and no file of the
 * claim is left but the volume of a completed one. */
void worker_do(const struct worker *worker, const struct claim *claim);

/* Settle a stage that a dead process worked on, for task_recover: end it when it took too many
 * processes with it.  0 or -errno. */
int worker_settle(const struct worker *worker, const struct claim *claim, struct im_error *err);

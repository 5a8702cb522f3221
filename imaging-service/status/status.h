/* status - is this service alive, is it ready, and what has it counted: /live, /ready, /metrics.
 *
 * Plain HTTP on an address of its own, for load balancers and Prometheus; nothing here needs a
 * signature, so the address is one that customers cannot reach.  No request waits for the database,
 * a disk or a worker: a thread of its own looks at these now and then, and requests are answered
 * from what it found last. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "conf/conf.h"
#include "http/httpd.h"
#include "task/task.h"

/* Whom to ask; functions may block, and are called by one thread, one at a time.  NULL: not asked.
 * Everything outlives the status. */
struct status_options {
    const struct svc_conf *conf;
    const struct svc_httpd *api; /* its connections are counted */

    /* The n-th thing (from 0) that may be in the way of work: a sentence in buf when it is, NULL
     * when it is not.  As dispatch_trouble_of. */
    const char *(*trouble)(void *worker, unsigned n, char *buf, size_t size);
    unsigned troubles; /* how many there are */
    void *worker;

    /* One cheap write and read of the task table; 0, or why it cannot be used. */
    int (*check_tables)(void *tables, struct im_error *err);
    int (*task_counts)(void *tables, struct task_counts *ret_counts, struct im_error *err);
    void *tables;
};

struct status;

/* Listen on conf->status, look for the first time, and serve.  Errors as svc_httpd_open. */
int status_start(const struct status_options *options, struct status **ret_status,
                 struct im_error *err);

/* The port in use. */
uint16_t status_port(const struct status *status);

/* From now on it is not ready: the service has been told to end.  Takes NULL. */
void status_stopping(struct status *status);

/* Takes NULL, returns NULL. */
struct status *status_stop(struct status *status);

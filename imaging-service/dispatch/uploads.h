/* uploads - the thread that deletes what customers uploaded, once it is a volume.
 *
 * The ledger of the task table says which uploads are due (task_next_upload).  The toolkit does the
 * deleting, by the manifest's own URLs (`imaging-toolkit delete-upload`); no failure touches a
 * task: it is tried again with growing pauses for about a day, then given up with a line in the
 * log. */
#pragma once

#include "base/error.h"
#include "conf/conf.h"
#include "task/task.h"

/* The pauses between attempts: they double up to the longest. */
#define UPLOADS_PAUSE_MS     ((int64_t)60 * 1000)
#define UPLOADS_PAUSE_MAX_MS ((int64_t)3600 * 1000)

/* 1 + 2 + 4 … 32 minutes, then hours: the last attempt comes after a day. */
#define UPLOADS_TRIES_MAX 30

/* An attempt that takes longer is ended: others' uploads wait for it. */
#define UPLOADS_ATTEMPT_MS ((int64_t)2 * 3600 * 1000)

struct uploads;

/* Start; what is due already goes now.  objects_url is of this service's own object store, or NULL.
 * conf, table and objects_url outlive it. */
int uploads_start(const struct svc_conf *conf, struct task_table *table, const char *objects_url,
                  struct uploads **ret_uploads, struct im_error *err);

/* Look now: a volume was published.  Takes NULL. */
void uploads_wake(struct uploads *uploads);

/* Ends the toolkit when it is at work; takes NULL, returns NULL. */
struct uploads *uploads_stop(struct uploads *uploads);

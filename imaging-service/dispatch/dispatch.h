/* dispatch - the threads that claim stages of tasks and run the toolkit for them.
 *
 * One worker thread does one disk from claim to end: plan a job, start imaging-toolkit with the job
 * on its standard input, follow its progress lines, publish the volume or end the task with the
 * reason.  No image byte passes through this process. */
#pragma once

#include "base/error.h"
#include "conf/conf.h"
#include "task/task.h"

struct dispatch;

/* Recover from an earlier death (give back what this service had leased, remove what its claims
 * left, by the ledger), then start conf->workers threads.  objects_url: what all URLs of this
 * service's own object store begin with, NULL when it has none.  conf, table and objects_url
 * outlive the dispatcher. */
int dispatch_start(const struct svc_conf *conf, struct task_table *table, const char *objects_url,
                   struct dispatch **ret_dispatch, struct im_error *err);

/* A task was added or cancelled: look now rather than at the next poll. */
void dispatch_wake(struct dispatch *dispatch);

/* Why tasks cannot be worked on ("imaging-toolkit was not found: …"), or NULL when they can. Looks
 * each time, so that it recovers by itself; buf holds the sentence. */
const char *dispatch_trouble(struct dispatch *dispatch, char *buf, size_t size);

/* Whether the n-th of the things that may be in the way is: as dispatch_trouble, which tells the
 * first one that is. */
#define DISPATCH_TROUBLES 3
const char *dispatch_trouble_of(struct dispatch *dispatch, unsigned n, char *buf, size_t size);

/* Begin to stop, without waiting: nothing more is claimed, children are ended, and their stages go
 * back to the table for whoever else works on it.  The rest can still be used. */
void dispatch_halt(struct dispatch *dispatch);

/* Stop: children are ended, their tasks go back to the table to be claimed again.  Takes NULL,
 * returns NULL. */
struct dispatch *dispatch_stop(struct dispatch *dispatch);

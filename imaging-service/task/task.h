/* task - the table of conversion tasks: every promise the service made is a row here.
 *
 * The public states are AWS's: active → completed, active → cancelling → cancelled.  Work on an
 * active row is guarded by an epoch: each claim raises it, and a write with an older epoch changes
 * nothing.  This header knows no SQL and no HTTP. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum task_state {
    TASK_ACTIVE,
    TASK_CANCELLING,
    TASK_CANCELLED,
    TASK_COMPLETED,
};

/* "active", "cancelling", "cancelled", "completed". */
const char *task_state_name(enum task_state state);

/* A row.  Strings are owned by the row; optional ones are NULL when absent. */
struct task {
    char *id; /* "import-vol-" and 8 of [0-9a-z] */
    char *account;
    enum task_state state;
    char *status_message; /* NULL: none */
    char *format;         /* as the client sent it: "VMDK" */
    uint64_t image_bytes; /* Image.Bytes */
    char *manifest_url;   /* with its signature: echoed to the owner, never logged */
    uint64_t volume_gib;
    char *zone;
    char *description;
    uint64_t bytes_converted; /* never falls, at most image_bytes */
    char *volume_id; /* "vol-" and 17 hex digits; chosen at creation, shown when completed */
    char *digest;    /* of the volume: "sha256:" and 64 hex digits (fs-verity); NULL: not known */
    int64_t created_ms, expires_ms;
    uint64_t epoch;  /* claims so far */
    unsigned deaths; /* claims whose worker died */
    unsigned waits;  /* times the upload was found incomplete */
    unsigned tries;  /* claims that ended with a failure that may heal */
};

void task_done(struct task *task);
#define TASK_DONE __attribute__((cleanup(task_done)))

struct task_table;

/* Open (and create or migrate) the table in a SQLite file, mode 0600.  The caller makes sure that
 * no other process has it open.  NULL-safe close. */
int task_table_open(const char *path, struct task_table **ret_table, struct im_error *err);
struct task_table *task_table_close(struct task_table *table);

/* What a client asks for. */
struct task_wish {
    const char *account, *format, *manifest_url, *zone, *description; /* description may be NULL */
    uint64_t image_bytes, volume_gib;
};

/* Insert an active task; durable when it returns.  Fills *ret_task.
 * -EBUSY when the account already has max_active tasks that have not ended. */
int task_insert(struct task_table *table, const struct task_wish *wish, unsigned max_active,
                int64_t now_ms, struct task *ret_task, struct im_error *err);

/* One task of the account; -ENOENT (also for another account's). */
int task_get(struct task_table *table, const char *account, const char *id, struct task *ret_task,
             struct im_error *err);

/* Call `each` for every task of the account, oldest first; a negative return stops and is returned.
 * The row is lent for the call, and `each` must not use the table. */
int task_list(struct task_table *table, const char *account,
              int (*each)(void *arg, const struct task *task), void *arg, struct im_error *err);

/* Ask a task to stop: active → cancelling (or cancelled at once when nobody works on it), with
 * reason as its message ("Cancelled by user" when it is NULL or empty).  Cancelling and cancelled:
 * 0, nothing changes. -ENOENT unknown, -EALREADY completed. */
int task_request_cancel(struct task_table *table, const char *account, const char *id,
                        const char *reason, int64_t now_ms, struct im_error *err);

/* Claim the oldest active task that is due and nobody works on: epoch + 1, leased until
 * now + lease_ms.  A lease that ran out is a death and may be claimed over.  First ends tasks that
 * wait past their expiry ("Task expired") and cancelling ones whose lease ran out.  -EAGAIN when
 * there is none (then *ret_next_ms says when to look again, INT64_MAX when nothing waits). */
int task_claim(struct task_table *table, int64_t now_ms, int64_t lease_ms, struct task *ret_task,
               int64_t *ret_next_ms, struct im_error *err);

/* All writes below name the epoch of the claim; -ESTALE when the row has moved on. */

/* Still at it: renew the lease, note the bytes and the message (NULL: unchanged);
 * *ret_cancel says whether the owner asked to stop. */
int task_heartbeat(struct task_table *table, const struct task *task, int64_t now_ms,
                   int64_t lease_ms, uint64_t bytes_converted, const char *message,
                   bool *ret_cancel, struct im_error *err);

/* Why a claim ended without an end of the task; all but the first are counted in the row. */
enum task_return {
    TASK_RELEASED, /* not the task's doing: the service stops */
    TASK_WAITS,    /* the upload is not complete */
    TASK_TRIED,    /* a failure that may heal */
    TASK_DIED,     /* the process that worked on it died */
};

/* Give the task back to be claimed not before due_ms, with message (NULL: unchanged).
 * -ESTALE also when the owner asked to stop: end it with task_end_cancelled. */
int task_postpone(struct task_table *table, const struct task *task, int64_t due_ms,
                  enum task_return why, const char *message, struct im_error *err);

/* Publish: in one transaction set the row completed, with the volume's digest (NULL: not known),
 * call publish(arg) (the rename; it must not use the table), commit.  When publish fails nothing
 * changes and its error is returned.  -ESTALE also when the owner asked to stop.  When the commit
 * fails after publish was called, the row has not changed but the file has: the caller puts that
 * right. */
int task_complete(struct task_table *table, const struct task *task, int64_t now_ms,
                  const char *digest, int (*publish)(void *arg, struct im_error *err), void *arg,
                  struct im_error *err);

/* End as cancelled with the reason (a failure), or keep the owner's reason when cancelling. */
int task_end_cancelled(struct task_table *table, const struct task *task, const char *message,
                       int64_t now_ms, struct im_error *err);

/* After a start: every lease belongs to a dead process.  Calls `each` for every task that was being
 * worked on (its deaths with this one counted; it may end the task through the table), then
 * releases what is still leased: cancelling ones end, active ones are due at once with the death
 * counted. A negative return of `each` stops and is returned. */
int task_recover(struct task_table *table, int64_t now_ms,
                 int (*each)(void *arg, const struct task *task), void *arg, struct im_error *err);

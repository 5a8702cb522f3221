/* table - what the files of the task table share; nothing else includes it. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "sql/sql.h"
#include "task/task.h"

struct task_table {
    struct sql *db;
    char *worker; /* the name of this service in leases */
    bool guest;   /* a command, not a service */
    bool alone;   /* no other service uses the table: every lease of a dead process was ours */
    int watch_ms;
    struct task_limits limits;
    atomic_bool removals; /* something was left to be removed, and nobody was told */
    bool delete_uploads;
    atomic_int_least64_t away_ms; /* monotonic: the database was away then; 0: never */
    pthread_mutex_t lock;         /* guards what follows */
    char *served;                 /* the lane whose stage was claimed last; NULL: none */
    bool crowded;                 /* that claim had many lanes to choose from; see claim.c */
};

/* ---- table.c: sql_write and sql_read, counted when they fail ---- */

int task_write(struct task_table *table, sql_work_fn *work, void *arg, struct im_error *err);
int task_read(struct task_table *table, sql_work_fn *work, void *arg, struct im_error *err);

/* ---- sweep.c ---- */

/* End what is over: leases, tasks past their expiry, tasks to be forgotten; some, when it is much.
 */
int task_sweep(struct task_table *table, struct im_error *err);

/* Whether task_sweep may have something to do, and when the next lease runs out (INT64_MAX: there
 * is none). */
int task_sweep_due(struct sql_session *session, int64_t now_ms, bool *ret_due,
                   int64_t *ret_lease_ms, struct im_error *err);

/* ---- table.c ---- */

/* The database was away a moment ago: leases may have run out because nobody could renew them. */
bool task_was_away(const struct task_table *table);

/* ---- rows.c ---- */

/* Tasks in the order of their rows, with these. */
struct task_page {
    size_t count, room;
    struct task *task;
};

void task_page_done(struct task_page *page);
#define TASK_PAGE_DONE IM_CLEANUP(task_page_done)

/* Up to max tasks of the account (NULL: of all) behind the row `after`, oldest first. */
int task_rows_page(struct sql_session *session, const char *account, int64_t after, int max,
                   struct task_page *ret_page, struct im_error *err);

/* The row of one task of the account; -ENOENT. */
int task_rows_find(struct sql_session *session, const char *account, const char *id,
                   int64_t *ret_seq, struct im_error *err);

/* The task of that row; -ENOENT. */
int task_rows_get(struct sql_session *session, int64_t seq, struct task *ret_task,
                  struct im_error *err);

/* The same without its tags, to be changed: nobody else changes it or its stages until the
 * transaction ends. */
int task_rows_lock(struct sql_session *session, int64_t seq, struct task *ret_task,
                   struct im_error *err);

/* Its stage with that number; NULL when it has none. */
struct stage *task_rows_stage(const struct task *task, unsigned number);

/* Write what is marked as changed. */
int task_rows_store(struct sql_session *session, const struct task *task, struct im_error *err);

/* A row that answers one or two numbers: 1, 0 when there is none (*ret_values untouched), or the
 * failure.  bound: ?1, NULL when the statement has none. */
int task_rows_numbers(struct sql_session *session, const char *sql, const int64_t *bound,
                      int64_t ret_values[2], struct im_error *err);

/* ---- owner.c ---- */

/* Set tags of the task in that row. */
int task_tags_set(struct sql_session *session, int64_t seq, const struct task_tag *tag,
                  size_t count, struct im_error *err);

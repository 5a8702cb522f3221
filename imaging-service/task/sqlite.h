/* sqlite - what the files of the SQLite task table share; nothing else includes it. */
#pragma once

#include <pthread.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "database.h"
#include "task/task.h"

/* Different statements in all the files together, and some to spare. */
#define TASK_STATEMENTS_MAX 64

/* Who waits for the next commit (sqlite-batch.c). */
struct task_batch {
    pthread_mutex_t lock; /* guards what follows; taken after the table's when both are */
    pthread_cond_t moved; /* a commit is over */
    struct waiting *first, *last;
    bool led; /* somebody writes for the others */
};

struct task_table {
    struct task_batch batch;
    pthread_mutex_t lock; /* held by whoever uses anything below */
    sqlite3 *db;
    struct {
        const char *sql;
        sqlite3_stmt *statement;
    } prepared[TASK_STATEMENTS_MAX];
};

/* ---- sqlite-open.c ---- */

/* Open the task table's file (made with mode 0600 when it is missing), prove it sound, make commits
 * durable (WAL, synchronous FULL) and bring its schema up to date.  0 and *ret_db; on failure
 * *ret_db may be set as well, and is the caller's to close.
 * Errors: -EBADMSG damaged, -EOPNOTSUPP written by a newer program, or the file's. */
int task_sqlite_open(const char *path, sqlite3 **ret_db, struct im_error *err);

/* Turn the connection's last failure into ours. */
int task_sqlite_failed(sqlite3 *db, struct im_error *err);

/* ---- sqlite.c: one connection, its lock, its statements ---- */

pthread_mutex_t *task_sqlite_lock(struct task_table *table);
void task_sqlite_unlock(pthread_mutex_t **lock);

/* The rest of the block has the table for itself. */
#define WITH_LOCK(table)                                                                           \
    pthread_mutex_t *guard IM_CLEANUP(task_sqlite_unlock) = task_sqlite_lock(table)

/* sqlite3_stmt *s STATEMENT = task_sqlite_use(table, sql);  The statement is prepared at its first
 * use, known again by the address of its text (so sql is static), and ready for its next use when
 * the block ends.  NULL on failure, which _step then tells. */
sqlite3_stmt *task_sqlite_use(struct task_table *table, const char *sql);
void task_sqlite_release(sqlite3_stmt **statement);
#define STATEMENT IM_CLEANUP(task_sqlite_release)

/* Parameters; foreign strings are always bound, never part of the SQL. */
void task_sqlite_text(sqlite3_stmt *statement, int place, const char *text); /* NULL binds NULL */
void task_sqlite_int(sqlite3_stmt *statement, int place, int64_t value);
void task_sqlite_uint(sqlite3_stmt *statement, int place, uint64_t value); /* at most INT64_MAX */

/* One step: 1 a row, 0 the end, or the failure. */
int task_sqlite_step(struct task_table *table, sqlite3_stmt *statement, struct im_error *err);

/* A statement that answers no rows and has at most three numbers to bind, in order; the rows it
 * changed, or the failure. */
int task_sqlite_run(struct task_table *table, const char *sql, int64_t a, int64_t b, int64_t c,
                    struct im_error *err);

/* Begin, so that no transaction fails half-way for a lock; then commit when r is 0, else take
 * everything back.  _finish returns r or the commit's failure. */
int task_sqlite_begin(struct task_table *table, struct im_error *err);
int task_sqlite_finish(struct task_table *table, int r, struct im_error *err);

/* ---- sqlite-batch.c: group commit ---- */

/* Write inside a transaction that others may share; table locked.  A failure takes back only what
 * this one wrote. */
typedef int task_write_fn(struct task_table *table, void *arg, struct im_error *err);

/* Let write(arg) be called, by whichever thread, and wait until what it wrote is durable.  The
 * table is not locked by the caller.  Returns what write returned, or the commit's failure. */
int task_sqlite_together(struct task_table *table, task_write_fn *write, void *arg,
                         struct im_error *err);

/* ---- sqlite-rows.c: rows into memory ---- */

/* Tasks in the order of their rows, with these. */
struct task_page {
    size_t count, room;
    struct task *task;
    int64_t *seq;
};

void task_page_done(struct task_page *page);
#define TASK_PAGE_DONE IM_CLEANUP(task_page_done)

/* Up to max tasks of the account behind the row `after`, oldest first. */
int task_sqlite_page(struct task_table *table, const char *account, int64_t after, int max,
                     struct task_page *ret_page, struct im_error *err);

/* The row of one task of the account; -ENOENT. */
int task_sqlite_find(struct task_table *table, const char *account, const char *id,
                     int64_t *ret_seq, struct im_error *err);

/* The task of that row. */
int task_sqlite_get(struct task_table *table, int64_t seq, struct task *ret_task,
                    struct im_error *err);

/* The same with one of its stages, by number. */
int task_sqlite_get_claim(struct task_table *table, int64_t seq, int64_t number,
                          struct claim *ret_claim, struct im_error *err);

/* ---- sqlite-stage.c ---- */

/* An active task ends with this message: its stages that nobody works on end, the published volumes
 * are to be removed, and when nothing is left the task is cancelled. */
int task_sqlite_stop(struct task_table *table, int64_t seq, const char *message, int64_t now_ms,
                     struct im_error *err);

/* sqlite - what the files of the SQLite driver share; nothing else includes it, or SQLite. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include <sqlite3.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "sql/driver.h"

/* Who waits for the next commit (sqlite-batch.c). */
struct sqlite_batch {
    pthread_mutex_t lock; /* guards what follows; taken after the file's when both are */
    pthread_cond_t moved; /* a commit is over */
    struct waiting *first, *last;
    bool led; /* somebody writes for the others */
};

struct sqlite {
    struct sql base;
    struct sqlite_batch batch;
    int64_t clock_offset_ms; /* from the monotonic clock to the time of day when it was opened */
    pthread_mutex_t lock;    /* held by whoever uses anything below */
    sqlite3 *db;
    struct sql_statements statements;
};

/* ---- sqlite-open.c ---- */

/* Open the file, prove it sound, make commits durable and bring its schema up to date, or with
 * `existing` see that it is, as sql_open says.  0 and *ret_db; on failure *ret_db may be set as
 * well, and is the caller's to close. */
int sqlite_open_file(const char *path, const struct sql_schema *schema, bool existing,
                     sqlite3 **ret_db, struct im_error *err);

/* Turn the connection's last failure into ours. */
int sqlite_failed(const struct sql_schema *schema, sqlite3 *db, struct im_error *err);

/* Run SQL that answers nothing. */
int sqlite_exec(sqlite3 *db, const struct sql_schema *schema, const char *sql,
                struct im_error *err);

/* ---- sqlite.c ---- */

pthread_mutex_t *sqlite_lock(struct sqlite *file);
void sqlite_unlock(pthread_mutex_t **lock);

/* The rest of the block has the file for itself. */
#define WITH_LOCK(file) pthread_mutex_t *guard IM_CLEANUP(sqlite_unlock) = sqlite_lock(file)

/* Commit when r is 0 or more, else take everything back; returns r, or the commit's failure. */
int sqlite_finish(struct sqlite *file, int r, struct im_error *err);

/* ---- sqlite-batch.c: group commit ---- */

/* Let work be called, by whichever thread, and wait until what it wrote is durable.  The file is
 * not locked by the caller.  Returns what work returned, or the commit's failure. */
int sqlite_write(struct sql *db, sql_work_fn *work, void *arg, struct im_error *err);

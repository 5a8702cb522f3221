/* sqlite - the task table in one SQLite file: the connection and how its statements are used.
 *
 * What is asked of it is in sqlite-task.c (for the API), sqlite-stage.c (for workers) and
 * sqlite-rows.c (rows into memory); sqlite-open.c makes the connection.
 *
 * One connection, guarded by a mutex: the HTTP threads and the workers share it, and a commit takes
 * a fraction of a millisecond.  Every write is durable when its function returns (WAL with
 * synchronous=FULL). */

#include <config.h>

#include "task/sqlite.h"

#include <errno.h>
#include <stdlib.h>

pthread_mutex_t *task_sqlite_lock(struct task_table *table)
{
    (void)pthread_mutex_lock(&table->lock);
    return &table->lock;
}

void task_sqlite_unlock(pthread_mutex_t **lock)
{
    (void)pthread_mutex_unlock(*lock);
}

/* ---- statements ---- */

sqlite3_stmt *task_sqlite_use(struct task_table *table, const char *sql)
{
    size_t i = 0;

    while (i < TASK_STATEMENTS_MAX && table->prepared[i].sql && table->prepared[i].sql != sql)
        i++;
    if (i == TASK_STATEMENTS_MAX)
        return NULL; /* the ceiling is ours: a test finds it */
    if (table->prepared[i].sql)
        return table->prepared[i].statement;
    if (sqlite3_prepare_v3(table->db, sql, -1, SQLITE_PREPARE_PERSISTENT,
                           &table->prepared[i].statement, NULL) != SQLITE_OK)
        return NULL;
    table->prepared[i].sql = sql;
    return table->prepared[i].statement;
}

void task_sqlite_release(sqlite3_stmt **statement)
{
    if (!*statement)
        return;
    (void)sqlite3_reset(*statement);
    (void)sqlite3_clear_bindings(*statement);
}

void task_sqlite_text(sqlite3_stmt *statement, int place, const char *text)
{
    (void)sqlite3_bind_text(statement, place, text, -1, SQLITE_STATIC);
}

void task_sqlite_int(sqlite3_stmt *statement, int place, int64_t value)
{
    (void)sqlite3_bind_int64(statement, place, value);
}

void task_sqlite_uint(sqlite3_stmt *statement, int place, uint64_t value)
{
    task_sqlite_int(statement, place, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

int task_sqlite_step(struct task_table *table, sqlite3_stmt *statement, struct im_error *err)
{
    int rc = statement ? sqlite3_step(statement) : SQLITE_ERROR;

    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : task_sqlite_failed(table->db, err);
}

int task_sqlite_run(struct task_table *table, const char *sql, int64_t a, int64_t b, int64_t c,
                    struct im_error *err)
{
    sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, sql);
    const int64_t values[] = { a, b, c };
    int r, count = statement ? sqlite3_bind_parameter_count(statement) : 0;

    for (int i = 0; i < count && i < 3; i++)
        task_sqlite_int(statement, i + 1, values[i]);
    r = task_sqlite_step(table, statement, err);
    return r < 0 ? r : sqlite3_changes(table->db);
}

int task_sqlite_begin(struct task_table *table, struct im_error *err)
{
    /* IMMEDIATE: the lock is taken before anything is read */
    static const char sql[] = "BEGIN IMMEDIATE";
    sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, sql);

    return task_sqlite_step(table, statement, err);
}

int task_sqlite_finish(struct task_table *table, int r, struct im_error *err)
{
    static const char commit[] = "COMMIT", rollback[] = "ROLLBACK";

    if (r >= 0) {
        sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, commit);

        r = task_sqlite_step(table, statement, err);
    }
    if (r < 0 && !sqlite3_get_autocommit(table->db)) {
        sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, rollback);

        (void)task_sqlite_step(table, statement, NULL);
    }
    return r < 0 ? r : 0;
}

/* ---- opening ---- */

int task_table_open(const char *path, struct task_table **ret_table, struct im_error *err)
{
    struct task_table *table = calloc(1, sizeof(*table));
    int r;

    if (!table)
        return im_fail(err, ENOMEM, "out of memory");
    (void)pthread_mutex_init(&table->lock, NULL);
    (void)pthread_mutex_init(&table->batch.lock, NULL);
    (void)pthread_cond_init(&table->batch.moved, NULL);
    r = task_sqlite_open(path, &table->db, err);
    if (r < 0) {
        task_table_close(table);
        return r;
    }
    *ret_table = table;
    return 0;
}

struct task_table *task_table_close(struct task_table *table)
{
    if (!table)
        return NULL;
    for (size_t i = 0; i < TASK_STATEMENTS_MAX; i++)
        (void)sqlite3_finalize(table->prepared[i].statement);
    (void)sqlite3_close(table->db); /* the last connection checkpoints and removes the WAL */
    (void)pthread_cond_destroy(&table->batch.moved);
    (void)pthread_mutex_destroy(&table->batch.lock);
    (void)pthread_mutex_destroy(&table->lock);
    free(table);
    return NULL;
}

/* sqlite - the SQLite driver: the connection and how statements are used.
 *
 * One connection, guarded by a mutex: all threads share it, and a commit takes a fraction of a
 * millisecond.  sqlite-open.c makes the connection, sqlite-batch.c the commits. */

#include <config.h>

#include "sql/sqlite.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct sqlite_statement {
    struct sql_statement base;
    sqlite3_stmt *stmt;
    bool ended;
};

static struct sqlite *file_of(const struct sql_session *session)
{
    return (struct sqlite *)session->db;
}

pthread_mutex_t *sqlite_lock(struct sqlite *file)
{
    (void)pthread_mutex_lock(&file->lock);
    return &file->lock;
}

void sqlite_unlock(pthread_mutex_t **lock)
{
    (void)pthread_mutex_unlock(*lock);
}

/* ---- statements ---- */

static int bind(sqlite3_stmt *stmt, int place, const struct sql_value *value)
{
    switch (value->type) {
    case SQL_INTEGER:
        return sqlite3_bind_int64(stmt, place, value->number);
    case SQL_TEXT:
        return sqlite3_bind_text64(stmt, place, value->bytes, value->len, SQLITE_STATIC,
                                   SQLITE_UTF8);
    case SQL_BLOB:
        return sqlite3_bind_blob64(stmt, place, value->bytes, value->len, SQLITE_STATIC);
    case SQL_NULL:
    default:
        return SQLITE_OK;
    }
}

/* Prepare at the first use, and bind. */
static int begin_step(sqlite3 *db, struct sqlite_statement *statement)
{
    int rc = SQLITE_OK, places;

    if (!statement->stmt)
        rc = sqlite3_prepare_v3(db, statement->base.sql, -1, SQLITE_PREPARE_PERSISTENT,
                                &statement->stmt, NULL);
    if (rc != SQLITE_OK)
        return rc;
    /* those that stand in comments for PostgreSQL are none here */
    places = sqlite3_bind_parameter_count(statement->stmt);
    for (int i = 0; i < places && rc == SQLITE_OK; i++)
        rc = bind(statement->stmt, i + 1, &statement->base.value[i]);
    statement->base.executed = true;
    return rc;
}

static int step(struct sql_session *session, struct sql_statement *used, struct im_error *err)
{
    struct sqlite_statement *statement = (struct sqlite_statement *)used;
    sqlite3 *db = file_of(session)->db;
    int rc = SQLITE_OK;

    if (statement->ended) /* SQLite would begin again */
        return 0;
    if (!used->executed)
        rc = begin_step(db, statement);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement->stmt);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc != SQLITE_DONE)
        return sqlite_failed(session->db->schema, db, err);
    statement->ended = true;
    return 0;
}

static struct sql_value column(struct sql_statement *used, int column)
{
    sqlite3_stmt *stmt = ((struct sqlite_statement *)used)->stmt;
    struct sql_value value = { .type = SQL_NULL };

    switch (sqlite3_column_type(stmt, column)) {
    case SQLITE_INTEGER:
        value.type = SQL_INTEGER;
        value.number = sqlite3_column_int64(stmt, column);
        break;
    case SQLITE_TEXT:
        value.type = SQL_TEXT;
        value.bytes = sqlite3_column_text(stmt, column);
        break;
    case SQLITE_BLOB:
        value.type = SQL_BLOB;
        value.bytes = sqlite3_column_blob(stmt, column);
        value.len = (size_t)sqlite3_column_bytes(stmt, column);
        if (!value.bytes)
            value.bytes = ""; /* no bytes are not NULL */
        break;
    default:
        break;
    }
    return value;
}

static int changes(struct sql_statement *used)
{
    return sqlite3_changes(file_of(used->session)->db);
}

static void reset(struct sql_statement *used)
{
    struct sqlite_statement *statement = (struct sqlite_statement *)used;

    statement->ended = false;
    if (!statement->stmt)
        return;
    (void)sqlite3_reset(statement->stmt);
    (void)sqlite3_clear_bindings(statement->stmt);
}

static void forget(struct sql_statement *used)
{
    (void)sqlite3_finalize(((struct sqlite_statement *)used)->stmt);
}

/* ---- transactions ---- */

/* What is committed to a file that has lost its name, or was replaced, is gone with the process:
 * say so before anybody relies on it. */
static int expect_in_place(struct sqlite *file, struct im_error *err)
{
    int moved = 0;

    if (sqlite3_file_control(file->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK ||
        !moved)
        return 0;
    return im_fail(err, EHOSTDOWN,
                   "%s '%s': the file was removed or replaced while it is used; put it back, or "
                   "stop the service before",
                   file->base.schema->what, file->base.where);
}

int sqlite_finish(struct sqlite *file, int r, struct im_error *err)
{
    const struct sql_schema *schema = file->base.schema;

    if (r >= 0) {
        int there = expect_in_place(file, err);

        r = there < 0 ? there : r;
    }
    if (r >= 0) {
        int committed = sqlite_exec(file->db, schema, "COMMIT", err);

        r = committed < 0 ? committed : r;
    }
    if (r < 0 && !sqlite3_get_autocommit(file->db))
        (void)sqlite_exec(file->db, schema, "ROLLBACK", NULL);
    return r;
}

static int sqlite_read(struct sql *db, sql_work_fn *work, void *arg, struct im_error *err)
{
    struct sqlite *file = (struct sqlite *)db;
    WITH_LOCK(file);
    struct sql_session session = { .db = db, .statements = &file->statements };
    int r = sqlite_exec(file->db, db->schema, "BEGIN", err);

    if (r < 0)
        return r;
    return sqlite_finish(file, sql_call(&session, work, arg, err), err);
}

/* ---- time and news ---- */

static int now(struct sql_session *session, int64_t *ret_now_ms, struct im_error *err)
{
    (void)err;
    *ret_now_ms = file_of(session)->clock_offset_ms + im_clock_monotonic_ms();
    return 0;
}

static int notify(struct sql_session *session, struct im_error *err)
{
    (void)session;
    (void)err;
    return 0;
}

static int await(struct sql *db, int wake_fd, int timeout_ms, struct im_error *err)
{
    struct pollfd wake = { .fd = wake_fd, .events = POLLIN };

    (void)db;
    (void)err;
    (void)poll(&wake, 1, timeout_ms);
    return 0;
}

/* ---- opening ---- */

static void sqlite_close(struct sql *db)
{
    struct sqlite *file = (struct sqlite *)db;

    sql_statements_done(&sql_sqlite, &file->statements);
    (void)sqlite3_close(file->db); /* the last connection checkpoints and removes the WAL */
    (void)pthread_cond_destroy(&file->batch.moved);
    (void)pthread_mutex_destroy(&file->batch.lock);
    (void)pthread_mutex_destroy(&file->lock);
    free(file->base.where);
    free(file);
}

static int sqlite_open(const struct sql_options *options, struct sql **ret_db, struct im_error *err)
{
    struct sqlite *file = calloc(1, sizeof(*file));
    int r;

    if (!file)
        return im_fail(err, ENOMEM, "out of memory");
    file->base.driver = &sql_sqlite;
    file->base.schema = options->schema;
    file->base.clock_ms = options->clock_ms;
    file->base.clock_arg = options->clock_arg;
    file->base.where = strdup(options->where);
    file->clock_offset_ms = im_clock_now_ms() - im_clock_monotonic_ms();
    (void)pthread_mutex_init(&file->lock, NULL);
    (void)pthread_mutex_init(&file->batch.lock, NULL);
    (void)pthread_cond_init(&file->batch.moved, NULL);
    if (file->base.where)
        r = sqlite_open_file(options->where, options->schema, options->existing, &file->db, err);
    else
        r = im_fail(err, ENOMEM, "out of memory");
    if (r < 0) {
        sqlite_close(&file->base);
        return r;
    }
    *ret_db = &file->base;
    return 0;
}

const struct sql_driver sql_sqlite = {
    .statement_size = sizeof(struct sqlite_statement),
    .open = sqlite_open,
    .close = sqlite_close,
    .write = sqlite_write,
    .read = sqlite_read,
    .step = step,
    .column = column,
    .changes = changes,
    .reset = reset,
    .forget = forget,
    .now = now,
    .notify = notify,
    .await = await,
};

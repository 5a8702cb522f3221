/* sql - what is the same for both databases: parameters, columns, and that nothing follows a
 * failure. */

#include <config.h>

#include "sql/sql.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sql/driver.h"

/* ---- opening ---- */

bool sql_is_uri(const char *where)
{
    return strncmp(where, "postgresql://", 13) == 0 || strncmp(where, "postgres://", 11) == 0;
}

int sql_open(const struct sql_options *options, struct sql **ret_db, struct im_error *err)
{
    const struct sql_driver *driver = sql_is_uri(options->where) ? &sql_postgres : &sql_sqlite;

    return driver->open(options, ret_db, err);
}

struct sql *sql_close(struct sql *db)
{
    if (db)
        db->driver->close(db);
    return NULL;
}

int sql_missing(const struct sql_schema *schema, const char *where, struct im_error *err)
{
    return im_fail(err, ENOENT, "there is no %s in '%s': no imaging-service has been started on it",
                   schema->what, where);
}

int sql_too_old(const struct sql_schema *schema, const char *where, uint64_t version,
                uint64_t wanted, struct im_error *err)
{
    return im_fail(err, EOPNOTSUPP,
                   "the %s '%s' has schema version %" PRIu64 " and this program wants %" PRIu64
                   ": use the program of the service that runs, or start the new one",
                   schema->what, where, version, wanted);
}

const char *sql_where(const struct sql *db)
{
    return db->where;
}

/* ---- transactions ---- */

int sql_write(struct sql *db, sql_work_fn *work, void *arg, struct im_error *err)
{
    return db->driver->write(db, work, arg, err);
}

int sql_read(struct sql *db, sql_work_fn *work, void *arg, struct im_error *err)
{
    return db->driver->read(db, work, arg, err);
}

int sql_call(struct sql_session *session, sql_work_fn *work, void *arg, struct im_error *err)
{
    int r = work(session, arg, err);

    if (r < 0 || session->failure.number == 0)
        return r;
    if (err)
        *err = session->failure;
    return -session->failure.number;
}

/* ---- statements ---- */

static struct sql_statement *add_statement(struct sql_session *session, const char *sql)
{
    struct sql_statements *statements = session->statements;
    struct sql_statement *statement;
    int places = sql_places(sql);

    if (places < 0 || statements->count == SQL_STATEMENTS_MAX) {
        (void)im_fail(&session->failure, EIO, "%s: the statement \"%s\" cannot be used",
                      session->db->where, sql); /* both ceilings are ours: a test finds it */
        return NULL;
    }
    statement = calloc(1, session->db->driver->statement_size);
    if (!statement) {
        (void)im_fail(&session->failure, ENOMEM, "out of memory");
        return NULL;
    }
    statement->sql = sql;
    statement->places = places;
    statements->known[statements->count++] = statement;
    return statement;
}

struct sql_statement *sql_use(struct sql_session *session, const char *sql)
{
    struct sql_statements *statements = session->statements;
    struct sql_statement *statement = NULL;

    if (session->failure.number)
        return NULL;
    for (size_t i = 0; i < statements->count && !statement; i++)
        if (statements->known[i]->sql == sql)
            statement = statements->known[i];
    if (!statement)
        statement = add_statement(session, sql);
    if (!statement)
        return NULL;
    if (statement->session) {
        (void)im_fail(&session->failure, EIO, "%s: the statement \"%s\" is used twice at once",
                      session->db->where, sql);
        return NULL;
    }
    statement->session = session;
    return statement;
}

void sql_release(struct sql_statement **statement)
{
    struct sql_statement *used = *statement;

    if (!used)
        return;
    used->session->db->driver->reset(used);
    memset(used->value, 0, sizeof(used->value));
    used->executed = false;
    used->session = NULL;
}

void sql_statements_done(const struct sql_driver *driver, struct sql_statements *statements)
{
    for (size_t i = 0; i < statements->count; i++) {
        driver->forget(statements->known[i]);
        free(statements->known[i]);
    }
    statements->count = 0;
}

/* ---- parameters ---- */

static void bind(struct sql_statement *statement, int place, struct sql_value value)
{
    if (!statement)
        return;
    if (place < 1 || place > statement->places)
        (void)im_fail(&statement->session->failure, EIO, "the statement \"%s\" has no ?%d",
                      statement->sql, place);
    else
        statement->value[place - 1] = value;
}

void sql_text(struct sql_statement *statement, int place, const char *text)
{
    struct sql_value value = { .type = text ? SQL_TEXT : SQL_NULL,
                               .bytes = text,
                               .len = text ? strlen(text) : 0 };

    bind(statement, place, value);
}

void sql_int(struct sql_statement *statement, int place, int64_t value)
{
    bind(statement, place, (struct sql_value){ .type = SQL_INTEGER, .number = value });
}

void sql_uint(struct sql_statement *statement, int place, uint64_t value)
{
    sql_int(statement, place, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

void sql_bytes(struct sql_statement *statement, int place, const void *bytes, size_t len)
{
    struct sql_value value = { .type = bytes ? SQL_BLOB : SQL_NULL, .bytes = bytes, .len = len };

    bind(statement, place, value);
}

/* ---- steps and columns ---- */

int sql_step(struct sql_session *session, struct sql_statement *statement, struct im_error *err)
{
    int r = 0;

    if (session->failure.number == 0)
        r = session->db->driver->step(session, statement, &session->failure);
    if (session->failure.number == 0)
        return r;
    if (err)
        *err = session->failure;
    return -session->failure.number;
}

const char *sql_column_text(struct sql_statement *statement, int column)
{
    struct sql_value value = statement->session->db->driver->column(statement, column);

    return value.type == SQL_TEXT ? value.bytes : NULL;
}

int64_t sql_column_int(struct sql_statement *statement, int column)
{
    struct sql_value value = statement->session->db->driver->column(statement, column);

    return value.type == SQL_INTEGER ? value.number : 0;
}

const void *sql_column_bytes(struct sql_statement *statement, int column, size_t *ret_len)
{
    struct sql_value value = statement->session->db->driver->column(statement, column);

    *ret_len = value.type == SQL_BLOB ? value.len : 0;
    return value.type == SQL_BLOB ? value.bytes : NULL;
}

int sql_run(struct sql_session *session, const char *sql, int64_t a, int64_t b, int64_t c,
            struct im_error *err)
{
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);
    const int64_t values[] = { a, b, c };
    int r;

    for (int i = 0; statement && i < statement->places && i < 3; i++)
        sql_int(statement, i + 1, values[i]);
    r = sql_step(session, statement, err);
    return r < 0 ? r : session->db->driver->changes(statement);
}

/* ---- time and news ---- */

int sql_now(struct sql_session *session, int64_t *ret_now_ms, struct im_error *err)
{
    const struct sql *db = session->db;

    if (!db->clock_ms)
        return db->driver->now(session, ret_now_ms, err);
    *ret_now_ms = db->clock_ms(db->clock_arg);
    return 0;
}

int sql_notify(struct sql_session *session, struct im_error *err)
{
    return session->db->driver->notify(session, err);
}

int sql_await(struct sql *db, int wake_fd, int timeout_ms, struct im_error *err)
{
    return db->driver->await(db, wake_fd, timeout_ms, err);
}

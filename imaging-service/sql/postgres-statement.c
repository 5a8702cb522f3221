/* postgres-statement - one statement: prepared at its first use, executed, its rows.
 *
 * Values go both ways in binary: numbers as bigint, text as UTF-8, bytes as they are.  A parameter
 * has the type of what is bound to it; one that was NULL so far has none, so a statement is
 * prepared again when it gets a value. */

#include <config.h>

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "sql/postgres.h"

/* Numbers of the server's types; they never change (its catalog pg_type). */
enum {
    TYPE_BOOL = 16,
    TYPE_BYTES = 17,
    TYPE_INT8 = 20,
    TYPE_INT2 = 21,
    TYPE_INT4 = 23,
    TYPE_TEXT = 25,
    TYPE_UNKNOWN = 705,
    TYPE_VARCHAR = 1043,
    TYPE_VOID = 2278,
};

/* What libpq wants to know of all parameters. */
struct parameters {
    const char *value[SQL_PARAMETERS_MAX];
    int len[SQL_PARAMETERS_MAX], format[SQL_PARAMETERS_MAX];
    int64_t number[SQL_PARAMETERS_MAX];
};

/* ---- parameters ---- */

static Oid type_of(const struct sql_value *value)
{
    static const Oid types[] = {
        [SQL_NULL] = 0, [SQL_INTEGER] = TYPE_INT8, [SQL_TEXT] = TYPE_TEXT, [SQL_BLOB] = TYPE_BYTES
    };

    return types[value->type];
}

static int fill(const struct sql_statement *used, struct parameters *ret, struct im_error *err)
{
    for (int i = 0; i < used->places; i++) {
        const struct sql_value *value = &used->value[i];

        ret->format[i] = 1;
        if (value->type == SQL_INTEGER) {
            ret->number[i] = (int64_t)htobe64((uint64_t)value->number);
            ret->value[i] = (const char *)&ret->number[i];
            ret->len[i] = sizeof(ret->number[i]);
            continue;
        }
        if (value->len > INT_MAX)
            return im_fail(err, EFBIG, "a value of %zu bytes is too long for a row", value->len);
        ret->value[i] = value->bytes;
        ret->len[i] = (int)value->len;
    }
    return 0;
}

/* ---- preparing ---- */

/* False when what is bound now has a type the server does not know of. */
static bool is_prepared(const struct postgres_statement *statement)
{
    const struct sql_statement *used = &statement->base;

    for (int i = 0; i < used->places; i++)
        if (used->value[i].type != SQL_NULL && type_of(&used->value[i]) != statement->type[i])
            return false;
    return statement->name[0] != '\0';
}

/* Queue what prepares it; the commands that are. */
static int queue_prepare(struct postgres_connection *connection,
                         struct postgres_statement *statement, unsigned *ret_commands)
{
    const struct sql_statement *used = &statement->base;
    char *text IM_FREE = sql_for_postgres(used->sql);
    char old[32];

    if (!text)
        return -ENOMEM;
    if (statement->name[0]) {
        (void)snprintf(old, sizeof(old), "DEALLOCATE %s", statement->name);
        postgres_queued(connection,
                        PQsendQueryParams(connection->conn, old, 0, NULL, NULL, NULL, NULL, 0));
        ++*ret_commands;
    }
    for (int i = 0; i < used->places; i++)
        if (used->value[i].type != SQL_NULL)
            statement->type[i] = type_of(&used->value[i]);
    (void)snprintf(statement->name, sizeof(statement->name), "s%u", connection->names++);
    postgres_queued(connection, PQsendPrepare(connection->conn, statement->name, text, used->places,
                                              statement->type));
    ++*ret_commands;
    return 0;
}

/* ---- execution ---- */

/* Columns of types that are not read here are a mistake of the statement, which a test finds. */
static int check_columns(const struct sql_session *session, const struct postgres_statement *s,
                         struct im_error *err)
{
    static const Oid read[] = { TYPE_BOOL, TYPE_BYTES,   TYPE_INT8,    TYPE_INT2, TYPE_INT4,
                                TYPE_TEXT, TYPE_UNKNOWN, TYPE_VARCHAR, TYPE_VOID };

    for (int i = 0; i < PQnfields(s->result); i++) {
        Oid type = PQftype(s->result, i);
        bool known = false;

        for (size_t k = 0; k < sizeof(read) / sizeof(read[0]); k++)
            known = known || read[k] == type;
        if (!known)
            return im_fail(err, EIO,
                           "%s: column '%s' of \"%s\" has type %u, which is not read here: CAST it",
                           session->db->where, PQfname(s->result, i), s->base.sql, type);
    }
    return 0;
}

static int execute(struct postgres_session *session, struct postgres_statement *statement,
                   struct im_error *err)
{
    struct postgres_connection *connection = session->connection;
    struct sql_statement *used = &statement->base;
    int64_t deadline_ms = im_clock_monotonic_ms() + POSTGRES_PATIENCE_MS;
    struct postgres_answer answer = { 0 };
    struct parameters parameters = { 0 };
    unsigned before = 0; /* commands that go before it */
    int r = fill(used, &parameters, err);

    if (r < 0)
        return r;
    if (session->begin) {
        postgres_queued(connection, PQsendQueryParams(connection->conn, session->begin, 0, NULL,
                                                      NULL, NULL, NULL, 0));
        session->begin = NULL;
        deadline_ms = session->first_deadline_ms;
        before++;
    }
    if (!is_prepared(statement) && queue_prepare(connection, statement, &before) < 0)
        return im_fail(err, ENOMEM, "out of memory");
    postgres_queued(connection,
                    PQsendQueryPrepared(connection->conn, statement->name, used->places,
                                        parameters.value, parameters.len, parameters.format, 1));
    r = postgres_exchange(connection, deadline_ms, &answer, err);
    session->conflict = session->conflict || answer.conflict;
    if (answer.done < before) /* it failed before, or while it was prepared */
        statement->name[0] = '\0';
    statement->result = answer.result;
    statement->row = -1;
    used->executed = true;
    return r < 0 ? r : check_columns(&session->base, statement, err);
}

int postgres_step(struct sql_session *session, struct sql_statement *used, struct im_error *err)
{
    struct postgres_statement *statement = (struct postgres_statement *)used;
    int r = 0;

    if (!used->executed)
        r = execute((struct postgres_session *)session, statement, err);
    if (r < 0)
        return r;
    if (statement->row >= PQntuples(statement->result) - 1)
        return 0;
    statement->row++;
    return 1;
}

/* ---- what came of it ---- */

/* Numbers of one to eight bytes, the highest first. */
static int64_t number_from(const unsigned char *bytes, size_t len)
{
    uint64_t number = len > 0 && bytes[0] & 0x80 ? UINT64_MAX : 0;

    for (size_t i = 0; i < len; i++)
        number = number << 8 | bytes[i];
    return (int64_t)number;
}

struct sql_value postgres_column(struct sql_statement *used, int column)
{
    const struct postgres_statement *statement = (const struct postgres_statement *)used;
    const PGresult *result = statement->result;
    struct sql_value value = { .type = SQL_NULL };

    if (column < 0 || column >= PQnfields(result) || PQgetisnull(result, statement->row, column))
        return value;
    value.bytes = PQgetvalue(result, statement->row, column);
    value.len = (size_t)PQgetlength(result, statement->row, column);
    switch (PQftype(result, column)) {
    case TYPE_BOOL:
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_INT8:
        value.type = SQL_INTEGER;
        value.number = number_from(value.bytes, value.len);
        break;
    case TYPE_BYTES:
        value.type = SQL_BLOB;
        break;
    case TYPE_VOID:
        break;
    default:
        value.type = SQL_TEXT;
        break;
    }
    return value;
}

int postgres_changes(struct sql_statement *used)
{
    const char *count = PQcmdTuples(((struct postgres_statement *)used)->result);
    uint64_t rows;

    return im_parse_uint(count, INT_MAX, &rows) == 0 ? (int)rows : 0;
}

void postgres_reset(struct sql_statement *used)
{
    struct postgres_statement *statement = (struct postgres_statement *)used;

    PQclear(statement->result);
    statement->result = NULL;
}

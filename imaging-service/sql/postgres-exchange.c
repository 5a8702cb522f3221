/* postgres-exchange - commands out, answers in, and what failures mean.
 *
 * Commands are queued and sent as one flight (libpq's pipeline), so that BEGIN, the preparing of a
 * statement and its execution cost one round trip; the end of a flight is answered by a mark.  The
 * answers of a flight that nobody waited for are read before those of the next. */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "sql/postgres.h"

/* ---- failures ---- */

static int number_of(const char *sqlstate)
{
    static const struct {
        char sqlstate[6];
        int number;
    } table[] = {
        { "23505", EEXIST },    /* unique_violation */
        { "25006", EROFS },     /* read_only_sql_transaction */
        { "40001", ETIMEDOUT }, /* serialization_failure */
        { "40P01", ETIMEDOUT }, /* deadlock_detected */
        { "53100", ENOSPC },    /* disk_full */
        { "53200", ENOMEM },    /* out_of_memory */
        { "53300", EHOSTDOWN }, /* too_many_connections */
        { "55P03", ETIMEDOUT }, /* lock_not_available */
        { "57014", ETIMEDOUT }, /* query_canceled, by statement_timeout */
        { "57P01", EHOSTDOWN }, /* admin_shutdown */
        { "57P02", EHOSTDOWN }, /* crash_shutdown */
        { "57P03", EHOSTDOWN }, /* cannot_connect_now */
        { "XX001", EBADMSG },   /* data_corrupted */
        { "XX002", EBADMSG },   /* index_corrupted */
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (strcmp(table[i].sqlstate, sqlstate) == 0)
            return table[i].number;
    return EIO;
}

static int lose(struct postgres_connection *connection, enum postgres_state state,
                struct im_error *err)
{
    connection->state = state;
    return im_fail(err, EHOSTDOWN,
                   state == POSTGRES_SILENT ? "%s '%s': the server does not answer"
                                            : "%s '%s': the connection to the server was lost",
                   connection->db->schema->what, connection->db->where);
}

/* The server's main sentence only: its details may quote rows, with what is secret in them. */
int postgres_failed(struct postgres_connection *connection, const PGresult *result,
                    struct im_error *err)
{
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *sentence = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    char said[IM_ERROR_MAX];
    int number;

    if (!severity || !sqlstate || !sentence) /* libpq's own: the server said nothing */
        return lose(connection, POSTGRES_LOST, err);
    number = number_of(sqlstate);
    if (strcmp(severity, "ERROR") != 0) { /* FATAL, PANIC: the server has hung up */
        connection->state = POSTGRES_LOST;
        number = EHOSTDOWN;
    }
    return im_fail(err, number, "%s '%s': %s (SQLSTATE %s)", connection->db->schema->what,
                   connection->db->where, im_text_printable(said, sizeof(said), sentence),
                   sqlstate);
}

static bool has_sqlstate(const PGresult *result, const char *wanted)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return sqlstate && strcmp(sqlstate, wanted) == 0;
}

/* ---- reading ---- */

/* Until the server has sent something, or can take something: false when that is too late. */
static bool wait_for_server(PGconn *conn, bool can_write, int64_t deadline_ms)
{
    struct pollfd fd = { .fd = PQsocket(conn), .events = POLLIN };
    int r;

    if (can_write)
        fd.events |= POLLOUT;
    do {
        int64_t left_ms = deadline_ms - im_clock_monotonic_ms();

        if (left_ms <= 0)
            return false;
        r = poll(&fd, 1, left_ms > INT_MAX ? INT_MAX : (int)left_ms);
    } while (r <= 0);
    return true;
}

int postgres_next_result(struct postgres_connection *connection, int64_t deadline_ms,
                         PGresult **ret_result, struct im_error *err)
{
    PGconn *conn = connection->conn;
    bool gone = false;

    for (;;) {
        int unsent = PQflush(conn);

        /* what the server said before it went is still to be read, and does not make one wait */
        if (gone || unsent < 0 || !PQisBusy(conn)) {
            *ret_result = PQgetResult(conn);
            return 0;
        }
        if (!wait_for_server(conn, unsent > 0, deadline_ms))
            return lose(connection, POSTGRES_SILENT, err);
        gone = !PQconsumeInput(conn);
    }
}

/* Take one result into account; it is this function's. */
static void add_result(struct postgres_connection *connection, PGresult *result,
                       struct postgres_answer *answer, PGresult **failed)
{
    PGresult **place = &answer->result;

    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC:
        if (--connection->owed > 0) { /* that was an earlier flight */
            PQclear(answer->result);
            PQclear(*failed);
            *failed = NULL;
            *answer = (struct postgres_answer){ 0 };
        }
        PQclear(result);
        return;
    case PGRES_FATAL_ERROR:
    case PGRES_BAD_RESPONSE:
        place = failed;
        break;
    case PGRES_PIPELINE_ABORTED: /* for what was skipped behind a failure */
        PQclear(result);
        return;
    default:
        answer->done++;
        break;
    }
    if (place == failed && *failed) { /* the first one counts */
        PQclear(result);
        return;
    }
    PQclear(*place);
    *place = result;
}

static int read_answers(struct postgres_connection *connection, int64_t deadline_ms,
                        struct postgres_answer *answer, PGresult **failed, struct im_error *err)
{
    int ends = 0; /* NULLs in a row; two say that nothing comes any more */

    while (connection->owed > 0) {
        PGresult *result = NULL;
        int r = postgres_next_result(connection, deadline_ms, &result, err);

        if (r < 0)
            return r;
        if (result)
            add_result(connection, result, answer, failed);
        ends = result ? 0 : ends + 1;
        if (ends > 1 || (!result && PQstatus(connection->conn) == CONNECTION_BAD))
            return *failed ? 0 : lose(connection, POSTGRES_LOST, err);
    }
    return 0;
}

/* ---- flights ---- */

void postgres_queued(struct postgres_connection *connection, int sent)
{
    if (!sent)
        connection->unsent = true;
}

static int send_flight(struct postgres_connection *connection, struct im_error *err)
{
    if (connection->unsent || !PQpipelineSync(connection->conn))
        return lose(connection, POSTGRES_LOST, err);
    connection->owed++;
    return 0;
}

int postgres_exchange(struct postgres_connection *connection, int64_t deadline_ms,
                      struct postgres_answer *ret_answer, struct im_error *err)
{
    PGresult *failed = NULL;
    int r = send_flight(connection, err);

    *ret_answer = (struct postgres_answer){ 0 };
    if (r == 0)
        r = read_answers(connection, deadline_ms, ret_answer, &failed, err);
    if (r == 0 && failed) {
        r = postgres_failed(connection, failed, err);
        ret_answer->conflict = has_sqlstate(failed, "40001") || has_sqlstate(failed, "40P01");
        ret_answer->idled = has_sqlstate(failed, "25P03");
    }
    PQclear(failed);
    if (r < 0) {
        PQclear(ret_answer->result);
        ret_answer->result = NULL;
    }
    return r;
}

void postgres_send(struct postgres_connection *connection, const char *sql)
{
    postgres_queued(connection,
                    PQsendQueryParams(connection->conn, sql, 0, NULL, NULL, NULL, NULL, 0));
    if (send_flight(connection, NULL) == 0 && PQflush(connection->conn) != 0)
        connection->state = POSTGRES_LOST; /* the server must not wait for the rest of it */
}

bool postgres_has_gone(struct postgres_connection *connection)
{
    struct pollfd fd = { .fd = PQsocket(connection->conn), .events = POLLIN };

    return poll(&fd, 1, 0) > 0 && !PQconsumeInput(connection->conn);
}

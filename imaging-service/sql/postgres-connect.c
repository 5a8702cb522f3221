/* postgres-connect - a URI into a connection.
 *
 * libpq's own sentences about a URI that it does not understand quote pieces of it, which may be of
 * the password: they are not used.  Host names are looked up by libpq, without a deadline: a name
 * server that hangs is felt, so servers are named by address or in /etc/hosts. */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/text.h"
#include "sql/postgres.h"

/* Longest description; a URI may name several hosts. */
#define WHERE_MAX 1024

/* In milliseconds.  The server ends what takes too long itself, before we lose patience with it;
 * it looks for deadlocks after a second, which must be found before the lock is given up. */
#define STATEMENT_TIMEOUT "1400"
#define LOCK_TIMEOUT      "1300"

/* A process that was stopped in a transaction must not hold its locks for ever.  Plans are made for
 * each execution, since those made while a table was small are bad ones when it has grown. */
static const char settings[] = "SELECT set_config('synchronous_commit', 'on', false), "
                               "set_config('idle_in_transaction_session_timeout', '10s', false), "
                               "set_config('statement_timeout', '" STATEMENT_TIMEOUT "', false), "
                               "set_config('lock_timeout', '" LOCK_TIMEOUT "', false), "
                               "set_config('plan_cache_mode', 'force_custom_plan', false), "
                               "set_config('jit', 'off', false)";

/* ---- the URI ---- */

static void free_options(PQconninfoOption **options)
{
    PQconninfoFree(*options);
}

static const char *option(const PQconninfoOption *options, const char *keyword)
{
    for (; options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val ? options->val : "";
    return "";
}

/* A password whose '@' or '/' is not escaped spills over into what stands behind it. */
static bool is_spilled(const PQconninfoOption *options)
{
    const char *port = option(options, "port");

    return strchr(option(options, "host"), '@') || strchr(option(options, "dbname"), '@') ||
           port[strspn(port, "0123456789,")];
}

int postgres_describe(const char *uri, char **ret_where, struct im_error *err)
{
    PQconninfoOption *options IM_CLEANUP(free_options) = PQconninfoParse(uri, NULL);
    struct im_buffer where IM_BUFFER_DONE = IM_BUFFER(WHERE_MAX);
    const char *port;
    int r;

    if (!options || is_spilled(options))
        return im_fail(err, EINVAL,
                       "the database's URI is none that PostgreSQL understands: it must look like "
                       "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with '@', '/', ':' and '%%' "
                       "in the password written %%40, %%2F, %%3A and %%25");
    port = option(options, "port");
    r = im_buffer_printf(&where, "postgresql://%s%s%s/%s", option(options, "host"),
                         *port ? ":" : "", port, option(options, "dbname"));
    if (r < 0)
        return im_fail(err, -r, "the database's URI is too long");
    *ret_where = im_buffer_steal(&where);
    return *ret_where ? 0 : im_fail(err, ENOMEM, "out of memory");
}

/* ---- the connection ---- */

static void ignore_notice(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

static PGconn *start(const char *uri)
{
    /* What stands before dbname gives way to the URI, what stands behind does not.  A server that
     * takes only reads is not ours; one that is switched off is found out within a second. */
    static const char *const keywords[] = { "target_session_attrs",
                                            "fallback_application_name",
                                            "keepalives_idle",
                                            "keepalives_interval",
                                            "keepalives_count",
                                            "tcp_user_timeout",
                                            "dbname",
                                            "client_encoding",
                                            NULL };
    const char *const values[] = {
        "read-write", "imaging-service", "10", "5", "3", "1000", uri, "UTF8", NULL
    };

    return PQconnectStartParams(keywords, values, 1);
}

/* Until the server has let us in: 0, -EHOSTDOWN, -ETIMEDOUT. */
static int finish(PGconn *conn, int64_t deadline_ms)
{
    PostgresPollingStatusType wanted = PGRES_POLLING_WRITING;

    while (PQstatus(conn) != CONNECTION_BAD) {
        struct pollfd fd = { .fd = PQsocket(conn),
                             .events = wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT };
        int64_t left_ms = deadline_ms - im_clock_monotonic_ms();

        if (left_ms <= 0)
            return -ETIMEDOUT;
        if (poll(&fd, 1, (int)left_ms) <= 0)
            continue; /* interrupted, or too late */
        wanted = PQconnectPoll(conn);
        if (wanted == PGRES_POLLING_OK)
            return 0;
        if (wanted == PGRES_POLLING_FAILED)
            return -EHOSTDOWN;
    }
    return -EHOSTDOWN;
}

static int enter(struct postgres_connection *connection, int64_t deadline_ms, struct im_error *err)
{
    struct postgres_answer answer = { 0 };
    int r;

    if (PQsetnonblocking(connection->conn, 1) != 0 || !PQenterPipelineMode(connection->conn))
        return im_fail(err, EHOSTDOWN, "%s '%s': the connection cannot be used",
                       connection->db->schema->what, connection->db->where);
    postgres_queued(connection,
                    PQsendQueryParams(connection->conn, settings, 0, NULL, NULL, NULL, NULL, 0));
    r = postgres_exchange(connection, deadline_ms, &answer, err);
    PQclear(answer.result);
    return r;
}

/* libpq's sentence about a connection that was not made, as one line. */
static int refused(const struct postgres_connection *connection, struct im_error *err)
{
    char said[IM_ERROR_MAX];
    size_t len;

    (void)im_text_printable(said, sizeof(said), PQerrorMessage(connection->conn));
    for (len = strlen(said); len > 0 && said[len - 1] == ' '; len--)
        said[len - 1] = '\0';
    return im_fail(err, EHOSTDOWN, "%s '%s': %s", connection->db->schema->what,
                   connection->db->where, said);
}

int postgres_connect(struct postgres *db, int64_t deadline_ms,
                     struct postgres_connection **ret_connection, struct im_error *err)
{
    struct postgres_connection *connection = calloc(1, sizeof(*connection));
    int r;

    if (!connection)
        return im_fail(err, ENOMEM, "out of memory");
    connection->db = &db->base;
    connection->conn = start(db->uri);
    (void)PQsetNoticeProcessor(connection->conn, ignore_notice, NULL);
    r = finish(connection->conn, deadline_ms);
    if (r == -ETIMEDOUT)
        r = im_fail(err, EHOSTDOWN, "%s '%s': the server does not answer", db->base.schema->what,
                    db->base.where);
    else if (r < 0)
        r = refused(connection, err);
    else
        r = enter(connection, deadline_ms, err);
    if (r < 0) {
        connection = postgres_disconnect(connection);
        return r;
    }
    *ret_connection = connection;
    return 0;
}

struct postgres_connection *postgres_disconnect(struct postgres_connection *connection)
{
    if (!connection)
        return NULL;
    sql_statements_done(&sql_postgres, &connection->statements);
    PQfinish(connection->conn);
    free(connection);
    return NULL;
}

/* postgres - the PostgreSQL driver: transactions, and what is done again when one is taken back.
 *
 * A transaction that the server chose as a victim, or whose connection turned out to be dead (those
 * that are idle die when a server restarts), is repeated: until COMMIT was sent nothing has
 * happened.  When the connection is lost after that, only the caller can find out. */

#include <config.h>

#include "sql/postgres.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/retry.h"

/* A victim of a deadlock finds the others gone when it comes again; this often means a fault. */
#define CONFLICTS_MAX 5

/* It must not come again before the survivor has woken up and taken what it waited for. */
#define PAUSE_MIN_MS 10

/* The first statement's answer may come so much later than the connection, which is had in
 * POSTGRES_PATIENCE_MS. */
#define SLACK_MS 300

struct way {
    const char *begin, *end;
    bool writes;
};

enum again { ANSWERED, CONFLICT, CONNECTION_DIED };

/* ---- the end of a transaction ---- */

static int commit(struct postgres_session *session, int result, enum again *ret_again,
                  struct im_error *err)
{
    struct postgres_connection *connection = session->connection;
    const char *where = session->base.db->where, *what = session->base.db->schema->what;
    struct postgres_answer answer = { 0 };
    int r;

    if (postgres_has_gone(connection)) { /* while COMMIT was not sent */
        connection->state = POSTGRES_LOST;
        *ret_again = CONNECTION_DIED;
        return im_fail(err, EHOSTDOWN, "%s '%s': the connection to the server was lost", what,
                       where);
    }
    postgres_queued(connection,
                    PQsendQueryParams(connection->conn, "COMMIT", 0, NULL, NULL, NULL, NULL, 0));
    r = postgres_exchange(connection, im_clock_monotonic_ms() + POSTGRES_PATIENCE_MS, &answer, err);
    if (answer.idled) /* for ten seconds, and not committed then */
        *ret_again = CONNECTION_DIED;
    else if (connection->state != POSTGRES_FINE)
        r = im_fail(err, ECONNABORTED,
                    "%s '%s': the connection to the server was lost during a commit, which may "
                    "have happened or not",
                    what, where);
    else if (answer.conflict)
        *ret_again = CONFLICT;
    else if (r == 0 && strcmp(PQcmdStatus(answer.result), "COMMIT") != 0)
        r = im_fail(err, EIO, "%s '%s': the server took a transaction back", what, where);
    PQclear(answer.result);
    return r < 0 ? r : result;
}

/* End what work has begun, if anything. */
static int finish(struct postgres_session *session, const struct way *way, int r,
                  enum again *ret_again, struct im_error *err)
{
    struct postgres_connection *connection = session->connection;

    if (connection->state != POSTGRES_FINE) {
        *ret_again = connection->state == POSTGRES_LOST ? CONNECTION_DIED : ANSWERED;
        *err = session->base.failure; /* whatever work made of it */
        return -err->number;
    }
    if (r < 0 && session->conflict)
        *ret_again = CONFLICT;
    if (session->begin)
        return r;
    if (r >= 0 && way->writes)
        return commit(session, r, ret_again, err);
    postgres_send(connection, r < 0 ? "ROLLBACK" : way->end);
    return r;
}

/* ---- transactions ---- */

static int attempt(struct postgres *db, const struct way *way, sql_work_fn *work, void *arg,
                   int64_t deadline_ms, enum again *ret_again, struct im_error *err)
{
    struct postgres_connection *connection = NULL;
    int r = postgres_take(db, deadline_ms, &connection, err);

    if (r < 0)
        return r;

    struct postgres_session session = {
        .base = { .db = &db->base, .statements = &connection->statements },
        .connection = connection,
        .begin = way->begin,
        .first_deadline_ms = deadline_ms + SLACK_MS,
    };

    r = sql_call(&session.base, work, arg, err);
    r = finish(&session, way, r, ret_again, err);
    postgres_give(db, connection);
    return r;
}

/* Longer each time, and never the same for two. */
static void pause_after(int conflicts)
{
    uint8_t random;

    im_random(&random, sizeof(random));
    (void)im_retry_pause((int64_t)conflicts * (PAUSE_MIN_MS + random % 32), NULL);
}

static int transact(struct sql *base, const struct way *way, sql_work_fn *work, void *arg,
                    struct im_error *err)
{
    struct postgres *db = (struct postgres *)base;
    int64_t deadline_ms = im_clock_monotonic_ms() + POSTGRES_PATIENCE_MS;
    int conflicts = 0, deaths = 0;

    for (;;) {
        enum again again = ANSWERED;
        struct im_error failure = { 0 };
        int r = attempt(db, way, work, arg, deadline_ms, &again, &failure);

        if (again == CONNECTION_DIED && deaths++ == 0)
            continue;
        if (again == CONFLICT && conflicts++ < CONFLICTS_MAX) {
            pause_after(conflicts);
            deadline_ms = im_clock_monotonic_ms() + POSTGRES_PATIENCE_MS;
            continue;
        }
        if (r < 0 && err)
            *err = failure;
        return r;
    }
}

static int postgres_write(struct sql *db, sql_work_fn *work, void *arg, struct im_error *err)
{
    static const struct way way = { .begin = "BEGIN", .writes = true };

    return transact(db, &way, work, arg, err);
}

static int postgres_read(struct sql *db, sql_work_fn *work, void *arg, struct im_error *err)
{
    static const struct way way = { .begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                                    .end = "END" };

    return transact(db, &way, work, arg, err);
}

static int postgres_now(struct sql_session *session, int64_t *ret_now_ms, struct im_error *err)
{
    struct sql_statement *row SQL_STATEMENT = sql_use(session, "SELECT imaging_now()");
    int r = sql_step(session, row, err);

    if (r <= 0)
        return r < 0 ? r : im_fail(err, EIO, "%s: imaging_now() gave nothing", session->db->where);
    *ret_now_ms = sql_column_int(row, 0);
    return 0;
}

/* ---- opening ---- */

static void postgres_close(struct sql *base)
{
    struct postgres *db = (struct postgres *)base;

    postgres_close_idle(db);
    (void)postgres_disconnect(db->news);
    (void)pthread_cond_destroy(&db->returned);
    (void)pthread_mutex_destroy(&db->lock);
    if (db->uri)
        explicit_bzero(db->uri, strlen(db->uri));
    free(db->uri);
    free(db->base.where);
    free(db);
}

static void init_returned(pthread_cond_t *returned)
{
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(returned, &attr);
    (void)pthread_condattr_destroy(&attr);
}

static int postgres_open(const struct sql_options *options, struct sql **ret_db,
                         struct im_error *err)
{
    struct postgres *db = calloc(1, sizeof(*db));
    int r;

    if (!db)
        return im_fail(err, ENOMEM, "out of memory");
    db->base.driver = &sql_postgres;
    db->base.schema = options->schema;
    db->base.clock_ms = options->clock_ms;
    db->base.clock_arg = options->clock_arg;
    db->most = options->connections;
    db->uri = strdup(options->where);
    (void)pthread_mutex_init(&db->lock, NULL);
    init_returned(&db->returned);
    r = db->uri ? postgres_describe(db->uri, &db->base.where, err)
                : im_fail(err, ENOMEM, "out of memory");
    if (r == 0)
        r = postgres_migrate(db, options->existing, err);
    if (r < 0) {
        postgres_close(&db->base);
        return r;
    }
    *ret_db = &db->base;
    return 0;
}

const struct sql_driver sql_postgres = {
    .statement_size = sizeof(struct postgres_statement),
    .open = postgres_open,
    .close = postgres_close,
    .write = postgres_write,
    .read = postgres_read,
    .step = postgres_step,
    .column = postgres_column,
    .changes = postgres_changes,
    .reset = postgres_reset,
    .forget = postgres_reset,
    .now = postgres_now,
    .notify = postgres_notify,
    .await = postgres_await,
};

/* postgres - what the files of the PostgreSQL driver share; nothing else includes it, or libpq.
 *
 * Nothing here waits for the server without a deadline but migrations: an API call must be able to
 * answer 503 within two seconds when the server is gone, or hangs. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <libpq-fe.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "sql/driver.h"

/* How long a connection may take to be made or to come free, and the server to answer. */
#define POSTGRES_PATIENCE_MS 1500

/* Who knows that the server was away so long ago does not try again. */
#define POSTGRES_AWAY_MS 500

enum postgres_state {
    POSTGRES_FINE,
    POSTGRES_LOST,   /* the server ended it */
    POSTGRES_SILENT, /* the server does not answer */
};

struct postgres_connection {
    struct sql *db;
    PGconn *conn; /* in pipeline mode, non-blocking */
    enum postgres_state state;
    bool unsent;    /* a command could not be queued */
    unsigned owed;  /* ends of flights whose answers were not read yet */
    unsigned names; /* of prepared statements, so far */
    struct sql_statements statements;
    struct postgres_connection *next;
};

struct postgres {
    struct sql base;
    char *uri;
    pthread_mutex_t lock;    /* guards what follows */
    pthread_cond_t returned; /* a connection, or the news that the server is away */
    struct postgres_connection *idle;
    unsigned made, most; /* connections in use, idle or being made */
    int64_t failed_ms;   /* when the server was found away (monotonic); 0: it is there */
    bool trying;         /* somebody looks whether it is there again */
    struct im_error failure;

    struct postgres_connection *news; /* of the one thread in sql_await */
};

struct postgres_session {
    struct sql_session base;
    struct postgres_connection *connection;
    const char *begin;         /* goes out with the first statement; NULL: it has */
    int64_t first_deadline_ms; /* of that statement's answer */
    bool conflict;             /* the server chose it as a victim: it may be repeated */
};

/* ---- postgres-connect.c ---- */

/* Prove that the URI is one, and say where it leads without its secrets (freed by the caller).
 * -EINVAL, and a sentence that quotes nothing of it. */
int postgres_describe(const char *uri, char **ret_where, struct im_error *err);

/* A connection with the settings of ours; -EHOSTDOWN. */
int postgres_connect(struct postgres *db, int64_t deadline_ms,
                     struct postgres_connection **ret_connection, struct im_error *err);

/* Takes NULL, returns NULL. */
struct postgres_connection *postgres_disconnect(struct postgres_connection *connection);

/* ---- postgres-exchange.c: commands out, answers in ---- */

/* What the commands of one flight came to. */
struct postgres_answer {
    PGresult *result; /* of the last one; freed by the caller */
    unsigned done;    /* commands that succeeded, also when a later one failed */
    bool conflict;    /* the failure was a deadlock or its like */
    bool idled;       /* it was that the transaction had been idle for too long by then */
};

/* Note what a PQsend… function said about the command it was to queue. */
void postgres_queued(struct postgres_connection *connection, int sent);

/* Send what was queued and read its answers.  *ret_answer is set on failure, too (result NULL).
 * Errors as sql_step; connection->state tells whether the connection can be used further. */
int postgres_exchange(struct postgres_connection *connection, int64_t deadline_ms,
                      struct postgres_answer *ret_answer, struct im_error *err);

/* Send a command whose answer nobody waits for: the next exchange reads it. */
void postgres_send(struct postgres_connection *connection, const char *sql);

/* True when the server has ended the connection by now. */
bool postgres_has_gone(struct postgres_connection *connection);

/* The next result of a connection, NULL at the end of a command's; fails as the connection does. */
int postgres_next_result(struct postgres_connection *connection, int64_t deadline_ms,
                         PGresult **ret_result, struct im_error *err);

/* Turn a result that is a failure into ours. */
int postgres_failed(struct postgres_connection *connection, const PGresult *result,
                    struct im_error *err);

/* ---- postgres-pool.c ---- */

/* A connection for one transaction; -EHOSTDOWN. */
int postgres_take(struct postgres *db, int64_t deadline_ms,
                  struct postgres_connection **ret_connection, struct im_error *err);

/* Give it back, in whatever state. */
void postgres_give(struct postgres *db, struct postgres_connection *connection);

/* Close those that nobody uses. */
void postgres_close_idle(struct postgres *db);

/* ---- postgres-statement.c: for the driver's table ---- */

struct postgres_statement {
    struct sql_statement base;
    char name[16];                /* of the prepared statement; "" when there is none */
    Oid type[SQL_PARAMETERS_MAX]; /* it was prepared with */
    PGresult *result;
    int row;
};

int postgres_step(struct sql_session *session, struct sql_statement *statement,
                  struct im_error *err);
struct sql_value postgres_column(struct sql_statement *statement, int column);
int postgres_changes(struct sql_statement *statement);
void postgres_reset(struct sql_statement *statement);

/* ---- postgres-schema.c ---- */

/* Bring the schema up to date, one service after the other; or with `existing` see that it is. */
int postgres_migrate(struct postgres *db, bool existing, struct im_error *err);

/* ---- postgres-news.c ---- */

/* As sql_notify and sql_await. */
int postgres_notify(struct sql_session *session, struct im_error *err);
int postgres_await(struct sql *db, int wake_fd, int timeout_ms, struct im_error *err);

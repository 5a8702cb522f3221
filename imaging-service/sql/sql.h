/* sql - one way to use a SQLite file and a PostgreSQL server: sessions, transactions, statements.
 *
 * Statements are written once, in the SQL both understand: parameters are ?1, ?2 …, what stands in
 * comments that begin with "pg" (as in "LIMIT 1 / *pg FOR UPDATE SKIP LOCKED * /", without the
 * blanks) is for PostgreSQL alone.  Numbers are bigint, there are no booleans.  What the tables
 * mean is their owner's business. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

/* A database that is open; used by any number of threads. */
struct sql;

/* One thread's use of it, for the time of one call of a sql_work_fn. */
struct sql_session;

/* What a database is to hold: numbered files of schemas/sql, built into the program. */
struct sql_migration {
    const char *name; /* of its file */
    const char *sql;
};

struct sql_schema {
    const char *what; /* for messages: "task table" */
    const char *name; /* of its versions in a server, which may hold several: "tasks" */
    const struct sql_migration *sqlite, *postgres; /* numbered from 1 by their places; each is one
                                                      transaction */
    size_t sqlite_count, postgres_count;
};

struct sql_options {
    const char *where; /* a path, or the server as "postgresql://…" (libpq's connection URI) */
    const struct sql_schema *schema;
    unsigned connections;           /* to a server, at once, at most; at least 1 */
    bool existing;                  /* it is there and up to date, or it is not opened */
    int64_t (*clock_ms)(void *arg); /* for tests: the time instead of the database's; else NULL */
    void *clock_arg;
};

/* Open the database and bring its schema up to date.
 *
 * A file is made with mode 0600 when it is missing, proven sound, and made durable (WAL,
 * synchronous FULL); two processes that bring a file up to date at once would be in each other's
 * way: the caller sees to that.  At a server they wait for each other, and a schema that is newer
 * than this program is fine unless schema_oldest says otherwise: a migration after which programs
 * that do not know it go wrong ends with "UPDATE schema_oldest SET version = N WHERE name = '…'", N
 * being its own number.  Errors: -EBADMSG damaged,
 * -EOPNOTSUPP too new for this program, -EHOSTDOWN the server cannot be reached, or the file's.
 *
 * With `existing` nothing is made or changed: for a command beside the service, which may be at
 * work on a schema of its own time.  Then also -ENOENT, there is none; -EOPNOTSUPP, too old for
 * this program, whose statements it would not understand. */
int sql_open(const struct sql_options *options, struct sql **ret_db, struct im_error *err);

/* Takes NULL, returns NULL.  Nobody uses it any more. */
struct sql *sql_close(struct sql *db);

/* ---- transactions ---- */

/* What is to be done in one transaction.  It may be called several times when the database takes it
 * back, so it makes its results anew each time.  A negative return takes everything back. */
typedef int sql_work_fn(struct sql_session *session, void *arg, struct im_error *err);

/* Do work and commit: durable when it returns.  In a file, several threads' work may share one
 * commit, is done by whichever thread, and is taken back separately.  Returns what work returned,
 * or -EHOSTDOWN: the server cannot be reached, or did not answer in time; nothing was changed;
 * -ECONNABORTED: it went away during the commit, which may have happened or not: look, and know
 * that a server which only hung may do it after one looked;
 * others of the database, as sql_step.  work must not call sql_write or sql_read. */
int sql_write(struct sql *db, sql_work_fn *work, void *arg, struct im_error *err);

/* The same for work that only reads: it sees one moment. */
int sql_read(struct sql *db, sql_work_fn *work, void *arg, struct im_error *err);

/* ---- statements ---- */

/* struct sql_statement *s SQL_STATEMENT = sql_use(session, "…");  The text is static: it is known
 * again by its address, and prepared once for a connection.  The same statement is not used twice
 * at once.  NULL on failure, which sql_step then tells; binding to NULL does nothing.  A server
 * takes a parameter for the kind that is bound to it (bigint, text, bytea); where only NULL may be,
 * and the place does not tell a type, it wants CAST(?1 AS bigint). */
struct sql_statement;
struct sql_statement *sql_use(struct sql_session *session, const char *sql);
void sql_release(struct sql_statement **statement);
#define SQL_STATEMENT IM_CLEANUP(sql_release)

/* Parameters, at most SQL_PARAMETERS_MAX; those that are not given are NULL.  Text and bytes are
 * lent until the release. */
#define SQL_PARAMETERS_MAX 24
void sql_text(struct sql_statement *statement, int place, const char *text); /* NULL binds NULL */
void sql_int(struct sql_statement *statement, int place, int64_t value);
void sql_uint(struct sql_statement *statement, int place, uint64_t value); /* at most INT64_MAX */
void sql_bytes(struct sql_statement *statement, int place, const void *bytes, size_t len);

/* One step: 1 a row, 0 the end, or the failure: -EEXIST a unique column has that value already,
 * -ENOSPC, -ENOMEM, -EROFS, -EBADMSG damaged, -ETIMEDOUT locked too long, -EHOSTDOWN, -EIO any
 * other.  After a failure the work returns it; nothing more is executed, and sql_write fails with
 * it if work did not.  Other statements may come between two steps, but do not change the rows
 * still to come.  A server's rows are all in memory at once, so what may find many has a LIMIT. */
int sql_step(struct sql_session *session, struct sql_statement *statement, struct im_error *err);

/* Columns of the row that sql_step answered last, from 0; text and bytes are lent until the next
 * step.  NULL, and a column of another kind: text NULL, number 0, bytes NULL and *ret_len 0.  Truth
 * is a number; a server's sum() needs CAST(… AS bigint). */
const char *sql_column_text(struct sql_statement *statement, int column);
int64_t sql_column_int(struct sql_statement *statement, int column);
const void *sql_column_bytes(struct sql_statement *statement, int column, size_t *ret_len);

/* A statement that answers no rows and has at most three numbers to bind, in order; the rows it
 * changed, or the failure. */
int sql_run(struct sql_session *session, const char *sql, int64_t a, int64_t b, int64_t c,
            struct im_error *err);

/* ---- time and news ---- */

/* Milliseconds since 1970, by the clock all who use this database share: the server's own (its
 * function imaging_now()), or for a file this process's, which never jumps. */
int sql_now(struct sql_session *session, int64_t *ret_now_ms, struct im_error *err);

/* Within sql_write: when it is committed, everybody in sql_await wakes, in all processes.  A file
 * has one process, which knows: nothing happens. */
int sql_notify(struct sql_session *session, struct im_error *err);

/* Wait for news, at most timeout_ms or until wake_fd is readable.  One thread at a time.  1 when
 * there may be news (also after a connection was lost and is there again), 0 without, -EHOSTDOWN
 * (after the time-out, or before). */
int sql_await(struct sql *db, int wake_fd, int timeout_ms, struct im_error *err);

/* For messages: the path, or host and name of the database without the password. */
const char *sql_where(const struct sql *db);

/* driver - what sql.c and the two drivers share; nothing else includes it.
 *
 * A driver embeds struct sql, struct sql_session and struct sql_statement as the first members of
 * its own.  It executes statements and ends transactions; parameters, columns and the rule that
 * nothing follows a failure are the same for both, in sql.c. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "sql/sql.h"

/* Different statements of one database, and some to spare: they are constants of the program. */
#define SQL_STATEMENTS_MAX 192

enum sql_type { SQL_NULL, SQL_INTEGER, SQL_TEXT, SQL_BLOB };

/* A parameter, or a column of a row. */
struct sql_value {
    enum sql_type type;
    int64_t number;    /* SQL_INTEGER */
    const void *bytes; /* SQL_TEXT, with a NUL behind it, and SQL_BLOB; lent */
    size_t len;
};

struct sql_statement {
    struct sql_session *session; /* who uses it; NULL: nobody */
    const char *sql;
    int places; /* parameters it has */
    bool executed;
    struct sql_value value[SQL_PARAMETERS_MAX];
};

/* The statements one connection knows, by the address of their text. */
struct sql_statements {
    struct sql_statement *known[SQL_STATEMENTS_MAX];
    size_t count;
};

struct sql_session {
    struct sql *db;
    struct sql_statements *statements;
    struct im_error failure; /* the first; nothing is executed after it */
};

struct sql_driver {
    size_t statement_size;
    int (*open)(const struct sql_options *options, struct sql **ret_db, struct im_error *err);
    void (*close)(struct sql *db);
    int (*write)(struct sql *db, sql_work_fn *work, void *arg, struct im_error *err);
    int (*read)(struct sql *db, sql_work_fn *work, void *arg, struct im_error *err);
    /* One step with the values bound: 1 a row, 0 the end, or the failure. */
    int (*step)(struct sql_session *session, struct sql_statement *statement, struct im_error *err);
    struct sql_value (*column)(struct sql_statement *statement, int column);
    int (*changes)(struct sql_statement *statement); /* rows, by the step just made */
    void (*reset)(struct sql_statement *statement);  /* rows and values are needed no more */
    void (*forget)(struct sql_statement *statement); /* it is freed afterwards */
    int (*now)(struct sql_session *session, int64_t *ret_now_ms, struct im_error *err);
    int (*notify)(struct sql_session *session, struct im_error *err);
    int (*await)(struct sql *db, int wake_fd, int timeout_ms, struct im_error *err);
};

struct sql {
    const struct sql_driver *driver;
    const struct sql_schema *schema;
    char *where; /* for messages */
    int64_t (*clock_ms)(void *arg);
    void *clock_arg;
};

extern const struct sql_driver sql_sqlite, sql_postgres;

/* True when where is a server's URI and not a path. */
bool sql_is_uri(const char *where);

/* What is told of a database that is not to be made or changed: -ENOENT, -EOPNOTSUPP. */
int sql_missing(const struct sql_schema *schema, const char *where, struct im_error *err);
int sql_too_old(const struct sql_schema *schema, const char *where, uint64_t version,
                uint64_t wanted, struct im_error *err);

/* Forget and free all statements of a connection. */
void sql_statements_done(const struct sql_driver *driver, struct sql_statements *statements);

/* Call work and see that it does not pass over a failure: returns what it returned, or the
 * session's failure. */
int sql_call(struct sql_session *session, sql_work_fn *work, void *arg, struct im_error *err);

/* ---- text.c ---- */

/* The highest number of a parameter "?N" in a statement, 0 when it has none; -EINVAL when that is
 * above SQL_PARAMETERS_MAX, or a "?" has no number. */
int sql_places(const char *sql);

/* The statement as PostgreSQL wants it: $N for ?N, comments that begin with "pg" opened; NULL when
 * out of memory.  Freed by the caller. */
char *sql_for_postgres(const char *sql);

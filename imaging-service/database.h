/* database - a SQLite file of ours: the connection, its durability, its schema.  Whoever includes
 * this knows SQLite; nobody else does. */
#pragma once

#include <stddef.h>

#include <sqlite3.h>

#include "base/error.h"

/* What a file is to hold: numbered SQL files of schemas/sql, built into the program. */
struct svc_schema {
    const char *what; /* for messages: "task table" */
    const struct svc_migration {
        const char *name; /* of its file */
        const char *sql;
    } * migration; /* numbered from 1 by their place; each is one transaction */
    size_t count;
};

/* Open the file (made with mode 0600 when it is missing), prove it sound, make commits durable
 * (WAL, synchronous FULL) and bring its schema up to date.  Others may have it open, but two that
 * bring it up to date at once would be in each other's way: the caller sees to that.  0 and
 * *ret_db; on failure *ret_db may be set as well, and is the caller's to close. Errors: -EBADMSG
 * damaged, -EOPNOTSUPP written by a newer program, or the file's. */
int svc_database_open(const char *path, const struct svc_schema *schema, sqlite3 **ret_db,
                      struct im_error *err);

/* Turn the connection's last failure into ours. */
int svc_database_failed(const struct svc_schema *schema, sqlite3 *db, struct im_error *err);

/* sqlite - what the two halves of the SQLite task table share; nothing else includes it. */
#pragma once

#include <sqlite3.h>

#include "base/error.h"

/* Open the task table's file (made with mode 0600 when it is missing), prove it sound, make commits
 * durable (WAL, synchronous FULL) and bring its schema up to date.  0 and *ret_db; on failure
 * *ret_db may be set as well, and is the caller's to close.
 * Errors: -EBADMSG damaged, -EOPNOTSUPP written by a newer program, or the file's. */
int task_sqlite_open(const char *path, sqlite3 **ret_db, struct im_error *err);

/* Turn the connection's last failure into ours. */
int task_sqlite_failed(sqlite3 *db, struct im_error *err);

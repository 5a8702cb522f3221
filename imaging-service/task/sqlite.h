/* sqlite - what the two halves of the SQLite task table share; nothing else includes it. */
#pragma once

#include "database.h"

/* Open the task table's file; as svc_database_open. */
int task_sqlite_open(const char *path, sqlite3 **ret_db, struct im_error *err);

/* Turn the connection's last failure into ours. */
int task_sqlite_failed(sqlite3 *db, struct im_error *err);

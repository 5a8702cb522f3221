/* sqlite-open - the connection to the task table's file; database.c does the work. */

#include <config.h>

#include "task/sqlite.h"

/* Files of schemas/sql/sqlite. */
static const struct svc_migration migrations[] = {
#include "task/migrations.def"
};

static const struct svc_schema schema = {
    .what = "task table",
    .migration = migrations,
    .count = sizeof(migrations) / sizeof(migrations[0]),
};

int task_sqlite_failed(sqlite3 *db, struct im_error *err)
{
    return svc_database_failed(&schema, db, err);
}

int task_sqlite_open(const char *path, sqlite3 **ret_db, struct im_error *err)
{
    return svc_database_open(path, &schema, ret_db, err);
}

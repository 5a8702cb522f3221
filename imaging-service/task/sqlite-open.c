/* sqlite-open - the connection to the task table's file: sound, durable, its schema up to date.
 *
 * Migrations are numbered SQL files under schemas/sql/sqlite, built into the program. */

#include <config.h>

#include "task/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* Only somebody with the sqlite3 program in hand can hold the lock longer than this. */
#define BUSY_TIMEOUT_MS 5000

/* Numbered from 1 by their place; each is one transaction. */
static const struct migration {
    const char *name;
    const char *sql;
} migrations[] = {
#include "task/migrations.def"
};
#define SCHEMA_VERSION ((int64_t)(sizeof(migrations) / sizeof(migrations[0])))

static void finalize(sqlite3_stmt **statement)
{
    (void)sqlite3_finalize(*statement);
}

/* ---- failures ---- */

static int number_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return ENOSPC;
    case SQLITE_NOMEM:
        return ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ETIMEDOUT;
    case SQLITE_READONLY:
        return EROFS;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return EBADMSG;
    default:
        return EIO;
    }
}

int task_sqlite_failed(sqlite3 *db, struct im_error *err)
{
    int rc = sqlite3_extended_errcode(db);

    return im_fail(err, number_of(rc), "task table '%s': %s (SQLite result %d)",
                   sqlite3_db_filename(db, "main"), sqlite3_errmsg(db), rc);
}

static int create_file(const char *path, struct im_error *err)
{
    int fd IM_CLOSE = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    /* rows hold manifest URLs with their signatures; SQLite gives its side files the same mode */
    if (fd < 0 || fchmod(fd, 0600) < 0)
        return im_fail_errno(err, errno, "cannot open the task table '%s'", path);
    return 0;
}

static int exec(sqlite3 *db, const char *sql, struct im_error *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : task_sqlite_failed(db, err);
}

/* The first column of the first row of sql as text, which must be `wanted`. */
static int expect(sqlite3 *db, const char *sql, const char *wanted, struct im_error *err)
{
    sqlite3_stmt *statement IM_CLEANUP(finalize) = NULL;
    const char *got;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        return task_sqlite_failed(db, err);
    got = (const char *)sqlite3_column_text(statement, 0);
    if (got && strcmp(got, wanted) == 0)
        return 0;
    return im_fail(
        err, EBADMSG,
        "task table '%s': \"%s\" answered '%s' where '%s' is needed; the file is damaged "
        "or its file system unfit: restore a copy, or move it to local storage",
        sqlite3_db_filename(db, "main"), sql, got ? got : "nothing", wanted);
}

static int get_version(sqlite3 *db, int64_t *ret_version, struct im_error *err)
{
    sqlite3_stmt *statement IM_CLEANUP(finalize) = NULL;

    if (sqlite3_prepare_v2(db, "SELECT coalesce(max(version), 0) FROM schema_version", -1,
                           &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        return task_sqlite_failed(db, err);
    *ret_version = sqlite3_column_int64(statement, 0);
    return 0;
}

static int migrate_once(sqlite3 *db, int64_t version, struct im_error *err)
{
    const struct migration *migration = &migrations[version - 1];
    char note[128];
    int r = exec(db, "BEGIN IMMEDIATE", err);

    if (r < 0)
        return r;
    (void)snprintf(note, sizeof(note),
                   "INSERT INTO schema_version VALUES (%" PRId64 ", %" PRId64 "); COMMIT", version,
                   im_clock_now_ms());
    r = exec(db, migration->sql, err);
    if (r == 0)
        r = exec(db, note, err);
    if (r < 0) {
        im_error_prefix(err, "migration %s failed and was taken back", migration->name);
        if (!sqlite3_get_autocommit(db))
            (void)exec(db, "ROLLBACK", NULL);
    }
    return r;
}

static int migrate(sqlite3 *db, struct im_error *err)
{
    int64_t version = 0;
    int r = exec(db,
                 "CREATE TABLE IF NOT EXISTS schema_version "
                 "(version INTEGER PRIMARY KEY, applied_ms INTEGER NOT NULL)",
                 err);

    if (r == 0)
        r = get_version(db, &version, err);
    if (r == 0 && version > SCHEMA_VERSION)
        return im_fail(err, EOPNOTSUPP,
                       "the task table '%s' has schema version %" PRId64
                       " but this program knows only up to %" PRId64
                       ": a newer imaging-service wrote it; start that one, or restore a copy made "
                       "before the upgrade",
                       sqlite3_db_filename(db, "main"), version, SCHEMA_VERSION);
    while (r == 0 && version < SCHEMA_VERSION)
        r = migrate_once(db, ++version, err);
    return r;
}

int task_sqlite_open(const char *path, sqlite3 **ret_db, struct im_error *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX; /* our mutex does */
    int r = create_file(path, err);

    if (r < 0)
        return r;
    if (sqlite3_open_v2(path, ret_db, flags, NULL) != SQLITE_OK)
        return *ret_db ? task_sqlite_failed(*ret_db, err) : im_fail(err, ENOMEM, "out of memory");
    (void)sqlite3_busy_timeout(*ret_db, BUSY_TIMEOUT_MS);
    r = expect(*ret_db, "PRAGMA quick_check(1)", "ok", err);
    if (r == 0)
        r = expect(*ret_db, "PRAGMA journal_mode = WAL", "wal", err);
    if (r == 0)
        r = exec(*ret_db, "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF", err);
    if (r == 0)
        r = migrate(*ret_db, err);
    return r;
}

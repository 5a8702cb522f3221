/* sqlite-open - the connection to a SQLite file of ours: sound, durable, its schema up to date.
 *
 * What the file holds is its owner's business. */

#include <config.h>

#include "sql/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* Only somebody with the sqlite3 program in hand can hold the lock longer than this. */
#define BUSY_TIMEOUT_MS 5000

static void finalize(sqlite3_stmt **statement)
{
    (void)sqlite3_finalize(*statement);
}

/* ---- failures ---- */

static int number_of(int rc)
{
    if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY ||
        rc == SQLITE_CONSTRAINT_ROWID)
        return EEXIST;
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

int sqlite_failed(const struct sql_schema *schema, sqlite3 *db, struct im_error *err)
{
    int rc = sqlite3_extended_errcode(db);

    return im_fail(err, number_of(rc), "%s '%s': %s (SQLite result %d)", schema->what,
                   sqlite3_db_filename(db, "main"), sqlite3_errmsg(db), rc);
}

static int create_file(const char *path, const struct sql_schema *schema, struct im_error *err)
{
    int fd IM_CLOSE = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    /* rows hold what is nobody else's business; SQLite gives its side files the same mode */
    if (fd < 0 || fchmod(fd, 0600) < 0)
        return im_fail_errno(err, errno, "cannot open the %s '%s'", schema->what, path);
    return 0;
}

int sqlite_exec(sqlite3 *db, const struct sql_schema *schema, const char *sql, struct im_error *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0
                                                                : sqlite_failed(schema, db, err);
}

/* The first column of the first row of sql as text, which must be `wanted`. */
static int expect(sqlite3 *db, const struct sql_schema *schema, const char *sql, const char *wanted,
                  struct im_error *err)
{
    sqlite3_stmt *statement IM_CLEANUP(finalize) = NULL;
    const char *got;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        return sqlite_failed(schema, db, err);
    got = (const char *)sqlite3_column_text(statement, 0);
    if (got && strcmp(got, wanted) == 0)
        return 0;
    return im_fail(err, EBADMSG,
                   "%s '%s': \"%s\" answered '%s' where '%s' is needed; the file is damaged "
                   "or its file system unfit: restore a copy, or move it to local storage",
                   schema->what, sqlite3_db_filename(db, "main"), sql, got ? got : "nothing",
                   wanted);
}

static int get_version(sqlite3 *db, const struct sql_schema *schema, int64_t *ret_version,
                       struct im_error *err)
{
    sqlite3_stmt *statement IM_CLEANUP(finalize) = NULL;

    if (sqlite3_prepare_v2(db, "SELECT coalesce(max(version), 0) FROM schema_version", -1,
                           &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        return sqlite_failed(schema, db, err);
    *ret_version = sqlite3_column_int64(statement, 0);
    return 0;
}

static int migrate_once(sqlite3 *db, const struct sql_schema *schema, int64_t version,
                        struct im_error *err)
{
    const struct sql_migration *migration = &schema->sqlite[version - 1];
    char note[128];
    int r = sqlite_exec(db, schema, "BEGIN IMMEDIATE", err);

    if (r < 0)
        return r;
    (void)snprintf(note, sizeof(note),
                   "INSERT INTO schema_version VALUES (%" PRId64 ", %" PRId64 "); COMMIT", version,
                   im_clock_now_ms());
    r = sqlite_exec(db, schema, migration->sql, err);
    if (r == 0)
        r = sqlite_exec(db, schema, note, err);
    if (r < 0) {
        im_error_prefix(err, "migration %s failed and was taken back", migration->name);
        if (!sqlite3_get_autocommit(db))
            (void)sqlite_exec(db, schema, "ROLLBACK", NULL);
    }
    return r;
}

static int too_new(sqlite3 *db, const struct sql_schema *schema, int64_t version,
                   struct im_error *err)
{
    return im_fail(
        err, EOPNOTSUPP,
        "the %s '%s' has schema version %" PRId64
        " but this program knows only up to %zu: a newer imaging-service wrote it; start "
        "that one, or restore a copy made before the upgrade",
        schema->what, sqlite3_db_filename(db, "main"), version, schema->sqlite_count);
}

static int migrate(sqlite3 *db, const struct sql_schema *schema, struct im_error *err)
{
    int64_t version = 0, latest = (int64_t)schema->sqlite_count;
    int r = sqlite_exec(db, schema,
                        "CREATE TABLE IF NOT EXISTS schema_version "
                        "(version INTEGER PRIMARY KEY, applied_ms INTEGER NOT NULL)",
                        err);

    if (r == 0)
        r = get_version(db, schema, &version, err);
    if (r == 0 && version > latest)
        return too_new(db, schema, version, err);
    while (r == 0 && version < latest)
        r = migrate_once(db, schema, ++version, err);
    return r;
}

/* Instead of migrate, beside a program that may be at work on the file. */
static int expect_version(sqlite3 *db, const struct sql_schema *schema, struct im_error *err)
{
    int64_t version = 0, latest = (int64_t)schema->sqlite_count;
    int r = get_version(db, schema, &version, err);

    if (r < 0 || version == latest)
        return r;
    return version > latest ? too_new(db, schema, version, err)
                            : sql_too_old(schema, sqlite3_db_filename(db, "main"),
                                          (uint64_t)version, (uint64_t)latest, err);
}

/* Whoever it belongs to made it, and proved it sound when it started. */
static int open_existing(const char *path, const struct sql_schema *schema, sqlite3 **ret_db,
                         struct im_error *err)
{
    int r;

    if (access(path, F_OK) < 0 && errno == ENOENT)
        return sql_missing(schema, path, err);
    if (sqlite3_open_v2(path, ret_db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK)
        return *ret_db ? sqlite_failed(schema, *ret_db, err)
                       : im_fail(err, ENOMEM, "out of memory");
    (void)sqlite3_busy_timeout(*ret_db, BUSY_TIMEOUT_MS);
    r = sqlite_exec(*ret_db, schema, "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF", err);
    return r < 0 ? r : expect_version(*ret_db, schema, err);
}

int sqlite_open_file(const char *path, const struct sql_schema *schema, bool existing,
                     sqlite3 **ret_db, struct im_error *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX; /* the owner's mutex does */
    int r;

    if (existing)
        return open_existing(path, schema, ret_db, err);
    r = create_file(path, schema, err);
    if (r < 0)
        return r;
    if (sqlite3_open_v2(path, ret_db, flags, NULL) != SQLITE_OK)
        return *ret_db ? sqlite_failed(schema, *ret_db, err)
                       : im_fail(err, ENOMEM, "out of memory");
    (void)sqlite3_busy_timeout(*ret_db, BUSY_TIMEOUT_MS);
    r = expect(*ret_db, schema, "PRAGMA quick_check(1)", "ok", err);
    if (r == 0)
        r = expect(*ret_db, schema, "PRAGMA journal_mode = WAL", "wal", err);
    if (r == 0)
        r = sqlite_exec(*ret_db, schema, "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF",
                        err);
    if (r == 0)
        r = migrate(*ret_db, schema, err);
    return r;
}

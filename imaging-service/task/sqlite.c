/* sqlite - the task table in one SQLite file: its statements.  sqlite-open.c makes the connection.
 *
 * One connection, guarded by a mutex: the HTTP threads and the workers share it, and a commit takes
 * a fraction of a millisecond.  Every write is durable when its function returns (WAL with
 * synchronous=FULL).  Foreign strings are always bound, never part of the SQL. */

#include <config.h>

#include "task/task.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "task/sqlite.h"
#include "task/state.h"

/* Random ids collide once in 36^8; so many in a row mean that the generator is broken. */
#define ID_TRIES 8

/* In the order read_task() takes them. */
#define COLUMNS                                                                                    \
    "id, account, state, status_message, format, image_bytes, manifest_url, "                      \
    "volume_gib, zone, description, bytes_converted, volume_id, created_ms, "                      \
    "expires_ms, epoch, deaths, waits, tries, digest"

/* The claim a worker names in ?1 and ?2 still stands. */
#define CLAIMED "id = ?1 AND epoch = ?2 AND lease_ms IS NOT NULL"

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    COUNT_ACTIVE,
    INSERT,
    GET,
    LIST,
    REQUEST_CANCEL,
    EXPIRE,
    END_LAPSED,
    CLAIM,
    NEXT_DUE,
    HEARTBEAT,
    POSTPONE,
    COMPLETE,
    END_CANCELLED,
    LIST_LEASED,
    RELEASE_CANCELLING,
    RELEASE_ACTIVE,
    STATEMENTS
};

static const char *const statements[STATEMENTS] = {
    /* IMMEDIATE: the lock is taken before anything is read, so no transaction fails half-way */
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [COUNT_ACTIVE] = "SELECT count(*) FROM task WHERE account = ?1 AND ended_ms IS NULL",
    [INSERT] = "INSERT INTO task (id, volume_id, account, state, status_message, format, "
               "image_bytes, manifest_url, volume_gib, zone, description, created_ms, expires_ms) "
               "VALUES (?1, ?2, ?3, 'active', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    [GET] = "SELECT " COLUMNS " FROM task WHERE account = ?1 AND id = ?2",
    [LIST] = "SELECT " COLUMNS " FROM task WHERE account = ?1 ORDER BY seq",
    [REQUEST_CANCEL] = "UPDATE task SET status_message = ?3, "
                       "state = CASE WHEN lease_ms > ?4 THEN 'cancelling' ELSE 'cancelled' END, "
                       "ended_ms = CASE WHEN lease_ms > ?4 THEN NULL ELSE ?4 END, "
                       "lease_ms = CASE WHEN lease_ms > ?4 THEN lease_ms ELSE NULL END "
                       "WHERE account = ?1 AND id = ?2 AND state = 'active'",
    [EXPIRE] = "UPDATE task SET state = 'cancelled', status_message = ?2, ended_ms = ?1, "
               "lease_ms = NULL WHERE ended_ms IS NULL AND state = 'active' "
               "AND expires_ms <= ?1 AND (lease_ms IS NULL OR lease_ms <= ?1)",
    [END_LAPSED] = "UPDATE task SET state = 'cancelled', ended_ms = ?1, lease_ms = NULL "
                   "WHERE ended_ms IS NULL AND state = 'cancelling' AND lease_ms <= ?1",
    [CLAIM] = "UPDATE task SET epoch = epoch + 1, deaths = deaths + (lease_ms IS NOT NULL), "
              "lease_ms = ?2 WHERE seq = (SELECT seq FROM task WHERE ended_ms IS NULL "
              "AND state = 'active' AND due_ms <= ?1 AND (lease_ms IS NULL OR lease_ms <= ?1) "
              "ORDER BY seq LIMIT 1) RETURNING " COLUMNS,
    [NEXT_DUE] = "SELECT min(max(due_ms, coalesce(lease_ms, 0))) FROM task "
                 "WHERE ended_ms IS NULL AND state = 'active'",
    [HEARTBEAT] = "UPDATE task SET lease_ms = ?3, "
                  "bytes_converted = max(bytes_converted, min(?4, image_bytes)), "
                  "status_message = CASE state WHEN 'active' THEN coalesce(?5, status_message) "
                  "ELSE status_message END WHERE " CLAIMED " RETURNING state = 'cancelling'",
    [POSTPONE] = "UPDATE task SET lease_ms = NULL, due_ms = ?3, waits = waits + ?4, "
                 "tries = tries + ?5, deaths = deaths + ?6, "
                 "status_message = coalesce(?7, status_message) "
                 "WHERE " CLAIMED " AND state = 'active'",
    [COMPLETE] = "UPDATE task SET state = 'completed', status_message = NULL, "
                 "bytes_converted = image_bytes, ended_ms = ?3, lease_ms = NULL, digest = ?4 "
                 "WHERE " CLAIMED " AND state = 'active'",
    [END_CANCELLED] = "UPDATE task SET state = 'cancelled', ended_ms = ?3, lease_ms = NULL, "
                      "status_message = CASE state WHEN 'active' THEN ?4 ELSE status_message END "
                      "WHERE " CLAIMED,
    [LIST_LEASED] = "SELECT " COLUMNS " FROM task "
                    "WHERE ended_ms IS NULL AND lease_ms IS NOT NULL ORDER BY seq",
    [RELEASE_CANCELLING] = "UPDATE task SET state = 'cancelled', ended_ms = ?1, lease_ms = NULL "
                           "WHERE ended_ms IS NULL AND state = 'cancelling'",
    /* due at once, all of them: the clock may have been wrong when they were postponed */
    [RELEASE_ACTIVE] = "UPDATE task SET deaths = deaths + (lease_ms IS NOT NULL), status_message = "
                       "CASE WHEN lease_ms IS NULL THEN status_message ELSE ?1 END, "
                       "lease_ms = NULL, due_ms = 0 WHERE ended_ms IS NULL",
};

struct task_table {
    pthread_mutex_t lock; /* held by whoever uses anything below */
    sqlite3 *db;
    sqlite3_stmt *statement[STATEMENTS];
};

static void unlock(pthread_mutex_t **lock)
{
    (void)pthread_mutex_unlock(*lock);
}

static pthread_mutex_t *locked(struct task_table *table)
{
    (void)pthread_mutex_lock(&table->lock);
    return &table->lock;
}

/* The rest of the block has the table for itself. */
#define WITH_LOCK(table) pthread_mutex_t *guard IM_CLEANUP(unlock) = locked(table)

static void release(sqlite3_stmt **statement)
{
    (void)sqlite3_reset(*statement);
    (void)sqlite3_clear_bindings(*statement);
}

/* sqlite3_stmt *s STATEMENT = …; a cached one is ready for its next use when the block ends. */
#define STATEMENT IM_CLEANUP(release)

static int stale(const struct task *task, struct im_error *err)
{
    return im_fail(err, ESTALE, "task %s is no longer worked on by claim %" PRIu64, task->id,
                   task->epoch);
}

/* ---- statements ---- */

static void bind_text(sqlite3_stmt *statement, int place, const char *text)
{
    (void)sqlite3_bind_text(statement, place, text, -1, SQLITE_STATIC); /* NULL binds NULL */
}

static void bind_int(sqlite3_stmt *statement, int place, int64_t value)
{
    (void)sqlite3_bind_int64(statement, place, value);
}

static int64_t clamp(uint64_t value)
{
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

static void bind_claim(sqlite3_stmt *statement, const struct task *task)
{
    bind_text(statement, 1, task->id);
    bind_int(statement, 2, clamp(task->epoch));
}

/* One step: 1 a row, 0 the end, or the failure. */
static int step(struct task_table *table, sqlite3_stmt *statement, struct im_error *err)
{
    int rc = sqlite3_step(statement);

    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : task_sqlite_failed(table->db, err);
}

/* A statement without parameters and rows. */
static int run(struct task_table *table, enum statement which, struct im_error *err)
{
    sqlite3_stmt *statement STATEMENT = table->statement[which];

    return step(table, statement, err);
}

/* Commit what was begun when r is 0, else take it back; returns r or the commit's failure. */
static int finish(struct task_table *table, int r, struct im_error *err)
{
    if (r == 0)
        r = run(table, COMMIT, err);
    if (r < 0 && !sqlite3_get_autocommit(table->db))
        (void)run(table, ROLLBACK, NULL);
    return r;
}

/* An update of the one row a claim names. */
static int update_claimed(struct task_table *table, sqlite3_stmt *statement,
                          const struct task *task, struct im_error *err)
{
    int r = step(table, statement, err);

    if (r < 0)
        return r;
    return sqlite3_changes(table->db) > 0 ? 0 : stale(task, err);
}

/* ---- rows ---- */

/* A copy of column n, NULL when it is NULL; sets *lost when memory ran out. */
static char *copy_text(sqlite3_stmt *row, int n, bool *lost)
{
    const char *text = (const char *)sqlite3_column_text(row, n);
    char *copy = text ? strdup(text) : NULL;

    if (!copy && sqlite3_column_type(row, n) != SQLITE_NULL)
        *lost = true;
    return copy;
}

static int read_task(struct task_table *table, sqlite3_stmt *row, struct task *ret_task,
                     struct im_error *err)
{
    const char *state = (const char *)sqlite3_column_text(row, 2);
    bool lost = false;
    struct task task TASK_DONE = {
        .id = copy_text(row, 0, &lost),
        .account = copy_text(row, 1, &lost),
        .status_message = copy_text(row, 3, &lost),
        .format = copy_text(row, 4, &lost),
        .image_bytes = (uint64_t)sqlite3_column_int64(row, 5),
        .manifest_url = copy_text(row, 6, &lost),
        .volume_gib = (uint64_t)sqlite3_column_int64(row, 7),
        .zone = copy_text(row, 8, &lost),
        .description = copy_text(row, 9, &lost),
        .bytes_converted = (uint64_t)sqlite3_column_int64(row, 10),
        .volume_id = copy_text(row, 11, &lost),
        .created_ms = sqlite3_column_int64(row, 12),
        .expires_ms = sqlite3_column_int64(row, 13),
        .epoch = (uint64_t)sqlite3_column_int64(row, 14),
        .deaths = (unsigned)sqlite3_column_int64(row, 15),
        .waits = (unsigned)sqlite3_column_int64(row, 16),
        .tries = (unsigned)sqlite3_column_int64(row, 17),
        .digest = copy_text(row, 18, &lost),
    };

    if (lost || !state)
        return im_fail(err, ENOMEM, "out of memory");
    if (task_state_parse(state, &task.state) < 0)
        return im_fail(err, EBADMSG, "task table '%s': task %s has the unknown state '%s'",
                       sqlite3_db_filename(table->db, "main"), task.id, state);
    *ret_task = task;
    memset(&task, 0, sizeof(task)); /* handed over */
    return 0;
}

static int get(struct task_table *table, const char *account, const char *id, struct task *ret_task,
               struct im_error *err)
{
    sqlite3_stmt *statement STATEMENT = table->statement[GET];
    int r;

    bind_text(statement, 1, account);
    bind_text(statement, 2, id);
    r = step(table, statement, err);
    if (r == 0)
        return im_fail(err, ENOENT, "there is no conversion task '%s'", id);
    return r < 0 ? r : read_task(table, statement, ret_task, err);
}

/* ---- opening ---- */

static int prepare(struct task_table *table, struct im_error *err)
{
    for (unsigned i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(table->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &table->statement[i], NULL) != SQLITE_OK)
            return task_sqlite_failed(table->db, err);
    return 0;
}

int task_table_open(const char *path, struct task_table **ret_table, struct im_error *err)
{
    struct task_table *table = calloc(1, sizeof(*table));
    int r;

    if (!table)
        return im_fail(err, ENOMEM, "out of memory");
    (void)pthread_mutex_init(&table->lock, NULL);
    r = task_sqlite_open(path, &table->db, err);
    if (r == 0)
        r = prepare(table, err);
    if (r < 0) {
        task_table_close(table);
        return r;
    }
    *ret_table = table;
    return 0;
}

struct task_table *task_table_close(struct task_table *table)
{
    if (!table)
        return NULL;
    for (unsigned i = 0; i < STATEMENTS; i++)
        (void)sqlite3_finalize(table->statement[i]);
    (void)sqlite3_close(table->db); /* the last connection checkpoints and removes the WAL */
    (void)pthread_mutex_destroy(&table->lock);
    free(table);
    return NULL;
}

/* ---- for the API ---- */

static int check_limit(struct task_table *table, const char *account, unsigned max_active,
                       struct im_error *err)
{
    sqlite3_stmt *statement STATEMENT = table->statement[COUNT_ACTIVE];
    int64_t count;
    int r;

    bind_text(statement, 1, account);
    r = step(table, statement, err);
    if (r < 0)
        return r;
    count = sqlite3_column_int64(statement, 0);
    if (count < (int64_t)max_active)
        return 0;
    return im_fail(err, EBUSY,
                   "the account has %" PRId64
                   " conversion tasks that have not ended and may have %u;"
                   " wait for one to end or cancel one",
                   count, max_active);
}

/* Insert under the ids given; -EEXIST when one is taken. */
static int insert_as(struct task_table *table, const struct task_wish *wish, const char *id,
                     int64_t now_ms, struct im_error *err)
{
    sqlite3_stmt *statement STATEMENT = table->statement[INSERT];
    char volume_id[TASK_VOLUME_ID_SIZE];

    task_new_volume_id(volume_id);
    bind_text(statement, 1, id);
    bind_text(statement, 2, volume_id);
    bind_text(statement, 3, wish->account);
    bind_text(statement, 4, TASK_MESSAGE_PENDING);
    bind_text(statement, 5, wish->format);
    bind_int(statement, 6, (int64_t)wish->image_bytes);
    bind_text(statement, 7, wish->manifest_url);
    bind_int(statement, 8, (int64_t)wish->volume_gib);
    bind_text(statement, 9, wish->zone);
    bind_text(statement, 10, wish->description);
    bind_int(statement, 11, now_ms);
    bind_int(statement, 12, now_ms + TASK_LIFE_MS);
    if (sqlite3_step(statement) == SQLITE_DONE)
        return 0;
    if (sqlite3_extended_errcode(table->db) == SQLITE_CONSTRAINT_UNIQUE)
        return im_fail(err, EEXIST, "no unused task id was found in %d tries", ID_TRIES);
    return task_sqlite_failed(table->db, err);
}

static int insert(struct task_table *table, const struct task_wish *wish, unsigned max_active,
                  int64_t now_ms, struct task *ret_task, struct im_error *err)
{
    char id[TASK_ID_SIZE];
    int r = check_limit(table, wish->account, max_active, err);

    if (r < 0)
        return r;
    for (int i = 0; i < ID_TRIES; i++) {
        task_new_id(id);
        r = insert_as(table, wish, id, now_ms, err);
        if (r != -EEXIST)
            break;
    }
    return r < 0 ? r : get(table, wish->account, id, ret_task, err);
}

int task_insert(struct task_table *table, const struct task_wish *wish, unsigned max_active,
                int64_t now_ms, struct task *ret_task, struct im_error *err)
{
    WITH_LOCK(table);
    struct task task TASK_DONE = { 0 };
    int r;

    if (wish->image_bytes > INT64_MAX || wish->volume_gib > INT64_MAX)
        return im_fail(err, EINVAL,
                       "an image of %" PRIu64 " bytes for a volume of %" PRIu64
                       " GiB is more than can be counted",
                       wish->image_bytes, wish->volume_gib);
    r = run(table, BEGIN, err);
    if (r == 0)
        r = finish(table, insert(table, wish, max_active, now_ms, &task, err), err);
    if (r < 0)
        return r;
    *ret_task = task;
    memset(&task, 0, sizeof(task)); /* handed over */
    return 0;
}

int task_get(struct task_table *table, const char *account, const char *id, struct task *ret_task,
             struct im_error *err)
{
    WITH_LOCK(table);

    return get(table, account, id, ret_task, err);
}

int task_list(struct task_table *table, const char *account,
              int (*each)(void *arg, const struct task *task), void *arg, struct im_error *err)
{
    WITH_LOCK(table);
    sqlite3_stmt *statement STATEMENT = table->statement[LIST];
    int r;

    bind_text(statement, 1, account);
    while ((r = step(table, statement, err)) > 0) {
        struct task task TASK_DONE = { 0 };

        r = read_task(table, statement, &task, err);
        if (r == 0)
            r = each(arg, &task);
        if (r < 0)
            break;
    }
    return r;
}

static int request_cancel(struct task_table *table, const char *account, const char *id,
                          const char *reason, int64_t now_ms, struct im_error *err)
{
    sqlite3_stmt *statement STATEMENT = table->statement[REQUEST_CANCEL];
    int r;

    bind_text(statement, 1, account);
    bind_text(statement, 2, id);
    bind_text(statement, 3, reason && *reason ? reason : TASK_MESSAGE_CANCELLED);
    bind_int(statement, 4, now_ms);
    r = step(table, statement, err);
    return r < 0 ? r : sqlite3_changes(table->db);
}

int task_request_cancel(struct task_table *table, const char *account, const char *id,
                        const char *reason, int64_t now_ms, struct im_error *err)
{
    WITH_LOCK(table);
    struct task task TASK_DONE = { 0 };
    int r = request_cancel(table, account, id, reason, now_ms, err);

    if (r != 0)
        return r < 0 ? r : 0;
    r = get(table, account, id, &task, err);
    if (r == 0 && task.state == TASK_COMPLETED)
        return im_fail(err, EALREADY, "conversion task '%s' is already completed", id);
    return r;
}

/* ---- for workers ---- */

/* End what has no worker and no future any more.  Changes nothing, and writes nothing, most times.
 */
static int sweep(struct task_table *table, int64_t now_ms, struct im_error *err)
{
    sqlite3_stmt *expire STATEMENT = table->statement[EXPIRE];
    sqlite3_stmt *lapsed STATEMENT = table->statement[END_LAPSED];
    int r;

    bind_int(expire, 1, now_ms);
    bind_text(expire, 2, TASK_MESSAGE_EXPIRED);
    bind_int(lapsed, 1, now_ms);
    r = step(table, expire, err);
    return r < 0 ? r : step(table, lapsed, err);
}

/* 1 and the task, 0 when there is none. */
static int claim_oldest(struct task_table *table, int64_t now_ms, int64_t lease_ms,
                        struct task *ret_task, struct im_error *err)
{
    sqlite3_stmt *statement STATEMENT = table->statement[CLAIM];
    int r;

    bind_int(statement, 1, now_ms);
    bind_int(statement, 2, now_ms + lease_ms);
    r = step(table, statement, err);
    if (r <= 0)
        return r;
    r = read_task(table, statement, ret_task, err);
    if (r == 0)
        r = step(table, statement, err); /* to the end, else the update is not finished */
    return r < 0 ? r : 1;
}

static int next_due(struct task_table *table, int64_t *ret_next_ms, struct im_error *err)
{
    sqlite3_stmt *statement STATEMENT = table->statement[NEXT_DUE];
    int r = step(table, statement, err);

    if (r < 0)
        return r;
    *ret_next_ms = sqlite3_column_type(statement, 0) == SQLITE_NULL
                       ? INT64_MAX
                       : sqlite3_column_int64(statement, 0);
    return 0;
}

int task_claim(struct task_table *table, int64_t now_ms, int64_t lease_ms, struct task *ret_task,
               int64_t *ret_next_ms, struct im_error *err)
{
    WITH_LOCK(table);
    struct task task TASK_DONE = { 0 };
    int claimed = 0;
    int r = run(table, BEGIN, err);

    if (r < 0)
        return r;
    r = sweep(table, now_ms, err);
    if (r == 0)
        claimed = r = claim_oldest(table, now_ms, lease_ms, &task, err);
    if (r == 0)
        r = next_due(table, ret_next_ms, err);
    r = finish(table, r < 0 ? r : 0, err);
    if (r < 0)
        return r;
    if (!claimed)
        return im_fail(err, EAGAIN, "no task is due");
    *ret_task = task;
    memset(&task, 0, sizeof(task)); /* handed over */
    return 0;
}

int task_heartbeat(struct task_table *table, const struct task *task, int64_t now_ms,
                   int64_t lease_ms, uint64_t bytes_converted, const char *message,
                   bool *ret_cancel, struct im_error *err)
{
    WITH_LOCK(table);
    sqlite3_stmt *statement STATEMENT = table->statement[HEARTBEAT];
    bool cancel;
    int r;

    bind_claim(statement, task);
    bind_int(statement, 3, now_ms + lease_ms);
    bind_int(statement, 4, clamp(bytes_converted));
    bind_text(statement, 5, message);
    r = step(table, statement, err);
    if (r == 0)
        return stale(task, err);
    if (r < 0)
        return r;
    cancel = sqlite3_column_int(statement, 0) != 0;
    r = step(table, statement, err);
    if (r < 0)
        return r;
    *ret_cancel = cancel;
    return 0;
}

int task_postpone(struct task_table *table, const struct task *task, int64_t due_ms,
                  enum task_return why, const char *message, struct im_error *err)
{
    WITH_LOCK(table);
    sqlite3_stmt *statement STATEMENT = table->statement[POSTPONE];

    bind_claim(statement, task);
    bind_int(statement, 3, due_ms);
    bind_int(statement, 4, why == TASK_WAITS);
    bind_int(statement, 5, why == TASK_TRIED);
    bind_int(statement, 6, why == TASK_DIED);
    bind_text(statement, 7, message);
    return update_claimed(table, statement, task, err);
}

static int set_completed(struct task_table *table, const struct task *task, int64_t now_ms,
                         const char *digest, struct im_error *err)
{
    sqlite3_stmt *statement STATEMENT = table->statement[COMPLETE];

    bind_claim(statement, task);
    bind_int(statement, 3, now_ms);
    bind_text(statement, 4, digest);
    return update_claimed(table, statement, task, err);
}

int task_complete(struct task_table *table, const struct task *task, int64_t now_ms,
                  const char *digest, int (*publish)(void *arg, struct im_error *err), void *arg,
                  struct im_error *err)
{
    WITH_LOCK(table);
    int r = run(table, BEGIN, err);

    if (r < 0)
        return r;
    r = set_completed(table, task, now_ms, digest, err);
    if (r == 0)
        r = publish(arg, err);
    return finish(table, r, err);
}

int task_end_cancelled(struct task_table *table, const struct task *task, const char *message,
                       int64_t now_ms, struct im_error *err)
{
    WITH_LOCK(table);
    sqlite3_stmt *statement STATEMENT = table->statement[END_CANCELLED];

    bind_claim(statement, task);
    bind_int(statement, 3, now_ms);
    bind_text(statement, 4, message);
    return update_claimed(table, statement, task, err);
}

/* ---- after a start ---- */

struct task_rows {
    struct task *task;
    size_t count;
};

static void task_rows_done(struct task_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        task_done(&rows->task[i]);
    free(rows->task);
}

/* Every leased row.  There are as many as the dead process had workers. */
static int list_leased(struct task_table *table, struct task_rows *rows, struct im_error *err)
{
    WITH_LOCK(table);
    sqlite3_stmt *statement STATEMENT = table->statement[LIST_LEASED];
    int r;

    while ((r = step(table, statement, err)) > 0) {
        struct task *grown = reallocarray(rows->task, rows->count + 1, sizeof(*grown));

        if (!grown)
            return im_fail(err, ENOMEM, "out of memory");
        rows->task = grown;
        r = read_task(table, statement, &grown[rows->count], err);
        if (r < 0)
            return r;
        rows->count++;
    }
    return r;
}

static int release_leases(struct task_table *table, int64_t now_ms, struct im_error *err)
{
    sqlite3_stmt *cancelling STATEMENT = table->statement[RELEASE_CANCELLING];
    sqlite3_stmt *active STATEMENT = table->statement[RELEASE_ACTIVE];
    int r;

    bind_int(cancelling, 1, now_ms);
    bind_text(active, 1, TASK_MESSAGE_PENDING);
    r = step(table, cancelling, err);
    return r < 0 ? r : step(table, active, err);
}

static int release_all(struct task_table *table, int64_t now_ms, struct im_error *err)
{
    WITH_LOCK(table);
    int r = run(table, BEGIN, err);

    return r < 0 ? r : finish(table, release_leases(table, now_ms, err), err);
}

/* Deaths are written last, with the release: a start that is itself killed counts nothing twice. */
int task_recover(struct task_table *table, int64_t now_ms,
                 int (*each)(void *arg, const struct task *task), void *arg, struct im_error *err)
{
    struct task_rows rows IM_CLEANUP(task_rows_done) = { 0 };
    int r = list_leased(table, &rows, err);

    for (size_t i = 0; r == 0 && i < rows.count; i++) {
        rows.task[i].deaths++;
        r = each(arg, &rows.task[i]);
        if (r > 0)
            r = 0;
    }
    return r < 0 ? r : release_all(table, now_ms, err);
}

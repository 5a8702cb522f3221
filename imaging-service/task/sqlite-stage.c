/* sqlite-stage - the SQLite task table as workers use it: claim, beat, give back, complete, end,
 * recover.
 *
 * What holds between two transactions: an active stage is one of an active task, or is leased;
 * completed stages of a cancelling task are to be removed; a task ends with its last stage. */

#include <config.h>

#include "task/task.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "task/sqlite.h"
#include "task/state.h"

/* The claim a worker names in ?1, ?2 and ?3 still stands. */
#define CLAIMED                                                                                    \
    "task = (SELECT seq FROM task WHERE id = ?1) AND number = ?2 AND epoch = ?3 "                  \
    "AND lease_ms IS NOT NULL"

/* The state of the stage's task. */
#define TASK_STATE "(SELECT state FROM task WHERE seq = stage.task)"

/* Expired tasks ended by one claim: those of a service that was down for a week are ended by the
 * next claims, a second later. */
#define EXPIRE_MAX 1000

/* A row that answers numbers: 1 and up to two of them, 0 when there is none. */
static int find_row(struct task_table *table, const char *sql, int64_t bound, int64_t ret_values[2],
                    struct im_error *err)
{
    sqlite3_stmt *row STATEMENT = task_sqlite_use(table, sql);
    int r;

    if (row && sqlite3_bind_parameter_count(row) > 0)
        task_sqlite_int(row, 1, bound);
    r = task_sqlite_step(table, row, err);
    if (r > 0) {
        ret_values[0] = sqlite3_column_int64(row, 0);
        ret_values[1] = sqlite3_column_count(row) > 1 ? sqlite3_column_int64(row, 1) : 0;
    }
    return r;
}

/* ---- the end of a task ---- */

/* A cancelling task with nothing left of it is cancelled. */
static int end_if_nothing_left(struct task_table *table, int64_t seq, int64_t now_ms,
                               struct im_error *err)
{
    static const char sql[] =
        "UPDATE task SET state = 'cancelled', ended_ms = ?2 WHERE seq = ?1 "
        "AND state = 'cancelling' AND NOT EXISTS (SELECT 1 FROM stage WHERE task = ?1 "
        "AND state IN ('active', 'removing'))";
    int r = task_sqlite_run(table, sql, seq, now_ms, 0, err);

    return r < 0 ? r : 0;
}

static int end_all_with_nothing_left(struct task_table *table, int64_t now_ms, struct im_error *err)
{
    static const char sql[] =
        "UPDATE task SET state = 'cancelled', ended_ms = ?1 WHERE state = 'cancelling' "
        "AND NOT EXISTS (SELECT 1 FROM stage WHERE task = seq "
        "AND stage.state IN ('active', 'removing'))";
    int r = task_sqlite_run(table, sql, now_ms, 0, 0, err);

    return r < 0 ? r : 0;
}

static int set_cancelling(struct task_table *table, int64_t seq, const char *message,
                          struct im_error *err)
{
    static const char sql[] = "UPDATE task SET state = 'cancelling', status_message = ?2 "
                              "WHERE seq = ?1 AND state = 'active'";
    sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, sql);

    task_sqlite_int(statement, 1, seq);
    task_sqlite_text(statement, 2, message);
    return task_sqlite_step(table, statement, err);
}

int task_sqlite_stop(struct task_table *table, int64_t seq, const char *message, int64_t now_ms,
                     struct im_error *err)
{
    static const char stop_stages[] =
        "UPDATE stage SET lease_ms = NULL, status_message = NULL, "
        "state = CASE state WHEN 'completed' THEN 'removing' ELSE 'cancelled' END "
        "WHERE task = ?1 AND state IN ('waiting', 'active', 'completed') AND lease_ms IS NULL";
    int r = set_cancelling(table, seq, message, err);

    if (r == 0)
        r = task_sqlite_run(table, stop_stages, seq, 0, 0, err);
    return r < 0 ? r : end_if_nothing_left(table, seq, now_ms, err);
}

/* ---- claims ---- */

/* Leases that ran out: deaths of active tasks' stages, the end of others'. */
static int sweep_leases(struct task_table *table, int64_t now_ms, struct im_error *err)
{
    static const char died[] = "UPDATE stage SET lease_ms = NULL, deaths = deaths + 1 "
                               "WHERE lease_ms <= ?1 AND " TASK_STATE " = 'active'";
    static const char ended[] = "UPDATE stage SET lease_ms = NULL, state = 'cancelled', "
                                "status_message = NULL WHERE lease_ms <= ?1";
    int r = task_sqlite_run(table, died, now_ms, 0, 0, err);

    if (r >= 0)
        r = task_sqlite_run(table, ended, now_ms, 0, 0, err);
    return r <= 0 ? r : end_all_with_nothing_left(table, now_ms, err);
}

/* Tasks that wait past their end; not those that are worked on, or uploaded whole. */
static int sweep_expired(struct task_table *table, int64_t now_ms, struct im_error *err)
{
    static const char sql[] =
        "SELECT seq FROM task WHERE state = 'active' AND expires_ms <= ?1 "
        "AND NOT EXISTS (SELECT 1 FROM stage WHERE task = seq AND (lease_ms IS NOT NULL "
        "OR (kind = 'launch' AND stage.state = 'active'))) LIMIT 1";
    int64_t seq[2];
    int r = 0;

    for (int i = 0; i < EXPIRE_MAX && r >= 0; i++) {
        r = find_row(table, sql, now_ms, seq, err);
        if (r <= 0)
            return r;
        r = task_sqlite_stop(table, seq[0], TASK_MESSAGE_EXPIRED, now_ms, err);
    }
    return r;
}

/* Tasks are listed for a while after their end. */
static int sweep_ended(struct task_table *table, int64_t now_ms, struct im_error *err)
{
#define OLD "(SELECT seq FROM task WHERE ended_ms <= ?1 ORDER BY ended_ms, seq LIMIT 1000)"
    static const char tags[] = "DELETE FROM tag WHERE task IN " OLD;
    static const char stages[] = "DELETE FROM stage WHERE task IN " OLD;
    static const char tasks[] = "DELETE FROM task WHERE seq IN " OLD;
    int64_t end_ms = now_ms - TASK_KEEP_MS;
    int r = task_sqlite_run(table, tags, end_ms, 0, 0, err);

    if (r >= 0)
        r = task_sqlite_run(table, stages, end_ms, 0, 0, err);
    return r < 0 ? r : task_sqlite_run(table, tasks, end_ms, 0, 0, err);
}

/* 1 and the claim, 0 when there is none. */
static int claim_next(struct task_table *table, int64_t now_ms, int64_t lease_ms,
                      struct claim *ret_claim, struct im_error *err)
{
    static const char find[] =
        "SELECT id, task, number FROM stage WHERE state = 'active' AND lease_ms IS NULL "
        "AND due_ms <= ?1 ORDER BY due_ms, task, number LIMIT 1";
    static const char lease[] = "UPDATE stage SET epoch = epoch + 1, lease_ms = ?2 WHERE id = ?1";
    sqlite3_stmt *row STATEMENT = task_sqlite_use(table, find);
    int r;

    task_sqlite_int(row, 1, now_ms);
    r = task_sqlite_step(table, row, err);
    if (r > 0)
        r = task_sqlite_run(table, lease, sqlite3_column_int64(row, 0), now_ms + lease_ms, 0, err);
    if (r <= 0)
        return r;
    r = task_sqlite_get_claim(table, sqlite3_column_int64(row, 1), sqlite3_column_int64(row, 2),
                              ret_claim, err);
    return r < 0 ? r : 1;
}

static int next_due(struct task_table *table, int64_t *ret_next_ms, struct im_error *err)
{
    static const char due[] = "SELECT coalesce(min(due_ms), 9223372036854775807) FROM stage "
                              "WHERE state = 'active' AND lease_ms IS NULL";
    static const char lapses[] = "SELECT coalesce(min(lease_ms), 9223372036854775807) FROM stage "
                                 "WHERE lease_ms IS NOT NULL";
    int64_t a[2], b[2];
    int r = find_row(table, due, 0, a, err);

    if (r > 0)
        r = find_row(table, lapses, 0, b, err);
    if (r <= 0)
        return r;
    *ret_next_ms = a[0] < b[0] ? a[0] : b[0];
    return 0;
}

int task_claim(struct task_table *table, int64_t now_ms, int64_t lease_ms, struct claim *ret_claim,
               int64_t *ret_next_ms, struct im_error *err)
{
    WITH_LOCK(table);
    struct claim claim CLAIM_DONE = { 0 };
    int r = task_sqlite_begin(table, err);

    if (r < 0)
        return r;
    r = sweep_leases(table, now_ms, err);
    if (r >= 0)
        r = sweep_expired(table, now_ms, err);
    if (r >= 0)
        r = sweep_ended(table, now_ms, err);
    if (r >= 0)
        r = claim_next(table, now_ms, lease_ms, &claim, err);
    if (r == 0)
        r = next_due(table, ret_next_ms, err);
    r = task_sqlite_finish(table, r, err);
    if (r < 0)
        return r;
    if (!claim.stage)
        return im_fail(err, EAGAIN, "no stage is due");
    *ret_claim = claim;
    memset(&claim, 0, sizeof(claim)); /* handed over */
    return 0;
}

static void bind_claim(sqlite3_stmt *statement, const struct claim *claim)
{
    task_sqlite_text(statement, 1, claim->task.id);
    task_sqlite_int(statement, 2, claim->stage->number);
    task_sqlite_uint(statement, 3, claim->stage->epoch);
}

static int stale(const struct claim *claim, struct im_error *err)
{
    return im_fail(err, ESTALE, "stage %u of task %s is no longer worked on by claim %" PRIu64,
                   claim->stage->number, claim->task.id, claim->stage->epoch);
}

/* A write that names the claim; its first column, -ESTALE when no row was changed. */
static int write_claimed(struct task_table *table, sqlite3_stmt *statement,
                         const struct claim *claim, int64_t *ret_value, struct im_error *err)
{
    int r;

    bind_claim(statement, claim);
    r = task_sqlite_step(table, statement, err);
    if (r == 0)
        return stale(claim, err);
    if (r < 0)
        return r;
    *ret_value = sqlite3_column_int64(statement, 0);
    r = task_sqlite_step(table, statement, err); /* to the end, else the update is not finished */
    return r;
}

int task_heartbeat(struct task_table *table, const struct claim *claim, int64_t now_ms,
                   int64_t lease_ms, uint64_t bytes_converted, const char *message,
                   bool *ret_cancel, struct im_error *err)
{
    static const char sql[] = "UPDATE stage SET lease_ms = ?4, "
                              "bytes_converted = max(bytes_converted, min(?5, image_bytes)), "
                              "status_message = coalesce(?6, status_message) "
                              "WHERE " CLAIMED " RETURNING " TASK_STATE " = 'cancelling'";
    WITH_LOCK(table);
    sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, sql);
    int64_t cancel;
    int r;

    task_sqlite_int(statement, 4, now_ms + lease_ms);
    task_sqlite_uint(statement, 5, bytes_converted);
    task_sqlite_text(statement, 6, message);
    r = write_claimed(table, statement, claim, &cancel, err);
    if (r == 0)
        *ret_cancel = cancel != 0;
    return r;
}

int task_postpone(struct task_table *table, const struct claim *claim, int64_t due_ms,
                  enum task_return why, const char *message, struct im_error *err)
{
    static const char sql[] =
        "UPDATE stage SET lease_ms = NULL, due_ms = ?4, waits = waits + ?5, tries = tries + ?6, "
        "deaths = deaths + ?7, status_message = coalesce(?8, status_message) "
        "WHERE " CLAIMED " AND " TASK_STATE " = 'active' RETURNING task";
    WITH_LOCK(table);
    sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, sql);
    int64_t seq;

    task_sqlite_int(statement, 4, due_ms);
    task_sqlite_int(statement, 5, why == TASK_WAITS);
    task_sqlite_int(statement, 6, why == TASK_TRIED);
    task_sqlite_int(statement, 7, why == TASK_DIED);
    task_sqlite_text(statement, 8, message);
    return write_claimed(table, statement, claim, &seq, err);
}

/* ---- completion ---- */

static int complete_stage(struct task_table *table, const struct claim *claim,
                          const struct stage_result *result, int64_t *ret_seq, struct im_error *err)
{
    static const char sql[] =
        "UPDATE stage SET state = 'completed', status_message = NULL, lease_ms = NULL, "
        "bytes_converted = image_bytes, digest = ?4 "
        "WHERE " CLAIMED " AND " TASK_STATE " = 'active' RETURNING task";
    sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, sql);

    task_sqlite_text(statement, 4, result->digest);
    return write_claimed(table, statement, claim, ret_seq, err);
}

static int note_machine(struct task_table *table, int64_t seq, const struct stage_result *result,
                        struct im_error *err)
{
    static const char sql[] = "UPDATE task SET boot_mode = coalesce(?2, boot_mode), "
                              "instance_id = coalesce(?3, instance_id) WHERE seq = ?1";
    sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, sql);

    if (!result->boot_mode && !result->instance_id)
        return 0;
    task_sqlite_int(statement, 1, seq);
    task_sqlite_text(statement, 2, result->boot_mode);
    task_sqlite_text(statement, 3, result->instance_id);
    return task_sqlite_step(table, statement, err);
}

/* What follows from a completed stage: the launch may begin, the task is completed. */
static int go_on(struct task_table *table, int64_t seq, int64_t now_ms, struct im_error *err)
{
    static const char launch[] =
        "UPDATE stage SET state = 'active', due_ms = ?2, status_message = '" TASK_MESSAGE_LAUNCH
        "' "
        "WHERE task = ?1 AND state = 'waiting' "
        "AND NOT EXISTS (SELECT 1 FROM stage WHERE task = ?1 AND kind = 'convert' "
        "AND state <> 'completed')";
    static const char complete[] =
        "UPDATE task SET state = 'completed', ended_ms = ?2 WHERE seq = ?1 "
        "AND NOT EXISTS (SELECT 1 FROM stage WHERE task = ?1 AND state <> 'completed')";
    int r = task_sqlite_run(table, launch, seq, now_ms, 0, err);

    if (r >= 0)
        r = task_sqlite_run(table, complete, seq, now_ms, 0, err);
    return r < 0 ? r : 0;
}

int task_complete(struct task_table *table, const struct claim *claim, int64_t now_ms,
                  const struct stage_result *result,
                  int (*publish)(void *arg, struct im_error *err), void *arg, struct im_error *err)
{
    WITH_LOCK(table);
    int64_t seq;
    int r = task_sqlite_begin(table, err);

    if (r < 0)
        return r;
    r = complete_stage(table, claim, result, &seq, err);
    if (r == 0)
        r = note_machine(table, seq, result, err);
    if (r == 0)
        r = go_on(table, seq, now_ms, err);
    if (r == 0 && publish)
        r = publish(arg, err);
    return task_sqlite_finish(table, r, err);
}

static int end_stage(struct task_table *table, const struct claim *claim, const char *message,
                     int64_t now_ms, struct im_error *err)
{
    static const char sql[] = "UPDATE stage SET state = 'cancelled', lease_ms = NULL, "
                              "status_message = CASE " TASK_STATE " WHEN 'active' THEN ?4 END "
                              "WHERE " CLAIMED " RETURNING task";
    sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, sql);
    int64_t seq;
    int r;

    task_sqlite_text(statement, 4, message);
    r = write_claimed(table, statement, claim, &seq, err);
    return r < 0 ? r : task_sqlite_stop(table, seq, message, now_ms, err);
}

int task_end_cancelled(struct task_table *table, const struct claim *claim, const char *message,
                       int64_t now_ms, struct im_error *err)
{
    WITH_LOCK(table);
    int r = task_sqlite_begin(table, err);

    return r < 0 ? r
                 : task_sqlite_finish(table, end_stage(table, claim, message, now_ms, err), err);
}

/* ---- removals ---- */

int task_next_removal(struct task_table *table, struct claim *ret_claim, struct im_error *err)
{
    static const char sql[] = "SELECT task, number FROM stage WHERE state = 'removing' LIMIT 1";
    WITH_LOCK(table);
    int64_t found[2];
    int r = find_row(table, sql, 0, found, err);

    if (r == 0)
        return im_fail(err, EAGAIN, "nothing is to be removed");
    return r < 0 ? r : task_sqlite_get_claim(table, found[0], found[1], ret_claim, err);
}

static int set_removed(struct task_table *table, const struct claim *claim, int64_t now_ms,
                       struct im_error *err)
{
    static const char sql[] = "UPDATE stage SET state = 'cancelled' "
                              "WHERE task = ?1 AND number = ?2 AND state = 'removing'";
    int64_t seq = 0;
    int r = task_sqlite_find(table, claim->task.account, claim->task.id, &seq, err);

    if (r == 0)
        r = task_sqlite_run(table, sql, seq, claim->stage->number, 0, err);
    return r < 0 ? r : end_if_nothing_left(table, seq, now_ms, err);
}

int task_removed(struct task_table *table, const struct claim *claim, int64_t now_ms,
                 struct im_error *err)
{
    WITH_LOCK(table);
    int r = task_sqlite_begin(table, err);

    return r < 0 ? r : task_sqlite_finish(table, set_removed(table, claim, now_ms, err), err);
}

/* ---- after a start ---- */

struct leases {
    struct claim *claim;
    size_t count;
};

static void leases_done(struct leases *leases)
{
    for (size_t i = 0; i < leases->count; i++)
        claim_done(&leases->claim[i]);
    free(leases->claim);
}

/* Every leased stage.  There are as many as the dead process had workers. */
static int list_leases(struct task_table *table, struct leases *leases, struct im_error *err)
{
    static const char sql[] =
        "SELECT task, number FROM stage WHERE lease_ms IS NOT NULL ORDER BY task, number";
    WITH_LOCK(table);
    sqlite3_stmt *rows STATEMENT = task_sqlite_use(table, sql);
    int r;

    while ((r = task_sqlite_step(table, rows, err)) > 0) {
        struct claim *grown = reallocarray(leases->claim, leases->count + 1, sizeof(*grown));

        if (!grown)
            return im_fail(err, ENOMEM, "out of memory");
        leases->claim = grown;
        r = task_sqlite_get_claim(table, sqlite3_column_int64(rows, 0),
                                  sqlite3_column_int64(rows, 1), &grown[leases->count], err);
        if (r < 0)
            return r;
        leases->count++;
    }
    return r;
}

static int release_leases(struct task_table *table, int64_t now_ms, struct im_error *err)
{
    static const char end[] = "UPDATE stage SET state = 'cancelled', lease_ms = NULL, "
                              "status_message = NULL WHERE lease_ms IS NOT NULL "
                              "AND " TASK_STATE " = 'cancelling'";
    static const char release[] =
        "UPDATE stage SET deaths = deaths + 1, lease_ms = NULL, status_message = "
        "CASE WHEN kind = 'launch' THEN '" TASK_MESSAGE_LAUNCH "' "
        "WHEN (SELECT kind FROM task WHERE seq = stage.task) = 'volume' "
        "THEN '" TASK_MESSAGE_PENDING "' "
        "ELSE '" TASK_MESSAGE_DOWNLOADED " ' || bytes_converted END WHERE lease_ms IS NOT NULL";
    /* all of them: the clock may have been wrong when they were postponed */
    static const char hurry[] =
        "UPDATE stage SET due_ms = 0 WHERE state = 'active' AND lease_ms IS NULL";
    int r = task_sqlite_run(table, end, 0, 0, 0, err);

    if (r >= 0)
        r = end_all_with_nothing_left(table, now_ms, err);
    if (r >= 0)
        r = task_sqlite_run(table, release, 0, 0, 0, err);
    if (r >= 0)
        r = task_sqlite_run(table, hurry, 0, 0, 0, err);
    return r < 0 ? r : 0;
}

static int release_all(struct task_table *table, int64_t now_ms, struct im_error *err)
{
    WITH_LOCK(table);
    int r = task_sqlite_begin(table, err);

    return r < 0 ? r : task_sqlite_finish(table, release_leases(table, now_ms, err), err);
}

/* Deaths are written last, with the release: a start that is itself killed counts nothing twice. */
int task_recover(struct task_table *table, int64_t now_ms,
                 int (*each)(void *arg, const struct claim *claim), void *arg, struct im_error *err)
{
    struct leases leases IM_CLEANUP(leases_done) = { 0 };
    int r = list_leases(table, &leases, err);

    for (size_t i = 0; r == 0 && i < leases.count; i++) {
        leases.claim[i].stage->deaths++;
        r = each(arg, &leases.claim[i]);
        if (r > 0)
            r = 0;
    }
    return r < 0 ? r : release_all(table, now_ms, err);
}

/* sweep - what ends by itself because its time is over: leases of the dead, tasks that waited for
 * their upload too long, tasks that ended long ago. */

#include <config.h>

#include <errno.h>

#include "metrics.h"
#include "task/machine.h"
#include "task/state.h"
#include "task/table.h"

/* What one claim ends by itself at most; the rest is the next claim's. */
#define SWEEP_MAX 1000

static int lapse(struct task *task, int64_t now_ms, unsigned *lapsed)
{
    int r = 0;

    for (size_t i = 0; i < task->stage_count && r == 0; i++)
        if (task->stage[i].lease_ms != 0 && task->stage[i].lease_ms <= now_ms) {
            r = machine_lapse(task, &task->stage[i], now_ms);
            (*lapsed)++;
        }
    return r;
}

/* One that waits for its upload; not one that is worked on, or uploaded whole. */
static int expire(struct task *task, int64_t now_ms)
{
    if (task->expires_ms > now_ms || !machine_may_stop(task))
        return 0;
    for (size_t i = 0; i < task->stage_count; i++)
        if (task->stage[i].lease_ms != 0)
            return 0;
    return machine_stop(task, TASK_MESSAGE_EXPIRED, now_ms);
}

static int forget(struct sql_session *session, int64_t seq, struct im_error *err)
{
    int r = sql_run(session, "DELETE FROM tag WHERE task = ?1", seq, 0, 0, err);

    if (r >= 0)
        r = sql_run(session, "DELETE FROM stage WHERE task = ?1", seq, 0, 0, err);
    if (r >= 0)
        r = sql_run(session, "DELETE FROM task WHERE seq = ?1", seq, 0, 0, err);
    return r < 0 ? r : 0;
}

/* A task that something may be over of. */
struct suspect {
    int64_t seq;
    unsigned lapsed; /* leases that had run out */
    bool cancelling; /* files of it are to be removed */
};

static int sweep_one(struct sql_session *session, void *arg, struct im_error *err)
{
    struct suspect *suspect = arg;
    int64_t seq = suspect->seq;
    struct task task TASK_DONE = { 0 };
    int64_t now_ms = 0;
    int r = sql_now(session, &now_ms, err);

    if (r == 0)
        r = task_rows_lock(session, seq, &task, err);
    if (r < 0)
        return r == -ENOENT ? 0 : r; /* somebody else has forgotten it */
    if (task.ended_ms != 0)
        return task.ended_ms <= now_ms - TASK_KEEP_MS ? forget(session, seq, err) : 0;
    suspect->lapsed = 0;
    r = lapse(&task, now_ms, &suspect->lapsed);
    if (r == 0)
        r = expire(&task, now_ms);
    suspect->cancelling = task.state == TASK_CANCELLING;
    return r < 0 ? im_fail(err, ENOMEM, "out of memory") : task_rows_store(session, &task, err);
}

/* Rows of tasks to look at. */
struct overdue {
    int64_t seq[SWEEP_MAX];
    size_t count;
};

static int find_overdue(struct sql_session *session, void *arg, struct im_error *err)
{
    static const char sql[] =
        "SELECT task FROM stage WHERE lease_ms <= ?1 "
        "UNION SELECT seq FROM task WHERE state = 'active' AND expires_ms <= ?1 "
        "AND NOT EXISTS (SELECT 1 FROM stage WHERE task = seq AND (lease_ms IS NOT NULL "
        "OR (kind = 'launch' AND stage.state = 'active'))) "
        "UNION SELECT seq FROM task WHERE ended_ms <= ?2 LIMIT ?3";
    struct sql_statement *rows SQL_STATEMENT = sql_use(session, sql);
    struct overdue *overdue = arg;
    int64_t now_ms = 0;
    int r = sql_now(session, &now_ms, err);

    overdue->count = 0;
    sql_int(rows, 1, now_ms);
    sql_int(rows, 2, now_ms - TASK_KEEP_MS);
    sql_int(rows, 3, SWEEP_MAX);
    while (r >= 0 && overdue->count < SWEEP_MAX && (r = sql_step(session, rows, err)) > 0)
        overdue->seq[overdue->count++] = sql_column_int(rows, 0);
    return r < 0 ? r : 0;
}

int task_sweep(struct task_table *table, struct im_error *err)
{
    struct overdue overdue;
    int r = task_read(table, find_overdue, &overdue, err);

    for (size_t i = 0; r == 0 && i < overdue.count; i++) {
        struct suspect suspect = { .seq = overdue.seq[i] };

        r = task_write(table, sweep_one, &suspect, err);
        if (r == 0)
            metric_add(METRIC_TAKEOVERS, NULL, NULL, suspect.lapsed);
        if (r == 0 && suspect.cancelling)
            atomic_store(&table->removals, true);
    }
    return r;
}

int task_sweep_due(struct sql_session *session, int64_t now_ms, bool *ret_due,
                   int64_t *ret_lease_ms, struct im_error *err)
{
    /* not min(): a server that believes an index to be short reads all of it for that */
    static const char sql[] =
        "SELECT (SELECT lease_ms FROM stage WHERE lease_ms IS NOT NULL ORDER BY lease_ms LIMIT 1), "
        "(SELECT expires_ms FROM task WHERE state = 'active' ORDER BY expires_ms LIMIT 1), "
        "(SELECT ended_ms FROM task WHERE ended_ms IS NOT NULL ORDER BY ended_ms LIMIT 1)";
    struct sql_statement *row SQL_STATEMENT = sql_use(session, sql);
    int64_t lease, expiry, end;
    int r = sql_step(session, row, err);

    if (r <= 0)
        return r;
    lease = sql_column_int(row, 0);
    expiry = sql_column_int(row, 1);
    end = sql_column_int(row, 2);
    *ret_due = (lease && lease <= now_ms) || (expiry && expiry <= now_ms) ||
               (end && end <= now_ms - TASK_KEEP_MS);
    *ret_lease_ms = lease ? lease : INT64_MAX;
    return 0;
}

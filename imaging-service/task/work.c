/* work - what a worker writes of its claim, and what a start makes of claims of the dead. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "metrics.h"
#include "task/machine.h"
#include "task/state.h"
#include "task/table.h"

/* One write: what, by which claim. */
struct act {
    const struct task_table *table;
    const struct claim *claim;
    const struct stage_result *result;
    const char *message;
    int64_t ms; /* of the lease or the pause */
    uint64_t bytes;
    enum task_return why;
    bool cancel;
    int (*move)(struct act *act, struct task *task, struct stage *stage, int64_t now_ms);
};

static int stale(const struct claim *claim, struct im_error *err)
{
    return im_fail(err, ESTALE, "stage %u of task %s is no longer worked on by claim %" PRIu64,
                   claim->stage->number, claim->task.id, claim->stage->epoch);
}

static bool is_claimed(const struct stage *stage, const struct claim *claim)
{
    return stage && stage->lease_ms != 0 && stage->epoch == claim->stage->epoch;
}

/* Take a text that was found out. */
static int note(char **place, const char *text)
{
    char *copy = text ? strdup(text) : NULL;

    if (!text)
        return 0;
    if (!copy)
        return -ENOMEM;
    free(*place);
    *place = copy;
    return 0;
}

/* ---- what a claim's end does to the ledger ---- */

static int forget_files(struct sql_session *session, const struct task *task,
                        const struct stage *stage, struct im_error *err)
{
    static const char sql[] = "DELETE FROM thing WHERE task = ?1 AND number = ?2 AND epoch = ?3 "
                              "AND kind = 'files'";
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);

    sql_text(statement, 1, task->id);
    sql_int(statement, 2, stage->number);
    sql_uint(statement, 3, stage->epoch);
    return sql_step(session, statement, err);
}

static int note_upload(struct sql_session *session, const struct act *act, const struct task *task,
                       const struct stage *stage, int64_t now_ms, struct im_error *err)
{
    static const char sql[] = "INSERT INTO thing (kind, task, number, epoch, worker, url, due_ms) "
                              "VALUES ('upload', ?1, ?2, ?3, ?4, ?5, ?6)";
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);

    sql_text(statement, 1, task->id);
    sql_int(statement, 2, stage->number);
    sql_uint(statement, 3, stage->epoch);
    sql_text(statement, 4, act->table->worker);
    sql_text(statement, 5, stage->manifest_url);
    sql_int(statement, 6, now_ms);
    return sql_step(session, statement, err);
}

/* Its files are removed before its row tells of the end, but for those the next claim goes on with
 * and for the volume. */
static int keep_ledger(struct sql_session *session, const struct act *act, const struct task *task,
                       const struct stage *stage, int64_t now_ms, struct im_error *err)
{
    bool over = stage->state == STAGE_COMPLETED || stage->state == STAGE_CANCELLED;
    int r = over ? forget_files(session, task, stage, err) : 0;

    /* a task that fails after all leaves its customer what was uploaded */
    for (size_t i = 0; task->state == TASK_COMPLETED && act->table->delete_uploads &&
                       i < task->stage_count && r >= 0;
         i++)
        if (task->stage[i].kind == STAGE_CONVERT)
            r = note_upload(session, act, task, &task->stage[i], now_ms, err);
    return r;
}

/* ---- moves ---- */

static int move(struct sql_session *session, void *arg, struct im_error *err)
{
    struct act *act = arg;
    struct task task TASK_DONE = { 0 };
    struct stage *stage;
    int64_t now_ms = 0;
    int r = sql_now(session, &now_ms, err);

    if (r == 0)
        r = task_rows_lock(session, act->claim->task.seq, &task, err);
    if (r == -ENOENT)
        return stale(act->claim, err);
    if (r < 0)
        return r;
    stage = task_rows_stage(&task, act->claim->stage->number);
    if (!is_claimed(stage, act->claim))
        return stale(act->claim, err);
    r = act->move(act, &task, stage, now_ms);
    if (r == -ESTALE)
        return stale(act->claim, err);
    if (r < 0)
        return im_fail(err, ENOMEM, "out of memory");
    r = task_rows_store(session, &task, err);
    if (r >= 0)
        r = keep_ledger(session, act, &task, stage, now_ms, err);
    /* somebody may wait for the place, for the launch, or to remove */
    return r < 0 ? r : sql_notify(session, err);
}

static int act(struct task_table *table, const struct claim *claim, struct act *what,
               struct im_error *err)
{
    int r;

    what->table = table;
    what->claim = claim;
    r = task_write(table, move, what, err);
    if (r == -ESTALE)
        metric_add(METRIC_STALE_WRITES, NULL, NULL, 1);
    return r;
}

static int move_postpone(struct act *act, struct task *task, struct stage *stage, int64_t now_ms)
{
    return machine_postpone(task, stage, now_ms + act->ms, act->why, act->message);
}

int task_postpone(struct task_table *table, const struct claim *claim, int64_t pause_ms,
                  enum task_return why, const char *message, struct im_error *err)
{
    struct act what = { .ms = pause_ms, .why = why, .message = message, .move = move_postpone };

    return act(table, claim, &what, err);
}

static int move_publish(struct act *act, struct task *task, struct stage *stage, int64_t now_ms)
{
    int r = machine_publish(task, stage);

    (void)now_ms;
    if (r == 0)
        r = note(&stage->digest, act->result->digest);
    if (r == 0)
        r = note(&task->boot_mode, act->result->boot_mode);
    if (r == 0 && act->result->boot_mode)
        task->changed = true;
    return r;
}

int task_publish(struct task_table *table, const struct claim *claim,
                 const struct stage_result *result, struct im_error *err)
{
    struct act what = { .result = result, .move = move_publish };

    return act(table, claim, &what, err);
}

static int move_complete(struct act *act, struct task *task, struct stage *stage, int64_t now_ms)
{
    int r = act->result ? note(&task->instance_id, act->result->instance_id) : 0;

    return r < 0 ? r : machine_complete(task, stage, now_ms);
}

int task_complete(struct task_table *table, const struct claim *claim,
                  const struct stage_result *result, struct im_error *err)
{
    struct act what = { .result = result, .move = move_complete };

    return act(table, claim, &what, err);
}

static int move_fail(struct act *act, struct task *task, struct stage *stage, int64_t now_ms)
{
    return machine_fail(task, stage, act->message, now_ms);
}

int task_end_cancelled(struct task_table *table, const struct claim *claim, const char *message,
                       struct im_error *err)
{
    struct act what = { .message = message, .move = move_fail };

    return act(table, claim, &what, err);
}

/* ---- heartbeat ---- */

/* One row, and nobody waits for it. */
static int beat(struct sql_session *session, void *arg, struct im_error *err)
{
    static const char sql[] =
        "UPDATE stage SET lease_ms = ?4, bytes_converted = CASE WHEN ?5 > image_bytes "
        "THEN image_bytes WHEN ?5 > bytes_converted THEN ?5 ELSE bytes_converted END, "
        "status_message = coalesce(?6, status_message) "
        "WHERE task = ?1 AND number = ?2 AND epoch = ?3 AND lease_ms IS NOT NULL "
        "RETURNING CASE (SELECT state FROM task WHERE seq = stage.task) "
        "WHEN 'active' THEN 0 ELSE 1 END";
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);
    struct act *act = arg;
    int64_t now_ms = 0;
    int r = sql_now(session, &now_ms, err);

    if (r < 0)
        return r;
    sql_int(statement, 1, act->claim->task.seq);
    sql_int(statement, 2, act->claim->stage->number);
    sql_uint(statement, 3, act->claim->stage->epoch);
    sql_int(statement, 4, now_ms + act->ms);
    sql_uint(statement, 5, act->bytes);
    sql_text(statement, 6, act->message);
    r = sql_step(session, statement, err);
    if (r <= 0)
        return r < 0 ? r : stale(act->claim, err);
    act->cancel = sql_column_int(statement, 0) != 0;
    return sql_step(session, statement, err); /* to the end, else the update is not finished */
}

int task_heartbeat(struct task_table *table, const struct claim *claim, int64_t lease_ms,
                   uint64_t bytes_converted, const char *message, bool *ret_cancel,
                   struct im_error *err)
{
    struct act what = {
        .claim = claim, .ms = lease_ms, .bytes = bytes_converted, .message = message
    };
    int r = task_write(table, beat, &what, err);

    if (r == 0)
        *ret_cancel = what.cancel;
    if (r == -ESTALE)
        metric_add(METRIC_STALE_WRITES, NULL, NULL, 1);
    return r;
}

/* ---- after a start ---- */

/* Leases this service holds: as many as the dead process had workers. */
struct leases {
    const struct task_table *table;
    struct claim *claim;
    size_t count;
};

static void leases_done(struct leases *leases)
{
    for (size_t i = 0; i < leases->count; i++)
        claim_done(&leases->claim[i]);
    free(leases->claim);
    leases->claim = NULL;
    leases->count = 0;
}

static int add_lease(struct sql_session *session, struct leases *leases, int64_t seq,
                     unsigned number, struct im_error *err)
{
    struct claim *grown = reallocarray(leases->claim, leases->count + 1, sizeof(*grown));
    struct claim claim = { 0 };
    int r = grown ? task_rows_get(session, seq, &claim.task, err)
                  : im_fail(err, ENOMEM, "out of memory");

    if (grown)
        leases->claim = grown;
    if (r < 0)
        return r;
    claim.stage = task_rows_stage(&claim.task, number);
    grown[leases->count++] = claim;
    return 0;
}

static int list_leases(struct sql_session *session, void *arg, struct im_error *err)
{
    /* rows of before services had names have none, and then there is one service alone */
    static const char sql[] = "SELECT task, number FROM stage WHERE lease_ms IS NOT NULL "
                              "AND (?1 = 1 OR worker = ?2) ORDER BY task, number";
    struct sql_statement *rows SQL_STATEMENT = sql_use(session, sql);
    struct leases *leases = arg;
    int r;

    leases_done(leases);
    sql_int(rows, 1, leases->table->alone);
    sql_text(rows, 2, leases->table->worker);
    while ((r = sql_step(session, rows, err)) > 0) {
        r = add_lease(session, leases, sql_column_int(rows, 0), (unsigned)sql_column_int(rows, 1),
                      err);
        if (r < 0)
            return r;
    }
    return r;
}

/* What a stage says that waits to be worked on again. */
static char *waiting_message(const struct task *task, const struct stage *stage)
{
    char text[64];

    if (stage->kind == STAGE_LAUNCH)
        return strdup(TASK_MESSAGE_LAUNCH);
    if (task->kind == TASK_VOLUME)
        return strdup(TASK_MESSAGE_PENDING);
    (void)snprintf(text, sizeof(text), TASK_MESSAGE_DOWNLOADED " %" PRIu64, stage->bytes_converted);
    return strdup(text);
}

static int move_lapse(struct act *act, struct task *task, struct stage *stage, int64_t now_ms)
{
    char *message;

    (void)act;
    if (task->state == TASK_ACTIVE) {
        message = waiting_message(task, stage);
        if (!message)
            return -ENOMEM;
        free(stage->status_message);
        stage->status_message = message;
    }
    return machine_lapse(task, stage, now_ms);
}

/* All of them: the clock of one machine may have been wrong when they were postponed. */
static int hurry(struct sql_session *session, void *arg, struct im_error *err)
{
    static const char sql[] = "UPDATE stage SET due_ms = 0 WHERE lease_ms IS NULL "
                              "AND state IN ('active', 'publishing')";
    int r = sql_run(session, sql, 0, 0, 0, err);

    (void)arg;
    return r < 0 ? r : 0;
}

static bool is_same_lease(const struct claim *a, const struct claim *b)
{
    return a->task.seq == b->task.seq && a->stage->number == b->stage->number &&
           a->stage->epoch == b->stage->epoch && a->stage->lease_ms == b->stage->lease_ms;
}

/* Leave in *leases those that nobody renews.  Two services with one name would else take each
 * other's work for that of the dead. */
static int watch_leases(struct task_table *table, struct leases *leases, struct im_error *err)
{
    const struct timespec pause = { .tv_sec = table->watch_ms / 1000,
                                    .tv_nsec = (long)(table->watch_ms % 1000) * 1000000 };
    struct leases later IM_CLEANUP(leases_done) = { .table = table };
    size_t kept = 0;
    int r;

    if (leases->count == 0 || table->watch_ms == 0)
        return 0;
    (void)nanosleep(&pause, NULL);
    r = task_read(table, list_leases, &later, err);
    for (size_t i = 0; r >= 0 && i < leases->count; i++) {
        bool same = false;

        for (size_t k = 0; k < later.count && !same; k++)
            same = is_same_lease(&leases->claim[i], &later.claim[k]);
        if (same) {
            struct claim claim = leases->claim[kept];

            leases->claim[kept++] = leases->claim[i];
            leases->claim[i] = claim;
        } else {
            svc_log(SVC_ERROR,
                    "%s: another service named '%s' works on it; give each an instance-name of its "
                    "own",
                    leases->claim[i].task.id, table->worker);
        }
    }
    while (r >= 0 && leases->count > kept)
        claim_done(&leases->claim[--leases->count]);
    return r;
}

/* Deaths are written last, with the release: a start that is itself killed counts nothing twice. */
int task_recover(struct task_table *table, int (*each)(void *arg, const struct claim *claim),
                 void *arg, struct im_error *err)
{
    struct leases leases IM_CLEANUP(leases_done) = { .table = table };
    int r = task_read(table, list_leases, &leases, err);

    if (r >= 0)
        r = watch_leases(table, &leases, err);
    for (size_t i = 0; r >= 0 && i < leases.count; i++) {
        struct act what = { .move = move_lapse };
        struct claim *claim = &leases.claim[i];

        claim->stage->deaths++;
        r = each(arg, claim);
        if (r >= 0)
            r = act(table, claim, &what, err);
        if (r == -ESTALE) /* `each` has ended it */
            r = 0;
    }
    return r < 0 || !table->alone ? r : task_write(table, hurry, NULL, err);
}

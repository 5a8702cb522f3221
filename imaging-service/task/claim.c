/* claim - a worker takes the next stage. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "task/lanes.h"
#include "task/machine.h"
#include "task/table.h"

/* Looks of one claim, when others are faster each time. */
#define LOOKS_MAX 16

/* One task_claim. */
struct look {
    const struct task_table *table;
    int64_t lease_ms, now_ms;
    bool sweep;      /* something may be over … */
    bool swept;      /* … and was looked at already */
    int64_t next_ms; /* when to look again */
    struct lanes lanes;
    struct task task;
    struct stage *stage; /* the one claimed */
};

static void look_done(struct look *look)
{
    lanes_done(&look->lanes);
    task_done(&look->task);
}

static int out_of_memory(struct im_error *err)
{
    return im_fail(err, ENOMEM, "out of memory");
}

bool task_left_removals(struct task_table *table)
{
    return atomic_exchange(&table->removals, false);
}

/* ---- who is next ---- */

static bool has_limits(const struct task_limits *limits)
{
    return limits->total > 0 || limits->per_account > 0 || limits->zone_count > 0;
}

/* Where there are limits, those who claim at once take turns, so that none is exceeded. */
static int take_turn(struct sql_session *session, const struct task_limits *limits,
                     struct im_error *err)
{
    int r = has_limits(limits)
                ? sql_run(session, "SELECT 1 /*pg , pg_advisory_xact_lock(72) */", 0, 0, 0, err)
                : 0;

    return r < 0 ? r : 0;
}

/* ---- the claim ---- */

/* The files of a claim are in the ledger before they are made. */
static int write_down(struct sql_session *session, const struct look *look, struct im_error *err)
{
    static const char sql[] = "INSERT INTO thing (kind, task, number, epoch, worker, due_ms) "
                              "VALUES ('files', ?1, ?2, ?3, ?4, ?5)";
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);

    if (look->stage->kind != STAGE_CONVERT)
        return 0;
    sql_text(statement, 1, look->task.id);
    sql_int(statement, 2, look->stage->number);
    sql_uint(statement, 3, look->stage->epoch);
    sql_text(statement, 4, look->table->worker);
    sql_int(statement, 5, look->now_ms);
    return sql_step(session, statement, err);
}

/* The lane's stage that has been due longest: 1 and where it is, 0 when others have it by now. */
static int find_stage(struct sql_session *session, const struct look *look, int64_t ret_found[2],
                      struct im_error *err)
{
    static const char sql[] =
        "SELECT stage.task, stage.number FROM stage JOIN task ON task.seq = stage.task "
        "WHERE stage.lane = ?1 AND stage.state IN ('active', 'publishing') "
        "AND stage.lease_ms IS NULL AND stage.due_ms <= ?2 "
        "ORDER BY stage.due_ms, stage.task, stage.number LIMIT 1 /*pg FOR UPDATE SKIP LOCKED */";
    struct sql_statement *row SQL_STATEMENT = sql_use(session, sql);
    int r;

    sql_text(row, 1, look->lanes.lane);
    sql_int(row, 2, look->now_ms);
    r = sql_step(session, row, err);
    if (r > 0) {
        ret_found[0] = sql_column_int(row, 0);
        ret_found[1] = sql_column_int(row, 1);
    }
    return r;
}

static int take(struct sql_session *session, struct look *look, struct im_error *err)
{
    int64_t found[2];
    int r = find_stage(session, look, found, err);

    if (r > 0)
        r = task_rows_lock(session, found[0], &look->task, err);
    else if (r == 0) {
        look->next_ms = look->now_ms;
        return 0;
    }
    if (r < 0)
        return r;
    look->stage = task_rows_stage(&look->task, (unsigned)found[1]);
    if (!look->stage || machine_claim(&look->task, look->stage, look->now_ms + look->lease_ms) < 0)
        return im_fail(err, EBADMSG, "task %s has no stage %d to be worked on", look->task.id,
                       (int)found[1]);
    free(look->stage->worker);
    look->stage->worker = strdup(look->table->worker);
    if (!look->stage->worker)
        return out_of_memory(err);
    r = task_rows_store(session, &look->task, err);
    return r < 0 ? r : write_down(session, look, err);
}

static int choose_and_take(struct sql_session *session, struct look *look, struct im_error *err)
{
    struct lanes *lanes = &look->lanes;
    int r = take_turn(session, lanes->limits, err);

    lanes->now_ms = look->now_ms;
    lanes->next_ms = look->next_ms;
    if (r >= 0)
        r = lanes_choose(session, lanes, err);
    look->next_ms = lanes->next_ms;
    return r < 0 || !lanes->lane ? r : take(session, look, err);
}

static int claim(struct sql_session *session, void *arg, struct im_error *err)
{
    struct look *look = arg;
    int r;

    look_done(look);
    *look = (struct look){
        .table = look->table,
        .lease_ms = look->lease_ms,
        .swept = look->swept,
        .lanes = { .limits = look->lanes.limits,
                   .served = look->lanes.served,
                   .crowded = look->lanes.crowded },
    };
    r = sql_now(session, &look->now_ms, err);
    if (r >= 0)
        r = task_sweep_due(session, look->now_ms, &look->sweep, &look->next_ms, err);
    if (r < 0 || (look->sweep && !look->swept))
        return r;
    r = choose_and_take(session, look, err);
    return r < 0 ? r : 0;
}

/* A stage, or nothing in look->stage. */
static int find_work(struct task_table *table, struct look *look, struct im_error *err)
{
    int r = task_write(table, claim, look, err);

    /* workers could not renew their leases while the database was away: they first */
    if (r == 0 && look->sweep && !task_was_away(table)) {
        look->swept = true;
        r = task_sweep(table, err);
        if (r == 0)
            r = task_write(table, claim, look, err);
    }
    look->swept = true;
    for (int i = 1; i < LOOKS_MAX && r == 0 && look->lanes.lane && !look->stage; i++)
        r = task_write(table, claim, look, err); /* others took what was seen */
    return r;
}

/* The lane served last, owned by the caller; NULL: none, or no memory, which delays a turn. */
static char *served_last(struct task_table *table, bool *ret_crowded)
{
    char *lane;

    (void)pthread_mutex_lock(&table->lock);
    lane = table->served ? strdup(table->served) : NULL;
    *ret_crowded = table->crowded;
    (void)pthread_mutex_unlock(&table->lock);
    return lane;
}

static void note_served(struct task_table *table, struct look *look)
{
    (void)pthread_mutex_lock(&table->lock);
    free(table->served);
    table->served = im_steal(look->lanes.lane);
    table->crowded = lanes_crowded(&look->lanes);
    (void)pthread_mutex_unlock(&table->lock);
}

int task_claim(struct task_table *table, int64_t lease_ms, struct claim *ret_claim,
               int64_t *ret_wait_ms, struct im_error *err)
{
    struct look look IM_CLEANUP(look_done) = { .table = table,
                                               .lease_ms = lease_ms,
                                               .lanes = { .limits = &table->limits } };
    char *served IM_FREE = served_last(table, &look.lanes.crowded);
    int r;

    look.lanes.served = served;
    r = find_work(table, &look, err);
    if (r < 0)
        return r;
    if (!look.stage) {
        *ret_wait_ms = look.next_ms == INT64_MAX ? INT64_MAX : look.next_ms - look.now_ms;
        return im_fail(err, EAGAIN, "no stage is due");
    }
    note_served(table, &look);
    *ret_claim = (struct claim){ .task = look.task, .stage = look.stage };
    memset(&look.task, 0, sizeof(look.task)); /* handed over */
    return 0;
}

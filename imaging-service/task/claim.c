/* claim - which stage is worked on next.
 *
 * A lane is what an account wants in one zone: "account/zone", in each stage.  Whether anything is
 * due is read from one index entry of each lane that waits, however many stages wait in it. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "task/machine.h"
#include "task/table.h"

/* Nobody works on it, and somebody may. */
#define CLAIMABLE "state IN ('active', 'publishing') AND lease_ms IS NULL"

/* Lanes with stages at work: no more than there are workers. */
#define RUNNING_MAX 4096

/* Lanes with a stage that is due among which one is chosen, where there are many: from the one that
 * was served last on, so that each has its turn. */
#define LANES_MAX 64

/* Looks of one claim, when others are faster each time. */
#define LOOKS_MAX 16

struct running {
    char *lane;
    int64_t count;
};

/* One task_claim. */
struct look {
    const struct task_table *table;
    int64_t lease_ms, now_ms;
    bool sweep;         /* something may be over … */
    bool swept;         /* … and was looked at already */
    const char *served; /* the lane this service served last, lent; NULL: none */
    bool crowded;       /* there are more lanes than LANES_MAX, as it seems */
    size_t seen;        /* lanes */
    struct running *running;
    size_t running_count;
    int64_t total;
    char *lane; /* the one to be served */
    int64_t lane_due_ms, lane_load;
    int64_t next_ms; /* when to look again */
    struct task task;
    struct stage *stage; /* the one claimed */
};

static void look_done(struct look *look)
{
    for (size_t i = 0; i < look->running_count; i++)
        free(look->running[i].lane);
    free(look->running);
    free(look->lane);
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

static int read_running(struct sql_session *session, struct look *look, struct im_error *err)
{
    static const char sql[] =
        "SELECT lane, count(*) FROM stage WHERE lease_ms IS NOT NULL GROUP BY lane LIMIT ?1";
    struct sql_statement *rows SQL_STATEMENT = sql_use(session, sql);
    int r;

    sql_int(rows, 1, RUNNING_MAX);
    while ((r = sql_step(session, rows, err)) > 0) {
        const char *lane = sql_column_text(rows, 0);
        struct running *grown =
            reallocarray(look->running, look->running_count + 1, sizeof(*grown));

        if (!grown)
            return out_of_memory(err);
        look->running = grown;
        grown[look->running_count] =
            (struct running){ strdup(lane ? lane : ""), sql_column_int(rows, 1) };
        if (!grown[look->running_count].lane)
            return out_of_memory(err);
        look->total += grown[look->running_count++].count;
    }
    return r;
}

/* Bytes of the account in "account/zone". */
static size_t account_len(const char *lane)
{
    return strcspn(lane, "/");
}

static const char *zone_of(const char *lane)
{
    return lane + account_len(lane) + (lane[account_len(lane)] == '/');
}

static bool same_account(const char *a, const char *b)
{
    return account_len(a) == account_len(b) && memcmp(a, b, account_len(a)) == 0;
}

/* Stages at work for the lane's account, and in its zone. */
static void count_load(const struct look *look, const char *lane, int64_t *ret_account,
                       int64_t *ret_zone)
{
    *ret_account = *ret_zone = 0;
    for (size_t i = 0; i < look->running_count; i++) {
        if (same_account(lane, look->running[i].lane))
            *ret_account += look->running[i].count;
        if (strcmp(zone_of(lane), zone_of(look->running[i].lane)) == 0)
            *ret_zone += look->running[i].count;
    }
}

/* Of accounts with the same load the one that follows, by name, the one that was served last. */
static bool had_turn(const struct look *look, const char *lane)
{
    return look->served && (same_account(lane, look->served) || strcmp(lane, look->served) < 0);
}

/* Is the lane to be served before the one chosen so far?  They come in the order of their names,
 * and so those of one account one behind the other. */
static bool is_before(const struct look *look, const char *lane, int64_t due_ms, int64_t load)
{
    if (!look->lane || load != look->lane_load)
        return !look->lane || load < look->lane_load;
    if (same_account(lane, look->lane))
        return due_ms < look->lane_due_ms;
    return had_turn(look, look->lane) && !had_turn(look, lane);
}

static bool zone_is_full(const struct task_limits *limits, const char *zone, int64_t load)
{
    for (size_t i = 0; i < limits->zone_count; i++)
        if (limits->zone[i].count > 0 && load >= limits->zone[i].count &&
            strcmp(limits->zone[i].zone, zone) == 0)
            return true;
    return false;
}

/* A lane whose first stage is due at due_ms: is it to be served before the others seen so far? */
static int consider(struct look *look, const char *lane, int64_t due_ms, struct im_error *err)
{
    const struct task_limits *limits = &look->table->limits;
    int64_t load, zone_load;

    if (due_ms > look->now_ms) {
        look->next_ms = due_ms < look->next_ms ? due_ms : look->next_ms;
        return 0;
    }
    count_load(look, lane, &load, &zone_load);
    if ((limits->per_account > 0 && load >= limits->per_account) ||
        zone_is_full(limits, zone_of(lane), zone_load))
        return 0; /* whoever ends a stage tells */
    if (!is_before(look, lane, due_ms, load))
        return 0;
    free(look->lane);
    look->lane = strdup(lane);
    look->lane_load = load;
    look->lane_due_ms = due_ms;
    return look->lane ? 0 : out_of_memory(err);
}

/* Enough lanes were seen, and one of them can be served. */
static bool has_chosen(const struct look *look)
{
    return look->lane && look->seen >= LANES_MAX;
}

/* The next lanes behind *from, which becomes the last one seen, from lane to lane by the index
 * alone: 1 when there are more.  Those from `end` on (NULL: none) were seen before. */
static int see_lanes(struct sql_session *session, struct look *look, char **from, const char *end,
                     struct im_error *err)
{
    static const char sql[] =
        "WITH RECURSIVE lanes (lane) AS ("
        "SELECT (SELECT lane FROM stage WHERE " CLAIMABLE " AND lane > ?1 ORDER BY lane LIMIT 1) "
        "UNION ALL SELECT (SELECT stage.lane FROM stage WHERE " CLAIMABLE " "
        "AND stage.lane > lanes.lane ORDER BY stage.lane LIMIT 1) "
        "FROM lanes WHERE lanes.lane IS NOT NULL) "
        "SELECT lane, (SELECT due_ms FROM stage WHERE " CLAIMABLE " AND stage.lane = lanes.lane "
        "ORDER BY due_ms LIMIT 1) FROM lanes WHERE lane IS NOT NULL LIMIT ?2";
    struct sql_statement *rows SQL_STATEMENT = sql_use(session, sql);
    int count = 0, r;

    sql_text(rows, 1, *from);
    sql_int(rows, 2, LANES_MAX);
    while ((r = sql_step(session, rows, err)) > 0) {
        const char *lane = sql_column_text(rows, 0);
        char *copy = NULL;

        if (!lane || (end && strcmp(lane, end) >= 0))
            return 0;
        r = consider(look, lane, sql_column_int(rows, 1), err);
        look->seen++;
        if (r == 0 && ++count == LANES_MAX && !(copy = strdup(lane)))
            r = out_of_memory(err);
        if (r < 0)
            return r;
        if (copy) {
            free(*from);
            *from = copy;
            return 1;
        }
    }
    return r;
}

/* Behind all lanes of the account that was served last, when there are many; else "". */
static char *first_lane(const struct look *look)
{
    return look->crowded && look->served
               ? im_asprintf("%.*s0", (int)account_len(look->served), look->served) /* '/' + 1 */
               : strdup("");
}

static int choose_lane(struct sql_session *session, struct look *look, struct im_error *err)
{
    char *first IM_FREE = first_lane(look), *from IM_FREE = first ? strdup(first) : NULL;
    int r;

    if (look->table->limits.total > 0 && look->total >= look->table->limits.total)
        return 0;
    if (!from)
        return out_of_memory(err);
    do
        r = see_lanes(session, look, &from, NULL, err);
    while (r > 0 && !has_chosen(look));
    if (r != 0 || !*first)
        return r;
    *from = '\0';
    do
        r = see_lanes(session, look, &from, first, err);
    while (r > 0 && !has_chosen(look));
    return r;
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

    sql_text(row, 1, look->lane);
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

static int claim(struct sql_session *session, void *arg, struct im_error *err)
{
    struct look *look = arg;
    int r;

    look_done(look);
    *look = (struct look){
        .table = look->table,
        .lease_ms = look->lease_ms,
        .swept = look->swept,
        .served = look->served,
        .crowded = look->crowded,
    };
    r = sql_now(session, &look->now_ms, err);
    if (r >= 0)
        r = task_sweep_due(session, look->now_ms, &look->sweep, &look->next_ms, err);
    if (r < 0 || (look->sweep && !look->swept))
        return r;
    r = take_turn(session, &look->table->limits, err);
    if (r >= 0)
        r = read_running(session, look, err);
    if (r >= 0)
        r = choose_lane(session, look, err);
    if (r >= 0 && look->lane)
        r = take(session, look, err);
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
    for (int i = 1; i < LOOKS_MAX && r == 0 && look->lane && !look->stage; i++)
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
    table->served = im_steal(look->lane);
    table->crowded = look->seen >= LANES_MAX;
    (void)pthread_mutex_unlock(&table->lock);
}

int task_claim(struct task_table *table, int64_t lease_ms, struct claim *ret_claim,
               int64_t *ret_wait_ms, struct im_error *err)
{
    struct look look IM_CLEANUP(look_done) = { .table = table, .lease_ms = lease_ms };
    char *served IM_FREE = served_last(table, &look.crowded);
    int r;

    look.served = served;
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

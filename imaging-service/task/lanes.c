/* lanes - whose turn it is; every account has one. */

#include <config.h>

#include "task/lanes.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Nobody works on it, and somebody may. */
#define CLAIMABLE "state IN ('active', 'publishing') AND lease_ms IS NULL"

/* Lanes with stages at work: no more than there are workers. */
#define RUNNING_MAX 4096

struct running {
    char *lane;
    int64_t count;
};

void lanes_done(struct lanes *lanes)
{
    for (size_t i = 0; i < lanes->running_count; i++)
        free(lanes->running[i].lane);
    free(lanes->running);
    free(lanes->lane);
}

static int out_of_memory(struct im_error *err)
{
    return im_fail(err, ENOMEM, "out of memory");
}

/* ---- who is at work ---- */

static int read_running(struct sql_session *session, struct lanes *lanes, struct im_error *err)
{
    static const char sql[] =
        "SELECT lane, count(*) FROM stage WHERE lease_ms IS NOT NULL GROUP BY lane LIMIT ?1";
    struct sql_statement *rows SQL_STATEMENT = sql_use(session, sql);
    int r;

    sql_int(rows, 1, RUNNING_MAX);
    while ((r = sql_step(session, rows, err)) > 0) {
        const char *lane = sql_column_text(rows, 0);
        struct running *grown =
            reallocarray(lanes->running, lanes->running_count + 1, sizeof(*grown));

        if (!grown)
            return out_of_memory(err);
        lanes->running = grown;
        grown[lanes->running_count] =
            (struct running){ strdup(lane ? lane : ""), sql_column_int(rows, 1) };
        if (!grown[lanes->running_count].lane)
            return out_of_memory(err);
        lanes->total += grown[lanes->running_count++].count;
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
static void count_load(const struct lanes *lanes, const char *lane, int64_t *ret_account,
                       int64_t *ret_zone)
{
    *ret_account = *ret_zone = 0;
    for (size_t i = 0; i < lanes->running_count; i++) {
        if (same_account(lane, lanes->running[i].lane))
            *ret_account += lanes->running[i].count;
        if (strcmp(zone_of(lane), zone_of(lanes->running[i].lane)) == 0)
            *ret_zone += lanes->running[i].count;
    }
}

/* ---- whose turn it is ---- */

/* Of accounts with the same load the one that follows, by name, the one that was served last. */
static bool had_turn(const struct lanes *lanes, const char *lane)
{
    return lanes->served && (same_account(lane, lanes->served) || strcmp(lane, lanes->served) < 0);
}

/* Is the lane to be served before the one chosen so far?  They come in the order of their names,
 * and so those of one account one behind the other. */
static bool is_before(const struct lanes *lanes, const char *lane, int64_t due_ms, int64_t load)
{
    if (!lanes->lane || load != lanes->load)
        return !lanes->lane || load < lanes->load;
    if (same_account(lane, lanes->lane))
        return due_ms < lanes->due_ms;
    return had_turn(lanes, lanes->lane) && !had_turn(lanes, lane);
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
static int consider(struct lanes *lanes, const char *lane, int64_t due_ms, struct im_error *err)
{
    const struct task_limits *limits = lanes->limits;
    int64_t load, zone_load;

    if (due_ms > lanes->now_ms) {
        lanes->next_ms = due_ms < lanes->next_ms ? due_ms : lanes->next_ms;
        return 0;
    }
    count_load(lanes, lane, &load, &zone_load);
    if ((limits->per_account > 0 && load >= limits->per_account) ||
        zone_is_full(limits, zone_of(lane), zone_load))
        return 0; /* whoever ends a stage tells */
    if (!is_before(lanes, lane, due_ms, load))
        return 0;
    free(lanes->lane);
    lanes->lane = strdup(lane);
    lanes->load = load;
    lanes->due_ms = due_ms;
    return lanes->lane ? 0 : out_of_memory(err);
}

/* Enough lanes were seen, and one of them can be served. */
static bool has_chosen(const struct lanes *lanes)
{
    return lanes->lane && lanes->seen >= LANES_MAX;
}

/* The next lanes behind *from, which becomes the last one seen, from lane to lane by the index
 * alone: 1 when there are more.  Those from `end` on (NULL: none) were seen before. */
static int see_lanes(struct sql_session *session, struct lanes *lanes, char **from, const char *end,
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
        r = consider(lanes, lane, sql_column_int(rows, 1), err);
        lanes->seen++;
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
static char *first_lane(const struct lanes *lanes)
{
    return lanes->crowded && lanes->served
               ? im_asprintf("%.*s0", (int)account_len(lanes->served), lanes->served) /* '/' + 1 */
               : strdup("");
}

static int choose(struct sql_session *session, struct lanes *lanes, struct im_error *err)
{
    char *first IM_FREE = first_lane(lanes), *from IM_FREE = first ? strdup(first) : NULL;
    int r;

    if (lanes->limits->total > 0 && lanes->total >= lanes->limits->total)
        return 0;
    if (!from)
        return out_of_memory(err);
    do
        r = see_lanes(session, lanes, &from, NULL, err);
    while (r > 0 && !has_chosen(lanes));
    if (r != 0 || !*first)
        return r;
    *from = '\0';
    do
        r = see_lanes(session, lanes, &from, first, err);
    while (r > 0 && !has_chosen(lanes));
    return r;
}

int lanes_choose(struct sql_session *session, struct lanes *lanes, struct im_error *err)
{
    int r = read_running(session, lanes, err);

    return r < 0 ? r : choose(session, lanes, err);
}

bool lanes_crowded(const struct lanes *lanes)
{
    return lanes->seen >= LANES_MAX;
}

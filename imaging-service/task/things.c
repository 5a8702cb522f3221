/* things - volumes to be removed, and the ledger of what there is outside the table. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "task/machine.h"
#include "task/state.h"
#include "task/table.h"

/* Rows of the ledger read at once. */
#define LIST_MAX 1000

/* ---- removals ---- */

static int next_removal(struct sql_session *session, void *arg, struct im_error *err)
{
    static const char sql[] = "SELECT task, number FROM stage WHERE state = 'removing' LIMIT 1";
    struct claim *claim = arg;
    int64_t found[2];
    int r = task_rows_numbers(session, sql, NULL, found, err);

    claim_done(claim);
    if (r == 0)
        return im_fail(err, EAGAIN, "nothing is to be removed");
    if (r > 0)
        r = task_rows_get(session, found[0], &claim->task, err);
    if (r == 0)
        claim->stage = task_rows_stage(&claim->task, (unsigned)found[1]);
    return r;
}

int task_next_removal(struct task_table *table, struct claim *ret_claim, struct im_error *err)
{
    struct claim claim CLAIM_DONE = { 0 };
    int r = task_read(table, next_removal, &claim, err);

    if (r < 0)
        return r;
    *ret_claim = claim;
    memset(&claim, 0, sizeof(claim)); /* handed over */
    return 0;
}

/* A stage whose files this service has removed. */
struct removal {
    const struct task_table *table;
    const struct claim *claim;
};

/* Files another service made are its own to forget. */
static int forget_own(struct sql_session *session, const struct removal *removal,
                      struct im_error *err)
{
    static const char sql[] = "DELETE FROM thing WHERE task = ?1 AND number = ?2 "
                              "AND kind = 'files' AND (worker = ?3 OR ?4 = 1)";
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);

    sql_text(statement, 1, removal->claim->task.id);
    sql_int(statement, 2, removal->claim->stage->number);
    sql_text(statement, 3, removal->table->worker);
    sql_int(statement, 4, removal->table->alone);
    return sql_step(session, statement, err);
}

static int removed(struct sql_session *session, void *arg, struct im_error *err)
{
    const struct removal *removal = arg;
    const struct claim *claim = removal->claim;
    struct task task TASK_DONE = { 0 };
    struct stage *stage;
    int64_t now_ms = 0;
    int r = sql_now(session, &now_ms, err);

    if (r == 0)
        r = task_rows_lock(session, claim->task.seq, &task, err);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    stage = task_rows_stage(&task, claim->stage->number);
    if (!stage || machine_removed(&task, stage, now_ms) < 0)
        return 0; /* somebody else was faster */
    r = task_rows_store(session, &task, err);
    return r < 0 ? r : forget_own(session, removal, err);
}

int task_removed(struct task_table *table, const struct claim *claim, struct im_error *err)
{
    struct removal removal = { .table = table, .claim = claim };

    return task_write(table, removed, &removal, err);
}

/* ---- the ledger ---- */

#define THING_COLUMNS                                                                              \
    "thing.id, thing.kind, thing.task, thing.number, thing.epoch, thing.worker, thing.url, "       \
    "thing.tries"

static int read_thing(struct sql_statement *row, struct thing *thing, struct im_error *err)
{
    const char *kind = sql_column_text(row, 1), *task = sql_column_text(row, 2);
    const char *worker = sql_column_text(row, 5), *url = sql_column_text(row, 6);

    *thing = (struct thing){
        .id = sql_column_int(row, 0),
        .kind = kind && strcmp(kind, "upload") == 0 ? THING_UPLOAD : THING_FILES,
        .task_id = strdup(task ? task : ""),
        .number = (unsigned)sql_column_int(row, 3),
        .epoch = (uint64_t)sql_column_int(row, 4),
        .worker = strdup(worker ? worker : ""),
        .url = url ? strdup(url) : NULL,
        .tries = (unsigned)sql_column_int(row, 7),
    };
    if (thing->task_id && thing->worker && (!url || thing->url))
        return 0;
    thing_done(thing);
    return im_fail(err, ENOMEM, "out of memory");
}

struct list {
    const struct task_table *table;
    int64_t after;
    struct thing *thing;
    size_t count;
};

static void list_done(struct list *list)
{
    for (size_t i = 0; i < list->count; i++)
        thing_done(&list->thing[i]);
    free(list->thing);
    list->thing = NULL;
    list->count = 0;
}

/* Whose claim is over: those of this service that nobody works on, and anybody's whose stage has
 * ended or is gone.  kept: a claim to come goes on with them, or they are the volume.
 *
 * What is not kept now never will be, so it may be removed at any later time: epochs only rise, a
 * claim that is over cannot win (task_publish wants its lease), and a stage that has ended stays
 * so.
 *
 * Scratch of another service is on a disk only that service sees.  So its rows stay until the task
 * itself is forgotten, days after its end: until then a machine that was down finds what it left.
 */
static int read_files(struct sql_session *session, void *arg, struct im_error *err)
{
    static const char sql[] =
        "SELECT " THING_COLUMNS ", CASE WHEN task.ended_ms IS NULL "
        "AND (stage.state = 'active' "
        "OR (stage.state = 'publishing' AND stage.won_epoch = thing.epoch)) THEN 1 ELSE 0 END, "
        "CASE WHEN thing.worker = ?2 OR ?3 = 1 OR task.seq IS NULL THEN 1 ELSE 0 END "
        "FROM thing LEFT JOIN task ON task.id = thing.task "
        "LEFT JOIN stage ON stage.task = task.seq AND stage.number = thing.number "
        "WHERE thing.kind = 'files' AND thing.id > ?1 "
        "AND (stage.state IS NULL OR stage.state IN ('completed', 'cancelled') "
        "OR (stage.lease_ms IS NULL AND (thing.worker = ?2 OR ?3 = 1))) "
        "ORDER BY thing.id LIMIT ?4";
    struct sql_statement *rows SQL_STATEMENT = sql_use(session, sql);
    struct list *list = arg;
    int r = 0;

    list_done(list);
    list->thing = calloc(LIST_MAX, sizeof(*list->thing));
    if (!list->thing)
        return im_fail(err, ENOMEM, "out of memory");
    sql_int(rows, 1, list->after);
    sql_text(rows, 2, list->table->worker);
    sql_int(rows, 3, list->table->alone);
    sql_int(rows, 4, LIST_MAX);
    while (list->count < LIST_MAX && (r = sql_step(session, rows, err)) > 0) {
        r = read_thing(rows, &list->thing[list->count], err);
        if (r < 0)
            return r;
        list->thing[list->count].kept = sql_column_int(rows, 8) != 0;
        list->thing[list->count++].over = !list->table->guest && sql_column_int(rows, 9) != 0;
    }
    return list->count < LIST_MAX ? r : 0;
}

int task_list_files(struct task_table *table, int (*each)(void *arg, const struct thing *thing),
                    void *arg, struct im_error *err)
{
    struct list list IM_CLEANUP(list_done) = { .table = table };
    size_t count;
    int r;

    do {
        r = task_read(table, read_files, &list, err);
        count = list.count;
        for (size_t i = 0; i < list.count && r >= 0; i++) {
            list.after = list.thing[i].id;
            r = each(arg, &list.thing[i]);
        }
    } while (r >= 0 && count == LIST_MAX);
    return r < 0 ? r : 0;
}

static int next_upload(struct sql_session *session, void *arg, struct im_error *err)
{
    static const char sql[] = "SELECT " THING_COLUMNS " FROM thing WHERE kind = 'upload' "
                              "AND due_ms <= ?1 ORDER BY due_ms LIMIT 1";
    struct sql_statement *row SQL_STATEMENT = sql_use(session, sql);
    struct thing *thing = arg;
    int64_t now_ms = 0;
    int r = sql_now(session, &now_ms, err);

    thing_done(thing);
    if (r < 0)
        return r;
    sql_int(row, 1, now_ms);
    r = sql_step(session, row, err);
    if (r == 0)
        return im_fail(err, EAGAIN, "no upload is due to be deleted");
    return r < 0 ? r : read_thing(row, thing, err);
}

int task_next_upload(struct task_table *table, struct thing *ret_thing, struct im_error *err)
{
    struct thing thing THING_DONE = { 0 };
    int r = task_read(table, next_upload, &thing, err);

    if (r < 0)
        return r;
    *ret_thing = thing;
    memset(&thing, 0, sizeof(thing)); /* handed over */
    return 0;
}

/* A row of the ledger and when it is due again. */
struct delay {
    int64_t id, pause_ms;
};

static int delay(struct sql_session *session, void *arg, struct im_error *err)
{
    const struct delay *delay = arg;
    int64_t now_ms = 0;
    int r = sql_now(session, &now_ms, err);

    if (r == 0)
        r = sql_run(session, "UPDATE thing SET due_ms = ?2, tries = tries + 1 WHERE id = ?1",
                    delay->id, now_ms + delay->pause_ms, 0, err);
    return r < 0 ? r : 0;
}

int task_upload_later(struct task_table *table, const struct thing *thing, int64_t pause_ms,
                      struct im_error *err)
{
    struct delay what = { .id = thing->id, .pause_ms = pause_ms };

    return task_write(table, delay, &what, err);
}

static int forget_thing(struct sql_session *session, void *arg, struct im_error *err)
{
    const struct thing *thing = arg;
    int r = sql_run(session, "DELETE FROM thing WHERE id = ?1", thing->id, 0, 0, err);

    return r < 0 ? r : 0;
}

int task_forget_thing(struct task_table *table, const struct thing *thing, struct im_error *err)
{
    return task_write(table, forget_thing, (void *)thing, err);
}

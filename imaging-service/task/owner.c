/* owner - what the owner of a task changes: stop it, tag it. */

#include <config.h>

#include <errno.h>

#include "task/machine.h"
#include "task/state.h"
#include "task/table.h"

/* A task and what is wanted of it. */
struct wish {
    const char *account, *id;
    const char *reason;
    const struct task_tag *tag;
    size_t count;
};

/* ---- cancel ---- */

static int cancel(struct sql_session *session, void *arg, struct im_error *err)
{
    const struct wish *wish = arg;
    struct task task TASK_DONE = { 0 };
    int64_t seq = 0, now_ms = 0;
    int r = task_rows_find(session, wish->account, wish->id, &seq, err);

    if (r == 0)
        r = sql_now(session, &now_ms, err);
    if (r == 0)
        r = task_rows_lock(session, seq, &task, err);
    if (r < 0)
        return r;
    if (task.state == TASK_COMPLETED)
        return im_fail(err, EALREADY, "conversion task '%s' is already completed", wish->id);
    if (task.state != TASK_ACTIVE)
        return 0;
    if (!machine_may_stop(&task))
        return im_fail(err, EALREADY,
                       "the volumes of conversion task '%s' are made, and it is about to complete",
                       wish->id);
    if (machine_stop(&task, wish->reason, now_ms) < 0)
        return im_fail(err, ENOMEM, "out of memory");
    r = task_rows_store(session, &task, err);
    return r < 0 ? r : sql_notify(session, err);
}

int task_request_cancel(struct task_table *table, const char *account, const char *id,
                        const char *reason, struct im_error *err)
{
    struct wish wish = { .account = account, .id = id, .reason = reason };

    if (!reason || !*reason)
        wish.reason = TASK_MESSAGE_CANCELLED;
    return task_write(table, cancel, &wish, err);
}

/* ---- tags ---- */

int task_tags_set(struct sql_session *session, int64_t seq, const struct task_tag *tag,
                  size_t count, struct im_error *err)
{
    static const char sql[] = "INSERT INTO tag (task, key, value) VALUES (?1, ?2, ?3) "
                              "ON CONFLICT (task, key) DO UPDATE SET value = excluded.value";
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++) {
        struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);

        sql_int(statement, 1, seq);
        sql_text(statement, 2, tag[i].key);
        sql_text(statement, 3, tag[i].value);
        r = sql_step(session, statement, err);
    }
    return r;
}

/* Find the task and keep others from its tags. */
static int lock_tags(struct sql_session *session, const struct wish *wish, int64_t *ret_seq,
                     struct im_error *err)
{
    static const char sql[] = "SELECT seq, seq FROM task WHERE seq = ?1 /*pg FOR UPDATE */";
    int64_t found[2];
    int r = task_rows_find(session, wish->account, wish->id, ret_seq, err);

    return r < 0 ? r : task_rows_numbers(session, sql, ret_seq, found, err);
}

static int add_tags(struct sql_session *session, void *arg, struct im_error *err)
{
    static const char sql[] = "SELECT count(*), 0 FROM tag WHERE task = ?1";
    const struct wish *wish = arg;
    int64_t seq = 0, count[2] = { 0 };
    int r = lock_tags(session, wish, &seq, err);

    if (r >= 0)
        r = task_tags_set(session, seq, wish->tag, wish->count, err);
    if (r >= 0)
        r = task_rows_numbers(session, sql, &seq, count, err);
    if (r < 0)
        return r;
    if (count[0] > TASK_TAGS_MAX)
        return im_fail(err, E2BIG, "conversion task '%s' would have %d tags, and may have %d",
                       wish->id, (int)count[0], TASK_TAGS_MAX);
    return 0;
}

int task_tag(struct task_table *table, const char *account, const char *id,
             const struct task_tag *tag, size_t count, struct im_error *err)
{
    struct wish wish = { .account = account, .id = id, .tag = tag, .count = count };

    return task_write(table, add_tags, &wish, err);
}

/* A tag of NULLs takes every tag. */
static int remove_tag(struct sql_session *session, int64_t seq, const struct task_tag *tag,
                      struct im_error *err)
{
    static const char sql[] = "DELETE FROM tag WHERE task = ?1 AND key = coalesce(?2, key) "
                              "AND value = coalesce(?3, value)";
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);

    sql_int(statement, 1, seq);
    sql_text(statement, 2, tag->key);
    sql_text(statement, 3, tag->value);
    return sql_step(session, statement, err);
}

static int remove_tags(struct sql_session *session, void *arg, struct im_error *err)
{
    static const struct task_tag all = { 0 };
    const struct wish *wish = arg;
    int64_t seq = 0;
    int r = lock_tags(session, wish, &seq, err);

    if (r >= 0 && wish->count == 0)
        r = remove_tag(session, seq, &all, err);
    for (size_t i = 0; i < wish->count && r >= 0; i++)
        r = remove_tag(session, seq, &wish->tag[i], err);
    return r < 0 ? r : 0;
}

int task_untag(struct task_table *table, const char *account, const char *id,
               const struct task_tag *tag, size_t count, struct im_error *err)
{
    struct wish wish = { .account = account, .id = id, .tag = tag, .count = count };

    return task_write(table, remove_tags, &wish, err);
}

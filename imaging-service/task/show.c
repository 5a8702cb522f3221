/* show - tasks as they are now. */

#include <config.h>

#include <errno.h>

#include "task/state.h"
#include "task/table.h"

/* Tasks read at one moment: a few milliseconds, in which nobody else can use a file. */
#define PAGE_TASKS 100

/* One question to the table. */
struct question {
    const char *account, *id;
    int64_t after;
    struct task task;
    struct task_page page;
};

static int read_one(struct sql_session *session, void *arg, struct im_error *err)
{
    struct question *question = arg;
    int64_t seq = 0;
    int r = task_rows_find(session, question->account, question->id, &seq, err);

    task_done(&question->task);
    return r < 0 ? r : task_rows_get(session, seq, &question->task, err);
}

int task_get(struct task_table *table, const char *account, const char *id, struct task *ret_task,
             struct im_error *err)
{
    struct question question = { .account = account, .id = id };
    int r = task_read(table, read_one, &question, err);

    if (r < 0)
        task_done(&question.task);
    else
        *ret_task = question.task;
    return r;
}

static int read_any(struct sql_session *session, void *arg, struct im_error *err)
{
    struct question *question = arg;
    struct sql_statement *row SQL_STATEMENT =
        sql_use(session, "SELECT seq FROM task WHERE id = ?1");
    int r;

    task_done(&question->task);
    sql_text(row, 1, question->id);
    r = sql_step(session, row, err);
    if (r == 0)
        return im_fail(err, ENOENT, "there is no conversion task '%.60s'", question->id);
    return r < 0 ? r : task_rows_get(session, sql_column_int(row, 0), &question->task, err);
}

int task_find(struct task_table *table, const char *id, struct task *ret_task, struct im_error *err)
{
    struct question question = { .id = id };
    int r = task_read(table, read_any, &question, err);

    if (r < 0)
        task_done(&question.task);
    else
        *ret_task = question.task;
    return r;
}

static int read_page(struct sql_session *session, void *arg, struct im_error *err)
{
    struct question *question = arg;

    task_page_done(&question->page);
    return task_rows_page(session, question->account, question->after, PAGE_TASKS, &question->page,
                          err);
}

/* One page; 1 when there may be more behind *after. */
static int list_page(struct task_table *table, const char *account, int64_t *after,
                     int (*each)(void *arg, const struct task *task), void *arg,
                     struct im_error *err)
{
    struct question question = { .account = account, .after = *after };
    struct task_page *page = &question.page;
    int r = task_read(table, read_page, &question, err);

    for (size_t i = 0; i < page->count && r >= 0; i++) {
        r = each(arg, &page->task[i]);
        *after = page->task[i].seq;
    }
    if (r >= 0)
        r = page->count == PAGE_TASKS;
    task_page_done(page);
    return r;
}

int task_list(struct task_table *table, const char *account,
              int (*each)(void *arg, const struct task *task), void *arg, struct im_error *err)
{
    int64_t after = 0;
    int r;

    do
        r = list_page(table, account, &after, each, arg, err);
    while (r > 0);
    return r;
}

/* ---- counts ---- */

static int count_tasks(struct sql_session *session, struct task_counts *counts,
                       struct im_error *err)
{
    static const char sql[] = "SELECT state, count(*) FROM task GROUP BY state";
    struct sql_statement *rows SQL_STATEMENT = sql_use(session, sql);
    int r;

    while ((r = sql_step(session, rows, err)) > 0) {
        const char *name = sql_column_text(rows, 0);
        enum task_state state;

        if (name && task_state_parse(name, &state) == 0)
            counts->tasks[state] = (uint64_t)sql_column_int(rows, 1);
    }
    return r;
}

static int count(struct sql_session *session, void *arg, struct im_error *err)
{
    static const char sql[] =
        "SELECT (SELECT count(*) FROM stage WHERE lease_ms IS NOT NULL), count(*), min(due_ms) "
        "FROM stage WHERE state IN ('active', 'publishing') AND lease_ms IS NULL AND due_ms <= ?1";
    struct sql_statement *row SQL_STATEMENT = sql_use(session, sql);
    struct task_counts *counts = arg;
    int64_t now_ms = 0;
    int r = sql_now(session, &now_ms, err);

    *counts = (struct task_counts){ 0 };
    if (r >= 0)
        r = count_tasks(session, counts, err);
    if (r < 0)
        return r;
    sql_int(row, 1, now_ms);
    r = sql_step(session, row, err);
    if (r <= 0)
        return r;
    counts->working = (uint64_t)sql_column_int(row, 0);
    counts->waiting = (uint64_t)sql_column_int(row, 1);
    if (counts->waiting > 0)
        counts->oldest_waiting_ms = now_ms - sql_column_int(row, 2);
    return 0;
}

int task_count(struct task_table *table, struct task_counts *ret_counts, struct im_error *err)
{
    return task_read(table, count, ret_counts, err);
}

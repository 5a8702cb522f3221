/* rows - tasks with their stages and tags from the database into memory, and what changed back.
 *
 * Tasks, stages and tags are read by one statement each, all in the order of tasks, and put
 * together here: a page of tasks costs three statements, however many there are on it. */

#include <config.h>

#include "task/table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "task/state.h"

/* In the order read_task() takes them. */
#define TASK_COLUMNS                                                                               \
    "seq, id, account, kind, state, status_message, description, zone, created_ms, expires_ms, "   \
    "platform, architecture, instance_id, image_id, launch_spec, boot_mode, ended_ms"

/* In the order read_stage() takes them. */
#define STAGE_COLUMNS                                                                              \
    "stage.task, number, stage.kind, stage.state, stage.status_message, format, image_bytes, "     \
    "manifest_url, volume_gib, stage.description, volume_id, digest, bytes_converted, epoch, "     \
    "deaths, waits, tries, due_ms, lease_ms, worker, won_epoch"

/* A copy of column n, NULL when it is NULL; sets *lost when memory ran out. */
static char *copy_text(struct sql_statement *row, int n, bool *lost)
{
    const char *text = sql_column_text(row, n);
    char *copy = text ? strdup(text) : NULL;

    if (text && !copy)
        *lost = true;
    return copy;
}

static const char *text_of(struct sql_statement *row, int n)
{
    const char *text = sql_column_text(row, n);

    return text ? text : "";
}

static int out_of_memory(struct im_error *err)
{
    return im_fail(err, ENOMEM, "out of memory");
}

/* A newer service or somebody with a database client in hand can have written it. */
static int unknown_word(const char *id, const char *word, struct im_error *err)
{
    return im_fail(err, EBADMSG, "task %s has the state '%s', which is unknown here", id, word);
}

static int read_task(struct sql_statement *row, struct task *task, struct im_error *err)
{
    bool lost = false;

    *task = (struct task){
        .id = copy_text(row, 1, &lost),
        .account = copy_text(row, 2, &lost),
        .kind = strcmp(text_of(row, 3), "instance") == 0 ? TASK_INSTANCE : TASK_VOLUME,
        .status_message = copy_text(row, 5, &lost),
        .description = copy_text(row, 6, &lost),
        .zone = copy_text(row, 7, &lost),
        .created_ms = sql_column_int(row, 8),
        .expires_ms = sql_column_int(row, 9),
        .platform = copy_text(row, 10, &lost),
        .architecture = copy_text(row, 11, &lost),
        .instance_id = copy_text(row, 12, &lost),
        .image_id = copy_text(row, 13, &lost),
        .launch_spec = copy_text(row, 14, &lost),
        .boot_mode = copy_text(row, 15, &lost),
        .ended_ms = sql_column_int(row, 16),
        .seq = sql_column_int(row, 0),
    };
    if (lost)
        return out_of_memory(err);
    if (task_state_parse(text_of(row, 4), &task->state) < 0)
        return unknown_word(task->id, text_of(row, 4), err);
    return 0;
}

static int read_stage(struct sql_statement *row, const struct task *task, struct stage *stage,
                      struct im_error *err)
{
    bool lost = false;

    *stage = (struct stage){
        .number = (unsigned)sql_column_int(row, 1),
        .kind = strcmp(text_of(row, 2), "launch") == 0 ? STAGE_LAUNCH : STAGE_CONVERT,
        .status_message = copy_text(row, 4, &lost),
        .format = copy_text(row, 5, &lost),
        .image_bytes = (uint64_t)sql_column_int(row, 6),
        .manifest_url = copy_text(row, 7, &lost),
        .volume_gib = (uint64_t)sql_column_int(row, 8),
        .description = copy_text(row, 9, &lost),
        .volume_id = copy_text(row, 10, &lost),
        .digest = copy_text(row, 11, &lost),
        .bytes_converted = (uint64_t)sql_column_int(row, 12),
        .epoch = (uint64_t)sql_column_int(row, 13),
        .deaths = (unsigned)sql_column_int(row, 14),
        .waits = (unsigned)sql_column_int(row, 15),
        .tries = (unsigned)sql_column_int(row, 16),
        .due_ms = sql_column_int(row, 17),
        .lease_ms = sql_column_int(row, 18),
        .worker = copy_text(row, 19, &lost),
        .won_epoch = (uint64_t)sql_column_int(row, 20),
    };
    if (lost)
        return out_of_memory(err);
    if (stage_state_parse(text_of(row, 3), &stage->state) < 0)
        return unknown_word(task->id, text_of(row, 3), err);
    return 0;
}

/* ---- pages ---- */

void task_page_done(struct task_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        task_done(&page->task[i]);
    free(page->task);
    memset(page, 0, sizeof(*page));
}

static int add_tasks(struct sql_session *session, struct sql_statement *rows,
                     struct task_page *page, struct im_error *err)
{
    int r;

    while ((r = sql_step(session, rows, err)) > 0 && page->count < page->room) {
        r = read_task(rows, &page->task[page->count++], err);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : 0;
}

/* The task of row seq, at or behind *place, where the next search begins. */
static struct task *task_at(struct task_page *page, int64_t seq, size_t *place)
{
    while (*place < page->count && page->task[*place].seq < seq)
        (*place)++;
    return *place < page->count && page->task[*place].seq == seq ? &page->task[*place] : NULL;
}

static int add_stage(struct sql_statement *row, struct task *task, struct im_error *err)
{
    struct stage *grown = reallocarray(task->stage, task->stage_count + 1, sizeof(*grown));

    if (!grown)
        return out_of_memory(err);
    task->stage = grown;
    return read_stage(row, task, &grown[task->stage_count++], err);
}

static int add_tag(struct sql_statement *row, struct task *task, struct im_error *err)
{
    struct task_tag *grown = reallocarray(task->tag, task->tag_count + 1, sizeof(*grown));
    bool lost = false;

    if (!grown)
        return out_of_memory(err);
    task->tag = grown;
    grown[task->tag_count++] = (struct task_tag){
        .key = copy_text(row, 1, &lost),
        .value = copy_text(row, 2, &lost),
    };
    return lost ? out_of_memory(err) : 0;
}

/* Give each row of the statement, which begins with the row of its task, to that task.  Rows
 * between two tasks of the page belong to others.  account: ?3, of a statement that has it. */
static int add_rows(struct sql_session *session, const char *sql, const char *account,
                    struct task_page *page,
                    int (*add)(struct sql_statement *row, struct task *task, struct im_error *err),
                    struct im_error *err)
{
    struct sql_statement *rows SQL_STATEMENT = sql_use(session, sql);
    size_t place = 0;
    int r;

    sql_int(rows, 1, page->task[0].seq);
    sql_int(rows, 2, page->task[page->count - 1].seq);
    if (account)
        sql_text(rows, 3, account);
    while ((r = sql_step(session, rows, err)) > 0) {
        struct task *task = task_at(page, sql_column_int(rows, 0), &place);

        r = task ? add(rows, task, err) : 0;
        if (r < 0)
            break;
    }
    return r;
}

static int add_stages_and_tags(struct sql_session *session, const char *account,
                               struct task_page *page, struct im_error *err)
{
    static const char stages[] = "SELECT " STAGE_COLUMNS " FROM stage "
                                 "WHERE stage.task BETWEEN ?1 AND ?2 ORDER BY stage.task, number";
    static const char tags[] =
        "SELECT task, key, value FROM tag WHERE task BETWEEN ?1 AND ?2 ORDER BY task, key";
    /* CROSS JOIN, so that SQLite goes through the account's tasks, not through everybody's stages
     */
    static const char stages_of[] =
        "SELECT " STAGE_COLUMNS " FROM task CROSS JOIN stage WHERE stage.task = task.seq "
        "AND task.account = ?3 AND task.seq BETWEEN ?1 AND ?2 ORDER BY task.seq, number";
    static const char tags_of[] =
        "SELECT tag.task, key, value FROM task CROSS JOIN tag WHERE tag.task = task.seq "
        "AND task.account = ?3 AND task.seq BETWEEN ?1 AND ?2 ORDER BY task.seq, key";
    int r = add_rows(session, account ? stages_of : stages, account, page, add_stage, err);

    return r < 0 ? r : add_rows(session, account ? tags_of : tags, account, page, add_tag, err);
}

/* The tasks the statement answers, at most room. */
static int read_tasks(struct sql_session *session, struct sql_statement *rows, size_t room,
                      struct task_page *page, struct im_error *err)
{
    page->task = calloc(room, sizeof(*page->task));
    page->room = room;
    return page->task ? add_tasks(session, rows, page, err) : out_of_memory(err);
}

int task_rows_page(struct sql_session *session, const char *account, int64_t after, int max,
                   struct task_page *ret_page, struct im_error *err)
{
    static const char of_one[] = "SELECT " TASK_COLUMNS " FROM task "
                                 "WHERE account = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2";
    static const char of_all[] =
        "SELECT " TASK_COLUMNS " FROM task WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    struct sql_statement *rows SQL_STATEMENT = sql_use(session, account ? of_one : of_all);
    struct task_page page TASK_PAGE_DONE = { 0 };
    int r;

    sql_int(rows, 1, after);
    sql_int(rows, 2, max);
    if (account)
        sql_text(rows, 3, account);
    r = read_tasks(session, rows, (size_t)max, &page, err);
    if (r == 0 && page.count > 0)
        r = add_stages_and_tags(session, account, &page, err);
    if (r < 0)
        return r;
    *ret_page = page;
    memset(&page, 0, sizeof(page)); /* handed over */
    return 0;
}

int task_rows_find(struct sql_session *session, const char *account, const char *id,
                   int64_t *ret_seq, struct im_error *err)
{
    static const char sql[] = "SELECT seq FROM task WHERE account = ?1 AND id = ?2";
    struct sql_statement *row SQL_STATEMENT = sql_use(session, sql);
    int r;

    sql_text(row, 1, account);
    sql_text(row, 2, id);
    r = sql_step(session, row, err);
    if (r == 0)
        return im_fail(err, ENOENT, "there is no conversion task '%s'", id);
    if (r < 0)
        return r;
    *ret_seq = sql_column_int(row, 0);
    return 0;
}

/* ---- one task ---- */

static int no_such_row(int64_t seq, struct im_error *err)
{
    return im_fail(err, ENOENT, "there is no conversion task in row %" PRId64, seq);
}

int task_rows_get(struct sql_session *session, int64_t seq, struct task *ret_task,
                  struct im_error *err)
{
    struct task_page page TASK_PAGE_DONE = { 0 };
    int r = task_rows_page(session, NULL, seq - 1, 1, &page, err);

    if (r < 0)
        return r;
    if (page.count == 0 || page.task[0].seq != seq)
        return no_such_row(seq, err);
    *ret_task = page.task[0];
    page.count = 0; /* handed over */
    return 0;
}

int task_rows_lock(struct sql_session *session, int64_t seq, struct task *ret_task,
                   struct im_error *err)
{
    /* always the task before its stages, so that two who change it do not wait for each other */
    static const char task[] =
        "SELECT " TASK_COLUMNS " FROM task WHERE seq = ?1 /*pg FOR UPDATE */";
    static const char stages[] = "SELECT " STAGE_COLUMNS " FROM stage WHERE stage.task = ?1 "
                                 "AND stage.task = ?2 ORDER BY number /*pg FOR UPDATE */";
    struct sql_statement *rows SQL_STATEMENT = sql_use(session, task);
    struct task_page page TASK_PAGE_DONE = { 0 };
    int r;

    sql_int(rows, 1, seq);
    r = read_tasks(session, rows, 1, &page, err);
    if (r == 0 && page.count == 0)
        return no_such_row(seq, err);
    if (r == 0)
        r = add_rows(session, stages, NULL, &page, add_stage, err);
    if (r < 0)
        return r;
    *ret_task = page.task[0];
    page.count = 0; /* handed over */
    return 0;
}

struct stage *task_rows_stage(const struct task *task, unsigned number)
{
    for (size_t i = 0; i < task->stage_count; i++)
        if (task->stage[i].number == number)
            return &task->stage[i];
    return NULL;
}

/* ---- back ---- */

/* 0 is what no moment and no epoch is. */
static void bind_known(struct sql_statement *statement, int place, int64_t value)
{
    if (value != 0)
        sql_int(statement, place, value);
}

static int store_stage(struct sql_session *session, const struct task *task,
                       const struct stage *stage, struct im_error *err)
{
    static const char sql[] =
        "UPDATE stage SET state = ?3, status_message = ?4, due_ms = ?5, lease_ms = ?6, "
        "epoch = ?7, deaths = ?8, waits = ?9, tries = ?10, worker = ?11, won_epoch = ?12, "
        "digest = ?13, bytes_converted = ?14 WHERE task = ?1 AND number = ?2";
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);

    sql_int(statement, 1, task->seq);
    sql_int(statement, 2, stage->number);
    sql_text(statement, 3, stage_state_name(stage->state));
    sql_text(statement, 4, stage->status_message);
    sql_int(statement, 5, stage->due_ms);
    bind_known(statement, 6, stage->lease_ms);
    sql_uint(statement, 7, stage->epoch);
    sql_int(statement, 8, stage->deaths);
    sql_int(statement, 9, stage->waits);
    sql_int(statement, 10, stage->tries);
    sql_text(statement, 11, stage->worker);
    bind_known(statement, 12, (int64_t)stage->won_epoch);
    sql_text(statement, 13, stage->digest);
    sql_uint(statement, 14, stage->bytes_converted);
    return sql_step(session, statement, err);
}

static int store_task(struct sql_session *session, const struct task *task, struct im_error *err)
{
    static const char sql[] = "UPDATE task SET state = ?2, status_message = ?3, ended_ms = ?4, "
                              "boot_mode = ?5, instance_id = ?6 WHERE seq = ?1";
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);

    sql_int(statement, 1, task->seq);
    sql_text(statement, 2, task_state_name(task->state));
    sql_text(statement, 3, task->status_message);
    bind_known(statement, 4, task->ended_ms);
    sql_text(statement, 5, task->boot_mode);
    sql_text(statement, 6, task->instance_id);
    return sql_step(session, statement, err);
}

int task_rows_store(struct sql_session *session, const struct task *task, struct im_error *err)
{
    int r = 0;

    for (size_t i = 0; i < task->stage_count && r == 0; i++)
        if (task->stage[i].changed)
            r = store_stage(session, task, &task->stage[i], err);
    return r == 0 && task->changed ? store_task(session, task, err) : r;
}

int task_rows_numbers(struct sql_session *session, const char *sql, const int64_t *bound,
                      int64_t ret_values[2], struct im_error *err)
{
    struct sql_statement *row SQL_STATEMENT = sql_use(session, sql);
    int r;

    if (bound)
        sql_int(row, 1, *bound);
    r = sql_step(session, row, err);
    if (r > 0) {
        ret_values[0] = sql_column_int(row, 0);
        ret_values[1] = sql_column_int(row, 1);
    }
    return r;
}

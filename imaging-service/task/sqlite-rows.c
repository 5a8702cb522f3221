/* sqlite-rows - rows of the SQLite task table into memory: tasks with their stages and tags.
 *
 * Tasks, stages and tags are read by one statement each, all in the order of tasks, and put
 * together here: a page of tasks costs three statements, however many there are on it. */

#include <config.h>

#include "task/sqlite.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "task/state.h"

/* In the order read_task() takes them. */
#define TASK_COLUMNS                                                                               \
    "seq, id, account, kind, state, status_message, description, zone, created_ms, expires_ms, "   \
    "platform, architecture, instance_id, image_id, launch_spec, boot_mode"

/* A copy of column n, NULL when it is NULL; sets *lost when memory ran out. */
static char *copy_text(sqlite3_stmt *row, int n, bool *lost)
{
    const char *text = (const char *)sqlite3_column_text(row, n);
    char *copy = text ? strdup(text) : NULL;

    if (!copy && sqlite3_column_type(row, n) != SQLITE_NULL)
        *lost = true;
    return copy;
}

static const char *text_of(sqlite3_stmt *row, int n)
{
    const char *text = (const char *)sqlite3_column_text(row, n);

    return text ? text : "";
}

static int out_of_memory(struct im_error *err)
{
    return im_fail(err, ENOMEM, "out of memory");
}

/* Only somebody with the sqlite3 program in hand can have written it. */
static int unknown_word(struct task_table *table, const char *id, const char *word,
                        struct im_error *err)
{
    return im_fail(err, EBADMSG, "task table '%s': task %s has the unknown state '%s'",
                   sqlite3_db_filename(table->db, "main"), id, word);
}

static int read_task(struct task_table *table, sqlite3_stmt *row, struct task *task,
                     struct im_error *err)
{
    bool lost = false;

    *task = (struct task){
        .id = copy_text(row, 1, &lost),
        .account = copy_text(row, 2, &lost),
        .kind = strcmp(text_of(row, 3), "instance") == 0 ? TASK_INSTANCE : TASK_VOLUME,
        .status_message = copy_text(row, 5, &lost),
        .description = copy_text(row, 6, &lost),
        .zone = copy_text(row, 7, &lost),
        .created_ms = sqlite3_column_int64(row, 8),
        .expires_ms = sqlite3_column_int64(row, 9),
        .platform = copy_text(row, 10, &lost),
        .architecture = copy_text(row, 11, &lost),
        .instance_id = copy_text(row, 12, &lost),
        .image_id = copy_text(row, 13, &lost),
        .launch_spec = copy_text(row, 14, &lost),
        .boot_mode = copy_text(row, 15, &lost),
    };
    if (lost)
        return out_of_memory(err);
    if (task_state_parse(text_of(row, 4), &task->state) < 0)
        return unknown_word(table, task->id, text_of(row, 4), err);
    return 0;
}

static int read_stage(struct task_table *table, sqlite3_stmt *row, const struct task *task,
                      struct stage *stage, struct im_error *err)
{
    bool lost = false;

    *stage = (struct stage){
        .number = (unsigned)sqlite3_column_int64(row, 1),
        .kind = strcmp(text_of(row, 2), "launch") == 0 ? STAGE_LAUNCH : STAGE_CONVERT,
        .status_message = copy_text(row, 4, &lost),
        .format = copy_text(row, 5, &lost),
        .image_bytes = (uint64_t)sqlite3_column_int64(row, 6),
        .manifest_url = copy_text(row, 7, &lost),
        .volume_gib = (uint64_t)sqlite3_column_int64(row, 8),
        .description = copy_text(row, 9, &lost),
        .volume_id = copy_text(row, 10, &lost),
        .digest = copy_text(row, 11, &lost),
        .bytes_converted = (uint64_t)sqlite3_column_int64(row, 12),
        .epoch = (uint64_t)sqlite3_column_int64(row, 13),
        .deaths = (unsigned)sqlite3_column_int64(row, 14),
        .waits = (unsigned)sqlite3_column_int64(row, 15),
        .tries = (unsigned)sqlite3_column_int64(row, 16),
    };
    if (lost)
        return out_of_memory(err);
    if (stage_state_parse(text_of(row, 3), &stage->state) < 0)
        return unknown_word(table, task->id, text_of(row, 3), err);
    return 0;
}

/* ---- pages ---- */

void task_page_done(struct task_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        task_done(&page->task[i]);
    free(page->task);
    free(page->seq);
    memset(page, 0, sizeof(*page));
}

static int make_room(struct task_page *page, size_t room, struct im_error *err)
{
    page->task = calloc(room, sizeof(*page->task));
    page->seq = calloc(room, sizeof(*page->seq));
    page->room = room;
    return page->task && page->seq ? 0 : out_of_memory(err);
}

static int add_tasks(struct task_table *table, sqlite3_stmt *rows, struct task_page *page,
                     struct im_error *err)
{
    int r;

    while ((r = task_sqlite_step(table, rows, err)) > 0 && page->count < page->room) {
        page->seq[page->count] = sqlite3_column_int64(rows, 0);
        r = read_task(table, rows, &page->task[page->count++], err);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : 0;
}

/* The task of row seq, at or behind *place, where the next search begins. */
static struct task *task_at(struct task_page *page, int64_t seq, size_t *place)
{
    while (*place < page->count && page->seq[*place] < seq)
        (*place)++;
    return *place < page->count && page->seq[*place] == seq ? &page->task[*place] : NULL;
}

static int add_stage(struct task_table *table, sqlite3_stmt *row, struct task *task,
                     struct im_error *err)
{
    struct stage *grown = reallocarray(task->stage, task->stage_count + 1, sizeof(*grown));

    if (!grown)
        return out_of_memory(err);
    task->stage = grown;
    return read_stage(table, row, task, &grown[task->stage_count++], err);
}

static int add_tag(sqlite3_stmt *row, struct task *task, struct im_error *err)
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

/* Stages and tags of the tasks on the page.  Rows between two of its tasks are other accounts', and
 * are not asked for. */
static int add_stages(struct task_table *table, struct task_page *page, struct im_error *err)
{
    static const char sql[] =
        "SELECT stage.task, number, stage.kind, stage.state, stage.status_message, format, "
        "image_bytes, manifest_url, volume_gib, stage.description, volume_id, digest, "
        "bytes_converted, epoch, deaths, waits, tries "
        "FROM task CROSS JOIN stage ON stage.task = task.seq "
        "WHERE task.account = ?1 AND task.seq BETWEEN ?2 AND ?3 ORDER BY task.seq, number";
    sqlite3_stmt *rows STATEMENT = task_sqlite_use(table, sql);
    size_t place = 0;
    int r;

    task_sqlite_text(rows, 1, page->task[0].account);
    task_sqlite_int(rows, 2, page->seq[0]);
    task_sqlite_int(rows, 3, page->seq[page->count - 1]);
    while ((r = task_sqlite_step(table, rows, err)) > 0) {
        struct task *task = task_at(page, sqlite3_column_int64(rows, 0), &place);

        r = task ? add_stage(table, rows, task, err) : 0;
        if (r < 0)
            break;
    }
    return r;
}

static int add_tags(struct task_table *table, struct task_page *page, struct im_error *err)
{
    static const char sql[] =
        "SELECT tag.task, key, value FROM task CROSS JOIN tag ON tag.task = task.seq "
        "WHERE task.account = ?1 AND task.seq BETWEEN ?2 AND ?3 ORDER BY task.seq, key";
    sqlite3_stmt *rows STATEMENT = task_sqlite_use(table, sql);
    size_t place = 0;
    int r;

    task_sqlite_text(rows, 1, page->task[0].account);
    task_sqlite_int(rows, 2, page->seq[0]);
    task_sqlite_int(rows, 3, page->seq[page->count - 1]);
    while ((r = task_sqlite_step(table, rows, err)) > 0) {
        struct task *task = task_at(page, sqlite3_column_int64(rows, 0), &place);

        r = task ? add_tag(rows, task, err) : 0;
        if (r < 0)
            break;
    }
    return r;
}

/* Read what the statement answers into *page, and what belongs to it. */
static int read_page(struct task_table *table, sqlite3_stmt *rows, size_t room,
                     struct task_page *page, struct im_error *err)
{
    int r = make_room(page, room, err);

    if (r == 0)
        r = add_tasks(table, rows, page, err);
    if (r == 0 && page->count > 0)
        r = add_stages(table, page, err);
    if (r == 0 && page->count > 0)
        r = add_tags(table, page, err);
    return r;
}

int task_sqlite_page(struct task_table *table, const char *account, int64_t after, int max,
                     struct task_page *ret_page, struct im_error *err)
{
    static const char sql[] = "SELECT " TASK_COLUMNS " FROM task "
                              "WHERE account = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    sqlite3_stmt *rows STATEMENT = task_sqlite_use(table, sql);
    struct task_page page TASK_PAGE_DONE = { 0 };
    int r;

    task_sqlite_text(rows, 1, account);
    task_sqlite_int(rows, 2, after);
    task_sqlite_int(rows, 3, max);
    r = read_page(table, rows, (size_t)max, &page, err);
    if (r < 0)
        return r;
    *ret_page = page;
    memset(&page, 0, sizeof(page)); /* handed over */
    return 0;
}

int task_sqlite_find(struct task_table *table, const char *account, const char *id,
                     int64_t *ret_seq, struct im_error *err)
{
    static const char sql[] = "SELECT seq FROM task WHERE account = ?1 AND id = ?2";
    sqlite3_stmt *row STATEMENT = task_sqlite_use(table, sql);
    int r;

    task_sqlite_text(row, 1, account);
    task_sqlite_text(row, 2, id);
    r = task_sqlite_step(table, row, err);
    if (r == 0)
        return im_fail(err, ENOENT, "there is no conversion task '%s'", id);
    if (r < 0)
        return r;
    *ret_seq = sqlite3_column_int64(row, 0);
    return 0;
}

int task_sqlite_get(struct task_table *table, int64_t seq, struct task *ret_task,
                    struct im_error *err)
{
    static const char sql[] = "SELECT " TASK_COLUMNS " FROM task WHERE seq = ?1";
    sqlite3_stmt *row STATEMENT = task_sqlite_use(table, sql);
    struct task_page page TASK_PAGE_DONE = { 0 };
    int r;

    task_sqlite_int(row, 1, seq);
    r = read_page(table, row, 1, &page, err);
    if (r < 0)
        return r;
    if (page.count == 0)
        return im_fail(err, ENOENT, "there is no conversion task in row %" PRId64, seq);
    *ret_task = page.task[0];
    page.count = 0; /* handed over */
    return 0;
}

int task_sqlite_get_claim(struct task_table *table, int64_t seq, int64_t number,
                          struct claim *ret_claim, struct im_error *err)
{
    struct task task TASK_DONE = { 0 };
    int r = task_sqlite_get(table, seq, &task, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < task.stage_count; i++)
        if (task.stage[i].number == number) {
            *ret_claim = (struct claim){ .task = task, .stage = &task.stage[i] };
            memset(&task, 0, sizeof(task)); /* handed over */
            return 0;
        }
    return im_fail(err, EBADMSG, "task %s has no stage %" PRId64, task.id, number);
}

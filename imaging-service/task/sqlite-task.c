/* sqlite-task - the SQLite task table as the API uses it: insert, show, cancel, tag. */

#include <config.h>

#include "task/task.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "task/sqlite.h"
#include "task/state.h"

/* Random ids collide once in 36^8; so many in a row mean that the generator is broken. */
#define ID_TRIES 8

/* Tasks read under one lock: a few milliseconds, in which nobody else can use the table. */
#define PAGE_TASKS 100

/* ---- insert ---- */

static const char *kind_name(const struct task_wish *wish)
{
    return wish->machine ? "instance" : "volume";
}

static int check_limit(struct task_table *table, const char *account, unsigned max_active,
                       struct im_error *err)
{
    static const char sql[] = "SELECT count(*) FROM task WHERE account = ?1 AND ended_ms IS NULL";
    sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, sql);
    int64_t count;
    int r;

    task_sqlite_text(statement, 1, account);
    r = task_sqlite_step(table, statement, err);
    if (r < 0)
        return r;
    count = sqlite3_column_int64(statement, 0);
    if (count < (int64_t)max_active)
        return 0;
    return im_fail(err, EBUSY,
                   "the account has %" PRId64
                   " conversion tasks that have not ended and may have %u;"
                   " wait for one to end or cancel one",
                   count, max_active);
}

/* Insert the task's own row under the ids given; -EEXIST when one is taken. */
static int insert_task_as(struct task_table *table, const struct task_wish *wish, const char *id,
                          int64_t now_ms, struct im_error *err)
{
    static const char sql[] =
        "INSERT INTO task (id, account, kind, state, description, zone, created_ms, expires_ms, "
        "client_token, parameters, platform, architecture, launch_spec, instance_id, image_id) "
        "VALUES (?1, ?2, ?3, 'active', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, sql);
    const struct task_machine *machine = wish->machine;
    char instance_id[TASK_RESOURCE_ID_SIZE], image_id[TASK_RESOURCE_ID_SIZE];

    task_sqlite_text(statement, 1, id);
    task_sqlite_text(statement, 2, wish->account);
    task_sqlite_text(statement, 3, kind_name(wish));
    task_sqlite_text(statement, 4, wish->description);
    task_sqlite_text(statement, 5, wish->zone);
    task_sqlite_int(statement, 6, now_ms);
    task_sqlite_int(statement, 7, now_ms + TASK_LIFE_MS);
    task_sqlite_text(statement, 8, wish->client_token);
    task_sqlite_text(statement, 9, wish->parameters);
    if (machine) {
        task_new_resource_id("i-", instance_id);
        task_new_resource_id("ami-", image_id);
        task_sqlite_text(statement, 10, machine->platform);
        task_sqlite_text(statement, 11, machine->architecture);
        task_sqlite_text(statement, 12, machine->launch_spec);
        task_sqlite_text(statement, 13, instance_id);
        task_sqlite_text(statement, 14, image_id);
    }
    if (statement && sqlite3_step(statement) == SQLITE_DONE)
        return 0;
    if (sqlite3_extended_errcode(table->db) == SQLITE_CONSTRAINT_UNIQUE)
        return im_fail(err, EEXIST, "no unused task id was found in %d tries", ID_TRIES);
    return task_sqlite_failed(table->db, err);
}

/* The convert of a disk, or the launch when disk is NULL. */
static int insert_stage(struct task_table *table, int64_t seq, size_t number,
                        const struct task_disk *disk, const char *message, int64_t now_ms,
                        struct im_error *err)
{
    static const char sql[] =
        "INSERT INTO stage (task, number, kind, state, status_message, format, image_bytes, "
        "manifest_url, volume_gib, description, volume_id, due_ms) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, coalesce(?7, 0), ?8, ?9, ?10, ?11, ?12)";
    sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, sql);
    char volume_id[TASK_RESOURCE_ID_SIZE];

    task_sqlite_int(statement, 1, seq);
    task_sqlite_uint(statement, 2, number);
    task_sqlite_text(statement, 3, disk ? "convert" : "launch");
    task_sqlite_text(statement, 4, disk ? "active" : "waiting");
    task_sqlite_text(statement, 5, message);
    task_sqlite_int(statement, 12, now_ms);
    if (disk) {
        task_new_resource_id("vol-", volume_id);
        task_sqlite_text(statement, 6, disk->format);
        task_sqlite_uint(statement, 7, disk->image_bytes);
        task_sqlite_text(statement, 8, disk->manifest_url);
        task_sqlite_uint(statement, 9, disk->volume_gib);
        task_sqlite_text(statement, 10, disk->description);
        task_sqlite_text(statement, 11, volume_id);
    }
    return task_sqlite_step(table, statement, err);
}

static int insert_stages(struct task_table *table, const struct task_wish *wish, int64_t seq,
                         int64_t now_ms, struct im_error *err)
{
    const char *message = wish->machine ? TASK_MESSAGE_DOWNLOADED " 0" : TASK_MESSAGE_PENDING;
    int r = 0;

    for (size_t i = 0; i < wish->disk_count && r == 0; i++)
        r = insert_stage(table, seq, i + 1, &wish->disk[i], message, now_ms, err);
    if (r == 0 && wish->machine)
        r = insert_stage(table, seq, wish->disk_count + 1, NULL, NULL, now_ms, err);
    return r;
}

static int set_tags(struct task_table *table, int64_t seq, const struct task_tag *tag, size_t count,
                    struct im_error *err)
{
    static const char sql[] = "INSERT INTO tag (task, key, value) VALUES (?1, ?2, ?3) "
                              "ON CONFLICT (task, key) DO UPDATE SET value = excluded.value";
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++) {
        sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, sql);

        task_sqlite_int(statement, 1, seq);
        task_sqlite_text(statement, 2, tag[i].key);
        task_sqlite_text(statement, 3, tag[i].value);
        r = task_sqlite_step(table, statement, err);
    }
    return r;
}

static int insert_new(struct task_table *table, const struct task_wish *wish, unsigned max_active,
                      int64_t now_ms, int64_t *ret_seq, struct im_error *err)
{
    char id[TASK_ID_SIZE];
    int64_t seq;
    int r = check_limit(table, wish->account, max_active, err);

    if (r < 0)
        return r;
    for (int i = 0; i < ID_TRIES; i++) {
        task_new_id(wish->machine ? TASK_INSTANCE : TASK_VOLUME, id);
        r = insert_task_as(table, wish, id, now_ms, err);
        if (r != -EEXIST)
            break;
    }
    if (r < 0)
        return r;
    seq = sqlite3_last_insert_rowid(table->db);
    r = insert_stages(table, wish, seq, now_ms, err);
    if (r == 0)
        r = set_tags(table, seq, wish->tag, wish->tag_count, err);
    *ret_seq = seq;
    return r;
}

/* The task that was made with this token: 1 and its row, 0 when there is none. */
static int find_token(struct task_table *table, const struct task_wish *wish, int64_t *ret_seq,
                      struct im_error *err)
{
    static const char sql[] = "SELECT seq, parameters IS ?4, id FROM task "
                              "WHERE account = ?1 AND kind = ?2 AND client_token = ?3";
    sqlite3_stmt *row STATEMENT = task_sqlite_use(table, sql);
    int r;

    if (!wish->client_token)
        return 0;
    task_sqlite_text(row, 1, wish->account);
    task_sqlite_text(row, 2, kind_name(wish));
    task_sqlite_text(row, 3, wish->client_token);
    task_sqlite_text(row, 4, wish->parameters);
    r = task_sqlite_step(table, row, err);
    if (r <= 0)
        return r;
    if (!sqlite3_column_int(row, 1))
        return im_fail(err, ENOTUNIQ, "the client token was used for task %s with other parameters",
                       (const char *)sqlite3_column_text(row, 2));
    *ret_seq = sqlite3_column_int64(row, 0);
    return 1;
}

/* Under one transaction: of two racing requests with one token the second finds the first's. */
static int insert(struct task_table *table, const struct task_wish *wish, unsigned max_active,
                  int64_t now_ms, struct task *ret_task, bool *ret_new, struct im_error *err)
{
    int64_t seq = 0;
    int found = find_token(table, wish, &seq, err);
    int r = found;

    if (found == 0)
        r = insert_new(table, wish, max_active, now_ms, &seq, err);
    if (r < 0)
        return r;
    *ret_new = found == 0;
    return task_sqlite_get(table, seq, ret_task, err);
}

static int check_wish(const struct task_wish *wish, struct im_error *err)
{
    if (wish->disk_count == 0 || wish->disk_count > (wish->machine ? TASK_DISKS_MAX : 1))
        return im_fail(err, EINVAL, "a task of %zu disks cannot be made", wish->disk_count);
    for (size_t i = 0; i < wish->disk_count; i++)
        if (wish->disk[i].image_bytes > INT64_MAX || wish->disk[i].volume_gib > INT64_MAX)
            return im_fail(err, EINVAL,
                           "an image of %" PRIu64 " bytes for a volume of %" PRIu64
                           " GiB is more than can be counted",
                           wish->disk[i].image_bytes, wish->disk[i].volume_gib);
    return 0;
}

/* What task_insert was given, for the thread that writes it. */
struct insertion {
    const struct task_wish *wish;
    unsigned max_active;
    int64_t now_ms;
    struct task task;
    bool new;
};

static int write_insertion(struct task_table *table, void *arg, struct im_error *err)
{
    struct insertion *in = arg;

    return insert(table, in->wish, in->max_active, in->now_ms, &in->task, &in->new, err);
}

int task_insert(struct task_table *table, const struct task_wish *wish, unsigned max_active,
                int64_t now_ms, struct task *ret_task, bool *ret_new, struct im_error *err)
{
    struct insertion in = { .wish = wish, .max_active = max_active, .now_ms = now_ms };
    int r = check_wish(wish, err);

    if (r == 0)
        r = task_sqlite_together(table, write_insertion, &in, err);
    if (r < 0) {
        task_done(&in.task); /* written, but not committed */
        return r;
    }
    *ret_task = in.task;
    *ret_new = in.new;
    return 0;
}

/* ---- show ---- */

int task_get(struct task_table *table, const char *account, const char *id, struct task *ret_task,
             struct im_error *err)
{
    WITH_LOCK(table);
    int64_t seq;
    int r = task_sqlite_find(table, account, id, &seq, err);

    return r < 0 ? r : task_sqlite_get(table, seq, ret_task, err);
}

static int read_locked(struct task_table *table, const char *account, int64_t after,
                       struct task_page *ret_page, struct im_error *err)
{
    WITH_LOCK(table);

    return task_sqlite_page(table, account, after, PAGE_TASKS, ret_page, err);
}

/* One page; 1 when there may be more behind *after. */
static int list_page(struct task_table *table, const char *account, int64_t *after,
                     int (*each)(void *arg, const struct task *task), void *arg,
                     struct im_error *err)
{
    struct task_page page TASK_PAGE_DONE = { 0 };
    int r = read_locked(table, account, *after, &page, err);

    for (size_t i = 0; i < page.count && r >= 0; i++) {
        r = each(arg, &page.task[i]);
        *after = page.seq[i];
    }
    return r < 0 ? r : page.count == PAGE_TASKS;
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

/* ---- cancel ---- */

/* 1 when the task may still be stopped, 0 when it is on its way out, or why not. */
static int may_stop(struct task_table *table, int64_t seq, const char *id, struct im_error *err)
{
    static const char sql[] = "SELECT state, EXISTS (SELECT 1 FROM stage WHERE task = seq "
                              "AND kind = 'launch' AND stage.state = 'active') "
                              "FROM task WHERE seq = ?1";
    sqlite3_stmt *row STATEMENT = task_sqlite_use(table, sql);
    const char *state;
    int r;

    task_sqlite_int(row, 1, seq);
    r = task_sqlite_step(table, row, err);
    if (r <= 0)
        return r;
    state = (const char *)sqlite3_column_text(row, 0);
    if (!state)
        return im_fail(err, ENOMEM, "out of memory");
    if (strcmp(state, "completed") == 0)
        return im_fail(err, EALREADY, "conversion task '%s' is already completed", id);
    if (strcmp(state, "active") == 0 && sqlite3_column_int(row, 1))
        return im_fail(err, EALREADY,
                       "the volumes of conversion task '%s' are made and being "
                       "launched",
                       id);
    return strcmp(state, "active") == 0;
}

static int request_cancel(struct task_table *table, const char *account, const char *id,
                          const char *reason, int64_t now_ms, struct im_error *err)
{
    int64_t seq = 0;
    int r = task_sqlite_find(table, account, id, &seq, err);

    if (r == 0)
        r = may_stop(table, seq, id, err);
    return r <= 0 ? r : task_sqlite_stop(table, seq, reason, now_ms, err);
}

int task_request_cancel(struct task_table *table, const char *account, const char *id,
                        const char *reason, int64_t now_ms, struct im_error *err)
{
    WITH_LOCK(table);
    int r = task_sqlite_begin(table, err);

    if (r < 0)
        return r;
    if (!reason || !*reason)
        reason = TASK_MESSAGE_CANCELLED;
    return task_sqlite_finish(table, request_cancel(table, account, id, reason, now_ms, err), err);
}

/* ---- tags ---- */

static int count_tags(struct task_table *table, int64_t seq, struct im_error *err)
{
    static const char sql[] = "SELECT count(*) FROM tag WHERE task = ?1";
    sqlite3_stmt *row STATEMENT = task_sqlite_use(table, sql);
    int r;

    task_sqlite_int(row, 1, seq);
    r = task_sqlite_step(table, row, err);
    return r < 0 ? r : sqlite3_column_int(row, 0);
}

static int add_tags(struct task_table *table, const char *account, const char *id,
                    const struct task_tag *tag, size_t count, struct im_error *err)
{
    int64_t seq = 0;
    int r = task_sqlite_find(table, account, id, &seq, err);

    if (r == 0)
        r = set_tags(table, seq, tag, count, err);
    if (r == 0)
        r = count_tags(table, seq, err);
    if (r > TASK_TAGS_MAX)
        return im_fail(err, E2BIG, "conversion task '%s' would have %d tags, and may have %d", id,
                       r, TASK_TAGS_MAX);
    return r;
}

int task_tag(struct task_table *table, const char *account, const char *id,
             const struct task_tag *tag, size_t count, struct im_error *err)
{
    WITH_LOCK(table);
    int r = task_sqlite_begin(table, err);

    return r < 0 ? r
                 : task_sqlite_finish(table, add_tags(table, account, id, tag, count, err), err);
}

/* A row of tag with NULLs takes every tag. */
static int remove_tag(struct task_table *table, int64_t seq, const struct task_tag *tag,
                      struct im_error *err)
{
    static const char sql[] = "DELETE FROM tag WHERE task = ?1 AND key = coalesce(?2, key) "
                              "AND value = coalesce(?3, value)";
    sqlite3_stmt *statement STATEMENT = task_sqlite_use(table, sql);

    task_sqlite_int(statement, 1, seq);
    task_sqlite_text(statement, 2, tag->key);
    task_sqlite_text(statement, 3, tag->value);
    return task_sqlite_step(table, statement, err);
}

static int remove_tags(struct task_table *table, const char *account, const char *id,
                       const struct task_tag *tag, size_t count, struct im_error *err)
{
    static const struct task_tag all = { 0 };
    int64_t seq = 0;
    int r = task_sqlite_find(table, account, id, &seq, err);

    if (r == 0 && count == 0)
        r = remove_tag(table, seq, &all, err);
    for (size_t i = 0; i < count && r == 0; i++)
        r = remove_tag(table, seq, &tag[i], err);
    return r;
}

int task_untag(struct task_table *table, const char *account, const char *id,
               const struct task_tag *tag, size_t count, struct im_error *err)
{
    WITH_LOCK(table);
    int r = task_sqlite_begin(table, err);

    return r < 0 ? r
                 : task_sqlite_finish(table, remove_tags(table, account, id, tag, count, err), err);
}

/* insert - a new task with its stages and tags, or the one its client token already made. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "task/state.h"
#include "task/table.h"

/* Random ids collide once in 36^8; so many in a row mean that the generator is broken. */
#define ID_TRIES 8

/* What task_insert was given and what came of it. */
struct insertion {
    const struct task_wish *wish;
    unsigned max_active;
    int64_t now_ms;
    char id[TASK_ID_SIZE];
    struct task task;
    bool new;
};

static const char *kind_name(const struct task_wish *wish)
{
    return wish->machine ? "instance" : "volume";
}

static bool has_proof(const struct task_wish *wish)
{
    return wish->proof && *wish->proof;
}

static const char *invocation(const struct task_wish *wish)
{
    return wish->invocation ? wish->invocation : "";
}

/* Two that insert for one account at once take turns, so that both see what they count. */
static int take_turn(struct sql_session *session, const char *account, struct im_error *err)
{
    static const char sql[] = "SELECT 1 /*pg , pg_advisory_xact_lock(71, hashtext(?1)) */ "
                              "WHERE ?1 = ?1";
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);

    sql_text(statement, 1, account);
    return sql_step(session, statement, err);
}

/* Counted no further than is needed. */
static int check_limit(struct sql_session *session, const struct insertion *in,
                       struct im_error *err)
{
    static const char sql[] = "SELECT count(*) FROM (SELECT 1 FROM task WHERE account = ?1 "
                              "AND ended_ms IS NULL LIMIT ?2) AS active";
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);
    int r;

    sql_text(statement, 1, in->wish->account);
    sql_int(statement, 2, in->max_active);
    r = sql_step(session, statement, err);
    if (r < 0)
        return r;
    if (sql_column_int(statement, 0) < (int64_t)in->max_active)
        return 0;
    return im_fail(err, EBUSY,
                   "the account has %u conversion tasks that have not ended and may not have more;"
                   " wait for one to end or cancel one",
                   in->max_active);
}

/* Insert the task's own row under in->id: 1 and its row, 0 when the id is taken. */
static int insert_task_as(struct sql_session *session, const struct insertion *in, int64_t *ret_seq,
                          struct im_error *err)
{
    static const char sql[] =
        "INSERT INTO task (id, account, kind, state, description, zone, created_ms, expires_ms, "
        "client_token, parameters, platform, architecture, launch_spec, instance_id, image_id, "
        "proof, invocation) VALUES (?1, ?2, ?3, 'active', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, "
        "?13, ?14, ?15, ?16) "
        "ON CONFLICT (id) DO NOTHING RETURNING seq";
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);
    const struct task_wish *wish = in->wish;
    const struct task_machine *machine = wish->machine;
    char instance_id[TASK_RESOURCE_ID_SIZE], image_id[TASK_RESOURCE_ID_SIZE];
    int r;

    sql_text(statement, 1, in->id);
    sql_text(statement, 2, wish->account);
    sql_text(statement, 3, kind_name(wish));
    sql_text(statement, 4, wish->description);
    sql_text(statement, 5, wish->zone);
    sql_int(statement, 6, in->now_ms);
    sql_int(statement, 7, in->now_ms + TASK_LIFE_MS);
    sql_text(statement, 8, wish->client_token);
    sql_text(statement, 9, wish->parameters);
    sql_text(statement, 15, has_proof(wish) ? wish->proof : NULL);
    sql_text(statement, 16, invocation(wish));
    if (machine) {
        task_new_resource_id("i-", instance_id);
        task_new_resource_id("ami-", image_id);
        sql_text(statement, 10, machine->platform);
        sql_text(statement, 11, machine->architecture);
        sql_text(statement, 12, machine->launch_spec);
        sql_text(statement, 13, instance_id);
        sql_text(statement, 14, image_id);
    }
    r = sql_step(session, statement, err);
    if (r > 0) {
        *ret_seq = sql_column_int(statement, 0);
        r = sql_step(session, statement, err); /* to the end, else the insert is not finished */
        return r < 0 ? r : 1;
    }
    return r;
}

static int insert_task(struct sql_session *session, struct insertion *in, int64_t *ret_seq,
                       struct im_error *err)
{
    int r = 0;

    for (int i = 0; i < ID_TRIES && r == 0; i++) {
        task_new_id(in->wish->machine ? TASK_INSTANCE : TASK_VOLUME, in->id);
        r = insert_task_as(session, in, ret_seq, err);
    }
    if (r == 0)
        return im_fail(err, EEXIST, "no unused task id was found in %d tries", ID_TRIES);
    return r < 0 ? r : 0;
}

/* The convert of a disk, or the launch when disk is NULL. */
static int insert_stage(struct sql_session *session, const struct insertion *in, int64_t seq,
                        size_t number, const struct task_disk *disk, struct im_error *err)
{
    static const char sql[] =
        "INSERT INTO stage (task, number, kind, state, status_message, format, image_bytes, "
        "manifest_url, volume_gib, description, volume_id, due_ms, lane) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);
    const struct task_wish *wish = in->wish;
    char *lane IM_FREE = im_asprintf("%s/%s", wish->account, wish->zone ? wish->zone : "");
    char volume_id[TASK_RESOURCE_ID_SIZE];

    if (!lane)
        return im_fail(err, ENOMEM, "out of memory");
    sql_int(statement, 1, seq);
    sql_uint(statement, 2, number);
    sql_text(statement, 3, disk ? "convert" : "launch");
    sql_text(statement, 4, disk ? "active" : "waiting");
    sql_uint(statement, 7, disk ? disk->image_bytes : 0);
    sql_int(statement, 12, in->now_ms);
    sql_text(statement, 13, lane);
    if (disk) {
        task_new_resource_id("vol-", volume_id);
        sql_text(statement, 5, wish->machine ? TASK_MESSAGE_DOWNLOADED " 0" : TASK_MESSAGE_PENDING);
        sql_text(statement, 6, disk->format);
        sql_text(statement, 8, disk->manifest_url);
        sql_uint(statement, 9, disk->volume_gib);
        sql_text(statement, 10, disk->description);
        sql_text(statement, 11, volume_id);
    }
    return sql_step(session, statement, err);
}

static int insert_stages(struct sql_session *session, const struct insertion *in, int64_t seq,
                         struct im_error *err)
{
    const struct task_wish *wish = in->wish;
    int r = 0;

    for (size_t i = 0; i < wish->disk_count && r == 0; i++)
        r = insert_stage(session, in, seq, i + 1, &wish->disk[i], err);
    if (r == 0 && wish->machine)
        r = insert_stage(session, in, seq, wish->disk_count + 1, NULL, err);
    return r;
}

static int insert_new(struct sql_session *session, struct insertion *in, int64_t *ret_seq,
                      struct im_error *err)
{
    int r = check_limit(session, in, err);

    if (r == 0)
        r = insert_task(session, in, ret_seq, err);
    if (r == 0)
        r = insert_stages(session, in, *ret_seq, err);
    if (r == 0)
        r = task_tags_set(session, *ret_seq, in->wish->tag, in->wish->tag_count, err);
    return r < 0 ? r : sql_notify(session, err);
}

/* The task that was made with this token: 1 and its row, 0 when there is none. */
static int find_token(struct sql_session *session, const struct task_wish *wish, int64_t *ret_seq,
                      struct im_error *err)
{
    static const char sql[] = "SELECT seq, parameters, id FROM task "
                              "WHERE account = ?1 AND kind = ?2 AND client_token = ?3";
    struct sql_statement *row SQL_STATEMENT = sql_use(session, sql);
    const char *parameters;
    int r;

    if (!wish->client_token)
        return 0;
    sql_text(row, 1, wish->account);
    sql_text(row, 2, kind_name(wish));
    sql_text(row, 3, wish->client_token);
    r = sql_step(session, row, err);
    if (r <= 0)
        return r;
    parameters = sql_column_text(row, 1);
    if (!parameters || !wish->parameters || strcmp(parameters, wish->parameters) != 0)
        return im_fail(err, ENOTUNIQ, "the client token was used for task %s with other parameters",
                       sql_column_text(row, 2));
    *ret_seq = sql_column_int(row, 0);
    return 1;
}

/* The task an earlier sending of the same request made: 1 and its row, 0 when there is none. */
static int find_replay(struct sql_session *session, const struct insertion *in, int64_t *ret_seq,
                       struct im_error *err)
{
    static const char sql[] = "SELECT seq FROM task WHERE account = ?1 AND proof = ?2 "
                              "AND (created_ms <= ?3 OR invocation = ?4) "
                              "ORDER BY coalesce(invocation, '') <> ?4, seq LIMIT 1";
    struct sql_statement *row SQL_STATEMENT = NULL;
    int r;

    if (!has_proof(in->wish))
        return 0;
    row = sql_use(session, sql);
    sql_text(row, 1, in->wish->account);
    sql_text(row, 2, in->wish->proof);
    sql_int(row, 3, in->now_ms - TASK_REPEAT_MS);
    sql_text(row, 4, invocation(in->wish));
    r = sql_step(session, row, err);
    if (r > 0)
        *ret_seq = sql_column_int(row, 0);
    return r;
}

/* Of two racing requests with one token the second finds the first's task. */
static int insert(struct sql_session *session, void *arg, struct im_error *err)
{
    struct insertion *in = arg;
    int64_t seq = 0;
    int found, r = take_turn(session, in->wish->account, err);

    task_done(&in->task);
    if (r > 0)
        r = sql_now(session, &in->now_ms, err);
    if (r < 0)
        return r;
    found = find_token(session, in->wish, &seq, err);
    if (found == 0)
        found = find_replay(session, in, &seq, err);
    r = found;
    if (found == 0)
        r = insert_new(session, in, &seq, err);
    if (r < 0)
        return r;
    in->new = found == 0;
    return task_rows_get(session, seq, &in->task, err);
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

/* The server went away during the commit: is the task there? */
static int look_back(struct task_table *table, struct insertion *in, struct im_error *err)
{
    struct im_error why = { 0 };
    struct task task = { 0 };
    int r = task_get(table, in->wish->account, in->task.id, &task, &why);

    if (r == -ENOENT)
        return im_fail(err, EHOSTDOWN, "the database went away before the task was stored");
    if (r < 0)
        return -ECONNABORTED;
    task_done(&in->task);
    in->task = task;
    return 0;
}

int task_insert(struct task_table *table, const struct task_wish *wish, unsigned max_active,
                struct task *ret_task, bool *ret_new, struct im_error *err)
{
    struct insertion in = { .wish = wish, .max_active = max_active };
    int r = check_wish(wish, err);

    if (r == 0)
        r = task_write(table, insert, &in, err);
    if (r == -ECONNABORTED && in.task.id)
        r = look_back(table, &in, err);
    if (r < 0) {
        task_done(&in.task); /* written, but not committed */
        return r;
    }
    *ret_task = in.task;
    *ret_new = in.new;
    return 0;
}

/* table - opening the task table; what all its files share of the database. */

#include <config.h>

#include "task/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "metrics.h"

/* So long after the database's return workers have renewed their leases: two beats, and a try that
 * waits in vain. */
#define RETURN_MS 6000

/* Files of schemas/sql. */
static const struct sql_migration sqlite[] = {
#include "task/sqlite-migrations.def"
};
static const struct sql_migration postgres[] = {
#include "task/postgres-migrations.def"
};

static const struct sql_schema schema = {
    .what = "task table",
    .name = "tasks",
    .sqlite = sqlite,
    .sqlite_count = sizeof(sqlite) / sizeof(sqlite[0]),
    .postgres = postgres,
    .postgres_count = sizeof(postgres) / sizeof(postgres[0]),
};

int task_table_open(const struct task_options *options, struct task_table **ret_table,
                    struct im_error *err)
{
    const struct sql_options database = {
        .where = options->where,
        .schema = &schema,
        .connections = options->connections,
        .existing = options->guest,
        .clock_ms = options->clock_ms,
        .clock_arg = options->clock_arg,
    };
    struct task_table *table = calloc(1, sizeof(*table));
    int r = 0;

    if (table) {
        (void)pthread_mutex_init(&table->lock, NULL);
        table->worker = strdup(options->worker);
    }
    if (!table || !table->worker)
        r = im_fail(err, ENOMEM, "out of memory");
    if (r == 0) {
        table->alone = options->alone;
        table->watch_ms = options->watch_ms;
        table->guest = options->guest;
        table->limits = options->limits;
        table->delete_uploads = options->delete_uploads;
        r = sql_open(&database, &table->db, err);
    }
    if (r < 0) {
        task_table_close(table);
        return r;
    }
    *ret_table = table;
    return 0;
}

struct task_table *task_table_close(struct task_table *table)
{
    if (!table)
        return NULL;
    table->db = sql_close(table->db);
    (void)pthread_mutex_destroy(&table->lock);
    free(table->served);
    free(table->worker);
    free(table);
    return NULL;
}

static void note_failure(struct task_table *table, int r)
{
    metric_database(r);
    if (r == -EHOSTDOWN || r == -ECONNABORTED)
        atomic_store(&table->away_ms, im_clock_monotonic_ms());
}

bool task_was_away(const struct task_table *table)
{
    int64_t away_ms = atomic_load(&table->away_ms);

    return away_ms != 0 && im_clock_monotonic_ms() - away_ms < RETURN_MS;
}

int task_write(struct task_table *table, sql_work_fn *work, void *arg, struct im_error *err)
{
    int r = sql_write(table->db, work, arg, err);

    if (r < 0)
        note_failure(table, r);
    return r;
}

int task_read(struct task_table *table, sql_work_fn *work, void *arg, struct im_error *err)
{
    int r = sql_read(table->db, work, arg, err);

    if (r < 0)
        note_failure(table, r);
    return r;
}

static int touch(struct sql_session *session, void *arg, struct im_error *err)
{
    /* a write that changes nothing: it needs what every write needs */
    int r = sql_run(session, "UPDATE task SET state = state WHERE seq = -1", 0, 0, 0, err);

    (void)arg;
    return r < 0 ? r : 0;
}

int task_table_check(struct task_table *table, struct im_error *err)
{
    return task_write(table, touch, NULL, err);
}

static int ask_now(struct sql_session *session, void *arg, struct im_error *err)
{
    return sql_now(session, arg, err);
}

int task_now(struct task_table *table, int64_t *ret_now_ms, struct im_error *err)
{
    return task_read(table, ask_now, ret_now_ms, err);
}

int task_table_await(struct task_table *table, int wake_fd, int timeout_ms, struct im_error *err)
{
    return sql_await(table->db, wake_fd, timeout_ms, err);
}

/* test-task-scale - the task table with very many rows: how long a claim takes is printed, and a
 * server says which rows were read for it.
 *
 * On SQLite, and (started by service/task-postgres.sh) on PostgreSQL. */

#include <config.h>

#include "task-fixture.h"

#include <time.h>

#include "base/clock.h"

#define QUEUED 10000
#define ENDED  100000
#define CLAIMS 100

static int64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void print_times(const char *what, int64_t *us, size_t count)
{
    qsort(us, count, sizeof(*us), compare);
    print_message("%-44s p50 %6.2f ms, p99 %6.2f ms\n", what, (double)us[count / 2] / 1000,
                  (double)us[count * 99 / 100] / 1000);
}

/* A thousand tasks in the state and with their stages; account: of task i of them, ?1 the number of
 * the thousand. */
#define TASKS(account, state, ended)                                                               \
    "INSERT INTO task (id, account, kind, state, zone, created_ms, expires_ms, ended_ms) "         \
    "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999) "              \
    "SELECT '" state "-' || ?1 || '-' || i, " account ", 'volume', '" state                        \
    "', 'z', 1700000000000, 1700600000000, " ended " FROM n"
#define STAGES(state)                                                                              \
    "INSERT INTO stage (task, number, kind, state, format, image_bytes, manifest_url, "            \
    "volume_gib, volume_id, due_ms, lane) SELECT seq, 1, 'convert', '" state "', 'RAW', 1000, "    \
    "'http://u', 1, 'vol-' || seq, 1700000000000, account || '/z' FROM task "                      \
    "WHERE seq > (SELECT max(seq) - 1000 FROM task)"

/* Statements have a time limit on a server, which a busy machine may reach. */
static void run_long(const char *sql, const char *text)
{
    struct work work = { .sql = sql, .text = text };
    int r = -ETIMEDOUT;

    for (int tries = 0; tries < 20 && (r == -ETIMEDOUT || r == -EHOSTDOWN); tries++)
        r = sql_write(table->db, run_work, &work, &err);
    ok(r);
}

static void fill(int count, const char *tasks, const char *stages)
{
    for (int i = 0; i < count / 1000; i++) {
        char number[16];

        (void)snprintf(number, sizeof(number), "%d", i);
        run_long(tasks, number);
        run_long(stages, NULL);
    }
}

static void measure(const char *what)
{
    int64_t claims[CLAIMS], beats[CLAIMS], publishes[CLAIMS], completes[CLAIMS];

    (void)at(NOW);
    for (size_t i = 0; i < CLAIMS; i++) {
        struct claim taken CLAIM_DONE = { 0 };
        bool cancel;
        int64_t wait, t[5];

        t[0] = now_us();
        ok(task_claim(table, LEASE, &taken, &wait, &err));
        t[1] = now_us();
        ok(task_heartbeat(table, &taken, LEASE, 10, "Progress: 1%", &cancel, &err));
        t[2] = now_us();
        ok(task_publish(table, &taken, &result, &err));
        t[3] = now_us();
        ok(task_complete(table, &taken, NULL, &err));
        t[4] = now_us();
        claims[i] = t[1] - t[0];
        beats[i] = t[2] - t[1];
        publishes[i] = t[3] - t[2];
        completes[i] = t[4] - t[3];
    }
    print_message("%s:\n", what);
    print_times("  claim", claims, CLAIMS);
    print_times("  heartbeat", beats, CLAIMS);
    print_times("  publish", publishes, CLAIMS);
    print_times("  complete", completes, CLAIMS);
}

static void fresh_table(void **state)
{
    assert_int_equal(teardown(state), 0);
    assert_int_equal(setup(state), 0);
}

static void claims_of_many_tasks(void **state)
{
    for (int i = 0; i < CLAIMS; i++)
        insert_for("alice", "z");
    measure("100 queued tasks, 1 account");
    fresh_table(state);
    fill(QUEUED, TASKS("'alice'", "active", "NULL"), STAGES("active"));
    measure("10,000 queued tasks, 1 account");
    fresh_table(state);
    fill(QUEUED, TASKS("'a' || ?1 || '-' || (i % 200)", "active", "NULL"), STAGES("active"));
    measure("10,000 queued tasks, 2,000 accounts");
}

/* ---- what a server reads ---- */

/* Written by the server when a session ends, and when it feels like it. */
static int64_t rows_read(void)
{
    return number_of("SELECT CAST(sum(seq_tup_read) AS bigint) FROM pg_stat_user_tables "
                     "WHERE relname IN ('task', 'stage', 'tag', 'thing')");
}

static int64_t entries_read(void)
{
    return number_of("SELECT CAST(sum(idx_tup_read) AS bigint) FROM pg_stat_user_indexes "
                     "WHERE relname IN ('task', 'stage', 'tag', 'thing')");
}

/* Counts are complete once every other session has ended. */
static void wait_for_counts(void)
{
    int64_t end_ms = im_clock_monotonic_ms() + 60000;

    while (number_of("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                     "AND backend_type = 'client backend' AND pid <> pg_backend_pid()") > 0)
        if (im_clock_monotonic_ms() > end_ms)
            fail_msg("sessions do not end");
}

static int ignore_thing(void *arg, const struct thing *thing)
{
    (void)arg;
    (void)thing;
    return 0;
}

static int ignore_claim(void *arg, const struct claim *taken)
{
    (void)arg;
    (void)taken;
    return 0;
}

/* What workers and the start ask, a hundred times; but for the list of a task's owner. */
static void ask_everything(int64_t times)
{
    for (int64_t i = 0; i < times; i++) {
        struct claim taken CLAIM_DONE = { 0 }, gone = { 0 };
        struct thing upload = { 0 };
        bool cancel;

        claim(&taken, NOW + i);
        ok(task_heartbeat(table, &taken, LEASE, 10, NULL, &cancel, &err));
        if (i % 2) {
            ok(task_publish(table, &taken, &result, &err));
            ok(task_complete(table, &taken, NULL, &err));
        } else {
            ok(task_postpone(table, &taken, 10 * LEASE, TASK_WAITS, NULL, &err));
        }
        if (i % 10 == 0) {
            ok(task_request_cancel(table, taken.task.account, taken.task.id, NULL, &err));
            ok(task_next_removal(table, &gone, &err));
            ok(task_removed(table, &gone, &err));
            claim_done(&gone);
        }
        assert_int_equal(task_next_removal(table, &gone, &err), -EAGAIN);
        assert_int_equal(task_next_upload(table, &upload, &err), -EAGAIN);
        ok(task_list_files(table, ignore_thing, NULL, &err));
        ok(task_recover(table, ignore_claim, NULL, &err));
        insert_for("zoe", "z");
    }
}

/* No statement of work goes through a whole table, whatever the planner thinks of it. */
static void a_server_reads_by_index(void **state)
{
    int64_t rows, entries;

    (void)state;
    if (!on_server())
        skip();
    fill(ENDED, TASKS("'b' || (i % 500)", "completed", "1700000000000"), STAGES("completed"));
    fill(QUEUED, TASKS("'a' || (i % 20)", "active", "NULL"), STAGES("active"));
    run_long("INSERT INTO thing (kind, task, number, epoch, worker, due_ms) "
             "SELECT 'files', id, 1, 1, 'another', 0 FROM task WHERE seq % 100 = 0 "
             "AND state = 'active'",
             NULL);
    run_long("ANALYZE task", NULL);
    run_long("ANALYZE stage", NULL);
    run_long("ANALYZE thing", NULL);
    table = task_table_close(table);
    table = open_as("one", false, NULL);
    wait_for_counts();
    rows = rows_read();
    entries = entries_read();
    ask_everything(CLAIMS);
    table = task_table_close(table);
    table = open_as("one", false, NULL);
    wait_for_counts();
    rows = rows_read() - rows;
    entries = entries_read() - entries;
    print_message("of %d rows %" PRId64 " were read one by one, and %" PRId64
                  " index entries, in %d rounds\n",
                  2 * (ENDED + QUEUED), rows, entries, CLAIMS);
    assert_in_range(rows, 0, CLAIMS * 300);     /* the ledger is short, and read whole */
    assert_in_range(entries, 1, CLAIMS * 1000); /* 20 lanes, and a few dozen for the rest */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_table(claims_of_many_tasks),
        with_table(a_server_reads_by_index),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* task-fixture - what the tests of the task table share: a fresh table per test, whose clock they
 * set, and the steps most of them take.
 *
 * In a file, or with POSTGRES_CONTROL in the environment (tests/lib/with-postgres) on a private
 * server; see sql-fixture.h. */
#pragma once

#include "sql-fixture.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "task/state.h"
#include "task/table.h"
#include "task/task.h"

#define MAYBE  __attribute__((unused))
#define NOW    INT64_C(1700000000000)
#define LEASE  INT64_C(30000)
#define DAY    (INT64_C(24) * 3600 * 1000)
#define URL    "http://127.0.0.1:1/bucket//key?Signature=a%2Bb"
#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct task_table *table; /* of the service "one" */
static _Atomic int64_t clock_ms = NOW;

static int64_t read_clock(void *arg)
{
    (void)arg;
    return atomic_load(&clock_ms);
}

/* The table, at that moment. */
static MAYBE struct task_table *at(int64_t now_ms)
{
    atomic_store(&clock_ms, now_ms);
    return table;
}

/* ---- tables ---- */

static MAYBE struct task_table *open_as(const char *worker, bool alone,
                                        const struct task_limits *limits)
{
    const struct task_options options = {
        .where = where,
        .worker = worker,
        .alone = alone,
        .connections = 8,
        .limits = limits ? *limits : (struct task_limits){ 0 },
        .clock_ms = read_clock,
    };
    struct task_table *opened = NULL;

    ok(task_table_open(&options, &opened, &err));
    return opened;
}

/* Another service on the same tasks.  A file has one process, and so one table. */
static MAYBE struct task_table *open_other(const char *worker, const struct task_limits *limits)
{
    return on_server() ? open_as(worker, false, limits) : table;
}

static MAYBE void close_other(struct task_table *other)
{
    if (other != table)
        (void)task_table_close(other);
}

static MAYBE int try_open(struct task_table **ret_table)
{
    const struct task_options options = {
        .where = where, .worker = "one", .alone = true, .connections = 4, .clock_ms = read_clock
    };

    return task_table_open(&options, ret_table, &err);
}

static MAYBE void reopen(void)
{
    table = task_table_close(table);
    table = open_as("one", true, NULL);
}

static MAYBE int setup(void **state)
{
    if (make_database(state) < 0)
        return -1;
    atomic_store(&clock_ms, NOW);
    table = open_as("one", true, NULL);
    return 0;
}

static MAYBE int teardown(void **state)
{
    table = task_table_close(table);
    return remove_database(state);
}

#define with_table(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* ---- behind the table's back ---- */

/* A statement that answers nothing. */
static MAYBE void run_sql(const char *sql)
{
    struct work work = { .sql = sql };

    ok(sql_write(table->db, run_work, &work, &err));
}

/* One that answers a number. */
static MAYBE int64_t number_of(const char *sql)
{
    return number_from(table->db, sql);
}

/* ---- inserting ---- */

static MAYBE const struct task_disk disks[3] = {
    { "VMDK", URL, NULL, 1000, 8 },
    { "RAW", URL "2", "data", 1000, 9 },
    { "VHD", URL "3", NULL, 1000, 10 },
};
static MAYBE const struct task_machine machine = { "Linux", "x86_64",
                                                   "{\"InstanceType\":\"m1.small\"}" };
static MAYBE const struct task_wish wish = { .account = "alice",
                                             .zone = "standalone",
                                             .description = "a disk",
                                             .disk = disks,
                                             .disk_count = 1 };
static MAYBE const struct stage_result result = { .digest = DIGEST };

static MAYBE int try_insert(const struct task_wish *what, unsigned max_active,
                            struct task *ret_task)
{
    bool fresh = false;
    int r = task_insert(table, what, max_active, ret_task, &fresh, &err);

    if (r == 0)
        assert_true(fresh);
    return r;
}

static MAYBE void insert(struct task *ret_task)
{
    ok(try_insert(&wish, 1000, ret_task));
}

static MAYBE void insert_instance(struct task *ret_task, size_t disk_count)
{
    struct task_wish what = wish;

    what.machine = &machine;
    what.disk_count = disk_count;
    ok(try_insert(&what, 1000, ret_task));
}

/* Nobody looks at it again. */
static MAYBE void insert_for(const char *account, const char *zone)
{
    struct task_wish what = wish;
    struct task task TASK_DONE = { 0 };

    what.account = account;
    what.zone = zone;
    ok(try_insert(&what, 100000, &task));
}

/* ---- working ---- */

static MAYBE void claim(struct claim *ret_claim, int64_t now_ms)
{
    int64_t wait_ms;

    ok(task_claim(at(now_ms), LEASE, ret_claim, &wait_ms, &err));
}

/* The moment to look again, INT64_MAX: never. */
static MAYBE int64_t claim_nothing(int64_t now_ms)
{
    struct claim none = { 0 };
    int64_t wait_ms = -1;

    assert_int_equal(task_claim(at(now_ms), LEASE, &none, &wait_ms, &err), -EAGAIN);
    assert_true(wait_ms >= 0);
    return wait_ms == INT64_MAX ? INT64_MAX : now_ms + wait_ms;
}

/* Both steps of an end that is good. */
static MAYBE int publish_and_complete(const struct claim *taken, const struct stage_result *found)
{
    int r = taken->stage->kind == STAGE_CONVERT ? task_publish(table, taken, found, &err) : 0;

    return r < 0 ? r : task_complete(table, taken, found, &err);
}

/* Claim a stage and complete it. */
static MAYBE void do_next(const struct stage_result *found)
{
    struct claim taken CLAIM_DONE = { 0 };

    claim(&taken, atomic_load(&clock_ms));
    ok(publish_and_complete(&taken, found));
}

/* ---- looking ---- */

/* The row as it is now; lives until the next call but one. */
static MAYBE const struct task *row(const char *id)
{
    static struct task rows[2];
    static unsigned n;
    struct task *task = &rows[n++ % 2];

    task_done(task);
    if (id)
        ok(task_get(table, "alice", id, task, &err));
    return task;
}

static MAYBE void forget_rows(void)
{
    (void)row(NULL);
    (void)row(NULL);
}

static MAYBE const char *shown(const char *message)
{
    return message ? message : "(none)";
}

/* What the owner reads of it now. */
static MAYBE const char *message(const char *id)
{
    return shown(task_message(row(id)));
}

static MAYBE void assert_same_stage(const struct stage *a, const struct stage *b)
{
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->state, b->state);
    assert_string_equal(shown(a->status_message), shown(b->status_message));
    assert_string_equal(shown(a->digest), shown(b->digest));
    assert_int_equal(a->bytes_converted, b->bytes_converted);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->won_epoch, b->won_epoch);
    assert_int_equal(a->deaths, b->deaths);
    assert_int_equal(a->waits, b->waits);
    assert_int_equal(a->tries, b->tries);
    assert_int_equal(a->due_ms, b->due_ms);
    assert_int_equal(a->lease_ms, b->lease_ms);
}

static MAYBE void assert_same(const struct task *a, const struct task *b)
{
    assert_string_equal(a->id, b->id);
    assert_int_equal(a->state, b->state);
    assert_string_equal(shown(a->status_message), shown(b->status_message));
    assert_string_equal(shown(a->boot_mode), shown(b->boot_mode));
    assert_int_equal(a->ended_ms, b->ended_ms);
    assert_int_equal(a->stage_count, b->stage_count);
    for (size_t i = 0; i < a->stage_count; i++)
        assert_same_stage(&a->stage[i], &b->stage[i]);
}

struct listing {
    char id[4][TASK_ID_SIZE];
    int count, stop_at;
};

static MAYBE int list_one(void *arg, const struct task *task)
{
    struct listing *listing = arg;

    (void)snprintf(listing->id[listing->count], TASK_ID_SIZE, "%s", task->id);
    return ++listing->count == listing->stop_at ? -ECANCELED : 0;
}

/* A number from the environment. */
static MAYBE uint64_t setting(const char *name, uint64_t value)
{
    const char *text = getenv(name);

    if (text && im_parse_uint(text, UINT32_MAX, &value) < 0)
        fail_msg("%s=%s is not a number", name, text);
    return value;
}

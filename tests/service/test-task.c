/* test-task - the task table: every function, and random operations against a small model.
 *
 * TEST_SEED and TEST_OPERATIONS in the environment change the random test. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/spawn.h"
#include "base/text.h"
#include "task/state.h"
#include "task/task.h"

#define NOW    INT64_C(1700000000000)
#define LEASE  INT64_C(30000)
#define URL    "http://127.0.0.1:1/bucket//key?Signature=a%2Bb"
#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static char dir[64], path[128];
static struct task_table *table;
static struct im_error err;

#define ok(call)                                                                                   \
    do {                                                                                           \
        int ok_r = (call);                                                                         \
        if (ok_r != 0)                                                                             \
            fail_msg("%s: %d, %s", #call, ok_r, err.message);                                      \
    } while (0)

static int setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "%s", "/tmp/test-task.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/tasks.db", dir);
    memset(&err, 0, sizeof(err));
    return task_table_open(path, &table, &err);
}

static int teardown(void **state)
{
    static const char *const names[] = { "", "-wal", "-shm" };
    char name[160];

    (void)state;
    table = task_table_close(table);
    for (int i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, names[i]);
        (void)unlink(name);
    }
    return rmdir(dir); /* nothing else was made */
}

static void reopen(void)
{
    table = task_table_close(table);
    ok(task_table_open(path, &table, &err));
}

/* Change the file behind the table's back; skips the test where that cannot be done. */
static void run_sql(const char *sql)
{
    const char *const argv[] = {
        "python3",
        "-c",
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.executescript(sys.argv[2]); "
        "db.close()",
        path,
        sql,
        NULL
    };
    struct im_spawn spawn = { argv, NULL, -1, -1, STDERR_FILENO, -1, 0, 0, 0 };
    int status;
    pid_t pid;

    if (im_spawn(&spawn, &pid, &err) == -ENOPKG)
        skip();
    assert_int_equal(im_spawn_wait(pid, 20000, &status), 1);
    assert_int_equal(status, 0);
}

static const struct task_wish wish = { "alice", "VMDK", URL, "standalone", "a disk", 1000, 8 };

static void insert(struct task *ret_task, int64_t now_ms)
{
    ok(task_insert(table, &wish, 1000, now_ms, ret_task, &err));
}

static void claim(struct task *ret_task, int64_t now_ms)
{
    int64_t next;

    ok(task_claim(table, now_ms, LEASE, ret_task, &next, &err));
}

static int64_t claim_nothing(int64_t now_ms)
{
    struct task task;
    int64_t next = -1;

    assert_int_equal(task_claim(table, now_ms, LEASE, &task, &next, &err), -EAGAIN);
    return next;
}

/* The row as it is now; lives until the next call but one. */
static const struct task *row(const char *id)
{
    static struct task rows[2];
    static unsigned n;
    struct task *task = &rows[n++ % 2];

    task_done(task);
    if (id)
        ok(task_get(table, "alice", id, task, &err));
    return task;
}

static void forget_rows(void)
{
    (void)row(NULL);
    (void)row(NULL);
}

static void assert_same(const struct task *a, const struct task *b)
{
    assert_string_equal(a->id, b->id);
    assert_int_equal(a->state, b->state);
    assert_string_equal(a->status_message ? a->status_message : "(none)",
                        b->status_message ? b->status_message : "(none)");
    assert_int_equal(a->bytes_converted, b->bytes_converted);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->deaths, b->deaths);
    assert_int_equal(a->waits, b->waits);
    assert_int_equal(a->tries, b->tries);
}

/* ---- the parts without a database ---- */

static void test_names(void **state)
{
    static const char *const names[] = { "active", "cancelling", "cancelled", "completed" };
    enum task_state parsed = TASK_ACTIVE;

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_string_equal(task_state_name((enum task_state)i), names[i]);
        assert_int_equal(task_state_parse(names[i], &parsed), 0);
        assert_int_equal(parsed, i);
    }
    assert_int_equal(task_state_parse("Active", &parsed), -EINVAL);
    assert_int_equal(parsed, TASK_COMPLETED);
}

static void test_ids(void **state)
{
    char seen[36] = { 0 }, id[TASK_ID_SIZE], volume[TASK_VOLUME_ID_SIZE];
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";

    (void)state;
    for (int i = 0; i < 200; i++) {
        task_new_id(id);
        assert_int_equal(strncmp(id, "import-vol-", 11), 0);
        assert_int_equal(strlen(id), 19);
        assert_int_equal(strspn(id + 11, digits), 8);
        for (int k = 11; k < 19; k++)
            seen[strchr(digits, id[k]) - digits] = 1;
        task_new_volume_id(volume);
        assert_int_equal(strncmp(volume, "vol-", 4), 0);
        assert_int_equal(strlen(volume), 21);
        assert_int_equal(strspn(volume + 4, "0123456789abcdef"), 17);
    }
    for (int i = 0; i < 36; i++)
        assert_int_equal(seen[i], 1); /* not so: once in 10^18 */
}

/* ---- opening ---- */

static void test_mode(void **state)
{
    static const char *const names[] = { "", "-wal", "-shm" };
    struct task task TASK_DONE = { 0 };
    struct stat st;

    (void)state;
    insert(&task, NOW);
    table = task_table_close(table);
    assert_int_equal(chmod(path, 0644), 0);
    ok(task_table_open(path, &table, &err));
    assert_int_equal(row(task.id)->state, TASK_ACTIVE);
    for (int i = 0; i < 3; i++) {
        char name[160];

        (void)snprintf(name, sizeof(name), "%s%s", path, names[i]);
        assert_int_equal(stat(name, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
    }
    forget_rows();
}

static void test_cannot_open(void **state)
{
    struct task_table *other = NULL;
    char name[160];

    (void)state;
    (void)snprintf(name, sizeof(name), "%s/missing/tasks.db", dir);
    assert_int_equal(task_table_open(name, &other, &err), -ENOENT);
    assert_non_null(strstr(err.message, name));
    assert_null(other);
    assert_null(task_table_close(NULL));
}

static void test_not_a_database(void **state)
{
    struct task_table *other = NULL;
    int fd;

    (void)state;
    table = task_table_close(table);
    fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(im_pwrite(fd, "this is not a database, but it is long enough", 46, 0), 0);
    (void)close(fd);
    assert_int_equal(task_table_open(path, &other, &err), -EBADMSG);
    assert_non_null(strstr(err.message, path));
}

static void test_damaged(void **state)
{
    struct task_table *other = NULL;
    char noise[4096];
    int fd, r;

    (void)state;
    for (int i = 0; i < 100; i++) {
        struct task task TASK_DONE = { 0 };

        insert(&task, NOW);
    }
    table = task_table_close(table);
    memset(noise, 0x5a, sizeof(noise));
    fd = open(path, O_WRONLY);
    for (uint64_t page = 3; page < 6; page++)
        assert_int_equal(im_pwrite(fd, noise, sizeof(noise), page * sizeof(noise)), 0);
    (void)close(fd);
    r = task_table_open(path, &other, &err);
    assert_int_equal(r, -EBADMSG);
    assert_non_null(strstr(err.message, "quick_check"));
}

static void test_newer_schema(void **state)
{
    struct task_table *other = NULL;

    (void)state;
    table = task_table_close(table);
    run_sql("INSERT INTO schema_version VALUES (4711, 0);");
    assert_int_equal(task_table_open(path, &other, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.message, "schema version 4711"));
    assert_non_null(strstr(err.message, "newer imaging-service"));
    run_sql("DELETE FROM schema_version WHERE version = 4711;");
    ok(task_table_open(path, &table, &err));
}

/* A migration that fails half-way leaves nothing of itself. */
static void test_migration_taken_back(void **state)
{
    struct task_table *other = NULL;

    (void)state;
    table = task_table_close(table);
    run_sql("DROP TABLE task; DELETE FROM schema_version; CREATE TABLE task_not_ended (x);");
    assert_true(task_table_open(path, &other, &err) < 0);
    assert_non_null(strstr(err.message, "migration 0001-"));
    /* CREATE TABLE without IF NOT EXISTS proves that the first half is gone, too */
    run_sql("DROP TABLE task_not_ended; CREATE TABLE task (x); DROP TABLE task;");
    ok(task_table_open(path, &table, &err));
}

static void test_reopen(void **state)
{
    struct task task TASK_DONE = { 0 }, again TASK_DONE = { 0 };

    (void)state;
    insert(&task, NOW);
    reopen();
    ok(task_get(table, "alice", task.id, &again, &err));
    assert_same(&task, &again);
    assert_string_equal(again.manifest_url, URL);
    assert_string_equal(again.volume_id, task.volume_id);
    assert_int_equal(again.created_ms, NOW);
}

/* ---- for the API ---- */

static void test_insert(void **state)
{
    struct task task TASK_DONE = { 0 }, bare TASK_DONE = { 0 };
    struct task_wish other = wish;

    (void)state;
    insert(&task, NOW);
    assert_string_equal(task.account, "alice");
    assert_int_equal(task.state, TASK_ACTIVE);
    assert_string_equal(task.status_message, "Pending");
    assert_string_equal(task.format, "VMDK");
    assert_int_equal(task.image_bytes, 1000);
    assert_string_equal(task.manifest_url, URL);
    assert_int_equal(task.volume_gib, 8);
    assert_string_equal(task.zone, "standalone");
    assert_string_equal(task.description, "a disk");
    assert_int_equal(task.bytes_converted, 0);
    assert_int_equal(task.created_ms, NOW);
    assert_int_equal(task.expires_ms, NOW + INT64_C(604800000));
    assert_int_equal(task.epoch + task.deaths + task.waits + task.tries, 0);
    other.description = NULL;
    ok(task_insert(table, &other, 1000, NOW, &bare, &err));
    assert_null(bare.description);
    assert_string_not_equal(bare.id, task.id);
    assert_string_not_equal(bare.volume_id, task.volume_id);
}

static void test_insert_limit(void **state)
{
    struct task task[3] = { 0 };
    struct task_wish other = wish;

    (void)state;
    ok(task_insert(table, &wish, 2, NOW, &task[0], &err));
    ok(task_insert(table, &wish, 2, NOW, &task[1], &err));
    assert_int_equal(task_insert(table, &wish, 2, NOW, &task[2], &err), -EBUSY);
    assert_non_null(strstr(err.message, "may have 2"));
    other.account = "bob"; /* has a count of his own */
    ok(task_insert(table, &other, 2, NOW, &task[2], &err));
    task_done(&task[2]);
    ok(task_request_cancel(table, "alice", task[0].id, NULL, NOW, &err));
    ok(task_insert(table, &wish, 2, NOW, &task[2], &err)); /* an ended one counts no more */
    for (int i = 0; i < 3; i++)
        task_done(&task[i]);
}

static void test_insert_uncountable(void **state)
{
    struct task task = { 0 };
    struct task_wish other = wish;

    (void)state;
    other.image_bytes = (uint64_t)INT64_MAX + 1;
    assert_int_equal(task_insert(table, &other, 9, NOW, &task, &err), -EINVAL);
    other = wish;
    other.volume_gib = UINT64_MAX;
    assert_int_equal(task_insert(table, &other, 9, NOW, &task, &err), -EINVAL);
    assert_null(task.id);
    other.volume_gib = 1;
    other.image_bytes = INT64_MAX;
    ok(task_insert(table, &other, 9, NOW, &task, &err));
    assert_int_equal(task.image_bytes, INT64_MAX);
    task_done(&task);
}

/* What strangers wrote comes back as it was and does nothing. */
static void test_hostile_text(void **state)
{
    static const char evil[] = "x'); DROP TABLE task; --\"\\%s\n\xd0\x96\xf0\x9f\x92\xbe";
    struct task_wish other = { evil, evil, evil, evil, evil, 1, 1 };
    struct task task TASK_DONE = { 0 }, again TASK_DONE = { 0 };

    (void)state;
    ok(task_insert(table, &other, 9, NOW, &task, &err));
    assert_int_equal(task_get(table, evil, evil, &again, &err), -ENOENT);
    ok(task_get(table, evil, task.id, &again, &err));
    assert_string_equal(again.manifest_url, evil);
    assert_string_equal(again.description, evil);
    ok(task_request_cancel(table, evil, task.id, evil, NOW, &err));
    task_done(&again);
    ok(task_get(table, evil, task.id, &again, &err));
    assert_string_equal(again.status_message, evil);
}

static void test_get_of_others(void **state)
{
    struct task task TASK_DONE = { 0 }, other = { 0 };

    (void)state;
    insert(&task, NOW);
    assert_int_equal(task_get(table, "bob", task.id, &other, &err), -ENOENT);
    assert_int_equal(task_get(table, "alice", "import-vol-00000000", &other, &err), -ENOENT);
    assert_int_equal(task_request_cancel(table, "bob", task.id, NULL, NOW, &err), -ENOENT);
    assert_int_equal(row(task.id)->state, TASK_ACTIVE);
    assert_null(other.id);
    forget_rows();
}

struct listing {
    char id[4][TASK_ID_SIZE];
    int count, stop_at;
};

static int list_one(void *arg, const struct task *task)
{
    struct listing *listing = arg;

    (void)snprintf(listing->id[listing->count], TASK_ID_SIZE, "%s", task->id);
    return ++listing->count == listing->stop_at ? -ECANCELED : 0;
}

static void test_list(void **state)
{
    struct task task[3] = { 0 };
    struct task_wish other = wish;
    struct listing all = { .count = 0 }, first = { .stop_at = 1 }, none = { .count = 0 };

    (void)state;
    insert(&task[0], NOW);
    other.account = "bob";
    ok(task_insert(table, &other, 9, NOW, &task[1], &err));
    insert(&task[2], NOW - 5000); /* the order is that of arrival, whatever the clock says */
    ok(task_list(table, "alice", list_one, &all, &err));
    assert_int_equal(all.count, 2);
    assert_string_equal(all.id[0], task[0].id);
    assert_string_equal(all.id[1], task[2].id);
    assert_int_equal(task_list(table, "alice", list_one, &first, &err), -ECANCELED);
    assert_int_equal(first.count, 1);
    ok(task_list(table, "carol", list_one, &none, &err));
    assert_int_equal(none.count, 0);
    for (int i = 0; i < 3; i++)
        task_done(&task[i]);
}

static void test_cancel_waiting(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 };

    (void)state;
    insert(&a, NOW);
    insert(&b, NOW);
    ok(task_request_cancel(table, "alice", a.id, "not needed", NOW, &err));
    assert_int_equal(row(a.id)->state, TASK_CANCELLED);
    assert_string_equal(row(a.id)->status_message, "not needed");
    ok(task_request_cancel(table, "alice", a.id, "again", NOW, &err));
    assert_string_equal(row(a.id)->status_message, "not needed");
    ok(task_request_cancel(table, "alice", b.id, "", NOW, &err));
    assert_string_equal(row(b.id)->status_message, "Cancelled by user");
    assert_int_equal(claim_nothing(NOW), INT64_MAX);
    forget_rows();
}

static int publish_well(void *arg, struct im_error *e)
{
    (void)e;
    ++*(int *)arg;
    return 0;
}

static int publish_badly(void *arg, struct im_error *e)
{
    ++*(int *)arg;
    return im_fail(e, EXDEV, "no rename today");
}

static void test_cancel_worked_on(void **state)
{
    struct task task TASK_DONE = { 0 };
    bool cancel = false;
    int calls = 0;

    (void)state;
    insert(&task, NOW);
    task_done(&task);
    claim(&task, NOW);
    ok(task_heartbeat(table, &task, NOW, LEASE, 1, NULL, &cancel, &err));
    assert_false(cancel);
    ok(task_request_cancel(table, "alice", task.id, "enough", NOW + 1, &err));
    assert_int_equal(row(task.id)->state, TASK_CANCELLING);
    ok(task_request_cancel(table, "alice", task.id, "more than enough", NOW + 1, &err));
    ok(task_heartbeat(table, &task, NOW + 2, LEASE, 2, "Progress: 1%", &cancel, &err));
    assert_true(cancel);
    assert_string_equal(row(task.id)->status_message, "enough");
    assert_int_equal(task_complete(table, &task, NOW + 3, DIGEST, publish_well, &calls, &err),
                     -ESTALE);
    assert_int_equal(calls, 0);
    assert_int_equal(task_postpone(table, &task, NOW, TASK_TRIED, "x", &err), -ESTALE);
    ok(task_end_cancelled(table, &task, "ServerError: whatever", NOW + 3, &err));
    assert_int_equal(row(task.id)->state, TASK_CANCELLED);
    assert_string_equal(row(task.id)->status_message, "enough");
    assert_int_equal(task_end_cancelled(table, &task, "x", NOW + 4, &err), -ESTALE);
    forget_rows();
}

/* ---- for workers ---- */

static void test_claim_order(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 }, c TASK_DONE = { 0 };
    struct task first TASK_DONE = { 0 }, second TASK_DONE = { 0 };

    (void)state;
    assert_int_equal(claim_nothing(NOW), INT64_MAX);
    insert(&a, NOW);
    insert(&b, NOW);
    claim(&first, NOW);
    claim(&second, NOW);
    assert_string_equal(first.id, a.id);
    assert_string_equal(second.id, b.id);
    assert_int_equal(first.epoch, 1);
    assert_int_equal(claim_nothing(NOW), NOW + LEASE); /* then a lease may have run out */
    ok(task_postpone(table, &first, NOW + 700, TASK_WAITS, "Pending : later", &err));
    assert_int_equal(claim_nothing(NOW + 699), NOW + 700);
    claim(&c, NOW + 700);
    assert_string_equal(c.id, a.id);
    assert_int_equal(c.epoch, 2);
    assert_int_equal(c.waits, 1);
    assert_string_equal(c.status_message, "Pending : later");
}

static void test_lease_runs_out(void **state)
{
    struct task a TASK_DONE = { 0 }, taken TASK_DONE = { 0 }, over TASK_DONE = { 0 };
    bool cancel;

    (void)state;
    insert(&a, NOW);
    claim(&taken, NOW);
    ok(task_heartbeat(table, &taken, NOW + 20000, LEASE, 0, NULL, &cancel, &err));
    assert_int_equal(claim_nothing(NOW + LEASE), NOW + 20000 + LEASE);
    claim(&over, NOW + 20000 + LEASE);
    assert_int_equal(over.epoch, 2);
    assert_int_equal(over.deaths, 1);
    assert_int_equal(task_heartbeat(table, &taken, NOW + 60000, LEASE, 0, NULL, &cancel, &err),
                     -ESTALE);
}

static void test_lapsed_and_cancelling(void **state)
{
    struct task a TASK_DONE = { 0 }, taken TASK_DONE = { 0 };

    (void)state;
    insert(&a, NOW);
    claim(&taken, NOW);
    ok(task_request_cancel(table, "alice", a.id, "stop", NOW + 1, &err));
    (void)claim_nothing(NOW + LEASE - 1);
    assert_int_equal(row(a.id)->state, TASK_CANCELLING);
    assert_int_equal(claim_nothing(NOW + LEASE), INT64_MAX);
    assert_int_equal(row(a.id)->state, TASK_CANCELLED);
    assert_string_equal(row(a.id)->status_message, "stop");
    forget_rows();
}

static void test_expiry(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 }, taken TASK_DONE = { 0 };
    const int64_t end = NOW + TASK_LIFE_MS;

    (void)state;
    insert(&a, NOW);
    claim(&taken, end - 1);
    insert(&b, NOW);
    assert_int_equal(claim_nothing(end), end - 1 + LEASE);
    assert_int_equal(row(a.id)->state, TASK_ACTIVE); /* it is being worked on */
    assert_int_equal(row(b.id)->state, TASK_CANCELLED);
    assert_string_equal(row(b.id)->status_message, "Task expired");
    ok(task_postpone(table, &taken, end + 1, TASK_WAITS, NULL, &err));
    assert_int_equal(claim_nothing(end + 1), INT64_MAX);
    assert_string_equal(row(a.id)->status_message, "Task expired");
    forget_rows();
}

static void test_heartbeat(void **state)
{
    struct task a TASK_DONE = { 0 }, taken TASK_DONE = { 0 };
    bool cancel = true;

    (void)state;
    insert(&a, NOW);
    claim(&taken, NOW);
    ok(task_heartbeat(table, &taken, NOW, LEASE, 500, "Progress: 50%", &cancel, &err));
    assert_false(cancel);
    assert_int_equal(row(a.id)->bytes_converted, 500);
    assert_string_equal(row(a.id)->status_message, "Progress: 50%");
    ok(task_heartbeat(table, &taken, NOW, LEASE, 499, NULL, &cancel, &err));
    assert_int_equal(row(a.id)->bytes_converted, 500);
    assert_string_equal(row(a.id)->status_message, "Progress: 50%");
    ok(task_heartbeat(table, &taken, NOW, LEASE, UINT64_MAX, NULL, &cancel, &err));
    assert_int_equal(row(a.id)->bytes_converted, 1000);
    forget_rows();
}

static void test_postpone(void **state)
{
    static const enum task_return whys[] = { TASK_RELEASED, TASK_WAITS, TASK_TRIED, TASK_DIED };
    struct task a TASK_DONE = { 0 };

    (void)state;
    insert(&a, NOW);
    for (unsigned i = 0; i < 4; i++) {
        struct task taken TASK_DONE = { 0 };

        claim(&taken, NOW);
        ok(task_postpone(table, &taken, NOW, whys[i], i == 1 ? "said" : NULL, &err));
        assert_int_equal(row(a.id)->waits, i >= 1);
        assert_int_equal(row(a.id)->tries, i >= 2);
        assert_int_equal(row(a.id)->deaths, i >= 3);
        assert_string_equal(row(a.id)->status_message, i >= 1 ? "said" : "Pending");
        assert_int_equal(task_postpone(table, &taken, NOW, whys[i], NULL, &err), -ESTALE);
    }
    forget_rows();
}

static void test_complete(void **state)
{
    struct task a TASK_DONE = { 0 }, taken TASK_DONE = { 0 };
    int calls = 0;

    (void)state;
    insert(&a, NOW);
    claim(&taken, NOW);
    assert_int_equal(task_complete(table, &taken, NOW, DIGEST, publish_badly, &calls, &err),
                     -EXDEV);
    assert_string_equal(err.message, "no rename today");
    assert_int_equal(row(a.id)->state, TASK_ACTIVE);
    assert_null(row(a.id)->digest);
    assert_int_equal(row(a.id)->bytes_converted, 0);
    ok(task_complete(table, &taken, NOW, DIGEST, publish_well, &calls, &err));
    assert_int_equal(calls, 2);
    assert_int_equal(row(a.id)->state, TASK_COMPLETED);
    assert_null(row(a.id)->status_message);
    assert_string_equal(row(a.id)->digest, DIGEST);
    assert_int_equal(row(a.id)->bytes_converted, 1000);
    assert_int_equal(task_complete(table, &taken, NOW, DIGEST, publish_well, &calls, &err),
                     -ESTALE);
    assert_int_equal(calls, 2);
    assert_int_equal(task_request_cancel(table, "alice", a.id, NULL, NOW, &err), -EALREADY);
    assert_int_equal(row(a.id)->state, TASK_COMPLETED);
    reopen();
    assert_int_equal(row(a.id)->state, TASK_COMPLETED);
    forget_rows();
}

static void test_stale_epoch(void **state)
{
    struct task a TASK_DONE = { 0 }, old TASK_DONE = { 0 }, young TASK_DONE = { 0 };
    struct task before TASK_DONE = { 0 };
    bool cancel = false;
    int calls = 0;

    (void)state;
    insert(&a, NOW);
    claim(&old, NOW);
    ok(task_postpone(table, &old, NOW, TASK_RELEASED, NULL, &err));
    claim(&young, NOW);
    ok(task_get(table, "alice", a.id, &before, &err));
    assert_int_equal(task_heartbeat(table, &old, NOW, LEASE, 900, "x", &cancel, &err), -ESTALE);
    assert_int_equal(task_postpone(table, &old, NOW, TASK_DIED, "x", &err), -ESTALE);
    assert_int_equal(task_complete(table, &old, NOW, DIGEST, publish_well, &calls, &err), -ESTALE);
    assert_int_equal(task_end_cancelled(table, &old, "x", NOW, &err), -ESTALE);
    assert_int_equal(calls, 0);
    assert_same(row(a.id), &before);
    ok(task_heartbeat(table, &young, NOW, LEASE, 1, NULL, &cancel, &err));
    forget_rows();
}

/* ---- after a start ---- */

struct recovery {
    int count;
    unsigned deaths;
    const char *complete; /* the id to complete meanwhile */
    int calls;
};

static int recover_one(void *arg, const struct task *task)
{
    struct recovery *recovery = arg;

    recovery->count++;
    recovery->deaths += task->deaths;
    if (recovery->complete && strcmp(task->id, recovery->complete) == 0)
        return task_complete(table, task, NOW, DIGEST, publish_well, &recovery->calls, &err);
    return 0;
}

static int recover_badly(void *arg, const struct task *task)
{
    (void)arg;
    (void)task;
    return -EIO;
}

static void test_recover(void **state)
{
    struct task t[5] = { 0 };
    struct recovery recovery = { .count = 0 }, again = { .count = 0 };
    int64_t next;

    (void)state;
    for (int i = 0; i < 4; i++) {
        insert(&t[i], NOW);
        if (i < 3) {
            task_done(&t[i]);
            claim(&t[i], NOW);
        }
    }
    ok(task_request_cancel(table, "alice", t[1].id, "no more", NOW, &err));
    ok(task_postpone(table, &t[2], NOW + 15000, TASK_WAITS, "Pending : wait", &err));
    reopen();
    assert_int_equal(task_recover(table, NOW, recover_badly, NULL, &err), -EIO);
    assert_int_equal(row(t[0].id)->deaths, 0); /* nothing is counted until all was seen */

    ok(task_recover(table, NOW, recover_one, &recovery, &err));
    assert_int_equal(recovery.count, 2);
    assert_int_equal(recovery.deaths, 2);
    assert_int_equal(row(t[0].id)->deaths, 1);
    assert_string_equal(row(t[0].id)->status_message, "Pending");
    assert_int_equal(row(t[1].id)->state, TASK_CANCELLED);
    assert_string_equal(row(t[1].id)->status_message, "no more");
    assert_int_equal(row(t[2].id)->deaths, 0);
    assert_string_equal(row(t[2].id)->status_message, "Pending : wait");
    assert_int_equal(row(t[3].id)->deaths, 0);
    for (int i = 0; i < 3; i++) { /* the three are due at once, the waiting one too */
        struct task taken TASK_DONE = { 0 };

        ok(task_claim(table, NOW - 1000000, LEASE, &taken, &next, &err));
    }
    again.complete = t[0].id;
    ok(task_recover(table, NOW, recover_one, &again, &err));
    assert_int_equal(again.count, 3);
    assert_int_equal(again.calls, 1);
    assert_int_equal(row(t[0].id)->state, TASK_COMPLETED);
    assert_int_equal(row(t[3].id)->deaths, 1);
    for (int i = 0; i < 5; i++)
        task_done(&t[i]);
    forget_rows();
}

/* ---- threads ---- */

#define MANY 150

struct claimer {
    char id[MANY][TASK_ID_SIZE];
    int count, failed;
};

static void *claim_all(void *arg)
{
    struct claimer *claimer = arg;
    struct im_error mine;
    int64_t next;
    int r = 0;

    while (r == 0) {
        struct task task TASK_DONE = { 0 };

        r = task_claim(table, NOW, LEASE, &task, &next, &mine);
        if (r == 0)
            (void)snprintf(claimer->id[claimer->count++], TASK_ID_SIZE, "%s", task.id);
    }
    claimer->failed = r != -EAGAIN;
    return NULL;
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void test_two_claimers(void **state)
{
    static struct claimer claimer[2];
    static char all[MANY][TASK_ID_SIZE];
    pthread_t thread[2];

    (void)state;
    memset(claimer, 0, sizeof(claimer));
    for (int i = 0; i < MANY; i++) {
        struct task task TASK_DONE = { 0 };

        insert(&task, NOW);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, claim_all, &claimer[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(claimer[0].failed + claimer[1].failed, 0);
    assert_int_equal(claimer[0].count + claimer[1].count, MANY);
    memcpy(all, claimer[0].id, (size_t)claimer[0].count * TASK_ID_SIZE);
    memcpy(all[claimer[0].count], claimer[1].id, (size_t)claimer[1].count * TASK_ID_SIZE);
    qsort(all, MANY, TASK_ID_SIZE, compare);
    for (int i = 1; i < MANY; i++)
        assert_string_not_equal(all[i - 1], all[i]);
}

/* ---- random operations against a model ---- */

#define MODEL_MAX   64
#define MODEL_LIMIT 6

/* The table as it should be, in plain C. */
static struct model {
    struct task task;
    int64_t due, lease; /* lease 0: nobody works on it */
} models[MODEL_MAX];
static int model_count;
static int64_t model_now;

static uint64_t random_state;

static unsigned random_below(unsigned n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % n;
}

static void model_say(struct model *m, const char *message)
{
    free(m->task.status_message);
    m->task.status_message = message ? strdup(message) : NULL;
}

static void model_end(struct model *m, enum task_state state, const char *message)
{
    m->task.state = state;
    m->lease = 0;
    model_say(m, message);
}

static bool model_ended(const struct model *m)
{
    return m->task.state == TASK_CANCELLED || m->task.state == TASK_COMPLETED;
}

/* A claim that may be the living one or an older one. */
static struct task model_claim(struct model *m)
{
    struct task claimed = m->task;

    if (claimed.epoch > 0 && random_below(4) == 0)
        claimed.epoch--;
    return claimed;
}

static bool model_holds(const struct model *m, const struct task *claimed)
{
    return m->lease && claimed->epoch == m->task.epoch;
}

static void random_insert(void)
{
    struct task_wish other = wish;
    unsigned open = 0;
    struct task task = { 0 };
    int r;

    other.account = random_below(2) ? "alice" : "bob";
    for (int i = 0; i < model_count; i++)
        open += !model_ended(&models[i]) && strcmp(models[i].task.account, other.account) == 0;
    if (model_count == MODEL_MAX)
        return;
    r = task_insert(table, &other, MODEL_LIMIT, model_now, &task, &err);
    assert_int_equal(r, open < MODEL_LIMIT ? 0 : -EBUSY);
    if (r == 0)
        models[model_count++].task = task;
}

static void random_cancel(struct model *m)
{
    bool other = random_below(5) == 0;
    bool done = m->task.state == TASK_COMPLETED;
    int r = task_request_cancel(table, other ? "carol" : m->task.account, m->task.id, "why",
                                model_now, &err);

    assert_int_equal(r, other ? -ENOENT : done ? -EALREADY : 0);
    if (r < 0 || m->task.state != TASK_ACTIVE)
        return;
    if (m->lease > model_now) {
        m->task.state = TASK_CANCELLING;
        model_say(m, "why");
    } else {
        model_end(m, TASK_CANCELLED, "why");
    }
}

static void random_claim(void)
{
    struct task task TASK_DONE = { 0 };
    struct model *best = NULL;
    int64_t next = -1, soonest = INT64_MAX, when;
    int r = task_claim(table, model_now, LEASE, &task, &next, &err);

    for (int i = 0; i < model_count; i++) {
        struct model *m = &models[i];
        bool free_now = m->lease <= model_now;

        if (m->task.state == TASK_ACTIVE && free_now && m->task.expires_ms <= model_now)
            model_end(m, TASK_CANCELLED, "Task expired");
        if (m->task.state == TASK_CANCELLING && free_now)
            model_end(m, TASK_CANCELLED, "why");
        if (m->task.state != TASK_ACTIVE)
            continue;
        if (!best && free_now && m->due <= model_now)
            best = m;
        when = m->due > m->lease ? m->due : m->lease;
        soonest = when < soonest ? when : soonest;
    }
    assert_int_equal(r, best ? 0 : -EAGAIN);
    if (!best) {
        assert_int_equal(next, soonest);
        return;
    }
    assert_string_equal(task.id, best->task.id);
    best->task.epoch++;
    best->task.deaths += best->lease != 0;
    best->lease = model_now + LEASE;
    assert_same(&task, &best->task);
}

static void random_heartbeat(struct model *m)
{
    struct task claimed = model_claim(m);
    uint64_t bytes = random_below(1200);
    bool cancel = false;
    int r = task_heartbeat(table, &claimed, model_now, LEASE, bytes, "beat", &cancel, &err);

    assert_int_equal(r, model_holds(m, &claimed) ? 0 : -ESTALE);
    if (r < 0)
        return;
    assert_int_equal(cancel, m->task.state == TASK_CANCELLING);
    m->lease = model_now + LEASE;
    bytes = bytes < 1000 ? bytes : 1000;
    m->task.bytes_converted = bytes > m->task.bytes_converted ? bytes : m->task.bytes_converted;
    if (!cancel)
        model_say(m, "beat");
}

static void random_postpone(struct model *m)
{
    struct task claimed = model_claim(m);
    enum task_return why = (enum task_return)random_below(4);
    int64_t due = model_now + random_below(20000);
    int r = task_postpone(table, &claimed, due, why, "later", &err);
    bool may = model_holds(m, &claimed) && m->task.state == TASK_ACTIVE;

    assert_int_equal(r, may ? 0 : -ESTALE);
    if (r < 0)
        return;
    m->lease = 0;
    m->due = due;
    m->task.waits += why == TASK_WAITS;
    m->task.tries += why == TASK_TRIED;
    m->task.deaths += why == TASK_DIED;
    model_say(m, "later");
}

static void random_complete(struct model *m)
{
    struct task claimed = model_claim(m);
    bool bad = random_below(3) == 0;
    int calls = 0;
    int r = task_complete(table, &claimed, model_now, DIGEST, bad ? publish_badly : publish_well,
                          &calls, &err);
    bool may = model_holds(m, &claimed) && m->task.state == TASK_ACTIVE;

    assert_int_equal(r, !may ? -ESTALE : bad ? -EXDEV : 0);
    assert_int_equal(calls, may);
    if (r < 0)
        return;
    model_end(m, TASK_COMPLETED, NULL);
    m->task.bytes_converted = m->task.image_bytes;
}

static void random_end(struct model *m)
{
    struct task claimed = model_claim(m);
    int r = task_end_cancelled(table, &claimed, "failed", model_now, &err);

    assert_int_equal(r, model_holds(m, &claimed) ? 0 : -ESTALE);
    if (r == 0)
        model_end(m, TASK_CANCELLED, m->task.state == TASK_CANCELLING ? "why" : "failed");
}

static int count_one(void *arg, const struct task *task)
{
    (void)task;
    ++*(int *)arg;
    return 0;
}

static void random_recover(void)
{
    int seen = 0, leased = 0;

    ok(task_recover(table, model_now, count_one, &seen, &err));
    for (int i = 0; i < model_count; i++) {
        struct model *m = &models[i];

        leased += m->lease != 0;
        if (m->task.state == TASK_CANCELLING)
            model_end(m, TASK_CANCELLED, "why");
        if (m->task.state != TASK_ACTIVE)
            continue;
        if (m->lease) {
            m->task.deaths++;
            model_say(m, "Pending");
        }
        m->lease = m->due = 0;
    }
    assert_int_equal(seen, leased);
}

static void compare_all(void)
{
    for (int i = 0; i < model_count; i++) {
        struct task task TASK_DONE = { 0 };

        ok(task_get(table, models[i].task.account, models[i].task.id, &task, &err));
        assert_same(&task, &models[i].task);
    }
}

static void random_operation(void)
{
    struct model *m = model_count ? &models[random_below((unsigned)model_count)] : NULL;
    unsigned what = random_below(100);

    if (what < 8 || !m)
        random_insert();
    else if (what < 14)
        random_cancel(m);
    else if (what < 40)
        random_claim();
    else if (what < 55)
        random_heartbeat(m);
    else if (what < 70)
        random_postpone(m);
    else if (what < 75)
        random_complete(m);
    else if (what < 80)
        random_end(m);
    else if (what < 81)
        random_recover();
    else if (what < 82)
        reopen();
    else if (what < 99)
        model_now += random_below(8000);
    else
        model_now += TASK_LIFE_MS / 40;
}

static uint64_t setting(const char *name, uint64_t value)
{
    const char *text = getenv(name);

    if (text && im_parse_uint(text, UINT32_MAX, &value) < 0)
        fail_msg("%s=%s is not a number", name, text);
    return value;
}

static void forget_models(void)
{
    for (int i = 0; i < model_count; i++)
        task_done(&models[i].task);
    memset(models, 0, sizeof(models));
    model_count = 0;
}

static void test_random(void **state)
{
    uint64_t operations = setting("TEST_OPERATIONS", 20000);

    random_state = setting("TEST_SEED", 20261121);
    print_message("TEST_SEED=%" PRIu64 " TEST_OPERATIONS=%" PRIu64 "\n", random_state, operations);
    model_now = NOW;
    for (uint64_t i = 0; i < operations; i++) {
        random_operation();
        if (i % 100 != 99)
            continue;
        compare_all();
        if (model_count == MODEL_MAX) { /* a new file, so that there is always something to do */
            assert_int_equal(teardown(state), 0);
            assert_int_equal(setup(state), 0);
            forget_models();
        }
    }
    compare_all();
    forget_models();
}

#define with_table(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_ids),
        with_table(test_mode),
        with_table(test_cannot_open),
        with_table(test_not_a_database),
        with_table(test_damaged),
        with_table(test_newer_schema),
        with_table(test_migration_taken_back),
        with_table(test_reopen),
        with_table(test_insert),
        with_table(test_insert_limit),
        with_table(test_insert_uncountable),
        with_table(test_hostile_text),
        with_table(test_get_of_others),
        with_table(test_list),
        with_table(test_cancel_waiting),
        with_table(test_cancel_worked_on),
        with_table(test_claim_order),
        with_table(test_lease_runs_out),
        with_table(test_lapsed_and_cancelling),
        with_table(test_expiry),
        with_table(test_heartbeat),
        with_table(test_postpone),
        with_table(test_complete),
        with_table(test_stale_epoch),
        with_table(test_recover),
        with_table(test_two_claimers),
        with_table(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

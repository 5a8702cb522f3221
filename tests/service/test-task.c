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

static const struct task_disk disks[3] = {
    { "VMDK", URL, NULL, 1000, 8 },
    { "RAW", URL "2", "data", 1000, 9 },
    { "VHD", URL "3", NULL, 1000, 10 },
};
static const struct task_machine machine = { "Linux", "x86_64", "{\"InstanceType\":\"m1.small\"}" };
static const struct task_wish wish = { .account = "alice",
                                       .zone = "standalone",
                                       .description = "a disk",
                                       .disk = disks,
                                       .disk_count = 1 };
static const struct stage_result result = { .digest = DIGEST };

static int try_insert(const struct task_wish *what, unsigned max_active, int64_t now_ms,
                      struct task *ret_task)
{
    bool fresh = false;
    int r = task_insert(table, what, max_active, now_ms, ret_task, &fresh, &err);

    if (r == 0)
        assert_true(fresh);
    return r;
}

static void insert(struct task *ret_task, int64_t now_ms)
{
    ok(try_insert(&wish, 1000, now_ms, ret_task));
}

static void insert_instance(struct task *ret_task, size_t disk_count)
{
    struct task_wish what = wish;

    what.machine = &machine;
    what.disk_count = disk_count;
    ok(try_insert(&what, 1000, NOW, ret_task));
}

static void claim(struct claim *ret_claim, int64_t now_ms)
{
    int64_t next;

    ok(task_claim(table, now_ms, LEASE, ret_claim, &next, &err));
}

static int64_t claim_nothing(int64_t now_ms)
{
    struct claim none = { 0 };
    int64_t next = -1;

    assert_int_equal(task_claim(table, now_ms, LEASE, &none, &next, &err), -EAGAIN);
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

static const char *shown(const char *message)
{
    return message ? message : "(none)";
}

/* What the owner reads of it now. */
static const char *message(const char *id)
{
    return shown(task_message(row(id)));
}

static void assert_same_stage(const struct stage *a, const struct stage *b)
{
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->state, b->state);
    assert_string_equal(shown(a->status_message), shown(b->status_message));
    assert_int_equal(a->bytes_converted, b->bytes_converted);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->deaths, b->deaths);
    assert_int_equal(a->waits, b->waits);
    assert_int_equal(a->tries, b->tries);
}

static void assert_same(const struct task *a, const struct task *b)
{
    assert_string_equal(a->id, b->id);
    assert_int_equal(a->state, b->state);
    assert_string_equal(shown(a->status_message), shown(b->status_message));
    assert_int_equal(a->stage_count, b->stage_count);
    for (size_t i = 0; i < a->stage_count; i++)
        assert_same_stage(&a->stage[i], &b->stage[i]);
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
    char seen[36] = { 0 }, id[TASK_ID_SIZE], volume[TASK_RESOURCE_ID_SIZE];
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";

    (void)state;
    for (int i = 0; i < 200; i++) {
        task_new_id(TASK_INSTANCE, id);
        assert_int_equal(strncmp(id, "import-i-", 9), 0);
        assert_int_equal(strlen(id), 17);
        task_new_id(TASK_VOLUME, id);
        assert_int_equal(strncmp(id, "import-vol-", 11), 0);
        assert_int_equal(strlen(id), 19);
        assert_int_equal(strspn(id + 11, digits), 8);
        for (int k = 11; k < 19; k++)
            seen[strchr(digits, id[k]) - digits] = 1;
        task_new_resource_id("vol-", volume);
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
    run_sql("DROP TABLE task; DROP TABLE stage; DROP TABLE tag; DELETE FROM schema_version; "
            "CREATE TABLE task_not_ended (x);");
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
    assert_string_equal(again.stage[0].manifest_url, URL);
    assert_string_equal(again.stage[0].volume_id, task.stage[0].volume_id);
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
    assert_string_equal(task_message(&task), "Pending");
    assert_string_equal(task.stage[0].format, "VMDK");
    assert_int_equal(task.stage[0].image_bytes, 1000);
    assert_string_equal(task.stage[0].manifest_url, URL);
    assert_int_equal(task.stage[0].volume_gib, 8);
    assert_string_equal(task.zone, "standalone");
    assert_string_equal(task.description, "a disk");
    assert_int_equal(task.stage[0].bytes_converted, 0);
    assert_int_equal(task.created_ms, NOW);
    assert_int_equal(task.expires_ms, NOW + INT64_C(604800000));
    assert_int_equal(task.stage_count, 1);
    assert_int_equal(task.stage[0].epoch + task.stage[0].deaths + task.stage[0].waits, 0);
    assert_int_equal(task.stage[0].tries, 0);
    assert_int_equal(task.kind, TASK_VOLUME);
    assert_null(task.instance_id);
    other.description = NULL;
    ok(try_insert(&other, 1000, NOW, &bare));
    assert_null(bare.description);
    assert_string_not_equal(bare.id, task.id);
    assert_string_not_equal(bare.stage[0].volume_id, task.stage[0].volume_id);
}

static void test_insert_limit(void **state)
{
    struct task task[3] = { 0 };
    struct task_wish other = wish;

    (void)state;
    ok(try_insert(&wish, 2, NOW, &task[0]));
    ok(try_insert(&wish, 2, NOW, &task[1]));
    assert_int_equal(try_insert(&wish, 2, NOW, &task[2]), -EBUSY);
    assert_non_null(strstr(err.message, "may have 2"));
    other.account = "bob"; /* has a count of his own */
    ok(try_insert(&other, 2, NOW, &task[2]));
    task_done(&task[2]);
    ok(task_request_cancel(table, "alice", task[0].id, NULL, NOW, &err));
    ok(try_insert(&wish, 2, NOW, &task[2])); /* an ended one counts no more */
    for (int i = 0; i < 3; i++)
        task_done(&task[i]);
}

static void test_insert_uncountable(void **state)
{
    struct task task = { 0 };
    struct task_disk disk[22] = { disks[0] };
    struct task_wish other = wish;
    bool fresh;

    (void)state;
    other.disk = disk;
    disk[0].image_bytes = (uint64_t)INT64_MAX + 1;
    assert_int_equal(task_insert(table, &other, 9, NOW, &task, &fresh, &err), -EINVAL);
    disk[0] = disks[0];
    disk[0].volume_gib = UINT64_MAX;
    assert_int_equal(task_insert(table, &other, 9, NOW, &task, &fresh, &err), -EINVAL);
    disk[0] = disks[0];
    other.disk_count = 2; /* a volume has one image */
    assert_int_equal(task_insert(table, &other, 9, NOW, &task, &fresh, &err), -EINVAL);
    other.machine = &machine;
    other.disk_count = 22;
    assert_int_equal(task_insert(table, &other, 9, NOW, &task, &fresh, &err), -EINVAL);
    assert_null(task.id);
    for (size_t i = 0; i < 21; i++)
        disk[i] = disks[0];
    other.disk_count = 21;
    disk[0].volume_gib = 1;
    disk[0].image_bytes = INT64_MAX;
    ok(try_insert(&other, 9, NOW, &task));
    assert_int_equal(task.stage_count, 22);
    assert_int_equal(task.stage[0].image_bytes, INT64_MAX);
    task_done(&task);
}

/* What strangers wrote comes back as it was and does nothing. */
static void test_hostile_text(void **state)
{
    static const char evil[] = "x'); DROP TABLE task; --\"\\%s\n\xd0\x96\xf0\x9f\x92\xbe";
    static const struct task_disk disk = { evil, evil, evil, 1, 1 };
    static const struct task_machine spec = { evil, evil, evil };
    static const struct task_tag tag = { evil, evil };
    const struct task_wish other = { evil, evil, evil, evil, evil, &disk, 1, &spec, &tag, 1 };
    struct task task TASK_DONE = { 0 }, again TASK_DONE = { 0 };

    (void)state;
    ok(try_insert(&other, 9, NOW, &task));
    assert_int_equal(task_get(table, evil, evil, &again, &err), -ENOENT);
    ok(task_get(table, evil, task.id, &again, &err));
    assert_string_equal(again.stage[0].manifest_url, evil);
    assert_string_equal(again.description, evil);
    assert_string_equal(again.stage[0].description, evil);
    assert_string_equal(again.launch_spec, evil);
    assert_string_equal(again.tag[0].key, evil);
    assert_string_equal(again.tag[0].value, evil);
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
    ok(try_insert(&other, 9, NOW, &task[1]));
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
    assert_string_equal(message(a.id), "not needed");
    ok(task_request_cancel(table, "alice", a.id, "again", NOW, &err));
    assert_string_equal(message(a.id), "not needed");
    ok(task_request_cancel(table, "alice", b.id, "", NOW, &err));
    assert_string_equal(message(b.id), "Cancelled by user");
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
    struct claim taken CLAIM_DONE = { 0 };
    bool cancel = false;
    int calls = 0;

    (void)state;
    insert(&task, NOW);
    claim(&taken, NOW);
    ok(task_heartbeat(table, &taken, NOW, LEASE, 1, NULL, &cancel, &err));
    assert_false(cancel);
    ok(task_request_cancel(table, "alice", task.id, "enough", NOW + 1, &err));
    assert_int_equal(row(task.id)->state, TASK_CANCELLING);
    ok(task_request_cancel(table, "alice", task.id, "more than enough", NOW + 1, &err));
    ok(task_heartbeat(table, &taken, NOW + 2, LEASE, 2, "Progress: 1%", &cancel, &err));
    assert_true(cancel);
    assert_string_equal(message(task.id), "enough");
    assert_int_equal(task_complete(table, &taken, NOW + 3, &result, publish_well, &calls, &err),
                     -ESTALE);
    assert_int_equal(calls, 0);
    assert_int_equal(task_postpone(table, &taken, NOW, TASK_TRIED, "x", &err), -ESTALE);
    ok(task_end_cancelled(table, &taken, "ServerError: whatever", NOW + 3, &err));
    assert_int_equal(row(task.id)->state, TASK_CANCELLED);
    assert_string_equal(message(task.id), "enough");
    assert_int_equal(task_end_cancelled(table, &taken, "x", NOW + 4, &err), -ESTALE);
    forget_rows();
}

/* ---- for workers ---- */

static void test_claim_order(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 };
    struct claim c CLAIM_DONE = { 0 };
    struct claim first CLAIM_DONE = { 0 }, second CLAIM_DONE = { 0 };

    (void)state;
    assert_int_equal(claim_nothing(NOW), INT64_MAX);
    insert(&a, NOW);
    insert(&b, NOW);
    claim(&first, NOW);
    claim(&second, NOW);
    assert_string_equal(first.task.id, a.id);
    assert_string_equal(second.task.id, b.id);
    assert_int_equal(first.stage->epoch, 1);
    assert_int_equal(claim_nothing(NOW), NOW + LEASE); /* then a lease may have run out */
    ok(task_postpone(table, &first, NOW + 700, TASK_WAITS, "Pending : later", &err));
    assert_int_equal(claim_nothing(NOW + 699), NOW + 700);
    claim(&c, NOW + 700);
    assert_string_equal(c.task.id, a.id);
    assert_int_equal(c.stage->epoch, 2);
    assert_int_equal(c.stage->waits, 1);
    assert_string_equal(c.stage->status_message, "Pending : later");
}

static void test_lease_runs_out(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 }, over CLAIM_DONE = { 0 };
    bool cancel;

    (void)state;
    insert(&a, NOW);
    claim(&taken, NOW);
    ok(task_heartbeat(table, &taken, NOW + 20000, LEASE, 0, NULL, &cancel, &err));
    assert_int_equal(claim_nothing(NOW + LEASE), NOW + 20000 + LEASE);
    claim(&over, NOW + 20000 + LEASE);
    assert_int_equal(over.stage->epoch, 2);
    assert_int_equal(over.stage->deaths, 1);
    assert_int_equal(task_heartbeat(table, &taken, NOW + 60000, LEASE, 0, NULL, &cancel, &err),
                     -ESTALE);
}

static void test_lapsed_and_cancelling(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 };

    (void)state;
    insert(&a, NOW);
    claim(&taken, NOW);
    ok(task_request_cancel(table, "alice", a.id, "stop", NOW + 1, &err));
    (void)claim_nothing(NOW + LEASE - 1);
    assert_int_equal(row(a.id)->state, TASK_CANCELLING);
    assert_int_equal(claim_nothing(NOW + LEASE), INT64_MAX);
    assert_int_equal(row(a.id)->state, TASK_CANCELLED);
    assert_string_equal(message(a.id), "stop");
    forget_rows();
}

static void test_expiry(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 };
    const int64_t end = NOW + TASK_LIFE_MS;

    (void)state;
    insert(&a, NOW);
    claim(&taken, end - 1);
    insert(&b, NOW);
    assert_int_equal(claim_nothing(end), end - 1 + LEASE);
    assert_int_equal(row(a.id)->state, TASK_ACTIVE); /* it is being worked on */
    assert_int_equal(row(b.id)->state, TASK_CANCELLED);
    assert_string_equal(message(b.id), "Task expired");
    ok(task_postpone(table, &taken, end + 1, TASK_WAITS, NULL, &err));
    assert_int_equal(claim_nothing(end + 1), INT64_MAX);
    assert_string_equal(message(a.id), "Task expired");
    forget_rows();
}

static void test_heartbeat(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 };
    bool cancel = true;

    (void)state;
    insert(&a, NOW);
    claim(&taken, NOW);
    ok(task_heartbeat(table, &taken, NOW, LEASE, 500, "Progress: 50%", &cancel, &err));
    assert_false(cancel);
    assert_int_equal(row(a.id)->stage[0].bytes_converted, 500);
    assert_string_equal(message(a.id), "Progress: 50%");
    ok(task_heartbeat(table, &taken, NOW, LEASE, 499, NULL, &cancel, &err));
    assert_int_equal(row(a.id)->stage[0].bytes_converted, 500);
    assert_string_equal(message(a.id), "Progress: 50%");
    ok(task_heartbeat(table, &taken, NOW, LEASE, UINT64_MAX, NULL, &cancel, &err));
    assert_int_equal(row(a.id)->stage[0].bytes_converted, 1000);
    forget_rows();
}

static void test_postpone(void **state)
{
    static const enum task_return whys[] = { TASK_RELEASED, TASK_WAITS, TASK_TRIED, TASK_DIED };
    struct task a TASK_DONE = { 0 };

    (void)state;
    insert(&a, NOW);
    for (unsigned i = 0; i < 4; i++) {
        struct claim taken CLAIM_DONE = { 0 };

        claim(&taken, NOW);
        ok(task_postpone(table, &taken, NOW, whys[i], i == 1 ? "said" : NULL, &err));
        assert_int_equal(row(a.id)->stage[0].waits, i >= 1);
        assert_int_equal(row(a.id)->stage[0].tries, i >= 2);
        assert_int_equal(row(a.id)->stage[0].deaths, i >= 3);
        assert_string_equal(message(a.id), i >= 1 ? "said" : "Pending");
        assert_int_equal(task_postpone(table, &taken, NOW, whys[i], NULL, &err), -ESTALE);
    }
    forget_rows();
}

static void test_complete(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 };
    int calls = 0;

    (void)state;
    insert(&a, NOW);
    claim(&taken, NOW);
    assert_int_equal(task_complete(table, &taken, NOW, &result, publish_badly, &calls, &err),
                     -EXDEV);
    assert_string_equal(err.message, "no rename today");
    assert_int_equal(row(a.id)->state, TASK_ACTIVE);
    assert_null(row(a.id)->stage[0].digest);
    assert_int_equal(row(a.id)->stage[0].bytes_converted, 0);
    ok(task_complete(table, &taken, NOW, &result, publish_well, &calls, &err));
    assert_int_equal(calls, 2);
    assert_int_equal(row(a.id)->state, TASK_COMPLETED);
    assert_null(row(a.id)->status_message);
    assert_string_equal(row(a.id)->stage[0].digest, DIGEST);
    assert_int_equal(row(a.id)->stage[0].bytes_converted, 1000);
    assert_int_equal(task_complete(table, &taken, NOW, &result, publish_well, &calls, &err),
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
    struct task a TASK_DONE = { 0 };
    struct claim old CLAIM_DONE = { 0 }, young CLAIM_DONE = { 0 };
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
    assert_int_equal(task_complete(table, &old, NOW, &result, publish_well, &calls, &err), -ESTALE);
    assert_int_equal(task_end_cancelled(table, &old, "x", NOW, &err), -ESTALE);
    assert_int_equal(calls, 0);
    assert_same(row(a.id), &before);
    ok(task_heartbeat(table, &young, NOW, LEASE, 1, NULL, &cancel, &err));
    forget_rows();
}

/* ---- tasks of several stages ---- */

static int64_t no_next;

/* Claim a stage and complete it. */
static void do_next(const struct stage_result *found)
{
    struct claim taken CLAIM_DONE = { 0 };
    int calls = 0;

    ok(task_claim(table, NOW, LEASE, &taken, &no_next, &err));
    ok(task_complete(table, &taken, NOW, found, publish_well, &calls, &err));
}

static void test_instance(void **state)
{
    static const struct stage_result boots = { .digest = DIGEST, .boot_mode = "uefi" };
    static const struct stage_result launched = { .instance_id = "i-0aaaaaaaaaaaaaaaa" };
    struct task task TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 };
    char known[TASK_RESOURCE_ID_SIZE];

    (void)state;
    insert_instance(&task, 2);
    assert_int_equal(task.kind, TASK_INSTANCE);
    assert_int_equal(strncmp(task.id, "import-i-", 9), 0);
    assert_int_equal(strncmp(task.instance_id, "i-", 2), 0);
    assert_int_equal(strncmp(task.image_id, "ami-", 4), 0);
    assert_int_equal(strlen(task.image_id), 21);
    assert_string_equal(task.platform, "Linux");
    assert_string_equal(task.architecture, "x86_64");
    assert_int_equal(task.stage_count, 3);
    assert_string_equal(task.stage[1].format, "RAW");
    assert_string_equal(task.stage[1].description, "data");
    assert_string_equal(task.stage[1].status_message, "Pending : Downloaded 0");
    assert_int_equal(task.stage[2].kind, STAGE_LAUNCH);
    assert_int_equal(task.stage[2].state, STAGE_WAITING);
    assert_null(task.stage[2].volume_id);
    (void)snprintf(known, sizeof(known), "%s", task.instance_id);

    do_next(&boots);
    assert_int_equal(row(task.id)->stage[0].state, STAGE_COMPLETED);
    assert_null(row(task.id)->stage[0].status_message);
    assert_string_equal(message(task.id), "Pending");
    assert_string_equal(row(task.id)->boot_mode, "uefi");
    claim(&taken, NOW);
    assert_int_equal(taken.stage->number, 2);
    assert_int_equal(claim_nothing(NOW), NOW + LEASE); /* the launch waits */
    ok(task_complete(table, &taken, NOW, &result, NULL, NULL, &err));
    assert_string_equal(message(task.id), "Progress: 99%");
    assert_string_equal(row(task.id)->boot_mode, "uefi");
    assert_string_equal(row(task.id)->instance_id, known);
    claim_done(&taken);
    claim(&taken, NOW);
    assert_int_equal(taken.stage->kind, STAGE_LAUNCH);
    assert_string_equal(taken.task.launch_spec, machine.launch_spec);
    assert_int_equal(task_request_cancel(table, "alice", task.id, NULL, NOW, &err), -EALREADY);
    assert_non_null(strstr(err.message, "being launched"));
    ok(task_complete(table, &taken, NOW, &launched, NULL, NULL, &err));
    assert_int_equal(row(task.id)->state, TASK_COMPLETED);
    assert_null(task_message(row(task.id)));
    assert_string_equal(row(task.id)->instance_id, launched.instance_id);
    forget_rows();
}

static void expect_removal(const struct task *task, unsigned number)
{
    struct claim gone CLAIM_DONE = { 0 };

    ok(task_next_removal(table, &gone, &err));
    assert_string_equal(gone.task.id, task->id);
    assert_int_equal(gone.stage->number, number);
    ok(task_removed(table, &gone, NOW, &err));
    ok(task_removed(table, &gone, NOW, &err)); /* twice does no harm */
}

static void expect_no_removal(void)
{
    struct claim none = { 0 };

    assert_int_equal(task_next_removal(table, &none, &err), -EAGAIN);
}

/* The failure of one disk ends the task: the one worked on is told, the published one goes. */
static void test_one_disk_fails(void **state)
{
    struct task task TASK_DONE = { 0 };
    struct claim second CLAIM_DONE = { 0 }, third CLAIM_DONE = { 0 };
    bool cancel = false;
    int calls = 0;

    (void)state;
    insert_instance(&task, 3);
    expect_no_removal();
    do_next(&result);
    claim(&second, NOW);
    claim(&third, NOW);
    ok(task_end_cancelled(table, &second, "ClientError: bad", NOW, &err));
    assert_int_equal(row(task.id)->state, TASK_CANCELLING);
    assert_string_equal(message(task.id), "ClientError: bad");
    assert_string_equal(row(task.id)->stage[1].status_message, "ClientError: bad");
    assert_int_equal(row(task.id)->stage[0].state, STAGE_REMOVING);
    assert_int_equal(row(task.id)->stage[3].state, STAGE_CANCELLED);
    expect_removal(&task, 1);
    expect_no_removal();
    assert_int_equal(row(task.id)->state, TASK_CANCELLING); /* the third is still at it */
    ok(task_heartbeat(table, &third, NOW, LEASE, 10, "Progress: 1%", &cancel, &err));
    assert_true(cancel);
    assert_int_equal(task_complete(table, &third, NOW, &result, publish_well, &calls, &err),
                     -ESTALE);
    assert_int_equal(calls, 0);
    ok(task_end_cancelled(table, &third, "ServerError: other", NOW, &err));
    assert_int_equal(row(task.id)->state, TASK_CANCELLED);
    assert_string_equal(message(task.id), "ClientError: bad");
    assert_null(row(task.id)->stage[2].status_message);
    forget_rows();
}

/* Nobody works on it, but a volume stands: "cancelled" waits until it is gone. */
static void test_cancel_with_a_volume(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    insert_instance(&task, 2);
    do_next(&result);
    ok(task_request_cancel(table, "alice", task.id, "enough", NOW, &err));
    assert_int_equal(row(task.id)->state, TASK_CANCELLING);
    assert_int_equal(claim_nothing(NOW), INT64_MAX);
    reopen();
    expect_removal(&task, 1);
    assert_int_equal(row(task.id)->state, TASK_CANCELLED);
    assert_string_equal(message(task.id), "enough");
    forget_rows();
}

static void test_launch_fails(void **state)
{
    struct task task TASK_DONE = { 0 };
    struct claim launch CLAIM_DONE = { 0 };

    (void)state;
    insert_instance(&task, 2);
    do_next(&result);
    do_next(&result);
    assert_int_equal(claim_nothing(NOW - 1), NOW);
    claim(&launch, NOW + TASK_LIFE_MS + 1); /* what is uploaded whole does not expire */
    ok(task_end_cancelled(table, &launch, "ServerError: no capacity", NOW, &err));
    expect_removal(&task, 1);
    assert_int_equal(row(task.id)->state, TASK_CANCELLING);
    expect_removal(&task, 2);
    assert_int_equal(row(task.id)->state, TASK_CANCELLED);
    assert_string_equal(message(task.id), "ServerError: no capacity");
    forget_rows();
}

/* ---- client tokens ---- */

static struct task_wish token_wish(const char *token, const char *parameters)
{
    struct task_wish other = wish;

    other.client_token = token;
    other.parameters = parameters;
    return other;
}

static void test_token(void **state)
{
    struct task first TASK_DONE = { 0 }, again TASK_DONE = { 0 }, third TASK_DONE = { 0 };
    struct task_wish a = token_wish("t", "p1"), b = token_wish("t", "p2");
    bool fresh = true;

    (void)state;
    ok(try_insert(&a, 1, NOW, &first));
    ok(task_request_cancel(table, "alice", first.id, "no", NOW, &err));
    ok(task_insert(table, &a, 0, NOW, &again, &fresh, &err)); /* the limit is for new ones */
    assert_false(fresh);
    assert_string_equal(again.id, first.id);
    assert_int_equal(again.state, TASK_CANCELLED); /* as it is now */
    assert_int_equal(task_insert(table, &b, 9, NOW, &third, &fresh, &err), -ENOTUNIQ);
    assert_non_null(strstr(err.message, first.id));
    b.machine = &machine; /* of another action */
    ok(try_insert(&b, 9, NOW, &third));
    task_done(&third);
    b = token_wish("t", "p2");
    b.account = "bob";
    ok(try_insert(&b, 9, NOW, &third));
    task_done(&third);
    b = token_wish("T", "p2");
    ok(try_insert(&b, 9, NOW, &third));
}

struct racer {
    char id[TASK_ID_SIZE];
    bool fresh;
    int result;
};

static void *race(void *arg)
{
    struct racer *racer = arg;
    struct task_wish a = token_wish("race", "p");
    struct task task TASK_DONE = { 0 };
    struct im_error mine;

    racer->result = task_insert(table, &a, 9, NOW, &task, &racer->fresh, &mine);
    (void)snprintf(racer->id, sizeof(racer->id), "%s", task.id ? task.id : "");
    return NULL;
}

static void test_racing_tokens(void **state)
{
    struct racer racer[8] = { 0 };
    pthread_t thread[8];
    int fresh = 0;

    (void)state;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, race, &racer[i]), 0);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(racer[i].result, 0);
        assert_string_equal(racer[i].id, racer[0].id);
        fresh += racer[i].fresh;
    }
    assert_int_equal(fresh, 1);
}

/* ---- writers at the same time ---- */

#define WRITERS 8
#define WRITES  20

/* Every second insert is refused; the others share its transaction. */
static void *write_much(void *arg)
{
    int *wrong = arg;

    for (int i = 0; i < 2 * WRITES; i++) {
        struct task task TASK_DONE = { 0 };
        struct im_error mine;
        bool fresh;
        int r = task_insert(table, &wish, i % 2 ? 0 : 9999, NOW, &task, &fresh, &mine);

        *wrong += r != (i % 2 ? -EBUSY : 0);
    }
    return NULL;
}

static int count_task(void *arg, const struct task *task)
{
    (void)task;
    ++*(int *)arg;
    return 0;
}

static void test_writers(void **state)
{
    pthread_t thread[WRITERS];
    int wrong[WRITERS] = { 0 }, count = 0;

    (void)state;
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, write_much, &wrong[i]), 0);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_int_equal(wrong[i], 0);
    }
    reopen();
    ok(task_list(table, "alice", count_task, &count, &err));
    assert_int_equal(count, WRITERS * WRITES);
}

/* ---- tags ---- */

/* "key=value,key=value" */
static const char *tags(const char *id)
{
    static char text[256];
    const struct task *task = row(id);
    size_t n = 0;

    text[0] = '\0';
    for (size_t i = 0; i < task->tag_count; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s=%s", n ? "," : "", task->tag[i].key,
                              task->tag[i].value);
    return text;
}

static void test_tags(void **state)
{
    static const struct task_tag set[] = { { "b", "2" }, { "a", "1" } };
    static const struct task_tag more[] = { { "b", "3" }, { "c", "" } };
    static const struct task_tag no[] = { { "b", "2" }, { "c", "" }, { "x", NULL }, { "a", NULL } };
    struct task_tag many[50];
    char key[50][8];
    struct task_wish other = wish;
    struct task task TASK_DONE = { 0 }, plain TASK_DONE = { 0 };

    (void)state;
    other.tag = set;
    other.tag_count = 2;
    ok(try_insert(&other, 9, NOW, &task));
    insert(&plain, NOW);
    assert_string_equal(tags(task.id), "a=1,b=2");
    assert_string_equal(tags(plain.id), "");
    ok(task_tag(table, "alice", task.id, more, 2, &err));
    assert_string_equal(tags(task.id), "a=1,b=3,c=");
    assert_int_equal(task_tag(table, "bob", task.id, more, 2, &err), -ENOENT);
    assert_int_equal(task_untag(table, "bob", task.id, more, 2, &err), -ENOENT);
    ok(task_untag(table, "alice", task.id, no, 4, &err));
    assert_string_equal(tags(task.id), "b=3");
    for (int i = 0; i < 50; i++) {
        (void)snprintf(key[i], sizeof(key[i]), "k%d", i);
        many[i] = (struct task_tag){ key[i], "v" };
    }
    assert_int_equal(task_tag(table, "alice", task.id, many, 50, &err), -E2BIG);
    assert_string_equal(tags(task.id), "b=3"); /* nothing of it */
    ok(task_tag(table, "alice", plain.id, many, 50, &err));
    ok(task_tag(table, "alice", plain.id, many, 50, &err)); /* the same ones */
    assert_int_equal(row(plain.id)->tag_count, 50);
    ok(task_untag(table, "alice", task.id, NULL, 0, &err));
    assert_string_equal(tags(task.id), "");
    assert_int_equal(row(plain.id)->tag_count, 50);
    forget_rows();
}

/* ---- a table of the schema before stages ---- */

/* As the second migration left it, with a task in each state. */
static const char old_rows[] =
    "DROP TABLE tag; DROP TABLE stage; DROP TABLE task; "
    "DELETE FROM schema_version WHERE version > 2; "
    "CREATE TABLE task (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, "
    "account TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('active', 'cancelling', "
    "'cancelled', 'completed')), status_message TEXT, format TEXT NOT NULL, "
    "image_bytes INTEGER NOT NULL, manifest_url TEXT NOT NULL, volume_gib INTEGER NOT NULL, "
    "zone TEXT NOT NULL, description TEXT, bytes_converted INTEGER NOT NULL DEFAULT 0, "
    "volume_id TEXT NOT NULL UNIQUE, created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, "
    "ended_ms INTEGER, due_ms INTEGER NOT NULL DEFAULT 0, lease_ms INTEGER, "
    "epoch INTEGER NOT NULL DEFAULT 0, deaths INTEGER NOT NULL DEFAULT 0, "
    "waits INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0, digest TEXT); "
    "CREATE INDEX task_of_account ON task (account); "
    "CREATE INDEX task_by_end ON task (ended_ms); "
    "CREATE INDEX task_not_ended ON task (account) WHERE ended_ms IS NULL; "
    "INSERT INTO task VALUES "
    "(3, 'import-vol-waiting0', 'alice', 'active', 'Pending : wait', 'RAW', 10, 'http://u/1', 1, "
    "'z', NULL, 4, 'vol-1', 100, 200000000000000, NULL, 7777, NULL, 5, 1, 2, 3, NULL), "
    "(5, 'import-vol-working0', 'alice', 'active', 'Progress: 50%', 'VMDK', 10, 'http://u/2', 2, "
    "'z', 'mine', 5, 'vol-2', 100, 200000000000000, NULL, 0, 99999, 6, 0, 0, 0, NULL), "
    "(6, 'import-vol-stopping', 'bob', 'cancelling', 'why', 'VHD', 10, 'http://u/3', 3, "
    "'z', NULL, 6, 'vol-3', 100, 200000000000000, NULL, 0, 99999, 7, 0, 0, 0, NULL), "
    "(8, 'import-vol-stopped0', 'alice', 'cancelled', 'ClientError: x', 'VHD', 10, 'http://u/4', "
    "4, "
    "'z', NULL, 7, 'vol-4', 100, 200000000000000, 300, 0, NULL, 8, 0, 0, 0, NULL), "
    "(9, 'import-vol-complete', 'alice', 'completed', NULL, 'VHD', 10, 'http://u/5', 5, "
    "'z', NULL, 10, 'vol-5', 100, 200000000000000, 400, 0, NULL, 9, 0, 0, 0, 'sha256:d');";

static void test_migration(void **state)
{
    const struct task *task;
    struct task fresh TASK_DONE = { 0 };
    struct claim held CLAIM_DONE = { 0 }, taken CLAIM_DONE = { 0 };
    struct listing all = { .count = 0 };
    bool cancel = true;

    (void)state;
    table = task_table_close(table);
    run_sql(old_rows);
    ok(task_table_open(path, &table, &err));
    ok(task_list(table, "alice", list_one, &all, &err));
    assert_int_equal(all.count, 4);
    assert_string_equal(all.id[0], "import-vol-waiting0");
    assert_string_equal(all.id[3], "import-vol-complete");

    task = row(all.id[0]);
    assert_int_equal(task->kind, TASK_VOLUME);
    assert_string_equal(task_message(task), "Pending : wait");
    assert_int_equal(task->created_ms, 100);
    assert_int_equal(task->expires_ms, INT64_C(200000000000000));
    assert_int_equal(task->stage_count, 1);
    assert_int_equal(task->stage[0].state, STAGE_ACTIVE);
    assert_string_equal(task->stage[0].manifest_url, "http://u/1");
    assert_string_equal(task->stage[0].volume_id, "vol-1");
    assert_int_equal(task->stage[0].bytes_converted, 4);
    assert_int_equal(task->stage[0].epoch, 5);
    assert_int_equal(task->stage[0].deaths, 1);
    assert_int_equal(task->stage[0].waits, 2);
    assert_int_equal(task->stage[0].tries, 3);
    assert_string_equal(row(all.id[1])->description, "mine");
    assert_int_equal(row(all.id[2])->state, TASK_CANCELLED);
    assert_string_equal(message(all.id[2]), "ClientError: x");
    assert_int_equal(row(all.id[2])->stage[0].state, STAGE_CANCELLED);
    assert_string_equal(row(all.id[3])->stage[0].digest, "sha256:d");
    assert_int_equal(row(all.id[3])->stage[0].bytes_converted, 10);
    assert_null(task_message(row(all.id[3])));

    /* what was waited for and who held what stays, too */
    assert_int_equal(claim_nothing(7776), 7777);
    claim(&taken, 7777);
    assert_string_equal(taken.task.id, all.id[0]);
    ok(task_get(table, "bob", "import-vol-stopping", &held.task, &err));
    held.stage = &held.task.stage[0];
    assert_int_equal(held.task.state, TASK_CANCELLING);
    ok(task_heartbeat(table, &held, 8000, LEASE, 0, NULL, &cancel, &err));
    assert_true(cancel);
    ok(task_end_cancelled(table, &held, "x", 8000, &err));
    task_done(&held.task);
    ok(task_get(table, "bob", "import-vol-stopping", &held.task, &err));
    assert_int_equal(held.task.state, TASK_CANCELLED);
    assert_string_equal(task_message(&held.task), "why");
    insert(&fresh, NOW); /* numbers of rows go on */
    all.count = 0;
    all.stop_at = 0;
    forget_rows();
}

/* ---- many ---- */

/* An account's tasks are shown page by page, none left out and none twice, with what is theirs. */
static int check_one(void *arg, const struct task *task)
{
    int *count = arg;

    assert_int_equal(task->stage_count, *count % 7 == 0 ? 3 : 1);
    assert_int_equal(task->tag_count, *count % 5 == 0);
    ++*count;
    return 0;
}

static void test_many(void **state)
{
    static const struct task_tag tag = { "k", "v" };
    struct task_wish other = wish;
    int count = 0;

    (void)state;
    for (int i = 0; i < 350; i++) {
        struct task task TASK_DONE = { 0 };

        other.account = "bob"; /* between any two of hers is one of his */
        ok(try_insert(&other, 1000, NOW, &task));
        task_done(&task);
        other = wish;
        other.machine = i % 7 == 0 ? &machine : NULL;
        other.disk_count = i % 7 == 0 ? 2 : 1;
        other.tag = &tag;
        other.tag_count = i % 5 == 0;
        ok(try_insert(&other, 1000, NOW, &task));
        other = wish;
    }
    ok(task_list(table, "alice", check_one, &count, &err));
    assert_int_equal(count, 350);
}

/* ---- after a start ---- */

struct recovery {
    int count;
    unsigned deaths;
    const char *complete; /* the id to complete meanwhile */
    int calls;
};

static int recover_one(void *arg, const struct claim *claim)
{
    struct recovery *recovery = arg;

    recovery->count++;
    recovery->deaths += claim->stage->deaths;
    if (recovery->complete && strcmp(claim->task.id, recovery->complete) == 0)
        return task_complete(table, claim, NOW, &result, publish_well, &recovery->calls, &err);
    return 0;
}

static int recover_badly(void *arg, const struct claim *claim)
{
    (void)arg;
    (void)claim;
    return -EIO;
}

static void test_recover(void **state)
{
    struct task t[5] = { 0 };
    struct claim c[3] = { 0 };
    struct recovery recovery = { .count = 0 }, again = { .count = 0 };
    int64_t next;

    (void)state;
    for (int i = 0; i < 4; i++) {
        insert(&t[i], NOW);
        if (i < 3)
            claim(&c[i], NOW);
    }
    ok(task_request_cancel(table, "alice", t[1].id, "no more", NOW, &err));
    ok(task_postpone(table, &c[2], NOW + 15000, TASK_WAITS, "Pending : wait", &err));
    reopen();
    assert_int_equal(task_recover(table, NOW, recover_badly, NULL, &err), -EIO);
    assert_int_equal(row(t[0].id)->stage[0].deaths, 0); /* nothing is counted until all was seen */

    ok(task_recover(table, NOW, recover_one, &recovery, &err));
    assert_int_equal(recovery.count, 2);
    assert_int_equal(recovery.deaths, 2);
    assert_int_equal(row(t[0].id)->stage[0].deaths, 1);
    assert_string_equal(message(t[0].id), "Pending");
    assert_int_equal(row(t[1].id)->state, TASK_CANCELLED);
    assert_string_equal(message(t[1].id), "no more");
    assert_int_equal(row(t[2].id)->stage[0].deaths, 0);
    assert_string_equal(message(t[2].id), "Pending : wait");
    assert_int_equal(row(t[3].id)->stage[0].deaths, 0);
    for (int i = 0; i < 3; i++) { /* the three are due at once, the waiting one too */
        struct claim taken CLAIM_DONE = { 0 };

        ok(task_claim(table, NOW - 1000000, LEASE, &taken, &next, &err));
    }
    again.complete = t[0].id;
    ok(task_recover(table, NOW, recover_one, &again, &err));
    assert_int_equal(again.count, 3);
    assert_int_equal(again.calls, 1);
    assert_int_equal(row(t[0].id)->state, TASK_COMPLETED);
    assert_int_equal(row(t[3].id)->stage[0].deaths, 1);
    for (int i = 0; i < 5; i++)
        task_done(&t[i]);
    for (int i = 0; i < 3; i++)
        claim_done(&c[i]);
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
        struct claim claimed CLAIM_DONE = { 0 };

        r = task_claim(table, NOW, LEASE, &claimed, &next, &mine);
        if (r == 0)
            (void)snprintf(claimer->id[claimer->count++], TASK_ID_SIZE, "%s", claimed.task.id);
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

#define MODEL_MAX    64
#define MODEL_LIMIT  6
#define MODEL_STAGES 3

/* The table as it should be, in plain C. */
static struct model {
    struct task task;
    struct {
        int64_t due, lease; /* lease 0: nobody works on it */
    } work[MODEL_STAGES];
    int64_t ended; /* 0: not yet */
    bool gone;     /* forgotten long after its end */
} models[MODEL_MAX];
static int model_count;
static int64_t model_now;

static uint64_t random_state;

static unsigned random_below(unsigned n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % n;
}

static void say(char **slot, const char *text)
{
    free(*slot);
    *slot = text ? strdup(text) : NULL;
}

static void stage_end(struct model *m, size_t i, enum stage_state state, const char *text)
{
    m->task.stage[i].state = state;
    m->work[i].lease = 0;
    say(&m->task.stage[i].status_message, text);
}

/* Over when nothing is left of it. */
static void model_settle(struct model *m)
{
    for (size_t i = 0; i < m->task.stage_count; i++)
        if (m->task.stage[i].state == STAGE_ACTIVE || m->task.stage[i].state == STAGE_REMOVING)
            return;
    if (m->task.state == TASK_CANCELLING)
        m->task.state = TASK_CANCELLED;
}

static void model_stop(struct model *m, const char *why)
{
    if (m->task.state == TASK_ACTIVE) {
        m->task.state = TASK_CANCELLING;
        say(&m->task.status_message, why);
    }
    for (size_t i = 0; i < m->task.stage_count; i++) {
        enum stage_state state = m->task.stage[i].state;

        if (m->work[i].lease == 0 && state <= STAGE_COMPLETED)
            stage_end(m, i, state == STAGE_COMPLETED ? STAGE_REMOVING : STAGE_CANCELLED, NULL);
    }
    model_settle(m);
}

static bool model_ended(const struct model *m)
{
    return m->task.state == TASK_CANCELLED || m->task.state == TASK_COMPLETED;
}

static bool model_launches(const struct model *m)
{
    const struct stage *last = &m->task.stage[m->task.stage_count - 1];

    return last->kind == STAGE_LAUNCH && last->state == STAGE_ACTIVE;
}

/* A claim of a stage that may be the living one or an older one; it owns nothing. */
static struct claim model_claim(struct model *m, size_t i)
{
    static struct stage stage;

    stage = m->task.stage[i];
    if (stage.epoch > 0 && random_below(4) == 0)
        stage.epoch--;
    return (struct claim){ .task = m->task, .stage = &stage };
}

static bool model_holds(const struct model *m, size_t i, const struct claim *claimed)
{
    return m->work[i].lease && claimed->stage->epoch == m->task.stage[i].epoch;
}

static void random_insert(void)
{
    struct task_wish other = wish;
    unsigned open = 0, shape = random_below(3);
    bool fresh = false;
    struct task task = { 0 };
    struct model *m = &models[model_count];
    int r;

    other.account = random_below(2) ? "alice" : "bob";
    for (int i = 0; i < model_count; i++)
        open += !model_ended(&models[i]) && strcmp(models[i].task.account, other.account) == 0;
    if (model_count == MODEL_MAX)
        return;
    other.machine = shape ? &machine : NULL;
    other.disk_count = shape ? shape : 1;
    r = task_insert(table, &other, MODEL_LIMIT, model_now, &task, &fresh, &err);
    assert_int_equal(r, open < MODEL_LIMIT ? 0 : -EBUSY);
    if (r < 0)
        return;
    assert_int_equal(task.stage_count, shape + 1);
    m->task = task;
    for (size_t i = 0; i < task.stage_count; i++)
        m->work[i].due = model_now;
    model_count++;
}

static void random_cancel(struct model *m)
{
    bool other = random_below(5) == 0;
    bool late =
        m->task.state == TASK_COMPLETED || (m->task.state == TASK_ACTIVE && model_launches(m));
    int r = task_request_cancel(table, other ? "carol" : m->task.account, m->task.id, "why",
                                model_now, &err);

    assert_int_equal(r, other ? -ENOENT : late ? -EALREADY : 0);
    if (r == 0 && m->task.state == TASK_ACTIVE)
        model_stop(m, "why");
}

/* What every claim does first. */
static void model_sweep(struct model *m)
{
    bool leased = false;

    for (size_t i = 0; i < m->task.stage_count; i++) {
        if (m->work[i].lease && m->work[i].lease <= model_now) {
            m->work[i].lease = 0;
            if (m->task.state == TASK_ACTIVE)
                m->task.stage[i].deaths++;
            else
                stage_end(m, i, STAGE_CANCELLED, NULL);
        }
        leased |= m->work[i].lease != 0;
    }
    model_settle(m);
    if (m->task.state == TASK_ACTIVE && m->task.expires_ms <= model_now && !leased &&
        !model_launches(m))
        model_stop(m, "Task expired");
}

static void random_claim(void)
{
    struct claim claimed CLAIM_DONE = { 0 };
    struct model *best = NULL;
    size_t best_stage = 0;
    int64_t next = -1, soonest = INT64_MAX;
    int r = task_claim(table, model_now, LEASE, &claimed, &next, &err);

    for (int i = 0; i < model_count; i++) {
        struct model *m = &models[i];

        model_sweep(m);
        m->gone |= m->ended && m->ended + TASK_KEEP_MS <= model_now;
        for (size_t k = 0; k < m->task.stage_count; k++) {
            int64_t when = m->work[k].lease ? m->work[k].lease : m->work[k].due;

            if (m->task.stage[k].state != STAGE_ACTIVE)
                continue;
            soonest = when < soonest ? when : soonest;
            if (m->work[k].lease || when > model_now ||
                (best && when >= best->work[best_stage].due))
                continue;
            best = m;
            best_stage = k;
        }
    }
    assert_int_equal(r, best ? 0 : -EAGAIN);
    if (!best) {
        assert_int_equal(next, soonest);
        return;
    }
    best->task.stage[best_stage].epoch++;
    best->work[best_stage].lease = model_now + LEASE;
    assert_same(&claimed.task, &best->task);
    assert_int_equal(claimed.stage->number, best_stage + 1);
}

static void random_heartbeat(struct model *m, size_t i)
{
    struct claim claimed = model_claim(m, i);
    struct stage *stage = &m->task.stage[i];
    uint64_t bytes = random_below(1200);
    bool cancel = false;
    int r = task_heartbeat(table, &claimed, model_now, LEASE, bytes, "beat", &cancel, &err);

    assert_int_equal(r, model_holds(m, i, &claimed) ? 0 : -ESTALE);
    if (r < 0)
        return;
    assert_int_equal(cancel, m->task.state == TASK_CANCELLING);
    m->work[i].lease = model_now + LEASE;
    bytes = bytes < stage->image_bytes ? bytes : stage->image_bytes;
    stage->bytes_converted = bytes > stage->bytes_converted ? bytes : stage->bytes_converted;
    say(&stage->status_message, "beat");
}

static void random_postpone(struct model *m, size_t i)
{
    struct claim claimed = model_claim(m, i);
    enum task_return why = (enum task_return)random_below(4);
    int64_t due = model_now + random_below(20000);
    int r = task_postpone(table, &claimed, due, why, "later", &err);
    bool may = model_holds(m, i, &claimed) && m->task.state == TASK_ACTIVE;

    assert_int_equal(r, may ? 0 : -ESTALE);
    if (r < 0)
        return;
    m->work[i].lease = 0;
    m->work[i].due = due;
    m->task.stage[i].waits += why == TASK_WAITS;
    m->task.stage[i].tries += why == TASK_TRIED;
    m->task.stage[i].deaths += why == TASK_DIED;
    say(&m->task.stage[i].status_message, "later");
}

/* The launch begins when the last disk is done, the task ends with its last stage. */
static void model_go_on(struct model *m)
{
    size_t done = 0, last = m->task.stage_count - 1;

    for (size_t i = 0; i <= last; i++)
        done += m->task.stage[i].state == STAGE_COMPLETED;
    if (done == last && m->task.stage[last].state == STAGE_WAITING) {
        m->task.stage[last].state = STAGE_ACTIVE;
        m->work[last].due = model_now;
        say(&m->task.stage[last].status_message, "Progress: 99%");
    }
    if (done == last + 1)
        m->task.state = TASK_COMPLETED;
}

static void random_complete(struct model *m, size_t i)
{
    struct claim claimed = model_claim(m, i);
    bool bad = random_below(3) == 0;
    int calls = 0;
    int r = task_complete(table, &claimed, model_now, &result, bad ? publish_badly : publish_well,
                          &calls, &err);
    bool may = model_holds(m, i, &claimed) && m->task.state == TASK_ACTIVE;

    assert_int_equal(r, !may ? -ESTALE : bad ? -EXDEV : 0);
    assert_int_equal(calls, may);
    if (r < 0)
        return;
    stage_end(m, i, STAGE_COMPLETED, NULL);
    m->task.stage[i].bytes_converted = m->task.stage[i].image_bytes;
    model_go_on(m);
}

static void random_end(struct model *m, size_t i)
{
    struct claim claimed = model_claim(m, i);
    int r = task_end_cancelled(table, &claimed, "failed", model_now, &err);

    assert_int_equal(r, model_holds(m, i, &claimed) ? 0 : -ESTALE);
    if (r < 0)
        return;
    stage_end(m, i, STAGE_CANCELLED, m->task.state == TASK_ACTIVE ? "failed" : NULL);
    model_stop(m, "failed");
}

static void random_removal(void)
{
    struct claim claimed CLAIM_DONE = { 0 };
    int r = task_next_removal(table, &claimed, &err), left = 0;

    for (int i = 0; i < model_count; i++)
        for (size_t k = 0; k < models[i].task.stage_count; k++) {
            if (models[i].task.stage[k].state != STAGE_REMOVING)
                continue;
            left++;
            if (r < 0 || strcmp(models[i].task.id, claimed.task.id) != 0 ||
                k + 1 != claimed.stage->number)
                continue;
            ok(task_removed(table, &claimed, model_now, &err));
            models[i].task.stage[k].state = STAGE_CANCELLED;
            model_settle(&models[i]);
        }
    assert_int_equal(r, left ? 0 : -EAGAIN);
}

static int count_one(void *arg, const struct claim *claimed)
{
    (void)claimed;
    ++*(int *)arg;
    return 0;
}

/* A stage that was being worked on says again what it said before. */
static void model_release(struct model *m, size_t i)
{
    struct stage *stage = &m->task.stage[i];
    char text[64];

    (void)snprintf(text, sizeof(text), "Pending : Downloaded %" PRIu64, stage->bytes_converted);
    stage->deaths++;
    say(&stage->status_message, stage->kind == STAGE_LAUNCH     ? "Progress: 99%"
                                : m->task.kind == TASK_INSTANCE ? text
                                                                : "Pending");
}

static void random_recover(void)
{
    int seen = 0, leased = 0;

    ok(task_recover(table, model_now, count_one, &seen, &err));
    for (int n = 0; n < model_count; n++) {
        struct model *m = &models[n];

        for (size_t i = 0; i < m->task.stage_count; i++) {
            bool worked_on = m->work[i].lease != 0;

            leased += worked_on;
            m->work[i].lease = m->work[i].due = 0;
            if (m->task.state == TASK_CANCELLING && worked_on)
                stage_end(m, i, STAGE_CANCELLED, NULL);
            else if (worked_on)
                model_release(m, i);
        }
        model_settle(m);
    }
    assert_int_equal(seen, leased);
}

static void compare_all(void)
{
    for (int i = 0; i < model_count; i++) {
        struct task task TASK_DONE = { 0 };

        if (models[i].gone) {
            assert_int_equal(
                task_get(table, models[i].task.account, models[i].task.id, &task, &err), -ENOENT);
            continue;
        }
        ok(task_get(table, models[i].task.account, models[i].task.id, &task, &err));
        assert_same(&task, &models[i].task);
    }
}

static void note_ends(void)
{
    for (int i = 0; i < model_count; i++)
        if (!models[i].ended && model_ended(&models[i]))
            models[i].ended = model_now;
}

static void random_operation(void)
{
    struct model *m = model_count ? &models[random_below((unsigned)model_count)] : NULL;
    size_t i = m ? random_below((unsigned)m->task.stage_count) : 0;
    unsigned what = random_below(100);

    if (what < 6 || !m || m->gone)
        random_insert();
    else if (what < 9)
        random_cancel(m);
    else if (what < 40)
        random_claim();
    else if (what < 50)
        random_heartbeat(m, i);
    else if (what < 60)
        random_postpone(m, i);
    else if (what < 72)
        random_complete(m, i);
    else if (what < 75)
        random_end(m, i);
    else if (what < 79)
        random_removal();
    else if (what < 80)
        random_recover();
    else if (what < 81)
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
        note_ends();
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
        with_table(test_instance),
        with_table(test_one_disk_fails),
        with_table(test_cancel_with_a_volume),
        with_table(test_launch_fails),
        with_table(test_token),
        with_table(test_racing_tokens),
        with_table(test_writers),
        with_table(test_tags),
        with_table(test_migration),
        with_table(test_many),
        with_table(test_recover),
        with_table(test_two_claimers),
        with_table(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

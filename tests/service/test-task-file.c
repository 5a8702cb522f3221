/* test-task-file - the task table as a SQLite file: its mode, damage, and files of older programs.
 */

#include <config.h>

#include "task-fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/spawn.h"

/* Change the closed file: migrations of schemas/sql/sqlite up to that one (0: none), then the SQL.
 */
static void change_file(int version, const char *sql)
{
    static const char script[] =
        "import glob, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for i, name in enumerate(sorted(glob.glob(sys.argv[2]))[:int(sys.argv[3])]):\n"
        "    if i == 0:\n"
        "        db.execute('CREATE TABLE schema_version (version INTEGER PRIMARY KEY, "
        "applied_ms INTEGER NOT NULL)')\n"
        "    db.executescript(open(name).read())\n"
        "    db.execute('INSERT INTO schema_version VALUES (?, 0)', (i + 1,))\n"
        "db.executescript(sys.argv[4])\n"
        "db.close()\n";
    const char *top = getenv("top_srcdir");
    char migrations[512], number[16];
    const char *const argv[] = { "python3", "-c", script, where, migrations, number, sql, NULL };
    struct im_spawn spawn = {
        .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = STDERR_FILENO, .fd3 = -1
    };
    int status, r;
    pid_t pid;

    if (!top)
        skip();
    (void)snprintf(migrations, sizeof(migrations), "%s/schemas/sql/sqlite/*.sql", top);
    (void)snprintf(number, sizeof(number), "%d", version);
    if (version > 0)
        assert_int_equal(unlink(where), 0);
    r = im_spawn(&spawn, &pid, &err);
    if (r == -ENOPKG)
        skip();
    ok(r);
    assert_int_equal(im_spawn_wait(pid, 60000, &status), 1);
    assert_int_equal(status, 0);
}

static void test_mode(void **state)
{
    static const char *const names[] = { "", "-wal", "-shm" };
    struct task task TASK_DONE = { 0 };
    struct stat st;

    (void)state;
    insert(&task);
    table = task_table_close(table);
    assert_int_equal(chmod(where, 0644), 0);
    ok(try_open(&table));
    assert_int_equal(row(task.id)->state, TASK_ACTIVE);
    for (int i = 0; i < 3; i++) {
        char name[600];

        (void)snprintf(name, sizeof(name), "%s%s", where, names[i]);
        assert_int_equal(stat(name, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
    }
    forget_rows();
}

static void test_cannot_open(void **state)
{
    struct task_table *other = NULL;
    char name[160];
    const struct task_options options = { .where = name, .worker = "one", .connections = 1 };

    (void)state;
    (void)snprintf(name, sizeof(name), "%s/missing/tasks.db", dir);
    assert_int_equal(task_table_open(&options, &other, &err), -ENOENT);
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
    fd = open(where, O_WRONLY | O_TRUNC);
    assert_int_equal(im_pwrite(fd, "this is not a database, but it is long enough", 46, 0), 0);
    (void)close(fd);
    assert_int_equal(try_open(&other), -EBADMSG);
    assert_non_null(strstr(err.message, where));
}

static void test_damaged(void **state)
{
    struct task_table *other = NULL;
    char noise[4096];
    int fd, r;

    (void)state;
    for (int i = 0; i < 100; i++) {
        struct task task TASK_DONE = { 0 };

        insert(&task);
    }
    table = task_table_close(table);
    memset(noise, 0x5a, sizeof(noise));
    fd = open(where, O_WRONLY);
    for (uint64_t page = 3; page < 6; page++)
        assert_int_equal(im_pwrite(fd, noise, sizeof(noise), page * sizeof(noise)), 0);
    (void)close(fd);
    r = try_open(&other);
    assert_int_equal(r, -EBADMSG);
    assert_non_null(strstr(err.message, "quick_check"));
}

static void test_newer_schema(void **state)
{
    struct task_table *other = NULL;

    (void)state;
    table = task_table_close(table);
    change_file(0, "INSERT INTO schema_version VALUES (4711, 0);");
    assert_int_equal(try_open(&other), -EOPNOTSUPP);
    assert_non_null(strstr(err.message, "schema version 4711"));
    assert_non_null(strstr(err.message, "newer imaging-service"));
    change_file(0, "DELETE FROM schema_version WHERE version = 4711;");
    ok(try_open(&table));
}

/* A migration that fails half-way leaves nothing of itself. */
static void test_migration_taken_back(void **state)
{
    struct task_table *other = NULL;

    (void)state;
    table = task_table_close(table);
    change_file(0, "DROP TABLE task; DROP TABLE stage; DROP TABLE tag; DROP TABLE thing; "
                   "DELETE FROM schema_version; CREATE TABLE task_not_ended (x);");
    assert_true(try_open(&other) < 0);
    assert_non_null(strstr(err.message, "migration 0001-"));
    /* CREATE TABLE without IF NOT EXISTS proves that the first half is gone, too */
    change_file(0, "DROP TABLE task_not_ended; CREATE TABLE task (x); DROP TABLE task;");
    ok(try_open(&table));
}

/* ---- files of older programs ---- */

/* A task in each state, as the second migration left the table. */
static const char tasks_of_2[] =
    "INSERT INTO task (seq, id, account, state, status_message, format, image_bytes, manifest_url, "
    "volume_gib, zone, description, bytes_converted, volume_id, created_ms, expires_ms, ended_ms, "
    "due_ms, lease_ms, epoch, deaths, waits, tries, digest) VALUES "
    "(3, 'import-vol-waiting0', 'alice', 'active', 'Pending : wait', 'RAW', 10, 'http://u/1', 1, "
    "'z', NULL, 4, 'vol-1', 100, 200000000000000, NULL, 7777, NULL, 5, 1, 2, 3, NULL), "
    "(5, 'import-vol-working0', 'alice', 'active', 'Progress: 50%', 'VMDK', 10, 'http://u/2', 2, "
    "'z', 'mine', 5, 'vol-2', 100, 200000000000000, NULL, 0, 99999, 6, 0, 0, 0, NULL), "
    "(6, 'import-vol-stopping', 'bob', 'cancelling', 'why', 'VHD', 10, 'http://u/3', 3, "
    "'z', NULL, 6, 'vol-3', 100, 200000000000000, NULL, 0, 99999, 7, 0, 0, 0, NULL), "
    "(8, 'import-vol-stopped0', 'alice', 'cancelled', 'ClientError: x', 'VHD', 10, 'http://u/4', "
    "4, 'z', NULL, 7, 'vol-4', 100, 200000000000000, 300, 0, NULL, 8, 0, 0, 0, NULL), "
    "(9, 'import-vol-complete', 'alice', 'completed', NULL, 'VHD', 10, 'http://u/5', 5, "
    "'z', NULL, 10, 'vol-5', 100, 200000000000000, 400, 0, NULL, 9, 0, 0, 0, 'sha256:d');";

static void remove_next(void)
{
    struct claim gone CLAIM_DONE = { 0 };

    ok(task_next_removal(table, &gone, &err));
    ok(task_removed(table, &gone, &err));
}

static void test_migration_of_2(void **state)
{
    const struct task *task;
    struct task fresh TASK_DONE = { 0 };
    struct claim held CLAIM_DONE = { 0 }, taken CLAIM_DONE = { 0 };
    struct listing all = { .count = 0 };
    bool cancel = true;

    (void)state;
    table = task_table_close(table);
    change_file(2, tasks_of_2);
    ok(try_open(&table));
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
    ok(task_heartbeat(at(8000), &held, LEASE, 0, NULL, &cancel, &err));
    assert_true(cancel);
    ok(task_end_cancelled(table, &held, "x", &err));
    task_done(&held.task);
    remove_next(); /* there were earlier claims */
    ok(task_get(table, "bob", "import-vol-stopping", &held.task, &err));
    assert_int_equal(held.task.state, TASK_CANCELLED);
    assert_string_equal(task_message(&held.task), "why");
    insert(&fresh); /* numbers of rows go on */
    forget_rows();
}

/* Tasks and stages in each state, as the third migration left them. */
static const char tasks_of_3[] =
    "INSERT INTO task (seq, id, account, kind, state, status_message, zone, created_ms, "
    "expires_ms, ended_ms, instance_id, image_id, boot_mode) VALUES "
    "(1, 'import-vol-waiting0', 'alice', 'volume', 'active', NULL, 'z', 100, 200000000000000, "
    "NULL, NULL, NULL, NULL), "
    "(2, 'import-vol-working0', 'alice', 'volume', 'active', NULL, 'z', 100, 200000000000000, "
    "NULL, NULL, NULL, NULL), "
    "(3, 'import-i-making00', 'alice', 'instance', 'active', NULL, NULL, 100, 200000000000000, "
    "NULL, 'i-1', 'ami-1', 'uefi'), "
    "(4, 'import-i-ending00', 'alice', 'instance', 'cancelling', 'why', 'z', 100, "
    "200000000000000, NULL, 'i-2', 'ami-2', NULL), "
    "(5, 'import-vol-stopped0', 'bob', 'volume', 'cancelled', 'no', 'z', 100, 200000000000000, "
    "300, NULL, NULL, NULL), "
    "(6, 'import-vol-complete', 'bob', 'volume', 'completed', NULL, 'z', 100, 200000000000000, "
    "400, NULL, NULL, NULL); "
    "INSERT INTO stage (task, number, kind, state, status_message, format, image_bytes, "
    "manifest_url, volume_gib, volume_id, bytes_converted, digest, due_ms, lease_ms, epoch, "
    "deaths, waits, tries) VALUES "
    "(1, 1, 'convert', 'active', 'Pending', 'RAW', 10, 'u1', 1, 'vol-1', 0, NULL, 7777, NULL, 0, "
    "0, 0, 0), "
    "(2, 1, 'convert', 'active', 'Progress: 50%', 'RAW', 10, 'u2', 1, 'vol-2', 5, NULL, 0, "
    "99999, 4, 1, 2, 3), "
    "(3, 1, 'convert', 'completed', NULL, 'RAW', 10, 'u3', 1, 'vol-3', 10, 'sha256:d', 0, NULL, "
    "1, 0, 0, 0), "
    "(3, 2, 'launch', 'active', 'Progress: 99%', NULL, 0, NULL, NULL, NULL, 0, NULL, 8888, NULL, "
    "0, 0, 0, 0), "
    "(4, 1, 'convert', 'removing', NULL, 'RAW', 10, 'u4', 1, 'vol-4', 10, 'sha256:e', 0, NULL, "
    "1, 0, 0, 0), "
    "(4, 2, 'convert', 'active', NULL, 'RAW', 10, 'u5', 1, 'vol-5', 3, NULL, 0, 88888, 2, 0, 0, "
    "0), "
    "(4, 3, 'launch', 'cancelled', NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, 0, NULL, 0, 0, 0, "
    "0), "
    "(5, 1, 'convert', 'cancelled', NULL, 'RAW', 10, 'u6', 1, 'vol-6', 3, NULL, 0, NULL, 2, 0, "
    "0, 0), "
    "(6, 1, 'convert', 'completed', NULL, 'RAW', 10, 'u7', 1, 'vol-7', 10, 'sha256:f', 0, NULL, "
    "1, 0, 0, 0); "
    "INSERT INTO tag VALUES (3, 'k', 'v');";

static int count_files(void *arg, const struct thing *thing)
{
    int *count = arg;

    count[0]++;
    count[1] += thing->kept;
    count[2] += thing->over;
    return 0;
}

static int count_lease(void *arg, const struct claim *held)
{
    (void)held;
    ++*(int *)arg;
    return 0;
}

static void test_migration_of_3(void **state)
{
    const struct task *task;
    struct claim taken CLAIM_DONE = { 0 };
    int files[3] = { 0 }, leases = 0;

    (void)state;
    table = task_table_close(table);
    change_file(3, tasks_of_3);
    ok(try_open(&table));

    task = row("import-vol-waiting0");
    assert_int_equal(task->stage[0].due_ms, 7777);
    assert_int_equal(task->stage[0].won_epoch + task->stage[0].epoch, 0);
    assert_null(task->stage[0].worker);
    task = row("import-vol-working0");
    assert_string_equal(task_message(task), "Progress: 50%");
    assert_int_equal(task->stage[0].bytes_converted, 5);
    assert_int_equal(task->stage[0].epoch, 4);
    assert_int_equal(task->stage[0].lease_ms, 99999);
    assert_int_equal(task->stage[0].deaths, 1);
    assert_int_equal(task->stage[0].waits, 2);
    assert_int_equal(task->stage[0].tries, 3);
    task = row("import-i-making00");
    assert_string_equal(task->boot_mode, "uefi");
    assert_int_equal(task->stage_count, 2);
    assert_int_equal(task->tag_count, 1);
    assert_string_equal(task->stage[0].digest, "sha256:d");
    assert_int_equal(task->stage[1].state, STAGE_ACTIVE);
    task = row("import-i-ending00");
    assert_int_equal(task->state, TASK_CANCELLING);
    assert_int_equal(task->stage[0].state, STAGE_REMOVING);
    assert_int_equal(task->stage[1].lease_ms, 88888);

    /* one service is alone: what the dead one worked on is its own */
    (void)at(8000);
    ok(task_recover(table, count_lease, &leases, &err));
    assert_int_equal(leases, 2);
    assert_int_equal(row("import-vol-working0")->stage[0].deaths, 2);
    ok(task_list_files(table, count_files, files, &err));
    assert_int_equal(files[0], 2); /* of the two that were worked on */
    assert_int_equal(files[1], 1); /* the next claim may go on with one */
    assert_int_equal(files[2], 2);
    remove_next();
    remove_next();
    assert_int_equal(row("import-i-ending00")->state, TASK_CANCELLED);
    assert_string_equal(message("import-i-ending00"), "why");

    /* lanes are of account and zone, with or without one */
    claim(&taken, 8000);
    assert_string_equal(taken.task.id, "import-i-making00");
    assert_int_equal(taken.stage->kind, STAGE_LAUNCH);
    assert_int_equal(number_of("SELECT count(*) FROM stage WHERE lane = 'alice/'"), 2);
    assert_int_equal(number_of("SELECT count(*) FROM stage WHERE lane = 'alice/z'"), 5);
    assert_int_equal(number_of("SELECT count(*) FROM stage WHERE lane = 'bob/z'"), 2);
    forget_rows();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_table(test_mode),           with_table(test_cannot_open),
        with_table(test_not_a_database), with_table(test_damaged),
        with_table(test_newer_schema),   with_table(test_migration_taken_back),
        with_table(test_migration_of_2), with_table(test_migration_of_3),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

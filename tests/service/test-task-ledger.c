/* test-task-ledger - what there is outside the table because of a task: written down before it is
 * made, listed for whose it is, forgotten when it is gone; and leases of one service of several.
 *
 * On SQLite, and (started by service/task-postgres.sh) on PostgreSQL. */

#include <config.h>

#include "task-fixture.h"

/* The table as another service sees it, one after the other. */
static void be(const char *worker)
{
    table = task_table_close(table);
    table = open_as(worker, false, NULL);
}

/* ---- files ---- */

/* "EPOCH[kept][over] …" of what is listed, in the order of the claims. */
static int add_thing(void *arg, const struct thing *thing)
{
    char *text = arg;
    size_t len = strlen(text);

    assert_int_equal(thing->kind, THING_FILES);
    assert_null(thing->url);
    (void)snprintf(text + len, 128 - len, "%s%" PRIu64 "%s%s", len ? " " : "", thing->epoch,
                   thing->kept ? " kept" : "", thing->over ? " over" : "");
    return 0;
}

static const char *files(void)
{
    static char text[128];

    text[0] = '\0';
    ok(task_list_files(table, add_thing, text, &err));
    return text;
}

static int forget_one(void *arg, const struct thing *thing)
{
    return thing->over && !thing->kept ? task_forget_thing(arg, thing, &err) : 0;
}

static void remove_next(void)
{
    struct claim gone CLAIM_DONE = { 0 };

    ok(task_next_removal(table, &gone, &err));
    ok(task_removed(table, &gone, &err));
}

static void files_of_claims(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim c[4] = { 0 };

    (void)state;
    insert(&a);
    assert_string_equal(files(), "");
    claim(&c[0], NOW);
    assert_int_equal(number_of("SELECT count(*) FROM thing"), 1);
    assert_string_equal(files(), ""); /* somebody works with them */
    ok(task_postpone(table, &c[0], 0, TASK_RELEASED, NULL, &err));
    assert_string_equal(files(), "1 kept over");
    claim(&c[1], NOW);
    ok(task_postpone(table, &c[1], 0, TASK_TRIED, NULL, &err));
    /* a claim that dies at once leaves what the one before it left */
    assert_string_equal(files(), "1 kept over 2 kept over");

    /* decided: the winner's are the volume to be, whoever came later */
    claim(&c[2], NOW);
    ok(task_publish(table, &c[2], &result, &err));
    claim(&c[3], NOW + LEASE);
    ok(task_postpone(table, &c[3], 0, TASK_TRIED, NULL, &err));
    assert_string_equal(files(), "1 over 2 over 3 kept over 4 over");
    claim_done(&c[3]);
    claim(&c[3], NOW + LEASE);
    ok(task_complete(table, &c[3], NULL, &err));
    assert_string_equal(files(), "1 over 2 over 3 over 4 over"); /* the last claim left none */
    ok(task_list_files(table, forget_one, table, &err));
    assert_string_equal(files(), "");
    for (int i = 0; i < 4; i++)
        claim_done(&c[i]);
}

static void files_of_the_stopped(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim c CLAIM_DONE = { 0 };

    (void)state;
    insert(&a);
    claim(&c, NOW);
    ok(task_postpone(table, &c, 0, TASK_WAITS, NULL, &err));
    ok(task_request_cancel(table, "alice", a.id, NULL, &err));
    assert_string_equal(files(), "1 over");
    remove_next();
    assert_string_equal(files(), "");
    assert_int_equal(number_of("SELECT count(*) FROM thing"), 0);
}

/* A launch makes no files; a claim that ends its stage has removed them. */
static void no_files(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim c CLAIM_DONE = { 0 };

    (void)state;
    insert_instance(&a, 1);
    do_next(&result);
    assert_int_equal(number_of("SELECT count(*) FROM thing"), 0);
    claim(&c, NOW);
    assert_int_equal(c.stage->kind, STAGE_LAUNCH);
    assert_int_equal(number_of("SELECT count(*) FROM thing"), 0);
    ok(task_end_cancelled(table, &c, "ServerError: no", &err));
    claim_done(&c);
    insert_for("bob", "z");
    claim(&c, NOW);
    ok(task_end_cancelled(table, &c, "ClientError: no", &err));
    assert_int_equal(number_of("SELECT count(*) FROM thing"), 0);
    assert_string_equal(files(), "");
}

/* Rows of a task that nobody remembers are somebody's files all the same. */
static void files_of_the_forgotten(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim c CLAIM_DONE = { 0 };

    (void)state;
    insert(&a);
    claim(&c, NOW);
    ok(task_postpone(table, &c, 0, TASK_TRIED, NULL, &err));
    do_next(&result);
    (void)claim_nothing(NOW + TASK_KEEP_MS);
    assert_int_equal(number_of("SELECT count(*) FROM task"), 0);
    assert_string_equal(files(), "1 over");
}

static int count_thing(void *arg, const struct thing *thing)
{
    int64_t *last = arg;

    assert_true(thing->id > last[0]);
    last[0] = thing->id;
    last[1]++;
    return last[1] == last[2] ? -ECANCELED : 0;
}

static void a_long_ledger_is_listed_whole(void **state)
{
    int64_t all[3] = { 0, 0, -1 }, some[3] = { 0, 0, 1500 };

    (void)state;
    run_sql("INSERT INTO thing (kind, task, number, epoch, worker, due_ms) "
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) "
            "SELECT 'files', 'import-vol-' || i, 1, 1, 'one', 0 FROM n");
    ok(task_list_files(table, count_thing, all, &err));
    assert_int_equal(all[1], 2500);
    assert_int_equal(task_list_files(table, count_thing, some, &err), -ECANCELED);
    assert_int_equal(some[1], 1500);
}

/* ---- two services ---- */

/* One has let go of a stage which another finishes. */
static void files_of_two_services(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim one CLAIM_DONE = { 0 }, two CLAIM_DONE = { 0 };
    const int64_t end = NOW + 20;

    (void)state;
    be("one");
    insert(&a);
    claim(&one, NOW);
    ok(task_postpone(table, &one, 0, TASK_RELEASED, NULL, &err));
    be("two");
    assert_string_equal(files(), ""); /* who let go may go on with them */
    claim(&two, NOW);
    be("one");
    assert_string_equal(files(), ""); /* another works on the stage, perhaps with them */
    be("two");
    ok(task_publish(table, &two, &result, &err));
    ok(task_complete(at(end), &two, NULL, &err));
    /* of what has ended everybody sees everything, and its own service may forget it … */
    assert_string_equal(files(), "1");
    be("one");
    assert_string_equal(files(), "1 over");
    be("two");
    (void)claim_nothing(end + TASK_KEEP_MS - 1);
    assert_string_equal(files(), "1");
    (void)claim_nothing(end + TASK_KEEP_MS); /* … and after days anybody */
    assert_string_equal(files(), "1 over");
}

static int note_lease(void *arg, const struct claim *held)
{
    char *text = arg;
    size_t len = strlen(text);

    (void)snprintf(text + len, 128 - len, "%s ", held->task.id);
    return 0;
}

static void a_start_takes_the_leases_of_its_own_service_alone(void **state)
{
    struct task t[3] = { 0 };
    struct claim c[3] = { 0 };
    char seen[128] = "", wanted[128];
    bool cancel;

    (void)state;
    be("one");
    for (int i = 0; i < 3; i++)
        insert(&t[i]);
    claim(&c[0], NOW);
    be("two");
    claim(&c[1], NOW);
    be("one");
    claim(&c[2], NOW);
    ok(task_postpone(table, &c[2], 15000, TASK_WAITS, NULL, &err));
    be("one");
    ok(task_recover(table, note_lease, seen, &err));
    (void)snprintf(wanted, sizeof(wanted), "%s ", t[0].id);
    assert_string_equal(seen, wanted);
    assert_int_equal(row(t[0].id)->stage[0].deaths, 1);
    assert_int_equal(row(t[0].id)->stage[0].lease_ms, 0);
    assert_int_equal(row(t[1].id)->stage[0].deaths, 0);
    assert_int_equal(row(t[2].id)->stage[0].due_ms, NOW + 15000); /* others share the clock */
    be("two");
    ok(task_heartbeat(table, &c[1], LEASE, 1, NULL, &cancel, &err));
    seen[0] = '\0';
    be("three"); /* a name nobody had */
    ok(task_recover(table, note_lease, seen, &err));
    assert_string_equal(seen, "");
    for (int i = 0; i < 3; i++) {
        task_done(&t[i]);
        claim_done(&c[i]);
    }
    forget_rows();
}

/* ---- uploads ---- */

static void uploads_are_due_when_their_task_is_completed(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 };
    struct thing first THING_DONE = { 0 }, second THING_DONE = { 0 }, again THING_DONE = { 0 };
    struct thing none = { 0 };
    struct claim failed CLAIM_DONE = { 0 };

    (void)state;
    insert(&a);
    do_next(&result); /* not wanted: nothing is written down */
    assert_int_equal(task_next_upload(table, &none, &err), -EAGAIN);
    table->delete_uploads = true;
    insert_for("bob", "z");
    claim(&failed, NOW);
    ok(task_end_cancelled(table, &failed, "ClientError: no", &err)); /* it may be tried again */
    insert_instance(&b, 2);
    do_next(&result);
    do_next(&result);
    assert_int_equal(task_next_upload(table, &none, &err), -EAGAIN); /* the launch may fail */
    do_next(&result);
    assert_int_equal(row(b.id)->state, TASK_COMPLETED);
    ok(task_next_upload(table, &first, &err));
    assert_int_equal(first.kind, THING_UPLOAD);
    assert_string_equal(first.task_id, b.id);
    assert_int_equal(first.tries, 0);
    ok(task_upload_later(table, &first, 5000, &err));
    ok(task_next_upload(at(NOW + 4999), &second, &err));
    assert_int_equal(first.number + second.number, 1 + 2);
    assert_string_equal(first.number == 1 ? first.url : second.url, URL);
    assert_string_equal(first.number == 1 ? second.url : first.url, URL "2");
    ok(task_forget_thing(table, &second, &err));
    assert_int_equal(task_next_upload(table, &none, &err), -EAGAIN);
    ok(task_next_upload(at(NOW + 5000), &again, &err));
    assert_int_equal(again.id, first.id);
    assert_int_equal(again.tries, 1);
    ok(task_forget_thing(table, &again, &err));
    ok(task_forget_thing(table, &again, &err)); /* somebody else did */
    assert_int_equal(task_next_upload(table, &none, &err), -EAGAIN);
    assert_int_equal(number_of("SELECT count(*) FROM thing"), 0);
    forget_rows();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_table(files_of_claims),
        with_table(files_of_the_stopped),
        with_table(no_files),
        with_table(files_of_the_forgotten),
        with_table(a_long_ledger_is_listed_whole),
        with_table(files_of_two_services),
        with_table(a_start_takes_the_leases_of_its_own_service_alone),
        with_table(uploads_are_due_when_their_task_is_completed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

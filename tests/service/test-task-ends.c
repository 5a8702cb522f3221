/* test-task-ends - how tasks end: instances with several stages, removals, expiry and oblivion, the
 * start after a death, and the ledger of what is to be cleaned up.
 *
 * On SQLite, and (started by service/task-postgres.sh) on PostgreSQL. */

#include <config.h>

#include "task-fixture.h"

/* ---- tasks of several stages ---- */

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
    ok(task_publish(table, &taken, &result, &err));
    assert_int_equal(row(task.id)->stage[2].state, STAGE_WAITING); /* until it has its name */
    ok(task_complete(table, &taken, NULL, &err));
    assert_string_equal(message(task.id), "Progress: 99%");
    assert_string_equal(row(task.id)->boot_mode, "uefi");
    assert_string_equal(row(task.id)->instance_id, known);
    claim_done(&taken);
    claim(&taken, NOW);
    assert_int_equal(taken.stage->kind, STAGE_LAUNCH);
    assert_string_equal(taken.task.launch_spec, machine.launch_spec);
    assert_int_equal(task_request_cancel(table, "alice", task.id, NULL, &err), -EALREADY);
    assert_non_null(strstr(err.message, "about to complete"));
    assert_int_equal(task_publish(table, &taken, &result, &err), -ESTALE); /* it has no volume */
    ok(task_complete(table, &taken, &launched, &err));
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
    ok(task_removed(table, &gone, &err));
    ok(task_removed(table, &gone, &err)); /* twice does no harm */
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

    (void)state;
    insert_instance(&task, 3);
    expect_no_removal();
    do_next(&result);
    claim(&second, NOW);
    claim(&third, NOW);
    ok(task_end_cancelled(table, &second, "ClientError: bad", &err));
    assert_int_equal(row(task.id)->state, TASK_CANCELLING);
    assert_string_equal(message(task.id), "ClientError: bad");
    assert_string_equal(row(task.id)->stage[1].status_message, "ClientError: bad");
    assert_int_equal(row(task.id)->stage[0].state, STAGE_REMOVING);
    assert_int_equal(row(task.id)->stage[3].state, STAGE_CANCELLED);
    expect_removal(&task, 1);
    expect_no_removal();
    assert_int_equal(row(task.id)->state, TASK_CANCELLING); /* the third is still at it */
    ok(task_heartbeat(table, &third, LEASE, 10, "Progress: 1%", &cancel, &err));
    assert_true(cancel);
    assert_int_equal(task_publish(table, &third, &result, &err), -ESTALE);
    ok(task_end_cancelled(table, &third, "ServerError: other", &err));
    assert_int_equal(row(task.id)->state, TASK_CANCELLED);
    assert_string_equal(message(task.id), "ClientError: bad");
    assert_null(row(task.id)->stage[2].status_message);
    forget_rows();
}

/* One disk is being published when its task is told to end: it goes on, and then goes. */
static void test_cancel_beside_publishing(void **state)
{
    struct task task TASK_DONE = { 0 };
    struct claim first CLAIM_DONE = { 0 };
    bool cancel = false;

    (void)state;
    insert_instance(&task, 2);
    claim(&first, NOW);
    ok(task_publish(table, &first, &result, &err));
    ok(task_request_cancel(table, "alice", task.id, "enough", &err));
    assert_int_equal(row(task.id)->stage[0].state, STAGE_PUBLISHING);
    assert_int_equal(row(task.id)->stage[1].state, STAGE_CANCELLED); /* nobody had begun it */
    ok(task_publish(table, &first, &result, &err)); /* it was decided, and an answer may be lost */
    ok(task_heartbeat(table, &first, LEASE, 0, NULL, &cancel, &err));
    assert_true(cancel);
    ok(task_complete(table, &first, NULL, &err));
    assert_int_equal(row(task.id)->stage[0].state, STAGE_REMOVING);
    assert_int_equal(row(task.id)->state, TASK_CANCELLING);
    expect_removal(&task, 1);
    assert_int_equal(row(task.id)->state, TASK_CANCELLED);
    assert_string_equal(message(task.id), "enough");
    forget_rows();
}

/* Nobody works on it, but a volume stands: "cancelled" waits until it is gone. */
static void test_cancel_with_a_volume(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    insert_instance(&task, 2);
    do_next(&result);
    ok(task_request_cancel(table, "alice", task.id, "enough", &err));
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
    ok(task_end_cancelled(table, &launch, "ServerError: no capacity", &err));
    expect_removal(&task, 1);
    assert_int_equal(row(task.id)->state, TASK_CANCELLING);
    expect_removal(&task, 2);
    assert_int_equal(row(task.id)->state, TASK_CANCELLED);
    assert_string_equal(message(task.id), "ServerError: no capacity");
    forget_rows();
}

/* ---- time ---- */

static void test_expiry(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 };
    const int64_t end = NOW + TASK_LIFE_MS;

    (void)state;
    insert(&a);
    claim(&taken, end - 1);
    (void)at(NOW);
    insert(&b);
    assert_int_equal(claim_nothing(end), end - 1 + LEASE);
    assert_int_equal(row(a.id)->state, TASK_ACTIVE); /* it is being worked on */
    assert_int_equal(row(b.id)->state, TASK_CANCELLED);
    assert_int_equal(row(b.id)->ended_ms, end);
    assert_string_equal(message(b.id), "Task expired");
    ok(task_postpone(table, &taken, 1, TASK_WAITS, NULL, &err));
    assert_int_equal(claim_nothing(end + 1), INT64_MAX);
    expect_removal(&a, 1); /* the claim may have left files */
    assert_int_equal(row(a.id)->state, TASK_CANCELLED);
    assert_string_equal(message(a.id), "Task expired");
    forget_rows();
}

/* Not a millisecond before; and what is being published is uploaded whole. */
static void test_expiry_to_the_moment(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 };
    struct claim c[2] = { 0 };
    const int64_t end = NOW + TASK_LIFE_MS;

    (void)state;
    insert(&a);
    insert(&b);
    claim(&c[0], end - LEASE - 1);
    claim(&c[1], end - LEASE - 1);
    assert_string_equal(c[1].task.id, b.id);
    ok(task_publish(table, &c[1], &result, &err));
    ok(task_postpone(table, &c[0], 10 * LEASE, TASK_WAITS, NULL, &err));
    claim_done(&c[1]);
    claim(&c[1], end - 1); /* the lease of the second ran out */
    assert_string_equal(c[1].task.id, b.id);
    assert_int_equal(row(a.id)->state, TASK_ACTIVE);
    assert_int_equal(claim_nothing(end), end - 1 + LEASE);
    assert_int_equal(row(a.id)->state, TASK_CANCELLING);
    claim_done(&c[1]);
    claim(&c[1], end - 1 + LEASE); /* and over and over */
    ok(task_complete(table, &c[1], NULL, &err));
    assert_int_equal(row(b.id)->state, TASK_COMPLETED);
    claim_done(&c[0]);
    claim_done(&c[1]);
    forget_rows();
}

static void test_forgotten_after_seven_days(void **state)
{
    struct task a TASK_DONE = { 0 }, none = { 0 };

    (void)state;
    insert(&a);
    ok(task_tag(table, "alice", a.id, &(struct task_tag){ "k", "v" }, 1, &err));
    do_next(&result);
    (void)claim_nothing(NOW + 7 * DAY - 1);
    assert_int_equal(row(a.id)->state, TASK_COMPLETED);
    (void)claim_nothing(NOW + 7 * DAY);
    assert_int_equal(task_get(table, "alice", a.id, &none, &err), -ENOENT);
    assert_int_equal(number_of("SELECT count(*) FROM task"), 0);
    assert_int_equal(number_of("SELECT count(*) FROM stage"), 0);
    assert_int_equal(number_of("SELECT count(*) FROM tag"), 0);
    forget_rows();
}

/* ---- after a start ---- */

struct recovery {
    int count;
    unsigned deaths;
    const char *complete; /* the id to complete meanwhile */
};

static int recover_one(void *arg, const struct claim *held)
{
    struct recovery *recovery = arg;

    recovery->count++;
    recovery->deaths += held->stage->deaths;
    if (recovery->complete && strcmp(held->task.id, recovery->complete) == 0)
        return publish_and_complete(held, &result);
    return 0;
}

static int recover_badly(void *arg, const struct claim *held)
{
    (void)arg;
    (void)held;
    return -EIO;
}

static void test_recover(void **state)
{
    struct task t[4] = { 0 };
    struct claim c[3] = { 0 };
    struct recovery recovery = { .count = 0 }, again = { .count = 0 };

    (void)state;
    for (int i = 0; i < 4; i++) {
        insert(&t[i]);
        if (i < 3)
            claim(&c[i], NOW);
    }
    ok(task_request_cancel(table, "alice", t[1].id, "no more", &err));
    ok(task_postpone(table, &c[2], 15000, TASK_WAITS, "Pending : wait", &err));
    reopen();
    assert_int_equal(task_recover(table, recover_badly, NULL, &err), -EIO);
    assert_int_equal(row(t[0].id)->stage[0].deaths, 0); /* nothing is counted until it was seen */

    ok(task_recover(table, recover_one, &recovery, &err));
    assert_int_equal(recovery.count, 2);
    assert_int_equal(recovery.deaths, 2);
    assert_int_equal(row(t[0].id)->stage[0].deaths, 1);
    assert_string_equal(message(t[0].id), "Pending");
    expect_removal(&t[1], 1);
    assert_int_equal(row(t[1].id)->state, TASK_CANCELLED);
    assert_string_equal(message(t[1].id), "no more");
    assert_int_equal(row(t[2].id)->stage[0].deaths, 0);
    assert_string_equal(message(t[2].id), "Pending : wait");
    assert_int_equal(row(t[3].id)->stage[0].deaths, 0);
    for (int i = 0; i < 3; i++) { /* the three are due at once, the waiting one too */
        struct claim taken CLAIM_DONE = { 0 };

        claim(&taken, NOW - 1000000);
    }
    again.complete = t[0].id;
    ok(task_recover(table, recover_one, &again, &err));
    assert_int_equal(again.count, 3);
    assert_int_equal(row(t[0].id)->state, TASK_COMPLETED);
    assert_int_equal(row(t[3].id)->stage[0].deaths, 1);
    for (int i = 0; i < 4; i++)
        task_done(&t[i]);
    for (int i = 0; i < 3; i++)
        claim_done(&c[i]);
    forget_rows();
}

/* Decided before the death: the next claim finishes it. */
static void test_recover_publishing(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 }, next CLAIM_DONE = { 0 };
    struct recovery recovery = { .count = 0 };

    (void)state;
    insert(&a);
    claim(&taken, NOW);
    ok(task_publish(table, &taken, &result, &err));
    reopen();
    ok(task_recover(table, recover_one, &recovery, &err));
    assert_int_equal(recovery.count, 1);
    claim(&next, NOW);
    assert_int_equal(next.stage->state, STAGE_PUBLISHING);
    assert_int_equal(next.stage->won_epoch, 1);
    ok(task_complete(table, &next, NULL, &err));
    assert_int_equal(row(a.id)->state, TASK_COMPLETED);
    forget_rows();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_table(test_instance),
        with_table(test_one_disk_fails),
        with_table(test_cancel_beside_publishing),
        with_table(test_cancel_with_a_volume),
        with_table(test_launch_fails),
        with_table(test_expiry),
        with_table(test_expiry_to_the_moment),
        with_table(test_forgotten_after_seven_days),
        with_table(test_recover),
        with_table(test_recover_publishing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

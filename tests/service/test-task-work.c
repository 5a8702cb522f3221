/* test-task-work - claims, leases and publication: what a worker writes counts while it holds the
 * claim, and not a moment longer.
 *
 * On SQLite, and (started by service/task-postgres.sh) on PostgreSQL. */

#include <config.h>

#include "task-fixture.h"

static void test_cancel_worked_on(void **state)
{
    struct task task TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 };
    bool cancel = false;

    (void)state;
    insert(&task);
    claim(&taken, NOW);
    ok(task_heartbeat(at(NOW), &taken, LEASE, 1, NULL, &cancel, &err));
    assert_false(cancel);
    ok(task_request_cancel(at(NOW + 1), "alice", task.id, "enough", &err));
    assert_int_equal(row(task.id)->state, TASK_CANCELLING);
    ok(task_request_cancel(at(NOW + 1), "alice", task.id, "more than enough", &err));
    ok(task_heartbeat(at(NOW + 2), &taken, LEASE, 2, "Progress: 1%", &cancel, &err));
    assert_true(cancel);
    assert_string_equal(message(task.id), "enough");
    assert_int_equal(task_publish(at(NOW + 3), &taken, &result, &err), -ESTALE);
    assert_int_equal(task_complete(table, &taken, &result, &err), -ESTALE);
    assert_int_equal(task_postpone(table, &taken, 0, TASK_TRIED, "x", &err), -ESTALE);
    assert_null(row(task.id)->stage[0].digest);
    ok(task_end_cancelled(table, &taken, "ServerError: whatever", &err));
    assert_int_equal(row(task.id)->state, TASK_CANCELLED);
    assert_int_equal(row(task.id)->ended_ms, NOW + 3);
    assert_string_equal(message(task.id), "enough");
    assert_int_equal(task_end_cancelled(table, &taken, "x", &err), -ESTALE);
    forget_rows();
}

static void test_claim_order(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 };
    struct claim c CLAIM_DONE = { 0 };
    struct claim first CLAIM_DONE = { 0 }, second CLAIM_DONE = { 0 };

    (void)state;
    assert_int_equal(claim_nothing(NOW), INT64_MAX);
    insert(&a);
    insert(&b);
    claim(&first, NOW);
    claim(&second, NOW);
    assert_string_equal(first.task.id, a.id);
    assert_string_equal(second.task.id, b.id);
    assert_int_equal(first.stage->epoch, 1);
    assert_string_equal(first.stage->worker, "one");
    assert_int_equal(claim_nothing(NOW), NOW + LEASE); /* then a lease may have run out */
    ok(task_postpone(table, &first, 700, TASK_WAITS, "Pending : later", &err));
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
    insert(&a);
    claim(&taken, NOW);
    ok(task_heartbeat(at(NOW + 20000), &taken, LEASE, 0, NULL, &cancel, &err));
    assert_int_equal(claim_nothing(NOW + 20000 + LEASE - 1), NOW + 20000 + LEASE);
    claim(&over, NOW + 20000 + LEASE);
    assert_int_equal(over.stage->epoch, 2);
    assert_int_equal(over.stage->deaths, 1);
    assert_int_equal(task_heartbeat(at(NOW + 60000), &taken, LEASE, 0, NULL, &cancel, &err),
                     -ESTALE);
}

/* A beat that comes late, before anybody took over, still counts. */
static void test_late_heartbeat(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 };
    bool cancel = true;

    (void)state;
    insert(&a);
    claim(&taken, NOW);
    ok(task_heartbeat(at(NOW + 2 * LEASE), &taken, LEASE, 5, NULL, &cancel, &err));
    assert_false(cancel);
    assert_int_equal(claim_nothing(NOW + 2 * LEASE), NOW + 3 * LEASE);
    assert_int_equal(row(a.id)->stage[0].deaths, 0);
    forget_rows();
}

static void test_lapsed_and_cancelling(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 }, gone CLAIM_DONE = { 0 };

    (void)state;
    insert(&a);
    claim(&taken, NOW);
    ok(task_request_cancel(at(NOW + 1), "alice", a.id, "stop", &err));
    (void)claim_nothing(NOW + LEASE - 1);
    assert_int_equal(row(a.id)->stage[0].state, STAGE_ACTIVE);
    assert_int_equal(claim_nothing(NOW + LEASE), INT64_MAX);
    assert_int_equal(row(a.id)->stage[0].state, STAGE_REMOVING); /* the dead one left files */
    assert_int_equal(row(a.id)->state, TASK_CANCELLING);
    ok(task_next_removal(table, &gone, &err));
    ok(task_removed(table, &gone, &err));
    assert_int_equal(row(a.id)->state, TASK_CANCELLED);
    assert_string_equal(message(a.id), "stop");
    forget_rows();
}

static void test_heartbeat(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 };
    bool cancel = true;

    (void)state;
    insert(&a);
    claim(&taken, NOW);
    ok(task_heartbeat(at(NOW), &taken, LEASE, 500, "Progress: 50%", &cancel, &err));
    assert_false(cancel);
    assert_int_equal(row(a.id)->stage[0].bytes_converted, 500);
    assert_string_equal(message(a.id), "Progress: 50%");
    ok(task_heartbeat(at(NOW), &taken, LEASE, 499, NULL, &cancel, &err));
    assert_int_equal(row(a.id)->stage[0].bytes_converted, 500);
    assert_string_equal(message(a.id), "Progress: 50%");
    ok(task_heartbeat(at(NOW), &taken, LEASE, UINT64_MAX, NULL, &cancel, &err));
    assert_int_equal(row(a.id)->stage[0].bytes_converted, 1000);
    forget_rows();
}

static void test_postpone(void **state)
{
    static const enum task_return whys[] = { TASK_RELEASED, TASK_WAITS, TASK_TRIED, TASK_DIED };
    struct task a TASK_DONE = { 0 };

    (void)state;
    insert(&a);
    for (unsigned i = 0; i < 4; i++) {
        struct claim taken CLAIM_DONE = { 0 };

        claim(&taken, NOW);
        ok(task_postpone(table, &taken, 0, whys[i], i == 1 ? "said" : NULL, &err));
        assert_int_equal(row(a.id)->stage[0].waits, i >= 1);
        assert_int_equal(row(a.id)->stage[0].tries, i >= 2);
        assert_int_equal(row(a.id)->stage[0].deaths, i >= 3);
        assert_string_equal(message(a.id), i >= 1 ? "said" : "Pending");
        assert_int_equal(task_postpone(table, &taken, 0, whys[i], NULL, &err), -ESTALE);
    }
    forget_rows();
}

/* ---- publication ---- */

static void test_complete(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 };

    (void)state;
    insert(&a);
    claim(&taken, NOW);
    assert_int_equal(task_complete(table, &taken, NULL, &err), -ESTALE); /* not decided yet */
    assert_int_equal(row(a.id)->stage[0].state, STAGE_ACTIVE);
    ok(task_publish(table, &taken, &result, &err));
    assert_int_equal(row(a.id)->state, TASK_ACTIVE);
    assert_int_equal(row(a.id)->stage[0].state, STAGE_PUBLISHING);
    assert_int_equal(row(a.id)->stage[0].won_epoch, 1);
    assert_int_equal(row(a.id)->stage[0].bytes_converted, 0);
    assert_string_equal(row(a.id)->stage[0].digest, DIGEST);
    /* all that there is has been decided: AWS's error for a cancel that comes too late */
    assert_int_equal(task_request_cancel(table, "alice", a.id, NULL, &err), -EALREADY);
    assert_non_null(strstr(err.message, "about to complete"));
    ok(task_complete(at(NOW + 5), &taken, NULL, &err));
    assert_int_equal(row(a.id)->state, TASK_COMPLETED);
    assert_int_equal(row(a.id)->ended_ms, NOW + 5);
    assert_null(row(a.id)->status_message);
    assert_null(row(a.id)->stage[0].status_message);
    assert_string_equal(row(a.id)->stage[0].digest, DIGEST);
    assert_int_equal(row(a.id)->stage[0].bytes_converted, 1000);
    assert_int_equal(task_complete(table, &taken, NULL, &err), -ESTALE);
    assert_int_equal(task_publish(table, &taken, &result, &err), -ESTALE);
    assert_int_equal(task_request_cancel(table, "alice", a.id, NULL, &err), -EALREADY);
    assert_int_equal(row(a.id)->state, TASK_COMPLETED);
    reopen();
    assert_int_equal(row(a.id)->state, TASK_COMPLETED);
    forget_rows();
}

/* The answer got lost: the same again says yes, and changes nothing. */
static void test_publish_again(void **state)
{
    struct stage_result other = { .digest = DIGEST, .boot_mode = "uefi" };
    struct task a TASK_DONE = { 0 }, before TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 };

    (void)state;
    insert(&a);
    claim(&taken, NOW);
    ok(task_publish(table, &taken, &other, &err));
    ok(task_get(table, "alice", a.id, &before, &err));
    ok(task_publish(at(NOW + 7), &taken, &other, &err));
    assert_same(row(a.id), &before);
    forget_rows();
}

/* Who takes over a stage whose winner is decided finishes it, and never wins it. */
static void test_publishing_taken_over(void **state)
{
    static const struct stage_result mine = { .digest = "sha256:mine" };
    struct task a TASK_DONE = { 0 };
    struct claim first CLAIM_DONE = { 0 }, second CLAIM_DONE = { 0 }, third CLAIM_DONE = { 0 };

    (void)state;
    insert(&a);
    claim(&first, NOW);
    ok(task_publish(table, &first, &result, &err));
    claim(&second, NOW + LEASE);
    assert_int_equal(second.stage->state, STAGE_PUBLISHING);
    assert_int_equal(second.stage->epoch, 2);
    assert_int_equal(second.stage->won_epoch, 1);
    assert_int_equal(second.stage->deaths, 1);
    assert_int_equal(task_publish(table, &second, &mine, &err), -ESTALE);
    assert_int_equal(task_publish(table, &first, &mine, &err), -ESTALE);
    assert_int_equal(task_complete(table, &first, NULL, &err), -ESTALE);
    assert_string_equal(row(a.id)->stage[0].digest, DIGEST);
    ok(task_postpone(table, &second, 0, TASK_TRIED, "no rename today", &err));
    assert_int_equal(row(a.id)->stage[0].state, STAGE_PUBLISHING);
    claim(&third, NOW + LEASE);
    assert_int_equal(third.stage->won_epoch, 1);
    ok(task_complete(table, &third, NULL, &err));
    assert_int_equal(row(a.id)->state, TASK_COMPLETED);
    assert_int_equal(row(a.id)->stage[0].won_epoch, 1);
    forget_rows();
}

/* ---- claims that are over ---- */

/* Everything a worker can write; all of it refused, with the row as it was. */
static void write_everything(const char *id, const struct claim *old)
{
    struct task before TASK_DONE = { 0 };
    bool cancel = false;

    ok(task_get(table, "alice", id, &before, &err));
    assert_int_equal(task_heartbeat(table, old, 2 * LEASE, 900, "x", &cancel, &err), -ESTALE);
    assert_int_equal(task_postpone(table, old, 0, TASK_DIED, "x", &err), -ESTALE);
    assert_int_equal(task_publish(table, old, &result, &err), -ESTALE);
    assert_int_equal(task_complete(table, old, &result, &err), -ESTALE);
    assert_int_equal(task_end_cancelled(table, old, "x", &err), -ESTALE);
    assert_false(cancel);
    assert_same(row(id), &before);
}

#define AGES 6

/* Claims of every age, while the youngest works, while nobody does, while it publishes, after it
 * was taken over there, and when all is over. */
static void test_stale_claims_of_every_age(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim claims[AGES] = { 0 };
    bool cancel;

    (void)state;
    insert(&a);
    for (int i = 0; i < AGES; i++) {
        claim(&claims[i], NOW + i * LEASE); /* the lease of the one before has just run out */
        for (int old = 0; old < i; old++)
            write_everything(a.id, &claims[old]);
        ok(task_heartbeat(table, &claims[i], LEASE, 1, NULL, &cancel, &err));
        if (i == 1) {
            ok(task_postpone(table, &claims[i], 0, TASK_RELEASED, NULL, &err));
            write_everything(a.id, &claims[0]);
            write_everything(a.id, &claims[1]); /* with the epoch of the row, but given back */
        } else if (i == 3) {
            ok(task_publish(table, &claims[i], &result, &err));
        }
    }
    ok(task_complete(table, &claims[AGES - 1], NULL, &err));
    assert_int_equal(row(a.id)->state, TASK_COMPLETED);
    for (int i = 0; i < AGES; i++) {
        write_everything(a.id, &claims[i]);
        claim_done(&claims[i]);
    }
    forget_rows();
}

/* Of one that was given back while its task is to stop, and of one that is forgotten. */
static void test_stale_claim_of_the_forgotten(void **state)
{
    struct task a TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 };

    (void)state;
    insert(&a);
    claim(&taken, NOW);
    ok(task_end_cancelled(table, &taken, "ClientError: bad", &err));
    write_everything(a.id, &taken);
    (void)claim_nothing(NOW + TASK_KEEP_MS);
    assert_int_equal(task_end_cancelled(table, &taken, "x", &err), -ESTALE);
    assert_int_equal(task_publish(table, &taken, &result, &err), -ESTALE);
    ok(task_removed(table, &taken, &err)); /* nothing is left, and nothing is said */
    forget_rows();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_table(test_cancel_worked_on),
        with_table(test_claim_order),
        with_table(test_lease_runs_out),
        with_table(test_late_heartbeat),
        with_table(test_lapsed_and_cancelling),
        with_table(test_heartbeat),
        with_table(test_postpone),
        with_table(test_complete),
        with_table(test_publish_again),
        with_table(test_publishing_taken_over),
        with_table(test_stale_claims_of_every_age),
        with_table(test_stale_claim_of_the_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

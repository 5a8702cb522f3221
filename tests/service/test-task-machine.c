/* test-task-machine - the states of a task and its stages alone: every event in every state, by a
 * table written by hand from the picture in task/machine.h. */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "task/machine.h"
#include "task/state.h"

#define NOW   INT64_C(1000)
#define LEASE INT64_C(5000)
#define DUE   INT64_C(1500)

enum event { CLAIM, PUBLISH, COMPLETE, FAIL, POSTPONE, LAPSE, REMOVED, STOP, EVENTS };

/* A stage in one letter: waiting, active, publishing, completed, removing, x cancelled; a capital
 * is leased. */
static const char letters[] = "wapcrx";

static void put(struct stage *stage, char letter)
{
    bool leased = letter == 'A' || letter == 'P';

    stage->state = (enum stage_state)(strchr(letters, leased ? letter + 32 : letter) - letters);
    stage->lease_ms = leased ? LEASE : 0;
    stage->won_epoch = stage->state == STAGE_PUBLISHING ? stage->epoch : 0;
}

static char letter_of(const struct stage *stage)
{
    char letter = letters[stage->state];

    return stage->lease_ms ? (char)(letter - 32) : letter;
}

/* A task of three disks and a launch, whose first or last stage is the one of the row. */
struct fixture {
    struct stage stage[4];
    struct task task;
};

static void begin(struct fixture *f, enum task_state state, size_t of, char letter, uint64_t epoch)
{
    memset(f, 0, sizeof(*f));
    for (size_t i = 0; i < 4; i++)
        f->stage[i] = (struct stage){ .kind = i == 3 ? STAGE_LAUNCH : STAGE_CONVERT,
                                      .number = (unsigned)i + 1,
                                      .image_bytes = 100,
                                      .epoch = of == i ? epoch : 0 };
    /* the others: one that is worked on, so that the task does not end, and what fits */
    put(&f->stage[0], of == 3 ? 'c' : letter);
    put(&f->stage[1], of == 3 ? 'c' : 'A');
    put(&f->stage[2], 'c');
    put(&f->stage[3], of == 3 ? letter : 'w');
    f->task = (struct task){ .kind = TASK_INSTANCE,
                             .state = state,
                             .stage = f->stage,
                             .stage_count = 4,
                             .status_message = state == TASK_ACTIVE ? NULL : strdup("why") };
}

static void end(struct fixture *f)
{
    for (size_t i = 0; i < 4; i++)
        free(f->stage[i].status_message);
    free(f->task.status_message);
}

static int move(struct fixture *f, struct stage *stage, enum event event)
{
    switch (event) {
    case CLAIM:
        return machine_claim(&f->task, stage, LEASE);
    case PUBLISH:
        return machine_publish(&f->task, stage);
    case COMPLETE:
        return machine_complete(&f->task, stage, NOW);
    case FAIL:
        return machine_fail(&f->task, stage, "broken", NOW);
    case POSTPONE:
        return machine_postpone(&f->task, stage, DUE, TASK_TRIED, NULL);
    case LAPSE:
        return machine_lapse(&f->task, stage, NOW);
    case REMOVED:
        return machine_removed(&f->task, stage, NOW);
    case STOP:
    default:
        return machine_stop(&f->task, "stopped", NOW);
    }
}

/* What becomes of the stage at each event; '-': refused, nothing changed; '=': nothing changed, and
 * that is fine. */
struct line {
    char from;
    uint64_t epoch;
    const char *to; /* claim publish complete fail postpone lapse removed stop */
};

static const struct line
    converts[] = {
        /* of an active task */
        { 'w', 0, "-------x" }, /* a convert never waits, but no harm is done */
        { 'a', 0, "A------x" }, /* nobody has worked on it: nothing to remove */
        { 'a', 1, "A------r" }, { 'a', 2, "A------r" },
        { 'A', 1, "-P-xaa-A" }, /* the only claim so far removes its files itself … */
        { 'A', 2, "-P-raa-A" }, /* … an earlier one's may still be there */
        { 'p', 1, "P------r" }, { 'P', 1, "-=crpp-P" },
        { 'P', 2, "-=crpp-P" }, { 'c', 1, "-------r" },
        { 'r', 1, "------x=" }, { 'x', 1, "-------=" },
    };
static const struct line launches[] = {
    { 'w', 0, "-------x" }, { 'a', 0, "A------x" }, { 'a', 2, "A------x" }, /* it has no files */
    { 'A', 2, "--cxaa-A" }, { 'c', 1, "-------x" }, /* only its owner can end the machine */
    { 'x', 1, "-------=" },
};
/* of a task that is to end: nothing goes forward, and a second stop changes nothing */
static const struct line late_converts[] = {
    { 'a', 1, "A------=" }, /* of an older table, see 0003-stages.sql: whoever claims it is told */
    { 'A', 1, "---x-r-=" }, { 'A', 2, "---r-r-=" }, { 'p', 1, "P------=" },
    { 'P', 2, "-=rr-r-=" }, { 'r', 1, "------x=" }, { 'x', 1, "-------=" },
};
static const struct line late_launches[] = {
    { 'a', 1, "A------=" },
    { 'A', 1, "---x-x-=" },
    { 'x', 1, "-------=" },
};

static void assert_unchanged(const struct fixture *before, const struct fixture *after)
{
    assert_memory_equal(before->stage, after->stage, sizeof(after->stage));
    assert_memory_equal(&before->task, &after->task, sizeof(after->task));
}

static void check(const struct line *line, enum task_state state, size_t of, enum event event)
{
    char wanted = line->to[event], got;
    struct fixture f, before;
    int r;

    begin(&f, state, of, line->from, line->epoch);
    before = f;
    f.task.stage = f.stage;
    before.task.stage = f.stage;
    r = move(&f, &f.stage[of], event);
    got = letter_of(&f.stage[of]);
    if (wanted == '-' || (wanted == '=' && event != STOP)) {
        if (r != (wanted == '-' ? -ESTALE : 0))
            fail_msg("%c, epoch %d, event %d: %d", line->from, (int)line->epoch, event, r);
        assert_unchanged(&before, &f);
    } else if (r != 0 || got != (wanted == '=' ? line->from : wanted)) {
        fail_msg("%c, epoch %d, event %d: %d and %c, not %c", line->from, (int)line->epoch, event,
                 r, got, wanted);
    } else if (got != line->from) {
        assert_true(f.stage[of].changed); /* else it would not be stored */
    }
    end(&f);
}

static void check_all(const struct line *lines, size_t count, enum task_state state, size_t of)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(strlen(lines[i].to), EVENTS);
        for (enum event event = CLAIM; event < EVENTS; event++)
            check(&lines[i], state, of, event);
    }
}

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static void every_event_in_every_state(void **state)
{
    (void)state;
    check_all(converts, COUNT(converts), TASK_ACTIVE, 0);
    check_all(launches, COUNT(launches), TASK_ACTIVE, 3);
    check_all(late_converts, COUNT(late_converts), TASK_CANCELLING, 0);
    check_all(late_launches, COUNT(late_launches), TASK_CANCELLING, 3);
}

/* ---- what else each event writes ---- */

static void a_claim_counts_and_leases(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, TASK_ACTIVE, 0, 'p', 4);
    assert_int_equal(machine_claim(&f.task, &f.stage[0], 77), 0);
    assert_int_equal(f.stage[0].epoch, 5);
    assert_int_equal(f.stage[0].lease_ms, 77);
    assert_int_equal(f.stage[0].won_epoch, 4); /* what was decided stays decided */
    end(&f);
}

static void a_claim_that_took_over_does_not_win_again(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, TASK_ACTIVE, 0, 'P', 4);
    f.stage[0].epoch = 5;
    assert_int_equal(machine_publish(&f.task, &f.stage[0]), -ESTALE);
    assert_int_equal(f.stage[0].won_epoch, 4);
    assert_int_equal(machine_complete(&f.task, &f.stage[0], NOW), 0);
    assert_int_equal(f.stage[0].state, STAGE_COMPLETED);
    end(&f);
}

static void reasons_are_counted(void **state)
{
    static const enum task_return whys[] = { TASK_RELEASED, TASK_WAITS, TASK_TRIED, TASK_DIED };

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct fixture f;

        begin(&f, TASK_ACTIVE, 0, 'A', 1);
        assert_int_equal(machine_postpone(&f.task, &f.stage[0], DUE, whys[i], i ? "m" : NULL), 0);
        assert_int_equal(f.stage[0].due_ms, DUE);
        assert_int_equal(f.stage[0].waits, whys[i] == TASK_WAITS);
        assert_int_equal(f.stage[0].tries, whys[i] == TASK_TRIED);
        assert_int_equal(f.stage[0].deaths, whys[i] == TASK_DIED);
        assert_int_equal(f.stage[0].status_message != NULL, i > 0);
        end(&f);
    }
}

static void a_lapse_is_a_death(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, TASK_ACTIVE, 0, 'A', 1);
    f.stage[0].due_ms = 1;
    assert_int_equal(machine_lapse(&f.task, &f.stage[0], NOW), 0);
    assert_int_equal(f.stage[0].deaths, 1);
    assert_int_equal(f.stage[0].due_ms, NOW);
    end(&f);
    begin(&f, TASK_CANCELLING, 0, 'A', 1);
    assert_int_equal(machine_lapse(&f.task, &f.stage[0], NOW), 0);
    assert_int_equal(f.stage[0].deaths, 0);
    end(&f);
}

/* ---- what follows for the task ---- */

static void the_last_volume_starts_the_launch_and_the_launch_ends_the_task(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, TASK_ACTIVE, 0, 'P', 1);
    f.stage[0].status_message = strdup("Progress: 99%");
    assert_int_equal(machine_complete(&f.task, &f.stage[0], NOW), 0);
    assert_null(f.stage[0].status_message);
    assert_int_equal(f.stage[0].bytes_converted, 100);
    assert_int_equal(f.stage[3].state, STAGE_WAITING); /* the second disk is still worked on */
    put(&f.stage[1], 'P');
    f.stage[1].won_epoch = 0;
    assert_true(machine_may_stop(&f.task) == false);
    assert_int_equal(machine_complete(&f.task, &f.stage[1], NOW), 0);
    assert_int_equal(f.stage[3].state, STAGE_ACTIVE);
    assert_int_equal(f.stage[3].due_ms, NOW);
    assert_string_equal(f.stage[3].status_message, TASK_MESSAGE_LAUNCH);
    assert_int_equal(f.task.state, TASK_ACTIVE);
    assert_int_equal(machine_claim(&f.task, &f.stage[3], LEASE), 0);
    assert_int_equal(machine_complete(&f.task, &f.stage[3], NOW + 1), 0);
    assert_int_equal(f.task.state, TASK_COMPLETED);
    assert_int_equal(f.task.ended_ms, NOW + 1);
    assert_true(f.task.changed);
    assert_int_equal(machine_stop(&f.task, "late", NOW + 2), 0); /* nothing changes */
    assert_int_equal(f.task.state, TASK_COMPLETED);
    assert_null(f.task.status_message);
    end(&f);
}

/* Stopped: who works is waited for, what was made is removed, and then it is over. */
static void a_stopped_task_ends_with_the_last_thing_of_it(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, TASK_ACTIVE, 0, 'A', 1);
    assert_true(machine_may_stop(&f.task));
    f.stage[2].epoch = 1;
    assert_int_equal(machine_fail(&f.task, &f.stage[0], "broken", NOW), 0);
    assert_int_equal(f.task.state, TASK_CANCELLING);
    assert_string_equal(f.task.status_message, "broken");
    assert_string_equal(f.stage[0].status_message, "broken");
    assert_int_equal(letter_of(&f.stage[1]), 'A');
    assert_int_equal(letter_of(&f.stage[2]), 'r');
    assert_int_equal(letter_of(&f.stage[3]), 'x');
    assert_int_equal(f.task.ended_ms, 0);
    f.stage[1].epoch = 1;
    assert_int_equal(machine_fail(&f.task, &f.stage[1], "other", NOW + 1), 0);
    assert_string_equal(f.task.status_message, "broken"); /* the first reason stays */
    assert_null(f.stage[1].status_message);
    assert_int_equal(f.task.state, TASK_CANCELLING);
    assert_int_equal(machine_removed(&f.task, &f.stage[2], NOW + 2), 0);
    assert_int_equal(f.task.state, TASK_CANCELLED);
    assert_int_equal(f.task.ended_ms, NOW + 2);
    assert_int_equal(machine_removed(&f.task, &f.stage[2], NOW + 3), -ESTALE);
    assert_int_equal(f.task.ended_ms, NOW + 2);
    end(&f);
}

static void a_task_nobody_worked_on_stops_at_once(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, TASK_ACTIVE, 0, 'a', 0);
    put(&f.stage[1], 'a');
    put(&f.stage[2], 'a');
    assert_int_equal(machine_stop(&f.task, "enough", NOW), 0);
    assert_int_equal(f.task.state, TASK_CANCELLED);
    assert_int_equal(f.task.ended_ms, NOW);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_event_in_every_state),
        cmocka_unit_test(a_claim_counts_and_leases),
        cmocka_unit_test(a_claim_that_took_over_does_not_win_again),
        cmocka_unit_test(reasons_are_counted),
        cmocka_unit_test(a_lapse_is_a_death),
        cmocka_unit_test(the_last_volume_starts_the_launch_and_the_launch_ends_the_task),
        cmocka_unit_test(a_stopped_task_ends_with_the_last_thing_of_it),
        cmocka_unit_test(a_task_nobody_worked_on_stops_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

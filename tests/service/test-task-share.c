/* test-task-share - many who work on the same tasks at once: claims are given once, accounts take
 * turns, limits hold, a race has one winner.
 *
 * On SQLite by threads of one service, and (started by service/task-postgres.sh) on PostgreSQL by
 * those of two. */

#include <config.h>

#include "task-fixture.h"

#include <time.h>

#include "base/clock.h"

#define DEADLINE_MS 60000

static void insert_many(const char *account, const char *zone, int count)
{
    for (int i = 0; i < count; i++)
        insert_for(account, zone);
}

/* Start the threads, every second one on the other service's table, and wait for them. */
struct thread {
    struct task_table *table;
    int number, wrong;
    char why[128];
};

/* The first thing that went wrong in a thread. */
static void wrong(struct thread *thread, const char *what, int r, const struct im_error *e)
{
    if (thread->wrong++ == 0)
        (void)snprintf(thread->why, sizeof(thread->why), "%.40s: %d, %.60s", what, r, e->message);
}

static void run_threads(int count, void *(*work)(void *), const struct task_limits *limits)
{
    struct task_table *other;
    struct thread thread[16] = { 0 };
    pthread_t id[16];

    if (limits) {
        table = task_table_close(table);
        table = open_as("one", !on_server(), limits);
    }
    other = open_other("two", limits);
    for (int i = 0; i < count; i++) {
        thread[i].table = i % 2 ? other : table;
        thread[i].number = i;
        assert_int_equal(pthread_create(&id[i], NULL, work, &thread[i]), 0);
    }
    for (int i = 0; i < count; i++)
        assert_int_equal(pthread_join(id[i], NULL), 0);
    close_other(other);
    for (int i = 0; i < count; i++)
        if (thread[i].wrong)
            fail_msg("thread %d: %d times, %s", i, thread[i].wrong, thread[i].why);
}

static void pause_shortly(void)
{
    (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* ---- claims are given once ---- */

#define MANY 150

static char claimed_ids[2 * MANY][TASK_ID_SIZE];
static atomic_int claimed_count;

static void *claim_all(void *arg)
{
    struct thread *thread = arg;
    struct im_error mine = { 0 };
    int64_t wait_ms = 0;
    int r;

    do {
        struct claim claimed CLAIM_DONE = { 0 };
        int n;

        r = task_claim(thread->table, LEASE, &claimed, &wait_ms, &mine);
        if (r == 0 && (n = atomic_fetch_add(&claimed_count, 1)) < 2 * MANY)
            (void)snprintf(claimed_ids[n], TASK_ID_SIZE, "%s", claimed.task.id);
    } while (r == 0 || (r == -EAGAIN && wait_ms == 0)); /* 0: others were faster */
    if (r != -EAGAIN)
        wrong(thread, "claim", r, &mine);
    return NULL;
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void claims_are_given_once(void **state)
{
    (void)state;
    atomic_store(&claimed_count, 0);
    insert_many("alice", "z", MANY / 2);
    insert_many("bob", "z", MANY / 2);
    run_threads(4, claim_all, NULL);
    assert_int_equal(atomic_load(&claimed_count), MANY);
    qsort(claimed_ids, MANY, TASK_ID_SIZE, compare);
    for (int i = 1; i < MANY; i++)
        assert_string_not_equal(claimed_ids[i - 1], claimed_ids[i]);
}

/* ---- fair choice ---- */

/* A has many tasks, B comes with one: when a worker is free, B's is its next or the one after it.
 */
static void check_turn(size_t workers, const char *many, const char *one)
{
    struct claim held[4] = { 0 };
    int until = 0;
    bool served = false;

    insert_many(many, "z", workers == 1 ? 500 : 20);
    for (size_t i = 0; i < workers; i++)
        claim(&held[i], NOW);
    (void)at(NOW + 1);
    insert_for(one, "z"); /* due later than all of the others */
    while (!served && until < 3) {
        size_t i = (size_t)until % workers;

        ok(publish_and_complete(&held[i], &result));
        claim_done(&held[i]);
        claim(&held[i], NOW + 1);
        until++;
        served = strcmp(held[i].task.account, one) == 0;
    }
    assert_true(served);
    assert_true(until <= 2);
    for (size_t i = 0; i < workers; i++)
        claim_done(&held[i]);
}

static void the_one_task_of_another_account_is_next(void **state)
{
    (void)state;
    for (size_t workers = 1; workers <= 4; workers++) {
        for (int order = 0; order < 2; order++) {
            check_turn(workers, order ? "bob" : "alice", order ? "alice" : "bob");
            assert_int_equal(teardown(state), 0);
            assert_int_equal(setup(state), 0);
        }
    }
}

/* One worker and three accounts, one of them with tasks in two zones: each gets the same. */
static void accounts_take_turns(void **state)
{
    char order[16] = "";

    (void)state;
    insert_many("alice", "z1", 6);
    insert_many("bob", "z1", 3);
    insert_many("bob", "z2", 3);
    insert_many("carol", "z1", 6);
    for (int i = 0; i < 9; i++) {
        struct claim taken CLAIM_DONE = { 0 };

        claim(&taken, NOW);
        order[i] = taken.task.account[0];
        ok(publish_and_complete(&taken, &result));
    }
    assert_string_equal(order, "abcabcabc");
}

#define CROWD 150

/* More accounts than are looked at for one claim: each has had its turn before one has its second.
 */
static void accounts_of_a_crowd_take_turns(void **state)
{
    char name[16];
    int served[CROWD] = { 0 };

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < CROWD; i++) {
            (void)snprintf(name, sizeof(name), "%03d", (i * 7) % CROWD);
            insert_for(name, i % 3 ? "z1" : "z2");
        }
    }
    for (int n = 0; n < 2 * CROWD; n++) {
        struct claim taken CLAIM_DONE = { 0 };
        uint64_t who;

        claim(&taken, NOW);
        assert_int_equal(im_parse_uint(taken.task.account, CROWD, &who), 0);
        assert_int_equal(served[who], n / CROWD);
        served[who]++;
        ok(publish_and_complete(&taken, &result));
    }
    assert_int_equal(claim_nothing(NOW), INT64_MAX);
}

/* What cannot be served, because it is not due or for a limit, hides nothing behind it. */
static void a_crowd_hides_nobody(void **state)
{
    static const struct task_zone_limit full = { "full", 1 };
    static const struct task_limits limits = { .zone = &full, .zone_count = 1 };
    struct claim first CLAIM_DONE = { 0 }, second CLAIM_DONE = { 0 }, third CLAIM_DONE = { 0 };
    char name[16];

    (void)state;
    table = task_table_close(table);
    table = open_as("one", true, &limits);
    (void)at(NOW + 5000);
    insert_for("late", "z");
    (void)at(NOW);
    for (int i = 0; i < CROWD; i++) {
        (void)snprintf(name, sizeof(name), "k%03d", i);
        insert_for(name, "full");
    }
    claim(&first, NOW);
    assert_string_equal(first.task.zone, "full");
    assert_int_equal(claim_nothing(NOW), NOW + 5000);
    insert_for("zoe", "z");
    claim(&second, NOW);
    assert_string_equal(second.task.account, "zoe");
    insert_for("adam", "z");
    claim(&third, NOW);
    assert_string_equal(third.task.account, "adam");
    assert_int_equal(claim_nothing(NOW), NOW + 5000);
}

/* ---- limits ---- */

#define ACCOUNTS 4
#define EACH     16

static const struct task_zone_limit one_zone = { "z1", 3 };
static const struct task_limits narrow = {
    .total = 5, .per_account = 2, .zone = &one_zone, .zone_count = 1
};
static char account_names[ACCOUNTS][8] = { "alice", "bob", "carol", "dave" };
static atomic_int held_total, held_by[ACCOUNTS], held_in_z1, done, most;

/* What is held here is held in the table, too. */
static void hold(struct thread *thread, const struct claim *taken, int change)
{
    const struct im_error none = { 0 };
    int by = 0, total = atomic_fetch_add(&held_total, change) + change, most_so_far;

    while (by < ACCOUNTS - 1 && strcmp(account_names[by], taken->task.account) != 0)
        by++;
    if (total > 5)
        wrong(thread, "more than 5 in all", total, &none);
    if (atomic_fetch_add(&held_by[by], change) + change > 2)
        wrong(thread, "more than 2 of an account", by, &none);
    if (strcmp(taken->task.zone, "z1") == 0 && atomic_fetch_add(&held_in_z1, change) + change > 3)
        wrong(thread, "more than 3 in z1", 4, &none);
    most_so_far = atomic_load(&most);
    if (total > most_so_far)
        (void)atomic_compare_exchange_strong(&most, &most_so_far, total);
}

static int end_one(struct thread *thread, const struct claim *taken, struct im_error *mine)
{
    int r = task_publish(thread->table, taken, &result, mine);

    return r < 0 ? r : task_complete(thread->table, taken, NULL, mine);
}

static void *work_within_limits(void *arg)
{
    struct thread *thread = arg;
    int64_t end_ms = im_clock_monotonic_ms() + DEADLINE_MS;

    while (atomic_load(&done) < 2 * ACCOUNTS * EACH) {
        struct claim taken CLAIM_DONE = { 0 };
        struct im_error mine = { 0 };
        int64_t wait_ms;
        int r = task_claim(thread->table, LEASE, &taken, &wait_ms, &mine);

        if (r == 0) {
            hold(thread, &taken, 1);
            while (atomic_load(&most) < 5 && im_clock_monotonic_ms() < end_ms)
                pause_shortly(); /* until the limit was reached once */
            hold(thread, &taken, -1);
            r = end_one(thread, &taken, &mine);
            atomic_fetch_add(&done, 1);
        } else if (r == -EAGAIN) {
            pause_shortly();
            r = 0;
        }
        if (r < 0 || im_clock_monotonic_ms() > end_ms) {
            wrong(thread, "work", r, &mine);
            return NULL;
        }
    }
    return NULL;
}

static void limits_are_never_exceeded(void **state)
{
    (void)state;
    atomic_store(&done, 0);
    for (int i = 0; i < ACCOUNTS; i++) {
        insert_many(account_names[i], "z1", EACH);
        insert_many(account_names[i], "z2", EACH);
    }
    run_threads(8, work_within_limits, &narrow);
    assert_int_equal(atomic_load(&most), 5);
}

/* ---- one winner ---- */

static struct race {
    struct task task;
    struct claim claim;
    pthread_barrier_t start;
    int publisher; /* number of its thread */
    int published, cancelled;
} race;

static void *race_to(void *arg)
{
    struct thread *thread = arg;
    struct task task TASK_DONE = { 0 };
    struct im_error mine = { 0 };

    /* a connection is there when the race begins */
    if (task_get(thread->table, "alice", race.task.id, &task, &mine) < 0)
        wrong(thread, "get", 0, &mine);
    (void)pthread_barrier_wait(&race.start);
    if (thread->number == race.publisher)
        race.published = task_publish(thread->table, &race.claim, &result, &mine);
    else
        race.cancelled = task_request_cancel(thread->table, "alice", race.task.id, "no", &mine);
    return NULL;
}

static void cancel_or_publish(void **state)
{
    int published = 0;

    (void)state;
    assert_int_equal(pthread_barrier_init(&race.start, NULL, 2), 0);
    for (int i = 0; i < 20; i++) {
        race.publisher = i % 2; /* who comes to the barrier last begins a little earlier */
        insert(&race.task);
        claim(&race.claim, NOW);
        run_threads(2, race_to, NULL);
        if (race.published == 0) {
            assert_int_equal(race.cancelled, -EALREADY);
            ok(task_complete(table, &race.claim, NULL, &err));
            assert_int_equal(row(race.task.id)->state, TASK_COMPLETED);
        } else {
            assert_int_equal(race.published, -ESTALE);
            assert_int_equal(race.cancelled, 0);
            ok(task_end_cancelled(table, &race.claim, NULL, &err));
            assert_int_equal(row(race.task.id)->state, TASK_CANCELLED);
        }
        published += race.published == 0;
        task_done(&race.task);
        claim_done(&race.claim);
    }
    print_message("published %d of 20\n", published);
    (void)pthread_barrier_destroy(&race.start);
    forget_rows();
}

/* ---- everything at once ---- */

#define TASKS 60

static struct {
    char id[TASK_ID_SIZE];
    atomic_int wins[4], completions[4], deaths;
} all[TASKS];
static atomic_int ended;

static int place_of(const char *id)
{
    int i = 0;

    while (i < TASKS - 1 && strcmp(all[i].id, id) != 0)
        i++;
    return i;
}

/* Of what a worker does with a claim; some die, and time goes on. */
static int work_on(struct thread *thread, const struct claim *taken, unsigned luck,
                   struct im_error *mine)
{
    int n = place_of(taken->task.id);
    unsigned i = taken->stage->number - 1;
    bool cancel = false;
    int r = task_heartbeat(thread->table, taken, LEASE, 1, "at it", &cancel, mine);

    if (r == 0 && cancel)
        return task_end_cancelled(thread->table, taken, NULL, mine);
    if (r == 0 && luck % 8 == 0) {
        atomic_fetch_add(&clock_ms, LEASE / 3); /* it dies here */
        return 0;
    }
    if (r == 0 && luck % 8 == 1)
        return task_postpone(thread->table, taken, 10, TASK_TRIED, "again", mine);
    if (r == 0 && luck % 32 == 2)
        return task_end_cancelled(thread->table, taken, "ClientError: bad", mine);
    if (r == 0 && taken->stage->kind == STAGE_CONVERT && taken->stage->state != STAGE_PUBLISHING) {
        r = task_publish(thread->table, taken, &result, mine);
        atomic_fetch_add(&all[n].wins[i], r == 0);
    }
    if (r == 0 && luck % 8 == 3) {
        atomic_fetch_add(&clock_ms, LEASE / 3); /* or here */
        return 0;
    }
    if (r == 0) {
        r = task_complete(thread->table, taken, NULL, mine);
        atomic_fetch_add(&all[n].completions[i], r == 0);
    }
    return r;
}

static int remove_all(struct thread *thread, struct im_error *mine)
{
    struct claim gone CLAIM_DONE = { 0 };
    int r = task_next_removal(thread->table, &gone, mine);

    return r < 0 ? r : task_removed(thread->table, &gone, mine);
}

/* Claim and work, cancel now and then, remove what is to go. */
static void *do_everything(void *arg)
{
    struct thread *thread = arg;
    unsigned luck = (unsigned)thread->number * 7919;
    int64_t end_ms = im_clock_monotonic_ms() + DEADLINE_MS;

    while (!atomic_load(&ended) && !thread->wrong) {
        struct claim taken CLAIM_DONE = { 0 };
        struct im_error mine = { 0 };
        int64_t wait_ms;
        int r;

        luck = luck * 1103515245 + 12345;
        if (luck >> 16 & 1) {
            r = task_claim(thread->table, LEASE, &taken, &wait_ms, &mine);
            if (r == 0)
                r = work_on(thread, &taken, luck >> 17, &mine);
            else if (r == -EAGAIN)
                atomic_fetch_add(&clock_ms, 10);
        } else if ((luck >> 17) % 16 == 0) {
            r = task_request_cancel(thread->table, "alice", all[(luck >> 20) % TASKS].id, NULL,
                                    &mine);
        } else {
            r = remove_all(thread, &mine);
        }
        if (r < 0 && r != -EAGAIN && r != -ESTALE && r != -EALREADY)
            wrong(thread, "something", r, &mine);
        if (im_clock_monotonic_ms() > end_ms)
            wrong(thread, "it takes too long", 0, &mine);
        if (thread->number == 0 && r == -EAGAIN) {
            struct work open = { .sql = "SELECT count(*) FROM task WHERE ended_ms IS NULL",
                                 .answer = -1 };

            if (sql_read(thread->table->db, run_work, &open, &mine) >= 0 && open.answer == 0)
                atomic_store(&ended, 1);
        }
    }
    atomic_store(&ended, 1);
    return NULL;
}

/* Whatever happens, every task ends, what is published is decided once and completed at most once,
 * and a cancelled one has nothing left. */
static void everything_at_once(void **state)
{
    int completed = 0;

    (void)state;
    memset(all, 0, sizeof(all));
    atomic_store(&ended, 0);
    for (int i = 0; i < TASKS; i++) {
        struct task task TASK_DONE = { 0 };

        if (i % 3 == 0)
            insert_instance(&task, 2);
        else
            insert(&task);
        (void)snprintf(all[i].id, sizeof(all[i].id), "%s", task.id);
    }
    run_threads(6, do_everything, NULL);
    for (int i = 0; i < TASKS; i++) {
        const struct task *task = row(all[i].id);
        bool complete = task->state == TASK_COMPLETED;

        completed += complete;
        assert_true(complete || task->state == TASK_CANCELLED);
        assert_int_not_equal(task->ended_ms, 0);
        for (size_t k = 0; k < task->stage_count; k++) {
            bool convert = task->stage[k].kind == STAGE_CONVERT;

            assert_int_equal(task->stage[k].state, complete ? STAGE_COMPLETED : STAGE_CANCELLED);
            assert_true(atomic_load(&all[i].wins[k]) <= 1);
            assert_true(atomic_load(&all[i].completions[k]) <= 1);
            if (complete) {
                assert_int_equal(atomic_load(&all[i].wins[k]), convert);
                assert_int_equal(atomic_load(&all[i].completions[k]), 1);
            }
        }
    }
    print_message("%d of %d completed\n", completed, TASKS);
    assert_int_equal(number_of("SELECT count(*) FROM stage WHERE lease_ms IS NOT NULL"), 0);
    forget_rows();
}

/* ---- the database goes away ---- */

/* As task_claim, until the server answers; *ret_quiet_ms: since it did not. */
static int claim_when_back(struct task_table *of, struct claim *ret_claim, int64_t *ret_quiet_ms)
{
    int64_t end_ms = im_clock_monotonic_ms() + DEADLINE_MS, failed_ms = im_clock_monotonic_ms();
    int64_t wait_ms;
    int r;

    while ((r = task_claim(of, LEASE, ret_claim, &wait_ms, &err)) == -EHOSTDOWN) {
        failed_ms = im_clock_monotonic_ms();
        assert_true(failed_ms < end_ms);
        pause_shortly();
    }
    *ret_quiet_ms = im_clock_monotonic_ms() - failed_ms;
    return r;
}

/* Nobody could renew a lease meanwhile: that is no death, but when nobody renews it afterwards. */
static void an_outage_is_no_death(void **state)
{
    int64_t end_ms, quiet_ms;
    struct task task TASK_DONE = { 0 };
    struct claim taken CLAIM_DONE = { 0 }, over CLAIM_DONE = { 0 };
    struct task_table *other;
    bool cancel;
    int r;

    (void)state;
    if (!on_server())
        skip();
    other = open_as("two", false, NULL);
    insert(&task);
    claim(&taken, NOW);
    (void)control("stop fast");
    fails(task_claim(other, LEASE, &over, &quiet_ms, &err), EHOSTDOWN, "");
    (void)control("start");
    (void)at(NOW + 2 * LEASE);
    r = claim_when_back(other, &over, &quiet_ms);
    if (quiet_ms > 3000)
        print_message("the machine is too slow to see it\n");
    else
        assert_int_equal(r, -EAGAIN);
    end_ms = im_clock_monotonic_ms() + DEADLINE_MS;
    while (r == -EAGAIN &&
           (r = task_heartbeat(table, &taken, LEASE, 1, NULL, &cancel, &err)) != 0) {
        assert_true(r == -EHOSTDOWN && im_clock_monotonic_ms() < end_ms);
        pause_shortly();
        r = -EAGAIN;
    }
    (void)at(NOW + 4 * LEASE);
    while (!over.stage && (r = task_claim(other, LEASE, &over, &quiet_ms, &err)) != 0) {
        assert_true(r == -EAGAIN && im_clock_monotonic_ms() < end_ms);
        pause_shortly();
    }
    assert_int_equal(over.stage->deaths, 1);
    (void)task_table_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_table(claims_are_given_once), with_table(the_one_task_of_another_account_is_next),
        with_table(accounts_take_turns),   with_table(accounts_of_a_crowd_take_turns),
        with_table(a_crowd_hides_nobody),  with_table(limits_are_never_exceeded),
        with_table(cancel_or_publish),     with_table(everything_at_once),
        with_table(an_outage_is_no_death),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test-stores - who may ask a store that is away, and what comes of it for a hundred tasks. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "dispatch/stores.h"

#define URL   "http://s3.example:8773/bucket/a?Signature=1"
#define SAME  "HTTP://S3.example:8773/other/b"
#define OTHER "http://s3.example/bucket/a"

static struct stores *stores;
static bool counts;

static int setup(void **state)
{
    (void)state;
    stores = stores_new();
    return stores ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    stores = stores_free(stores);
    return 0;
}

static void who_is_not_away_is_asked(void **state)
{
    (void)state;
    assert_int_equal(stores_ask(stores, URL, 0), 0);
    assert_int_equal(stores_ask(stores, URL, 0), 0);
    stores_answered(stores, URL, 0);
    assert_int_equal(stores_ask(stores, URL, 0), 0);
}

static void one_at_a_time_asks_who_is_away(void **state)
{
    (void)state;
    assert_int_equal(stores_failed(stores, URL, 5000, &counts), STORES_PAUSE_MS);
    assert_false(counts);
    assert_int_equal(stores_ask(stores, URL, 5100), 900);
    assert_int_equal(stores_ask(stores, SAME, 5200), 800 + STORES_SPREAD_MS);
    assert_int_equal(stores_ask(stores, OTHER, 5200), 0);
    assert_int_equal(stores_ask(stores, URL, 6000), 0); /* this one */
    assert_true(stores_ask(stores, URL, 6000) > 0);
    assert_int_equal(stores_failed(stores, URL, 6100, &counts),
                     2 * STORES_PAUSE_MS + 3 * STORES_SPREAD_MS); /* those told come first */
    assert_true(stores_ask(stores, URL, 8000) > 0);
    assert_int_equal(stores_ask(stores, URL, 8100), 0);
    stores_answered(stores, SAME, 8200);
    assert_int_equal(stores_ask(stores, URL, 8200), 0);
    assert_int_equal(stores_ask(stores, URL, 8200), 0);
}

static void who_leaves_makes_room(void **state)
{
    (void)state;
    (void)stores_failed(stores, URL, 0, &counts);
    assert_int_equal(stores_ask(stores, URL, 1000), 0);
    stores_left(stores, URL);
    assert_int_equal(stores_ask(stores, URL, 1000), 0);
}

static void pauses_grow_to_a_limit(void **state)
{
    int64_t now = 0, pause = 0;

    (void)state;
    for (int i = 0; i < 40; i++) {
        int64_t next = stores_failed(stores, URL, now, &counts);

        assert_true(next >= pause && next <= STORES_PAUSE_MAX_MS);
        pause = next;
        now += pause;
        assert_int_equal(stores_ask(stores, URL, now), 0);
    }
    assert_int_equal(pause, STORES_PAUSE_MAX_MS);
}

/* Several had begun when it went away: what they find out later is no news. */
static void those_who_had_begun_prolong_nothing(void **state)
{
    (void)state;
    (void)stores_failed(stores, URL, 0, &counts);
    for (int i = 0; i < 10; i++)
        assert_true(stores_failed(stores, URL, 100, &counts) > 0);
    assert_int_equal(stores_ask(stores, URL, STORES_PAUSE_MS), 0);
}

static void who_never_answered_is_given_up(void **state)
{
    (void)state;
    (void)stores_failed(stores, URL, 1000, &counts);
    (void)stores_failed(stores, URL, STORES_UNKNOWN_MAX_MS, &counts);
    assert_false(counts);
    (void)stores_failed(stores, URL, 1000 + STORES_UNKNOWN_MAX_MS, &counts);
    assert_true(counts);
    stores_answered(stores, URL, 2 * STORES_UNKNOWN_MAX_MS);
    for (int64_t now = 0; now < 100; now++)
        (void)stores_failed(stores, URL, (3 + now) * STORES_UNKNOWN_MAX_MS, &counts);
    assert_false(counts);
}

static void many_stores_are_forgotten(void **state)
{
    char url[64];

    (void)state;
    for (int i = 0; i < STORES_MAX + 1; i++) {
        (void)snprintf(url, sizeof(url), "http://s%d.example/", i);
        (void)stores_failed(stores, url, i, &counts);
    }
    assert_int_equal(stores_ask(stores, "http://s0.example/", 100), 0);
    assert_true(stores_ask(stores, "http://s1.example/", 100) > 0);
    assert_true(stores_ask(stores, url, 100) > 0);
}

static void nothing_to_keep_account_in(void **state)
{
    (void)state;
    assert_int_equal(stores_ask(NULL, URL, 0), 0);
    assert_true(stores_failed(NULL, URL, 0, &counts) > 0);
    assert_true(counts);
    stores_answered(NULL, URL, 0);
    stores_left(NULL, URL);
    assert_int_equal(stores_ask(stores, "no URL", 0), 0);
    assert_true(stores_failed(stores, "no URL", 0, &counts) > 0);
    assert_true(counts);
}

/* ---- a hundred tasks, three services, and a store that is away for ten minutes ---- */

#define TASKS    100
#define SERVICES 3
#define WORKERS  2
#define STEP_MS  100
#define BACK_MS  (600 * 1000)
#define END_MS   (BACK_MS + 120 * 1000)

struct attempt {
    int task; /* -1: idle */
    int64_t end_ms;
};

struct world {
    struct stores *stores[SERVICES];
    struct attempt attempt[SERVICES][WORKERS];
    int64_t due_ms[TASKS]; /* -1: at work; INT64_MAX: done */
    int64_t takes_ms;      /* an attempt in vain, with its two requests */
    unsigned late_requests, most_in_a_minute, this_minute;
    int64_t first_ms; /* when the first was done */
    int done;
};

static int next_due(const struct world *world, int64_t now_ms)
{
    int best = -1;

    for (int i = 0; i < TASKS; i++)
        if (world->due_ms[i] >= 0 && world->due_ms[i] <= now_ms &&
            (best < 0 || world->due_ms[i] < world->due_ms[best]))
            best = i;
    return best;
}

static void begin(struct world *world, int service, struct attempt *attempt, int64_t now_ms)
{
    for (int task; (task = next_due(world, now_ms)) >= 0;) {
        int64_t pause = stores_ask(world->stores[service], URL, now_ms);

        world->due_ms[task] = pause > 0 ? now_ms + pause : -1;
        if (pause > 0)
            continue;
        *attempt = (struct attempt){ task, now_ms + (now_ms < BACK_MS ? world->takes_ms : 1000) };
        world->this_minute += 2;
        return;
    }
}

static void end(struct world *world, int service, struct attempt *attempt, int64_t now_ms)
{
    if (now_ms < BACK_MS) {
        world->due_ms[attempt->task] =
            now_ms + stores_failed(world->stores[service], URL, now_ms, &counts);
        assert_false(counts);
    } else {
        stores_answered(world->stores[service], URL, now_ms);
        world->due_ms[attempt->task] = INT64_MAX;
        world->first_ms = world->done++ == 0 ? now_ms : world->first_ms;
    }
    stores_left(world->stores[service], URL);
    attempt->task = -1;
}

static void step(struct world *world, int64_t now_ms)
{
    for (int s = 0; s < SERVICES; s++)
        for (int w = 0; w < WORKERS; w++) {
            struct attempt *attempt = &world->attempt[s][w];

            if (attempt->task >= 0 && attempt->end_ms <= now_ms)
                end(world, s, attempt, now_ms);
            if (attempt->task < 0)
                begin(world, s, attempt, now_ms);
        }
    if (now_ms % 60000 == 0) { /* the first minute is not judged */
        if (now_ms > 60000 && now_ms <= BACK_MS && world->this_minute > world->most_in_a_minute)
            world->most_in_a_minute = world->this_minute;
        world->this_minute = 0;
    }
}

static void live(int64_t takes_ms, struct world *world)
{
    *world = (struct world){ .takes_ms = takes_ms };
    for (int s = 0; s < SERVICES; s++) {
        world->stores[s] = stores_new();
        assert_non_null(world->stores[s]);
        stores_answered(world->stores[s], URL, 0);
        for (int w = 0; w < WORKERS; w++)
            world->attempt[s][w].task = -1;
    }
    for (int64_t now = 0; now <= END_MS; now += STEP_MS)
        step(world, now);
    for (int s = 0; s < SERVICES; s++)
        stores_free(world->stores[s]);
    print_message(
        "attempts of %d ms: %u requests in the worst minute, work goes on %d ms after the "
        "store is back, %d of %d done in two minutes\n",
        (int)takes_ms, world->most_in_a_minute, (int)(world->first_ms - BACK_MS), world->done,
        TASKS);
}

static void a_store_that_is_away_is_not_hammered(void **state)
{
    static const int64_t takes_ms[] = { 100, 300, 2000, 10000 };

    (void)state;
    for (size_t i = 0; i < sizeof(takes_ms) / sizeof(takes_ms[0]); i++) {
        struct world world;

        live(takes_ms[i], &world);
        assert_true(world.most_in_a_minute > 0);
        assert_true(world.most_in_a_minute <= 60 * 2);
        assert_true(world.first_ms - BACK_MS <= 20000);
        assert_int_equal(world.done, TASKS);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(who_is_not_away_is_asked),
        TEST(one_at_a_time_asks_who_is_away),
        TEST(who_leaves_makes_room),
        TEST(pauses_grow_to_a_limit),
        TEST(those_who_had_begun_prolong_nothing),
        TEST(who_never_answered_is_given_up),
        TEST(many_stores_are_forgotten),
        TEST(nothing_to_keep_account_in),
        TEST(a_store_that_is_away_is_not_hammered),
    };

    return cmocka_run_group_tests_name("stores", tests, NULL, NULL);
}

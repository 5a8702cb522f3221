/* test-throttle - token buckets by account and action, with the time given by hand. */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/throttle.h"

enum { FIRST, SECOND, UNKNOWN, ACTIONS = UNKNOWN };

static const char *const actions[] = { "First", "Second" };
static char any[] = "*", second[] = "Second", third[] = "Third";
static struct svc_throttle *throttle;

static void limit(struct svc_rate *rates, size_t count)
{
    const struct svc_conf conf = { .rates = rates, .rate_count = count };
    struct im_error err;

    throttle = svc_throttle_free(throttle);
    assert_int_equal(svc_throttle_new(&conf, actions, ACTIONS, &throttle, &err), 0);
}

/* Calls let through of `calls` made at that time. */
static int passed(const char *account, size_t action, int calls, int64_t now_ms)
{
    int n = 0;

    while (calls-- > 0)
        n += svc_throttle_take(throttle, account, action, now_ms);
    return n;
}

static int teardown(void **state)
{
    (void)state;
    throttle = svc_throttle_free(throttle);
    return 0;
}

static void a_bucket_empties_and_fills_again(void **state)
{
    struct svc_rate rates[] = { { any, 5, 10 } };

    (void)state;
    limit(rates, 1);
    assert_int_equal(passed("a", FIRST, 100, 1000), 10);
    assert_int_equal(passed("a", FIRST, 100, 1199), 0);
    assert_int_equal(passed("a", FIRST, 100, 1200), 1); /* one each 200 ms */
    assert_int_equal(passed("a", FIRST, 100, 2200), 5);
    assert_int_equal(passed("a", FIRST, 100, 1000), 0); /* time does not go back */
    assert_int_equal(passed("a", FIRST, 100, 2399), 0);
    assert_int_equal(passed("a", FIRST, 100, 2400), 1);
    assert_int_equal(passed("a", FIRST, 100, INT64_MAX), 10);
}

static void accounts_and_actions_are_apart(void **state)
{
    struct svc_rate rates[] = { { any, 1, 3 } };

    (void)state;
    limit(rates, 1);
    for (size_t action = 0; action <= UNKNOWN; action++) {
        assert_int_equal(passed("a", action, 9, 0), 3);
        assert_int_equal(passed("b", action, 9, 0), 3);
    }
    assert_int_equal(passed("a", UNKNOWN + 7, 9, 0), 0); /* the unknown ones share */
}

static void an_action_of_its_own(void **state)
{
    struct svc_rate rates[] = { { any, 1, 3 }, { second, 100, 0 } };
    struct svc_rate only[] = { { second, 1, 2 } }, free_one[] = { { any, 1, 1 }, { second, 0, 5 } };

    (void)state;
    limit(rates, 2);
    assert_int_equal(passed("a", FIRST, 500, 0), 3);
    assert_int_equal(passed("a", SECOND, 500, 0), 100); /* burst is the rate */
    limit(only, 1);
    assert_int_equal(passed("a", FIRST, 500, 0), 500);
    assert_int_equal(passed("a", UNKNOWN, 500, 0), 500);
    assert_int_equal(passed("a", SECOND, 500, 0), 2);
    limit(free_one, 2);
    assert_int_equal(passed("a", FIRST, 500, 0), 1);
    assert_int_equal(passed("a", SECOND, 500, 0), 500);
}

static void without_limits_all_pass(void **state)
{
    (void)state;
    limit(NULL, 0);
    assert_int_equal(passed("a", FIRST, 1000, 0), 1000);
    assert_true(svc_throttle_take(NULL, "a", FIRST, 0));
}

/* The one that called last is remembered; the one that rested longest is not. */
static void the_oldest_account_makes_room(void **state)
{
    struct svc_rate rates[] = { { any, 1, 1 } };
    char name[16];

    (void)state;
    limit(rates, 1);
    assert_int_equal(passed("old", FIRST, 2, 0), 1);
    assert_int_equal(passed("busy", FIRST, 2, 0), 1);
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(name, sizeof(name), "%d", i);
        assert_int_equal(passed(name, FIRST, 2, 0), 1);
        assert_int_equal(passed("busy", FIRST, 1, 0), 0);
    }
    assert_int_equal(passed("4999", FIRST, 1, 0), 0);
    assert_int_equal(passed("1000", FIRST, 1, 0), 0);
    assert_int_equal(passed("old", FIRST, 2, 0), 1);
}

static void actions_that_do_not_exist_are_refused(void **state)
{
    struct svc_rate rates[] = { { third, 1, 1 } };
    const struct svc_conf conf = { .rates = rates, .rate_count = 1 };
    struct im_error err;

    (void)state;
    assert_int_equal(svc_throttle_new(&conf, actions, ACTIONS, &throttle, &err), -EINVAL);
    assert_non_null(strstr(err.message, "\"Third\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_bucket_empties_and_fills_again, teardown),
        cmocka_unit_test_teardown(accounts_and_actions_are_apart, teardown),
        cmocka_unit_test_teardown(an_action_of_its_own, teardown),
        cmocka_unit_test_teardown(without_limits_all_pass, teardown),
        cmocka_unit_test_teardown(the_oldest_account_makes_room, teardown),
        cmocka_unit_test_teardown(actions_that_do_not_exist_are_refused, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

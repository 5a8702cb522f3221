/* The SQL layer and a PostgreSQL server that restarts, hangs, hangs up, or is not alone.  Started
 * by service/sql-postgres.sh; needs POSTGRES_CONTROL (tests/lib/with-postgres). */

#include <config.h>

#include "sql-fixture.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "base/clock.h"

/* An answer that the server is away comes within two seconds; a loaded machine may take longer, but
 * not as long as several time-outs one after the other. */
#define AWAY_MAX_MS 10000

static struct sql *db;

static int setup(void **state)
{
    if (make_database(state) < 0)
        return -1;
    db = open_db();
    return 0;
}

static int teardown(void **state)
{
    db = sql_close(db);
    (void)control("go-on"); /* for those that follow, when this one failed */
    return remove_database(state);
}

static struct sql *open_at(const char *uri, unsigned connections)
{
    return open_with(
        &(struct sql_options){ .where = uri, .schema = &test_schema, .connections = connections });
}

static int count_up(struct sql_session *session, void *arg, struct im_error *e)
{
    if (arg)
        ++*(int *)arg; /* times it was called */
    return sql_run(session, "UPDATE counter SET number = number + 1 WHERE id = 1", 0, 0, 0, e);
}

static int64_t counted(void)
{
    return number_from(db, "SELECT number FROM counter WHERE id = 1");
}

/* ---- what a session is like ---- */

static void sessions_have_their_settings(void **state)
{
    (void)state;
#define SETTING(name, value)                                                                       \
    number_from(db, "SELECT count(*) FROM pg_settings WHERE name = '" name                         \
                    "' AND setting = '" value "'")
    assert_int_equal(SETTING("synchronous_commit", "on"), 1);
    assert_int_equal(SETTING("idle_in_transaction_session_timeout", "10000"), 1);
    assert_int_equal(SETTING("statement_timeout", "1400"), 1);
    assert_int_equal(SETTING("lock_timeout", "1300"), 1);
    assert_int_equal(SETTING("application_name", "imaging-service"), 1);
    assert_int_equal(SETTING("transaction_isolation", "repeatable read"), 1);
    assert_int_equal(SETTING("transaction_read_only", "on"), 1);
}

static int widen(struct sql_session *session, void *arg, struct im_error *e)
{
    struct sql_statement *find SQL_STATEMENT =
        sql_use(session, "SELECT count(*) FROM counter WHERE id = coalesce(?1, 1) AND ?2 = 'x' "
                         "AND coalesce(?3, 'z') <> ?4");
    int i = *(int *)arg;

    if (i & 1)
        sql_int(find, 1, 1);
    sql_text(find, 2, "x");
    if (i & 2)
        sql_text(find, 3, "z");
    sql_text(find, 4, i & 4 ? NULL : "y");
    return sql_step(session, find, e) > 0 ? (int)sql_column_int(find, 0) : -EIO;
}

/* However often a statement is prepared again, the server keeps one. */
static void statements_do_not_pile_up(void **state)
{
    struct sql *one = open_at(where, 1);

    (void)state;
    for (int i = 0; i < 16; i++)
        assert_int_equal(sql_read(one, widen, &i, &err), i & 4 ? 0 : 1);
    for (int i = 0; i < 5; i++) /* nor does one that fails at its first use */
        fails(sql_read(one, run_work, &(struct work){ .sql = "SELECT 1 / 0" }, &err), EIO,
              "division by zero");
    assert_in_range(number_from(one, "SELECT count(*) FROM pg_prepared_statements"), 2, 3);
    assert_null(sql_close(one));
}

static void columns_of_other_types_are_refused(void **state)
{
    (void)state;
    fails(sql_read(db, run_work, &(struct work){ .sql = "SELECT sum(number) FROM counter" }, &err),
          EIO, "CAST it");
    assert_int_equal(number_from(db, "SELECT CAST(sum(number) AS bigint) FROM counter"), 0);
}

/* ---- taken back by the server ---- */

static pthread_barrier_t both;

struct crossing {
    int64_t first, second;
    int calls, result;
    struct im_error err;
};

static int cross(struct sql_session *session, void *arg, struct im_error *e)
{
    static const char sql[] = "UPDATE counter SET number = number + 1 WHERE id = ?1";
    struct crossing *crossing = arg;
    int r = sql_run(session, sql, crossing->first, 0, 0, e);

    if (crossing->calls++ == 0) /* each has one row now, and wants the other's */
        (void)pthread_barrier_wait(&both);
    return r < 0 ? r : sql_run(session, sql, crossing->second, 0, 0, e);
}

static void *cross_thread(void *arg)
{
    struct crossing *crossing = arg;

    crossing->result = sql_write(db, cross, crossing, &crossing->err);
    return NULL;
}

static void a_deadlock_is_repeated(void **state)
{
    struct crossing one = { .first = 1, .second = 2 }, two = { .first = 2, .second = 1 };
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_barrier_init(&both, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, cross_thread, &one), 0);
    (void)cross_thread(&two);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)pthread_barrier_destroy(&both);
    if (one.result != 1 || two.result != 1)
        fail_msg("%d %s, %d %s", one.result, one.err.message, two.result, two.err.message);
    assert_true(one.calls + two.calls >= 3);
    assert_int_equal(number_from(db, "SELECT min(number) FROM counter"), 2);
    assert_int_equal(number_from(db, "SELECT max(number) FROM counter"), 2);
}

static int fail_always(struct sql_session *session, void *arg, struct im_error *e)
{
    ++*(int *)arg;
    return sql_run(session, "DO 'BEGIN RAISE EXCEPTION ''as if'' USING ERRCODE = ''40001''; END'",
                   0, 0, 0, e);
}

static void repetition_has_an_end(void **state)
{
    int calls = 0;

    (void)state;
    fails(sql_write(db, fail_always, &calls, &err), ETIMEDOUT, "as if");
    assert_int_equal(calls, 6);
}

static int lock_and_update(struct sql_session *session, void *arg, struct im_error *e)
{
    int r = count_up(session, NULL, e);

    return r < 0 ? r : sql_write(arg, count_up, NULL, e);
}

static void a_lock_is_not_waited_for_long(void **state)
{
    struct sql *other = open_db();

    (void)state;
    fails(sql_write(db, lock_and_update, other, &err), ETIMEDOUT, "lock timeout");
    assert_int_equal(counted(), 0);
    assert_int_equal(sql_write(db, count_up, NULL, &err), 1);
    assert_null(sql_close(other));
}

static int write_read_only(struct sql_session *session, void *arg, struct im_error *e)
{
    int r = sql_run(session, "SET TRANSACTION READ ONLY", 0, 0, 0, e);

    return r < 0 ? r : count_up(session, arg, e);
}

static void what_only_reads_is_said(void **state)
{
    (void)state;
    fails(sql_write(db, write_read_only, NULL, &err), EROFS, "read-only");
    fails(sql_read(db, count_up, NULL, &err), EROFS, "read-only");
}

/* ---- connections that end ---- */

static int hang_up(struct sql_session *session, void *arg, struct im_error *e)
{
    int *left = arg; /* times the server hangs up */
    int r = count_up(session, NULL, e);

    if (r >= 0 && (*left)-- > 0)
        r = run_work(session,
                     &(struct work){ .sql = "SELECT pg_terminate_backend(pg_backend_pid())" }, e);
    return r < 0 ? r : 0;
}

static void a_lost_connection_is_made_again_once(void **state)
{
    int left = 1;

    (void)state;
    ok(sql_write(db, hang_up, &left, &err));
    assert_int_equal(left, -1);
    assert_int_equal(counted(), 1);
    left = 2;
    fails(sql_write(db, hang_up, &left, &err), EHOSTDOWN, "57P01");
    assert_int_equal(left, 0);
    assert_int_equal(counted(), 1);
}

static int fall_asleep(struct sql_session *session, void *arg, struct im_error *e)
{
    int *calls = arg;
    int64_t deadline = im_clock_monotonic_ms() + 60000, others = 1;
    int r = count_up(session, NULL, e);

    if (r < 0 || (*calls)++ > 0)
        return r;
    /* as if the process had been stopped: the server ends the idle transaction meanwhile */
    r = sql_run(session, "SET LOCAL idle_in_transaction_session_timeout = 50", 0, 0, 0, e);
    while (r >= 0 && others > 0 && im_clock_monotonic_ms() < deadline) {
        struct work look = { .sql = "SELECT count(*) FROM pg_stat_activity WHERE pid <> "
                                    "pg_backend_pid() AND datname = current_database() "
                                    "AND state = 'idle in transaction'" };
        struct sql *other = open_at(where, 1);

        r = sql_read(other, run_work, &look, e);
        others = look.answer;
        (void)sql_close(other);
    }
    return r < 0 ? r : 0;
}

static void a_transaction_that_slept_too_long_begins_again(void **state)
{
    int calls = 0;

    (void)state;
    ok(sql_write(db, fall_asleep, &calls, &err));
    assert_int_equal(calls, 2);
    assert_int_equal(counted(), 1);
}

static void a_commit_that_is_cut_off(void **state)
{
    struct sql *cut = open_at(control("cut before"), 1);

    (void)state;
    fails(sql_write(cut, count_up, NULL, &err), ECONNABORTED, "may have happened or not");
    assert_int_equal(counted(), 0);
    assert_null(sql_close(cut));
    cut = open_at(control("cut after"), 1);
    fails(sql_write(cut, count_up, NULL, &err), ECONNABORTED, "may have happened or not");
    assert_int_equal(counted(), 1);
    assert_int_equal(number_from(cut, "SELECT number FROM counter WHERE id = 1"), 1);
    assert_null(sql_close(cut));
}

/* ---- a server that is away ---- */

static void a_restart_between_calls_is_not_felt(void **state)
{
    static const char *const modes[] = { "stop fast", "stop immediate", "kill" };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sql_write(db, count_up, NULL, &err), 1);
        (void)control(modes[i]);
        (void)control("start");
        if (i == 1)
            assert_int_equal(counted(), 3); /* a reader finds it, too */
        assert_int_equal(sql_write(db, count_up, NULL, &err), 1);
    }
    assert_int_equal(counted(), 6);
}

static _Atomic int wrong_answers, quick_answers;

static void *expect_away(void *arg)
{
    int64_t began_ms = im_clock_monotonic_ms();
    struct im_error e = { 0 };
    int r = sql_write(db, count_up, NULL, &e);

    (void)arg;
    quick_answers += im_clock_monotonic_ms() - began_ms < 1400;
    if (r != -EHOSTDOWN)
        wrong_answers++;
    return NULL;
}

/* All of many callers are answered before long; when it is known, most do not wait for a time-out.
 */
static void expect_everybody_away(const char *how, bool is_known)
{
    int64_t began_ms = im_clock_monotonic_ms(), took_ms;
    pthread_t thread[16];

    wrong_answers = quick_answers = 0;
    for (int i = 0; i < 16; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, expect_away, NULL), 0);
    for (int i = 0; i < 16; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    took_ms = im_clock_monotonic_ms() - began_ms;
    print_message("%s: 16 callers answered in %d ms\n", how, (int)took_ms);
    assert_int_equal(wrong_answers, 0);
    assert_true(took_ms < AWAY_MAX_MS);
    if (is_known)
        assert_true(quick_answers > 8);
}

static int64_t write_again(void)
{
    int64_t deadline = im_clock_monotonic_ms() + 60000;
    int r;

    do
        r = sql_write(db, count_up, NULL, &err);
    while (r == -EHOSTDOWN && im_clock_monotonic_ms() < deadline);
    ok(r);
    return counted();
}

static void a_server_that_is_stopped(void **state)
{
    struct sql *other = NULL;
    struct sql_options options = { .where = where, .schema = &test_schema, .connections = 1 };

    (void)state;
    assert_int_equal(write_again(), 1);
    (void)control("stop fast");
    fails(sql_read(db, run_work, &(struct work){ .sql = "SELECT 1" }, &err), EHOSTDOWN, "refused");
    expect_everybody_away("stopped", true);
    for (int64_t end = im_clock_monotonic_ms() + 1500; im_clock_monotonic_ms() < end;) {
        /* some of them look whether it is there again */
        fails(sql_write(db, count_up, NULL, &err), EHOSTDOWN, "refused");
        (void)poll(NULL, 0, 20);
    }
    fails(sql_open(&options, &other, &err), EHOSTDOWN, "refused");
    (void)control("start");
    assert_int_equal(write_again(), 2);
}

static void a_server_that_hangs(void **state)
{
    (void)state;
    assert_int_equal(write_again(), 1);
    (void)control("pause");
    expect_everybody_away("hanging, with a connection", false);
    expect_everybody_away("hanging, without one", true);
    (void)control("go-on");
    assert_int_equal(write_again(), 2);
}

static int pause_server(struct sql_session *session, void *arg, struct im_error *e)
{
    int r = count_up(session, arg, e);

    (void)control("pause");
    return r;
}

static void a_server_that_hangs_before_the_commit(void **state)
{
    (void)state;
    fails(sql_write(db, pause_server, NULL, &err), ECONNABORTED, "may have happened or not");
    expect_everybody_away("hanging since a commit", true);
    (void)control("go-on");
    (void)write_again();
}

#define WRITERS 4

static _Atomic bool storm_over;
static _Atomic int storm_kept, storm_refused, storm_unknown;

static int put_row(struct sql_session *session, void *arg, struct im_error *e)
{
    return sql_run(session, "INSERT INTO item (id, number) VALUES (?1, 1)", *(int64_t *)arg, 0, 0,
                   e);
}

/* Rows of a number each; how often the row is there must be what the answer said. */
static void *write_in_the_storm(void *arg)
{
    static const char look[] = "SELECT count(*) FROM item WHERE id = ?2 AND ?1 = ''";
    intptr_t wrong = 0;

    for (int64_t id = *(int64_t *)arg; !storm_over; id += WRITERS) {
        struct work work = { .sql = look, .text = "", .number = id };
        struct im_error e;
        int written = sql_write(db, put_row, &id, &e);

        storm_kept += written == 1;
        storm_refused += written == -EHOSTDOWN;
        storm_unknown += written == -ECONNABORTED;
        while (sql_read(db, run_work, &work, &e) < 0)
            (void)poll(NULL, 0, 10);
        if (written != -ECONNABORTED && work.answer != (written == 1))
            wrong++;
        if (written != 1 && written != -EHOSTDOWN && written != -ECONNABORTED)
            wrong++;
    }
    return (void *)wrong;
}

/* Nothing that was acknowledged is lost, nothing that was refused is there. */
static void commits_while_the_server_dies(void **state)
{
    int64_t first[WRITERS];
    pthread_t thread[WRITERS];
    void *wrong;

    (void)state;
    for (int i = 0; i < WRITERS; i++) {
        first[i] = i;
        assert_int_equal(pthread_create(&thread[i], NULL, write_in_the_storm, &first[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        int64_t deadline = im_clock_monotonic_ms() + 60000;
        int before = storm_kept;

        while (storm_kept < before + 50 && im_clock_monotonic_ms() < deadline)
            (void)poll(NULL, 0, 1);
        (void)control(i % 2 ? "stop immediate" : "kill");
        (void)control("start");
    }
    storm_over = true;
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(thread[i], &wrong), 0);
        assert_int_equal((intptr_t)wrong, 0);
    }
    print_message("%d kept, %d refused, %d unknown\n", storm_kept, storm_refused, storm_unknown);
    assert_true(storm_kept >= 300);
}

/* ---- the pool ---- */

static pthread_barrier_t all_of_them;

static int hold(struct sql_session *session, void *arg, struct im_error *e)
{
    int r = count_up(session, arg, e);

    (void)pthread_barrier_wait(&all_of_them); /* it is held */
    (void)pthread_barrier_wait(&all_of_them); /* until here */
    return r;
}

static void *hold_thread(void *arg)
{
    struct im_error e;

    return (void *)(intptr_t)sql_write(arg, hold, NULL, &e);
}

/* Connections besides the one that looks, once those of sql_open have ended; they take a moment. */
static int64_t connections_down_to(int64_t wanted)
{
    int64_t deadline = im_clock_monotonic_ms() + 60000, count;

    do
        count = number_from(db, "SELECT count(*) FROM pg_stat_activity WHERE datname = "
                                "current_database() AND pid <> pg_backend_pid() "
                                "AND backend_type = 'client backend'");
    while (count > wanted && im_clock_monotonic_ms() < deadline);
    return count;
}

static void all_connections_are_busy(void **state)
{
    struct sql *one = open_at(where, 1);
    pthread_t thread;
    void *result;

    (void)state;
    assert_int_equal(pthread_barrier_init(&all_of_them, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, hold_thread, one), 0);
    (void)pthread_barrier_wait(&all_of_them);
    fails(sql_read(one, run_work, &(struct work){ .sql = "SELECT 1" }, &err), EHOSTDOWN,
          "all 1 connections were busy");
    (void)pthread_barrier_wait(&all_of_them);
    assert_int_equal(pthread_join(thread, &result), 0);
    (void)pthread_barrier_destroy(&all_of_them);
    assert_int_equal((intptr_t)result, 1);
    assert_int_equal(number_from(one, "SELECT number FROM counter WHERE id = 1"), 1);
    assert_int_equal(connections_down_to(1), 1);
    assert_null(sql_close(one));
}

static void *write_much(void *arg)
{
    struct im_error e;
    intptr_t wrong = 0;

    for (int i = 0; i < 10; i++)
        wrong += sql_write(arg, count_up, NULL, &e) != 1;
    return (void *)wrong;
}

static void few_connections_serve_many(void **state)
{
    struct sql *two = open_at(where, 2);
    pthread_t thread[10];
    void *wrong;

    (void)state;
    for (int i = 0; i < 10; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, write_much, two), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(pthread_join(thread[i], &wrong), 0);
        assert_int_equal((intptr_t)wrong, 0);
    }
    assert_int_equal(counted(), 100);
    assert_in_range(connections_down_to(2), 1, 2);
    assert_null(sql_close(two));
}

/* ---- news ---- */

static int tell_news(struct sql_session *session, void *arg, struct im_error *e)
{
    (void)arg;
    return sql_notify(session, e);
}

static void who_waits_hears_of_a_restart(void **state)
{
    int r;

    (void)state;
    while (sql_await(db, -1, 10, &err) > 0)
        continue;
    (void)control("stop fast");
    assert_int_equal(sql_await(db, -1, 50, &err), -EHOSTDOWN);
    assert_int_equal(sql_await(db, -1, 50, &err), -EHOSTDOWN);
    (void)control("start");
    do
        r = sql_await(db, -1, 50, &err);
    while (r == -EHOSTDOWN);
    assert_int_equal(r, 1);
    assert_int_equal(sql_await(db, -1, 50, &err), 0);
    /* and of what comes afterwards */
    ok(sql_write(db, tell_news, NULL, &err));
    assert_int_equal(sql_await(db, -1, 60000, &err), 1);
}

/* ---- schemas and secrets ---- */

static void services_that_start_together(void **state)
{
    /* slow enough that all are there before the first has finished */
    struct sql_migration slow[3] = { postgres_migrations[0],
                                     postgres_migrations[1],
                                     { "0003-slow.sql",
                                       "CREATE TABLE slow (id bigint); SELECT pg_sleep(2)" } };
    struct sql_schema schema = test_schema;
    int status;

    (void)state;
    db = sql_close(db);
    (void)snprintf(where, sizeof(where), "%s", control("database"));
    schema.postgres = slow;
    schema.postgres_count = 3;
    for (int i = 0; i < 4; i++) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
            struct sql *own = NULL;
            struct sql_options options = { .where = where, .schema = &schema, .connections = 1 };
            int r = sql_open(&options, &own, &err);

            if (r < 0)
                (void)fprintf(stderr, "%s\n", err.message);
            (void)sql_close(own);
            _exit(r == 0 ? 0 : 1);
        }
    }
    for (int i = 0; i < 4; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    db = open_db();
    assert_int_equal(number_from(db, "SELECT count(*) FROM schema_version"), 3);
}

static void the_clock_can_be_replaced(void **state)
{
    (void)state;
    ok(sql_write(db, run_work,
                 &(struct work){ .sql = "CREATE OR REPLACE FUNCTION imaging_now() RETURNS bigint "
                                        "LANGUAGE sql STABLE AS 'SELECT 42::bigint'" },
                 &err));
    assert_null(sql_close(open_db()));
    assert_int_equal(number_from(db, "SELECT imaging_now()"), 42);
}

static void the_password_stays_secret(void **state)
{
    static const char *const uris[] = {
        "postgresql://me:se@cret@127.0.0.1/d",
        "postgresql://me:cret/me@127.0.0.1/d",
        "postgresql://me:secret",
        "postgresql://me:secret@127.0.0.1:cret/d",
        "postgresql://me:%zzsecret@127.0.0.1/d",
        "postgresql://me@127.0.0.1/d?password=a&secret",
    };
    struct sql *none = NULL;
    char *password, *end, wrong[600];

    (void)state;
    for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++) {
        struct sql_options options = { .where = uris[i], .schema = &test_schema };

        fails(sql_open(&options, &none, &err), EINVAL, "postgresql://USER:PASSWORD@HOST");
        assert_null(strstr(err.message, "cret"));
    }
    password = strchr(where + strlen("postgresql://"), ':') + 1;
    end = strchr(password, '@');
    (void)snprintf(wrong, sizeof(wrong), "%.*ssecret%s", (int)(password - where), where, end);
    fails(sql_open(&(struct sql_options){ .where = wrong, .schema = &test_schema }, &none, &err),
          EHOSTDOWN, "password authentication failed");
    assert_null(strstr(err.message, "secret"));
    *end = '\0';
    assert_non_null(strstr(sql_where(db), "127.0.0.1:"));
    assert_null(strstr(sql_where(db), password));
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        /* those with restarts first: the fewer databases, the sooner it is there again */
        TEST(a_restart_between_calls_is_not_felt),
        TEST(a_server_that_is_stopped),
        TEST(who_waits_hears_of_a_restart),
        TEST(commits_while_the_server_dies),
        TEST(sessions_have_their_settings),
        TEST(statements_do_not_pile_up),
        TEST(columns_of_other_types_are_refused),
        TEST(a_deadlock_is_repeated),
        TEST(repetition_has_an_end),
        TEST(a_lock_is_not_waited_for_long),
        TEST(what_only_reads_is_said),
        TEST(a_lost_connection_is_made_again_once),
        TEST(a_transaction_that_slept_too_long_begins_again),
        TEST(a_commit_that_is_cut_off),
        TEST(a_server_that_hangs),
        TEST(a_server_that_hangs_before_the_commit),
        TEST(all_connections_are_busy),
        TEST(few_connections_serve_many),
        TEST(services_that_start_together),
        TEST(the_clock_can_be_replaced),
        TEST(the_password_stays_secret),
    };

    if (!on_server()) {
        print_message("skipped: started by service/sql-postgres.sh\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

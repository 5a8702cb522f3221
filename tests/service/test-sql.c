/* The SQL layer, on SQLite and (started by service/sql-postgres.sh) on PostgreSQL: values come back
 * as they were, what failed leaves nothing, what succeeded stays, whoever else writes. */

#include <config.h>

#include "sql-fixture.h"

#include <poll.h>
#include <pthread.h>
#include <time.h>

#include "base/clock.h"

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
    return remove_database(state);
}

/* ---- values ---- */

static const char odd_text[] =
    "it's \"quoted\" -- ?1 $1 /*pg*/ \\ \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n";
static const unsigned char odd_bytes[] = { 0, 255, 0, 39, 92, 0 };

struct item {
    const char *name;
    const void *data;
    size_t len;
    bool has_number;
    int64_t number;
};

static int put_item(struct sql_session *session, void *arg, struct im_error *e)
{
    const struct item *item = arg;
    struct sql_statement *put SQL_STATEMENT =
        sql_use(session, "INSERT INTO item (name, data, number) VALUES (?1, ?3, ?2)");

    sql_text(put, 1, item->name);
    sql_bytes(put, 3, item->data, item->len);
    if (item->has_number)
        sql_int(put, 2, item->number);
    return sql_step(session, put, e);
}

static int check_last(struct sql_session *session, void *arg, struct im_error *e)
{
    const struct item *item = arg;
    struct sql_statement *row SQL_STATEMENT =
        sql_use(session, "SELECT name, data, number, number IS NULL FROM item ORDER BY id DESC");
    const void *data;
    size_t len = 77;
    int r = sql_step(session, row, e);

    if (r < 0)
        return r;
    assert_int_equal(r, 1);
    if (item->name)
        assert_string_equal(sql_column_text(row, 0), item->name);
    else
        assert_null(sql_column_text(row, 0));
    data = sql_column_bytes(row, 1, &len);
    assert_int_equal(len, item->len);
    assert_int_equal(data != NULL, item->data != NULL);
    assert_memory_equal(data ? data : "", item->data ? item->data : "", len);
    assert_int_equal(sql_column_int(row, 2), item->number);
    assert_int_equal(sql_column_int(row, 3), !item->has_number);
    /* what a column does not hold is NULL, not a guess */
    assert_null(sql_column_text(row, 2));
    assert_null(sql_column_bytes(row, 0, &len));
    assert_int_equal(sql_column_int(row, 0), 0);
    return 0;
}

static void values_come_back(void **state)
{
    /* the NULLs in between: a statement used again has forgotten what was bound before, and the
     * server learns the type of a parameter that was NULL at first */
    static const struct item items[] = {
        { .name = NULL },
        { .name = odd_text, .data = odd_bytes, .len = sizeof(odd_bytes) },
        { .name = "", .data = "", .len = 0, .has_number = true, .number = INT64_MIN },
        { .name = "max", .has_number = true, .number = INT64_MAX },
        { .name = NULL },
        { .name = "zero", .has_number = true, .number = 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
        ok(sql_write(db, put_item, (void *)(uintptr_t)&items[i], &err));
        ok(sql_read(db, check_last, (void *)(uintptr_t)&items[i], &err));
    }
    assert_int_equal(number_from(db, "SELECT count(*) FROM item"), 6);
    assert_int_equal(number_from(db, "SELECT CAST(-5 AS integer)"), -5);
    assert_int_equal(number_from(db, "SELECT 2 > 1"), 1);
}

static int put_uint(struct sql_session *session, void *arg, struct im_error *e)
{
    struct sql_statement *put SQL_STATEMENT =
        sql_use(session, "UPDATE counter SET number = ?1 WHERE id = 1");

    sql_uint(put, 1, *(uint64_t *)arg);
    return sql_step(session, put, e);
}

static void unsigned_numbers_are_cut_to_what_fits(void **state)
{
    uint64_t number = UINT64_MAX;

    (void)state;
    ok(sql_write(db, put_uint, &number, &err));
    assert_true(number_from(db, "SELECT number FROM counter WHERE id = 1") == INT64_MAX);
}

static int many_rows(struct sql_session *session, void *arg, struct im_error *e)
{
    struct sql_statement *row SQL_STATEMENT =
        sql_use(session, "SELECT number FROM item ORDER BY number");
    int64_t *seen = arg;
    int r;

    *seen = 0;
    /* another statement between two rows does not disturb them */
    while ((r = sql_step(session, row, e)) > 0 && sql_column_int(row, 0) == *seen) {
        r = sql_run(session, "UPDATE counter SET number = number + ?2 WHERE id = ?1", 1, *seen, 0,
                    e);
        if (r != 1)
            return -EINVAL;
        ++*seen;
    }
    return r < 0 ? r : sql_step(session, row, e);
}

static int fill(struct sql_session *session, void *arg, struct im_error *e)
{
    int count = *(int *)arg, r = 0;

    for (int i = 0; i < count && r >= 0; i++)
        r = sql_run(session, "INSERT INTO item (number) VALUES (?1)", i, 0, 0, e);
    return r;
}

static void rows_are_stepped_through(void **state)
{
    int count = 500;
    int64_t seen = 0;

    (void)state;
    ok(sql_write(db, fill, &count, &err));
    assert_int_equal(sql_write(db, many_rows, &seen, &err), 0);
    assert_int_equal(seen, 500);
    assert_int_equal(number_from(db, "SELECT number FROM counter WHERE id = 1"), 500 * 499 / 2);
}

static int run_update(struct sql_session *session, void *arg, struct im_error *e)
{
    (void)arg;
    return sql_run(session, "UPDATE counter SET number = number + ?1 + 30000", 3000000000, 0, 0, e);
}

static void run_counts_the_rows(void **state)
{
    (void)state;
    assert_int_equal(sql_write(db, run_update, NULL, &err), 2);
    assert_true(number_from(db, "SELECT max(number) FROM counter") == 3000030000);
}

static void comments_are_for_the_server(void **state)
{
    (void)state;
    assert_int_equal(number_from(db, "SELECT 1 /*pg + 1 */ /* and 7 */"), on_server() ? 2 : 1);
    assert_int_equal(number_from(db, "SELECT CASE '/*pg' WHEN '/' || '*pg' THEN 5 END"), 5);
}

/* ---- failures ---- */

static int put_twice(struct sql_session *session, void *arg, struct im_error *e)
{
    struct work put = { .sql = "INSERT INTO item (name) VALUES (?1)", .text = "twice" };
    bool *passed_over = arg;
    int r = run_work(session, &put, e);

    if (r == 0)
        r = run_work(session, &put, e);
    if (!passed_over)
        return r;
    *passed_over = run_work(session, &(struct work){ .sql = "SELECT 1" }, e) == -EEXIST;
    return 0;
}

static void a_value_that_must_be_unique(void **state)
{
    bool passed_over = false;

    (void)state;
    fails(sql_write(db, put_twice, NULL, &err), EEXIST, "test table");
    assert_int_equal(number_from(db, "SELECT count(*) FROM item"), 0);
    /* who passes over a failure gets it again, and nothing is kept */
    fails(sql_write(db, put_twice, &passed_over, &err), EEXIST, "test table");
    assert_true(passed_over);
    assert_int_equal(number_from(db, "SELECT count(*) FROM item"), 0);
}

static int put_and_return(struct sql_session *session, void *arg, struct im_error *e)
{
    struct work put = { .sql = "INSERT INTO item (name) VALUES (?1)", .text = "x" };
    int r = run_work(session, &put, e);

    return r < 0 ? r : *(int *)arg;
}

static void a_negative_return_takes_everything_back(void **state)
{
    int result = -ESTALE;

    (void)state;
    assert_int_equal(sql_write(db, put_and_return, &result, &err), -ESTALE);
    assert_int_equal(number_from(db, "SELECT count(*) FROM item"), 0);
    result = 7;
    assert_int_equal(sql_write(db, put_and_return, &result, &err), 7);
    assert_int_equal(number_from(db, "SELECT count(*) FROM item"), 1);
}

static int use_nothing(struct sql_session *session, void *arg, struct im_error *e)
{
    (void)session;
    (void)e;
    return *(int *)arg;
}

static int use_badly(struct sql_session *session, void *arg, struct im_error *e)
{
    static const char sql[] = "SELECT number FROM counter WHERE id = ?1";
    struct sql_statement *one SQL_STATEMENT = sql_use(session, sql);

    if (*(int *)arg == 1) {
        sql_int(one, 2, 1);
    } else {
        struct sql_statement *two SQL_STATEMENT = sql_use(session, sql);

        return sql_step(session, two, e);
    }
    return sql_step(session, one, e);
}

static void mistakes_of_ours_fail(void **state)
{
    int how = 1;

    (void)state;
    fails(sql_read(db, use_badly, &how, &err), EIO, "has no ?2");
    how = 2;
    fails(sql_read(db, use_badly, &how, &err), EIO, "twice at once");
    fails(sql_read(db, run_work, &(struct work){ .sql = "SELECT missing FROM nowhere" }, &err), EIO,
          "nowhere");
    fails(sql_read(db, run_work, &(struct work){ .sql = "SELECT ?" }, &err), EIO, "cannot be used");
    fails(sql_read(db, run_work, &(struct work){ .sql = "SELECT ?25" }, &err), EIO,
          "cannot be used");
    assert_int_equal(number_from(db, "SELECT count(*) FROM counter"), 2);
    assert_int_equal(sql_write(db, use_nothing, &(int){ 3 }, &err), 3);
    assert_int_equal(sql_write(db, use_nothing, &(int){ -3 }, &err), -3);
}

/* ---- several at once ---- */

#define THREADS 8
#define ROUNDS  40

static int count_up(struct sql_session *session, void *arg, struct im_error *e)
{
    int r = sql_run(session, "UPDATE counter SET number = number + 1 WHERE id = ?1", 1, 0, 0, e);

    if (r == 1 &&
        *(int *)arg % 3 == 0) /* every third fails after it wrote: a neighbour's trouble */
        r = *(int *)arg % 2 ? -ESTALE : put_twice(session, NULL, e);
    return r;
}

static void *write_often(void *arg)
{
    struct im_error e;
    intptr_t wrong = 0;

    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        int wanted = i % 3 ? 1 : i % 2 ? -ESTALE : -EEXIST;

        if (sql_write(db, count_up, &i, &e) != wanted)
            wrong++;
    }
    return (void *)wrong;
}

static void many_threads_write(void **state)
{
    pthread_t thread[THREADS];
    void *wrong;
    int written = 0;

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, write_often, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], &wrong), 0);
        assert_int_equal((intptr_t)wrong, 0);
    }
    for (int i = 0; i < ROUNDS; i++)
        written += i % 3 != 0;
    assert_int_equal(number_from(db, "SELECT number FROM counter WHERE id = 1"), THREADS * written);
    assert_int_equal(number_from(db, "SELECT count(*) FROM item"), 0);
}

static int read_twice(struct sql_session *session, void *arg, struct im_error *e)
{
    struct work count = { .sql = "SELECT count(*) FROM item" };
    int64_t before;
    int r = run_work(session, &count, e);

    before = count.answer;
    if (r > 0)
        r = sql_write(arg, put_and_return, &(int){ 0 }, e);
    if (r == 0)
        r = run_work(session, &count, e);
    return r < 0 ? r : (int)(count.answer - before);
}

static void a_reader_sees_one_moment(void **state)
{
    struct sql *other = open_db();

    (void)state;
    assert_int_equal(sql_read(db, read_twice, other, &err), 0);
    assert_int_equal(number_from(db, "SELECT count(*) FROM item"), 1);
    assert_null(sql_close(other));
}

/* ---- time and news ---- */

static int get_now(struct sql_session *session, void *arg, struct im_error *e)
{
    return sql_now(session, arg, e);
}

static int64_t fixed_clock(void *arg)
{
    return *(int64_t *)arg;
}

static void the_time(void **state)
{
    int64_t fixed = 12345, now_ms = 0, ms = im_clock_now_ms();
    struct sql_options options = { .where = where,
                                   .schema = &test_schema,
                                   .connections = 1,
                                   .clock_ms = fixed_clock,
                                   .clock_arg = &fixed };
    struct sql *other = open_with(&options);

    (void)state;
    ok(sql_read(db, get_now, &now_ms, &err));
    assert_in_range(now_ms, ms - 60000, ms + 60000);
    ok(sql_write(other, get_now, &now_ms, &err));
    assert_int_equal(now_ms, 12345);
    assert_null(sql_close(other));
}

static int tell(struct sql_session *session, void *arg, struct im_error *e)
{
    int r = sql_notify(session, e);

    return r < 0 ? r : *(int *)arg;
}

static void news(void **state)
{
    struct sql *other = open_db();
    int wake[2];

    (void)state;
    assert_int_equal(pipe(wake), 0);
    while (sql_await(db, -1, 10, &err) > 0)
        continue; /* the first look */
    assert_int_equal(sql_await(db, wake[0], 10, &err), 0);
    ok(sql_write(other, tell, &(int){ 0 }, &err));
    assert_int_equal(sql_await(db, wake[0], on_server() ? 60000 : 10, &err), on_server());
    /* what is taken back is no news */
    assert_int_equal(sql_write(other, tell, &(int){ -ESTALE }, &err), -ESTALE);
    assert_int_equal(sql_await(db, wake[0], 100, &err), 0);
    assert_int_equal(write(wake[1], "", 1), 1);
    assert_int_equal(sql_await(db, wake[0], 600000, &err), 0);
    (void)close(wake[0]);
    (void)close(wake[1]);
    assert_null(sql_close(other));
}

/* ---- schemas ---- */

static int exec(struct sql_session *session, void *arg, struct im_error *e)
{
    return sql_run(session, arg, 0, 0, 0, e);
}

static void the_schema_is_brought_up_to_date(void **state)
{
    struct sql_schema older = test_schema;
    struct sql_options options = { .where = where, .schema = &older, .connections = 1 };
    struct sql *other = NULL;

    (void)state;
    older.sqlite_count = older.postgres_count = 1;
    if (!on_server()) {
        fails(sql_open(&options, &other, &err), EOPNOTSUPP, "schema version 2");
    } else { /* a newer one is good until it says otherwise */
        assert_null(sql_close(open_with(&options)));
        ok(sql_write(db, exec, (void *)(uintptr_t) "UPDATE schema_oldest SET version = 2", &err));
        fails(sql_open(&options, &other, &err), EOPNOTSUPP, "schema version 2");
    }
    assert_null(other);
    assert_null(sql_close(open_db()));
    assert_int_equal(number_from(db, "SELECT count(*) FROM schema_version"), 2);
}

static void a_migration_that_fails_is_taken_back(void **state)
{
    static const char bad[] = "CREATE TABLE half (id bigint); SELECT missing FROM nowhere";
    struct sql_migration lite[3] = { sqlite_migrations[0],
                                     sqlite_migrations[1],
                                     { "0003-bad.sql", bad } };
    struct sql_migration pg[3] = { postgres_migrations[0],
                                   postgres_migrations[1],
                                   { "0003-bad.sql", bad } };
    struct sql_schema schema = test_schema;
    struct sql_options options = { .where = where, .schema = &schema, .connections = 1 };
    struct sql *other = NULL;

    (void)state;
    schema.sqlite = lite;
    schema.postgres = pg;
    schema.sqlite_count = schema.postgres_count = 3;
    fails(sql_open(&options, &other, &err), EIO, "0003-bad.sql");
    lite[2].sql = pg[2].sql = "CREATE TABLE half (id bigint)";
    assert_null(sql_close(open_with(&options)));
    assert_int_equal(number_from(db, "SELECT max(version) FROM schema_version"), 3);
}

/* A commit into a file without a name would be lost with the process. */
static void a_file_that_is_gone_is_not_written(void **state)
{
    struct item item = { .name = "before", .data = "", .len = 0 };
    char aside[sizeof(where) + 8];

    (void)state;
    if (on_server())
        skip();
    ok(sql_write(db, put_item, &item, &err));
    (void)snprintf(aside, sizeof(aside), "%s.aside", where);
    assert_int_equal(rename(where, aside), 0);
    fails(sql_read(db, check_last, &item, &err), EHOSTDOWN, "removed or replaced");
    item.name = "gone";
    fails(sql_write(db, put_item, &item, &err), EHOSTDOWN, "removed or replaced");
    assert_int_equal(rename(aside, where), 0);
    assert_int_equal(number_from(db, "SELECT count(*) FROM item"), 1);
    item.name = "back";
    ok(sql_write(db, put_item, &item, &err));
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(values_come_back),
        TEST(unsigned_numbers_are_cut_to_what_fits),
        TEST(rows_are_stepped_through),
        TEST(run_counts_the_rows),
        TEST(comments_are_for_the_server),
        TEST(a_value_that_must_be_unique),
        TEST(a_negative_return_takes_everything_back),
        TEST(mistakes_of_ours_fail),
        TEST(many_threads_write),
        TEST(a_reader_sees_one_moment),
        TEST(the_time),
        TEST(news),
        TEST(the_schema_is_brought_up_to_date),
        TEST(a_migration_that_fails_is_taken_back),
        TEST(a_file_that_is_gone_is_not_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

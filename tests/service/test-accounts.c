/* The account store by itself: what opening makes and refuses, which keys are found, and what every
 * change allows.  In a file of its own, or with POSTGRES_URI in that database, whose accounts are
 * removed before each test. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "auth/accounts.h"
#include "auth/seal.h"
#include "base/buffer.h"
#include "file.h"
#include "sql/sql.h"

#define NOW INT64_C(1700000000000)
#define OLD_KEYS                                                                                   \
    "access_key=AKIAQWERTYUIOPASDFGH\nsecret_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n"       \
    "account=123456789012\n"

/* Of keys listed in more than one piece. */
#define MANY 250

/* Who does the same at once. */
#define THREADS 6

static const char *server; /* its URI; NULL: a file */
static char dir[64];
static struct svc_accounts *accounts;
static struct svc_keys keys, first; /* first: of the account "default" */
static struct svc_key key;
static struct im_error err;

#define ok(call)                                                                                   \
    do {                                                                                           \
        int ok_r = (call);                                                                         \
        if (ok_r != 0)                                                                             \
            fail_msg("%s: %d, %s", #call, ok_r, err.message);                                      \
    } while (0)
#define fails(call, number, words)                                                                 \
    do {                                                                                           \
        assert_int_equal(call, -(number));                                                         \
        if (!strstr(err.message, words))                                                           \
            fail_msg("'%s' is not in: %s", words, err.message);                                    \
    } while (0)

static const char *in_dir(const char *name)
{
    static _Thread_local char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static int run_text(struct sql_session *session, void *text, struct im_error *error)
{
    int r = sql_run(session, text, 0, 0, 0, error);

    return r < 0 ? r : 0;
}

/* Do as somebody with the sqlite3 program, or with psql. */
static void sql(const char *file_text, const char *server_text)
{
    const struct sql_schema none = { .what = "test", .name = "test" };
    const struct sql_options options = { .where = server, .schema = &none, .connections = 1 };
    struct sql *db = NULL;
    sqlite3 *file = NULL;

    if (server) {
        ok(sql_open(&options, &db, &err));
        ok(sql_write(db, run_text, (void *)(uintptr_t)server_text, &err));
        (void)sql_close(db);
        return;
    }
    assert_int_equal(sqlite3_open(in_dir("accounts.db"), &file), SQLITE_OK);
    if (sqlite3_exec(file, file_text, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", file_text, sqlite3_errmsg(file));
    (void)sqlite3_close(file);
}

static int open_one(struct svc_accounts **ret_accounts, struct im_error *error)
{
    return server ? svc_accounts_open_shared(server, in_dir("master.key"), ret_accounts, error)
                  : svc_accounts_open(dir, NULL, ret_accounts, error);
}

static int setup(void **state)
{
    (void)state;
    memset(&err, 0, sizeof(err));
    strcpy(dir, "/tmp/test-accounts.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    if (!server)
        return 0;
    sql(NULL, "DROP TABLE IF EXISTS access_key, account, master_key");
    sql(NULL, "DELETE FROM schema_version WHERE name = 'accounts'");
    return svc_seal_make(in_dir("master.key"), &err);
}

/* A server's store begins without accounts; then it gets the one a file begins with. */
static int setup_open(void **state)
{
    if (setup(state) < 0 || open_one(&accounts, &err) < 0)
        return -1;
    return server ? svc_accounts_add(accounts, "default", "all", NOW, &first, &err)
                  : svc_accounts_first_keys(accounts, &first, &err);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    accounts = svc_accounts_close(accounts);
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void reopen(void)
{
    accounts = svc_accounts_close(accounts);
    ok(open_one(&accounts, &err));
}

static void refuses_to_open(int number, const char *words)
{
    accounts = svc_accounts_close(accounts);
    fails(open_one(&accounts, &err), number, words);
    assert_null(accounts);
}

/* ---- opening ---- */

static void a_new_store_has_one_account_that_stays(void **state)
{
    struct svc_keys again;
    struct stat st;

    (void)state;
    ok(svc_accounts_first_keys(accounts, &keys, &err));
    assert_string_equal(keys.account, svc_accounts_first(accounts));
    assert_int_equal(strspn(keys.account, "0123456789"), 12);
    assert_memory_equal(keys.access_key, "AKIA", 4);
    assert_int_equal(strlen(keys.access_key), 20);
    assert_int_equal(strlen(keys.secret_key), 40);
    ok(svc_accounts_find(accounts, keys.access_key, &key, &err));
    assert_string_equal(key.secret, keys.secret_key);
    assert_string_equal(key.caller.actions, "all");
    assert_int_equal(stat(in_dir("accounts.db"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    ok(svc_accounts_add(accounts, "other", "ImportVolume", NOW, &again, &err));
    reopen();
    ok(svc_accounts_first_keys(accounts, &again, &err));
    assert_memory_equal(&again, &keys, sizeof(keys));
}

static void the_master_key_must_be_the_right_one(void **state)
{
    char moved[128];

    (void)state;
    strcpy(moved, in_dir("moved.key"));
    accounts = svc_accounts_close(accounts);
    assert_int_equal(rename(in_dir("master.key"), moved), 0);
    refuses_to_open(ENOENT, "there is no master key");
    assert_int_equal(access(in_dir("master.key"), F_OK), -1);
    ok(svc_accounts_open(dir, moved, &accounts, &err));
    ok(svc_file_put(in_dir("master.key"), "0123456789abcdef0123456789abcdef", 32, 0400, &err));
    refuses_to_open(EKEYREJECTED, "is not the one");
    ok(svc_file_put(in_dir("master.key"), "0123456789abcdef0123456789abcde", 31, 0400, &err));
    refuses_to_open(EBADMSG, "has 31 bytes");
    assert_int_equal(rename(moved, in_dir("master.key")), 0);
    assert_int_equal(chmod(in_dir("master.key"), 0644), 0);
    refuses_to_open(EPERM, "mode 0644");
    assert_int_equal(chmod(in_dir("master.key"), 0400), 0);
    reopen();
}

static void a_named_master_key_is_not_made(void **state)
{
    (void)state;
    fails(svc_accounts_open(dir, in_dir("elsewhere"), &accounts, &err), ENOENT, "make one");
    assert_int_equal(access(in_dir("elsewhere"), F_OK), -1);
    assert_int_equal(access(in_dir("accounts.db"), F_OK), -1);
    fails(svc_accounts_open(in_dir("nowhere"), NULL, &accounts, &err), ENOENT, "nowhere");
}

static void the_old_file_becomes_the_first_account(void **state)
{
    (void)state;
    ok(svc_file_write(in_dir("keys"), OLD_KEYS, &err));
    ok(svc_accounts_open(dir, NULL, &accounts, &err));
    assert_int_equal(access(in_dir("keys"), F_OK), -1);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(svc_accounts_first(accounts), "123456789012");
        ok(svc_accounts_first_keys(accounts, &keys, &err));
        assert_string_equal(keys.access_key, "AKIAQWERTYUIOPASDFGH");
        assert_string_equal(keys.secret_key, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        reopen();
    }
    /* the process died between the commit and the removal */
    ok(svc_file_write(in_dir("keys"), OLD_KEYS, &err));
    reopen();
    assert_int_equal(access(in_dir("keys"), F_OK), -1);
}

static void an_old_file_is_never_lost(void **state)
{
    char foreign[] = OLD_KEYS;

    (void)state;
    ok(svc_file_write(in_dir("keys"), "access_key=short\n", &err));
    refuses_to_open(EBADMSG, "keys'");
    ok(svc_file_write(in_dir("keys"), OLD_KEYS, &err));
    ok(svc_accounts_open(dir, NULL, &accounts, &err));
    foreign[15] = 'X';
    ok(svc_file_write(in_dir("keys"), foreign, &err));
    refuses_to_open(EEXIST, "AKIAX");
    assert_int_equal(access(in_dir("keys"), F_OK), 0);
}

static void a_shared_store_is_opened_by_the_right_master_key(void **state)
{
    char moved[128];

    (void)state;
    strcpy(moved, in_dir("moved.key"));
    assert_string_equal(svc_accounts_first(accounts), "");
    accounts = svc_accounts_close(accounts);
    assert_int_equal(rename(in_dir("master.key"), moved), 0);
    refuses_to_open(ENOENT, "give the same to all services");
    ok(svc_seal_make(in_dir("master.key"), &err));
    refuses_to_open(EKEYREJECTED, "is not the one");
    assert_int_equal(rename(moved, in_dir("master.key")), 0);
    reopen();
    ok(svc_accounts_find(accounts, first.access_key, &key, &err));
    assert_string_equal(key.secret, first.secret_key);
}

static void *open_in_thread(void *ret)
{
    struct svc_accounts *mine = NULL;
    struct im_error error = { 0 };

    *(int *)ret = open_one(&mine, &error);
    (void)svc_accounts_close(mine);
    return NULL;
}

static void many_begin_a_shared_store_at_once(void **state)
{
    pthread_t thread[THREADS];
    int result[THREADS];

    (void)state;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, open_in_thread, &result[i]), 0);
    for (size_t i = 0; i < THREADS; i++) {
        (void)pthread_join(thread[i], NULL);
        assert_int_equal(result[i], 0);
    }
    reopen();
}

/* ---- finding ---- */

static void unknown_keys_get_a_secret_nobody_knows(void **state)
{
    static const char *const unknown[] = { "", "AKIAAAAAAAAAAAAAAAAA", "x' OR 1 --", "none" };
    struct svc_key other;

    (void)state;
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        memset(&key, 0, sizeof(key));
        assert_int_equal(svc_accounts_find(accounts, unknown[i], &key, &err), -ENOENT);
        assert_int_equal(strlen(key.secret), 40);
        assert_string_equal(key.caller.account, "");
        assert_true(svc_key_takes_token(&key, ""));
    }
    reopen();
    assert_int_equal(svc_accounts_find(accounts, "", &other, &err), -ENOENT);
    assert_string_not_equal(other.secret, key.secret);
}

static void disabled_is_unknown(void **state)
{
    struct svc_keys other;

    (void)state;
    ok(svc_accounts_add(accounts, "a", "all", NOW, &keys, &err));
    ok(svc_accounts_add(accounts, "b", "all", NOW, &other, &err));
    const char *const which[] = { "a", keys.account, keys.access_key };
    for (size_t i = 0; i < 3; i++) {
        ok(svc_accounts_enable(accounts, which[i], false, &err));
        ok(svc_accounts_enable(accounts, which[i], false, &err));
        assert_int_equal(svc_accounts_find(accounts, keys.access_key, &key, &err), -ENOENT);
        assert_string_not_equal(key.secret, keys.secret_key);
        ok(svc_accounts_find(accounts, other.access_key, &key, &err));
        ok(svc_accounts_enable(accounts, which[i], true, &err));
        ok(svc_accounts_find(accounts, keys.access_key, &key, &err));
        assert_string_equal(key.secret, keys.secret_key);
    }
    fails(svc_accounts_enable(accounts, "c", false, &err), ENOENT, "'c'");
    fails(svc_accounts_enable(accounts, "%", true, &err), ENOENT, "'%'");
}

static void the_first_account_may_have_no_key(void **state)
{
    (void)state;
    ok(svc_accounts_first_keys(accounts, &keys, &err));
    ok(svc_accounts_enable(accounts, keys.access_key, false, &err));
    fails(svc_accounts_first_keys(accounts, &keys, &err), ENOENT, svc_accounts_first(accounts));
    ok(svc_accounts_rotate(accounts, "default", NOW, &keys, &err));
    ok(svc_accounts_enable(accounts, "default", false, &err));
    fails(svc_accounts_first_keys(accounts, &keys, &err), ENOENT, "no key");
}

static void secrets_do_not_move_between_rows(void **state)
{
    static const char swap[] =
        "UPDATE access_key SET sealed = (SELECT sealed FROM access_key ORDER BY seq DESC LIMIT 1) "
        "WHERE account = (SELECT id FROM account WHERE name = 'a')";
    static const char give[] =
        "UPDATE access_key SET account = (SELECT id FROM account WHERE name = 'a')";
    struct svc_keys other;

    (void)state;
    ok(svc_accounts_add(accounts, "a", "all", NOW, &keys, &err));
    ok(svc_accounts_add(accounts, "b", "all", NOW, &other, &err));
    sql(swap, swap);
    fails(svc_accounts_find(accounts, keys.access_key, &key, &err), EBADMSG, keys.access_key);
    ok(svc_accounts_find(accounts, other.access_key, &key, &err));
    /* a key given to another account */
    sql(give, give);
    fails(svc_accounts_find(accounts, other.access_key, &key, &err), EBADMSG, other.access_key);
    sql("UPDATE access_key SET sealed = x'01'", "UPDATE access_key SET sealed = '\\x01'");
    fails(svc_accounts_find(accounts, other.access_key, &key, &err), EBADMSG, "damaged");
}

/* ---- changing ---- */

static void names(void **state)
{
    static const char *const bad[] = { "",    "A",  "1a",       "a b", "a'b",
                                       "a/b", "-a", "\303\244", "aB",  "123456789012" };
    char longest[SVC_NAME_MAX + 2] = "";

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(svc_account_name_ok(bad[i]));
    memset(longest, 'x', SVC_NAME_MAX);
    assert_true(svc_account_name_ok(longest));
    longest[SVC_NAME_MAX] = 'x';
    assert_false(svc_account_name_ok(longest));
    assert_true(svc_account_name_ok("a-1_b.c"));
    ok(svc_accounts_add(accounts, "a", "all", NOW, &keys, &err));
    fails(svc_accounts_add(accounts, "a", "all", NOW, &keys, &err), EEXIST, "'a'");
    ok(svc_accounts_add(accounts, NULL, "all", NOW, &keys, &err));
    ok(svc_accounts_add(accounts, NULL, "all", NOW, &keys, &err));
    ok(svc_accounts_rotate(accounts, keys.account, NOW, &keys, &err));
}

static void an_account_has_two_keys_at_most(void **state)
{
    struct svc_keys second, third;

    (void)state;
    ok(svc_accounts_add(accounts, "a", "ImportVolume,ReadObjects", NOW, &keys, &err));
    ok(svc_accounts_rotate(accounts, "a", NOW, &second, &err));
    ok(svc_accounts_find(accounts, keys.access_key, &key, &err));
    ok(svc_accounts_find(accounts, second.access_key, &key, &err));
    assert_string_equal(key.secret, second.secret_key);
    assert_string_equal(key.caller.account, keys.account);
    assert_string_equal(key.caller.actions, "ImportVolume,ReadObjects");
    fails(svc_accounts_rotate(accounts, "a", NOW, &third, &err), EBUSY, "has 2 enabled keys");
    ok(svc_accounts_enable(accounts, keys.access_key, false, &err));
    ok(svc_accounts_rotate(accounts, keys.account, NOW, &third, &err));
    fails(svc_accounts_enable(accounts, keys.access_key, true, &err), EBUSY, "may have 2");
    ok(svc_accounts_enable(accounts, third.access_key, true, &err)); /* it is already */
    fails(svc_accounts_rotate(accounts, "nobody", NOW, &third, &err), ENOENT, "'nobody'");
    ok(svc_accounts_enable(accounts, "a", false, &err));
    fails(svc_accounts_rotate(accounts, "a", NOW, &third, &err), EPERM, "disabled");
    fails(svc_accounts_session(accounts, "a", NOW, NOW + 1, &third, &err), EPERM, "disabled");
}

static void sessions_have_a_token_and_an_end(void **state)
{
    struct svc_keys session;

    (void)state;
    ok(svc_accounts_session(accounts, "default", NOW, NOW + 5, &session, &err));
    assert_memory_equal(session.access_key, "ASIA", 4);
    assert_int_equal(strlen(session.token), SVC_TOKEN_LEN);
    ok(svc_accounts_find(accounts, session.access_key, &key, &err));
    assert_true(key.temporary);
    assert_int_equal(key.expires_ms, NOW + 5);
    assert_string_equal(key.secret, session.secret_key);
    assert_true(svc_key_takes_token(&key, session.token));
    assert_false(svc_key_takes_token(&key, ""));
    session.token[SVC_TOKEN_LEN - 1] ^= 1;
    assert_false(svc_key_takes_token(&key, session.token));
    ok(svc_accounts_find(accounts, first.access_key, &key, &err));
    assert_false(key.temporary);
    assert_true(svc_key_takes_token(&key, ""));
    assert_false(svc_key_takes_token(&key, "x"));
    /* they are not what env.sh gets, and do not count as keys */
    if (!server) {
        ok(svc_accounts_first_keys(accounts, &session, &err));
        assert_string_equal(session.access_key, first.access_key);
    }
    ok(svc_accounts_rotate(accounts, "default", NOW, &session, &err));
}

static void ended_sessions_are_forgotten_after_a_week(void **state)
{
    const int64_t week = INT64_C(7) * 24 * 3600 * 1000;
    struct svc_keys session, other;

    (void)state;
    ok(svc_accounts_session(accounts, "default", NOW, NOW + 5, &session, &err));
    ok(svc_accounts_session(accounts, "default", NOW + 5 + week, NOW + 6 + week, &other, &err));
    ok(svc_accounts_find(accounts, session.access_key, &key, &err));
    ok(svc_accounts_session(accounts, "default", NOW + 6 + week, NOW + 7 + week, &other, &err));
    assert_int_equal(svc_accounts_find(accounts, session.access_key, &key, &err), -ENOENT);
    ok(svc_accounts_find(accounts, first.access_key, &key, &err));
}

/* Sessions of the first account that end at NOW + 1. */
static void add_sessions(int count)
{
    static char file_text[400], server_text[400];

    (void)snprintf(
        file_text, sizeof(file_text),
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
        "INSERT INTO access_key (id, account, sealed, token_hash, expires_ms, created_ms)"
        "SELECT printf('ASIA%%016d', i), '%s', x'00', zeroblob(32), %lld, 0 FROM n",
        count, first.account, (long long)NOW + 1);
    (void)snprintf(
        server_text, sizeof(server_text),
        "INSERT INTO access_key (id, account, sealed, token_hash, expires_ms, created_ms) "
        "SELECT 'ASIA' || lpad(i::text, 16, '0'), '%s', '\\x00', decode(repeat('00', 32), 'hex'), "
        "%lld, 0 FROM generate_series(1, %d) i",
        first.account, (long long)NOW + 1, count);
    sql(file_text, server_text);
}

static void sessions_are_limited(void **state)
{
    (void)state;
    add_sessions(SVC_SESSIONS_MAX);
    fails(svc_accounts_session(accounts, "default", NOW, NOW + 9, &keys, &err), EBUSY, "1000");
    ok(svc_accounts_session(accounts, "default", NOW + 1, NOW + 9, &keys, &err));
}

/* ---- at once ---- */

/* A change made by several who have each opened the store. */
struct racer {
    pthread_t thread;
    bool adds; /* an account named "a"; else a key of it */
    int r;
    struct im_error err;
};

static void *race(void *arg)
{
    struct racer *racer = arg;
    struct svc_accounts *mine = NULL;
    struct svc_keys made;

    racer->r = open_one(&mine, &racer->err);
    if (racer->r == 0)
        racer->r = racer->adds ? svc_accounts_add(mine, "a", "all", NOW, &made, &racer->err)
                               : svc_accounts_rotate(mine, "a", NOW, &made, &racer->err);
    (void)svc_accounts_close(mine);
    return NULL;
}

/* How many made it; the others must have failed so. */
static unsigned race_all(bool adds, int number, const char *words)
{
    struct racer racer[THREADS] = { 0 };
    unsigned won = 0;

    for (size_t i = 0; i < THREADS; i++) {
        racer[i].adds = adds;
        assert_int_equal(pthread_create(&racer[i].thread, NULL, race, &racer[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        (void)pthread_join(racer[i].thread, NULL);
    for (size_t i = 0; i < THREADS; i++) {
        won += racer[i].r == 0;
        if (racer[i].r != 0 && (racer[i].r != -number || !strstr(racer[i].err.message, words)))
            fail_msg("%d, %s", racer[i].r, racer[i].err.message);
    }
    return won;
}

static void limits_hold_whoever_is_at_work(void **state)
{
    (void)state;
    assert_int_equal(race_all(true, EEXIST, "there is an account 'a' already"), 1);
    assert_int_equal(race_all(false, EBUSY, "enabled keys"), SVC_KEYS_MAX - 1);
}

/* ---- listing ---- */

static int add_account(void *arg, const struct svc_listed_account *account)
{
    return im_buffer_printf(arg, "%s:%s:%d ", account->name ? account->name : "-", account->actions,
                            account->enabled);
}

static int add_listed_key(void *arg, const struct svc_listed_key *listed)
{
    return im_buffer_printf(arg, "%.4s:%d:%d ", listed->id, listed->enabled,
                            (int)listed->expires_ms);
}

static void listings(void **state)
{
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(1024);

    (void)state;
    ok(svc_accounts_add(accounts, NULL, "ImportVolume", NOW, &keys, &err));
    ok(svc_accounts_enable(accounts, keys.access_key, false, &err));
    ok(svc_accounts_session(accounts, keys.account, NOW, 7, &keys, &err));
    ok(svc_accounts_enable(accounts, keys.account, false, &err));
    ok(svc_accounts_list(accounts, NULL, add_account, add_listed_key, &out, &err));
    assert_string_equal(out.data, "default:all:1 AKIA:1:0 -:ImportVolume:0 AKIA:0:0 ASIA:1:7 ");
    im_buffer_clear(&out);
    ok(svc_accounts_list(accounts, "default", add_account, add_listed_key, &out, &err));
    assert_string_equal(out.data, "default:all:1 AKIA:1:0 ");
    fails(svc_accounts_list(accounts, "x", add_account, add_listed_key, &out, &err), ENOENT, "'x'");
}

static int count_key(void *arg, const struct svc_listed_key *listed)
{
    int *count = arg;

    if (*count > 0) { /* behind the account's permanent key */
        char wanted[24];

        (void)snprintf(wanted, sizeof(wanted), "ASIA%016d", *count);
        assert_string_equal(listed->id, wanted);
    }
    ++*count;
    return 0;
}

static int no_account(void *arg, const struct svc_listed_account *account)
{
    (void)arg;
    (void)account;
    return 0;
}

static int stop_at_once(void *arg, const struct svc_listed_key *listed)
{
    (void)listed;
    ++*(int *)arg;
    return -ECANCELED;
}

static void long_listings_have_every_key_once(void **state)
{
    int count = 0;

    (void)state;
    add_sessions(MANY);
    ok(svc_accounts_add(accounts, "next", "all", NOW, &keys, &err));
    ok(svc_accounts_list(accounts, "default", no_account, count_key, &count, &err));
    assert_int_equal(count, MANY + 1);
    count = 0;
    assert_int_equal(svc_accounts_list(accounts, NULL, no_account, stop_at_once, &count, &err),
                     -ECANCELED);
    assert_int_equal(count, 1);
}

static void permissions(void **state)
{
    struct svc_caller caller = { .actions = "ImportVolume,ReadObjects" };

    (void)state;
    assert_true(svc_caller_may(&caller, "ImportVolume"));
    assert_true(svc_caller_may(&caller, SVC_READ_OBJECTS));
    assert_false(svc_caller_may(&caller, SVC_WRITE_OBJECTS));
    assert_false(svc_caller_may(&caller, "Import"));
    assert_false(svc_caller_may(&caller, "ImportVolume,ReadObjects"));
    assert_false(svc_caller_may(&caller, "ImportVolumes"));
    strcpy(caller.actions, "all");
    assert_true(svc_caller_may(&caller, "Anything"));
    strcpy(caller.actions, "");
    assert_false(svc_caller_may(&caller, "all"));
}

#define CASE(function)        cmocka_unit_test_setup_teardown(function, setup_open, teardown)
#define CASE_CLOSED(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest alone[] = {
        CASE(a_new_store_has_one_account_that_stays),
        CASE(the_master_key_must_be_the_right_one),
        CASE_CLOSED(a_named_master_key_is_not_made),
        CASE_CLOSED(the_old_file_becomes_the_first_account),
        CASE_CLOSED(an_old_file_is_never_lost),
        CASE(the_first_account_may_have_no_key),
        cmocka_unit_test(permissions),
    };
    const struct CMUnitTest shared[] = {
        CASE(a_shared_store_is_opened_by_the_right_master_key),
        CASE_CLOSED(many_begin_a_shared_store_at_once),
    };
    const struct CMUnitTest both[] = {
        CASE(unknown_keys_get_a_secret_nobody_knows),
        CASE(disabled_is_unknown),
        CASE(secrets_do_not_move_between_rows),
        CASE(names),
        CASE(an_account_has_two_keys_at_most),
        CASE(sessions_have_a_token_and_an_end),
        CASE(ended_sessions_are_forgotten_after_a_week),
        CASE(sessions_are_limited),
        CASE(limits_hold_whoever_is_at_work),
        CASE(listings),
        CASE(long_listings_have_every_key_once),
    };
    int failed;

    server = getenv("POSTGRES_URI");
    failed = server ? cmocka_run_group_tests(shared, NULL, NULL)
                    : cmocka_run_group_tests(alone, NULL, NULL);
    return failed + cmocka_run_group_tests(both, NULL, NULL);
}

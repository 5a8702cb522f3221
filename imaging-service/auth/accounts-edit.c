/* accounts-edit - the account store: the changes people make, and what they are shown.
 *
 * Every change is one transaction that takes the write lock first, so that what it counted still
 * holds when it writes, whoever else is at work. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "auth/accounts-inner.h"
#include "base/clock.h"

/* How long temporary credentials that ended are told apart from unknown ones. */
#define SESSION_KEPT_MS (INT64_C(7) * 24 * 3600 * 1000)

/* Account numbers are drawn from 10^12; so many taken ones in a row mean a broken generator. */
#define NUMBER_TRIES 8

/* The name of the account a new store begins with. */
#define FIRST_NAME "default"

/* Keys that count against SVC_KEYS_MAX and SVC_SESSIONS_MAX. */
#define COUNT_KEYS                                                                                 \
    "SELECT count(*) FROM access_key WHERE account = ?1 AND enabled AND expires_ms IS NULL"
#define COUNT_SESSIONS                                                                             \
    "SELECT count(*) FROM access_key WHERE account = ?1 AND expires_ms > CAST(?2 AS INTEGER)"

static void unlock(pthread_mutex_t **lock)
{
    (void)pthread_mutex_unlock(*lock);
}

static pthread_mutex_t *locked(struct svc_accounts *accounts)
{
    (void)pthread_mutex_lock(&accounts->lock);
    return &accounts->lock;
}

/* The rest of the block has the connection for itself. */
#define WITH_LOCK(accounts) pthread_mutex_t *guard IM_CLEANUP(unlock) = locked(accounts)

static void bind_optional_int(sqlite3_stmt *statement, int place, int64_t value)
{
    if (value)
        (void)sqlite3_bind_int64(statement, place, value);
}

/* The number in the first row of a query. */
static int count(struct svc_accounts *accounts, const char *sql, const char *one, const char *two,
                 int64_t *ret_count, struct im_error *err)
{
    sqlite3_stmt *statement ACCOUNTS_STATEMENT = NULL;
    int r = accounts_prepare(accounts, sql, one, two, &statement, err);

    if (r == 0)
        r = accounts_step(accounts, statement, err);
    if (r < 0)
        return r;
    *ret_count = sqlite3_column_int64(statement, 0);
    return 0;
}

/* ---- rows ---- */

static int insert_account(struct svc_accounts *accounts, const char *id, const char *name,
                          const char *actions, int64_t now_ms, struct im_error *err)
{
    sqlite3_stmt *statement ACCOUNTS_STATEMENT = NULL;
    int r = accounts_prepare(accounts,
                             "INSERT INTO account (id, name, actions, created_ms) "
                             "VALUES (?1, ?2, ?3, ?4)",
                             id, name, &statement, err);

    if (r < 0)
        return r;
    (void)sqlite3_bind_text(statement, 3, actions, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(statement, 4, now_ms);
    return accounts_step(accounts, statement, err);
}

/* expires_ms 0: permanent. */
static int insert_key(struct svc_accounts *accounts, const struct svc_keys *keys, int64_t now_ms,
                      int64_t expires_ms, struct im_error *err)
{
    sqlite3_stmt *statement ACCOUNTS_STATEMENT = NULL;
    uint8_t sealed[SEALED_SIZE], hash[IM_HASH_MAX];
    int r = svc_seal_secret(accounts->seal, keys->account, keys->access_key, keys->secret_key,
                            SVC_SECRET_LEN, sealed, err);

    if (r == 0)
        r = accounts_prepare(accounts,
                             "INSERT INTO access_key (id, account, sealed, token_hash, expires_ms, "
                             "created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                             keys->access_key, keys->account, &statement, err);
    if (r < 0)
        return r;
    (void)sqlite3_bind_blob(statement, 3, sealed, sizeof(sealed), SQLITE_STATIC);
    if (keys->token[0]) {
        im_hash(IM_SHA256, keys->token, SVC_TOKEN_LEN, hash);
        (void)sqlite3_bind_blob(statement, 4, hash, (int)im_hash_size(IM_SHA256), SQLITE_STATIC);
    }
    bind_optional_int(statement, 5, expires_ms);
    (void)sqlite3_bind_int64(statement, 6, now_ms);
    return accounts_step(accounts, statement, err);
}

static int no_account(const char *which, struct im_error *err)
{
    return im_fail(err, ENOENT, "there is no account '%.64s'; see imaging-service account list",
                   which);
}

/* Find an account by number or name; only enabled ones get new keys. */
static int find_account(struct svc_accounts *accounts, const char *which,
                        char ret_account[SVC_ACCOUNT_LEN + 1], struct im_error *err)
{
    sqlite3_stmt *statement ACCOUNTS_STATEMENT = NULL;
    int r = accounts_prepare(accounts, "SELECT id, enabled FROM account WHERE id = ?1 OR name = ?1",
                             which, NULL, &statement, err);

    if (r == 0)
        r = accounts_step(accounts, statement, err);
    if (r < 0)
        return r;
    if (r == 0)
        return no_account(which, err);
    if (!sqlite3_column_int(statement, 1))
        return im_fail(err, EPERM, "the account '%.64s' is disabled; enable it first", which);
    memcpy(ret_account, sqlite3_column_text(statement, 0), SVC_ACCOUNT_LEN + 1);
    return 0;
}

/* ---- adding ---- */

bool svc_account_name_ok(const char *name)
{
    size_t len = strlen(name);

    return len >= 1 && len <= SVC_NAME_MAX && name[0] >= 'a' && name[0] <= 'z' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static int draw_number(struct svc_accounts *accounts, char account[SVC_ACCOUNT_LEN + 1],
                       struct im_error *err)
{
    int64_t taken = 1;
    int r = 0;

    for (unsigned i = 0; r == 0 && taken && i < NUMBER_TRIES; i++) {
        svc_account_random(account);
        r = count(accounts, "SELECT count(*) FROM account WHERE id = ?1", account, NULL, &taken,
                  err);
    }
    return r == 0 && taken ? im_fail(err, EIO, "no account number is free") : r;
}

/* Within a transaction: an account of a name that is free, and its first key. */
static int add(struct svc_accounts *accounts, const char *name, const char *actions, int64_t now_ms,
               struct svc_keys *keys, struct im_error *err)
{
    int64_t taken = 0;
    int r =
        count(accounts, "SELECT count(*) FROM account WHERE name = ?1", name, NULL, &taken, err);

    if (r == 0 && taken)
        return im_fail(err, EEXIST, "there is an account '%s' already", name);
    if (r == 0)
        r = draw_number(accounts, keys->account, err);
    if (r == 0)
        r = insert_account(accounts, keys->account, name, actions, now_ms, err);
    if (r < 0)
        return r;
    svc_keys_random(keys, false);
    return insert_key(accounts, keys, now_ms, 0, err);
}

int svc_accounts_add(struct svc_accounts *accounts, const char *name, const char *actions,
                     int64_t now_ms, struct svc_keys *ret_keys, struct im_error *err)
{
    WITH_LOCK(accounts);
    struct svc_keys keys SVC_KEYS_WIPE = { 0 };
    int r = accounts_begin(accounts, err);

    if (r < 0)
        return r;
    r = accounts_end(accounts, add(accounts, name, actions, now_ms, &keys, err), err);
    if (r == 0)
        *ret_keys = keys;
    return r;
}

/* The file of a store that has accounts already may only be what was left behind by a crash after
 * its import. */
static int check_imported(struct svc_accounts *accounts, const struct svc_keys *keys,
                          const char *old, bool *ret_old, struct im_error *err)
{
    int64_t known = 0;
    int r = count(accounts, "SELECT count(*) FROM access_key WHERE id = ?1 AND account = ?2",
                  keys->access_key, keys->account, &known, err);

    *ret_old = known > 0;
    if (r == 0 && !known)
        return im_fail(err, EEXIST,
                       "'%s' holds the key %s, but there are other accounts already, which were "
                       "made without it; move it away",
                       old, keys->access_key);
    return r;
}

int accounts_make_first(struct svc_accounts *accounts, const char *old, bool *ret_old,
                        struct im_error *err)
{
    struct svc_keys keys SVC_KEYS_WIPE = { 0 };
    int64_t now_ms = im_clock_now_ms(), accounts_there = 0;
    int r = svc_keys_read(old, &keys, err);
    bool there = r == 0;

    if (r < 0 && r != -ENOENT)
        return r;
    r = count(accounts, "SELECT count(*) FROM account", NULL, NULL, &accounts_there, err);
    if (r == 0 && accounts_there)
        return there ? check_imported(accounts, &keys, old, ret_old, err) : 0;
    if (r == 0 && !there)
        return add(accounts, FIRST_NAME, SVC_ALL_ACTIONS, now_ms, &keys, err);
    if (r == 0)
        r = insert_account(accounts, keys.account, FIRST_NAME, SVC_ALL_ACTIONS, now_ms, err);
    if (r == 0)
        r = insert_key(accounts, &keys, now_ms, 0, err);
    *ret_old = r == 0;
    return r;
}

/* ---- more keys ---- */

/* Refuse when a count has reached its limit. */
static int check_limit(struct svc_accounts *accounts, const char *sql, const char *account,
                       const char *now, int64_t limit, const char *what, struct im_error *err)
{
    int64_t there = 0;
    int r = count(accounts, sql, account, now, &there, err);

    if (r == 0 && there >= limit)
        return im_fail(err, EBUSY, "account %s has %" PRId64 " %s, and may have %" PRId64, account,
                       there, what, limit);
    return r;
}

static int check_keys(struct svc_accounts *accounts, const char *account, struct im_error *err)
{
    return check_limit(accounts, COUNT_KEYS, account, NULL, SVC_KEYS_MAX,
                       "enabled keys (disable the one nobody uses any more)", err);
}

/* Forget the sessions that ended long ago, and see that there is room for one more. */
static int check_sessions(struct svc_accounts *accounts, const char *account, int64_t now_ms,
                          struct im_error *err)
{
    char now[24], old[24];
    int r;

    (void)snprintf(now, sizeof(now), "%" PRId64, now_ms);
    (void)snprintf(old, sizeof(old), "%" PRId64, now_ms - SESSION_KEPT_MS);
    r = accounts_exec(accounts, "DELETE FROM access_key WHERE expires_ms < CAST(?1 AS INTEGER)",
                      old, NULL, err);
    return r < 0 ? r
                 : check_limit(accounts, COUNT_SESSIONS, account, now, SVC_SESSIONS_MAX,
                               "temporary credentials that have not ended", err);
}

/* expires_ms 0: permanent. */
static int add_key(struct svc_accounts *accounts, const char *which, int64_t now_ms,
                   int64_t expires_ms, struct svc_keys *ret_keys, struct im_error *err)
{
    WITH_LOCK(accounts);
    struct svc_keys keys SVC_KEYS_WIPE = { 0 };
    int r = accounts_begin(accounts, err);

    if (r < 0)
        return r;
    r = find_account(accounts, which, keys.account, err);
    if (r == 0)
        r = expires_ms ? check_sessions(accounts, keys.account, now_ms, err)
                       : check_keys(accounts, keys.account, err);
    svc_keys_random(&keys, expires_ms != 0);
    if (r == 0)
        r = insert_key(accounts, &keys, now_ms, expires_ms, err);
    r = accounts_end(accounts, r, err);
    if (r == 0)
        *ret_keys = keys;
    return r;
}

int svc_accounts_rotate(struct svc_accounts *accounts, const char *account, int64_t now_ms,
                        struct svc_keys *ret_keys, struct im_error *err)
{
    return add_key(accounts, account, now_ms, 0, ret_keys, err);
}

int svc_accounts_session(struct svc_accounts *accounts, const char *account, int64_t now_ms,
                         int64_t expires_ms, struct svc_keys *ret_keys, struct im_error *err)
{
    return add_key(accounts, account, now_ms, expires_ms, ret_keys, err);
}

/* ---- enabling ---- */

/* Within a transaction: a key comes back only when its account has room for it. */
static int enable_key(struct svc_accounts *accounts, const char *key, struct im_error *err)
{
    sqlite3_stmt *statement ACCOUNTS_STATEMENT = NULL;
    int r = accounts_prepare(accounts,
                             "SELECT account FROM access_key WHERE id = ?1 AND NOT enabled "
                             "AND expires_ms IS NULL",
                             key, NULL, &statement, err);

    if (r == 0)
        r = accounts_step(accounts, statement, err);
    if (r == 1)
        r = check_keys(accounts, (const char *)sqlite3_column_text(statement, 0), err);
    return r;
}

static int set_enabled(struct svc_accounts *accounts, const char *which, bool enable,
                       struct im_error *err)
{
    const char *value = enable ? "1" : "0";
    int r = accounts_exec(accounts,
                          "UPDATE account SET enabled = CAST(?2 AS INTEGER) "
                          "WHERE id = ?1 OR name = ?1",
                          which, value, err);

    if (r < 0 || sqlite3_changes(accounts->db) > 0)
        return r;
    r = enable ? enable_key(accounts, which, err) : 0;
    if (r == 0)
        r = accounts_exec(accounts,
                          "UPDATE access_key SET enabled = CAST(?2 AS INTEGER) WHERE id = ?1",
                          which, value, err);
    if (r == 0 && sqlite3_changes(accounts->db) == 0)
        return im_fail(err, ENOENT,
                       "there is no account and no access key '%.64s'; see imaging-service account "
                       "list",
                       which);
    return r;
}

int svc_accounts_enable(struct svc_accounts *accounts, const char *which, bool enable,
                        struct im_error *err)
{
    WITH_LOCK(accounts);
    int r = accounts_begin(accounts, err);

    return r < 0 ? r : accounts_end(accounts, set_enabled(accounts, which, enable, err), err);
}

/* ---- listing ---- */

static int list_keys(struct svc_accounts *accounts, const char *account,
                     int (*each)(void *arg, const struct svc_listed_key *key), void *arg,
                     struct im_error *err)
{
    sqlite3_stmt *row ACCOUNTS_STATEMENT = NULL;
    int r = accounts_prepare(accounts,
                             "SELECT id, enabled, created_ms, coalesce(expires_ms, 0) "
                             "FROM access_key WHERE account = ?1 ORDER BY seq",
                             account, NULL, &row, err);

    while (r >= 0 && (r = accounts_step(accounts, row, err)) == 1) {
        struct svc_listed_key key = {
            .id = (const char *)sqlite3_column_text(row, 0),
            .enabled = sqlite3_column_int(row, 1) != 0,
            .created_ms = sqlite3_column_int64(row, 2),
            .expires_ms = sqlite3_column_int64(row, 3),
        };

        r = each(arg, &key);
    }
    return r;
}

int svc_accounts_list(struct svc_accounts *accounts, const char *which,
                      int (*account)(void *arg, const struct svc_listed_account *account),
                      int (*key)(void *arg, const struct svc_listed_key *key), void *arg,
                      struct im_error *err)
{
    WITH_LOCK(accounts);
    sqlite3_stmt *row ACCOUNTS_STATEMENT = NULL;
    bool any = false;
    int r = accounts_prepare(accounts,
                             "SELECT id, name, actions, enabled, created_ms FROM account "
                             "WHERE ?1 IS NULL OR id = ?1 OR name = ?1 ORDER BY seq",
                             which, NULL, &row, err);

    while (r >= 0 && (r = accounts_step(accounts, row, err)) == 1) {
        struct svc_listed_account listed = {
            .id = (const char *)sqlite3_column_text(row, 0),
            .name = (const char *)sqlite3_column_text(row, 1),
            .actions = (const char *)sqlite3_column_text(row, 2),
            .enabled = sqlite3_column_int(row, 3) != 0,
            .created_ms = sqlite3_column_int64(row, 4),
        };

        any = true;
        r = account(arg, &listed);
        if (r >= 0)
            r = list_keys(accounts, listed.id, key, arg, err);
    }
    return r == 0 && !any ? no_account(which ? which : "", err) : r;
}

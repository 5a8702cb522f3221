/* accounts-edit - the account store: the changes people make.
 *
 * Every change is one transaction that takes a lock first, so that what it counted still holds when
 * it writes, whoever else is at work. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "auth/accounts-inner.h"
#include "base/clock.h"

/* How long temporary credentials that ended are told apart from unknown ones. */
#define SESSION_KEPT_MS (INT64_C(7) * 24 * 3600 * 1000)

/* Account numbers are drawn from 10^12; so many taken ones in a row mean a broken generator. */
#define NUMBER_TRIES 8

/* The name of the account a new store begins with. */
#define FIRST_NAME "default"

/* A change, as it was asked for; and the keys it makes, anew each time it is tried. */
struct change {
    struct svc_accounts *accounts;
    const char *which;          /* account or key */
    const char *actions;        /* of a new account */
    int64_t now_ms, expires_ms; /* expires_ms 0: a permanent key */
    bool enable;
    struct svc_keys keys;
};

/* One change after the other: a file is locked by the transaction, a server by this number of
 * ours. */
static int take_turn(struct sql_session *session, struct im_error *err)
{
    struct sql_statement *statement SQL_STATEMENT =
        sql_use(session, "SELECT 1 /*pg FROM pg_advisory_xact_lock(7089074391120602484) */");
    int r = sql_step(session, statement, err);

    return r < 0 ? r : 0;
}

/* The number in the first row of a query; now_ms 0: it has no ?2. */
static int count(struct sql_session *session, const char *sql, const char *one, int64_t now_ms,
                 int64_t *ret_count, struct im_error *err)
{
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);
    int r;

    if (one)
        sql_text(statement, 1, one);
    if (now_ms)
        sql_int(statement, 2, now_ms);
    r = sql_step(session, statement, err);
    if (r < 0)
        return r;
    *ret_count = sql_column_int(statement, 0);
    return 0;
}

/* ---- rows ---- */

static int insert_account(struct sql_session *session, const char *id, const char *name,
                          const char *actions, int64_t now_ms, struct im_error *err)
{
    struct sql_statement *statement SQL_STATEMENT =
        sql_use(session, "INSERT INTO account (id, name, actions, created_ms) "
                         "VALUES (?1, ?2, ?3, ?4)");

    sql_text(statement, 1, id);
    sql_text(statement, 2, name);
    sql_text(statement, 3, actions);
    sql_int(statement, 4, now_ms);
    return sql_step(session, statement, err);
}

/* expires_ms 0: permanent. */
static int insert_key(struct sql_session *session, const struct svc_accounts *accounts,
                      const struct svc_keys *keys, int64_t now_ms, int64_t expires_ms,
                      struct im_error *err)
{
    struct sql_statement *statement SQL_STATEMENT =
        sql_use(session, "INSERT INTO access_key (id, account, sealed, token_hash, expires_ms, "
                         "created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
    uint8_t sealed[SEALED_SIZE], hash[IM_HASH_MAX];
    int r = svc_seal_secret(accounts->seal, keys->account, keys->access_key, keys->secret_key,
                            SVC_SECRET_LEN, sealed, err);

    if (r < 0)
        return r;
    sql_text(statement, 1, keys->access_key);
    sql_text(statement, 2, keys->account);
    sql_bytes(statement, 3, sealed, sizeof(sealed));
    if (keys->token[0]) {
        im_hash(IM_SHA256, keys->token, SVC_TOKEN_LEN, hash);
        sql_bytes(statement, 4, hash, im_hash_size(IM_SHA256));
    }
    if (expires_ms)
        sql_int(statement, 5, expires_ms);
    sql_int(statement, 6, now_ms);
    return sql_step(session, statement, err);
}

int accounts_none(const char *which, struct im_error *err)
{
    return im_fail(err, ENOENT, "there is no account '%.64s'; see imaging-service account list",
                   which);
}

/* Find an account by number or name; only enabled ones get new keys. */
static int find_account(struct sql_session *session, const char *which,
                        char ret_account[SVC_ACCOUNT_LEN + 1], struct im_error *err)
{
    struct sql_statement *statement SQL_STATEMENT =
        sql_use(session, "SELECT id, enabled FROM account WHERE id = ?1 OR name = ?1");
    const char *id;
    int r;

    sql_text(statement, 1, which);
    r = sql_step(session, statement, err);
    if (r < 0)
        return r;
    id = r == 1 ? sql_column_text(statement, 0) : NULL;
    if (!id || strlen(id) != SVC_ACCOUNT_LEN)
        return accounts_none(which, err);
    if (!sql_column_int(statement, 1))
        return im_fail(err, EPERM, "the account '%.64s' is disabled; enable it first", which);
    memcpy(ret_account, id, SVC_ACCOUNT_LEN + 1);
    return 0;
}

/* ---- adding ---- */

bool svc_account_name_ok(const char *name)
{
    size_t len = strlen(name);

    return len >= 1 && len <= SVC_NAME_MAX && name[0] >= 'a' && name[0] <= 'z' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static int draw_number(struct sql_session *session, char account[SVC_ACCOUNT_LEN + 1],
                       struct im_error *err)
{
    int64_t taken = 1;
    int r = 0;

    for (unsigned i = 0; r == 0 && taken && i < NUMBER_TRIES; i++) {
        svc_account_random(account);
        r = count(session, "SELECT count(*) FROM account WHERE id = ?1", account, 0, &taken, err);
    }
    return r == 0 && taken ? im_fail(err, EIO, "no account number is free") : r;
}

/* An account of a name that is free (which; NULL: none), and its first key. */
static int add(struct sql_session *session, void *arg, struct im_error *err)
{
    struct change *change = arg;
    struct svc_keys *keys = &change->keys;
    int64_t taken = 0;
    int r = take_turn(session, err);

    if (r == 0 && change->which)
        r = count(session, "SELECT count(*) FROM account WHERE name = ?1", change->which, 0, &taken,
                  err);
    if (r == 0 && taken)
        return im_fail(err, EEXIST, "there is an account '%s' already", change->which);
    if (r == 0)
        r = draw_number(session, keys->account, err);
    if (r == 0)
        r = insert_account(session, keys->account, change->which, change->actions, change->now_ms,
                           err);
    if (r < 0)
        return r;
    svc_keys_random(keys, false);
    return insert_key(session, change->accounts, keys, change->now_ms, 0, err);
}

/* Make a change, and give out its keys, if that is what it makes. */
static int make(struct change *change, sql_work_fn *work, struct svc_keys *ret_keys,
                struct im_error *err)
{
    int r = sql_write(change->accounts->db, work, change, err);

    if (r == -ECONNABORTED)
        im_error_prefix(err,
                        "whether the change was made is not known: see imaging-service account "
                        "list");
    if (r == 0 && ret_keys)
        *ret_keys = change->keys;
    svc_keys_wipe(&change->keys);
    return r;
}

int svc_accounts_add(struct svc_accounts *accounts, const char *name, const char *actions,
                     int64_t now_ms, struct svc_keys *ret_keys, struct im_error *err)
{
    struct change change = {
        .accounts = accounts, .which = name, .actions = actions, .now_ms = now_ms
    };

    return make(&change, add, ret_keys, err);
}

/* The file of a store that has accounts already may only be what was left behind by a crash after
 * its import. */
static int check_imported(struct sql_session *session, const struct svc_keys *keys, const char *old,
                          bool *ret_old, struct im_error *err)
{
    struct sql_statement *statement SQL_STATEMENT =
        sql_use(session, "SELECT 1 FROM access_key WHERE id = ?1 AND account = ?2");
    int known;

    sql_text(statement, 1, keys->access_key);
    sql_text(statement, 2, keys->account);
    known = sql_step(session, statement, err);
    *ret_old = known > 0;
    if (known == 0)
        return im_fail(err, EEXIST,
                       "'%s' holds the key %s, but there are other accounts already, which were "
                       "made without it; move it away",
                       old, keys->access_key);
    return known < 0 ? known : 0;
}

int accounts_make_first(struct sql_session *session, struct svc_accounts *accounts, const char *old,
                        bool *ret_old, struct im_error *err)
{
    struct change change = { .accounts = accounts,
                             .which = FIRST_NAME,
                             .actions = SVC_ALL_ACTIONS,
                             .now_ms = im_clock_now_ms() };
    struct svc_keys keys SVC_KEYS_WIPE = { 0 };
    int64_t accounts_there = 0;
    int r = svc_keys_read(old, &keys, err);
    bool there = r == 0;

    if (r < 0 && r != -ENOENT)
        return r;
    r = count(session, "SELECT count(*) FROM account", NULL, 0, &accounts_there, err);
    if (r == 0 && accounts_there)
        return there ? check_imported(session, &keys, old, ret_old, err) : 0;
    if (r == 0 && !there) {
        r = add(session, &change, err);
        svc_keys_wipe(&change.keys);
        return r;
    }
    if (r == 0)
        r = insert_account(session, keys.account, FIRST_NAME, SVC_ALL_ACTIONS, change.now_ms, err);
    if (r == 0)
        r = insert_key(session, accounts, &keys, change.now_ms, 0, err);
    *ret_old = r == 0;
    return r;
}

/* ---- more keys ---- */

static int limit_reached(const char *account, int64_t there, int64_t limit, const char *what,
                         struct im_error *err)
{
    return im_fail(err, EBUSY, "account %s has %" PRId64 " %s, and may have %" PRId64, account,
                   there, what, limit);
}

/* Refuse when there is no room for another permanent key. */
static int check_keys(struct sql_session *session, const char *account, struct im_error *err)
{
    int64_t there = 0;
    int r = count(session,
                  "SELECT count(*) FROM access_key WHERE account = ?1 AND enabled = 1 AND "
                  "expires_ms IS NULL",
                  account, 0, &there, err);

    if (r == 0 && there >= SVC_KEYS_MAX)
        return limit_reached(account, there, SVC_KEYS_MAX,
                             "enabled keys (disable the one nobody uses any more)", err);
    return r;
}

/* Forget the sessions that ended long ago, and see that there is room for one more. */
static int check_sessions(struct sql_session *session, const char *account, int64_t now_ms,
                          struct im_error *err)
{
    int64_t there = 0;
    int r = sql_run(session, "DELETE FROM access_key WHERE expires_ms < ?1",
                    now_ms - SESSION_KEPT_MS, 0, 0, err);

    if (r >= 0)
        r = count(session, "SELECT count(*) FROM access_key WHERE account = ?1 AND expires_ms > ?2",
                  account, now_ms, &there, err);
    if (r == 0 && there >= SVC_SESSIONS_MAX)
        return limit_reached(account, there, SVC_SESSIONS_MAX,
                             "temporary credentials that have not ended", err);
    return r;
}

static int add_key(struct sql_session *session, void *arg, struct im_error *err)
{
    struct change *change = arg;
    struct svc_keys *keys = &change->keys;
    bool temporary = change->expires_ms != 0;
    int r = take_turn(session, err);

    if (r == 0)
        r = find_account(session, change->which, keys->account, err);
    if (r == 0)
        r = temporary ? check_sessions(session, keys->account, change->now_ms, err)
                      : check_keys(session, keys->account, err);
    if (r < 0)
        return r;
    svc_keys_random(keys, temporary);
    return insert_key(session, change->accounts, keys, change->now_ms, change->expires_ms, err);
}

int svc_accounts_rotate(struct svc_accounts *accounts, const char *account, int64_t now_ms,
                        struct svc_keys *ret_keys, struct im_error *err)
{
    struct change change = { .accounts = accounts, .which = account, .now_ms = now_ms };

    return make(&change, add_key, ret_keys, err);
}

int svc_accounts_session(struct svc_accounts *accounts, const char *account, int64_t now_ms,
                         int64_t expires_ms, struct svc_keys *ret_keys, struct im_error *err)
{
    struct change change = {
        .accounts = accounts, .which = account, .now_ms = now_ms, .expires_ms = expires_ms
    };

    return make(&change, add_key, ret_keys, err);
}

/* ---- enabling ---- */

/* A key comes back only when its account has room for it. */
static int check_room(struct sql_session *session, const char *key, struct im_error *err)
{
    struct sql_statement *statement SQL_STATEMENT =
        sql_use(session, "SELECT account FROM access_key WHERE id = ?1 AND enabled = 0 "
                         "AND expires_ms IS NULL");
    int r;

    sql_text(statement, 1, key);
    r = sql_step(session, statement, err);
    return r == 1 ? check_keys(session, sql_column_text(statement, 0), err) : r;
}

/* Set `enabled` by a statement that returns the rows it changed: 1 when there was one. */
static int set_enabled(struct sql_session *session, const char *sql, const struct change *change,
                       struct im_error *err)
{
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);

    sql_text(statement, 1, change->which);
    sql_int(statement, 2, change->enable);
    return sql_step(session, statement, err);
}

static int enable(struct sql_session *session, void *arg, struct im_error *err)
{
    const struct change *change = arg;
    int r = take_turn(session, err);

    if (r == 0)
        r = set_enabled(session,
                        "UPDATE account SET enabled = ?2 WHERE id = ?1 OR name = ?1 RETURNING 1",
                        change, err);
    if (r != 0)
        return r < 0 ? r : 0;
    r = change->enable ? check_room(session, change->which, err) : 0;
    if (r == 0)
        r = set_enabled(session, "UPDATE access_key SET enabled = ?2 WHERE id = ?1 RETURNING 1",
                        change, err);
    if (r == 0)
        return im_fail(err, ENOENT,
                       "there is no account and no access key '%.64s'; see imaging-service account "
                       "list",
                       change->which);
    return r < 0 ? r : 0;
}

int svc_accounts_enable(struct svc_accounts *accounts, const char *which, bool enabled,
                        struct im_error *err)
{
    struct change change = { .accounts = accounts, .which = which, .enable = enabled };

    return make(&change, enable, NULL, err);
}

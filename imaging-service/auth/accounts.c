/* accounts - the account store: opening it, and finding keys for the service.
 *
 * A key is read and revealed anew for each request: that takes microseconds, keeps no secrets in
 * memory, shows every change at once, and takes as long for a key that does not exist. */

#include <config.h>

#include "auth/accounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "auth/accounts-inner.h"
#include "base/io.h"
#include "base/text.h"

static const struct svc_migration migrations[] = {
#include "auth/migrations.def"
};

static const struct svc_schema schema = {
    .what = "account store",
    .migration = migrations,
    .count = sizeof(migrations) / sizeof(migrations[0]),
};

/* What a master key proves itself with. */
static const char proof[] = "the master key of this account store";
#define PROOF_SIZE (sizeof(proof) + SVC_SEAL_EXTRA)

/* Account and access key nobody has. */
static const char no_account[] = "nobody", no_key[] = "none";

/* In the order find() takes them. */
#define FIND                                                                                       \
    "SELECT k.account, a.actions, k.sealed, k.token_hash, k.expires_ms FROM access_key k "         \
    "JOIN account a ON a.id = k.account WHERE k.id = ?1 AND k.enabled AND a.enabled"

/* ---- statements ---- */

int accounts_failed(struct svc_accounts *accounts, struct im_error *err)
{
    return svc_database_failed(&schema, accounts->db, err);
}

void accounts_finalize(sqlite3_stmt **statement)
{
    (void)sqlite3_finalize(*statement);
}

int accounts_prepare(struct svc_accounts *accounts, const char *sql, const char *one,
                     const char *two, sqlite3_stmt **ret_statement, struct im_error *err)
{
    if (sqlite3_prepare_v2(accounts->db, sql, -1, ret_statement, NULL) != SQLITE_OK)
        return accounts_failed(accounts, err);
    /* those a statement has no place for are refused, which does not matter */
    (void)sqlite3_bind_text(*ret_statement, 1, one, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(*ret_statement, 2, two, -1, SQLITE_STATIC);
    return 0;
}

int accounts_step(struct svc_accounts *accounts, sqlite3_stmt *statement, struct im_error *err)
{
    int rc = sqlite3_step(statement);

    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : accounts_failed(accounts, err);
}

int accounts_exec(struct svc_accounts *accounts, const char *sql, const char *one, const char *two,
                  struct im_error *err)
{
    sqlite3_stmt *statement ACCOUNTS_STATEMENT = NULL;
    int r = accounts_prepare(accounts, sql, one, two, &statement, err);

    return r < 0 ? r : accounts_step(accounts, statement, err);
}

int accounts_begin(struct svc_accounts *accounts, struct im_error *err)
{
    return accounts_exec(accounts, "BEGIN IMMEDIATE", NULL, NULL, err);
}

int accounts_end(struct svc_accounts *accounts, int r, struct im_error *err)
{
    if (r == 0)
        r = accounts_exec(accounts, "COMMIT", NULL, NULL, err);
    if (r < 0 && !sqlite3_get_autocommit(accounts->db))
        (void)accounts_exec(accounts, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

/* ---- opening ---- */

/* A master key is made where there is no store yet; the store of a lost one opens never again. */
static int open_seal(const char *path, bool ours, const char *store, struct svc_seal **ret_seal,
                     struct im_error *err)
{
    int r;

    if (access(path, F_OK) == 0 || errno != ENOENT)
        return svc_seal_open(path, ret_seal, err);
    if (access(store, F_OK) == 0)
        return im_fail(err, ENOENT,
                       "there is no master key '%s', without which '%s' cannot be read; restore "
                       "it, or say with --master-key where it is",
                       path, store);
    if (!ours)
        return im_fail(err, ENOENT,
                       "there is no master key '%s'; make one: (umask 377; head -c 32 "
                       "/dev/urandom >FILE)",
                       path);
    r = svc_seal_make(path, err);
    return r < 0 ? r : svc_seal_open(path, ret_seal, err);
}

static int add_proof(struct svc_accounts *accounts, struct im_error *err)
{
    sqlite3_stmt *statement ACCOUNTS_STATEMENT = NULL;
    uint8_t record[PROOF_SIZE];
    int r = svc_seal_secret(accounts->seal, no_account, no_key, proof, sizeof(proof), record, err);

    if (r == 0)
        r = accounts_prepare(accounts, "INSERT INTO master_key VALUES (?1, ?2)", NULL, NULL,
                             &statement, err);
    if (r < 0)
        return r;
    (void)sqlite3_bind_int64(statement, 1, SVC_SEAL_VERSION);
    (void)sqlite3_bind_blob(statement, 2, record, sizeof(record), SQLITE_STATIC);
    return accounts_step(accounts, statement, err);
}

/* Within a transaction: the master key is the one that sealed what is here, or seals the first. */
static int check_proof(struct svc_accounts *accounts, const char *master_key, struct im_error *err)
{
    sqlite3_stmt *statement ACCOUNTS_STATEMENT = NULL;
    char text[sizeof(proof)];
    int r = accounts_prepare(accounts, "SELECT proof FROM master_key", NULL, NULL, &statement, err);

    if (r == 0)
        r = accounts_step(accounts, statement, err);
    if (r < 0)
        return r;
    if (r == 0)
        return add_proof(accounts, err);
    if (sqlite3_column_bytes(statement, 0) == (int)PROOF_SIZE &&
        svc_seal_reveal(accounts->seal, no_account, no_key, sqlite3_column_blob(statement, 0),
                        PROOF_SIZE, text, NULL) == 0)
        return 0;
    return im_fail(
        err, EKEYREJECTED,
        "the master key '%s' is not the one '%s' was sealed under; restore the right one",
        master_key, sqlite3_db_filename(accounts->db, "main"));
}

static int read_first(struct svc_accounts *accounts, struct im_error *err)
{
    sqlite3_stmt *statement ACCOUNTS_STATEMENT = NULL;
    const char *id;
    int r = accounts_prepare(accounts, "SELECT id FROM account ORDER BY seq LIMIT 1", NULL, NULL,
                             &statement, err);

    if (r == 0)
        r = accounts_step(accounts, statement, err);
    if (r < 0)
        return r;
    id = r == 1 ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    if (!id || strlen(id) != SVC_ACCOUNT_LEN)
        return im_fail(err, EBADMSG, "the account store has no first account");
    memcpy(accounts->first, id, SVC_ACCOUNT_LEN + 1);
    return 0;
}

static int prepare(struct svc_accounts *accounts, struct im_error *err)
{
    struct svc_keys made SVC_KEYS_WIPE = { 0 };

    svc_keys_random(&made, false);
    if (sqlite3_prepare_v3(accounts->db, FIND, -1, SQLITE_PREPARE_PERSISTENT, &accounts->find,
                           NULL) != SQLITE_OK)
        return accounts_failed(accounts, err);
    return svc_seal_secret(accounts->seal, no_account, no_key, made.secret_key, SVC_SECRET_LEN,
                           accounts->nobody, err);
}

/* Everything from an empty directory to a store with its first account. */
static int set_up(struct svc_accounts *accounts, const char *store, const char *master_key,
                  bool ours, const char *old, struct im_error *err)
{
    bool imported = false;
    int r = open_seal(master_key, ours, store, &accounts->seal, err);

    if (r == 0)
        r = svc_database_open(store, &schema, &accounts->db, err);
    if (r == 0)
        r = accounts_begin(accounts, err);
    if (r < 0)
        return r;
    r = check_proof(accounts, master_key, err);
    if (r == 0)
        r = accounts_make_first(accounts, old, &imported, err);
    r = accounts_end(accounts, r, err);
    if (r == 0 && imported && (unlink(old) < 0 || im_sync_parent(old) < 0))
        r = im_fail_errno(err, errno, "cannot remove '%s', whose key is in '%s' now", old, store);
    if (r == 0)
        r = read_first(accounts, err);
    return r == 0 ? prepare(accounts, err) : r;
}

int svc_accounts_open(const char *dir, const char *master_key, struct svc_accounts **ret_accounts,
                      struct im_error *err)
{
    /* service and command may both find an empty directory; the lock ends with the descriptor */
    int lock IM_CLOSE = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char *ours IM_FREE = im_asprintf("%s/master.key", dir);
    char *store IM_FREE = im_asprintf("%s/accounts.db", dir);
    char *old IM_FREE = im_asprintf("%s/keys", dir);
    struct svc_accounts *accounts;
    int r;

    if (lock < 0 || flock(lock, LOCK_EX) < 0)
        return im_fail_errno(err, errno, "cannot use the directory '%s'", dir);
    accounts = calloc(1, sizeof(*accounts));
    if (!accounts || !ours || !store || !old) {
        free(accounts);
        return im_fail(err, ENOMEM, "out of memory");
    }
    (void)pthread_mutex_init(&accounts->lock, NULL);
    r = set_up(accounts, store, master_key ? master_key : ours, !master_key, old, err);
    if (r < 0) {
        (void)svc_accounts_close(accounts);
        return r;
    }
    *ret_accounts = accounts;
    return 0;
}

struct svc_accounts *svc_accounts_close(struct svc_accounts *accounts)
{
    if (!accounts)
        return NULL;
    (void)sqlite3_finalize(accounts->find);
    (void)sqlite3_close(accounts->db);
    accounts->seal = svc_seal_close(accounts->seal);
    (void)pthread_mutex_destroy(&accounts->lock);
    free(accounts);
    return NULL;
}

/* ---- finding ---- */

static int damaged(const char *access_key, struct im_error *err)
{
    return im_fail(err, EBADMSG, "the row of access key '%.40s' is damaged", access_key);
}

/* Copy the row's columns; the secret stays sealed. */
static int read_row(sqlite3_stmt *row, const char *access_key, struct svc_key *key,
                    uint8_t sealed[SEALED_SIZE], struct im_error *err)
{
    const char *account = (const char *)sqlite3_column_text(row, 0);
    const char *actions = (const char *)sqlite3_column_text(row, 1);
    const void *secret = sqlite3_column_blob(row, 2), *hash = sqlite3_column_blob(row, 3);

    if (!account || strlen(account) != SVC_ACCOUNT_LEN || !actions ||
        strlen(actions) >= sizeof(key->caller.actions) || !secret ||
        sqlite3_column_bytes(row, 2) != SEALED_SIZE ||
        (hash && sqlite3_column_bytes(row, 3) != (int)sizeof(key->token_hash)))
        return damaged(access_key, err);
    memcpy(key->caller.account, account, SVC_ACCOUNT_LEN + 1);
    memcpy(key->caller.actions, actions, strlen(actions) + 1);
    memcpy(sealed, secret, SEALED_SIZE);
    key->temporary = hash != NULL;
    if (hash)
        memcpy(key->token_hash, hash, sizeof(key->token_hash));
    key->expires_ms = sqlite3_column_int64(row, 4);
    return 1;
}

/* 1 and the row, 0 when there is none. */
static int find(struct svc_accounts *accounts, const char *access_key, struct svc_key *key,
                uint8_t sealed[SEALED_SIZE], struct im_error *err)
{
    int r;

    (void)pthread_mutex_lock(&accounts->lock);
    (void)sqlite3_bind_text(accounts->find, 1, access_key, -1, SQLITE_STATIC);
    r = accounts_step(accounts, accounts->find, err);
    if (r == 1)
        r = read_row(accounts->find, access_key, key, sealed, err);
    (void)sqlite3_reset(accounts->find);
    (void)pthread_mutex_unlock(&accounts->lock);
    return r;
}

int svc_accounts_find(struct svc_accounts *accounts, const char *access_key,
                      struct svc_key *ret_key, struct im_error *err)
{
    struct svc_key key SVC_KEY_WIPE = { 0 };
    uint8_t sealed[SEALED_SIZE];
    int found = find(accounts, access_key, &key, sealed, err), r;

    if (found < 0)
        return found;
    r = svc_seal_reveal(accounts->seal, found ? key.caller.account : no_account,
                        found ? access_key : no_key, found ? sealed : accounts->nobody, SEALED_SIZE,
                        key.secret, err);
    if (r < 0)
        return r;
    *ret_key = key;
    return found ? 0 : -ENOENT;
}

bool svc_key_takes_token(const struct svc_key *key, const char *token)
{
    uint8_t hash[IM_HASH_MAX];
    bool same;

    im_hash(IM_SHA256, token, strlen(token), hash);
    same = im_equal_bytes(hash, key->token_hash, sizeof(key->token_hash));
    return key->temporary ? same : !token[0];
}

const char *svc_accounts_first(const struct svc_accounts *accounts)
{
    return accounts->first;
}

/* The name of the first account's newest key that is enabled; "" when there is none. */
static int first_access_key(struct svc_accounts *accounts, char access_key[SVC_ACCESS_KEY_LEN + 1],
                            struct im_error *err)
{
    sqlite3_stmt *statement ACCOUNTS_STATEMENT = NULL;
    int r = accounts_prepare(accounts,
                             "SELECT id FROM access_key WHERE account = ?1 AND enabled AND "
                             "expires_ms IS NULL ORDER BY seq DESC LIMIT 1",
                             accounts->first, NULL, &statement, err);

    access_key[0] = '\0';
    if (r == 0)
        r = accounts_step(accounts, statement, err);
    if (r == 1 && sqlite3_column_bytes(statement, 0) == SVC_ACCESS_KEY_LEN)
        memcpy(access_key, sqlite3_column_text(statement, 0), SVC_ACCESS_KEY_LEN + 1);
    return r < 0 ? r : 0;
}

int svc_accounts_first_keys(struct svc_accounts *accounts, struct svc_keys *ret_keys,
                            struct im_error *err)
{
    struct svc_keys keys SVC_KEYS_WIPE = { 0 };
    struct svc_key key SVC_KEY_WIPE = { 0 };
    int r;

    (void)pthread_mutex_lock(&accounts->lock);
    r = first_access_key(accounts, keys.access_key, err);
    (void)pthread_mutex_unlock(&accounts->lock);
    if (r == 0)
        r = svc_accounts_find(accounts, keys.access_key, &key, err);
    if (r == -ENOENT)
        return im_fail(err, ENOENT, "no key of account %s is enabled", accounts->first);
    if (r < 0)
        return r;
    memcpy(keys.account, accounts->first, sizeof(keys.account));
    memcpy(keys.secret_key, key.secret, sizeof(keys.secret_key));
    *ret_keys = keys;
    return 0;
}

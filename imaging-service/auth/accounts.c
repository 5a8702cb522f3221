/* accounts - the account store: opening it, and finding keys for the service.
 *
 * A key is read and revealed anew for each request: that takes microseconds from a file, and one
 * round trip or two from a server, keeps no secrets in memory, shows every change at once, and
 * takes as long for a key that does not exist. */

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
#include "directories.h"
#include "metrics.h"

/* Whoever makes the store has the directory locked for so long at most. */
#define LOCK_WAIT_MS 10000

/* Connections to a server: one for each thread that serves requests. */
#define CONNECTIONS 4

static const struct sql_migration sqlite_migrations[] = {
#include "auth/sqlite-migrations.def"
};

static const struct sql_migration postgres_migrations[] = {
#include "auth/postgres-migrations.def"
};

static const struct sql_schema schema = {
    .what = "account store",
    .name = "accounts",
    .sqlite = sqlite_migrations,
    .sqlite_count = sizeof(sqlite_migrations) / sizeof(sqlite_migrations[0]),
    .postgres = postgres_migrations,
    .postgres_count = sizeof(postgres_migrations) / sizeof(postgres_migrations[0]),
};

/* What a master key proves itself with. */
static const char proof[] = "the master key of this account store";
#define PROOF_SIZE (sizeof(proof) + SVC_SEAL_EXTRA)

/* Account and access key nobody has. */
static const char no_account[] = "nobody", no_key[] = "none";

/* ---- opening ---- */

/* Where a store is. */
struct place {
    const char *store;      /* path or URI */
    const char *master_key; /* its path */
    const char *old;        /* file with the keys of an earlier version; NULL: of a server */
    bool made;              /* a missing master key is made */
};

/* A master key is made where there is no store yet; the store of a lost one opens never again. */
static int open_seal(const struct place *place, struct svc_seal **ret_seal, struct im_error *err)
{
    const char *path = place->master_key;
    int r;

    if (access(path, F_OK) == 0 || errno != ENOENT)
        return svc_seal_open(path, ret_seal, err);
    if (place->old && access(place->store, F_OK) == 0)
        return im_fail(err, ENOENT,
                       "there is no master key '%s', without which '%s' cannot be read; restore "
                       "it, or say with --master-key where it is",
                       path, place->store);
    if (!place->made)
        return im_fail(err, ENOENT,
                       "there is no master key '%s'; make one: (umask 377; head -c 32 "
                       "/dev/urandom >FILE)%s",
                       path, place->old ? "" : ", and give the same to all services");
    r = svc_seal_make(path, err);
    return r < 0 ? r : svc_seal_open(path, ret_seal, err);
}

/* Another service may have been faster. */
static int add_proof(struct sql_session *session, const struct svc_accounts *accounts,
                     struct im_error *err)
{
    struct sql_statement *statement SQL_STATEMENT = sql_use(
        session, "INSERT INTO master_key (version, proof) VALUES (?1, ?2) ON CONFLICT DO NOTHING");
    uint8_t record[PROOF_SIZE];
    int r = svc_seal_secret(accounts->seal, no_account, no_key, proof, sizeof(proof), record, err);

    if (r < 0)
        return r;
    sql_int(statement, 1, SVC_SEAL_VERSION);
    sql_bytes(statement, 2, record, sizeof(record));
    return sql_step(session, statement, err);
}

/* 1: the master key is the one that sealed what is here; 0: nothing is here yet. */
static int check_proof(struct sql_session *session, const struct svc_accounts *accounts,
                       const char *master_key, struct im_error *err)
{
    struct sql_statement *statement SQL_STATEMENT =
        sql_use(session, "SELECT proof FROM master_key WHERE version = ?1");
    const void *record;
    char text[sizeof(proof)];
    size_t len;
    int r;

    sql_int(statement, 1, SVC_SEAL_VERSION);
    r = sql_step(session, statement, err);
    if (r <= 0)
        return r;
    record = sql_column_bytes(statement, 0, &len);
    if (len == PROOF_SIZE &&
        svc_seal_reveal(accounts->seal, no_account, no_key, record, len, text, NULL) == 0)
        return 1;
    return im_fail(
        err, EKEYREJECTED,
        "the master key '%s' is not the one '%s' was sealed under; restore the right one",
        master_key, sql_where(accounts->db));
}

static int read_first(struct sql_session *session, struct svc_accounts *accounts,
                      struct im_error *err)
{
    struct sql_statement *statement SQL_STATEMENT =
        sql_use(session, "SELECT id FROM account ORDER BY seq LIMIT 1");
    int r = sql_step(session, statement, err);
    const char *id;

    if (r < 0)
        return r;
    id = r == 1 ? sql_column_text(statement, 0) : NULL;
    if (!id || strlen(id) != SVC_ACCOUNT_LEN)
        return im_fail(err, EBADMSG, "the account store has no first account");
    memcpy(accounts->first, id, SVC_ACCOUNT_LEN + 1);
    return 0;
}

struct founding {
    struct svc_accounts *accounts;
    const struct place *place;
    bool imported; /* the old file may go */
};

/* In one transaction: the master key is right, or seals what comes; the first account is there. */
static int found(struct sql_session *session, void *arg, struct im_error *err)
{
    struct founding *founding = arg;
    struct svc_accounts *accounts = founding->accounts;
    const struct place *place = founding->place;
    int r = check_proof(session, accounts, place->master_key, err);

    founding->imported = false;
    if (r == 0) {
        r = add_proof(session, accounts, err);
        if (r == 0)
            r = check_proof(session, accounts, place->master_key, err);
    }
    if (r < 0 || !place->old)
        return r < 0 ? r : 0;
    r = accounts_make_first(session, accounts, place->old, &founding->imported, err);
    return r < 0 ? r : read_first(session, accounts, err);
}

/* Everything from nothing to a store that can be used. */
static int set_up(struct svc_accounts *accounts, const struct place *place, struct im_error *err)
{
    const struct sql_options options = { .where = place->store,
                                         .schema = &schema,
                                         .connections = CONNECTIONS };
    struct founding founding = { .accounts = accounts, .place = place };
    struct svc_keys made SVC_KEYS_WIPE = { 0 };
    int r = open_seal(place, &accounts->seal, err);

    if (r == 0)
        r = sql_open(&options, &accounts->db, err);
    if (r == 0)
        r = sql_write(accounts->db, found, &founding, err);
    if (r == 0 && place->old && founding.imported &&
        (unlink(place->old) < 0 || im_sync_parent(place->old) < 0))
        r = im_fail_errno(err, errno, "cannot remove '%s', whose key is in '%s' now", place->old,
                          place->store);
    if (r < 0)
        return r;
    svc_keys_random(&made, false);
    return svc_seal_secret(accounts->seal, no_account, no_key, made.secret_key, SVC_SECRET_LEN,
                           accounts->nobody, err);
}

static int open_store(const struct place *place, struct svc_accounts **ret_accounts,
                      struct im_error *err)
{
    struct svc_accounts *accounts = calloc(1, sizeof(*accounts));
    int r;

    if (!accounts)
        return im_fail(err, ENOMEM, "out of memory");
    r = set_up(accounts, place, err);
    if (r < 0) {
        (void)svc_accounts_close(accounts);
        return r;
    }
    *ret_accounts = accounts;
    return 0;
}

int svc_accounts_open(const char *dir, const char *master_key, struct svc_accounts **ret_accounts,
                      struct im_error *err)
{
    /* service and command may both find an empty directory; the lock ends with the descriptor */
    int lock IM_CLOSE = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char *ours IM_FREE = im_asprintf("%s/master.key", dir);
    char *store IM_FREE = im_asprintf("%s/accounts.db", dir);
    char *old IM_FREE = im_asprintf("%s/keys", dir);
    const struct place place = { .store = store,
                                 .master_key = master_key ? master_key : ours,
                                 .old = old,
                                 .made = !master_key };

    if (lock < 0)
        return im_fail_errno(err, errno, "cannot use the directory '%s'", dir);
    if (svc_flock_soon(lock, LOCK_WAIT_MS) < 0)
        return im_fail_errno(
            err, errno,
            "cannot lock the directory '%s': a process holds its lock; 'fuser %s' names it", dir,
            dir);
    if (!ours || !store || !old)
        return im_fail(err, ENOMEM, "out of memory");
    return open_store(&place, ret_accounts, err);
}

int svc_accounts_open_shared(const char *database, const char *master_key,
                             struct svc_accounts **ret_accounts, struct im_error *err)
{
    const struct place place = { .store = database, .master_key = master_key };

    return open_store(&place, ret_accounts, err);
}

struct svc_accounts *svc_accounts_close(struct svc_accounts *accounts)
{
    if (!accounts)
        return NULL;
    (void)sql_close(accounts->db);
    accounts->seal = svc_seal_close(accounts->seal);
    free(accounts);
    return NULL;
}

/* ---- finding ---- */

/* A row that is looked for; the secret stays sealed. */
struct wanted {
    const char *access_key;
    bool found;
    struct svc_key key;
    uint8_t sealed[SEALED_SIZE];
};

static int damaged(const char *access_key, struct im_error *err)
{
    return im_fail(err, EBADMSG, "the row of access key '%.40s' is damaged", access_key);
}

static int read_row(struct sql_statement *row, struct wanted *wanted, struct im_error *err)
{
    struct svc_key *key = &wanted->key;
    size_t sealed_len, hash_len;
    const char *account = sql_column_text(row, 0), *actions = sql_column_text(row, 1);
    const void *sealed = sql_column_bytes(row, 2, &sealed_len);
    const void *hash = sql_column_bytes(row, 3, &hash_len);

    if (!account || strlen(account) != SVC_ACCOUNT_LEN || !actions ||
        strlen(actions) >= sizeof(key->caller.actions) || sealed_len != SEALED_SIZE ||
        (hash && hash_len != sizeof(key->token_hash)))
        return damaged(wanted->access_key, err);
    memcpy(key->caller.account, account, SVC_ACCOUNT_LEN + 1);
    memcpy(key->caller.actions, actions, strlen(actions) + 1);
    memcpy(wanted->sealed, sealed, SEALED_SIZE);
    key->temporary = hash != NULL;
    if (hash)
        memcpy(key->token_hash, hash, sizeof(key->token_hash));
    key->expires_ms = sql_column_int(row, 4);
    wanted->found = true;
    return 0;
}

static int find(struct sql_session *session, void *arg, struct im_error *err)
{
    static const char sql[] =
        "SELECT k.account, a.actions, k.sealed, k.token_hash, k.expires_ms FROM access_key k "
        "JOIN account a ON a.id = k.account WHERE k.id = ?1 AND k.enabled = 1 AND a.enabled = 1";
    struct wanted *wanted = arg;
    struct sql_statement *statement SQL_STATEMENT = sql_use(session, sql);
    int r;

    wanted->found = false;
    memset(&wanted->key, 0, sizeof(wanted->key));
    sql_text(statement, 1, wanted->access_key);
    r = sql_step(session, statement, err);
    return r == 1 ? read_row(statement, wanted, err) : r;
}

int svc_accounts_find(struct svc_accounts *accounts, const char *access_key,
                      struct svc_key *ret_key, struct im_error *err)
{
    struct wanted wanted = { .access_key = access_key };
    int r = sql_read(accounts->db, find, &wanted, err);
    bool found = wanted.found;

    metric_database(r);
    if (r == 0)
        r = svc_seal_reveal(accounts->seal, found ? wanted.key.caller.account : no_account,
                            found ? access_key : no_key, found ? wanted.sealed : accounts->nobody,
                            SEALED_SIZE, wanted.key.secret, err);
    if (r == 0)
        *ret_key = wanted.key;
    svc_key_wipe(&wanted.key);
    return r < 0 ? r : found ? 0 : -ENOENT;
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

/* What is looked for in the first account. */
struct first {
    const char *account;
    char access_key[SVC_ACCESS_KEY_LEN + 1]; /* its newest permanent key that is enabled, or "" */
};

static int find_first_key(struct sql_session *session, void *arg, struct im_error *err)
{
    struct first *first = arg;
    struct sql_statement *statement SQL_STATEMENT =
        sql_use(session, "SELECT id FROM access_key WHERE account = ?1 AND enabled = 1 AND "
                         "expires_ms IS NULL ORDER BY seq DESC LIMIT 1");
    const char *id;
    int r;

    sql_text(statement, 1, first->account);
    r = sql_step(session, statement, err);
    id = r == 1 ? sql_column_text(statement, 0) : NULL;
    first->access_key[0] = '\0';
    if (id && strlen(id) == SVC_ACCESS_KEY_LEN)
        memcpy(first->access_key, id, SVC_ACCESS_KEY_LEN + 1);
    return r < 0 ? r : 0;
}

int svc_accounts_first_keys(struct svc_accounts *accounts, struct svc_keys *ret_keys,
                            struct im_error *err)
{
    struct svc_keys keys SVC_KEYS_WIPE = { 0 };
    struct svc_key key SVC_KEY_WIPE = { 0 };
    struct first first = { .account = accounts->first };
    int r = sql_read(accounts->db, find_first_key, &first, err);

    if (r == 0)
        r = svc_accounts_find(accounts, first.access_key, &key, err);
    if (r == -ENOENT)
        return im_fail(err, ENOENT, "no key of account %s is enabled", accounts->first);
    if (r < 0)
        return r;
    memcpy(keys.account, accounts->first, sizeof(keys.account));
    memcpy(keys.access_key, first.access_key, sizeof(keys.access_key));
    memcpy(keys.secret_key, key.secret, sizeof(keys.secret_key));
    *ret_keys = keys;
    return 0;
}

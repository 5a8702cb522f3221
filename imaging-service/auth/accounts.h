/* accounts - who may sign requests: accounts, their access keys and temporary credentials, in
 * DIR/accounts.db or in the database that several services share.  Only the API has it open, never
 * the workers.
 *
 * Any number of processes may have it open at once: what `imaging-service account` changes holds
 * from the next request on, at every service.  Secrets stand there sealed (seal.h).  Knows no
 * signatures.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "auth/keys.h"
#include "base/error.h"
#include "caller.h"

/* Permanent keys of an account that are enabled at once: the one in use and the one that replaces
 * it, as AWS has it.  With more, forgotten ones would live on. */
#define SVC_KEYS_MAX 2

/* Temporary credentials of an account that have not ended: a program that asks for new ones for
 * each of its steps is broken, and must not fill the disk. */
#define SVC_SESSIONS_MAX 1000

/* Seconds temporary credentials live at most: 36 hours, as AWS has it. */
#define SVC_SESSION_MAX_S 129600

/* Bytes of an account's name. */
#define SVC_NAME_MAX 64

struct svc_accounts;

/* Open DIR/accounts.db (made when it is missing) under the master key of a file; NULL:
 * DIR/master.key, made at the first start.  A store without accounts gets its first: the one of
 * DIR/keys, which an earlier version wrote and which is removed when its account is safe here, or
 * else a new one that may do everything.  Errors: those of svc_seal_open; -EKEYREJECTED when the
 * store was sealed under another master key; -ENOENT when the master key is lost; those of
 * sql_open. */
int svc_accounts_open(const char *dir, const char *master_key, struct svc_accounts **ret_accounts,
                      struct im_error *err);

/* The same in a server's database ("postgresql://…"), under a master key that exists; there is no
 * first account.  All functions below may fail with -EHOSTDOWN while the server is away, the
 * changes with -ECONNABORTED when it went away at their end. */
int svc_accounts_open_shared(const char *database, const char *master_key,
                             struct svc_accounts **ret_accounts, struct im_error *err);

/* Takes NULL, returns NULL. */
struct svc_accounts *svc_accounts_close(struct svc_accounts *accounts);

/* ---- for the service ---- */

/* An access key as it stands at this moment. */
struct svc_key {
    struct svc_caller caller; /* its account */
    char secret[SVC_SECRET_LEN + 1];
    bool temporary;
    uint8_t token_hash[32]; /* SHA-256 of the session token of temporary credentials */
    int64_t expires_ms;     /* … and their end, since 1970 */
};

static inline void svc_key_wipe(struct svc_key *key)
{
    im_wipe(key, sizeof(*key));
}
#define SVC_KEY_WIPE IM_CLEANUP(svc_key_wipe)

/* Find an access key.  -ENOENT when it is unknown, or it or its account is disabled: then the same
 * work was done, and *ret_key holds a made-up secret with which the caller can do the rest of it.
 */
int svc_accounts_find(struct svc_accounts *accounts, const char *access_key,
                      struct svc_key *ret_key, struct im_error *err);

/* True when that is the session token of the key; "" is that of a permanent one.  Takes the same
 * time for every token of that length. */
bool svc_key_takes_token(const struct svc_key *key, const char *token);

/* Number of the first account: what was made before there were accounts is its.  "" in a shared
 * database. */
const char *svc_accounts_first(const struct svc_accounts *accounts);

/* The newest permanent key of the first account.  -ENOENT when none is enabled; not for a shared
 * database. */
int svc_accounts_first_keys(struct svc_accounts *accounts, struct svc_keys *ret_keys,
                            struct im_error *err);

/* ---- for `imaging-service account`; all changes are durable when they return ---- */

/* Add an account and its first key.  name: see svc_account_name_ok, or NULL; actions as in
 * svc_caller.  -EEXIST when the name is taken. */
int svc_accounts_add(struct svc_accounts *accounts, const char *name, const char *actions,
                     int64_t now_ms, struct svc_keys *ret_keys, struct im_error *err);

/* True when it may be an account's name: 1 to SVC_NAME_MAX of [a-z0-9._-], the first a letter, so
 * that it is neither a number nor an access key. */
bool svc_account_name_ok(const char *name);

/* Make one more key for an account, given by number or name.  -ENOENT; -EPERM when it is disabled;
 * -EBUSY when SVC_KEYS_MAX keys are enabled. */
int svc_accounts_rotate(struct svc_accounts *accounts, const char *account, int64_t now_ms,
                        struct svc_keys *ret_keys, struct im_error *err);

/* Make temporary credentials that end at expires_ms.  Errors as svc_accounts_rotate, with
 * SVC_SESSIONS_MAX.  Forgets those that ended a week ago. */
int svc_accounts_session(struct svc_accounts *accounts, const char *account, int64_t now_ms,
                         int64_t expires_ms, struct svc_keys *ret_keys, struct im_error *err);

/* Enable or disable an account (number or name) or an access key.  0 also when it is so already.
 * -ENOENT; -EBUSY when the account would have more than SVC_KEYS_MAX enabled keys. */
int svc_accounts_enable(struct svc_accounts *accounts, const char *which, bool enable,
                        struct im_error *err);

/* What there is, without secrets; text lives as long as the call it is given to. */
struct svc_listed_account {
    const char *id, *name, *actions; /* name may be NULL */
    bool enabled;
    int64_t created_ms;
};
struct svc_listed_key {
    const char *id;
    bool enabled;
    int64_t created_ms, expires_ms; /* expires_ms 0: permanent */
};

/* Call `account` for each account in order of creation, or only for the one given by number or name
 * (which not NULL), and after it `key` for each of its keys; a negative return stops and is
 * returned.  Neither may use accounts.  -ENOENT when there is no account `which`. */
int svc_accounts_list(struct svc_accounts *accounts, const char *which,
                      int (*account)(void *arg, const struct svc_listed_account *account),
                      int (*key)(void *arg, const struct svc_listed_key *key), void *arg,
                      struct im_error *err);

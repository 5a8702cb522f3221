/* accounts-inner - what the files of the account store share; nothing else includes it. */
#pragma once

#include <pthread.h>

#include "auth/accounts.h"
#include "auth/seal.h"
#include "database.h"

/* Bytes of a sealed secret key. */
#define SEALED_SIZE (SVC_SECRET_LEN + SVC_SEAL_EXTRA)

struct svc_accounts {
    pthread_mutex_t lock; /* held by whoever uses the connection */
    sqlite3 *db;
    sqlite3_stmt *find;
    struct svc_seal *seal;
    uint8_t nobody[SEALED_SIZE]; /* the secret of the key that is not there */
    char first[SVC_ACCOUNT_LEN + 1];
};

/* Turn the connection's last failure into ours. */
int accounts_failed(struct svc_accounts *accounts, struct im_error *err);

/* Finalize a statement of a block's own: sqlite3_stmt *s ACCOUNTS_STATEMENT = NULL; */
void accounts_finalize(sqlite3_stmt **statement);
#define ACCOUNTS_STATEMENT IM_CLEANUP(accounts_finalize)

/* A statement with up to two texts bound to ?1 and ?2 (NULL: NULL), which live until it ends. */
int accounts_prepare(struct svc_accounts *accounts, const char *sql, const char *one,
                     const char *two, sqlite3_stmt **ret_statement, struct im_error *err);

/* One step: 1 a row, 0 the end, or the failure. */
int accounts_step(struct svc_accounts *accounts, sqlite3_stmt *statement, struct im_error *err);

/* The same for a statement of which no row is wanted, and for one prepared on the way. */
int accounts_exec(struct svc_accounts *accounts, const char *sql, const char *one, const char *two,
                  struct im_error *err);

/* Begin a transaction that will write; end it: committed when r is 0, else taken back.  Returns r
 * or the commit's failure. */
int accounts_begin(struct svc_accounts *accounts, struct im_error *err);
int accounts_end(struct svc_accounts *accounts, int r, struct im_error *err);

/* Within a transaction: give a store without accounts its first one, of the file `old` when there
 * is such a file.  *ret_old says that the file may be removed: its key is in the store. */
int accounts_make_first(struct svc_accounts *accounts, const char *old, bool *ret_old,
                        struct im_error *err);

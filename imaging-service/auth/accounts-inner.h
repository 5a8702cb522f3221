/* accounts-inner - what the files of the account store share; beside them only their test includes
 * it. */
#pragma once

#include "auth/accounts.h"
#include "auth/seal.h"
#include "sql/sql.h"

/* Bytes of a sealed secret key. */
#define SEALED_SIZE (SVC_SECRET_LEN + SVC_SEAL_EXTRA)

struct svc_accounts {
    struct sql *db;
    struct svc_seal *seal;
    uint8_t nobody[SEALED_SIZE];     /* the secret of the key that is not there */
    char first[SVC_ACCOUNT_LEN + 1]; /* "" in a database that is shared */
};

/* Within sql_write: give a store without accounts its first one, of the file `old` when there is
 * such a file.  *ret_old says that the file may be removed: its key is in the store. */
int accounts_make_first(struct sql_session *session, struct svc_accounts *accounts, const char *old,
                        bool *ret_old, struct im_error *err);

/* There is no account of that number or name: -ENOENT. */
int accounts_none(const char *which, struct im_error *err);

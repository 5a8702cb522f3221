/* keys - what key pairs, tokens and account numbers look like: making them at random, and reading
 * the file in which the first version kept its one pair. */
#pragma once

#include "base/crypto.h"
#include "base/cleanup.h"
#include "base/error.h"

#define SVC_ACCOUNT_LEN    12 /* digits */
#define SVC_ACCESS_KEY_LEN 20
#define SVC_SECRET_LEN     40
#define SVC_TOKEN_LEN      64

/* A key pair with all that is secret about it. */
struct svc_keys {
    char account[SVC_ACCOUNT_LEN + 1];
    char access_key[SVC_ACCESS_KEY_LEN + 1]; /* "AKIA" or "ASIA", and 16 of [A-Z2-7] */
    char secret_key[SVC_SECRET_LEN + 1];     /* 40 of [A-Za-z0-9+/] */
    char token[SVC_TOKEN_LEN + 1];           /* of temporary credentials, else "" */
};

static inline void svc_keys_wipe(struct svc_keys *keys)
{
    im_wipe(keys, sizeof(*keys));
}
#define SVC_KEYS_WIPE IM_CLEANUP(svc_keys_wipe)

/* A new account number: as good as unique among a few. */
void svc_account_random(char ret_account[SVC_ACCOUNT_LEN + 1]);

/* A new pair at random for keys->account; with a token when it is temporary. */
void svc_keys_random(struct svc_keys *keys, bool temporary);

/* Read the file of the first version: its lines are access_key=, secret_key=, account=.  -ENOENT;
 * -EBADMSG when it does not hold what that version wrote. */
int svc_keys_read(const char *path, struct svc_keys *ret_keys, struct im_error *err);

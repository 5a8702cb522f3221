/* keys - whose name requests carry: access key, secret key, session token.
 *
 * Each place is asked for a pair; only a complete one counts, so that two places are never mixed.
 */
#pragma once

#include "base/error.h"

#include "configuration.h"
#include "options.h"
#include "profile.h"

struct euca_keys {
    char *access_key;
    char *secret_key;
    char *token; /* session token or NULL */
};

/* Copies of these; the token may be NULL.  Errors: -EACCES for texts that are no keys. */
int euca_keys_set(struct euca_keys *keys, const char *access_key, const char *secret_key,
                  const char *token, struct im_error *err);

/* Find the keys of EC2, in this order: options; environment; AWS_CREDENTIAL_FILE; the
 * configuration's user; AWS's profile.  Errors: -EACCES with the historical sentences; of files as
 * open and read. */
int euca_keys_find(const struct euca_common *options, const struct euca_configuration *conf,
                   struct euca_profile *profile, struct euca_keys *ret_keys, struct im_error *err);

void euca_keys_done(struct euca_keys *keys);

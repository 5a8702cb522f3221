/* show - what `imaging-service account` prints: as lines for people and shells, or as JSON. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "auth/accounts.h"

/* Print new keys; the only time their secret is shown.  expires_ms 0: permanent. The other enabled
 * keys of the account are named when there are any. */
int svc_show_keys(struct svc_accounts *accounts, const struct svc_keys *keys, int64_t expires_ms,
                  bool json, struct im_error *err);

/* Print all accounts with their keys, without secrets. */
int svc_show_accounts(struct svc_accounts *accounts, bool json, struct im_error *err);

/* Print whether an account or key is enabled now. */
int svc_show_enabled(const char *which, bool enabled, bool json, struct im_error *err);

/* seal - secrets at rest: AES-256-GCM under the master key of one file.
 *
 * Where sealed secrets are kept is accounts.c's business.  A record is: version of the master key
 * (one byte), nonce, ciphertext, tag. It is bound to the account and the access key it was made
 * for, so that it opens nowhere else. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/crypto.h"
#include "base/error.h"

/* Bytes of the master key. */
#define SVC_MASTER_KEY 32

/* Bytes a record has beyond the secret. */
#define SVC_SEAL_EXTRA (1 + IM_GCM_NONCE + IM_GCM_TAG)

/* The version of the master key that seals; older ones would still open. */
#define SVC_SEAL_VERSION 1

struct svc_seal;

/* Make a master key at random and write it to a new file of mode 0400; durable when it returns. */
int svc_seal_make(const char *path, struct im_error *err);

/* Read the master key.  -ENOENT; -EBADMSG when it has not SVC_MASTER_KEY bytes or is no regular
 * file; -EPERM when others may read or anybody but its owner may write it. */
int svc_seal_open(const char *path, struct svc_seal **ret_seal, struct im_error *err);

/* Wipes the key.  Takes NULL, returns NULL. */
struct svc_seal *svc_seal_close(struct svc_seal *seal);

/* Seal len bytes for an account and one of its access keys, with a fresh nonce; ret_record has len
 * + SVC_SEAL_EXTRA bytes.  -EINVAL when the names are too long. */
int svc_seal_secret(const struct svc_seal *seal, const char *account, const char *access_key,
                    const void *secret, size_t len, uint8_t *ret_record, struct im_error *err);

/* Open a record of len bytes; ret_secret has len - SVC_SEAL_EXTRA bytes, zeros on failure.
 * -EBADMSG when it was changed, belongs to other names, or was sealed under another key. */
int svc_seal_reveal(const struct svc_seal *seal, const char *account, const char *access_key,
                    const uint8_t *record, size_t len, void *ret_secret, struct im_error *err);

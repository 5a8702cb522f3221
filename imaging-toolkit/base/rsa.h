/* rsa - RSA keys from PEM files: opens and makes what is sealed for a key, signs and verifies.
 *
 * Keys are wiped when they are freed; nothing of them is in a message. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/crypto.h"
#include "base/error.h"

/* Bytes of the largest modulus: nobody uses more than 8192 bits. */
#define IM_RSA_MAX 1024

struct im_rsa;

/* The private key, or the public key of the X.509 certificate, in the PEM file `path`.  Names,
 * dates and issuers of certificates mean nothing here.
 * Errors: open's; -EINVAL when it holds none, one that is no RSA key of 1024 to 8192 bits, or one
 * that is locked by a passphrase. */
int im_rsa_read_private(const char *path, struct im_rsa **ret_rsa, struct im_error *err);
int im_rsa_read_certificate(const char *path, struct im_rsa **ret_rsa, struct im_error *err);

/* Takes NULL, returns NULL. */
struct im_rsa *im_rsa_free(struct im_rsa *rsa);

/* Bytes of the modulus, of what is sealed and of a signature: at most IM_RSA_MAX. */
size_t im_rsa_size(const struct im_rsa *rsa);

/* The same public key? */
bool im_rsa_same(const struct im_rsa *a, const struct im_rsa *b);

/* Seal len bytes for the key (PKCS #1 v1.5, RFC 8017 section 7.2) into ret_sealed, im_rsa_size
 * bytes; -EINVAL when they are too many. */
int im_rsa_seal(const struct im_rsa *rsa, const void *plain, size_t len, uint8_t *ret_sealed);

/* Open what was sealed for the private key and holds exactly len bytes.  Where it does not,
 * ret_plain is random instead, and nothing tells: who could see the difference could open anything
 * by asking often enough (Bleichenbacher).  -EINVAL: len_sealed is not im_rsa_size. */
int im_rsa_open(const struct im_rsa *rsa, const uint8_t *sealed, size_t len_sealed, size_t len,
                uint8_t *ret_plain);

/* Sign (PKCS #1 v1.5, RFC 8017 section 8.2) with the private key; ret_signature has im_rsa_size
 * bytes.  -EINVAL: it is none, or the library refuses the hash. */
int im_rsa_sign(const struct im_rsa *rsa, enum im_hash hash, const void *data, size_t len,
                uint8_t *ret_signature);

/* 0 when the signature is the key's, -EBADMSG when not. */
int im_rsa_verify(const struct im_rsa *rsa, enum im_hash hash, const void *data, size_t len,
                  const uint8_t *signature, size_t signature_len);

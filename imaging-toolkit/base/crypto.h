/* crypto - hashes, HMAC, AES, random bytes, comparison; with base/rsa.h all that knows OpenSSL. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum im_hash { IM_MD5, IM_SHA1, IM_SHA256, IM_SHA512 };
#define IM_HASH_MAX 64 /* bytes of the longest digest */

/* Bytes of a digest. */
size_t im_hash_size(enum im_hash hash);

/* A running hash; NULL when out of memory.  _free takes NULL, returns NULL. */
struct im_hasher;
struct im_hasher *im_hasher_new(enum im_hash hash);
void im_hasher_add(struct im_hasher *hasher, const void *data, size_t len);
/* Write the digest (im_hash_size bytes); the hasher is then only good for _free. */
void im_hasher_end(struct im_hasher *hasher, uint8_t *ret_digest);
struct im_hasher *im_hasher_free(struct im_hasher *hasher);

/* Hash of one run of bytes. */
void im_hash(enum im_hash hash, const void *data, size_t len, uint8_t *ret_digest);

/* SHA-256 of each of `count` blocks of `size` bytes that follow each other at data, into
 * ret_digests (count × 32 bytes); -ENOMEM. */
int im_sha256_blocks(const void *data, size_t size, size_t count, uint8_t *ret_digests);

/* HMAC of one run of bytes. */
void im_hmac(enum im_hash hash, const void *key, size_t key_len, const void *data, size_t len,
             uint8_t *ret_digest);

/* Lower-case hex of len bytes into ret_text (2 × len + 1 bytes). */
void im_hex(const void *data, size_t len, char *ret_text);

/* Base64 with padding of len bytes into ret_text (4 × ceil(len / 3) + 1 bytes). */
void im_base64(const void *data, size_t len, char *ret_text);

/* AES-256-GCM (NIST SP 800-38D). */
#define IM_GCM_KEY   32
#define IM_GCM_NONCE 12
#define IM_GCM_TAG   16

/* Encrypt len bytes into ret_cipher (len bytes, may be plain itself), bound to aad_len bytes of
 * aad. A nonce must never serve twice with one key. */
void im_gcm_seal(const uint8_t key[IM_GCM_KEY], const uint8_t nonce[IM_GCM_NONCE], const void *aad,
                 size_t aad_len, const void *plain, size_t len, uint8_t *ret_cipher,
                 uint8_t ret_tag[IM_GCM_TAG]);

/* Decrypt len bytes into ret_plain (len bytes); -EBADMSG, with ret_plain zeroed, when anything was
 * changed or the key is another. */
int im_gcm_open(const uint8_t key[IM_GCM_KEY], const uint8_t nonce[IM_GCM_NONCE], const void *aad,
                size_t aad_len, const void *cipher, size_t len, const uint8_t tag[IM_GCM_TAG],
                uint8_t *ret_plain);

/* AES-128-CBC with PKCS#7 padding (NIST SP 800-38A, RFC 5652 section 6.3) of a stream in pieces.
 * NULL when out of memory; _free takes NULL, returns NULL, and wipes the key. */
#define IM_CBC_KEY 16 /* bytes of the key, of the initial vector, and of a block */
struct im_cbc;
struct im_cbc *im_cbc_new(bool encrypt, const uint8_t key[IM_CBC_KEY],
                          const uint8_t vector[IM_CBC_KEY]);
struct im_cbc *im_cbc_free(struct im_cbc *cbc);

/* The next len bytes (at most INT_MAX - 16); gives *ret_len, up to len + 16, into ret_out, which is
 * another place. */
void im_cbc_add(struct im_cbc *cbc, const void *in, size_t len, uint8_t *ret_out, size_t *ret_len);

/* The end: up to 16 bytes more.  -EBADMSG when it was no whole number of blocks, or the padding is
 * wrong, as with another key. */
int im_cbc_end(struct im_cbc *cbc, uint8_t *ret_out, size_t *ret_len);

/* Overwrite a secret in a way no compiler leaves out. */
void im_wipe(void *data, size_t len);

/* True when both runs of len bytes are equal; takes the same time for all. */
bool im_equal_bytes(const void *a, const void *b, size_t len);

/* True when both strings are equal; takes a time that depends on their lengths only. */
bool im_equal_secret(const char *a, const char *b);

/* Fill with random bytes; ends the process when the system has none. */
void im_random(void *ret_data, size_t len);

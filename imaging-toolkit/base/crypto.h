/* crypto - the only file that knows OpenSSL: hashes, HMAC, random bytes, comparison. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum im_hash { IM_MD5, IM_SHA1, IM_SHA256 };
#define IM_HASH_MAX 32 /* bytes of the longest digest */

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

/* True when both strings are equal; takes a time that depends on their lengths only. */
bool im_equal_secret(const char *a, const char *b);

/* Fill with random bytes; ends the process when the system has none. */
void im_random(void *ret_data, size_t len);

/* crypto - hashes, HMAC, AES, random bytes and comparison through OpenSSL 3's EVP interface.
 *
 * Not RSA: base/rsa.c.  Nothing here knows what is signed. */

#include <config.h>

#include "base/crypto.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/memory.h"
#include "base/sha256.h"

/* OpenSSL allocates by base/memory.h. */

static void *new_memory(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return size ? im_memory_new(size) : NULL;
}

static void *resize(void *old, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    if (size)
        return im_memory_resize(old, size);
    free(old);
    return NULL;
}

static void release(void *memory, const char *file, int line)
{
    (void)file, (void)line;
    free(memory);
}

/* Before main, as OpenSSL wants: nothing may have been allocated otherwise. */
__attribute__((constructor)) static void set_memory(void)
{
    (void)CRYPTO_set_mem_functions(new_memory, resize, release);
}

struct im_hasher {
    EVP_MD_CTX *context;
};

/* The functions without a result are called where no failure is possible but a broken or
 * forbidden (FIPS) library: going on would store or accept unchecked bytes. */
static _Noreturn void broken(const char *what)
{
    fprintf(stderr, "euca-imaging: OpenSSL cannot %s; check its configuration\n", what);
    abort();
}

static const char *name_of(enum im_hash hash)
{
    return hash == IM_MD5      ? "MD5"
           : hash == IM_SHA1   ? "SHA1"
           : hash == IM_SHA256 ? "SHA256"
                               : "SHA512";
}

/* EVP_sha256() and EVP_Q_mac() look their methods up again in every call, under locks that all
 * threads share: a signature took three times as long.  Here they are looked up once, and kept
 * until the process ends.  NULL where the library has none; it says so when it is used. */
static struct {
    EVP_MD *digest;
    EVP_MAC_CTX *hmac; /* without a key, for copies of it */
} methods[IM_SHA512 + 1];

static void find_methods(void)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);

    for (unsigned i = 0; i <= IM_SHA512; i++) {
        char name[8];
        OSSL_PARAM params[2] = { OSSL_PARAM_construct_end(), OSSL_PARAM_construct_end() };

        (void)snprintf(name, sizeof(name), "%s", name_of((enum im_hash)i));
        params[0] = OSSL_PARAM_construct_utf8_string("digest", name, 0); /* measures the name */
        methods[i].digest = EVP_MD_fetch(NULL, name, NULL);
        methods[i].hmac = mac ? EVP_MAC_CTX_new(mac) : NULL;
        if (methods[i].hmac && !EVP_MAC_CTX_set_params(methods[i].hmac, params)) {
            EVP_MAC_CTX_free(methods[i].hmac);
            methods[i].hmac = NULL;
        }
    }
    EVP_MAC_free(mac);
}

static void need_methods(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, find_methods);
}

static const EVP_MD *method_of(enum im_hash hash)
{
    need_methods();
    return methods[hash].digest;
}

size_t im_hash_size(enum im_hash hash)
{
    return hash == IM_MD5 ? 16 : hash == IM_SHA1 ? 20 : hash == IM_SHA256 ? 32 : 64;
}

struct im_hasher *im_hasher_new(enum im_hash hash)
{
    struct im_hasher *hasher = calloc(1, sizeof(*hasher));

    if (!hasher)
        return NULL;
    hasher->context = EVP_MD_CTX_new();
    if (!hasher->context || !EVP_DigestInit_ex(hasher->context, method_of(hash), NULL))
        return im_hasher_free(hasher);
    return hasher;
}

void im_hasher_add(struct im_hasher *hasher, const void *data, size_t len)
{
    if (len > 0 && !EVP_DigestUpdate(hasher->context, data, len))
        broken("hash");
}

void im_hasher_end(struct im_hasher *hasher, uint8_t *ret_digest)
{
    if (!EVP_DigestFinal_ex(hasher->context, ret_digest, NULL))
        broken("hash");
}

struct im_hasher *im_hasher_free(struct im_hasher *hasher)
{
    if (hasher) {
        EVP_MD_CTX_free(hasher->context);
        free(hasher);
    }
    return NULL;
}

void im_hash(enum im_hash hash, const void *data, size_t len, uint8_t *ret_digest)
{
    if (!EVP_Digest(len > 0 ? data : "", len, ret_digest, NULL, method_of(hash), NULL))
        broken("hash");
}

int im_sha256_blocks(const void *data, size_t size, size_t count, uint8_t *ret_digests)
{
    size_t first = im_sha256_many(data, size, count, ret_digests);
    const uint8_t *p = data;
    EVP_MD_CTX *context;

    if (first == count)
        return 0;
    context = EVP_MD_CTX_new();
    if (!context)
        return -ENOMEM;
    if (!EVP_DigestInit_ex(context, method_of(IM_SHA256), NULL))
        broken("hash");
    for (size_t i = first; i < count; i++)
        /* without a method the one of before is started again, which is cheaper */
        if ((i > first && !EVP_DigestInit_ex(context, NULL, NULL)) ||
            !EVP_DigestUpdate(context, p + i * size, size) ||
            !EVP_DigestFinal_ex(context, ret_digests + i * 32, NULL))
            broken("hash");
    EVP_MD_CTX_free(context);
    return 0;
}

void im_hmac(enum im_hash hash, const void *key, size_t key_len, const void *data, size_t len,
             uint8_t *ret_digest)
{
    EVP_MAC_CTX *context;
    size_t size;

    need_methods();
    context = methods[hash].hmac ? EVP_MAC_CTX_dup(methods[hash].hmac) : NULL;
    /* An absent key would mean "the key set before" to OpenSSL; there is none. */
    if (!context || !EVP_MAC_init(context, key_len > 0 ? key : "", key_len, NULL) ||
        !EVP_MAC_update(context, len > 0 ? data : (const void *)"", len) ||
        !EVP_MAC_final(context, ret_digest, &size, im_hash_size(hash)))
        broken("compute an HMAC");
    EVP_MAC_CTX_free(context);
}

void im_hex(const void *data, size_t len, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++) {
        *ret_text++ = digits[p[i] >> 4];
        *ret_text++ = digits[p[i] & 15];
    }
    *ret_text = '\0';
}

void im_base64(const void *data, size_t len, char *ret_text)
{
    const size_t step = 3 * (size_t)1024 * 1024; /* whole groups; EVP counts in int */
    const unsigned char *p = data;

    *ret_text = '\0';
    while (len > 0) {
        size_t n = len < step ? len : step;

        ret_text += EVP_EncodeBlock((unsigned char *)ret_text, p, (int)n);
        p += n;
        len -= n;
    }
}

/* Lengths are counted in int by OpenSSL; what is sealed is a few hundred bytes. */
static EVP_CIPHER_CTX *gcm_new(bool encrypt, const uint8_t *key, const uint8_t *nonce,
                               const void *aad, size_t aad_len, size_t len)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int n;

    if (!context || aad_len > INT_MAX || len > INT_MAX ||
        !EVP_CipherInit_ex(context, EVP_aes_256_gcm(), NULL, key, nonce, encrypt) ||
        !EVP_CipherUpdate(context, NULL, &n, aad, (int)aad_len))
        broken("use AES-256-GCM");
    return context;
}

void im_gcm_seal(const uint8_t key[IM_GCM_KEY], const uint8_t nonce[IM_GCM_NONCE], const void *aad,
                 size_t aad_len, const void *plain, size_t len, uint8_t *ret_cipher,
                 uint8_t ret_tag[IM_GCM_TAG])
{
    EVP_CIPHER_CTX *context = gcm_new(true, key, nonce, aad, aad_len, len);
    uint8_t none[IM_GCM_TAG]; /* GCM is a stream: nothing is left for the end */
    int n;

    if (!EVP_EncryptUpdate(context, ret_cipher, &n, plain, (int)len) ||
        !EVP_EncryptFinal_ex(context, none, &n) ||
        !EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, IM_GCM_TAG, ret_tag))
        broken("encrypt");
    EVP_CIPHER_CTX_free(context);
}

int im_gcm_open(const uint8_t key[IM_GCM_KEY], const uint8_t nonce[IM_GCM_NONCE], const void *aad,
                size_t aad_len, const void *cipher, size_t len, const uint8_t tag[IM_GCM_TAG],
                uint8_t *ret_plain)
{
    EVP_CIPHER_CTX *context = gcm_new(false, key, nonce, aad, aad_len, len);
    uint8_t none[IM_GCM_TAG], expected[IM_GCM_TAG];
    bool proven;
    int n;

    memcpy(expected, tag, sizeof(expected)); /* OpenSSL does not promise to leave it alone */
    if (!EVP_DecryptUpdate(context, ret_plain, &n, cipher, (int)len) ||
        !EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, IM_GCM_TAG, expected))
        broken("decrypt");
    proven = EVP_DecryptFinal_ex(context, none, &n) > 0;
    EVP_CIPHER_CTX_free(context);
    if (!proven)
        im_wipe(ret_plain, len);
    return proven ? 0 : -EBADMSG;
}

struct im_cbc {
    EVP_CIPHER_CTX *context;
};

struct im_cbc *im_cbc_new(bool encrypt, const uint8_t key[IM_CBC_KEY],
                          const uint8_t vector[IM_CBC_KEY])
{
    struct im_cbc *cbc = calloc(1, sizeof(*cbc));

    if (!cbc)
        return NULL;
    cbc->context = EVP_CIPHER_CTX_new();
    if (!cbc->context)
        return im_cbc_free(cbc);
    if (!EVP_CipherInit_ex(cbc->context, EVP_aes_128_cbc(), NULL, key, vector, encrypt))
        broken("use AES-128-CBC");
    return cbc;
}

struct im_cbc *im_cbc_free(struct im_cbc *cbc)
{
    if (cbc)
        EVP_CIPHER_CTX_free(cbc->context);
    free(cbc);
    return NULL;
}

void im_cbc_add(struct im_cbc *cbc, const void *in, size_t len, uint8_t *ret_out, size_t *ret_len)
{
    int n;

    if (!EVP_CipherUpdate(cbc->context, ret_out, &n, in, (int)len))
        broken("use AES-128-CBC");
    *ret_len = (size_t)n;
}

int im_cbc_end(struct im_cbc *cbc, uint8_t *ret_out, size_t *ret_len)
{
    int n;

    if (!EVP_CipherFinal_ex(cbc->context, ret_out, &n))
        return -EBADMSG;
    *ret_len = (size_t)n;
    return 0;
}

void im_wipe(void *data, size_t len)
{
    OPENSSL_cleanse(data, len);
}

bool im_equal_bytes(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

bool im_equal_secret(const char *a, const char *b)
{
    size_t len = strlen(a);

    return len == strlen(b) && CRYPTO_memcmp(a, b, len) == 0;
}

void im_random(void *ret_data, size_t len)
{
    unsigned char *p = ret_data;

    while (len > 0) {
        size_t n = len < INT_MAX ? len : INT_MAX;

        if (RAND_bytes(p, (int)n) != 1)
            broken("give random bytes");
        p += n;
        len -= n;
    }
}

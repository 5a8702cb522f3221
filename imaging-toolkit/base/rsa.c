/* rsa - RSA through OpenSSL 3's EVP interface. */

#include <config.h>

#include "base/rsa.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/evp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/cleanup.h"
#include "base/io.h"

/* A PEM file of the longest key, and of a certificate with all its text beside it. */
#define PEM_MAX 65536

struct im_rsa {
    EVP_PKEY *key;
};

/* ---- files ---- */

/* Not im_read_file: its buffer grows, and what it leaves behind could not be wiped. */
static int read_pem(const char *path, char **ret_text, size_t *ret_len, struct im_error *err)
{
    int fd IM_CLOSE = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    char *text = fd < 0 ? NULL : malloc(PEM_MAX + 1);
    struct stat st;
    ssize_t n;

    if (fd < 0)
        return im_fail_errno(err, errno, "cannot open '%s'", path);
    if (!text)
        return im_fail(err, ENOMEM, "out of memory");
    n = fstat(fd, &st) < 0     ? -errno
        : !S_ISREG(st.st_mode) ? -EISDIR
                               : im_pread(fd, text, PEM_MAX + 1, 0);
    if (n >= 0 && n <= PEM_MAX) {
        *ret_text = text;
        *ret_len = (size_t)n;
        return 0;
    }
    im_wipe(text, PEM_MAX + 1);
    free(text);
    if (n == -EISDIR)
        return im_fail(err, EINVAL, "'%s' is not a regular file; give the PEM file itself", path);
    return n < 0 ? im_fail_errno(err, (int)-n, "cannot read '%s'", path)
                 : im_fail(err, EINVAL, "'%s' is larger than the %d bytes a PEM file may have",
                           path, PEM_MAX);
}

/* OpenSSL would ask the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    *(bool *)arg = true;
    return -1;
}

static EVP_PKEY *private_of(BIO *text, bool *ret_locked)
{
    return PEM_read_bio_PrivateKey(text, NULL, no_passphrase, ret_locked);
}

static EVP_PKEY *public_of(BIO *text, bool *ret_locked)
{
    X509 *certificate = PEM_read_bio_X509(text, NULL, no_passphrase, ret_locked);
    EVP_PKEY *key = certificate ? X509_get_pubkey(certificate) : NULL;

    X509_free(certificate);
    return key;
}

static int judge(const char *path, const char *what, EVP_PKEY *key, bool locked,
                 struct im_error *err)
{
    int bits = key ? EVP_PKEY_get_bits(key) : 0;

    if (locked)
        return im_fail(err, EINVAL,
                       "the key in '%s' is locked by a passphrase, which nobody is there to enter; "
                       "give an unlocked copy ('openssl rsa -in KEY -out COPY')",
                       path);
    if (!key)
        return im_fail(err, EINVAL, "'%s' holds no %s in PEM form", path, what);
    if (!EVP_PKEY_is_a(key, "RSA"))
        return im_fail(err, EINVAL, "the %s in '%s' is not of RSA", what, path);
    if (bits < 1024 || bits > 8 * IM_RSA_MAX)
        return im_fail(err, EINVAL, "the %s in '%s' has %d bits; 1024 to %d are allowed", what,
                       path, bits, 8 * IM_RSA_MAX);
    return 0;
}

static int read_key(const char *path, const char *what, EVP_PKEY *(*parse)(BIO *, bool *),
                    struct im_rsa **ret_rsa, struct im_error *err)
{
    struct im_rsa *rsa = NULL;
    EVP_PKEY *key = NULL;
    bool locked = false;
    char *text = NULL;
    size_t len = 0;
    BIO *bio;
    int r = read_pem(path, &text, &len, err);

    if (r < 0)
        return r;
    bio = BIO_new_mem_buf(text, (int)len);
    if (bio)
        key = parse(bio, &locked);
    BIO_free(bio);
    im_wipe(text, PEM_MAX + 1);
    free(text);
    ERR_clear_error();
    r = judge(path, what, key, locked, err);
    if (r == 0) {
        rsa = calloc(1, sizeof(*rsa));
        r = rsa ? 0 : im_fail(err, ENOMEM, "out of memory");
    }
    if (r < 0) {
        EVP_PKEY_free(key);
        return r;
    }
    rsa->key = key;
    *ret_rsa = rsa;
    return 0;
}

int im_rsa_read_private(const char *path, struct im_rsa **ret_rsa, struct im_error *err)
{
    return read_key(path, "private key", private_of, ret_rsa, err);
}

int im_rsa_read_certificate(const char *path, struct im_rsa **ret_rsa, struct im_error *err)
{
    return read_key(path, "certificate", public_of, ret_rsa, err);
}

struct im_rsa *im_rsa_free(struct im_rsa *rsa)
{
    if (rsa)
        EVP_PKEY_free(rsa->key); /* wipes it */
    free(rsa);
    return NULL;
}

size_t im_rsa_size(const struct im_rsa *rsa)
{
    return (size_t)EVP_PKEY_get_size(rsa->key);
}

bool im_rsa_same(const struct im_rsa *a, const struct im_rsa *b)
{
    return EVP_PKEY_eq(a->key, b->key) == 1;
}

/* ---- sealing ---- */

int im_rsa_seal(const struct im_rsa *rsa, const void *plain, size_t len, uint8_t *ret_sealed)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(rsa->key, NULL);
    size_t size = im_rsa_size(rsa);
    bool done = context && EVP_PKEY_encrypt_init(context) > 0 &&
                EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) > 0 &&
                EVP_PKEY_encrypt(context, ret_sealed, &size, plain, len) > 0;

    EVP_PKEY_CTX_free(context);
    ERR_clear_error();
    return done ? 0 : -EINVAL;
}

/* 0xff when a == b, else 0, by no branch. */
static uint8_t mask_equal(size_t a, size_t b)
{
    size_t differ = a ^ b;

    return (uint8_t)(((differ | (0 - differ)) >> (8 * sizeof(differ) - 1)) - 1);
}

int im_rsa_open(const struct im_rsa *rsa, const uint8_t *sealed, size_t len_sealed, size_t len,
                uint8_t *ret_plain)
{
    uint8_t plain[IM_RSA_MAX] = { 0 };
    EVP_PKEY_CTX *context;
    size_t size = sizeof(plain);
    int opened = 0;
    uint8_t mask;

    if (len_sealed != im_rsa_size(rsa) || len > sizeof(plain))
        return -EINVAL;
    context = EVP_PKEY_CTX_new(rsa->key, NULL);
    if (context && EVP_PKEY_decrypt_init(context) > 0 &&
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) > 0)
        opened = EVP_PKEY_decrypt(context, plain, &size, sealed, len_sealed);
    mask = mask_equal((size_t)(opened > 0), 1) & mask_equal(size, len);
    im_random(ret_plain, len);
    for (size_t i = 0; i < len; i++)
        ret_plain[i] = (uint8_t)((plain[i] & mask) | (ret_plain[i] & ~mask));
    im_wipe(plain, sizeof(plain));
    EVP_PKEY_CTX_free(context);
    ERR_clear_error();
    return 0;
}

/* ---- signing ---- */

static const EVP_MD *method_of(enum im_hash hash)
{
    return hash == IM_SHA1 ? EVP_sha1() : hash == IM_SHA256 ? EVP_sha256() : EVP_md5();
}

int im_rsa_sign(const struct im_rsa *rsa, enum im_hash hash, const void *data, size_t len,
                uint8_t *ret_signature)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t size = im_rsa_size(rsa);
    bool done = context && EVP_DigestSignInit(context, NULL, method_of(hash), NULL, rsa->key) > 0 &&
                EVP_DigestSign(context, ret_signature, &size, data, len) > 0;

    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return done ? 0 : -EINVAL;
}

int im_rsa_verify(const struct im_rsa *rsa, enum im_hash hash, const void *data, size_t len,
                  const uint8_t *signature, size_t signature_len)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context &&
                EVP_DigestVerifyInit(context, NULL, method_of(hash), NULL, rsa->key) > 0 &&
                EVP_DigestVerify(context, signature, signature_len, data, len) == 1;

    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return good ? 0 : -EBADMSG;
}

/* tls - the certificate and key connections are secured with; the only file that knows GnuTLS.
 *
 * The pair is kept as text and parsed for each handshake, which costs a small part of the handshake
 * itself: so nobody holds on to a pair that has been replaced, and nothing needs counting. */

#include <config.h>

#include "http/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "log.h"

/* Bytes of a PEM file, and certificates of a chain; real ones have three, and 10 KiB. */
#define PEM_MAX   (256u * 1024)
#define CHAIN_MAX 16u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *pem_certificate, *pem_key; /* both or none; under lock */

static gnutls_datum_t datum(char *text)
{
    return (gnutls_datum_t){ .data = (unsigned char *)text, .size = (unsigned)strlen(text) };
}

static void forget(char *key)
{
    if (key)
        explicit_bzero(key, strlen(key));
    free(key);
}

/* Opening anything but a file could wait for ever, and with it who told the service to end. */
static int look_at(const char *what, const char *path, struct stat *ret_st, struct im_error *err)
{
    if (stat(path, ret_st) < 0)
        return im_fail_errno(err, errno, "cannot look at the TLS %s '%s'", what, path);
    if (!S_ISREG(ret_st->st_mode))
        return im_fail(err, EINVAL, "the TLS %s '%s' is no regular file", what, path);
    return 0;
}

/* The key opens everything that is sent: only its owner, and a group that may read it, have
 * business there (Debian keeps keys in group ssl-cert). */
static int check_files(const char *certificate, const char *key, struct im_error *err)
{
    struct stat st;
    int r = look_at("key", key, &st, err);

    if (r < 0)
        return r;
    if (st.st_mode & (S_IRWXO | S_IWGRP))
        return im_fail(
            err, EPERM,
            "the TLS key '%s' has mode %04o: others can read or change it; chmod 600 it, "
            "and if it was so for long, get a new one",
            key, (unsigned)st.st_mode & 07777);
    return look_at("certificate", certificate, &st, err);
}

static void warn_of_end(const char *path, const gnutls_datum_t *pem)
{
    gnutls_x509_crt_t crt;
    char when[24];

    if (gnutls_x509_crt_init(&crt) < 0)
        return;
    if (gnutls_x509_crt_import(crt, pem, GNUTLS_X509_FMT_PEM) == 0) {
        int64_t end_ms = (int64_t)gnutls_x509_crt_get_expiration_time(crt) * 1000;

        (void)im_clock_iso8601(when, sizeof(when), end_ms);
        svc_log(end_ms < im_clock_now_ms() ? SVC_WARNING : SVC_INFO,
                "the TLS certificate '%s' %s %s", path,
                end_ms < im_clock_now_ms() ? "has expired:" : "is valid until", when);
    }
    gnutls_x509_crt_deinit(crt);
}

/* Would GnuTLS work with it? */
static int check_pair(const char *certificate, const gnutls_datum_t *certificate_pem,
                      const char *key, const gnutls_datum_t *key_pem, struct im_error *err)
{
    gnutls_certificate_credentials_t credentials;
    int r = gnutls_certificate_allocate_credentials(&credentials);

    if (r < 0)
        return im_fail(err, ENOMEM, "out of memory");
    r = gnutls_certificate_set_x509_key_mem(credentials, certificate_pem, key_pem,
                                            GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(credentials);
    if (r < 0)
        return im_fail(err, EINVAL, "TLS cannot use certificate '%s' with key '%s': %s",
                       certificate, key, gnutls_strerror(r));
    return 0;
}

int svc_tls_load(const char *certificate, const char *key, struct im_error *err)
{
    char *new_certificate IM_FREE = NULL;
    char *new_key = NULL;
    gnutls_datum_t certificate_pem, key_pem;
    int r = check_files(certificate, key, err);

    if (r == 0)
        r = im_read_file(certificate, PEM_MAX, &new_certificate, NULL, err);
    if (r == 0)
        r = im_read_file(key, PEM_MAX, &new_key, NULL, err);
    if (r != 0)
        return r;
    certificate_pem = datum(new_certificate);
    key_pem = datum(new_key);
    r = check_pair(certificate, &certificate_pem, key, &key_pem, err);
    if (r == 0) {
        warn_of_end(certificate, &certificate_pem);
        (void)pthread_mutex_lock(&lock);
        free(pem_certificate);
        forget(pem_key);
        pem_certificate = im_steal(new_certificate);
        pem_key = im_steal(new_key);
        (void)pthread_mutex_unlock(&lock);
    }
    forget(new_key);
    return r;
}

/* Called under lock. */
static int make_chain(gnutls_pcert_st **ret_chain, unsigned *ret_count)
{
    gnutls_datum_t pem = datum(pem_certificate);
    unsigned count = CHAIN_MAX;
    /* GnuTLS releases it by gnutls_free */
    gnutls_pcert_st *chain = gnutls_calloc(CHAIN_MAX, sizeof(*chain));

    if (!chain)
        return GNUTLS_E_MEMORY_ERROR;
    if (gnutls_pcert_list_import_x509_raw(chain, &count, &pem, GNUTLS_X509_FMT_PEM, 0) < 0) {
        gnutls_free(chain);
        return GNUTLS_E_CERTIFICATE_ERROR;
    }
    *ret_chain = chain;
    *ret_count = count;
    return 0;
}

/* Called under lock. */
static int make_key(gnutls_privkey_t *ret_key)
{
    gnutls_datum_t pem = datum(pem_key);
    gnutls_privkey_t key;

    if (gnutls_privkey_init(&key) < 0)
        return GNUTLS_E_MEMORY_ERROR;
    if (gnutls_privkey_import_x509_raw(key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0) < 0) {
        gnutls_privkey_deinit(key);
        return GNUTLS_E_CERTIFICATE_ERROR;
    }
    *ret_key = key;
    return 0;
}

static int retrieve(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
                    gnutls_pcert_st **ret_chain, unsigned *ret_count,
                    gnutls_ocsp_data_st **ret_ocsp, unsigned *ret_ocsp_count,
                    gnutls_privkey_t *ret_key, unsigned *ret_flags)
{
    gnutls_privkey_t key = NULL;
    int r = GNUTLS_E_CERTIFICATE_ERROR;

    (void)session;
    (void)info;
    (void)pthread_mutex_lock(&lock);
    if (pem_key)
        r = make_key(&key);
    if (r == 0)
        r = make_chain(ret_chain, ret_count);
    (void)pthread_mutex_unlock(&lock);
    if (r < 0) {
        if (key)
            gnutls_privkey_deinit(key);
        return -1;
    }
    *ret_key = key;
    *ret_ocsp = NULL;
    *ret_ocsp_count = 0;
    *ret_flags = GNUTLS_CERT_RETR_DEINIT_ALL;
    return 0;
}

void (*svc_tls_retriever(void))(void)
{
    gnutls_certificate_retrieve_function3 *typed = retrieve; /* does the compiler agree? */

    return (void (*)(void))typed;
}

void svc_tls_done(void)
{
    (void)pthread_mutex_lock(&lock);
    free(im_steal(pem_certificate));
    forget(im_steal(pem_key));
    (void)pthread_mutex_unlock(&lock);
}

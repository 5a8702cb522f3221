/* tls - the certificate and key connections are secured with; the only file that knows GnuTLS.
 *
 * There is one pair per process: GnuTLS asks for it by a function that is given nothing of ours. */
#pragma once

#include "base/error.h"

/* TLS 1.3 and 1.2, keys agreed upon for each connection (forward secrecy), ciphers that
 * authenticate: what every client with TLS 1.2 of the last ten years can do.  A GnuTLS priority
 * string. */
#define SVC_TLS_PRIORITIES                                                                         \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:"                  \
    "-CIPHER-ALL:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-GCM:-MAC-ALL:+AEAD:-SIGN-RSA-SHA1:"      \
    "-SIGN-ECDSA-SHA1:%SERVER_PRECEDENCE"

/* Read certificate (with its chain) and key, PEM files, for connections from now on; what was there
 * stays when they cannot be used: unreadable, no PEM, not belonging together, or a key that others
 * may read. */
int svc_tls_load(const char *certificate, const char *key, struct im_error *err);

/* What the HTTP library has to be given: a gnutls_certificate_retrieve_function3. */
void (*svc_tls_retriever(void))(void);

/* Forget the pair. */
void svc_tls_done(void);

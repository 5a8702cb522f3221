/* credentials - the keys for a launcher's endpoint, from a file that only its owner can read. */
#pragma once

#include "aws/sigv4.h"
#include "base/error.h"

struct credentials {
    char access_key[129];
    char secret_key[IM_SECRET_MAX + 1];
    char token[4097]; /* "" when there is none */
};

/* Read a file of at most 16 KiB and a mode without any right of group or others.  Either two lines,
 * access key and secret key, or an INI file with aws_access_key_id, aws_secret_access_key and
 * perhaps aws_session_token in front of all sections or in [default].  Lines that begin with '#'
 * or ';' are comments.
 * Errors: -EACCES (its mode), -EINVAL (no keys in it; nothing of it is told), else from reading. */
int credentials_read(const char *path, struct credentials *ret_credentials, struct im_error *err);

/* Forget them. */
void credentials_done(struct credentials *credentials);
#define CREDENTIALS_DONE __attribute__((cleanup(credentials_done)))

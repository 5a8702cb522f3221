/* keys - the one account of standalone mode: its number and its key pair. */
#pragma once

#include "base/error.h"

struct svc_keys {
    char access_key[21]; /* "AKIA" and 16 of [A-Z2-7] */
    char secret_key[41]; /* 40 of [A-Za-z0-9+/] */
    char account[13];    /* 12 digits */
};

/* Read the keys of the file; when there is none, make new ones at random and write it (mode 0600).
 * -EBADMSG when the file does not hold what was written. */
int svc_keys_load(const char *path, struct svc_keys *ret_keys, struct im_error *err);

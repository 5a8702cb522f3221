/* accounts - who could log in: /etc/passwd and /etc/shadow of a guest.  What a password or its hash
 * is never leaves this file. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "stage/linux.h"

/* Accounts that are told apart; a system with more of them has a directory for them. */
#define ACCOUNTS_MAX 512u

enum account_password {
    ACCOUNT_LOCKED,       /* "!", "*", or nothing that is a hash */
    ACCOUNT_HAS_PASSWORD, /* a hash */
    ACCOUNT_EMPTY,        /* none is asked for */
};

struct account {
    char name[64];
    char home[192];
    bool shell; /* it ends in a shell, not in nologin or false */
    enum account_password password;
};

struct accounts {
    unsigned count;
    bool shadow_unread; /* /etc/shadow is there, but cannot be read: passwords are not known */
    struct account account[ACCOUNTS_MAX];
};

/* Read both files; enum linux_found of /etc/passwd.  A missing /etc/shadow leaves what passwd says;
 * in a passwd that was not found there is no account. */
int accounts_read(struct im_look *look, struct im_guest *guest, struct accounts *ret_accounts,
                  struct im_error *err);

/* The same of texts (shadow may be NULL), which are cut up. */
void accounts_parse(char *passwd, char *shadow, struct accounts *ret_accounts);

/* url-policy - which URLs may be followed, and to which addresses they may lead.
 *
 * A URL is judged twice.  As it is written: its scheme, its host and port, an address that stands
 * in it.  And by the address that a connection is about to be made to (base/http.c): so it does not
 * matter how somebody spelled an address, nor what a name led to a moment ago. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/http.h"

/* Error codes of what is refused: by what is written in the URL, and by the address that its name
 * leads to, which is nothing to be told to those who may not ask this machine's name service. */
#define IM_URL_NOT_ALLOWED     "UrlNotAllowed"
#define IM_ADDRESS_NOT_ALLOWED "AddressNotAllowed"

/* Entries of a list: they are looked at one after the other. */
#define IM_URL_LIST_MAX 256

struct im_url_list {
    size_t count;
    char **item;
};

struct im_url_policy {
    /* false: whoever chose the URLs sits at this machine.  Any URL may be followed, but to the
     * metadata services of clouds and other link-local addresses.  true: a stranger chose them.
     * They lead to public addresses only, and the lists count. */
    bool strict;
    struct im_url_list schemes; /* "http", "https"; none: both */
    struct im_url_list hosts;   /* see im_url_host_matches; none: any */
    /* "10.1.0.0/16", "fd00:1::/64", "10.1.2.3": addresses that are not public and may be connected
     * to all the same, whether strict or not */
    struct im_url_list networks;
    const char *own; /* a URL: all with its scheme, host and port may be followed; NULL: none */
};

/* Does an entry of a list of hosts speak of the URL's host?  It is a name, an address, "*.NAME"
 * (any name below NAME) or "*" (any host); with ":PORT" behind it of that port only.  Names are
 * compared as they are written. */
bool im_url_host_matches(const char *entry, const struct im_url *url);

/* Is the text an address, or the first address of a network and the bits that all of it share? */
bool im_url_is_network(const char *text);

/* Judge a URL as it is written; policy NULL: only its syntax, and that it carries no user name.
 * *ret_trusted (may be NULL): wherever its host leads, that is where it may: it is the own store's,
 * or an address that the list of hosts has.  0, -EINVAL (no URL, or a user name in it), or -EACCES
 * with IM_URL_NOT_ALLOWED and a sentence that says what is wrong with "it". */
int im_url_policy_check(const struct im_url_policy *policy, const char *url, bool *ret_trusted,
                        struct im_error *err);

/* Judge an address before it is connected to: NULL when it may be, else what it is, as in "a
 * private address". */
const char *im_url_policy_refuses(const struct im_url_policy *policy,
                                  const struct sockaddr *address);

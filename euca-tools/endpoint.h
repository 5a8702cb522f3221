/* endpoint - a service: its URL, the region that signatures to it name, and how to speak with it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/http.h"

#include "configuration.h"
#include "options.h"
#include "profile.h"

/* A service with all that is needed to sign a request to it. */
struct euca_endpoint {
    const char *service; /* "ec2" or "s3" */
    char *url;           /* EC2: as given, path at least "/"; S3: without a slash at the end */
    char *region;        /* for the signature's scope */
    char *access_key;
    char *secret_key;
    char *token;                 /* session token or NULL */
    char *location;              /* S3: LocationConstraint of new buckets, or NULL */
    struct euca_endpoint *other; /* S3: those of the configured regions, for objects in them */
    size_t other_count;
    char *ca_file;        /* who signs certificates that are believed; NULL: the system's */
    bool any_certificate; /* certificates are not checked */
    bool sigv2;           /* S3: sign with version 2 */
    bool debug;           /* one line per exchange on standard error */
    unsigned tries;       /* of a request; 0: what its sender thinks right */
    unsigned timeout_s;   /* for connecting, and without progress; 0: base/http.h's */
};

void euca_endpoint_done(struct euca_endpoint *endpoint);

/* Length of the "host:port" of a URL without a port that its scheme implies. */
size_t euca_endpoint_host_length(const struct im_url *url);
#define EUCA_ENDPOINT_DONE __attribute__((cleanup(euca_endpoint_done)))

/* Where is looked for a command's endpoints and keys. */
struct euca_places {
    const char *program; /* in whose name is warned */
    const struct euca_common *options;
    struct euca_configuration conf;
    struct euca_profile profile;
};

/* Fill in the URL, and the region when the text is "REGION::URL": of `told`, an option's or a
 * variable's text, or (NULL) from elsewhere.  *ret_section: the configuration's region it is of, a
 * new string; untouched when it is of none.
 * Errors: -EDESTADDRREQ with the historical sentences; -EINVAL; of files as open and read. */
int euca_endpoint_find_url(struct euca_endpoint *endpoint, struct euca_places *places,
                           const char *told, char **ret_section, struct im_error *err);

/* Fill in the region, unless it is known; `section` as above, or NULL.  AWS's profile is asked if
 * it was asked before; then `other` counts, if not NULL.  Errors: -EINVAL; as euca_look_up. */
int euca_endpoint_find_region(struct euca_endpoint *endpoint, struct euca_places *places,
                              const char *section, const char *other, struct im_error *err);

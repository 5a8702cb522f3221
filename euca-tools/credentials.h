/* credentials - where the services are, and who is asking. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

#include "options.h"

/* A service with all that is needed to sign a request to it. */
struct euca_endpoint {
    const char *service; /* "ec2" or "s3" */
    char *url;           /* EC2: as given, path at least "/"; S3: without a slash at the end */
    char *region;        /* for the signature's scope */
    char *access_key;
    char *secret_key;
    char *token; /* session token or NULL */
    bool debug;  /* one line per exchange on standard error */
};

/* Find endpoint, region and credentials of EC2: options, then environment (section 3.6 of the
 * clients' description).  Errors: -EINVAL or -EACCES with the historical sentences. */
int euca_find_ec2(const struct euca_common *options, struct euca_endpoint *ret_ec2,
                  struct im_error *err);

/* The same for the object store, whose credentials default to EC2's. */
int euca_find_s3(const struct euca_common *options, const struct euca_s3_options *s3_options,
                 const struct euca_endpoint *ec2, struct euca_endpoint *ret_s3,
                 struct im_error *err);

/* -o without -w, or the other way round, is a usage error. */
int euca_check_s3_options(const struct euca_s3_options *s3_options, struct im_error *err);

void euca_endpoint_done(struct euca_endpoint *endpoint);
#define EUCA_ENDPOINT_DONE __attribute__((cleanup(euca_endpoint_done)))

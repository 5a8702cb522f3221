/* credentials - where the services are, and who is asking. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

#include "endpoint.h"
#include "options.h"

/* Find endpoint, region and credentials of EC2: options, environment, euca2ools' files, AWS's files
 * (section 3.6 of the clients' description; docs/clients.md has the orders).  Warns, in the name of
 * `program`, when certificates will not be checked.  Errors: -EDESTADDRREQ, -EINVAL or -EACCES with
 * the historical sentences; of files as open and read. */
int euca_find_ec2(const char *program, const struct euca_common *options,
                  struct euca_endpoint *ret_ec2, struct im_error *err);

/* The same, and for the object store, whose credentials default to EC2's.  The stores of all
 * configured regions are its others.  With `optional` it is no error that no endpoint is told:
 * ret_s3->url is NULL then. */
int euca_find_ec2_and_s3(const char *program, const struct euca_common *options,
                         const struct euca_s3_options *s3_options, bool optional,
                         struct euca_endpoint *ret_ec2, struct euca_endpoint *ret_s3,
                         struct im_error *err);

/* -o without -w, or the other way round, and another signature than 2 or 4 are usage errors. */
int euca_check_s3_options(const struct euca_s3_options *s3_options, struct im_error *err);

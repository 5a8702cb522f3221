/* profile - AWS's own files, ~/.aws/credentials and ~/.aws/config.
 *
 * Only what stands in them is used.  Keys that a profile gets from elsewhere (roles, single
 * sign-on, programs) are refused with a way to get them. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

#include "ini.h"

struct euca_profile {
    struct euca_ini credentials, config;
    const char *name; /* AWS_PROFILE, AWS_DEFAULT_PROFILE, or "default" */
    bool is_named;    /* by one of the two */
    bool is_read;
};

/* Choose the profile; its files are read when something of it is asked for first.  End with
 * euca_profile_done. */
void euca_profile_open(struct euca_profile *ret_profile);
void euca_profile_done(struct euca_profile *profile);

/* Value of an option, such as "region", or NULL in *ret_value: of the credentials file, else of the
 * other.  Errors: as euca_ini_read; -EINVAL when a profile that was named is in neither file. */
int euca_profile_value(struct euca_profile *profile, const char *option, const char **ret_value,
                       struct im_error *err);

/* Keys of one file, never of both; token may become NULL.  1, or 0 when it has none.
 * Errors: as euca_profile_value; -EACCES for half a pair, and for keys from elsewhere. */
int euca_profile_keys(struct euca_profile *profile, const char **ret_access_key,
                      const char **ret_secret_key, const char **ret_token, struct im_error *err);

/* Endpoint of a service ("ec2", "s3") that the profile's services section has, or its own
 * endpoint_url, as a new string; NULL in *ret_url when there is none.  Errors: as
 * euca_profile_value. */
int euca_profile_url(struct euca_profile *profile, const char *service, char **ret_url,
                     struct im_error *err);

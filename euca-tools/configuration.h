/* configuration - euca2ools' own files, and which region and user are meant. */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"

#include "lookup.h"

struct euca_configuration {
    struct euca_ini ini;
    char *region;           /* as it was named; NULL: none is meant */
    char *user;             /* the same */
    bool region_is_default; /* named by default-region alone */
};

/* Read the files and choose region and user: `told`, the value of --region or NULL, then the
 * environment, then default-region and the region's user.  End with euca_configuration_done in any
 * case.  Errors: of files as euca_ini_read; -EINVAL for sections with impossible names; as
 * euca_look_up. */
int euca_configuration_open(const char *told, struct euca_configuration *ret_conf,
                            struct im_error *err);
void euca_configuration_done(struct euca_configuration *conf);

/* An option of [global], or NULL. */
const char *euca_configuration_global(const struct euca_configuration *conf, const char *option);

/* An option of the region that is meant, and of the user; as euca_look_up. */
int euca_configuration_region(const struct euca_configuration *conf, const char *option,
                              struct euca_setting *ret_setting, struct im_error *err);
int euca_configuration_user(const struct euca_configuration *conf, const char *option,
                            const char **ret_value, struct im_error *err);

/* An option of that region that says yes or no ("true", "1", "yes", "on" and their opposites, in
 * any case): 1, 0, `preset` when it is not there, or -errno. */
int euca_configuration_flag(const struct euca_configuration *conf, const char *option, int preset,
                            struct im_error *err);

/* The same for a value that has been found. */
int euca_configuration_yes(const char *option, const char *value, struct im_error *err);

/* What a region is called in signatures: its `name`, or what stands behind its last colon.  New
 * string in *ret_name. */
int euca_configuration_signing_name(const struct euca_configuration *conf, const char *region,
                                    char **ret_name, struct im_error *err);

/* The names of the regions that have the option, sorted, *ret_count of them.  The array is the
 * caller's, the names are the configuration's; NULL when out of memory. */
const char **euca_configuration_names_with(const struct euca_configuration *conf,
                                           const char *option, size_t *ret_count);

/* Append "a, b, c", the regions that have the option, sorted by name; nothing when there are none.
 * What the buffer cannot hold is left out. */
void euca_configuration_regions_with(const struct euca_configuration *conf, const char *option,
                                     struct im_buffer *out);

/* Value of an environment variable; NULL when it is unset or empty. */
const char *euca_environment(const char *name);

/* The first of two texts that is neither NULL nor empty; NULL when both are. */
const char *euca_first_of(const char *a, const char *b);

/* The path with the home directory in place of its "~", as a new string; NULL when out of memory.
 */
char *euca_home_path(const char *path);

/* lookup - one option of a region or user in euca2ools' files, which are read already.
 *
 * Sections are called [region NAME] and [user NAME].  As section 3.6 of the clients' description
 * has it, a name may be grouped ("aws:us-east-1"), a section may stand for several ("aws:*", "*"),
 * a value "use SECTION [OPTION]" sends elsewhere, and the end of a name ("us-east-1") is enough
 * where it is the end of one section alone. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

#include "ini.h"

/* Bytes of a region's or a user's name. */
#define EUCA_NAME_MAX 255

/* What an option is, and of which region or user in the end. */
struct euca_setting {
    const char *value; /* of the ini; NULL: it is not there */
    char section[EUCA_NAME_MAX + 1];
};

/* Refuse sections [region NAME] and [user NAME] with a NAME that cannot be: -EINVAL with the file's
 * name, the section and why.  Look up nothing before. */
int euca_check_sections(const struct euca_ini *ini, const char *file, struct im_error *err);

/* Look the option up; kind is "region" or "user", name may be NULL, which has no options.
 * Errors: -EINVAL when the name is ambiguous or a `use` leads nowhere or in a circle. */
int euca_look_up(const struct euca_ini *ini, const char *kind, const char *name, const char *option,
                 struct euca_setting *ret_setting, struct im_error *err);

/* Has a section that name, or does one end in it? */
bool euca_is_known(const struct euca_ini *ini, const char *kind, const char *name);

/* The section of that very name, or NULL. */
const struct euca_ini_section *euca_find_section(const struct euca_ini *ini, const char *kind,
                                                 const char *name);

/* What follows "KIND " in a section's name; NULL when it is of another kind. */
const char *euca_section_name(const struct euca_ini_section *section, const char *kind);

/* Why no region or user can be called so, for a message; NULL for a good name. */
const char *euca_name_fault(const char *name);

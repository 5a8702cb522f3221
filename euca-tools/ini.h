/* ini - the text of INI files as sections and options; what they mean is not known here.
 *
 * The grammar is that of Python's configparser, which wrote the rules of euca2ools' files and of
 * AWS's: "[section]", "name = value" or "name: value", a deeper indented line goes on with the
 * value above it.  '#' and ';' start a comment where a line starts and behind a blank.  Names of
 * options have no case.  There is no interpolation: '%' is a character like any other. */
#pragma once

#include <stddef.h>

#include "base/error.h"

struct euca_ini_option {
    char *name;  /* in small letters */
    char *value; /* blanks cut off both ends; may be ""; lines that went on are behind '\n' */
};

struct euca_ini_section {
    char *name; /* runs of blanks are one blank */
    size_t count;
    struct euca_ini_option *option;
};

struct euca_ini {
    size_t count;
    struct euca_ini_section *section; /* in the order they were first seen */
    size_t bytes;                     /* of all text that was read */
};

/* Add what the text says; an option that is there already gets the new value.  `file` is its name
 * in messages, which never show a line: it may hold a secret.
 * Errors: -EINVAL "FILE:LINE: …", -EFBIG above a ceiling (ini.c). */
int euca_ini_parse(struct euca_ini *ini, const char *file, const char *text, size_t len,
                   struct im_error *err);

/* The same with the content of a file.  Errors also as open and read, in the historical form. */
int euca_ini_read(struct euca_ini *ini, const char *path, struct im_error *err);

/* The section of that name, or NULL. */
const struct euca_ini_section *euca_ini_find(const struct euca_ini *ini, const char *name);

/* The option's value, or NULL; the section may be NULL. */
const char *euca_ini_value(const struct euca_ini_section *section, const char *name);

void euca_ini_done(struct euca_ini *ini);

/* options - command lines read from tables, with the texts and exit codes scripts know.
 *
 * An option either is a flag or takes one text; what the text means is checked by who uses it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "command.h"

struct euca_option {
    const char *name; /* long name without dashes; NULL ends a table */
    char letter;      /* '\0' when there is only the long name */
    bool flag;        /* no argument: the field is a bool; else a const char * */
    size_t offset;    /* of the field in the values */
};

/* Tables with the struct each fills; a NULL table ends the list. */
struct euca_option_group {
    const struct euca_option *table;
    void *values;
};

#define EUCA_FLAG(type, field, name, letter)                                                       \
    {                                                                                              \
        name, letter, true, offsetof(struct type, field)                                           \
    }
#define EUCA_TEXT(type, field, name, letter)                                                       \
    {                                                                                              \
        name, letter, false, offsetof(struct type, field)                                          \
    }

/* Every command has these. */
struct euca_common {
    const char *url;
    const char *region;
    const char *access_key;
    const char *secret_key;
    const char *token;
    bool show_empty_fields; /* these commands leave absent pairs out: no visible effect */
    bool debug;
    bool debugger; /* of the Python clients: accepted */
    bool version;
    bool help;
};
extern const struct euca_option euca_common_options[];

/* Commands that use the object store have these too. */
struct euca_s3_options {
    const char *s3_url;
    const char *owner_akid;
    const char *owner_sak;
};
extern const struct euca_option euca_s3_options_table[];

/* Commands that upload. */
struct euca_progress_options {
    bool progress;
    bool no_progress;
    bool porcelain; /* accepted for old scripts */
};
extern const struct euca_option euca_progress_options_table[];

/* Read the command line: options fill their fields, the rest is left in order at argv[*ret_first]…
 * (options and operands may be mixed).  The common options are always known.  Returns 0, 1 when
 * --help or --version was asked for and answered, or -EINVAL code EUCA_USAGE. */
int euca_options_parse(const char *program, const struct euca_command *command,
                       struct euca_common *common, const struct euca_option_group *groups, int argc,
                       char **argv, int *ret_first, struct im_error *err);

/* A usage error: returns -EINVAL with code EUCA_USAGE. */
int euca_usage(struct im_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A whole number from 0 to max given to `option` ("-x/--expires"); usage error otherwise. */
int euca_option_number(const char *option, const char *text, uint64_t max, uint64_t *ret_value,
                       struct im_error *err);

/* "euca2ools VERSION (euca-imaging)": scripts look at the first word. */
void euca_print_version(FILE *out);

/* options - command lines read from tables, with the texts and exit codes scripts know.
 *
 * An option is a flag, or takes a text, or may; what the text means is checked by who uses it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "command.h"

enum euca_option_kind {
    EUCA_OPTION_FLAG,    /* no argument: the field is a bool */
    EUCA_OPTION_TEXT,    /* a const char *; of several the last counts */
    EUCA_OPTION_LIST,    /* a struct euca_list */
    EUCA_OPTION_PERHAPS, /* --name or --name=TEXT: a const char *, "" without the text */
    EUCA_OPTION_EVENTS,  /* no argument, no field: from there on events are printed (events.h) */
};

struct euca_option {
    const char *name; /* long name without dashes; NULL ends a table */
    char letter;      /* '\0' when there is only the long name */
    enum euca_option_kind kind;
    size_t offset; /* of the field in the values */
};

/* Values of an option that may be given again and again, in that order. */
#define EUCA_LIST_MAX 64
struct euca_list {
    size_t count;
    const char *value[EUCA_LIST_MAX];
};

/* Tables with the struct each fills; a NULL table ends the list. */
struct euca_option_group {
    const struct euca_option *table;
    void *values;
};

#define EUCA_FLAG(type, field, name, letter)                                                       \
    {                                                                                              \
        name, letter, EUCA_OPTION_FLAG, offsetof(struct type, field)                               \
    }
#define EUCA_TEXT(type, field, name, letter)                                                       \
    {                                                                                              \
        name, letter, EUCA_OPTION_TEXT, offsetof(struct type, field)                               \
    }
#define EUCA_TEXTS(type, field, name, letter)                                                      \
    {                                                                                              \
        name, letter, EUCA_OPTION_LIST, offsetof(struct type, field)                               \
    }
#define EUCA_PERHAPS(type, field, name, letter)                                                    \
    {                                                                                              \
        name, letter, EUCA_OPTION_PERHAPS, offsetof(struct type, field)                            \
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
    const char *signature; /* "2" or "4"; NULL: as configured, else 4 */
};
extern const struct euca_option euca_s3_options_table[];
#define EUCA_S3_HELP                                                                               \
    "  S3: --s3-url URL, --signature {2,4}, -o, --owner-akid ID, -w, --owner-sak KEY\n"

/* Commands that upload. */
struct euca_progress_options {
    bool progress;
    bool no_progress;
    bool porcelain; /* accepted for old scripts */
    const char *uploads;
};
extern const struct euca_option euca_progress_options_table[];

/* Lines of --help for these, for -x, and for the object store. */
#define EUCA_UPLOAD_HELP                                                                           \
    "  -x, --expires DAYS (of the URLs, 1-7), --uploads N (parts at a time, 4)\n"                  \
    "      --progress, --no-progress, --json (events); default: on terminals\n" EUCA_S3_HELP

/* Parts sent at a time: without --uploads, and the most.  More helps only where the store is far
 * away. */
#define EUCA_UPLOADS     4
#define EUCA_UPLOADS_MAX 64

/* Check them.  *ret_uploads: parts to be sent at a time. */
int euca_check_progress(const struct euca_progress_options *options, unsigned *ret_uploads,
                        struct im_error *err);

/* Read the command line: options fill their fields, the rest is left in order at argv[*ret_first]…
 * (options and operands may be mixed).  The common options are always known.  What is wrong first
 * is told, but the rest is read all the same: whoever wants events gets the error as one.  Returns
 * 0, 1 when --help or --version was asked for and answered, or -EINVAL code EUCA_USAGE. */
int euca_options_parse(const char *program, const struct euca_command *command,
                       struct euca_common *common, const struct euca_option_group *groups, int argc,
                       char **argv, int *ret_first, struct im_error *err);

/* A usage error: returns -EINVAL with code EUCA_USAGE. */
int euca_usage(struct im_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A whole number from 0 to max given to `option` ("-x/--expires"); usage error otherwise. */
int euca_option_number(const char *option, const char *text, uint64_t max, uint64_t *ret_value,
                       struct im_error *err);

/* -x/--expires DAYS; NULL and 0 mean the default and give 0. */
int euca_option_days(const char *text, uint64_t *ret_days, struct im_error *err);

/* "euca2ools VERSION (euca-imaging)": scripts look at the first word. */
void euca_print_version(FILE *out);

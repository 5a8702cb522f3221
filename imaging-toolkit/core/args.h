/* args - the parameters a stage declares, and the arguments somebody gave for them.
 *
 * A stage says in a table what it takes; jobs, workflows and command lines all give text, which is
 * checked here against the table.  A stage never sees an argument it did not declare. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Parameters of one stage; the richest has ten. */
#define IM_ARGS_MAX 16
/* Bytes of one argument: a path or an URL of the longest kind that is accepted. */
#define IM_ARG_TEXT_MAX 4096

enum im_param_type {
    IM_PARAM_TEXT,   /* anything that is not empty */
    IM_PARAM_SIZE,   /* bytes, with K, M, G, T */
    IM_PARAM_NUMBER, /* a plain number */
    IM_PARAM_FLAG,   /* yes or no, true or false */
    IM_PARAM_CHOICE, /* one of `choices` */
    /* texts that are paths; a process that confines itself leaves these open (cmd/confined.c): */
    IM_PARAM_FILE,   /* a file that is read */
    IM_PARAM_BESIDE, /* a file that is read with others beside it; or an URL */
    IM_PARAM_INTO,   /* a directory that is written to */
};

/* A parameter of a stage; a table of them ends with a row without a name. */
struct im_param {
    const char *name; /* lower case, dashes */
    enum im_param_type type;
    bool required;
    const char *const *choices; /* of IM_PARAM_CHOICE, NULL-terminated */
    const char *summary;        /* half a line, for help and man pages */
};

/* Arguments, in the order they were given.  All zeros: none. */
struct im_args {
    unsigned count;
    struct im_arg {
        const struct im_param *param;
        char *text;      /* as it was given; owned */
        uint64_t number; /* of sizes, numbers and flags (0 or 1) */
    } arg[IM_ARGS_MAX];
};

/* Add name=text as params (may be NULL: none are taken) allows; `of` is the stage's name, for
 * sentences.  -EINVAL: unknown, given twice, not of its type.  -ENOMEM. */
int im_args_add(struct im_args *args, const char *of, const struct im_param *params,
                const char *name, const char *text, struct im_error *err);

/* Are all required ones there?  -EINVAL names the first that is not. */
int im_args_complete(const struct im_args *args, const char *of, const struct im_param *params,
                     struct im_error *err);

/* The text of an argument, borrowed; NULL when it was not given. */
const char *im_arg_text(const struct im_args *args, const char *name);
/* The number of an argument, or `otherwise`. */
uint64_t im_arg_number(const struct im_args *args, const char *name, uint64_t otherwise);
bool im_arg_flag(const struct im_args *args, const char *name);

void im_args_done(struct im_args *args);

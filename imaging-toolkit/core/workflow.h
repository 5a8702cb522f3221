/* workflow - a named chain of stages as a small text file (imaging-workflow(5)).
 *
 * A line is a comment, an input or a stage.  Inputs are given as NAME=VALUE and stand in the
 * arguments of stages as $NAME.  There are no includes, no conditions but "was it given", no loops:
 * what a file does can be read off it from top to bottom. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "core/chain.h"

/* Bytes of a file; the longest of ours has two thousand. */
#define IM_WORKFLOW_BYTES_MAX 65536u
/* Inputs of one: as many as anybody would type on one command line. */
#define IM_WORKFLOW_INPUTS_MAX 32u

struct im_workflow_input {
    char *name;
    char *otherwise; /* value when it is not given; NULL: none */
    bool optional;   /* need not be given */
    char *summary;
    unsigned line;
    bool used;
};

struct im_workflow_line {
    const struct im_stage *stage;
    unsigned line;   /* in the file; 0: of a command line */
    bool when_given; /* it is only there when all inputs it names were given */
    bool optional;
    unsigned count;
    struct {
        char *name, *value; /* value begins with '$' where it is an input */
    } arg[IM_ARGS_MAX];
};

struct im_workflow {
    char *name;    /* as it was asked for */
    char *summary; /* its first comment; never NULL */
    bool raw_disk; /* its first stage fetches a raw disk, byte for byte */
    unsigned input_count, line_count;
    struct im_workflow_input input[IM_WORKFLOW_INPUTS_MAX];
    struct im_workflow_line line[IM_CHAIN_MAX];
};

/* What is wanted of a workflow.  All zeros but the inputs: all of it. */
struct im_workflow_ask {
    const char *const *inputs; /* "NAME=VALUE", count of them */
    unsigned count;
    const char *from; /* begin with this stage: the first input is a file that holds what flows into
                         it */
    const char *until; /* end with this stage: what flows out of it is stored */
    const char *store; /* where, in place of what the workflow says, replacing what is there */
};

/* Read the text of a workflow.  -EINVAL "NAME, line N: …" for whatever is not understood. */
int im_workflow_parse(const char *name, const char *text, size_t len,
                      struct im_workflow **ret_workflow, struct im_error *err);

/* The same of words of a command line: NAME [optional|required] KEY=VALUE … NAME …; without
 * inputs.  A first stage that takes something gets it from standard input (a disk as a raw one), a
 * last one that gives something gives it to standard output; a validator gives nothing. */
int im_workflow_of_words(const char *const *words, unsigned count,
                         struct im_workflow **ret_workflow, struct im_error *err);

/* Read the workflow called name: a file when that holds a '/' or ends in ".workflow", else one of
 * ours.  -EINVAL: no name, -ENOENT with a list of those there are, or as im_workflow_parse. */
int im_workflow_load(const char *name, struct im_workflow **ret_workflow, struct im_error *err);

/* Is there one of ours called name? */
bool im_workflow_is_ours(const char *name);

/* Paths of all of ours, sorted, each the caller's, count of them below max. */
unsigned im_workflow_list(char **paths, unsigned max);

/* Its chain for these inputs.  -EINVAL: one is unknown, missing or not what its stage takes; there
 * is no stage to begin or end with. */
int im_workflow_chain(const struct im_workflow *workflow, const struct im_workflow_ask *ask,
                      struct im_chain *ret_chain, struct im_error *err);

/* The input called name, or NULL. */
const struct im_workflow_input *im_workflow_input(const struct im_workflow *workflow,
                                                  const char *name, size_t len);

/* Takes NULL, returns NULL. */
struct im_workflow *im_workflow_free(struct im_workflow *workflow);
static inline void im_workflow_cleanup(struct im_workflow **workflow)
{
    (void)im_workflow_free(*workflow);
}
#define IM_WORKFLOW_FREE __attribute__((cleanup(im_workflow_cleanup)))

/* bundler - what the commands bundle and unbundle share: options that are a stage's arguments, and
 * a job that is run. */
#pragma once

#include "cmd/cmd.h"
#include "core/job.h"

struct bundler {
    struct im_job job;
    struct im_args *args; /* of the stage */
    int progress_fd;
    bool json;
};

/* Values of options; BUNDLER_ARGUMENT and what is added to it is row N of the option table, whose
 * name is that of a parameter of the stage. */
enum { BUNDLER_FORCE = 256, BUNDLER_PROGRESS_FD, BUNDLER_OUTPUT, BUNDLER_ARGUMENT };

/* The command of a stage: a job from raw to raw with that one, and no source or store yet, gets the
 * options of the command line, behind which there must be two operands, and goes to `run` with
 * those.  Returns the exit status. */
int bundler_command(const char *stage, int argc, char **argv, const struct option *options,
                    int (*run)(struct bundler *bundler, char **operands, struct im_error *err),
                    struct im_error *err);

/* Give the stage an argument. */
int bundler_argument(struct bundler *bundler, const char *name, const char *text,
                     struct im_error *err);

/* Run the job, and print the result when it is to be JSON. */
int bundler_run(struct bundler *bundler, struct im_copy_result *ret_result, struct im_error *err);

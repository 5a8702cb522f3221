/* place - whose data a command works on: the options --standalone, --config and --output, which all
 * of them have, and the task table they lead to. */
#pragma once

#include <getopt.h>
#include <stdbool.h>

#include "base/error.h"
#include "conf/conf.h"
#include "task/task.h"

/* Texts are lent by the command line. */
struct place {
    const char *dir, *config; /* one of them */
    bool json;                /* --output json */
};

/* Rows for getopt_long; place_take knows their values. */
#define PLACE_OPTIONS                                                                              \
    { "standalone", required_argument, NULL, 's' }, { "config", required_argument, NULL, 'c' },    \
        { "output", required_argument, NULL, 'o' },                                                \
    {                                                                                              \
        "help", no_argument, NULL, 'h'                                                             \
    }

/* One of those options and its value, or '?' and the word that is no option.  0; 1 after printing
 * usage; -EINVAL.  command: "task", for the sentence. */
int place_take(struct place *place, int option, const char *value, const char *command,
               const char *usage, struct im_error *err);

/* Let take(arg) have each option of the command line and its value; of what is no option, '?' and
 * the word.  0 when optind stands at the first word that is none, or what take returned. */
int place_parse(int argc, char **argv, const struct option *known,
                int (*take)(void *arg, int option, const char *value, struct im_error *err),
                void *arg, struct im_error *err);

/* The exit status of a command that ended with r, after printing why it failed.  understood: its
 * words made sense. */
int place_status(int r, bool understood, const struct im_error *err);

/* All options are read: -EINVAL unless one place was named. */
int place_check(const struct place *place, struct im_error *err);

/* Read the settings of the service and open its task table beside it: see task_options.guest.  On
 * failure nothing is the caller's. */
int place_open(const struct place *place, struct svc_conf *ret_conf, struct task_table **ret_table,
               struct im_error *err);

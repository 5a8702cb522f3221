/* command - what every euca-* command is made of.
 *
 * A command is one file in cmd/, one row in main.c and one line in Makefile.am. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

struct euca_command {
    const char *name;  /* without "euca-": "import-volume" */
    const char *usage; /* what follows the program's name on the usage line */
    const char *help;  /* what --help prints between the usage and the common options */
    /* Do the work.  0, a positive number when --help or --version was answered instead, or -errno
     * with err filled; main prints it and chooses the exit status. */
    int (*run)(const char *program, const struct euca_command *command, int argc, char **argv,
               struct im_error *err);
};

/* Codes in im_error that change how main prints a failure and how it exits. */
#define EUCA_USAGE  "Usage"  /* usage line first, status 2 */
#define EUCA_SERVER "Server" /* the message begins with "(Code): " */

/* Becomes true with the first SIGINT or SIGTERM; every exchange ends with -ECANCELED then. */
extern volatile bool euca_interrupted;

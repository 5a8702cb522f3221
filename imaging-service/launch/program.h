/* program - run an operator's program once: input in, a little output back, a deadline. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Bytes of standard output that are looked at: one short line of JSON is expected. */
#define PROGRAM_OUT_MAX 4096

/* Bytes of standard error that are kept, for its first line. */
#define PROGRAM_SAID_MAX 512

struct program {
    char out[PROGRAM_OUT_MAX + 1]; /* NUL-terminated */
    size_t out_len;
    bool out_cut; /* there was more */
    char said[PROGRAM_SAID_MAX + 1];
    size_t said_len;
    int wait_status;
};

/* Run the program at path with `input` as standard input, in an environment of PATH and LANG and a
 * process group of its own, which is killed with it and when it ends.  deadline_ms is of the
 * monotonic clock.  0 when it ended by itself.
 * Errors: -ECANCELED (*stop became true), -ETIME (the deadline; it was killed), -ENOPKG (no such
 * program), else from starting it. */
int program_run(const char *path, const char *input, const atomic_bool *stop, int64_t deadline_ms,
                struct program *ret_program, struct im_error *err);

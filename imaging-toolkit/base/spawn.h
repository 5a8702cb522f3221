/* spawn - start a program; the one place that forks.
 *
 * The child gets its own process group, default signals, no inherited descriptors but the ones
 * named here, and dies with the thread that started it (PR_SET_PDEATHSIG). */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct im_spawn {
    const char *const *argv; /* argv[0] is the program: a path, or a name looked up in the fixed
                                search path /usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin */
    const char *const *env;  /* whole environment; NULL: PATH, LC_ALL, base/retry.h's */
    int stdin_fd;            /* -1: /dev/null */
    int stdout_fd;           /* -1: /dev/null */
    int stderr_fd;           /* -1: /dev/null */
    int fd3;                 /* becomes descriptor 3; -1: none */
    uint64_t limit_as;       /* RLIMIT_AS in bytes, 0: unchanged */
    uint64_t limit_fsize;    /* RLIMIT_FSIZE in bytes, 0: unchanged */
    uint64_t limit_cpu_s;    /* RLIMIT_CPU in seconds, 0: unchanged */
};

/* Start; 0 and *ret_pid, or -ENOPKG when the program is not found, or what fork returned. */
int im_spawn(const struct im_spawn *spawn, pid_t *ret_pid, struct im_error *err);

/* Full path of a program in the search path above, or of argv0 itself when it holds a '/'.
 * New string owned by the caller; NULL when there is no such executable. */
char *im_spawn_find(const char *program);

/* Wait for pid up to timeout_ms (-1: for ever); returns 1 and *ret_status (as waitpid) when it
 * ended, 0 on timeout, -errno. */
int im_spawn_wait(pid_t pid, int timeout_ms, int *ret_status);

/* End a child and its whole process group: SIGTERM, after grace_ms SIGKILL; reaps it.
 * Returns its wait status. */
int im_spawn_kill(pid_t pid, int grace_ms);

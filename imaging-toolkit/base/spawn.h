/* spawn - start a program, or a second process of this one; the one place that forks.
 *
 * A program gets its own process group (or not), default signals, no inherited descriptors but the
 * ones named here, and dies with the thread that started it (PR_SET_PDEATHSIG). */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/confine.h"
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
    uint64_t limit_files;    /* RLIMIT_NOFILE, 0: unchanged */
    bool stays;              /* in the process group of the caller, who may not make any */
    /* What the program can do; NULL: what the caller can.  One that is confined leaves no core. */
    const struct im_confine *confine;
};

/* Start; 0 and *ret_pid, or -ENOPKG when the program is not found, or what fork returned. */
int im_spawn(const struct im_spawn *spawn, pid_t *ret_pid, struct im_error *err);

/* A child that goes on in this very program, with a copy of its memory. */
struct im_spawn_self {
    int (*work)(const void *arg); /* what it does; what this returns is its exit status */
    const void *arg;
    int fd3, fd4; /* become descriptors 3 and 4; 0 and 1 are /dev/null, 2 stays, no other is open */
};

/* Start the child; 0 and *ret_pid, or what fork returned.  Only while this process has one thread.
 * Unlike those of im_spawn it stays in the process group, since whoever ends the one means both,
 * and keeps the signal handlers; it dies with its parent as they do.  Nothing of standard output
 * that is not written yet is written by the child. */
int im_spawn_self(const struct im_spawn_self *self, pid_t *ret_pid, struct im_error *err);

/* The full path of a program. */
struct im_program {
    char path[PATH_MAX];
};

/* Look for a program in the search path above, or take the name itself when it holds a '/'; false
 * when there is no such executable. */
bool im_spawn_find(const char *name, struct im_program *ret_found);

/* Fill an environment: add to env, behind its first n entries, those of our own that have one of
 * the names, in the order of the list, whose end is NULL; then the NULL.  env has room for all of
 * them and keeps pointing into our environment.  Async-signal-safe. */
void im_spawn_hand_on(const char **env, size_t n, const char *const *names);

/* Wait for pid up to timeout_ms (-1: for ever); returns 1 and *ret_status (as waitpid) when it
 * ended, 0 on timeout, -errno. */
int im_spawn_wait(pid_t pid, int timeout_ms, int *ret_status);

/* End a child, and its whole process group if it leads one: SIGTERM, after grace_ms SIGKILL; reaps
 * it.  Returns its wait status. */
int im_spawn_kill(pid_t pid, int grace_ms);

/* confine - what a process can still do from now on: Landlock for files, a seccomp filter for
 * system calls.  It cannot be undone, and holds for everything the process starts.
 *
 * What nobody allowed is refused: files and programs that were not named, names outside the
 * directories that may be written to, sockets, other processes (signals, memory, tracing),
 * namespaces, mounts.  What every program needs is always allowed: to read programs, libraries and
 * data below /usr and /lib, the loader, /dev/null, its own memory, threads and open descriptors.
 *
 * Landlock grew with the kernel: version 2 (Linux 5.19) is the least that is used; 3 knows
 * truncation (before it the filter refuses to open with O_TRUNC), 4 TCP and 6 signals, which the
 * filter knows, too.
 *
 * Not limited here: memory, time and sizes (setrlimit, base/spawn.h), and how many processes a
 * program starts that may start any. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

/* What a file, or everything below a directory, may be used for. */
#define IM_MAY_LIST  1u  /* names of directories are read */
#define IM_MAY_READ  2u  /* that, and contents */
#define IM_MAY_WRITE 4u  /* contents change; files appear, disappear and change their names */
#define IM_MAY_RUN   8u  /* started as a program (which has to be read, too) */
#define IM_MAY_NEST  16u /* directories are made, too */

struct im_confine {
    unsigned landlock; /* its version, as it is used; 0: the kernel has none */
    int ruleset;       /* Landlock's, close-on-exec and not below 10; -1: none */
    bool programs;     /* start programs that are allowed, all in its own group, and signal them */
    bool network;      /* be a client of servers; without `programs` no other one in its place */
    bool mounts;       /* make mounts that are attached nowhere (cache/device.c) */
    bool entries;    /* keep entries of a cache, whose modes and times it sets (cache/entry.c); for
                        who parses nothing */
    bool sanitizers; /* it was built with AddressSanitizer, which traces at its end */
};

/* What `sanitizers` is of this program. */
#ifdef __SANITIZE_ADDRESS__
#define IM_SANITIZED true
#else
#define IM_SANITIZED false
#endif

/* As a value: struct im_confine confine = IM_CONFINE. */
#define IM_CONFINE ((struct im_confine){ .ruleset = -1 })

/* Begin what is allowed, with what every program needs; start with IM_CONFINE and the flags set.
 * -EMFILE, -ENOMEM. */
int im_confine_begin(struct im_confine *confine, struct im_error *err);

/* Allow `what` (of IM_MAY_…) with the file, or below the directory, that fd is open on, or that is
 * at path.  What is not there is passed over: opening it tells.  Pipes, sockets and files in memory
 * need no leave. */
int im_confine_allow_fd(struct im_confine *confine, int fd, unsigned what, struct im_error *err);
int im_confine_allow(struct im_confine *confine, const char *path, unsigned what,
                     struct im_error *err);

/* Allow what this program loads later: libraries come from where the loader looks, which the user
 * may have told.  -EMFILE, -ENOMEM. */
int im_confine_allow_libraries(struct im_confine *confine, struct im_error *err);

/* Begin with what a client of servers needs that starts no program, libraries included; start with
 * IM_CONFINE.  As im_confine_begin. */
int im_confine_begin_client(struct im_confine *confine, struct im_error *err);

/* Confine the calling thread and what it starts.  Only async-signal-safe calls are made, so it does
 * between fork and exec.  -ENOTSUP: the kernel lacks something, and what it has is in force. */
int im_confine_enter(const struct im_confine *confine);

/* Confine this process, which must have no second thread yet (-EBUSY, also where there is no /proc
 * to count them), and let go of `confine`.  -ENOTSUP as above. */
int im_confine_self(struct im_confine *confine, struct im_error *err);

/* No new socket from now on, of this process (of one thread, -EBUSY) and what it starts; open ones
 * stay.  For one that was confined with `network` and has found what it needs it for.  -ENOTSUP. */
int im_confine_offline(struct im_error *err);

/* Release what im_confine_begin took. */
void im_confine_done(struct im_confine *confine);
#define IM_CONFINE_DONE __attribute__((cleanup(im_confine_done)))

/* Can processes be confined here?  Tried in a thread of its own.  0 and the version of Landlock
 * (ret_landlock may be NULL), or -ENOTSUP with what is missing; -ENOMEM, -EAGAIN. */
int im_confine_check(unsigned *ret_landlock, struct im_error *err);

/* For tests: behave as with an older version of Landlock. */
extern unsigned im_confine_landlock_max;

/* box - run a program that others wrote on bytes that others sent, confined.
 *
 * The child gets an empty environment, the descriptors named here and no other, limits of memory,
 * processor time, file size and open files, and dies with the thread that started it.  It is given
 * files as open descriptors, never by name.  It can open those again, and read what is in /usr; it
 * cannot open any other file, start a program or a process, reach the network, signal or trace
 * anybody (base/confine.h).  One that does not come to an end is stopped, and so is one that starts
 * more threads than any needs. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"
#include "cache/scratch.h"
#include "core/source.h"

/* The child's names of its descriptors 0 and 3. */
#define IM_BOX_INPUT "/proc/self/fd/0"
#define IM_BOX_FD3   "/proc/self/fd/3"

/* Start with IM_BOX(name, argv, input), end with im_box_done. */
struct im_box {
    const char *name;        /* of the program, in sentences */
    const char *const *argv; /* as im_spawn takes it */
    int input;               /* descriptor that becomes 0; -1: /dev/null */
    int output;              /* becomes 1; -1: what the child prints there is text as well */
    int fd3;                 /* becomes 3; -1: none */
    uint64_t file_size;      /* bytes it may write to a file, 0: none */
    uint64_t fd3_blocks;     /* bytes of blocks fd3 may take, whatever its size; 0: any */
    uint64_t work;           /* bytes it has to move; more of them give it more processor time */
    uint64_t memory;         /* bytes of address space beyond what a child usually has */
    uint64_t seconds;        /* of processor time beyond what it usually has */
    uint64_t short_seconds;  /* of processor time in place of what it usually has; 0: that */
    uint64_t files;          /* it may have open; 0: 64 */
    const char *device;      /* it may open, too, or NULL */
    const char *listed;      /* directory, below which it may read names, not contents; or NULL */
    const char *variable;    /* of its environment, "NAME=VALUE", or NULL */
    bool ours;               /* a program of this package: built as this one is */
    struct im_buffer text;   /* what it printed: standard error, and output where it has no other */
    int text_fd;             /* where that comes from */
    int64_t until_ms;        /* it ends itself before, on the monotonic clock, or is stopped */
    pid_t pid;               /* 0: not running */
    int status;              /* as waitpid gives it, once it has ended */
};

#define IM_BOX(called, arguments, in)                                                              \
    {                                                                                              \
        .name = (called), .argv = (arguments), .input = (in), .output = -1, .fd3 = -1,             \
        .text_fd = -1                                                                              \
    }

/* Start the child; it runs beside the caller.  -ENOPKG when it is not installed.  Where the kernel
 * cannot confine it, it runs all the same: cmd/confined.h, and the service at its start, tell. */
int im_box_start(struct im_box *box, struct im_error *err);

/* Take what the child has printed since, without waiting.  Whoever waits for something else of the
 * child's calls this now and then, or a child that prints much stands still, and one that does
 * nothing is never stopped.  -ENOMEM; -EBADMSG "NoEnd" when its time is over, or when it starts
 * threads without end. */
int im_box_listen(struct im_box *box, struct im_error *err);

/* Wait until it has ended by itself; box->status tells how.  -ECANCELED when the wish to stop came
 * first, -ENOSPC "ScratchLimit" when fd3 took more than fd3_blocks; then im_box_done stops it. */
int im_box_wait(struct im_box *box, struct im_error *err);

/* im_box_start and im_box_wait. */
int im_box_run(struct im_box *box, struct im_error *err);

/* It ended by itself with exit status 0. */
bool im_box_succeeded(const struct im_box *box);

/* The failure of a child that did not: -EBADMSG "NAME cannot VERB this WHAT (exit status N): its
 * words", or which signal (so, which limit) stopped it. */
int im_box_refused(const struct im_box *box, const char *verb, const char *what,
                   struct im_error *err);

/* Stop a child that still runs, and release. */
void im_box_done(struct im_box *box);
#define IM_BOX_DONE __attribute__((cleanup(im_box_done)))

/* What a child is to read.  Start with { .fd = -1 }, end with im_box_file_done. */
struct im_box_file {
    int fd;
    uint64_t copied;            /* bytes that were fetched; 0: it is the file itself */
    struct im_scratch *scratch; /* that they are in */
};

/* Does a child read the file itself? */
bool im_box_file_is_local(struct im_source *source);

/* The whole source for a child to read: the file itself, or a copy in the place `scratch` of what
 * has to be fetched.  Room for `more` bytes beside it is reserved with it and stays in its scratch
 * (im_scratch_split).  The source's errors, im_scratch_take's, -ENOSPC, -ECANCELED. */
int im_box_file_open(struct im_source *source, const char *scratch, uint64_t more,
                     struct im_box_file *ret_file, struct im_error *err);
void im_box_file_done(struct im_box_file *file);
#define IM_BOX_FILE_DONE __attribute__((cleanup(im_box_file_done)))

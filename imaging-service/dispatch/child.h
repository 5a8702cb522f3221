/* child - one run of imaging-toolkit: started with a job, followed by its progress lines.
 *
 * Everything the child writes is foreign: lines have a ceiling, text is made printable, numbers are
 * checked.  Used by one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"

/* Of standard error so much is kept, the end of it: enough for an assertion and a stack. */
#define CHILD_TAIL 4096

struct child {
    pid_t pid;                  /* 0: none */
    int pid_fd;                 /* readable when it has ended */
    int progress_fd, stderr_fd; /* -1 after their end */
    struct im_buffer line;      /* of progress, not yet whole */
    bool skip;                  /* the line is too long and is dropped to its end */
    char tail[CHILD_TAIL + 1];
    size_t tail_len;

    /* what it said */
    uint64_t done, total; /* bytes; total 0: nothing yet */
    char code[64];        /* of its error event, "" without one */
    char message[IM_ERROR_MAX];
    uint64_t data_bytes; /* of its result: written into the volume, without holes */
    char boot_mode[16];  /* of its result: "legacy-bios", "uefi", "" when it did not look */
};

/* What a toolkit, and each child of its, may use at most, whatever an image made of it: bytes; 0:
 * no limit. */
struct child_limits {
    uint64_t file;   /* of any file it writes */
    uint64_t memory; /* of address space; sanitizers' builds know none */
};

/* Address space for any job: each of some thirty threads takes 72 MiB of it (a stack, and what
 * malloc sets aside), most of which nobody touches; a child of its gets 2 GiB. */
#define CHILD_MEMORY (UINT64_C(4) << 30)

/* Start a command of the toolkit at path ("run") with the job text on its standard input.  Errors
 * as im_spawn; always followed by child_done. */
int child_start(struct child *ret_child, const char *path, const char *command, const char *job,
                const struct child_limits *limits, struct im_error *err);

/* Wait for a line, the end, wake_fd to become readable, or timeout_ms; takes in what was said.
 * True when the child has ended; then child_end follows. */
bool child_wait(struct child *child, int wake_fd, int timeout_ms);

/* End it: after grace_ms by force, and its whole process group with it.  Takes in its last words
 * and returns its wait status (as waitpid). */
int child_end(struct child *child, int grace_ms);

/* Write what is left of its standard error to the log. */
void child_log_tail(const struct child *child, const char *task_id);

/* Release; ends a child that still runs. */
void child_done(struct child *child);
#define CHILD_DONE __attribute__((cleanup(child_done)))

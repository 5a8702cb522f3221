/* box - run a program that others wrote on bytes that others sent, confined. */

#include <config.h>

#include "box/box.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/retry.h"
#include "base/spawn.h"
#include "base/text.h"
#include "core/cancel.h"
#include "core/rate.h"

/* What a child may use.  qemu-img's pool grows to 64 threads with stacks of 8 MiB, so 1 GiB of
 * address space was not always enough under load.  The processor time is generous for slow
 * machines, yet ends a loop. */
#define LIMIT_AS        (2ull << 30)
#define LIMIT_CPU_S     60
#define BYTES_PER_CPU_S (32ull << 20)
/* Bytes of its text that are read: `qemu-img info` of a sane image prints under 4 KiB. */
#define TEXT_MAX 65536

/* Threads, of which no limit of a process knows: they are counted whenever it is listened to (what
 * that leaves open: docs/confinement.md). */
#define THREADS_MAX 128
/* Descriptors: its own, and libraries while they are loaded. */
#define LIMIT_FILES 64
/* The time of a child that moves nothing, in units of what a transfer without progress is waited
 * for (30 s): a sound one takes a fraction of a second.  Who has to move bytes moves more of them
 * in a second than this, on the slowest disk. */
#define PATIENCE         4
#define BYTES_PER_WALL_S (1u << 20)

/* Until when it may take, whatever it does. */
static int64_t until_of(const struct im_box *box)
{
    uint64_t slowest =
        im_rate_limit() ? im_min(im_rate_limit(), BYTES_PER_WALL_S) : BYTES_PER_WALL_S;
    uint64_t seconds = (uint64_t)im_retry_stall_s() * PATIENCE + box->seconds + box->work / slowest;

    return im_clock_monotonic_ms() + (int64_t)im_min(seconds, INT32_MAX) * 1000;
}

/* What the descriptor can be used for is what it can be opened for again. */
static int allow_descriptor(struct im_confine *confine, int fd, struct im_error *err)
{
    int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
    unsigned what = IM_MAY_READ;

    if (flags < 0)
        return 0;
    if ((flags & O_ACCMODE) == O_WRONLY)
        what = IM_MAY_WRITE;
    else if ((flags & O_ACCMODE) == O_RDWR)
        what |= IM_MAY_WRITE;
    return im_confine_allow_fd(confine, fd, what, err);
}

/* AddressSanitizer, in children of ours, reserves terabytes of address space. */
static bool is_sanitized(const struct im_box *box)
{
    return IM_SANITIZED && box->ours;
}

static int prepare_confine(const struct im_box *box, int input, struct im_confine *confine,
                           struct im_error *err)
{
    struct im_program program;
    int r;

    confine->sanitizers = is_sanitized(box);
    r = im_confine_begin(confine, err);
    if (r == 0 && im_spawn_find(box->argv[0], &program))
        r = im_confine_allow(confine, program.path, IM_MAY_READ | IM_MAY_RUN, err);
    if (r == 0)
        r = allow_descriptor(confine, input, err);
    if (r == 0)
        r = allow_descriptor(confine, box->output, err);
    if (r == 0)
        r = allow_descriptor(confine, box->fd3, err);
    if (r == 0 && box->device)
        r = im_confine_allow(confine, box->device, IM_MAY_READ | IM_MAY_WRITE, err);
    if (r == 0 && box->listed)
        r = im_confine_allow(confine, box->listed, IM_MAY_LIST, err);
    return r;
}

/* What the child reads it only reads: a copy in scratch is open for writing here, and is read again
 * after it was proven.  -1 in *ret_fd: the descriptor is good as it is. */
static int open_to_read(const struct im_box *box, int *ret_fd, struct im_error *err)
{
    int flags = box->input < 0 ? O_RDONLY : fcntl(box->input, F_GETFL);
    char path[64];

    *ret_fd = -1;
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
        return 0;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", box->input);
    *ret_fd = open(path, O_RDONLY | O_CLOEXEC);
    return *ret_fd < 0 ? im_fail_errno(err, errno, "cannot open what %s is to read", box->name) : 0;
}

int im_box_start(struct im_box *box, struct im_error *err)
{
    /* one malloc arena: each further one would take 64 MiB of the address space */
    const char *const env[] = { "PATH=/usr/bin:/bin", "LC_ALL=C", "MALLOC_ARENA_MAX=1",
                                box->variable, NULL };
    struct im_confine confine IM_CONFINE_DONE = IM_CONFINE;
    struct im_spawn spawn = {
        .argv = box->argv,
        .env = env,
        .stdin_fd = box->input,
        .fd3 = box->fd3,
        .stays = true, /* it starts no process, and a confined toolkit makes no group */
        .limit_as = is_sanitized(box) ? 0 : LIMIT_AS + box->memory,
        .limit_fsize = box->file_size ? box->file_size : 1,
        .limit_cpu_s = (box->short_seconds ? box->short_seconds : LIMIT_CPU_S) + box->seconds +
                       box->work / BYTES_PER_CPU_S,
        .limit_files = box->files ? box->files : LIMIT_FILES,
        .confine = &confine,
    };
    int input IM_CLOSE = -1;
    int ends[2];
    int r = open_to_read(box, &input, err);

    if (r == 0 && input >= 0)
        spawn.stdin_fd = input;
    if (r == 0)
        r = prepare_confine(box, spawn.stdin_fd, &confine, err);
    box->text = IM_BUFFER(TEXT_MAX);
    if (r < 0)
        return r;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return im_fail_errno(err, errno, "cannot make a pipe");
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK); /* ours only: the child may wait until we listen */
    spawn.stderr_fd = ends[1];
    spawn.stdout_fd = box->output >= 0 ? box->output : ends[1];
    r = im_spawn(&spawn, &box->pid, err);
    (void)close(ends[1]);
    if (r < 0)
        (void)close(ends[0]);
    else
        box->text_fd = ends[0];
    box->until_ms = until_of(box);
    return r;
}

/* Its directory of threads has one link for each, and two of its own. */
static int check_threads(const struct im_box *box, struct im_error *err)
{
    char path[64];
    struct stat st;

    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)box->pid);
    if (box->pid <= 0 || stat(path, &st) < 0 || st.st_nlink <= THREADS_MAX + 2)
        return 0;
    (void)kill(box->pid, SIGKILL); /* it is not asked: meanwhile it would go on */
    return im_fail_code(err, EBADMSG, "NoEnd",
                        "%s started %u threads and was stopped: a sound image needs no more than "
                        "%d of them",
                        box->name, (unsigned)st.st_nlink - 2, THREADS_MAX);
}

int im_box_listen(struct im_box *box, struct im_error *err)
{
    char chunk[4096];
    ssize_t n;

    while ((n = read(box->text_fd, chunk, sizeof(chunk))) > 0) {
        size_t room = box->text.ceiling - box->text.len;

        if (im_buffer_add(&box->text, chunk, (size_t)n < room ? (size_t)n : room) < 0)
            return im_fail(err, ENOMEM, "out of memory");
    }
    if (box->pid > 0 && im_clock_monotonic_ms() > box->until_ms)
        return im_fail_code(err, EBADMSG, "NoEnd",
                            "%s did not come to an end and was stopped: it needs more time than a "
                            "sound image does",
                            box->name);
    return check_threads(box, err);
}

/* No limit of a process is one of blocks, and a hole in its file is none. */
static int check_blocks(const struct im_box *box, struct im_error *err)
{
    struct stat st;

    if (box->fd3_blocks == 0 || fstat(box->fd3, &st) < 0 ||
        (uint64_t)st.st_blocks * 512 <= box->fd3_blocks)
        return 0;
    return im_scratch_exceeded(box->fd3_blocks, err);
}

int im_box_wait(struct im_box *box, struct im_error *err)
{
    for (;;) {
        int ended = im_spawn_wait(box->pid, 50, &box->status);
        int r;

        if (ended < 0)
            return im_fail_errno(err, -ended, "cannot wait for %s", box->name);
        if (ended > 0)
            box->pid = 0;
        r = im_box_listen(box, err);
        if (r == 0)
            r = check_blocks(box, err);
        /* a signal that is for the toolkit comes to its whole group */
        if (r == 0 && (!ended || WIFSIGNALED(box->status)))
            r = im_cancel_check(err);
        if (r < 0 || ended)
            return r;
    }
}

int im_box_run(struct im_box *box, struct im_error *err)
{
    int r = im_box_start(box, err);

    return r < 0 ? r : im_box_wait(box, err);
}

bool im_box_succeeded(const struct im_box *box)
{
    return WIFEXITED(box->status) && WEXITSTATUS(box->status) == 0;
}

/* What the child said, as part of a sentence: one line, its names for our descriptors removed. */
static const char *said(char *buf, size_t size, const struct im_buffer *text)
{
    const char *line = text->data ? text->data : "";
    const char *name = strstr(line, IM_BOX_INPUT "': ");

    if (name)
        line = name + strlen(IM_BOX_INPUT "': ");
    im_text_printable(buf, size > 200 ? 200 : size, line);
    return *buf ? buf : "nothing";
}

int im_box_refused(const struct im_box *box, const char *verb, const char *what,
                   struct im_error *err)
{
    char words[256];

    if (WIFSIGNALED(box->status))
        return im_fail(err, EBADMSG,
                       "%s was stopped by signal %d (%s) while it tried to %s this %s: it needs "
                       "more memory, time or space than a sound image does",
                       box->name, WTERMSIG(box->status), sigabbrev_np(WTERMSIG(box->status)), verb,
                       what);
    return im_fail(err, EBADMSG, "%s cannot %s this %s (exit status %d): %s", box->name, verb, what,
                   WEXITSTATUS(box->status), said(words, sizeof(words), &box->text));
}

void im_box_done(struct im_box *box)
{
    if (box->pid > 0)
        box->status = im_spawn_kill(box->pid, 500);
    box->pid = 0;
    if (box->text_fd >= 0)
        (void)close(box->text_fd);
    box->text_fd = -1;
    im_buffer_done(&box->text);
}

/* ---- what the child reads ---- */

/* What comes without a size is reserved in steps of so many bytes. */
#define STEP (16u << 20)
/* Fetched at once. */
#define PIECE (1u << 20)

/* Room for the piece that ends at `end`. */
static int make_room(struct im_source *source, struct im_scratch *scratch, uint64_t end,
                     struct im_error *err)
{
    if (end <= scratch->bytes)
        return 0;
    return source->size == IM_SIZE_UNKNOWN ? im_scratch_grow(scratch, end + STEP, err)
                                           : im_scratch_exceeded(scratch->bytes, err);
}

static int spool_piece(struct im_source *source, struct im_scratch *scratch, void *buf,
                       uint64_t offset, size_t *ret_got, struct im_error *err)
{
    int r = im_cancel_check(err);

    if (r == 0)
        r = im_source_read_some(source, buf, PIECE, offset, ret_got, err);
    if (r == 0)
        r = make_room(source, scratch, offset + *ret_got, err);
    if (r < 0)
        return r;
    r = im_pwrite(scratch->fd, buf, *ret_got, offset);
    if (r < 0)
        return im_fail_code(err, -r, r == -ENOSPC ? "NoSpace" : "CannotWrite",
                            "cannot write byte %" PRIu64 " of a copy of '%s' to scratch: %s",
                            offset, source->name, strerrordesc_np(-r));
    return 0;
}

static int spool(struct im_source *source, struct im_box_file *file, struct im_error *err)
{
    void *buf IM_FREE = malloc(PIECE);
    size_t got;
    int r = buf ? 0 : im_fail(err, ENOMEM, "out of memory");

    /* its whole size at once: some file systems take more than is needed for what grows */
    if (r == 0 && source->size != IM_SIZE_UNKNOWN &&
        ftruncate(file->scratch->fd, (off_t)source->size) < 0)
        r = im_fail_errno(err, errno, "cannot make a copy of '%s' in scratch", source->name);
    do {
        got = 0;
        if (r == 0)
            r = spool_piece(source, file->scratch, buf, file->copied, &got, err);
        file->copied += got;
    } while (r == 0 && got > 0);
    if (r == 0 && ftruncate(file->scratch->fd, (off_t)file->copied) < 0)
        r = im_fail_errno(err, errno, "cannot make a copy of '%s' in scratch", source->name);
    return r;
}

static int fetch(struct im_source *source, const char *place, uint64_t more,
                 struct im_box_file *file, struct im_error *err)
{
    bool unknown = source->size == IM_SIZE_UNKNOWN;
    uint64_t bytes;
    int r;

    if (__builtin_add_overflow(unknown ? STEP : source->size, more, &bytes))
        return im_fail(err, EFBIG, "'%s' has %" PRIu64 " bytes", source->name, source->size);
    r = im_scratch_take(place, bytes, &file->scratch, err);
    if (r == 0)
        r = spool(source, file, err);
    if (r < 0)
        return r;
    if (unknown)
        im_scratch_shrink(file->scratch, file->copied + more);
    file->fd = fcntl(file->scratch->fd, F_DUPFD_CLOEXEC, 0);
    return file->fd < 0 ? im_fail_errno(err, errno, "cannot use a copy of '%s'", source->name) : 0;
}

/* The descriptor all of source stands in, from its first byte on; -1: there is none. */
static int whole_file(struct im_source *source)
{
    uint64_t at, len;
    int fd;

    if (source->size == IM_SIZE_UNKNOWN || source->size == 0 ||
        im_source_local(source, 0, source->size, &fd, &at, &len) < 0 || at != 0 ||
        len != source->size)
        return -1;
    return fd;
}

bool im_box_file_is_local(struct im_source *source)
{
    return source->path || whole_file(source) >= 0;
}

int im_box_file_open(struct im_source *source, const char *scratch, uint64_t more,
                     struct im_box_file *ret_file, struct im_error *err)
{
    struct im_box_file file IM_BOX_FILE_DONE = { .fd = -1 };
    int whole = source->path ? -1 : whole_file(source);
    int r = 0;

    if (source->path) {
        file.fd = open(source->path, O_RDONLY | O_CLOEXEC);
        if (file.fd < 0)
            return im_fail_errno(err, errno, "cannot open '%s'", source->path);
    } else if (whole >= 0) {
        file.fd = fcntl(whole, F_DUPFD_CLOEXEC, 0);
        if (file.fd < 0)
            return im_fail_errno(err, errno, "cannot open '%s' again", source->name);
    } else {
        r = fetch(source, scratch, more, &file, err);
    }
    if (r < 0)
        return r;
    *ret_file = file;
    file = (struct im_box_file){ .fd = -1 };
    return 0;
}

void im_box_file_done(struct im_box_file *file)
{
    if (file->fd >= 0)
        (void)close(file->fd);
    file->scratch = im_scratch_free(file->scratch);
    file->fd = -1;
}

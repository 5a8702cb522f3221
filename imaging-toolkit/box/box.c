/* box - run a program that others wrote on bytes that others sent, confined. */

#include <config.h>

#include "box/box.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/spawn.h"
#include "base/text.h"
#include "core/cancel.h"

/* What a child may use.  qemu-img's pool grows to 64 threads with stacks of 8 MiB, so 1 GiB of
 * address space was not always enough under load; AddressSanitizer, in children of ours, reserves
 * terabytes of it.  The processor time is generous for slow machines, yet ends a loop. */
#ifdef __SANITIZE_ADDRESS__
#define LIMIT_AS 0
#else
#define LIMIT_AS (2ull << 30)
#endif
#define LIMIT_CPU_S     60
#define BYTES_PER_CPU_S (32ull << 20)
/* Bytes of its text that are read: `qemu-img info` of a sane image prints under 4 KiB. */
#define TEXT_MAX 65536

int im_box_start(struct im_box *box, struct im_error *err)
{
    /* one malloc arena: each further one would take 64 MiB of the address space */
    static const char *const env[] = { "PATH=/usr/bin:/bin", "LC_ALL=C", "MALLOC_ARENA_MAX=1",
                                       NULL };
    struct im_spawn spawn = {
        .argv = box->argv,
        .env = env,
        .stdin_fd = box->input,
        .fd3 = box->fd3,
        .limit_as = LIMIT_AS ? LIMIT_AS + box->memory : 0,
        .limit_fsize = box->file_size ? box->file_size : 1,
        .limit_cpu_s = (box->short_seconds ? box->short_seconds : LIMIT_CPU_S) + box->seconds +
                       box->work / BYTES_PER_CPU_S,
    };
    int ends[2];
    int r;

    box->text = IM_BUFFER(TEXT_MAX);
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
    return r;
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
    return 0;
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
        if (r == 0 && !ended)
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

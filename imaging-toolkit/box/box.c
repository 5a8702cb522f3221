/* box - run a program that others wrote on bytes that others sent, confined. */

#include <config.h>

#include "box/box.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/spawn.h"
#include "base/text.h"
#include "base/tmpfile.h"
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
        .limit_cpu_s = LIMIT_CPU_S + box->seconds + box->work / BYTES_PER_CPU_S,
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

static int spool(struct im_source *source, const char *scratch, uint64_t *ret_copied,
                 struct im_error *err)
{
    size_t step = 1u << 20, got = 0;
    void *buf IM_FREE = malloc(step);
    int fd IM_CLOSE = -1;
    uint64_t offset = 0;
    int r;

    if (!buf)
        return im_fail(err, ENOMEM, "out of memory");
    fd = im_tmpfile(scratch, 0600, NULL, err);
    if (fd < 0)
        return fd;
    do {
        r = im_cancel_check(err);
        if (r == 0)
            r = im_source_read_some(source, buf, step, offset, &got, err);
        if (r == 0 && got > 0) {
            r = im_pwrite(fd, buf, got, offset);
            if (r < 0)
                return im_fail_code(err, -r, r == -ENOSPC ? "NoSpace" : "CannotWrite",
                                    "cannot write byte %" PRIu64
                                    " of a copy of '%s' to scratch: %s",
                                    offset, source->name, strerrordesc_np(-r));
        }
        if (r < 0)
            return r;
        offset += got;
    } while (got > 0);
    *ret_copied = offset;
    return im_steal_fd(&fd);
}

int im_box_input(struct im_source *source, const char *scratch, uint64_t *ret_copied,
                 struct im_error *err)
{
    uint64_t copied = 0;
    int fd;

    if (source->path) {
        fd = open(source->path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return im_fail_errno(err, errno, "cannot open '%s'", source->path);
    } else {
        fd = spool(source, scratch, &copied, err);
    }
    if (fd >= 0 && ret_copied)
        *ret_copied = copied;
    return fd;
}

/* child - one run of imaging-toolkit. */

#include <config.h>

#include "dispatch/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/spawn.h"
#include "base/text.h"
#include "log.h"

/* A progress line has about 150 bytes, an error line a sentence (IM_ERROR_MAX) of whose bytes each
 * may take three. */
#define LINE_MAX_BYTES 8192

/* Read at the end at most: a pipe holds 64 KiB, and something that left the group could go on
 * writing for ever. */
#define DRAIN_MAX (1024 * 1024)

/* ---- what it says ---- */

static uint64_t get_count(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));

    return value > 0 ? (uint64_t)value : 0;
}

static void get_text(const json_t *object, const char *name, char *buf, size_t size)
{
    const char *text = json_string_value(json_object_get(object, name));

    im_text_printable(buf, size, text ? text : "");
}

/* One of those there are; anything else is as if it had not looked. */
static void get_boot_mode(const json_t *object, struct child *child)
{
    get_text(object, "boot_mode", child->boot_mode, sizeof(child->boot_mode));
    if (strcmp(child->boot_mode, "legacy-bios") != 0 && strcmp(child->boot_mode, "uefi") != 0)
        child->boot_mode[0] = '\0';
}

static void take_line(struct child *child)
{
    json_t *object = json_loadb(child->line.data, child->line.len, 0, NULL);
    const char *event = json_string_value(json_object_get(object, "event"));
    uint64_t total = get_count(object, "total");

    if (event && strcmp(event, "progress") == 0 && total > 0) {
        uint64_t done = get_count(object, "done");

        child->total = total;
        child->done = done < total ? done : total;
    } else if (event && strcmp(event, "error") == 0) {
        get_text(object, "code", child->code, sizeof(child->code));
        get_text(object, "message", child->message, sizeof(child->message));
    } else if (event && strcmp(event, "result") == 0) {
        child->data_bytes = get_count(object, "data_bytes");
        get_boot_mode(object, child);
    }
    json_decref(object);
}

static void take_progress(struct child *child, const char *data, size_t len)
{
    while (len > 0) {
        const char *end = memchr(data, '\n', len);
        size_t n = end ? (size_t)(end - data) : len;

        if (im_buffer_add(&child->line, data, n) < 0)
            child->skip = true;
        if (end) {
            if (!child->skip && child->line.len > 0)
                take_line(child);
            im_buffer_clear(&child->line);
            child->skip = false;
            n++;
        }
        data += n;
        len -= n;
    }
}

static void take_stderr(struct child *child, const char *data, size_t len)
{
    size_t keep;

    if (len > CHILD_TAIL) {
        data += len - CHILD_TAIL;
        len = CHILD_TAIL;
    }
    keep = child->tail_len < CHILD_TAIL - len ? child->tail_len : CHILD_TAIL - len;
    memmove(child->tail, child->tail + child->tail_len - keep, keep);
    memcpy(child->tail + keep, data, len);
    child->tail_len = keep + len;
    child->tail[child->tail_len] = '\0';
}

/* One read; closes the descriptor at its end.  Returns the bytes read. */
static size_t take(struct child *child, int *fd,
                   void (*sink)(struct child *child, const char *data, size_t len))
{
    char data[16384];
    ssize_t n;

    if (*fd < 0)
        return 0;
    n = read(*fd, data, sizeof(data));
    if (n > 0) {
        sink(child, data, (size_t)n);
        return (size_t)n;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        (void)close(*fd);
        *fd = -1;
    }
    return 0;
}

/* ---- its life ---- */

/* A pipe of which the reading end is ours. */
static int make_pipe(int *ret_read, int *ret_write, struct im_error *err)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return im_fail_errno(err, errno, "cannot make a pipe");
    *ret_read = ends[0];
    *ret_write = ends[1];
    if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
        return im_fail_errno(err, errno, "cannot make a pipe");
    return 0;
}

/* The job as a file: a pipe could be smaller than it, and somebody would have to feed it. */
static int make_stdin(const char *job, int *ret_fd, struct im_error *err)
{
    int fd IM_CLOSE = memfd_create("job", MFD_CLOEXEC);

    if (fd < 0 || im_pwrite(fd, job, strlen(job), 0) < 0)
        return im_fail_errno(err, fd < 0 ? errno : ENOMEM, "cannot hand the job over");
    *ret_fd = im_steal_fd(&fd);
    return 0;
}

static int start(struct child *child, const char *path, const char *command, const char *job,
                 const struct child_limits *limits, struct im_error *err)
{
    const char *const argv[] = { path, command, "--progress-fd", "3", NULL };
    int stdin_fd IM_CLOSE = -1, progress_fd IM_CLOSE = -1, stderr_fd IM_CLOSE = -1;
    struct im_spawn spawn = {
        .argv = argv,
        .stdout_fd = -1,
        .limit_fsize = limits->file,
        .limit_as = IM_SANITIZED ? 0 : limits->memory,
    };
    int r = make_stdin(job, &stdin_fd, err);

    if (r == 0)
        r = make_pipe(&child->progress_fd, &progress_fd, err);
    if (r == 0)
        r = make_pipe(&child->stderr_fd, &stderr_fd, err);
    if (r < 0)
        return r;
    spawn.stdin_fd = stdin_fd;
    spawn.stderr_fd = stderr_fd;
    spawn.fd3 = progress_fd;
    r = im_spawn(&spawn, &child->pid, err);
    if (r < 0)
        return r;
    child->pid_fd = pidfd_open(child->pid, 0);
    return child->pid_fd < 0 ? im_fail_errno(err, errno, "cannot follow the toolkit") : 0;
}

int child_start(struct child *ret_child, const char *path, const char *command, const char *job,
                const struct child_limits *limits, struct im_error *err)
{
    memset(ret_child, 0, sizeof(*ret_child));
    ret_child->pid_fd = ret_child->progress_fd = ret_child->stderr_fd = -1;
    ret_child->line = IM_BUFFER(LINE_MAX_BYTES);
    return start(ret_child, path, command, job, limits, err);
}

bool child_wait(struct child *child, int wake_fd, int timeout_ms)
{
    struct pollfd fds[] = {
        { .fd = child->pid_fd, .events = POLLIN },
        { .fd = child->progress_fd, .events = POLLIN }, /* -1 is passed over */
        { .fd = child->stderr_fd, .events = POLLIN },
        { .fd = wake_fd, .events = POLLIN },
    };

    if (poll(fds, sizeof(fds) / sizeof(fds[0]), timeout_ms) <= 0)
        return false;
    if (fds[1].revents)
        (void)take(child, &child->progress_fd, take_progress);
    if (fds[2].revents)
        (void)take(child, &child->stderr_fd, take_stderr);
    return fds[0].revents != 0;
}

int child_end(struct child *child, int grace_ms)
{
    /* of a child that has ended this returns the status it ended with */
    int status = im_spawn_kill(child->pid, grace_ms);
    size_t left = DRAIN_MAX, n;

    child->pid = 0;
    do {
        n = take(child, &child->progress_fd, take_progress);
        n += take(child, &child->stderr_fd, take_stderr);
        left -= n < left ? n : left;
    } while (n > 0 && left > 0);
    return status;
}

void child_log_tail(const struct child *child, const char *task_id)
{
    const char *line = child->tail;

    while (*line) {
        size_t len = strcspn(line, "\n");

        if (len > 0)
            svc_log(SVC_WARNING, "%s: imaging-toolkit said: %.*s", task_id, (int)len, line);
        line += len + (line[len] == '\n');
    }
}

void child_done(struct child *child)
{
    if (child->pid > 0)
        (void)child_end(child, 0);
    im_cleanup_close(&child->pid_fd);
    im_cleanup_close(&child->progress_fd);
    im_cleanup_close(&child->stderr_fd);
    im_buffer_done(&child->line);
}

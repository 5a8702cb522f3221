/* program - run an operator's program once; see program.h. */

#include <config.h>

#include "launch/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/spawn.h"

/* How often the wish to stop and the clock are looked at. */
#define LOOK_MS 50

/* It gets so long to end by itself when it is cancelled or late. */
#define GRACE_MS 1000

/* Read after its end at most: a pipe holds 64 KiB, and what left the process group could go on
 * writing for ever. */
#define DRAIN_MAX (256 * 1024)

static const char *const environment[] = { "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                                           "LANG=C.UTF-8", NULL };

struct running {
    struct program *program;
    pid_t pid;
    int pid_fd, out_fd, said_fd;
};

static void keep(char *buf, size_t max, size_t *len, const char *data, size_t n, bool *cut)
{
    size_t room = max - *len;

    *cut |= n > room;
    n = n < room ? n : room;
    memcpy(buf + *len, data, n);
    *len += n;
    buf[*len] = '\0';
}

/* One read; what has no room is thrown away, so that the program never waits for us. */
static size_t take(int *fd, char *buf, size_t max, size_t *len, bool *cut)
{
    char data[4096];
    ssize_t n;

    if (*fd < 0)
        return 0;
    n = read(*fd, data, sizeof(data));
    if (n > 0) {
        keep(buf, max, len, data, (size_t)n, cut);
        return (size_t)n;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        (void)close(*fd);
        *fd = -1;
    }
    return 0;
}

static size_t take_both(struct running *running)
{
    struct program *program = running->program;
    bool ignored = false;

    return take(&running->out_fd, program->out, PROGRAM_OUT_MAX, &program->out_len,
                &program->out_cut) +
           take(&running->said_fd, program->said, PROGRAM_SAID_MAX, &program->said_len, &ignored);
}

/* A pipe whose reading end is ours, and does not block. */
static int make_pipe(int *ret_read, int *ret_write, struct im_error *err)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return im_fail_errno(err, errno, "cannot make a pipe");
    *ret_read = ends[0];
    *ret_write = ends[1];
    return fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? im_fail_errno(err, errno, "cannot make a pipe")
                                                   : 0;
}

/* As a file: nobody has to feed it, and a program that does not read it harms nobody. */
static int make_stdin(const char *input, int *ret_fd, struct im_error *err)
{
    int fd IM_CLOSE = memfd_create("machine", MFD_CLOEXEC);
    int r = fd < 0 ? -errno : im_pwrite(fd, input, strlen(input), 0);

    if (r < 0)
        return im_fail_errno(err, -r, "cannot hand the machine over");
    *ret_fd = im_steal_fd(&fd);
    return 0;
}

static int start(struct running *running, const char *path, const char *input, struct im_error *err)
{
    const char *const argv[] = { path, NULL };
    int stdin_fd IM_CLOSE = -1, out_fd IM_CLOSE = -1, said_fd IM_CLOSE = -1;
    struct im_spawn spawn = { .argv = argv, .env = environment, .fd3 = -1 };
    int r = make_stdin(input, &stdin_fd, err);

    if (r == 0)
        r = make_pipe(&running->out_fd, &out_fd, err);
    if (r == 0)
        r = make_pipe(&running->said_fd, &said_fd, err);
    if (r < 0)
        return r;
    spawn.stdin_fd = stdin_fd;
    spawn.stdout_fd = out_fd;
    spawn.stderr_fd = said_fd;
    r = im_spawn(&spawn, &running->pid, err);
    if (r < 0)
        return r;
    running->pid_fd = pidfd_open(running->pid, 0);
    return running->pid_fd < 0 ? im_fail_errno(err, errno, "cannot follow '%s'", path) : 0;
}

/* Wait a moment for output or the end; true when it has ended. */
static bool has_ended(struct running *running)
{
    struct pollfd fds[] = {
        { .fd = running->pid_fd, .events = POLLIN },
        { .fd = running->out_fd, .events = POLLIN }, /* -1 is passed over */
        { .fd = running->said_fd, .events = POLLIN },
    };

    if (poll(fds, sizeof(fds) / sizeof(fds[0]), LOOK_MS) <= 0)
        return false;
    (void)take_both(running);
    return fds[0].revents != 0;
}

static int follow(struct running *running, const atomic_bool *stop, int64_t deadline_ms,
                  struct im_error *err)
{
    while (!has_ended(running)) {
        if (stop && atomic_load(stop))
            return im_fail(err, ECANCELED, "the launcher's program was cancelled");
        if (im_clock_monotonic_ms() >= deadline_ms)
            return im_fail(err, ETIME, "the launcher's program did not end in time");
    }
    return 0;
}

/* End the whole group, read what is left, close. */
static void end(struct running *running, int grace_ms)
{
    size_t left = DRAIN_MAX, n;

    if (running->pid > 0) /* of a program that has ended this is the status it ended with */
        running->program->wait_status = im_spawn_kill(running->pid, grace_ms);
    do {
        n = take_both(running);
        left -= n < left ? n : left;
    } while (n > 0 && left > 0);
    im_cleanup_close(&running->pid_fd);
    im_cleanup_close(&running->out_fd);
    im_cleanup_close(&running->said_fd);
}

int program_run(const char *path, const char *input, const atomic_bool *stop, int64_t deadline_ms,
                struct program *ret_program, struct im_error *err)
{
    struct running running = { .program = ret_program, .pid_fd = -1, .out_fd = -1, .said_fd = -1 };
    int r;

    *ret_program = (struct program){ 0 };
    r = start(&running, path, input, err);
    if (r == 0)
        r = follow(&running, stop, deadline_ms, err);
    end(&running, r < 0 ? GRACE_MS : 0);
    return r;
}

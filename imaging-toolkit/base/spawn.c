/* spawn - start a program, or a second process of this one; the one place that forks.
 *
 * Between fork and exec only async-signal-safe calls are made (signal-safety(7)), because the
 * parent has threads.  The child tells a failed step through a pipe that exec closes. */

#include <config.h>

#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/no-core.h"
#include "base/retry.h"
#include "base/text.h"

#define SEARCH_PATH "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

/* How often a child is looked at: 0.5 ms at first, 16 ms later. */
#define LOOK_MIN_NS 500000L
#define LOOK_MAX_NS 16000000L

static bool is_program(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

bool im_spawn_find(const char *name, struct im_program *ret_found)
{
    const char *dir = strchr(name, '/') ? "" : SEARCH_PATH;

    do {
        int len = (int)strcspn(dir, ":");
        struct im_program found;
        int n =
            snprintf(found.path, sizeof(found.path), "%.*s%s%s", len, dir, len ? "/" : "", name);

        if (*name && n < (int)sizeof(found.path) && is_program(found.path)) {
            *ret_found = found;
            return true;
        }
        dir += len + (dir[len] == ':');
    } while (*dir);
    return false;
}

void im_spawn_hand_on(const char **env, size_t n, const char *const *names)
{
    for (; *names; names++) {
        size_t len = strlen(*names);

        for (char **entry = environ; entry && *entry; entry++)
            if (strncmp(*entry, *names, len) == 0 && (*entry)[len] == '=') {
                env[n++] = *entry;
                break;
            }
    }
    env[n] = NULL;
}

/* Lift fd (or /dev/null for -1) above the descriptors that are about to be filled. */
static int lift(int fd)
{
    int opened = -1, high;

    if (fd < 0) {
        opened = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (opened < 0)
            return -1;
        fd = opened;
    }
    high = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    if (opened >= 0)
        (void)close(opened);
    return high;
}

/* Close all descriptors from `first` on, or have exec close them. */
static void shut_from(int first, bool at_exec)
{
    struct rlimit limit;

    if (close_range((unsigned)first, UINT_MAX, at_exec ? CLOSE_RANGE_CLOEXEC : 0) == 0)
        return;
    /* valgrind does not know the call */
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        limit.rlim_cur = 1024;
    for (int fd = first; (rlim_t)fd < limit.rlim_cur; fd++)
        (void)(at_exec ? fcntl(fd, F_SETFD, FD_CLOEXEC) : close(fd));
}

/* Most descriptors a child is given. */
#define PLACES 5

/* Let the descriptors be 0 to count-1 (-1: /dev/null). */
static int place(const int *wanted, int count)
{
    int high[PLACES];

    for (int i = 0; i < count; i++) {
        high[i] = lift(wanted[i]);
        if (high[i] < 0)
            return -1;
    }
    for (int i = 0; i < count; i++)
        if (dup2(high[i], i) < 0)
            return -1;
    return 0;
}

static int place_descriptors(const struct im_spawn *spawn, int *status_fd)
{
    const int wanted[] = { spawn->stdin_fd, spawn->stdout_fd, spawn->stderr_fd, spawn->fd3 };
    int count = spawn->fd3 >= 0 ? 4 : 3;

    *status_fd = lift(*status_fd);
    if (*status_fd < 0 || place(wanted, count) < 0)
        return -1;
    shut_from(count, true); /* the status pipe is needed until then */
    return 0;
}

static void default_signals(void)
{
    struct sigaction action = { .sa_handler = SIG_DFL };
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        (void)sigaction(number, &action, NULL); /* KILL, STOP and libc's own refuse: right so */
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Never to more than there is. */
static int set_limit(__rlimit_resource_t what, uint64_t limit)
{
    struct rlimit value;

    if (limit == 0)
        return 0;
    if (getrlimit(what, &value) < 0)
        return -1;
    if (limit < value.rlim_max)
        value.rlim_max = limit;
    value.rlim_cur = value.rlim_max;
    return setrlimit(what, &value);
}

/* What the kernel does not know about confining is not asked for here: whoever prepared it does. */
static int confine(const struct im_confine *how)
{
    int r;

    im_no_core();
    r = im_confine_enter(how);
    errno = -r;
    return r < 0 && r != -ENOTSUP ? -1 : 0;
}

/* Entries of the plain environment, with the NULL. */
#define PLAIN_ENV 5

/* Of our own environment only what tests shorten the waiting with is handed on. */
static void fill_plain_env(const char *env[PLAIN_ENV])
{
    static const char *const handed_on[] = { IM_RETRY_HASTE, IM_RETRY_STALL_SECONDS, NULL };

    env[0] = "PATH=" SEARCH_PATH;
    env[1] = "LC_ALL=C";
    im_spawn_hand_on(env, 2, handed_on);
}

/* The child's life before exec; never returns. */
static _Noreturn void become(const struct im_spawn *spawn, const char *path, pid_t parent,
                             int status_fd)
{
    const char *plain_env[PLAIN_ENV];
    const char *const *env = spawn->env ? spawn->env : plain_env;
    int number;

    fill_plain_env(plain_env);
    if ((!spawn->stays && setpgid(0, 0) < 0) || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        goto failed;
    if (getppid() != parent) /* it died before the line above */
        _exit(127);
    if (place_descriptors(spawn, &status_fd) < 0 ||
        set_limit(RLIMIT_FSIZE, spawn->limit_fsize) < 0 ||
        set_limit(RLIMIT_CPU, spawn->limit_cpu_s) < 0 ||
        set_limit(RLIMIT_AS, spawn->limit_as) < 0 ||
        set_limit(RLIMIT_NOFILE, spawn->limit_files) < 0)
        goto failed;
    default_signals();
    if (spawn->confine && confine(spawn->confine) < 0) /* last: it takes the calls above away */
        goto failed;
    (void)execve(path, (char *const *)spawn->argv, (char *const *)env);

failed:
    number = errno;
    (void)!write(status_fd, &number, sizeof(number));
    _exit(127);
}

/* fork with all signals held back, so that no handler of the parent's runs in the child; the child
 * does not return.  The pid, or -errno. */
static pid_t fork_child(const struct im_spawn *spawn, const char *path, int status_fd)
{
    pid_t parent = getpid();
    sigset_t all, before;
    pid_t pid;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid == 0)
        become(spawn, path, parent, status_fd);
    if (pid < 0)
        pid = -errno;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pid;
}

/* 0 when exec worked (the pipe closed), else the errno value the child sent. */
static int read_status(int fd)
{
    int number;
    ssize_t n;

    do {
        n = read(fd, &number, sizeof(number));
    } while (n < 0 && errno == EINTR);
    return n == sizeof(number) ? number : 0;
}

static int reap(pid_t pid, int *ret_status)
{
    while (waitpid(pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

int im_spawn(const struct im_spawn *spawn, pid_t *ret_pid, struct im_error *err)
{
    struct im_program found;
    const char *path = found.path;
    int ends[2], number, status;
    pid_t pid;

    if (!im_spawn_find(spawn->argv[0], &found))
        return im_fail(err, ENOPKG, "the program '%s' was not found; install it", spawn->argv[0]);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return im_fail_errno(err, errno, "cannot start '%s'", path);

    pid = fork_child(spawn, path, ends[1]);
    (void)close(ends[1]);
    number = pid < 0 ? -pid : read_status(ends[0]);
    (void)close(ends[0]);
    if (number == 0) {
        *ret_pid = pid;
        return 0;
    }
    if (pid > 0)
        (void)reap(pid, &status);
    if (number == ENOENT || number == ENOEXEC) /* a script's interpreter, a foreign binary */
        return im_fail(err, ENOPKG, "the program '%s' cannot run here: %s", path,
                       strerrordesc_np(number));
    return im_fail_errno(err, number, "cannot start '%s'", path);
}

/* The other self, up to the work it is for; it ends with it. */
static _Noreturn void go_on(const struct im_spawn_self *self, pid_t parent)
{
    const int wanted[] = { -1, -1, STDERR_FILENO, self->fd3, self->fd4 };

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || place(wanted, PLACES) < 0)
        _exit(127);
    shut_from(PLACES, false);
    _exit(self->work(self->arg));
}

int im_spawn_self(const struct im_spawn_self *self, pid_t *ret_pid, struct im_error *err)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid == 0)
        go_on(self, parent);
    if (pid < 0)
        return im_fail_errno(err, errno, "cannot start a process");
    *ret_pid = pid;
    return 0;
}

/* Wait until pid has ended, without reaping it: 1, 0 on timeout, -errno.  Looks now and then: a
 * pidfd would tell at once, but valgrind does not know it. */
static int wait_end(pid_t pid, int timeout_ms)
{
    int64_t until = im_clock_monotonic_ms() + timeout_ms;
    struct timespec pause = { .tv_nsec = LOOK_MIN_NS };
    int how = WEXITED | WNOWAIT | (timeout_ms < 0 ? 0 : WNOHANG);

    for (;;) {
        siginfo_t info = { .si_pid = 0 };
        int r = waitid(P_PID, (id_t)pid, &info, how);

        if (r < 0 && errno != EINTR)
            return -errno;
        if (r == 0 && info.si_pid == pid)
            return 1;
        if (timeout_ms >= 0 && im_clock_monotonic_ms() >= until)
            return 0;
        (void)nanosleep(&pause, NULL);
        if (pause.tv_nsec < LOOK_MAX_NS)
            pause.tv_nsec *= 2;
    }
}

int im_spawn_wait(pid_t pid, int timeout_ms, int *ret_status)
{
    int r = wait_end(pid, timeout_ms);

    if (r <= 0)
        return r;
    r = reap(pid, ret_status);
    return r < 0 ? r : 1;
}

/* Before it is reaped its number can mean no other process, and no other group. */
static void kill_all(pid_t pid, int number)
{
    if (kill(-pid, number) < 0)
        (void)kill(pid, number);
}

int im_spawn_kill(pid_t pid, int grace_ms)
{
    int status = 0;

    kill_all(pid, SIGTERM);
    (void)wait_end(pid, grace_ms);
    kill_all(pid, SIGKILL);
    (void)reap(pid, &status);
    return status;
}

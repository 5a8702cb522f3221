/* spawn - start a program; the one place that forks.
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
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
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

char *im_spawn_find(const char *program)
{
    const char *dir = SEARCH_PATH;

    if (strchr(program, '/'))
        return is_program(program) ? strdup(program) : NULL;
    while (*program && *dir) {
        size_t len = strcspn(dir, ":");
        char *path IM_FREE = im_asprintf("%.*s/%s", (int)len, dir, program);

        if (path && is_program(path))
            return im_steal(path);
        dir += len + (dir[len] == ':');
    }
    return NULL;
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

/* Mark all descriptors from `first` on to be closed by exec: the status pipe is needed until then.
 */
static void mark_from(int first)
{
    struct rlimit limit;

    if (close_range((unsigned)first, UINT_MAX, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    /* valgrind does not know the call */
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        limit.rlim_cur = 1024;
    for (int fd = first; (rlim_t)fd < limit.rlim_cur; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static int place_descriptors(const struct im_spawn *spawn, int *status_fd)
{
    int wanted[4] = { spawn->stdin_fd, spawn->stdout_fd, spawn->stderr_fd, spawn->fd3 };
    int count = spawn->fd3 >= 0 ? 4 : 3;
    int high[4];

    *status_fd = lift(*status_fd);
    if (*status_fd < 0)
        return -1;
    for (int i = 0; i < count; i++) {
        high[i] = lift(wanted[i]);
        if (high[i] < 0)
            return -1;
    }
    for (int i = 0; i < count; i++)
        if (dup2(high[i], i) < 0)
            return -1;
    mark_from(count);
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

static int set_limit(__rlimit_resource_t what, uint64_t limit)
{
    struct rlimit value = { .rlim_cur = limit, .rlim_max = limit };

    return limit ? setrlimit(what, &value) : 0;
}

/* Entries of the plain environment, with the NULL. */
#define PLAIN_ENV 5

/* Of our own environment only what tests shorten the waiting with is handed on. */
static void fill_plain_env(const char *env[PLAIN_ENV])
{
    static const char *const handed_on[] = { IM_RETRY_HASTE "=", IM_RETRY_STALL_SECONDS "=" };
    size_t n = 0;

    env[n++] = "PATH=" SEARCH_PATH;
    env[n++] = "LC_ALL=C";
    for (size_t i = 0; i < sizeof(handed_on) / sizeof(handed_on[0]); i++)
        for (char **entry = environ; entry && *entry; entry++)
            if (strncmp(*entry, handed_on[i], strlen(handed_on[i])) == 0) {
                env[n++] = *entry;
                break;
            }
    env[n] = NULL;
}

/* The child's life before exec; never returns. */
static _Noreturn void become(const struct im_spawn *spawn, const char *path, pid_t parent,
                             int status_fd)
{
    const char *plain_env[PLAIN_ENV];
    const char *const *env = spawn->env ? spawn->env : plain_env;
    int number;

    fill_plain_env(plain_env);
    if (setpgid(0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        goto failed;
    if (getppid() != parent) /* it died before the line above */
        _exit(127);
    if (place_descriptors(spawn, &status_fd) < 0 ||
        set_limit(RLIMIT_FSIZE, spawn->limit_fsize) < 0 ||
        set_limit(RLIMIT_CPU, spawn->limit_cpu_s) < 0 || set_limit(RLIMIT_AS, spawn->limit_as) < 0)
        goto failed;
    default_signals();
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
    char *path IM_FREE = im_spawn_find(spawn->argv[0]);
    int ends[2], number, status;
    pid_t pid;

    if (!path)
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

int im_spawn_kill(pid_t pid, int grace_ms)
{
    int status = 0;

    (void)kill(-pid, SIGTERM);
    (void)wait_end(pid, grace_ms);
    /* before the leader is reaped its number cannot mean another group */
    (void)kill(-pid, SIGKILL);
    (void)reap(pid, &status);
    return status;
}

/* Confinement: what is refused, what is left, and that each attempt works where nobody confines.
 *
 * Every attempt is made by a process of its own, as root (where the test is) and as nobody, with
 * all the kernel's Landlock knows and with what that of Debian 12's (version 2) does. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/confine.h"
#include "base/spawn.h"

#define NOBODY                  65534
#define LANDLOCK_CREATE_RULESET 444

/* Three directories: one that may be read, one that may be written to, one that is nobody's
 * business; each holds `file` and `program`. */
static char top[] = "/var/tmp/confine-XXXXXX";
static unsigned short port; /* somebody listens there */
static char secret[] = "secret";

static int tell(int r)
{
    return r < 0 ? -errno : 0;
}

/* ---- attempts: 0, or -errno ---- */

static int read_file(const char *path)
{
    int fd IM_CLOSE = open(path, O_RDONLY | O_CLOEXEC);

    return tell(fd);
}

static int empty_file(const char *path)
{
    int fd IM_CLOSE = open(path, O_RDONLY | O_TRUNC | O_CLOEXEC);

    return tell(fd);
}

static int empty_by_openat2(const char *path)
{
    static const struct open_how how = { .flags = O_RDONLY | O_TRUNC | O_CLOEXEC };
    int fd IM_CLOSE = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

    return tell(fd);
}

static int read_by_openat2(const char *path)
{
    static const struct open_how how = { .flags = O_RDONLY | O_CLOEXEC };
    int fd IM_CLOSE = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

    return tell(fd);
}

static int create_by_openat2(const char *path)
{
    static const struct open_how how = { .flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                                         .mode = S_ISUID | 0700 };
    int fd IM_CLOSE = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

    return tell(fd);
}

static int write_file(const char *path)
{
    int fd IM_CLOSE = open(path, O_WRONLY | O_CLOEXEC);

    return tell(fd);
}

static int list(const char *path)
{
    int fd IM_CLOSE = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return tell(fd);
}

static int create(const char *path)
{
    int fd IM_CLOSE = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    return tell(fd);
}

static int make_directory(const char *path)
{
    return tell(mkdir(path, 0700));
}

static int make_link(const char *path)
{
    return tell(symlink("/", path));
}

static int change_mode(const char *path)
{
    return tell(chmod(path, 0644));
}

/* By a name whose address a filter that looks at half of it takes for none. */
static int change_times(const char *path)
{
    const uint64_t half = UINT64_C(1) << 32;
    size_t len = strlen(path) + 1;
    void *room =
        mmap(NULL, 2 * half, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *name = (char *)(((uintptr_t)room + half - 1) & ~(half - 1));

    if (room == MAP_FAILED || mprotect(name, len, PROT_READ | PROT_WRITE) < 0)
        return -errno;
    memcpy(name, path, len);
    return tell(utimensat(AT_FDCWD, name, NULL, 0));
}

/* What is open, be it for reading alone: of its owner's that is enough. */
static int change_open_times(const char *path)
{
    static const struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
    int fd IM_CLOSE = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : tell(futimens(fd, times));
}

static int change_open_mode(const char *path)
{
    int fd IM_CLOSE = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : tell(fchmod(fd, 0777));
}

static int change_open_owner(const char *path)
{
    int fd IM_CLOSE = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : tell(fchown(fd, (uid_t)-1, (gid_t)-1));
}

/* As they are, where the file system has any. */
static int change_open_flags(const char *path)
{
    int fd IM_CLOSE = open(path, O_RDONLY | O_CLOEXEC);
    int flags = 0;

    if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
        return -errno;
    return tell(ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

/* Whoever wants to write to it waits until that is let go. */
static int lease(const char *path)
{
    int fd IM_CLOSE = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : tell(fcntl(fd, F_SETLEASE, F_RDLCK));
}

/* By signals. */
static int watch_directory(const char *path)
{
    int fd IM_CLOSE = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : tell(fcntl(fd, F_NOTIFY, DN_CREATE));
}

/* Files that make whoever starts them their owner. */
static int create_setuid(const char *path)
{
    int fd IM_CLOSE = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_ISUID | 0700);

    return tell(fd);
}

static int create_setgid_unnamed(const char *path)
{
    int fd IM_CLOSE = open(path, O_WRONLY | O_TMPFILE | O_CLOEXEC, S_ISGID | 0700);

    return tell(fd);
}

static int create_setuid_by_old_call(const char *path)
{
#ifdef SYS_open
    int fd IM_CLOSE = (int)syscall(SYS_open, path, O_WRONLY | O_CREAT | O_EXCL, S_ISUID | 0700);

    return tell(fd);
#else
    return create_setuid(path);
#endif
}

/* A mode that is no mode, since nothing is made, may be anything. */
static int read_with_odd_mode(const char *path)
{
    int fd IM_CLOSE = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 07777);

    return tell(fd);
}

static int change_name(const char *path)
{
    char other[PATH_MAX];

    (void)snprintf(other, sizeof(other), "%s.other", path);
    return rename(path, other) < 0 ? -errno : tell(rename(other, path));
}

/* Out of the directory that may be written to. */
static int move_there(const char *path)
{
    char from[64];

    (void)snprintf(from, sizeof(from), "%s/write/moved-by-%u", top, geteuid());
    if (close(open(from, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) < 0 || rename(from, path) < 0)
        return -errno;
    return 0;
}

static int start(const char *path)
{
    const char *const argv[] = { path, NULL };
    const struct im_spawn spawn = {
        .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .fd3 = -1, .stays = true
    };
    struct im_error err = { 0 };
    int status;
    pid_t pid;
    int r = im_spawn(&spawn, &pid, &err);

    if (r < 0)
        return r;
    return im_spawn_wait(pid, 10000, &status) == 1 && status == 0 ? 0 : -ECHILD;
}

/* In its own place. */
static int become(const char *path)
{
    const char *const argv[] = { path, NULL };

    (void)execv(path, (char *const *)argv);
    return -errno;
}

static int fork_once(const char *path)
{
    pid_t pid = fork();

    (void)path;
    if (pid == 0)
        _exit(0);
    return tell(pid); /* nor may everybody wait for it */
}

static void *nothing(void *arg)
{
    return arg;
}

static int make_thread(const char *path)
{
    pthread_t thread;
    int r = pthread_create(&thread, NULL, nothing, NULL);

    (void)path;
    return r ? -r : -pthread_join(thread, NULL);
}

static int reach(int family, const struct sockaddr *address, socklen_t len)
{
    int fd IM_CLOSE = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd < 0 ? -errno : tell(connect(fd, address, len));
}

static int connect_tcp(const char *path)
{
    const struct sockaddr_in address = { .sin_family = AF_INET,
                                         .sin_port = port,
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    (void)path;
    return reach(AF_INET, (const struct sockaddr *)&address, sizeof(address));
}

/* Somebody listens on a socket in the file system, as daemons do. */
static int connect_unix(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    (void)path;
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", top);
    return reach(AF_UNIX, (const struct sockaddr *)&address, sizeof(address));
}

static int speak_netlink(int protocol)
{
    int fd IM_CLOSE = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

    return tell(fd);
}

/* As getaddrinfo does. */
static int ask_for_addresses(const char *path)
{
    (void)path;
    return speak_netlink(NETLINK_ROUTE);
}

static int hear_of_devices(const char *path)
{
    (void)path;
    return speak_netlink(NETLINK_KOBJECT_UEVENT);
}

static int listen_tcp(const char *path)
{
    const struct sockaddr_in address = { .sin_family = AF_INET };
    int fd IM_CLOSE = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)path;
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    return tell(listen(fd, 1));
}

static int signal_parent(const char *path)
{
    (void)path;
    return tell(kill(getppid(), 0));
}

static int signal_group_of_parent(const char *path)
{
    (void)path;
    return tell(kill(-getpgid(getppid()), 0));
}

/* Where a script starts the toolkit, the script is in it. */
static int signal_group_by_number(const char *path)
{
    (void)path;
    return tell(kill(-getpgrp(), 0));
}

static int signal_group(const char *path)
{
    (void)path;
    return tell(kill(0, 0));
}

static int signal_thread_of_parent(const char *path)
{
    (void)path;
    return tell((int)syscall(SYS_tgkill, getppid(), getppid(), 0));
}

static int signal_itself(const char *path)
{
    (void)path;
    return tell(raise(0));
}

static int signal_by_descriptor(const char *path)
{
    int ends[2];

    (void)path;
    return pipe2(ends, O_CLOEXEC) < 0 ? -errno : tell(fcntl(ends[0], F_SETOWN, getppid()));
}

static int end_child(const char *path)
{
    const char *const argv[] = { "/bin/sleep", "1000", NULL };
    const struct im_spawn spawn = {
        .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .fd3 = -1, .stays = true
    };
    pid_t pid;
    int r = im_spawn(&spawn, &pid, NULL);

    (void)path;
    return r < 0 ? r : WTERMSIG(im_spawn_kill(pid, 1000)) == SIGTERM ? 0 : -EPERM;
}

static int read_memory_of_parent(const char *path)
{
    char bytes[sizeof(secret)];
    struct iovec here = { bytes, sizeof(bytes) }, there = { secret, sizeof(secret) };

    (void)path;
    return tell((int)process_vm_readv(getppid(), &here, 1, &there, 1, 0));
}

static int open_memory_of_parent(const char *path)
{
    char name[64];

    (void)path;
    (void)snprintf(name, sizeof(name), "/proc/%d/mem", getppid());
    return read_file(name);
}

static int trace_parent(const char *path)
{
    (void)path;
    return tell((int)ptrace(PTRACE_SEIZE, getppid(), NULL, NULL));
}

static int outlive_parent(const char *path)
{
    (void)path;
    return tell(prctl(PR_SET_PDEATHSIG, 0));
}

static int leave_group(const char *path)
{
    (void)path;
    return tell(setpgid(0, getpgid(getppid())));
}

static int make_group(const char *path)
{
    (void)path;
    return tell(setpgid(0, 0));
}

static int make_session(const char *path)
{
    pid_t pid = fork(); /* the leader of a group cannot */
    int status;

    (void)path;
    if (pid == 0)
        _exit(setsid() < 0 ? errno : 0);
    return pid < 0 || waitpid(pid, &status, 0) != pid ? -errno : -WEXITSTATUS(status);
}

/* Nobody waits for it, nor ends it. */
static int start_brother(const char *path)
{
    long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);

    (void)path;
    if (pid == 0)
        _exit(0);
    return tell((int)pid);
}

static int limit_parent(const char *path)
{
    struct rlimit limit;

    (void)path;
    return tell(prlimit(getppid(), RLIMIT_NOFILE, NULL, &limit));
}

static int new_namespace(const char *path)
{
    (void)path;
    return tell(unshare(CLONE_NEWUSER));
}

static int child_in_namespace(const char *path)
{
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);

    (void)path;
    if (pid == 0)
        _exit(0);
    return tell((int)pid);
}

static int type_into_terminal(const char *path)
{
    (void)path;
    (void)ioctl(STDIN_FILENO, TIOCSTI, "x");
    return errno == ENOSYS ? -ENOSYS : 0; /* it is no terminal, which only the kernel tells */
}

static int pair_of(int type)
{
    int pair[2];
    int r = tell(socketpair(AF_UNIX, type, 0, pair));

    if (r == 0) {
        (void)close(pair[0]);
        (void)close(pair[1]);
    }
    return r;
}

static int pair_of_streams(const char *path)
{
    (void)path;
    return pair_of(SOCK_STREAM | SOCK_CLOEXEC);
}

static int pair_of_datagrams(const char *path)
{
    (void)path;
    return pair_of(SOCK_DGRAM);
}

/* Its bytes are in memory, and no limit of a process counts them. */
static int make_file_in_memory(const char *path)
{
    int fd IM_CLOSE = memfd_create("file", MFD_CLOEXEC);

    (void)path;
    return tell(fd);
}

static int use_uring(const char *path)
{
    char params[256] = "";

    (void)path;
    (void)syscall(SYS_io_uring_setup, 0, params);
    return errno == ENOSYS ? -ENOSYS : 0; /* with no entries it is -EINVAL */
}

/* ---- who may what ---- */

enum { PLAIN = 1, PROGRAMS = 2, NETWORK = 4, ANYWAY = PLAIN | PROGRAMS | NETWORK };

static const struct attempt {
    const char *name;
    int (*make)(const char *path);
    const char *path; /* below `top`, or NULL */
    unsigned allowed; /* confined to which it works */
    bool needs_leave; /* it may fail for who is not confined, too */
} attempts[] = {
    { "read what may be read", read_file, "read/file", ANYWAY, false },
    { "read what may be written", read_file, "write/file", ANYWAY, false },
    { "read elsewhere", read_file, "else/file", 0, false },
    { "read environments", read_file, "/proc/self/environ", 0, false },
    { "list what may be read", list, "read", ANYWAY, false },
    { "list elsewhere", list, "else", 0, false },
    { "write what may be written", write_file, "write/file", ANYWAY, false },
    { "write what may be read", write_file, "read/file", 0, false },
    { "write elsewhere", write_file, "else/file", 0, false },
    { "empty what may be read", empty_file, "read/file", 0, false },
    { "a pair of streams", pair_of_streams, NULL, NETWORK, false },
    { "a pair of datagram sockets, which can speak to others", pair_of_datagrams, NULL, 0, false },
    { "create where written", create, "write/new", ANYWAY, false },
    { "create where read", create, "read/new", 0, false },
    { "create elsewhere", create, "else/new", 0, false },
    { "make a directory where written", make_directory, "write/new", 0, false },
    { "make a directory where they may be", make_directory, "nest/new", PROGRAMS, false },
    { "make a directory elsewhere", make_directory, "else/new", 0, false },
    { "make a link where written", make_link, "write/new", 0, false },
    { "rename where written", change_name, "write/file", PROGRAMS, false },
    { "rename where read", change_name, "read/file", 0, false },
    { "move within what is written", move_there, "write/below/new", PROGRAMS, false },
    { "move elsewhere", move_there, "else/new", 0, false },
    { "change a mode elsewhere", change_mode, "else/file", 0, false },
    { "change the mode of what is open", change_open_mode, "read/file", 0, false },
    { "change the mode of a directory that is open", change_open_mode, "read", 0, false },
    { "change the owner of what is open", change_open_owner, "read/file", 0, false },
    { "change the owner of a directory that is open", change_open_owner, "read", 0, false },
    { "change the times of what is open", change_open_times, "read/file", 0, false },
    { "change the times of a directory that is open", change_open_times, "read", 0, false },
    { "change the flags of what is open", change_open_flags, "read/file", 0, true },
    { "lease what is open", lease, "read/file", 0, false },
    { "watch what is open", watch_directory, "read", 0, true },
    { "create a setuid file", create_setuid, "write/new", 0, false },
    { "create a setuid file by open", create_setuid_by_old_call, "write/new", 0, false },
    { "create a setgid file without a name", create_setgid_unnamed, "write", 0, true },
    { "read with the mode of a new file", read_with_odd_mode, "read/file", ANYWAY, false },
    { "change times elsewhere", change_times, "else/file", 0, false },
    { "start what may be run", start, "read/program", PROGRAMS, false },
    { "become what may be run", become, "read/program", PLAIN | PROGRAMS, false },
    { "become what may be read", become, "write/program", 0, false },
    { "start what may be read", start, "write/program", 0, false },
    { "start elsewhere", start, "else/program", 0, false },
    { "fork", fork_once, NULL, PROGRAMS, false },
    { "start a thread", make_thread, NULL, ANYWAY, false },
    { "connect", connect_tcp, NULL, NETWORK, false },
    { "connect to a daemon here", connect_unix, NULL, 0, false },
    { "ask for the machine's addresses", ask_for_addresses, NULL, NETWORK, false },
    { "hear of its devices", hear_of_devices, NULL, 0, false },
    { "listen", listen_tcp, NULL, 0, false },
    { "signal the parent", signal_parent, NULL, 0, false },
    { "signal the parent's group", signal_group_of_parent, NULL, 0, false },
    { "signal the group by its number", signal_group_by_number, NULL, 0, false },
    { "signal the group", signal_group, NULL, 0, false },
    { "signal the parent's thread", signal_thread_of_parent, NULL, 0, false },
    { "signal by a descriptor", signal_by_descriptor, NULL, 0, false },
    { "signal itself", signal_itself, NULL, ANYWAY, false },
    { "end a child", end_child, NULL, PROGRAMS, false },
    { "read the parent's memory", read_memory_of_parent, NULL, 0, true },
    { "open the parent's memory", open_memory_of_parent, NULL, 0, true },
    { "trace the parent", trace_parent, NULL, 0, true },
    { "outlive the parent", outlive_parent, NULL, PROGRAMS, false },
    { "leave the group", leave_group, NULL, 0, false },
    { "make a group", make_group, NULL, 0, false },
    { "make a session", make_session, NULL, 0, false },
    { "start a brother", start_brother, NULL, 0, false },
    { "look at the parent's limits", limit_parent, NULL, 0, false },
    { "make a namespace", new_namespace, NULL, 0, true },
    { "start a child in a namespace", child_in_namespace, NULL, 0, true },
    { "type into the terminal", type_into_terminal, NULL, 0, false },
    { "make a file in memory", make_file_in_memory, NULL, PROGRAMS | NETWORK, false },
    { "use io_uring", use_uring, NULL, 0, true },
};

/* What goes wrong in a process that is not cmocka's. */
static _Noreturn void __attribute__((format(printf, 1, 2))) bad(const char *format, ...)
{
    va_list words;

    va_start(words, format);
    (void)vfprintf(stderr, format, words);
    va_end(words);
    (void)fputc('\n', stderr);
    _exit(1);
}

static int allow(struct im_confine *confine, const char *name, unsigned what)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/%s", top, name);
    return im_confine_allow(confine, path, what, NULL);
}

/* Exit status, which is no errno. */
#define CANNOT 200

/* In a process of its own: give everything else up. */
static void confine(unsigned to)
{
    struct im_confine confine = IM_CONFINE;
    struct im_error err = { 0 };

    confine.programs = to == PROGRAMS;
    confine.network = to == NETWORK;
    if (im_confine_begin(&confine, &err) < 0 || allow(&confine, "read", IM_MAY_READ) < 0 ||
        allow(&confine, "write", IM_MAY_READ | IM_MAY_WRITE) < 0 ||
        allow(&confine, "nest", IM_MAY_READ | IM_MAY_WRITE | IM_MAY_NEST) < 0 ||
        allow(&confine, "read/program", IM_MAY_READ | IM_MAY_RUN) < 0 ||
        im_confine_allow(&confine, "/bin/sleep", IM_MAY_RUN, &err) < 0)
        _exit(CANNOT);
    if (im_confine_self(&confine, &err) < 0)
        _exit(CANNOT);
}

/* 0: it worked; else the errno it failed with. */
static int outcome(const struct attempt *attempt, unsigned to)
{
    const char *below = attempt->path && *attempt->path != '/' ? top : "";
    char path[PATH_MAX] = "";
    pid_t pid;
    int status;

    if (attempt->path)
        (void)snprintf(path, sizeof(path), "%s%s%s", below, *below ? "/" : "", attempt->path);
    pid = fork();
    if (pid == 0) {
        (void)setpgid(0, 0);
        if (to)
            confine(to);
        _exit(-attempt->make(path));
    }
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        bad("%s: died by signal %d", attempt->name, WTERMSIG(status));
    if (strstr(path, "/new"))
        (void)remove(path);
    return WEXITSTATUS(status);
}

static void judge(const struct attempt *attempt)
{
    int r = outcome(attempt, 0);

    if (r != 0 && !attempt->needs_leave)
        bad("%s: fails without confinement: %s", attempt->name, strerrordesc_np(r));
    for (unsigned to = PLAIN; to <= NETWORK; to <<= 1) {
        r = outcome(attempt, to);
        if (r == CANNOT)
            bad("%s: cannot be confined to kind %u", attempt->name, to);
        if (attempt->allowed & to && r != 0)
            bad("%s: is refused to kind %u: %s", attempt->name, to, strerrordesc_np(r));
        if (!(attempt->allowed & to) && r == 0)
            bad("%s: is not refused to kind %u", attempt->name, to);
        if (r == EINVAL || r == ENOENT || r == EFAULT)
            bad("%s: is refused to kind %u for another reason: %s", attempt->name, to,
                strerrordesc_np(r));
    }
}

/* All of them, by a family of its own. */
static void judge_all(uid_t uid, unsigned landlock)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        (void)setpgid(0, 0);
        im_confine_landlock_max = landlock;
        if (uid && (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0))
            _exit(80);
        (void)prctl(PR_SET_DUMPABLE, 1); /* which another user's number has taken away */
        (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
        for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++)
            judge(&attempts[i]);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("user %u, Landlock %u: see above", uid, landlock);
}

static void what_is_not_allowed_is_refused(void **state)
{
    (void)state;
    judge_all(0, UINT_MAX);
}

static void also_with_the_landlock_of_debian_12(void **state)
{
    (void)state;
    judge_all(0, 2);
}

static void also_to_nobody(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    judge_all(NOBODY, UINT_MAX);
    judge_all(NOBODY, 2);
}

/* ---- the rest ---- */

static void a_machine_that_cannot_is_told_of(void **state)
{
    struct im_error err = { 0 };
    unsigned landlock = 0;

    (void)state;
    assert_int_equal(im_confine_check(&landlock, &err), 0);
    assert_true(landlock >= 2);
    assert_int_equal(read_file("/proc/self/environ"), 0); /* the trial was a thread's alone */
    im_confine_landlock_max = 1;
    assert_int_equal(im_confine_check(NULL, &err), -ENOTSUP);
    assert_non_null(strstr(err.message, "Landlock"));
    im_confine_landlock_max = UINT_MAX;
}

/* As the toolkit with a source of the network: with openat2, for who fetches, and then without. */
static int read_offline(const char *path)
{
    struct im_confine confine = IM_CONFINE;

    confine.programs = confine.network = true;
    if (im_confine_begin(&confine, NULL) < 0 || allow(&confine, "read", IM_MAY_READ) < 0 ||
        im_confine_self(&confine, NULL) < 0 || read_by_openat2(path) != 0 ||
        im_confine_offline(NULL) < 0)
        return -CANNOT;
    return read_by_openat2(path);
}

/* A filter does not see this call's flags and modes, and Landlock 2 knows nothing of emptying.  Who
 * starts no program, which makes no files either, has it where Landlock knows that. */
static void who_parses_does_not_open_by_openat2(void **state)
{
    const struct attempt attempt = { "openat2", empty_by_openat2, "read/file", 0, false };
    const struct attempt setuid = { "openat2", create_by_openat2, "write/new", 0, false };
    const struct attempt offline = { "openat2", read_offline, "read/file", 0, false };

    (void)state;
    assert_int_equal(outcome(&attempt, 0), 0);
    assert_int_equal(outcome(&setuid, 0), 0);
    assert_int_equal(outcome(&attempt, PLAIN), EACCES);
    for (unsigned landlock = 3; landlock >= 2; landlock--) {
        im_confine_landlock_max = landlock;
        assert_int_equal(outcome(&attempt, PROGRAMS), ENOSYS);
        assert_int_equal(outcome(&setuid, PROGRAMS), ENOSYS);
        assert_int_equal(outcome(&offline, 0), ENOSYS);
    }
    assert_int_equal(outcome(&attempt, PLAIN), ENOSYS);
    im_confine_landlock_max = UINT_MAX;
}

/* In a process of its own, that keeps entries of a cache. */
static int change_what_it_keeps(const char *path)
{
    struct im_confine confine = IM_CONFINE;
    int r;

    confine.programs = confine.entries = true;
    if (im_confine_begin(&confine, NULL) < 0 || allow(&confine, "read", IM_MAY_READ) < 0 ||
        im_confine_self(&confine, NULL) < 0)
        return -CANNOT;
    r = change_open_mode(path);
    if (r == 0)
        r = change_open_times(path);
    return r == 0 && change_times(path) == -ENOSYS ? change_open_owner(path) : -CANNOT;
}

/* `cache add` reads no image, so that it may. */
static void who_keeps_entries_changes_modes_and_times(void **state)
{
    const struct attempt attempt = { "an entry", change_what_it_keeps, "read/file", 0, false };

    (void)state;
    assert_int_equal(outcome(&attempt, 0), ENOSYS);
}

/* In a process of its own: reach the server twice, and no pair of sockets after that. */
static int reach_offline(void)
{
    struct im_confine confine = IM_CONFINE;
    int r;

    confine.network = true;
    if (im_confine_begin(&confine, NULL) < 0 || im_confine_self(&confine, NULL) < 0)
        return CANNOT;
    r = connect_tcp(NULL);
    if (r < 0 || im_confine_offline(NULL) < 0)
        return CANNOT;
    return pair_of_streams(NULL) == -ENOSYS ? -connect_tcp(NULL) : CANNOT;
}

static void who_goes_offline_reaches_nobody(void **state)
{
    pid_t pid = fork();
    int status;

    (void)state;
    if (pid == 0)
        _exit(reach_offline());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), ENOSYS);
}

/* In a process of its own: start one that tries to be no part of it, and says when it has. */
static _Noreturn void leave_behind(int fd)
{
    confine(PROGRAMS);
    if (fork() == 0) {
        (void)alarm(60);
        (void)setsid();
        (void)setpgid(0, 0);
        (void)!write(fd, "x", 1);
    }
    for (;;)
        (void)pause();
}

static void nothing_outlives_its_group(void **state)
{
    struct pollfd end = { .events = POLLIN };
    int ends[2];
    char byte;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        (void)setpgid(0, 0);
        leave_behind(ends[1]);
    }
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    (void)im_spawn_kill(pid, 0);
    end.fd = ends[0];
    assert_int_equal(poll(&end, 1, 10000), 1);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    (void)close(ends[0]);
}

static void *wait_there(void *arg)
{
    char byte;

    (void)!read(*(int *)arg, &byte, 1);
    return NULL;
}

static void threads_that_would_stay_free_are_refused(void **state)
{
    struct im_confine confine IM_CONFINE_DONE = IM_CONFINE;
    struct im_error err = { 0 };
    pthread_t thread;
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_there, &ends[0]), 0);
    assert_int_equal(im_confine_begin(&confine, &err), 0);
    assert_int_equal(im_confine_self(&confine, &err), -EBUSY);
    (void)close(ends[1]);
    (void)pthread_join(thread, NULL);
    (void)close(ends[0]);
}

/* In a process of its own, with mounts of its own: something in place of a directory. */
static void cover(const char *directory)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("cover", directory, "tmpfs", 0, NULL) < 0)
        _exit(77);
}

/* What a process of its own exits with: 0, 77 where it cannot have mounts. */
static void expect(int (*work)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(work());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int confine_unseen(void)
{
    struct im_confine confine = IM_CONFINE;
    struct im_error err = { 0 };

    cover("/proc");
    return im_confine_begin(&confine, &err) == 0 && im_confine_self(&confine, &err) == -EBUSY &&
                   strstr(err.message, "/proc") && im_confine_offline(&err) == -EBUSY
               ? 0
               : 1;
}

static const char *const read_below_usr[] = {
    "/usr/local/share/data/file",
    "/usr/local/libexec/helper",
    "/usr/local/lib/library",
    "/usr/local/bin/program",
    "/usr/bin/env",
};

/* Other systems keep certificates elsewhere than Debian does, and keys beside them. */
static int read_certificates(void)
{
    struct im_confine confine = IM_CONFINE;

    cover("/etc");
    if (system(
            "mkdir -p /etc/pki/ca-trust/extracted/pem /etc/pki/tls/certs /etc/pki/tls/private;"
            "cd /etc/pki; echo > ca-trust/extracted/pem/tls-ca-bundle.pem; echo > tls/private/key;"
            "ln -s ../../ca-trust/extracted/pem/tls-ca-bundle.pem tls/certs/ca-bundle.crt") != 0)
        return 1;
    confine.network = true;
    if (im_confine_begin(&confine, NULL) < 0 || im_confine_self(&confine, NULL) < 0)
        return CANNOT;
    return read_file("/etc/pki/tls/certs/ca-bundle.crt") == 0 &&
                   read_file("/etc/pki/tls/private/key") == -EACCES
               ? 0
               : 1;
}

/* As installed without a prefix: settings, state and a program's data. */
static int read_settings_below_usr(void)
{
    struct im_confine confine = IM_CONFINE;

    cover("/usr/local");
    if (system("cd /usr/local && mkdir -p etc/imaging-service var/lib share/data libexec lib bin &&"
               "touch etc/imaging-service/imaging-service.conf var/lib/key share/data/file "
               "libexec/helper lib/library bin/program") != 0)
        return 1;
    if (im_confine_begin(&confine, NULL) < 0 || im_confine_self(&confine, NULL) < 0)
        return CANNOT;
    for (size_t i = 0; i < sizeof(read_below_usr) / sizeof(read_below_usr[0]); i++)
        if (read_file(read_below_usr[i]) != 0)
            return 2;
    return read_file("/usr/local/etc/imaging-service/imaging-service.conf") == -EACCES &&
                   read_file("/usr/local/var/lib/key") == -EACCES && list("/usr") == -EACCES
               ? 0
               : 3;
}

static void settings_below_usr_are_not_read(void **state)
{
    (void)state;
    expect(read_settings_below_usr);
}

static void certificates_of_other_systems_are_read(void **state)
{
    (void)state;
    expect(read_certificates);
}

static void who_cannot_count_its_threads_is_refused(void **state)
{
    (void)state;
    expect(confine_unseen);
}

/* ---- the place ---- */

static void make_file(const char *directory, const char *name, const char *text, mode_t mode)
{
    char path[PATH_MAX];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s/%s", top, directory, name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    (void)close(fd);
}

/* /bin/true, so that no interpreter has to be allowed. */
static void copy_program(const char *directory)
{
    char command[PATH_MAX];

    (void)snprintf(command, sizeof(command), "cp /bin/true %s/%s/program", top, directory);
    assert_int_equal(system(command), 0);
}

static void make_directory_here(const char *name)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/%s", top, name);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(chmod(path, 0777), 0);
}

static void open_doors(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_un there = { .sun_family = AF_UNIX };
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int local = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(address);

    (void)snprintf(there.sun_path, sizeof(there.sun_path), "%s/socket", top);
    assert_int_equal(bind(tcp, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(tcp, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(bind(local, (struct sockaddr *)&there, sizeof(there)), 0);
    assert_int_equal(listen(tcp, 64) + listen(local, 64), 0);
    assert_int_equal(chmod(there.sun_path, 0777), 0);
    port = address.sin_port;
}

static int set_up(void **state)
{
    static const char *const names[] = { "read", "write", "else" };
    /* whose modes and times nobody, too, may change */
    static const char *const owned[] = { "read", "read/file", "else/file" };

    (void)state;
    assert_non_null(mkdtemp(top));
    assert_int_equal(chmod(top, 0777), 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        make_directory_here(names[i]);
        make_file(names[i], "file", "text", 0666);
        copy_program(names[i]);
    }
    make_directory_here("write/below");
    make_directory_here("nest");
    for (size_t i = 0; geteuid() == 0 && i < sizeof(owned) / sizeof(owned[0]); i++) {
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/%s", top, owned[i]);
        assert_int_equal(chown(path, NOBODY, NOBODY), 0);
    }
    open_doors();
    return 0;
}

static int tear_down(void **state)
{
    char command[PATH_MAX];

    (void)state;
    (void)snprintf(command, sizeof(command), "rm -rf %s", top);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_allowed_is_refused),
        cmocka_unit_test(also_with_the_landlock_of_debian_12),
        cmocka_unit_test(also_to_nobody),
        cmocka_unit_test(who_parses_does_not_open_by_openat2),
        cmocka_unit_test(who_keeps_entries_changes_modes_and_times),
        cmocka_unit_test(who_goes_offline_reaches_nobody),
        cmocka_unit_test(nothing_outlives_its_group),
        cmocka_unit_test(a_machine_that_cannot_is_told_of),
        cmocka_unit_test(threads_that_would_stay_free_are_refused),
        cmocka_unit_test(who_cannot_count_its_threads_is_refused),
        cmocka_unit_test(settings_below_usr_are_not_read),
        cmocka_unit_test(certificates_of_other_systems_are_read),
    };

    /* asked of the kernel, not of what is tested */
    if (syscall(LANDLOCK_CREATE_RULESET, NULL, 0, 1) < 2) {
        puts("SKIP: this kernel cannot confine");
        return 77;
    }
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

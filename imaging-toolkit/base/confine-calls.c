/* confine-calls - which system calls a confined process may make.
 *
 * A list of what is allowed; everything else fails with ENOSYS, as in a kernel without it, which is
 * what libraries are prepared for (io_uring, clone3).  A few calls are allowed with some arguments
 * only.  Flags in memory cannot be looked at by a filter: hence no clone3.
 *
 * Written by hand and not with libseccomp: its 2.5 can load a filter only with calls that are not
 * safe between fork and exec, and the service and the clients would need the library, too. */

#include <config.h>

#include "base/confine-calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/confine.h"

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define OUR_ARCH AUDIT_ARCH_RISCV64
#else
#error "base/confine-calls.c does not know this machine's architecture: add its AUDIT_ARCH_… here"
#endif

/* Where Debian 12's headers do not know a call its kernel may have. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

/* Those made most often come first.  Names are safe here: Landlock decides about files. */
static const int always[] = {
    SYS_read,
    SYS_write,
    SYS_pread64,
    SYS_pwrite64,
    SYS_futex,
    SYS_lseek,
    SYS_close,
    SYS_newfstatat,
    SYS_mmap,
    SYS_munmap,
    SYS_mprotect,
    SYS_madvise,
    SYS_clock_gettime,
    SYS_ppoll,
    /* descriptors and files */
    SYS_readv,
    SYS_writev,
    SYS_preadv,
    SYS_pwritev,
    SYS_preadv2,
    SYS_pwritev2,
    SYS_fstat,
    SYS_statx,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_readlinkat,
    SYS_getdents64,
    SYS_getcwd,
    SYS_chdir,
    SYS_fchdir,
    SYS_dup,
    SYS_dup3,
    SYS_flock,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_sync_file_range,
    SYS_fadvise64,
    SYS_readahead,
    SYS_copy_file_range,
    SYS_sendfile,
    SYS_statfs,
    SYS_fstatfs,
    SYS_umask,
    SYS_pipe2,
    SYS_eventfd2,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_pselect6,
    SYS_close_range,
    /* memory */
    SYS_brk,
    SYS_mremap,
    SYS_msync,
    SYS_mincore,
    SYS_mlock,
    SYS_munlock,
    SYS_membarrier,
    SYS_getrandom,
    /* threads and signals of its own */
    SYS_set_robust_list,
    SYS_get_robust_list,
    SYS_set_tid_address,
    SYS_rseq,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_sched_getparam,
    SYS_sched_getscheduler,
    SYS_sched_get_priority_max,
    SYS_sched_get_priority_min,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigpending,
    SYS_rt_sigsuspend,
    SYS_rt_sigtimedwait,
    SYS_sigaltstack,
    SYS_signalfd4,
    SYS_restart_syscall,
    SYS_exit,
    SYS_exit_group,
    /* time */
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    SYS_times,
    SYS_getitimer,
    SYS_setitimer,
    SYS_timer_create,
    SYS_timer_settime,
    SYS_timer_gettime,
    SYS_timer_getoverrun,
    SYS_timer_delete,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_timerfd_gettime,
    /* who and where it is */
    SYS_getpid,
    SYS_gettid,
    SYS_getppid,
    SYS_getpgid,
    SYS_getsid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getresuid,
    SYS_getresgid,
    SYS_getgroups,
    SYS_uname,
    SYS_sysinfo,
    SYS_getcpu,
    SYS_getrusage,
    SYS_capget,
    /* confining itself further */
    SYS_seccomp,
    SYS_landlock_create_ruleset,
    SYS_landlock_add_rule,
    SYS_landlock_restrict_self,
#ifdef __x86_64__
    SYS_access,
    SYS_alarm,
    SYS_arch_prctl,
    SYS_dup2,
    SYS_epoll_create,
    SYS_epoll_wait,
    SYS_eventfd,
    SYS_getdents,
    SYS_getpgrp,
    SYS_getrlimit,
    SYS_lstat,
    SYS_pause,
    SYS_pipe,
    SYS_poll,
    SYS_readlink,
    SYS_select,
    SYS_stat,
    SYS_time,
#endif
};

/* Names appear and go, and programs are started.  No modes, owners or times change, by name or by
 * descriptor: Landlock does not know that.  What root makes in somebody's place is made as that
 * user (cache/place.c). */
static const int programs[] = {
    SYS_renameat2,
    SYS_linkat,
    SYS_unlinkat,
    SYS_mkdirat,
    SYS_setfsuid,
    SYS_setfsgid,
    SYS_inotify_init1,
    SYS_inotify_add_watch,
    SYS_inotify_rm_watch,
    SYS_wait4,
    SYS_waitid,
#ifdef SYS_renameat
    SYS_renameat,
#endif
#ifdef __x86_64__
    SYS_rename,
    SYS_link,
    SYS_unlink,
    SYS_mkdir,
    SYS_rmdir,
    SYS_fork,
    SYS_vfork,
    SYS_setrlimit,
#endif
};

/* Of files that are open, and times (see judge_times). */
static const int entries[] = { SYS_fchmod };

/* The toolkit and who fetches for it.  No limit of a process counts such a file's bytes, so that
 * what is to be bounded by limits makes none. */
static const int in_memory[] = { SYS_memfd_create };

/* Another program in its own place, too: who is confined between fork and exec needs it. */
static const int starting[] = { SYS_execve };

/* A client's; `bind` is netlink's, which getaddrinfo asks for the machine's addresses. */
static const int network[] = {
    SYS_connect,     SYS_bind,       SYS_sendto,     SYS_recvfrom, SYS_sendmsg,
    SYS_recvmsg,     SYS_sendmmsg,   SYS_recvmmsg,   SYS_shutdown, SYS_getsockname,
    SYS_getpeername, SYS_setsockopt, SYS_getsockopt,
};

/* Opens below a directory and nowhere else, as who fetches does with the uploads of this machine.
 * Its flags and mode are out of a filter's sight, so that who makes files does without: see
 * judge_files. */
static const int beneath[] = { SYS_openat2 };

static const int mounts[] = { SYS_fsopen, SYS_fsconfig, SYS_fsmount };

/* LeakSanitizer stops the threads of its process with ptrace, from a helper. */
static const int sanitizers[] = { SYS_ptrace, SYS_wait4, SYS_clone, SYS_process_vm_readv };

/* ---- the filter ---- */

struct program {
    struct sock_filter *filter;
    size_t count;
};

static void add(struct program *to, struct sock_filter instruction)
{
    to->filter[to->count++] = instruction;
}

#define STATEMENT(code, k) ((struct sock_filter)BPF_STMT((unsigned short)(code), (uint32_t)(k)))
#define JUMP(code, k, yes, no)                                                                     \
    ((struct sock_filter)BPF_JUMP((unsigned short)(code), (uint32_t)(k), (yes), (no)))
#define FIELD(name) offsetof(struct seccomp_data, name)
#define ALLOW       STATEMENT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define REFUSE      STATEMENT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS)

static void allow(struct program *to, const int *call, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        add(to, JUMP(BPF_JMP | BPF_JEQ | BPF_K, call[i], 0, 1));
        add(to, ALLOW);
    }
}

#define ALLOW_ALL(to, calls) allow((to), (calls), sizeof(calls) / sizeof((calls)[0]))

/* What a test of an argument leads to; what passes goes on to the next test. */
enum { IF_SET, IF_EQUAL, IF_OTHER, IF_CLEAR, TESTS = 3 };
struct clause {
    /* one of the above, and of which half: nothing more for the argument's low one */
    unsigned test;
    uint32_t value;
    bool allowed;
};

/* The low half of an argument comes first on all machines above. */
#define HALF(n)        ((unsigned)(n) << 2)
#define HIGH_HALF      HALF(1)
#define THIRD_ARGUMENT HALF(4) /* of a call that is judged by its first */
#define NEXT_ARGUMENT  HALF(2)

/* Judge a call by halves of arguments (the kernel takes an int of most that are judged): the first
 * clause that holds decides, `otherwise` where none does. */
static void judge(struct program *to, int call, unsigned argument, const struct clause *clause,
                  size_t count, bool otherwise)
{
    add(to, JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, (uint8_t)(3 * count + 1)));
    for (size_t i = 0; i < count; i++) {
        size_t at = argument * sizeof(uint64_t) + (clause[i].test >> 2) * sizeof(uint32_t);
        unsigned test = clause[i].test & TESTS;
        int code = test == IF_SET || test == IF_CLEAR ? BPF_JSET : BPF_JEQ;
        bool other = test == IF_OTHER || test == IF_CLEAR;

        add(to, STATEMENT(BPF_LD | BPF_W | BPF_ABS, FIELD(args) + at));
        add(to, JUMP(BPF_JMP | code | BPF_K, clause[i].value, other, !other));
        add(to, clause[i].allowed ? ALLOW : REFUSE);
    }
    add(to, otherwise ? ALLOW : REFUSE);
}

#define JUDGE(to, call, argument, otherwise, ...)                                                  \
    judge((to), (call), (argument), (const struct clause[]){ __VA_ARGS__ },                        \
          sizeof((const struct clause[]){ __VA_ARGS__ }) / sizeof(struct clause), (otherwise))

/* Namespaces that clone makes; a child's signal is where CLONE_NEWTIME would be. */
#define NAMESPACES                                                                                 \
    ((uint32_t)CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |       \
     CLONE_NEWPID | CLONE_NEWNET)

/* Processes: its own threads; and, of a process that starts programs, those, none of which leaves
 * its group or has another parent, and the signals that end them.  Landlock keeps its signals among
 * what it has started, but only since version 6: so the parent is named, too. */
static void judge_processes(struct program *to, bool programs_too)
{
    uint32_t parent = (uint32_t)getppid(), group = (uint32_t)getpgid((pid_t)parent);
    uint32_t own = (uint32_t)getpgrp(); /* which it cannot leave */

    if (programs_too) {
        JUDGE(to, SYS_clone, 0, true, { IF_SET, NAMESPACES | CLONE_PARENT, false });
        JUDGE(to, SYS_tgkill, 0, true, { IF_EQUAL, parent, false });
        /* not its parent, its parent's group, its own, everybody */
        JUDGE(to, SYS_kill, 0, true, { IF_EQUAL, parent, false }, { IF_EQUAL, -group, false },
              { IF_EQUAL, -own, false }, { IF_EQUAL, 0, false }, { IF_EQUAL, UINT32_MAX, false });
        JUDGE(to, SYS_prctl, 0, true, { IF_EQUAL, PR_SET_MM, false });
    } else {
        JUDGE(to, SYS_clone, 0, false, { IF_SET, NAMESPACES, false },
              { IF_SET, CLONE_THREAD, true });
        JUDGE(to, SYS_tgkill, 0, false, { IF_EQUAL, (uint32_t)getpid(), true });
        /* it ends with whoever started it */
        JUDGE(to, SYS_prctl, 0, true, { IF_EQUAL, PR_SET_PDEATHSIG, false },
              { IF_EQUAL, PR_SET_MM, false });
    }
    JUDGE(to, SYS_prlimit64, 0, false, { IF_EQUAL, 0, true });
}

/* Times of a descriptor: the name is a pointer, and null. */
static void judge_times(struct program *to)
{
    JUDGE(to, SYS_utimensat, 1, true, { IF_OTHER, 0, false }, { IF_OTHER | HIGH_HALF, 0, false });
}

/* Flags with which a call makes a file, that has the mode of the argument behind them. */
#define MAKING  ((uint32_t)(O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))
#define SETS_ID ((uint32_t)(S_ISUID | S_ISGID))

/* Calls that do a bit of everything. */
static void judge_files(struct program *to, unsigned landlock)
{
    /* before its version 3 Landlock lets who may read a file empty it, so that all but who fetches
     * do without SYS_openat2, which hides its flags; and no file begins as setuid */
    uint32_t emptying = landlock < 3 ? O_TRUNC : 0;

    JUDGE(to, SYS_openat, 2, true, { IF_SET, emptying, false }, { IF_CLEAR, MAKING, true },
          { IF_SET | NEXT_ARGUMENT, SETS_ID, false });
#ifdef SYS_open
    JUDGE(to, SYS_open, 1, true, { IF_SET, emptying, false }, { IF_CLEAR, MAKING, true },
          { IF_SET | NEXT_ARGUMENT, SETS_ID, false });
#endif
    /* typing into its terminal; signals by way of a descriptor; what a file is, besides its mode,
     * which its owner may change of any that is open */
    JUDGE(to, SYS_ioctl, 1, true, { IF_EQUAL, TIOCSTI, false }, { IF_EQUAL, TIOCLINUX, false },
          { IF_EQUAL, FIOSETOWN, false }, { IF_EQUAL, SIOCSPGRP, false },
          { IF_EQUAL, (uint32_t)FS_IOC_SETFLAGS, false },
          { IF_EQUAL, (uint32_t)FS_IOC_FSSETXATTR, false },
          { IF_EQUAL, (uint32_t)FS_IOC_ENABLE_VERITY, false });
    /* signals of its files, and leases, for which others wait who open them */
    JUDGE(to, SYS_fcntl, 1, true, { IF_EQUAL, F_SETOWN, false }, { IF_EQUAL, F_SETOWN_EX, false },
          { IF_EQUAL, F_SETSIG, false }, { IF_EQUAL, F_SETLEASE, false },
          { IF_EQUAL, F_NOTIFY, false });
}

/* What every filter begins with: calls of another architecture have other numbers. */
static void begin(struct program *to)
{
    add(to, STATEMENT(BPF_LD | BPF_W | BPF_ABS, FIELD(arch)));
    add(to, JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0));
    add(to, STATEMENT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
    add(to, STATEMENT(BPF_LD | BPF_W | BPF_ABS, FIELD(nr)));
}

size_t im_confine_calls(const struct im_confine *confine, struct sock_filter filter[IM_CALLS_MAX])
{
    struct program to = { .filter = filter };

    begin(&to);
    ALLOW_ALL(&to, always);
    if (confine->sanitizers)
        ALLOW_ALL(&to, sanitizers);
    if (confine->programs)
        ALLOW_ALL(&to, programs);
    if (confine->programs || confine->network)
        ALLOW_ALL(&to, in_memory);
    if (confine->programs || !confine->network)
        ALLOW_ALL(&to, starting);
    if (confine->mounts)
        ALLOW_ALL(&to, mounts);
    if (confine->entries) {
        ALLOW_ALL(&to, entries);
        judge_times(&to);
    }
    if (confine->network || (confine->landlock >= 3 && !confine->programs))
        ALLOW_ALL(&to, beneath);
    if (confine->network) {
        ALLOW_ALL(&to, network);
        /* netlink has a protocol for every part of the kernel */
        JUDGE(&to, SYS_socket, 0, false, { IF_EQUAL, AF_INET, true }, { IF_EQUAL, AF_INET6, true },
              { IF_OTHER, AF_NETLINK, false }, { IF_EQUAL | THIRD_ARGUMENT, NETLINK_ROUTE, true });
        /* a pair of datagram sockets can speak to others by their names */
        JUDGE(&to, SYS_socketpair, 1, false, { IF_EQUAL, SOCK_STREAM, true },
              { IF_EQUAL, SOCK_STREAM | SOCK_CLOEXEC, true },
              { IF_EQUAL, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, true });
    }
    judge_processes(&to, confine->programs);
    judge_files(&to, confine->landlock);
    add(&to, REFUSE);
    return to.count;
}

/* Refuse what the list before it, which stands, allows. */
static void refuse(struct program *to, const int *call, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        add(to, JUMP(BPF_JMP | BPF_JEQ | BPF_K, call[i], 0, 1));
        add(to, REFUSE);
    }
}

#define REFUSE_ALL(to, calls) refuse((to), (calls), sizeof(calls) / sizeof((calls)[0]))

/* io_uring makes sockets, too, but is on no list. */
size_t im_confine_calls_offline(struct sock_filter filter[IM_CALLS_MAX])
{
    static const int reaching[] = { SYS_socket, SYS_socketpair, SYS_connect, SYS_bind };
    struct program to = { .filter = filter };

    begin(&to);
    REFUSE_ALL(&to, reaching);
    REFUSE_ALL(&to, beneath);
    add(&to, ALLOW);
    return to.count;
}

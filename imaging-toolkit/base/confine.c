/* confine - what a process can still do from now on; see confine.h. */

#include <config.h>

#include "base/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/confine-calls.h"

/* ---- Landlock, as the kernel's documentation tells (userspace-api/landlock).  Debian 12's headers
 * know less than newer kernels do, hence all of it is here. ---- */

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

#define ASK_VERSION  1u /* flag of create_ruleset */
#define PATH_BENEATH 1u /* type of a rule */
#define LOWEST       2u /* before that nothing can be renamed into another directory */
#define TRUNCATION   3u
#define NETWORK      4u
#define DEVICES      5u
#define SCOPES       6u

enum {
    FS_RUN = 1 << 0,
    FS_WRITE = 1 << 1,
    FS_READ = 1 << 2,
    FS_LIST = 1 << 3,
    FS_REMOVE = 3 << 4, /* directories and files */
    FS_MAKE = 127 << 6, /* devices, directories, files, sockets, pipes and links … */
    FS_MAKE_DIRECTORY = 1 << 7,
    FS_MAKE_FILE = 1 << 8,
    FS_REFER = 1 << 13, /* a file gets a name in another directory */
    FS_TRUNCATE = 1 << 14,
    FS_IOCTL = 1 << 15, /* of devices */
};
enum { NET_BIND = 1 << 0, NET_CONNECT = 1 << 1 };
enum { SCOPE_SOCKETS = 1 << 0, SCOPE_SIGNALS = 1 << 1 };

struct ruleset {
    uint64_t fs, net, scoped;
};

struct beneath {
    uint64_t allowed;
    int32_t fd;
} __attribute__((packed));

unsigned im_confine_landlock_max = UINT_MAX;

static unsigned landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, ASK_VERSION);

    if (version < (long)LOWEST || im_confine_landlock_max < LOWEST)
        return 0;
    return version < (long)im_confine_landlock_max ? (unsigned)version : im_confine_landlock_max;
}

/* Everything a version knows about files. */
static uint64_t file_rights(unsigned version)
{
    return FS_RUN | FS_WRITE | FS_READ | FS_LIST | FS_REMOVE | FS_MAKE | FS_REFER |
           (version >= TRUNCATION ? FS_TRUNCATE : 0) | (version >= DEVICES ? FS_IOCTL : 0);
}

/* The size tells the kernel which of the fields there are. */
static int create_ruleset(unsigned version, bool network)
{
    struct ruleset all = {
        .fs = file_rights(version),
        .net = NET_BIND | (network ? 0 : NET_CONNECT),
        .scoped = SCOPE_SOCKETS | SCOPE_SIGNALS,
    };
    size_t size = version >= SCOPES    ? sizeof(all)
                  : version >= NETWORK ? offsetof(struct ruleset, scoped)
                                       : offsetof(struct ruleset, net);

    return (int)syscall(SYS_landlock_create_ruleset, &all, size, 0);
}

/* ---- what is allowed ---- */

/* Programs and their libraries, and what they read that tells nothing of anybody.  Not all of /usr:
 * in /usr/local are settings and state, too, of what was installed without a prefix. */
static const struct {
    const char *path;
    unsigned what;
} everybody[] = {
    { "/usr/bin", IM_MAY_READ },
    { "/usr/sbin", IM_MAY_READ },
    { "/usr/lib", IM_MAY_READ },
    { "/usr/lib32", IM_MAY_READ },
    { "/usr/lib64", IM_MAY_READ },
    { "/usr/libexec", IM_MAY_READ },
    { "/usr/share", IM_MAY_READ },
    { "/usr/local/bin", IM_MAY_READ },
    { "/usr/local/lib", IM_MAY_READ },
    { "/usr/local/lib64", IM_MAY_READ },
    { "/usr/local/libexec", IM_MAY_READ },
    { "/usr/local/share", IM_MAY_READ },
    { "/lib", IM_MAY_READ },
    { "/lib64", IM_MAY_READ },
    { "/bin", IM_MAY_READ },
    { "/sbin", IM_MAY_READ },
    { "/lib64/ld-linux-x86-64.so.2", IM_MAY_RUN },
    { "/lib/ld-linux-aarch64.so.1", IM_MAY_RUN },
    { "/lib/ld-linux-riscv64-lp64d.so.1", IM_MAY_RUN },
    { "/etc/ld.so.cache", IM_MAY_READ },
    { "/etc/ssl/openssl.cnf", IM_MAY_READ },
    { "/etc/pki/tls/openssl.cnf", IM_MAY_READ },
    { "/etc/crypto-policies", IM_MAY_READ },
    { "/etc/mke2fs.conf", IM_MAY_READ },
    { "/dev/null", IM_MAY_READ | IM_MAY_WRITE },
    { "/dev/zero", IM_MAY_READ },
    { "/dev/urandom", IM_MAY_READ },
};

/* What a client of servers reads: names, addresses, certificates. */
static const char *const client_files[] = {
    "/etc/resolv.conf",   "/etc/hosts",           "/etc/host.conf",      "/etc/nsswitch.conf",
    "/etc/pki/tls/certs", "/etc/pki/ca-trust",    "/etc/gai.conf",       "/etc/services",
    "/etc/ssl/certs",     "/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf",
};

int im_confine_begin(struct im_confine *confine, struct im_error *err)
{
    size_t files = confine->network ? sizeof(client_files) / sizeof(client_files[0]) : 0;
    int low, r = 0;

    confine->landlock = landlock_version();
    if (confine->landlock == 0)
        return 0;
    low = create_ruleset(confine->landlock, confine->network);
    /* where no descriptor that a child is given can take its place */
    confine->ruleset = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, 10);
    if (confine->ruleset < 0)
        r = im_fail_errno(err, errno, "cannot confine this process");
    if (low >= 0)
        (void)close(low);
    for (size_t i = 0; r == 0 && i < sizeof(everybody) / sizeof(everybody[0]); i++)
        r = im_confine_allow(confine, everybody[i].path, everybody[i].what, err);
    for (size_t i = 0; r == 0 && i < files; i++)
        r = im_confine_allow(confine, client_files[i], IM_MAY_READ, err);
    if (r == 0 && confine->sanitizers) /* which read there about their own process */
        r = im_confine_allow(confine, "/proc", IM_MAY_READ, err);
    return r;
}

/* In Landlock's words; of a file only what can be done with one. */
static uint64_t rights_of(unsigned what, mode_t mode)
{
    uint64_t file = (what & IM_MAY_READ ? FS_READ : 0) | (what & IM_MAY_RUN ? FS_RUN : 0) |
                    (what & IM_MAY_WRITE ? FS_WRITE | FS_TRUNCATE : 0);
    uint64_t names = (what & (IM_MAY_LIST | IM_MAY_READ) ? FS_LIST : 0) |
                     (what & IM_MAY_WRITE ? FS_REMOVE | FS_MAKE_FILE | FS_REFER : 0) |
                     (what & IM_MAY_NEST ? FS_MAKE_DIRECTORY : 0);

    if (S_ISDIR(mode))
        return file | names;
    return file | (S_ISBLK(mode) || S_ISCHR(mode) ? FS_IOCTL : 0);
}

int im_confine_allow_fd(struct im_confine *confine, int fd, unsigned what, struct im_error *err)
{
    struct beneath beneath = { .fd = fd };
    struct stat st;

    if (confine->ruleset < 0)
        return 0;
    if (fstat(fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot confine this process");
    beneath.allowed = rights_of(what, st.st_mode) & file_rights(confine->landlock);
    if (beneath.allowed == 0 ||
        syscall(SYS_landlock_add_rule, confine->ruleset, PATH_BENEATH, &beneath, 0) == 0 ||
        errno == EBADFD) /* in no file system: always allowed */
        return 0;
    return im_fail_errno(err, errno, "cannot confine this process");
}

int im_confine_allow(struct im_confine *confine, const char *path, unsigned what,
                     struct im_error *err)
{
    int fd IM_CLOSE = -1;

    if (confine->ruleset < 0)
        return 0;
    fd = open(path, O_PATH | O_CLOEXEC);
    if (fd >= 0)
        return im_confine_allow_fd(confine, fd, what, err);
    return errno == EMFILE || errno == ENFILE || errno == ENOMEM
               ? im_fail_errno(err, errno, "cannot confine this process")
               : 0;
}

int im_confine_allow_libraries(struct im_confine *confine, struct im_error *err)
{
    const char *told = getenv("LD_LIBRARY_PATH");
    char *places IM_FREE = strdup(told ? told : "");
    char *rest = places, *place;
    int r = places ? 0 : im_fail(err, ENOMEM, "out of memory");

    while (r == 0 && (place = strsep(&rest, ":;")))
        if (*place)
            r = im_confine_allow(confine, place, IM_MAY_READ, err);
    return r;
}

int im_confine_begin_client(struct im_confine *confine, struct im_error *err)
{
    int r;

    confine->network = true;
    confine->sanitizers = IM_SANITIZED;
    r = im_confine_begin(confine, err);
    return r < 0 ? r : im_confine_allow_libraries(confine, err);
}

/* ---- putting it in force ---- */

static int filter_calls(const struct im_confine *confine)
{
    struct sock_filter filter[IM_CALLS_MAX];
    const struct sock_fprog program = {
        .len = (unsigned short)im_confine_calls(confine, filter),
        .filter = filter,
    };

    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

int im_confine_enter(const struct im_confine *confine)
{
    bool lacking = confine->ruleset < 0;
    int r;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    if (!lacking && syscall(SYS_landlock_restrict_self, confine->ruleset, 0) < 0) {
        if (errno != ENOSYS && errno != EPERM) /* somebody's filter */
            return -errno;
        lacking = true;
    }
    r = filter_calls(confine);
    if (r < 0 && r != -EINVAL && r != -ENOSYS && r != -EPERM)
        return r;
    return r < 0 || lacking ? -ENOTSUP : 0;
}

static int lacks(const struct im_confine *confine, struct im_error *err)
{
    return im_fail_code(err, ENOTSUP, "Unconfined",
                        "this kernel, or what this process runs in, does not let it confine itself "
                        "(%s); a kernel of 5.19 or newer with Landlock and seccomp does",
                        confine->ruleset < 0 ? "there is no Landlock" : "seccomp is refused");
}

/* Threads there are already would stay as they are. */
static int check_single(struct im_error *err)
{
    struct stat st;

    if (stat("/proc/self/task", &st) < 0)
        return im_fail(err, EBUSY,
                       "this process cannot confine itself: /proc does not tell how many threads "
                       "it has (%s)",
                       strerrordesc_np(errno));
    if (st.st_nlink > 3)
        return im_fail(err, EBUSY, "a process with several threads cannot confine itself");
    return 0;
}

int im_confine_self(struct im_confine *confine, struct im_error *err)
{
    int r = check_single(err);

    if (r < 0)
        return r;
    r = im_confine_enter(confine);
    if (r == -ENOTSUP)
        r = lacks(confine, err);
    else if (r < 0)
        r = im_fail_errno(err, -r, "cannot confine this process");
    im_confine_done(confine);
    return r;
}

int im_confine_offline(struct im_error *err)
{
    struct sock_filter filter[IM_CALLS_MAX];
    const struct sock_fprog program = {
        .len = (unsigned short)im_confine_calls_offline(filter),
        .filter = filter,
    };
    int r = check_single(err);

    if (r < 0)
        return r;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        return im_fail_code(err, ENOTSUP, "Unconfined", "this process cannot go offline: %s",
                            strerrordesc_np(errno));
    return 0;
}

void im_confine_done(struct im_confine *confine)
{
    if (confine->ruleset >= 0)
        (void)close(confine->ruleset);
    confine->ruleset = -1;
}

/* ---- does it work? ---- */

struct trial {
    struct im_confine confine;
    int result;
};

/* The root directory is nobody's; nor is there any tracing. */
static void *try_it(void *arg)
{
    struct trial *trial = arg;
    int fd IM_CLOSE = -1;

    trial->result = im_confine_enter(&trial->confine);
    if (trial->result == 0) {
        fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 || syscall(SYS_unshare, 0) == 0)
            trial->result = -ENOTSUP;
    }
    return NULL;
}

int im_confine_check(unsigned *ret_landlock, struct im_error *err)
{
    struct trial trial = { .confine = IM_CONFINE, .result = -EAGAIN };
    pthread_t thread;
    int r = im_confine_begin(&trial.confine, err);

    if (r == 0 && pthread_create(&thread, NULL, try_it, &trial) == 0)
        (void)pthread_join(thread, NULL);
    if (r == 0 && trial.result == -ENOTSUP)
        r = lacks(&trial.confine, err);
    else if (r == 0 && trial.result < 0)
        r = im_fail_errno(err, -trial.result, "cannot try to confine a thread");
    if (r == 0 && ret_landlock)
        *ret_landlock = trial.confine.landlock;
    im_confine_done(&trial.confine);
    return r;
}

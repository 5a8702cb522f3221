/* unconfined - linked into the programs of `make coverage` alone, before functions of the same name
 * (tests/coverage/run tells the linker which).  gcov writes down what ran when a program ends; so
 * nothing is confined here, none of our processes is killed by another that could wait for it, and
 * an end by _exit is one, too. */

#define _GNU_SOURCE

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

struct im_confine;
struct im_error;

void __gcov_dump(void);
int __real_kill(pid_t pid, int number);
int __real_setrlimit(int what, const struct rlimit *limit);
_Noreturn void __real__exit(int status);

int __wrap_im_confine_enter(const struct im_confine *confine);
int __wrap_im_confine_self(struct im_confine *confine, struct im_error *err);
int __wrap_im_confine_offline(struct im_error *err);
int __wrap_kill(pid_t pid, int number);
int __wrap_setrlimit(int what, const struct rlimit *limit);
_Noreturn void __wrap__exit(int status);

int __wrap_im_confine_enter(const struct im_confine *confine)
{
    (void)confine;
    return 0;
}

int __wrap_im_confine_self(struct im_confine *confine, struct im_error *err)
{
    (void)confine;
    (void)err;
    return 0;
}

int __wrap_im_confine_offline(struct im_error *err)
{
    (void)err;
    return 0;
}

/* The process that fetches ends by its sockets where it cannot be killed (source/served-peer.c). */
int __wrap_kill(pid_t pid, int number)
{
    if (pid <= 0 || number != SIGKILL)
        return __real_kill(pid, number);
    errno = EPERM;
    return -1;
}

/* The second readers may write no more than the image has bytes. */
int __wrap_setrlimit(int what, const struct rlimit *limit)
{
    return what == RLIMIT_FSIZE ? 0 : __real_setrlimit(what, limit);
}

_Noreturn void __wrap__exit(int status)
{
    __gcov_dump();
    __real__exit(status);
}

/* hostile-job - what a toolkit does that an image has taken over, in the midst of its job: it goes
 * for other people's files, and for the service.
 *
 * A library that is loaded before the others (LD_PRELOAD).  When the toolkit, long confined by
 * then, makes its result durable, it tries everything with each file or directory that VICTIMS
 * names (separated by colons; behind a "+" is one that it may read), with the process SERVICE, its
 * PORT and the local SOCKET, and ends the job with an error that tells the letters of what it was
 * let do; "none" when that is nothing.  The same as a program (-DPROGRAM), which does it from the
 * directory that is its argument, shows that each attempt is one that works. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static char own[4096], spoil[4200]; /* a directory it may write in, and a name there */

static int opened(int fd)
{
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* The victim with a name in our directory, or one beside it; static. */
static const char *beside(const char *victim, const char *ending)
{
    static char path[4200];

    snprintf(path, sizeof(path), "%s%s", victim, ending);
    return path;
}

static int make_spoil(void)
{
    return opened(open(spoil, O_WRONLY | O_CREAT, 0600));
}

/* ---- each is true when it was let, and leaves a file for the next ---- */

static int reads(const char *victim)
{
    return opened(open(victim, O_RDONLY));
}
static int lists(const char *victim)
{
    char *copy = strdup(victim);

    return opened(open(dirname(copy), O_RDONLY | O_DIRECTORY));
}
static int writes(const char *victim)
{
    return opened(open(victim, O_WRONLY));
}
static int empties(const char *victim)
{
    return opened(open(victim, O_RDONLY | O_TRUNC));
}
static int empties_by_openat2(const char *victim)
{
    struct open_how how = { .flags = O_RDONLY | O_TRUNC };

    return opened((int)syscall(SYS_openat2, AT_FDCWD, victim, &how, sizeof(how)));
}
static int truncates(const char *victim)
{
    return truncate(victim, 0) == 0;
}
static int changes_mode(const char *victim)
{
    return chmod(victim, 0600) == 0;
}

/* Of a file and of its directory, open for reading, the one or the other. */
static int with_open(const char *victim, int (*change)(int fd))
{
    char *copy = strdup(victim);
    int file = open(victim, O_RDONLY | O_NONBLOCK), dir = open(dirname(copy), O_RDONLY);
    int let = (file >= 0 && change(file) == 0) | (dir >= 0 && change(dir) == 0);

    opened(file);
    opened(dir);
    return let;
}

static int same_mode(int fd)
{
    struct stat st;

    return fstat(fd, &st) < 0 ? -1 : fchmod(fd, st.st_mode & 07777);
}
static int same_owner(int fd)
{
    return fchown(fd, (uid_t)-1, (gid_t)-1);
}
static int same_times(int fd)
{
    struct stat st;

    return fstat(fd, &st) < 0 ? -1 : futimens(fd, (struct timespec[]){ st.st_atim, st.st_mtim });
}

static int changes_open_mode(const char *victim)
{
    return with_open(victim, same_mode);
}
static int changes_open_owner(const char *victim)
{
    return with_open(victim, same_owner);
}
static int changes_open_times(const char *victim)
{
    return with_open(victim, same_times);
}

/* Whoever starts it is its owner. */
static int makes_setuid(const char *victim)
{
    int fd = open(spoil, O_WRONLY | O_CREAT | O_EXCL, 04755);
    struct stat st;
    int let;

    (void)victim;
    let = fd >= 0 && ((fstat(fd, &st) == 0 && st.st_mode & S_ISUID) || fchmod(fd, 04755) == 0);
    opened(fd);
    return let;
}

static int links(const char *victim)
{
    return link(victim, spoil) == 0 && unlink(spoil) == 0;
}

static int links_descriptor(const char *victim)
{
    char self[64];
    int fd = open(victim, O_PATH), r;

    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    r = linkat(AT_FDCWD, self, AT_FDCWD, spoil, AT_SYMLINK_FOLLOW);
    opened(fd);
    return r == 0 && unlink(spoil) == 0;
}

static int makes_symlink(const char *victim)
{
    return symlink(victim, spoil) == 0 && unlink(spoil) == 0;
}
static int steals(const char *victim)
{
    return rename(victim, spoil) == 0 && rename(spoil, victim) == 0;
}
static int exchanges(const char *victim)
{
    return make_spoil() && renameat2(AT_FDCWD, spoil, AT_FDCWD, victim, RENAME_EXCHANGE) == 0 &&
           renameat2(AT_FDCWD, spoil, AT_FDCWD, victim, RENAME_EXCHANGE) == 0;
}
static int makes_beside(const char *victim)
{
    return opened(open(beside(victim, ".new"), O_WRONLY | O_CREAT | O_EXCL, 0600)) &&
           unlink(beside(victim, ".new")) == 0;
}
static int makes_directory_beside(const char *victim)
{
    return mkdir(beside(victim, ".new"), 0700) == 0 && rmdir(beside(victim, ".new")) == 0;
}

/* Deep ones are out of reach of whoever removes by path. */
static int makes_directory(const char *victim)
{
    (void)victim;
    return mkdir(spoil, 0700) == 0 && rmdir(spoil) == 0;
}

static int steals_directory(const char *victim)
{
    char *copy = strdup(victim), *dir = dirname(copy);

    return rename(dir, spoil) == 0 && rename(spoil, dir) == 0;
}

static int overwrites(const char *victim)
{
    return make_spoil() && rename(spoil, victim) == 0;
}
static int removes(const char *victim)
{
    return unlink(victim) == 0;
}

/* ---- the same, of the service ---- */

static int number(const char *name)
{
    return atoi(getenv(name));
}

static int reaches(int family, const void *address, socklen_t len)
{
    int fd = socket(family, SOCK_STREAM, 0);
    int r = connect(fd, address, len);

    opened(fd);
    return r == 0;
}

static int connects(const char *victim)
{
    struct sockaddr_in there = { .sin_family = AF_INET,
                                 .sin_port = htons(number("PORT")),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    (void)victim;
    return reaches(AF_INET, &there, sizeof(there));
}

static int connects_here(const char *victim)
{
    struct sockaddr_un there = { .sun_family = AF_UNIX };

    (void)victim;
    snprintf(there.sun_path, sizeof(there.sun_path), "%s", getenv("SOCKET"));
    return reaches(AF_UNIX, &there, sizeof(there));
}

static int signals(const char *victim)
{
    (void)victim;
    return kill(number("SERVICE"), 0) == 0;
}

static int traces(const char *victim)
{
    (void)victim;
    return ptrace(PTRACE_SEIZE, number("SERVICE"), NULL, NULL) == 0;
}

/* That nothing is at the address is told to who may look. */
static int reads_memory(const char *victim)
{
    char byte;
    struct iovec here = { &byte, 1 }, there = { &byte, 1 };

    (void)victim;
    return process_vm_readv(number("SERVICE"), &here, 1, &there, 1, 0) > 0 || errno == EFAULT;
}

static const struct {
    char letter;
    int (*let)(const char *victim);
} attempts[] = {
    { 'C', connects },
    { 'U', connects_here },
    { 'k', signals },
    { 'p', traces },
    { 'v', reads_memory },
    { 'r', reads },
    { 'a', lists },
    { 'w', writes },
    { 't', empties },
    { 'o', empties_by_openat2 },
    { 'T', truncates },
    { 'c', changes_mode },
    { 'f', changes_open_mode },
    { 'g', changes_open_owner },
    { 'h', changes_open_times },
    { 'S', makes_setuid },
    { 'l', links },
    { 'L', links_descriptor },
    { 's', makes_symlink },
    { 'n', steals },
    { 'x', exchanges },
    { 'm', makes_beside },
    { 'd', makes_directory_beside },
    { 'e', makes_directory },
    { 'D', steals_directory },
    { 'N', overwrites },
    { 'u', removes },
};

/* The letters; `directory` is our own. */
static const char *try_all(const char *directory)
{
    static char let[sizeof(attempts) / sizeof(attempts[0]) + 1];
    char *victims = strdup(getenv("VICTIMS")), *victim;

    snprintf(own, sizeof(own), "%s", directory);
    snprintf(spoil, sizeof(spoil), "%s/spoil", own);
    if (!make_spoil() || unlink(spoil) < 0)
        return "NOT EVEN ITS OWN";
    while ((victim = strsep(&victims, ":")))
        for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
            if (*victim == '+' && strchr("ra", attempts[i].letter))
                continue;
            if (attempts[i].let(victim + (*victim == '+')) && !strchr(let, attempts[i].letter))
                let[strlen(let)] = attempts[i].letter;
            (void)unlink(spoil);
        }
    return *let ? let : "none";
}

#ifdef PROGRAM
int main(int argc, char **argv)
{
    return argc == 2 && puts(try_all(argv[1])) >= 0 ? 0 : 1;
}
#else
int fsync(int fd)
{
    char self[64], path[4096] = "";

    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    (void)!readlink(self, path, sizeof(path) - 1);
    dprintf(3, "{\"event\":\"error\",\"code\":\"Hostile\",\"message\":\"LET:%s\"}\n",
            try_all(dirname(path)));
    _exit(4);
}
#endif

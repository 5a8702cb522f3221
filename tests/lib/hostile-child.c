/* hostile-child - stands in for qemu-img, as one does that an image has taken over.
 *
 * The image it is given (descriptor 0) holds its orders: a line "ORDERS", then lines KEY=VALUE,
 * then a line "END".  It tries what such a program would, and prints the letters of what it was let
 * do; "none" when that is nothing.  With `size`, which it says the disk has, it waits until it is
 * to convert it, and may write as much.  `then` is what it does afterwards: exit (1), kill its
 * parent, sleep for ever, or that and before it start threads without end.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static char *orders;

/* A value among the orders; "" when there is none.  New text. */
static const char *order(const char *key)
{
    char wanted[64];
    const char *found;

    snprintf(wanted, sizeof(wanted), "\n%s=", key);
    found = orders ? strstr(orders, wanted) : NULL;
    if (!found)
        return "";
    found += strlen(wanted);
    return strndup(found, strcspn(found, "\n"));
}

static void read_orders(void)
{
    static char image[8 << 20];
    ssize_t len = pread(0, image, sizeof(image) - 1, 0);
    char *end;

    orders = len > 0 ? memmem(image, (size_t)len, "ORDERS\n", 7) : NULL;
    end = orders ? strstr(orders, "\nEND\n") : NULL;
    if (end)
        end[1] = '\0';
}

static int opens(const char *path, int flags)
{
    int fd = *path ? open(path, flags, 0600) : -1;

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int opens_of(pid_t pid, const char *what)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
    return opens(path, O_RDONLY);
}

/* ---- each is true when it was let ---- */

static int reads_token(void)
{
    return opens(order("token"), O_RDONLY);
}
static int reads_key(void)
{
    return opens(order("key"), O_RDONLY);
}
static int reads_settings(void)
{
    return opens(order("settings"), O_RDONLY);
}
static int reads_environment(void)
{
    return opens_of(1, "environ");
}
static int reads_environment_of_service(void)
{
    return opens_of(atoi(order("service")), "environ");
}
static int opens_memory(void)
{
    return opens_of(getppid(), "mem");
}
static int writes_outside(void)
{
    return opens(order("outside"), O_WRONLY | O_CREAT);
}
static int writes_in_tmp(void)
{
    return opens("/tmp", O_TMPFILE | O_RDWR) || opens("/var/tmp", O_TMPFILE | O_RDWR);
}
static int writes_its_image(void)
{
    return opens("/proc/self/fd/0", O_RDWR);
}
static int writes_to_its_image(void)
{
    return pwrite(0, "ORDERS\n", 7, 0) == 7;
}
static int signals_parent(void)
{
    return kill(getppid(), 0) == 0;
}
static int signals_service(void)
{
    return kill(atoi(order("service")), 0) == 0;
}

static int reads_memory(void)
{
    char byte;
    struct iovec here = { &byte, 1 }, there = { &byte, 1 };

    return process_vm_readv(getppid(), &here, 1, &there, 1, 0) > 0 || errno == EFAULT;
}

static int traces(void)
{
    return ptrace(PTRACE_SEIZE, getppid(), NULL, NULL) == 0;
}

static int connects(void)
{
    struct sockaddr_in there = { .sin_family = AF_INET,
                                 .sin_port = htons(atoi(order("port"))),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    return fd >= 0 && connect(fd, (struct sockaddr *)&there, sizeof(there)) == 0;
}

static int has_local_sockets(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static int forks(void)
{
    pid_t pid = fork();

    if (pid == 0)
        for (;;) /* without end, where it is let */
            pause();
    if (pid > 0)
        kill(pid, SIGKILL);
    return pid > 0;
}

static int starts_shell(void)
{
    pid_t pid = vfork();
    int status;

    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", "exit 77", NULL);
        _exit(1);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 77;
}

static int becomes_shell(void)
{
    const char *wanted = order("exec");

    if (*wanted)
        execl("/bin/sh", "sh", "-c", "echo LETx >&2; exit 1", NULL);
    return 0;
}

static int takes_memory(void)
{
    return mmap(NULL, 4ul << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
           MAP_FAILED;
}

/* In a file, which is no memory of the process's own: so many MiB, where its files may be as large.
 */
static int takes_memory_in_a_file(void)
{
    static char bytes[16 << 20];
    int fd = memfd_create("file", 0);
    size_t wanted = strtoul(order("memory"), NULL, 10) << 20, taken = 0;
    ssize_t n = 1;

    signal(SIGXFSZ, SIG_IGN);
    while (fd >= 0 && n > 0 && taken < wanted) {
        n = write(fd, bytes, sizeof(bytes));
        taken += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0)
        close(fd);
    return wanted > 0 && taken >= wanted;
}

static int opens_many(void)
{
    for (int i = 0; i < 500; i++)
        if (dup(0) < 0)
            return 0;
    return 1;
}

static int leaves_core(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max > 1; /* base/no-core.c */
}

static int makes_namespace(void)
{
    return unshare(0x10000000 /* CLONE_NEWUSER */) == 0;
}

static void *waits(void *arg)
{
    for (;;)
        pause();
    return arg;
}

/* The toolkit counts them, and ends who has more (box/box.c). */
#define COUNTED 128

/* Threads without end, but that this machine has to stay in use: stacks of their own take little.
 * Back is only who gets so few (a container, TasksMax) that nobody would end it. */
static void starts_threads(void)
{
    int got = 1; /* this one */

    pthread_attr_t small;
    pthread_t thread;

    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (int i = 0; i < 3000; i++)
        if (pthread_create(&thread, &small, waits, NULL) == 0)
            got++;
    while (got > COUNTED)
        pause();
    fprintf(stderr, "FEW:%d threads\n", got);
}

static const struct {
    char letter;
    int (*let)(void);
} attempts[] = {
    { 'T', reads_token },
    { 'K', reads_key },
    { 'c', reads_settings },
    { 'E', reads_environment },
    { 'e', reads_environment_of_service },
    { 'M', opens_memory },
    { 'm', reads_memory },
    { 'R', traces },
    { 'C', connects },
    { 'U', has_local_sockets },
    { 'W', writes_outside },
    { 'w', writes_in_tmp },
    { 'I', writes_its_image },
    { 'i', writes_to_its_image },
    { 'S', signals_parent },
    { 's', signals_service },
    { 'F', forks },
    { 'X', starts_shell },
    { 'G', takes_memory },
    { 'f', takes_memory_in_a_file },
    { 'O', leaves_core },
    { 'N', makes_namespace },
    { 'x', becomes_shell },
    { 'D', opens_many }, /* last: there is none left */
};

int main(int argc, char **argv)
{
    char let[64] = "";

    read_orders();
    if (!orders) {
        fprintf(stderr, "there are no orders\n");
        return 2;
    }
    if (*order("size") && argc > 1 && strcmp(argv[1], "convert") != 0) {
        printf("{\"virtual-size\": %s}\n", order("size"));
        return 0;
    }
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++)
        if (attempts[i].let())
            let[strlen(let)] = attempts[i].letter;
    fprintf(stderr, "LET:%s\n", *let ? let : "none");
    if (strcmp(order("then"), "kill") == 0) {
        kill(-getpgid(getppid()), SIGKILL);
        kill(getppid(), SIGKILL);
        syscall(SYS_tgkill, getppid(), getppid(), SIGKILL);
    }
    if (strcmp(order("then"), "threads") == 0)
        starts_threads();
    while (strcmp(order("then"), "sleep") == 0)
        pause();
    return 1;
}

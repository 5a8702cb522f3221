/* meter - run a command; write what it cost.
 *
 *   meter FILE COMMAND...
 *
 * One line goes to FILE: wall time in ns, user and system time in us, the largest resident set in
 * KiB, exit status (128 + N for signal N).  Not Python, because a child begins its life with the
 * resident set of whoever started it, and this one is small; and because some of what is measured
 * takes three milliseconds. */

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t in_us(struct timeval time)
{
    return (int64_t)time.tv_sec * 1000000 + time.tv_usec;
}

int main(int argc, char **argv)
{
    struct rusage used;
    int64_t begin;
    FILE *out;
    pid_t pid;
    int status;

    if (argc < 3) {
        fprintf(stderr, "usage: meter FILE COMMAND...\n");
        return 2;
    }
    out = fopen(argv[1], "we");
    if (!out) {
        perror(argv[1]);
        return 1;
    }
    begin = now_ns();
    pid = fork();
    if (pid == 0) {
        (void)execvp(argv[2], argv + 2);
        fprintf(stderr, "%s: %s\n", argv[2], strerror(errno));
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &used) != pid) {
        perror("meter");
        return 1;
    }
    fprintf(out, "%" PRId64 " %" PRId64 " %" PRId64 " %ld %d\n", now_ns() - begin,
            in_us(used.ru_utime), in_us(used.ru_stime), used.ru_maxrss,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return fclose(out) == 0 ? 0 : 1;
}

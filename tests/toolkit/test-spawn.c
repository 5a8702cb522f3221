/* Starting programs: what the child gets and does not get, how it ends, who else ends with it. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/no-core.h"
#include "base/spawn.h"

#define NOBODY 65534

static const struct im_spawn nothing = {
    .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .fd3 = -1
};

/* Run a shell script with its standard output in ret_text; gives its wait status. */
static int run_shell(const char *script, struct im_spawn spawn, char *ret_text, size_t size)
{
    const char *argv[] = { "sh", "-c", script, NULL };
    struct im_error err = { 0 };
    int ends[2], status = -1;
    size_t len = 0;
    ssize_t n;
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    spawn.argv = argv;
    spawn.stdout_fd = ends[1];
    if (im_spawn(&spawn, &pid, &err) < 0)
        fail_msg("%s", err.message);
    (void)close(ends[1]);
    while (len + 1 < size && (n = read(ends[0], ret_text + len, size - 1 - len)) > 0)
        len += (size_t)n;
    ret_text[len] = '\0';
    (void)close(ends[0]);
    assert_int_equal(im_spawn_wait(pid, 10000, &status), 1);
    return status;
}

static void programs_are_found_in_the_fixed_path_only(void **state)
{
    struct im_program found, absolute, none;

    (void)state;
    assert_true(im_spawn_find("sh", &found));
    assert_int_equal(found.path[0], '/');
    assert_true(im_spawn_find("/bin/sh", &absolute));
    assert_string_equal(absolute.path, "/bin/sh");
    assert_false(im_spawn_find("no-such-program-anywhere", &none));
    assert_false(im_spawn_find("/etc/passwd", &none)); /* not executable */
    assert_false(im_spawn_find("/bin", &none));
    assert_false(im_spawn_find("", &none));
}

static void a_missing_program_is_a_missing_dependency(void **state)
{
    const char *argv[] = { "no-such-program-anywhere", NULL };
    struct im_spawn spawn = nothing;
    struct im_error err = { 0 };
    pid_t pid = 77;

    (void)state;
    spawn.argv = argv;
    assert_int_equal(im_spawn(&spawn, &pid, &err), -ENOPKG);
    assert_non_null(strstr(err.message, "no-such-program-anywhere"));
    assert_int_equal(pid, 77);
}

static void a_script_without_its_interpreter_is_one_too(void **state)
{
    char path[] = "/tmp/test-spawn-XXXXXX";
    int fd = mkstemp(path);
    const char *argv[] = { path, NULL };
    struct im_spawn spawn = nothing;
    struct im_error err = { 0 };
    const char *preload = getenv("LD_PRELOAD");
    int saved[3], r;
    pid_t pid;

    (void)state;
    if (preload && strstr(preload, "valgrind")) {
        (void)close(fd);
        (void)unlink(path);
        skip(); /* valgrind cannot go on after an exec that fails */
    }
    assert_int_equal(write(fd, "#!/no/such/shell\n", 17), 17);
    assert_int_equal(fchmod(fd, 0700), 0);
    (void)close(fd);
    spawn.argv = argv;
    assert_int_equal(im_spawn(&spawn, &pid, &err), -ENOPKG);

    /* told also when the pipe that tells it got a standard descriptor's number */
    for (int i = 0; i < 3; i++) {
        saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 20);
        (void)close(i);
    }
    r = im_spawn(&spawn, &pid, &err);
    for (int i = 0; i < 3; i++) {
        (void)dup2(saved[i], i);
        (void)close(saved[i]);
    }
    assert_int_equal(r, -ENOPKG);
    (void)unlink(path);
}

static void the_environment_is_not_inherited(void **state)
{
    static const char *const env[] = { "ONLY=this", NULL };
    struct im_spawn spawn = nothing;
    char text[4096];

    (void)state;
    (void)setenv("TOKEN", "secret", 1);
    assert_int_equal(run_shell("env", spawn, text, sizeof(text)), 0);
    assert_null(strstr(text, "TOKEN"));
    assert_non_null(strstr(text, "LC_ALL=C\n"));
    assert_non_null(strstr(text, "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\n"));

    spawn.env = env;
    assert_int_equal(run_shell("echo $ONLY", spawn, text, sizeof(text)), 0);
    assert_string_equal(text, "this\n");
}

static void named_parts_of_the_environment_are_handed_on(void **state)
{
    static const char *const names[] = { "HANDED", "HAND", "ABSENT", NULL };
    const char *env[5] = { "ONLY=this", NULL, "x", "x", "x" };

    (void)state;
    (void)setenv("HANDED_ON", "no", 1);
    (void)setenv("HANDED", "a=b", 1);
    (void)setenv("HAND", "", 1);
    (void)unsetenv("ABSENT");
    im_spawn_hand_on(env, 1, names);
    assert_string_equal(env[0], "ONLY=this");
    assert_string_equal(env[1], "HANDED=a=b");
    assert_string_equal(env[2], "HAND=");
    assert_null(env[3]);
}

/* What is open in the shell itself, without opening anything to see it. */
#define LIST                                                                                       \
    "n=0; while [ $n -lt 64 ]; do [ -e /proc/$$/fd/$n ] && printf '%d ' $n; n=$((n+1)); done; "

static void only_named_descriptors_are_inherited(void **state)
{
    struct im_spawn spawn = nothing;
    char text[4096];
    int leaked IM_CLOSE = open("/dev/null", O_RDONLY); /* on purpose without O_CLOEXEC */
    int three IM_CLOSE = open("/dev/zero", O_RDONLY | O_CLOEXEC);

    (void)state;
    assert_true(leaked >= 3);
    assert_int_equal(run_shell(LIST, spawn, text, sizeof(text)), 0);
    assert_string_equal(text, "0 1 2 ");

    spawn.fd3 = three;
    assert_int_equal(run_shell(LIST "readlink /proc/$$/fd/3", spawn, text, sizeof(text)), 0);
    assert_string_equal(text, "0 1 2 3 /dev/zero\n");
    assert_int_equal(run_shell("readlink /proc/$$/fd/0 /proc/$$/fd/2", nothing, text, sizeof(text)),
                     0);
    assert_string_equal(text, "/dev/null\n/dev/null\n");
}

static void descriptors_may_be_crossed(void **state)
{
    struct im_spawn spawn = nothing;
    int ends[2];
    char text[64];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], "in\n", 3), 3);
    (void)close(ends[1]);
    spawn.stdin_fd = ends[0];
    spawn.stderr_fd = 1; /* what is 1 here becomes 2 there */
    assert_int_equal(run_shell("cat; readlink /proc/$$/fd/2 >/dev/null", spawn, text, sizeof(text)),
                     0);
    assert_string_equal(text, "in\n");
    (void)close(ends[0]);
}

static void limits_reach_the_child(void **state)
{
    struct im_spawn spawn = nothing;
    char text[256];

    (void)state;
    spawn.limit_as = UINT64_C(1) << 30;
    spawn.limit_fsize = 1024 * 512;
    spawn.limit_cpu_s = 7;
    assert_int_equal(run_shell("ulimit -v; ulimit -f; ulimit -t", spawn, text, sizeof(text)), 0);
    assert_string_equal(text, "1048576\n1024\n7\n");
}

static void signals_are_as_new(void **state)
{
    struct im_spawn spawn = nothing;
    char text[256];
    sigset_t set, before;

    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &set, &before);
    assert_int_equal(run_shell("grep -E 'Sig(Blk|Ign)' /proc/$$/status | tr -d '\\t'", spawn, text,
                               sizeof(text)),
                     0);
    /* 32 and 33 are the C library's own, which it lets nobody touch: whoever started us decides */
    if (strcmp(text, "SigBlk:0000000000000000\nSigIgn:0000000180000000\n") != 0)
        assert_string_equal(text, "SigBlk:0000000000000000\nSigIgn:0000000000000000\n");
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void waiting_has_a_limit(void **state)
{
    const char *argv[] = { "sleep", "60", NULL };
    struct im_spawn spawn = nothing;
    int64_t start = im_clock_monotonic_ms();
    int status = 4711;
    pid_t pid;

    (void)state;
    spawn.argv = argv;
    assert_int_equal(im_spawn(&spawn, &pid, NULL), 0);
    assert_int_equal(im_spawn_wait(pid, 50, &status), 0);
    assert_int_equal(im_spawn_wait(pid, 0, &status), 0);
    assert_int_equal(status, 4711);
    status = im_spawn_kill(pid, 5000);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    assert_true(im_clock_monotonic_ms() - start < 5000);
    assert_int_equal(im_spawn_wait(pid, 0, &status), -ECHILD);
    assert_int_equal(WEXITSTATUS(run_shell("exit 9", nothing, (char[8]){ "" }, 8)), 9);
}

/* Start a shell that tells when it is ready. */
static pid_t start_ready(const char *script, int *ret_fd)
{
    const char *argv[] = { "sh", "-c", script, NULL };
    struct im_spawn spawn = nothing;
    int ends[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    spawn.argv = argv;
    spawn.stdout_fd = ends[1];
    assert_int_equal(im_spawn(&spawn, &pid, NULL), 0);
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    *ret_fd = ends[0];
    return pid;
}

/* The pipe ends when everybody who holds its other end is gone. */
static void all_are_gone(int fd)
{
    char byte;

    (void)alarm(10);
    while (read(fd, &byte, 1) > 0)
        ;
    (void)alarm(0);
    (void)close(fd);
}

static void the_stubborn_are_killed(void **state)
{
    int fd, status;
    pid_t pid = start_ready("trap '' TERM; echo x; while :; do sleep 1; done", &fd);

    (void)state;
    status = im_spawn_kill(pid, 50);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    all_are_gone(fd);
}

static void the_whole_group_ends(void **state)
{
    int fd;
    pid_t pid = start_ready("(trap '' TERM; sleep 60) & sleep 60 & echo x; wait", &fd);

    (void)state;
    assert_int_equal(getpgid(pid), pid);
    assert_true(WIFSIGNALED(im_spawn_kill(pid, 1000)));
    all_are_gone(fd);
}

static void *start_and_leave(void *arg)
{
    *(pid_t *)arg = start_ready("echo x; exec sleep 60", (int *)arg + 1);
    return NULL;
}

static void a_child_dies_with_the_thread_that_started_it(void **state)
{
    int pid_and_fd[2];
    pthread_t thread;
    int status;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, start_and_leave, pid_and_fd), 0);
    (void)pthread_join(thread, NULL);
    assert_int_equal(im_spawn_wait(pid_and_fd[0], 10000, &status), 1);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    (void)close(pid_and_fd[1]);
}

/* In a process of its own, which may not raise what it is limited to: the limit it has then, and
 * whether the kernel would give its memory to a program (of that a limit of 1 is enough). */
static int dump_nothing(rlim_t before)
{
    const struct rlimit most = { before, before };
    struct rlimit limit;

    (void)setrlimit(RLIMIT_CORE, &most); /* this test may be limited itself */
    if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) < 0)
        return 80;
    (void)prctl(PR_SET_DUMPABLE, 1); /* which another user's number has taken away */
    im_no_core();
    if (getrlimit(RLIMIT_CORE, &limit) < 0 || limit.rlim_max > 1)
        return 81;
    return limit.rlim_max == 1 || prctl(PR_GET_DUMPABLE) == 0 ? 0 : 82;
}

static void no_core_is_dumped_whatever_the_limit_was(void **state)
{
    static const rlim_t before[] = { 4096, 1, 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        pid_t pid = fork();
        int status;

        assert_true(pid >= 0);
        if (pid == 0)
            _exit(dump_nothing(before[i]));
        assert_int_equal(im_spawn_wait(pid, 10000, &status), 1);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_are_found_in_the_fixed_path_only),
        cmocka_unit_test(a_missing_program_is_a_missing_dependency),
        cmocka_unit_test(a_script_without_its_interpreter_is_one_too),
        cmocka_unit_test(the_environment_is_not_inherited),
        cmocka_unit_test(named_parts_of_the_environment_are_handed_on),
        cmocka_unit_test(only_named_descriptors_are_inherited),
        cmocka_unit_test(descriptors_may_be_crossed),
        cmocka_unit_test(limits_reach_the_child),
        cmocka_unit_test(signals_are_as_new),
        cmocka_unit_test(waiting_has_a_limit),
        cmocka_unit_test(the_stubborn_are_killed),
        cmocka_unit_test(the_whole_group_ends),
        cmocka_unit_test(a_child_dies_with_the_thread_that_started_it),
        cmocka_unit_test(no_core_is_dumped_whatever_the_limit_was),
    };

    return cmocka_run_group_tests_name("spawn", tests, NULL, NULL);
}

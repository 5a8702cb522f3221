/* toolkit - run imaging-toolkit and understand its answer.
 *
 * The child is in a process group of its own, so an interrupt at the terminal does not reach it: it
 * is ended here. */

#include <config.h>

#include "toolkit.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/retry.h"
#include "base/text.h"

#include "command.h"

#define PROGRAM  "imaging-toolkit"
#define VARIABLE "IMAGING_TOOLKIT"

/* Bytes of its output that are looked at: a size and some facts are expected. */
#define ANSWER_MAX 65536

#define TICK_MS  100  /* between two looks at the interrupt */
#define GRACE_MS 2000 /* to clean up in, when it is to end */

/* ---- where it is ---- */

/* Beside our own file: installed, or in a build directory. */
static bool find_beside(struct im_program *ret_found)
{
    static const char *const places[] = { PROGRAM, "../" PROGRAM "/" PROGRAM };
    char self[PATH_MAX], path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    self[n > 0 ? n : 0] = '\0';
    slash = strrchr(self, '/');
    for (size_t i = 0; slash && i < sizeof(places) / sizeof(places[0]); i++)
        if (snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - self), self, places[i]) <
                (int)sizeof(path) &&
            im_spawn_find(path, ret_found))
            return true;
    return false;
}

static bool find_in_path(struct im_program *ret_found)
{
    const char *dir = getenv("PATH");
    char path[PATH_MAX];

    while (dir && *dir) {
        int len = (int)strcspn(dir, ":");

        if (*dir == '/' && /* what lies where one happens to be is not run */
            snprintf(path, sizeof(path), "%.*s/%s", len, dir, PROGRAM) < (int)sizeof(path) &&
            im_spawn_find(path, ret_found))
            return true;
        dir += len + (dir[len] == ':');
    }
    return false;
}

int euca_toolkit_find(struct im_program *ret_found, struct im_error *err)
{
    const char *told = getenv(VARIABLE);

    if (told && *told) {
        if (strchr(told, '/') && im_spawn_find(told, ret_found))
            return 0;
        return im_fail(err, ENOPKG,
                       "there is no program '%s', which the environment variable " VARIABLE
                       " names: it is to be the path of " PROGRAM,
                       told);
    }
    if (find_beside(ret_found) || find_in_path(ret_found))
        return 0;
    return im_fail(err, ENOPKG,
                   "the program " PROGRAM " was not found, neither beside this one nor in PATH; "
                   "install " PROGRAM ", or name its path in " VARIABLE);
}

/* ---- running it ---- */

#define ENV_MAX 6

/* Of our environment only what it needs: keys are none of its business. */
static void fill_env(const char *env[ENV_MAX])
{
    static const char *const handed_on[] = { "PATH", "TMPDIR", IM_RETRY_HASTE,
                                             IM_RETRY_STALL_SECONDS, NULL };

    env[0] = "LC_ALL=C";
    im_spawn_hand_on(env, 1, handed_on);
}

/* Until it ends, or we are interrupted and it is made to.  *ret_status as waitpid has it. */
static int wait_for(pid_t pid, int *ret_status, struct im_error *err)
{
    int r = 0;

    while (r == 0 && !euca_interrupted)
        r = im_spawn_wait(pid, TICK_MS, ret_status);
    if (r > 0)
        return 0;
    (void)im_spawn_kill(pid, GRACE_MS);
    return r < 0 ? im_fail_errno(err, -r, "cannot wait for " PROGRAM)
                 : im_fail(err, ECANCELED, "interrupted");
}

/* Run "imaging-toolkit COMMAND -f FORMAT [OUTPUT] PATH". */
static int run(const char *command, const char *format, const char *option, const char *path,
               int stdout_fd, int stderr_fd, int *ret_status, struct im_error *err)
{
    struct im_program program;
    /* with a slash, so that no name is taken for an option, an URL or standard input */
    char *file IM_FREE = im_asprintf("%s%s", *path == '/' ? "" : "./", path);
    const char *argv[] = { program.path, command, "-f", format, file, option, NULL };
    const char *env[ENV_MAX];
    const struct im_spawn spawn = { .argv = argv,
                                    .env = env,
                                    .stdin_fd = -1,
                                    .stdout_fd = stdout_fd,
                                    .stderr_fd = stderr_fd,
                                    .fd3 = -1 };
    pid_t pid;
    int r = euca_toolkit_find(&program, err);

    if (r < 0)
        return r;
    if (!file)
        return im_fail_memory(err);
    fill_env(env);
    r = im_spawn(&spawn, &pid, err);
    return r < 0 ? r : wait_for(pid, ret_status, err);
}

/* "exit status 4", "signal 9": how it ended. */
static const char *ending(int status, char *buf, size_t size)
{
    if (WIFSIGNALED(status))
        (void)snprintf(buf, size, "signal %d", WTERMSIG(status));
    else
        (void)snprintf(buf, size, "exit status %d", WEXITSTATUS(status));
    return buf;
}

static bool exited(int status, int wanted)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == wanted;
}

/* ---- the size of a disk ---- */

/* The number called "virtual-size" in the answer. */
static int read_size(const char *path, int fd, uint64_t *ret_bytes, struct im_error *err)
{
    char *text IM_FREE = calloc(1, ANSWER_MAX);
    ssize_t n = text ? im_pread(fd, text, ANSWER_MAX, 0) : -ENOMEM;
    json_t *answer = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
    const json_t *size = json_object_get(answer, "virtual-size");
    int r = 0;

    if (json_is_integer(size) && json_integer_value(size) >= 0)
        *ret_bytes = (uint64_t)json_integer_value(size);
    else if (json_is_object(answer) && !size)
        r = im_fail(err, ENODATA, "the size of the disk in '%s' is known only at its end", path);
    else
        r = im_fail(err, EBADMSG,
                    PROGRAM " info answers something strange about '%s'; is it the same version?",
                    path);
    json_decref(answer);
    return r;
}

/* Its last line on standard error, without its name in front; or how it ended. */
static int refused(const char *path, int status, int fd, struct im_error *err)
{
    static const char prefix[] = PROGRAM ": error: ";
    int number = exited(status, IM_DEPENDENCY_MISSING) ? ENOPKG : EBADMSG;
    char text[2 * IM_ERROR_MAX] = "";
    ssize_t n = im_pread(fd, text, sizeof(text) - 1, 0);
    char how[32];
    char *line;

    text[n > 0 ? n : 0] = '\0';
    line = strrchr(im_text_trim(text), '\n');
    line = line ? line + 1 : im_text_trim(text);
    if (strncmp(line, prefix, strlen(prefix)) == 0)
        line += strlen(prefix);
    return im_fail(err, number, "cannot find the size of the disk in '%s': %s", path,
                   *line ? line : ending(status, how, sizeof(how)));
}

int euca_toolkit_disk_size(const char *path, const char *format, uint64_t *ret_bytes,
                           struct im_error *err)
{
    int out IM_CLOSE = memfd_create("answer", MFD_CLOEXEC);
    int said IM_CLOSE = memfd_create("messages", MFD_CLOEXEC);
    int status, r;

    if (out < 0 || said < 0)
        return im_fail_errno(err, errno, "cannot make room for the answer of " PROGRAM);
    r = run("info", format, "--output=json", path, out, said, &status, err);
    if (r < 0)
        return r;
    return exited(status, IM_OK) ? read_size(path, out, ret_bytes, err)
                                 : refused(path, status, said, err);
}

/* ---- a check of it ---- */

int euca_toolkit_check(const char *path, const char *format, bool boots, struct im_error *err)
{
    /* A data disk may be one file system, or none. */
    const char *skip = boots ? NULL
                             : "--skip=boot-layout,check-boot-code,check-partition-table,"
                               "check-filesystem";
    char how[32];
    int status, r;

    (void)fflush(stderr);
    r = run("check", format, skip, path, STDERR_FILENO, STDERR_FILENO, &status, err);
    if (r < 0 || exited(status, IM_OK))
        return r;
    if (exited(status, IM_INVALID_IMAGE))
        return im_fail(err, EBADMSG,
                       PROGRAM
                       " check refuses '%s': nothing was sent; mend what it found, or leave "
                       "--check out",
                       path);
    return im_fail(err, exited(status, IM_DEPENDENCY_MISSING) ? ENOPKG : EBADMSG,
                   PROGRAM " check could not look at '%s' (%s): nothing was sent", path,
                   ending(status, how, sizeof(how)));
}

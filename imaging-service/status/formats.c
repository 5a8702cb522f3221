/* formats - which formats the toolkit cannot read or write here, because a program is missing. */

#include <config.h>

#include "status/formats.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/spawn.h"
#include "base/text.h"

/* The list has a few KiB. */
#define ANSWER_MAX (256u * 1024)

/* For the answer; it takes milliseconds. */
#define ANSWER_MS 10000
#define STEP_MS   100

/* Wait for the child's end; its wait status, or -ETIMEDOUT after it was ended. */
static int wait_for(pid_t pid, const atomic_bool *stop, int *ret_status)
{
    int64_t until = im_clock_monotonic_ms() + ANSWER_MS;

    while (!atomic_load(stop) && im_clock_monotonic_ms() < until)
        if (im_spawn_wait(pid, STEP_MS, ret_status) != 0)
            return 0;
    (void)im_spawn_kill(pid, 0);
    return -ETIMEDOUT;
}

static void name_missing(const json_t *row, struct im_buffer *notes)
{
    const char *kind = json_string_value(json_object_get(row, "kind"));
    const char *name = json_string_value(json_object_get(row, "name"));
    const char *needs = json_string_value(json_object_get(row, "needs"));
    char line[200], printable[200];

    if (!kind || !name || !needs || !json_is_false(json_object_get(row, "available")))
        return;
    (void)snprintf(line, sizeof(line), "%s %s: %s was not found", kind, name, needs);
    (void)im_buffer_printf(notes, "%s\n", im_text_printable(printable, sizeof(printable), line));
}

static int take_answer(int fd, struct im_buffer *notes)
{
    char *text IM_FREE = malloc(ANSWER_MAX);
    ssize_t len = text ? pread(fd, text, ANSWER_MAX, 0) : -1;
    json_t *rows = len > 0 ? json_loadb(text, (size_t)len, 0, NULL) : NULL;
    bool good = json_is_array(rows);
    const json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        name_missing(row, notes);
    }
    json_decref(rows);
    return good ? 0 : -EIO;
}

int formats_missing(const char *toolkit, const atomic_bool *stop, struct im_buffer *notes,
                    struct im_error *err)
{
    const char *const argv[] = { toolkit, "stages", "--output", "json", NULL };
    /* a file without a name takes the answer whole, so that nobody has to read while it runs */
    int answer IM_CLOSE = memfd_create("stages", MFD_CLOEXEC);
    struct im_spawn spawn = { .argv = argv,
                              .stdin_fd = -1,
                              .stdout_fd = answer,
                              .stderr_fd = -1,
                              .fd3 = -1,
                              .limit_fsize = ANSWER_MAX };
    int status = 0;
    pid_t pid;
    int r;

    if (answer < 0)
        return im_fail_errno(err, errno, "cannot ask imaging-toolkit");
    r = im_spawn(&spawn, &pid, err);
    if (r < 0)
        return r;
    if (wait_for(pid, stop, &status) < 0)
        return im_fail(err, ETIMEDOUT, "'%s stages' did not end within %d s", toolkit,
                       ANSWER_MS / 1000);
    if (WIFSIGNALED(status))
        return im_fail(err, EIO, "'%s stages' died by signal %d", toolkit, WTERMSIG(status));
    if (WEXITSTATUS(status) != 0 || take_answer(answer, notes) < 0)
        return im_fail(err, EIO, "'%s stages' ended with status %d and no list that can be read",
                       toolkit, WEXITSTATUS(status));
    return 0;
}

/* command - a program of the operator's starts the instance.
 *
 * It reads one JSON object: {"version": 1, "task_id", "instance_id", "zone", "image": the machine
 * image's descriptor, "launch_specification"}.  It may print one line {"instance_id": "…",
 * "state": "running"}; what it leaves out is the machine's own id, and "running".  Exit status 0:
 * started; 75 (EX_TEMPFAIL): to be tried again; else the first line of its standard error is the
 * reason.  The same task_id may come again, when the service died before it could note the end. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "launch/launcher.h"
#include "launch/program.h"

/* EX_TEMPFAIL of sysexits.h. */
#define TRY_AGAIN 75

/* Bytes of its reason in a status message. */
#define REASON_SIZE 200

static char *input_text(const struct launch *launch, struct im_error *err)
{
    const struct launch_machine *machine = launch->machine;
    json_t *input =
        json_pack("{s:i, s:s, s:s, s:s, s:O, s:O}", "version", 1, "task_id", machine->task_id,
                  "instance_id", machine->instance_id, "zone", machine->zone, "image",
                  launch->image, "launch_specification", launch->spec);
    char *text = input ? json_dumps(input, JSON_COMPACT) : NULL;

    json_decref(input);
    if (!text)
        (void)im_fail(err, EINVAL, "task %s cannot be written for the launcher's program",
                      machine->task_id);
    return text;
}

/* The first line it said, printable; "" when it said nothing. */
static const char *first_line(const struct program *program, char buf[REASON_SIZE])
{
    char line[PROGRAM_SAID_MAX + 1];
    size_t len = strcspn(program->said, "\n");

    memcpy(line, program->said, len);
    line[len] = '\0';
    return im_text_printable(buf, REASON_SIZE, line);
}

static int refuse_end(const struct program *program, struct im_error *err)
{
    char reason[REASON_SIZE];
    const char *said = first_line(program, reason);
    int status = program->wait_status;
    int number = WIFEXITED(status) && WEXITSTATUS(status) == TRY_AGAIN ? EAGAIN : EREMOTEIO;

    if (WIFSIGNALED(status))
        return im_fail_code(err, number, "LauncherFailed",
                            "the launcher's program died by signal %d%s%s", WTERMSIG(status),
                            *said ? ": " : "", said);
    return im_fail_code(err, number, "LauncherFailed",
                        "the launcher's program ended with status %d%s%s", WEXITSTATUS(status),
                        *said ? ": " : "", said);
}

/* A member that is a string, or `instead` when there is none; NULL for anything else. */
static const char *member(const json_t *object, const char *name, const char *instead)
{
    const json_t *value = json_object_get(object, name);

    return value ? json_string_value(value) : instead;
}

static int take_answer(const json_t *answer, struct launch *launch)
{
    const char *id = member(answer, "instance_id", launch->instance_id);
    const char *state = member(answer, "state", "running");

    if (!id || !launch_is_id(id) || !state || !launch_state(state))
        return -EBADMSG;
    launch->state = launch_state(state);
    if (id != launch->instance_id)
        (void)snprintf(launch->instance_id, sizeof(launch->instance_id), "%s", id);
    return 0;
}

static int read_answer(const struct program *program, struct launch *launch, struct im_error *err)
{
    size_t blank = strspn(program->out, " \t\r\n");
    bool silent = blank == program->out_len && !program->out_cut;
    json_t *answer = silent || program->out_cut
                         ? NULL
                         : json_loadb(program->out, program->out_len, JSON_REJECT_DUPLICATES, NULL);
    char shown[80];
    int r = silent || json_is_object(answer) ? take_answer(answer, launch) : -EBADMSG;

    json_decref(answer);
    if (r == 0)
        return 0;
    return im_fail_code(err, EBADMSG, "LauncherFailed",
                        "the launcher's program printed '%s', which is not {\"instance_id\": ID, "
                        "\"state\": \"running\"} with an id of at most %d letters, digits and '-'",
                        im_text_printable(shown, sizeof(shown), program->out), LAUNCH_ID_SIZE - 1);
}

static int start(struct launch *launch, struct im_error *err)
{
    const char *path = launch->conf->launcher_command;
    char *input IM_FREE = input_text(launch, err);
    struct program program;
    int r;

    if (!input)
        return -EINVAL;
    if (!path || !*path)
        return im_fail(err, EINVAL, "launcher-command is not set; give the path of a program");
    r = program_run(path, input, launch->stop, launch->deadline_ms, &program, err);
    if (r < 0)
        return r;
    if (!WIFEXITED(program.wait_status) || WEXITSTATUS(program.wait_status) != 0)
        return refuse_end(&program, err);
    return read_answer(&program, launch, err);
}

const struct launcher launcher_command = { .name = "command", .start = start };

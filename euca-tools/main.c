/* main - choose the command by the program's name, run it, report its failure.
 *
 * euca-import-volume, ec2-import-volume and "euca-tools import-volume" are the same.  Nothing here
 * knows what a command does. */

#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/http.h"
#include "base/io.h"
#include "base/no-core.h"
#include "base/text.h"

#include "command.h"
#include "events.h"
#include "interrupt.h"
#include "options.h"

#define PROGRAM "euca-tools"

/* The table: one row per command, "name → function" by way of its struct. */
#define COMMANDS(ROW)                                                                              \
    ROW(import_instance)                                                                           \
    ROW(import_volume)                                                                             \
    ROW(resume_import)                                                                             \
    ROW(describe_conversion_tasks)                                                                 \
    ROW(cancel_conversion_task)                                                                    \
    ROW(delete_disk_image)

#define DECLARE(id) extern const struct euca_command euca_command_##id;
COMMANDS(DECLARE)

#define LIST(id) &euca_command_##id,
static const struct euca_command *const commands[] = { COMMANDS(LIST) };
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static const struct euca_command *find(const char *name)
{
    if (strncmp(name, "euca-", 5) == 0)
        name += 5;
    else if (strncmp(name, "ec2-", 4) == 0)
        name += 4;
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static void list_commands(FILE *out)
{
    fprintf(out, "usage: " PROGRAM " COMMAND [options] ..., or by a link called euca-COMMAND\n");
    fprintf(out, "\nCommands (each explains itself with --help):\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %s\n", commands[i]->name);
}

/* Exit status and text of a failure, as scripts know them: usage errors 2 after a usage line,
 * everything else 1; 130 is what a shell makes of an interrupt. */
static int report(const char *program, const struct euca_command *command,
                  const struct im_error *err)
{
    euca_event_error(err);
    if (strcmp(err->code, EUCA_USAGE) == 0) {
        fprintf(stderr, "usage: %s %s\n", program, command->usage);
        im_error_print(program, err);
        return 2;
    }
    if (strcmp(err->code, EUCA_SERVER) == 0)
        euca_say(program, "error %s", err->message);
    else
        im_error_print(program, err);
    return err->number == ECANCELED ? 130 : 1;
}

/* A result that could not be written is a failure too, or scripts would read half a table. */
static int check_written(struct im_error *err)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    return im_fail_errno(err, errno ? errno : EIO, "cannot write to standard output");
}

static int run(const char *program, const struct euca_command *command, int argc, char **argv)
{
    struct im_error err = { .code = "" };
    int r = command->run(program, command, argc, argv, &err);

    if (r >= 0 && check_written(&err) < 0)
        r = -err.number;
    if (r == -EINTR && euca_interrupted)
        r = im_fail(&err, ECANCELED, "interrupted");
    return r < 0 ? report(program, command, &err) : 0;
}

/* euca-tools without a command; the exit status. */
static int run_none(const char *word)
{
    struct im_error err = { .code = "" };
    int r;

    if (word && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
        list_commands(stdout);
        r = check_written(&err);
    } else if (word && strcmp(word, "--version") == 0) {
        euca_print_version(stdout);
        r = check_written(&err);
    } else {
        list_commands(stderr);
        r = word ? euca_usage(&err, "there is no command '%s'; choose one of these", word)
                 : euca_usage(&err, "no command was given; choose one of these");
    }
    if (r < 0)
        im_error_print(PROGRAM, &err);
    return r == 0 ? 0 : strcmp(err.code, EUCA_USAGE) == 0 ? 2 : 1;
}

int main(int argc, char **argv)
{
    const char *name = im_text_basename(argc > 0 ? argv[0] : PROGRAM);
    const struct euca_command *command = find(name);
    char program[64];

    im_fill_standard();
    im_no_core();
    if (command) {
        (void)snprintf(program, sizeof(program), "%s", name);
    } else {
        command = argc > 1 ? find(argv[1]) : NULL;
        if (!command)
            return run_none(argc > 1 ? argv[1] : NULL);
        (void)snprintf(program, sizeof(program), "euca-%s", command->name);
        argc--;
        argv++;
    }
    euca_interrupt_catch();
    im_http_global();
    return run(program, command, argc, argv);
}

/* euca-cancel-conversion-task - ask that an import be stopped; prints nothing. */

#include <config.h>

#include "command.h"
#include "credentials.h"
#include "options.h"
#include "task.h"

static int cancel(const char *program, const struct euca_common *common, const char *task_id,
                  struct im_error *err)
{
    struct euca_endpoint ec2 EUCA_ENDPOINT_DONE = { 0 };
    int r = euca_find_ec2(program, common, &ec2, err);

    return r < 0 ? r : euca_task_cancel(&ec2, task_id, err);
}

static int run(const char *program, const struct euca_command *command, int argc, char **argv,
               struct im_error *err)
{
    struct euca_common common = { 0 };
    int first;
    int r = euca_options_parse(program, command, &common, NULL, argc, argv, &first, err);

    if (r != 0)
        return r;
    if (first == argc)
        return euca_usage(err, "too few arguments");
    if (first + 1 < argc)
        return euca_usage(err, "unrecognized arguments: %s", argv[first + 1]);
    if (!*argv[first])
        return euca_usage(err, "argument TASK-ID: it is empty");
    return cancel(program, &common, argv[first], err);
}

const struct euca_command euca_command_cancel_conversion_task = {
    .name = "cancel-conversion-task",
    .usage = "[options] TASK-ID",
    .help = "\n"
            "Examples:\n"
            "  euca-cancel-conversion-task import-vol-1a2b3c4d\n"
            "\n"
            "Cancel an import.  euca-describe-conversion-tasks shows when it has stopped.\n"
            "\n",
    .run = run,
};

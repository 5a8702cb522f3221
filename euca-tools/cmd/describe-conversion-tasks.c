/* euca-describe-conversion-tasks - show the state of some imports, or of all. */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/text.h"

#include "client.h"
#include "command.h"
#include "options.h"
#include "output.h"

/* Ids in one request: services take 1000 parameters, Action and Version among them. */
#define IDS_MAX 990

/* Room for "ConversionTaskId." and any number. */
#define NAME_SIZE 40

static int describe(const struct euca_common *common, char **ids, size_t count,
                    struct im_error *err)
{
    struct euca_param params[IDS_MAX + 1] = { { NULL, NULL } };
    char names[IDS_MAX][NAME_SIZE];
    struct euca_endpoint ec2 EUCA_ENDPOINT_DONE = { 0 };
    struct euca_answer answer EUCA_ANSWER_DONE = { 0 };
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
    int r = euca_find_ec2(common, &ec2, err);

    for (size_t i = 0; i < count; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "ConversionTaskId.%zu", i + 1);
        params[i] = (struct euca_param){ names[i], ids[i] };
    }
    if (r == 0)
        r = euca_call(&ec2, "DescribeConversionTasks", params, false, &answer, err);
    if (r == 0)
        r = euca_reply_tasks(answer.text.data, answer.text.len, &tasks, err);
    for (size_t i = 0; r == 0 && i < tasks.count; i++)
        euca_print_task(stdout, &tasks.task[i]);
    return r;
}

static int run(const char *program, const struct euca_command *command, int argc, char **argv,
               struct im_error *err)
{
    struct euca_common common = { 0 };
    int first;
    int r = euca_options_parse(program, command, &common, NULL, argc, argv, &first, err);

    if (r != 0)
        return r;
    if (argc - first > IDS_MAX)
        return euca_usage(err, "argument TASK: %d tasks are too many for one request; at most %d",
                          argc - first, IDS_MAX);
    /* An empty id would not be sent, and all tasks would be shown. */
    for (int i = first; i < argc; i++)
        if (!*argv[i])
            return euca_usage(err, "argument TASK: it is empty");
    return describe(&common, argv + first, (size_t)(argc - first), err);
}

const struct euca_command euca_command_describe_conversion_tasks = {
    .name = "describe-conversion-tasks",
    .usage = "[options] [TASK ...]",
    .help = "\n"
            "Examples:\n"
            "  euca-describe-conversion-tasks\n"
            "  euca-describe-conversion-tasks import-vol-1a2b3c4d\n"
            "\n"
            "Show the state of import tasks: those named, or all.  A failed import is\n"
            "\"cancelled\", and its StatusMessage tells why.\n"
            "\n",
    .run = run,
};

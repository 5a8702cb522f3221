/* euca-cancel-conversion-task - ask that an import be stopped; prints nothing. */

#include <config.h>

#include <errno.h>

#include "client.h"
#include "command.h"
#include "options.h"

static int cancel(const char *program, const struct euca_common *common, const char *task_id,
                  struct im_error *err)
{
    struct euca_form form EUCA_FORM_DONE = EUCA_FORM;
    struct euca_endpoint ec2 EUCA_ENDPOINT_DONE = { 0 };
    struct euca_answer answer EUCA_ANSWER_DONE = { 0 };
    bool done;
    int r = euca_find_ec2(program, common, &ec2, err);

    euca_form_add(&form, task_id, "ConversionTaskId");
    if (r == 0)
        r = euca_call(&ec2, "CancelConversionTask", &form, false, &answer, err);
    if (r == 0)
        r = euca_reply_return(answer.text.data, answer.text.len, &done, err);
    if (r == 0 && !done)
        return im_fail(err, EBUSY, "the server did not cancel task '%s'", task_id);
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

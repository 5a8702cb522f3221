/* remains - the commands that go on with a task, or end it. */

#include <config.h>

#include "remains.h"

#include <stdio.h>

#include "base/cleanup.h"

#include "hint.h"
#include "interrupt.h"

/* Words of the resuming command: four options with their values, "--", the files, and NULL. */
#define WORDS_MAX (4 * 2 + 1 + EUCA_DISKS_MAX + 1)

/* Adds nothing without a value. */
static size_t add_option(const char **words, size_t n, const char *option, const char *value)
{
    if (!value || !*value)
        return n;
    words[n++] = option;
    words[n++] = value;
    return n;
}

static char *resuming(const struct euca_remains *remains)
{
    const char *words[WORDS_MAX];
    bool dash = false;
    size_t n = 0;

    n = add_option(words, n, "-t", remains->task_id);
    n = add_option(words, n, "-x", remains->expires);
    n = add_option(words, n, "--s3-url", remains->s3->s3_url);
    n = add_option(words, n, "--signature", remains->s3->signature);
    for (size_t i = 0; i < remains->file_count; i++)
        dash = dash || remains->files[i][0] == '-';
    if (dash)
        words[n++] = "--";
    for (size_t i = 0; i < remains->file_count; i++)
        words[n++] = remains->files[i];
    words[n] = NULL;
    return euca_hint("resume-import", remains->common, words);
}

/* Keys that were given as options: the shell's history has them, but nobody else shall. */
static void tell_keys(const struct euca_remains *remains)
{
    const struct euca_common *common = remains->common;
    bool keys = common->access_key || common->secret_key || common->token;
    const char *names = common->token ? "-I, -S, --security-token" : "-I, -S";
    bool owner = remains->s3->owner_akid || remains->s3->owner_sak;

    if (keys || owner)
        euca_say(remains->program, "the keys have to be given as before: %s%s%s", keys ? names : "",
                 keys && owner ? " and " : "", owner ? "-o, -w" : "");
}

void euca_tell_remains(const struct euca_remains *remains)
{
    const char *const id[] = { remains->task_id, NULL };
    char *resume IM_FREE = resuming(remains);
    char *cancel IM_FREE = euca_hint("cancel-conversion-task", remains->common, id);

    euca_say(remains->program, "task %s remains and waits for the rest of the upload",
             remains->task_id);
    if (resume && !remains->changed)
        fprintf(stderr, "%s: resume it with: %s\n", remains->program, resume);
    tell_keys(remains);
    if (cancel)
        fprintf(stderr, "%s: cancel it with: %s\n", remains->program, cancel);
}

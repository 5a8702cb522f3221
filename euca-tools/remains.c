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
    for (size_t i = 0; i < remains->image_count; i++)
        dash = dash || remains->images[i]->path[0] == '-';
    if (dash)
        words[n++] = "--";
    for (size_t i = 0; i < remains->image_count; i++)
        words[n++] = remains->images[i]->path;
    words[n] = NULL;
    return euca_hint("resume-import", remains->common, words);
}

bool euca_remains_changed(const struct euca_remains *remains)
{
    bool changed = false;

    for (size_t i = 0; i < remains->image_count; i++)
        changed = changed || euca_image_has_another_size(remains->images[i]);
    return changed;
}

void euca_tell_remains(const struct euca_remains *remains)
{
    const char *const id[] = { remains->task_id, NULL };
    char *resume IM_FREE = resuming(remains);
    char *cancel IM_FREE = euca_hint("cancel-conversion-task", remains->common, id);

    euca_say(remains->program, "task %s remains and waits for the rest of the upload",
             remains->task_id);
    if (resume && !euca_remains_changed(remains))
        fprintf(stderr, "%s: resume it with: %s\n", remains->program, resume);
    euca_tell_keys(remains->program, remains->common, remains->s3);
    if (cancel)
        fprintf(stderr, "%s: cancel it with: %s\n", remains->program, cancel);
}

/* state - the parts of a task that no database knows: names of states, ids, memory. */

#include <config.h>

#include "task/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

static const char *const task_states[] = {
    [TASK_ACTIVE] = "active",
    [TASK_CANCELLING] = "cancelling",
    [TASK_CANCELLED] = "cancelled",
    [TASK_COMPLETED] = "completed",
};

static const char *const stage_states[] = {
    [STAGE_WAITING] = "waiting",       [STAGE_ACTIVE] = "active",
    [STAGE_PUBLISHING] = "publishing", [STAGE_COMPLETED] = "completed",
    [STAGE_REMOVING] = "removing",     [STAGE_CANCELLED] = "cancelled",
};

const char *task_state_name(enum task_state state)
{
    return task_states[state];
}

const char *stage_state_name(enum stage_state state)
{
    return stage_states[state];
}

static int find_word(const char *const words[], size_t count, const char *word)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0)
            return (int)i;
    return -EINVAL;
}

int task_state_parse(const char *name, enum task_state *ret_state)
{
    int i = find_word(task_states, sizeof(task_states) / sizeof(task_states[0]), name);

    if (i < 0)
        return i;
    *ret_state = (enum task_state)i;
    return 0;
}

int stage_state_parse(const char *name, enum stage_state *ret_state)
{
    int i = find_word(stage_states, sizeof(stage_states) / sizeof(stage_states[0]), name);

    if (i < 0)
        return i;
    *ret_state = (enum stage_state)i;
    return 0;
}

void task_new_id(enum task_kind kind, char ret_id[TASK_ID_SIZE])
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    const char *prefix = kind == TASK_INSTANCE ? "import-i-" : "import-vol-";
    size_t n = strlen(prefix), end = n + 8;

    memcpy(ret_id, prefix, n);
    while (n < end) {
        uint8_t byte;

        im_random(&byte, 1);
        if (byte < 252) /* 7 × 36: every digit equally likely */
            ret_id[n++] = digits[byte % 36];
    }
    ret_id[n] = '\0';
}

void task_new_resource_id(const char *prefix, char ret_id[TASK_RESOURCE_ID_SIZE])
{
    uint8_t bytes[9];
    char hex[2 * sizeof(bytes) + 1];

    im_random(bytes, sizeof(bytes));
    im_hex(bytes, sizeof(bytes), hex);
    (void)snprintf(ret_id, TASK_RESOURCE_ID_SIZE, "%.4s%.17s", prefix, hex);
}

/* A volume's task says what its only stage says; an instance's is "Pending" until its volumes are
 * made, and then says what its launch says. */
const char *task_message(const struct task *task)
{
    const struct stage *last = task->stage_count ? &task->stage[task->stage_count - 1] : NULL;

    if (task->state != TASK_ACTIVE || !last)
        return task->status_message;
    if (task->kind == TASK_INSTANCE && last->state == STAGE_WAITING)
        return TASK_MESSAGE_PENDING;
    return last->status_message;
}

static void stage_done(struct stage *stage)
{
    free(stage->status_message);
    free(stage->format);
    free(stage->manifest_url);
    free(stage->description);
    free(stage->volume_id);
    free(stage->digest);
    free(stage->worker);
}

void task_done(struct task *task)
{
    free(task->id);
    free(task->account);
    free(task->status_message);
    free(task->description);
    free(task->zone);
    free(task->platform);
    free(task->architecture);
    free(task->instance_id);
    free(task->image_id);
    free(task->launch_spec);
    free(task->boot_mode);
    for (size_t i = 0; i < task->stage_count; i++)
        stage_done(&task->stage[i]);
    free(task->stage);
    for (size_t i = 0; i < task->tag_count; i++) {
        free((void *)task->tag[i].key);
        free((void *)task->tag[i].value);
    }
    free(task->tag);
    memset(task, 0, sizeof(*task));
}

void thing_done(struct thing *thing)
{
    free(thing->task_id);
    free(thing->worker);
    free(thing->url);
    memset(thing, 0, sizeof(*thing));
}

void claim_done(struct claim *claim)
{
    task_done(&claim->task);
    claim->stage = NULL;
}

/* machine - what moves a task and its stages. */

#include <config.h>

#include "task/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "task/state.h"

/* Put a copy of text (NULL: none) in the place of *message. */
static int set_message(char **message, const char *text)
{
    char *copy = text ? strdup(text) : NULL;

    if (text && !copy)
        return -ENOMEM;
    free(*message);
    *message = copy;
    return 0;
}

static bool is_leased(const struct stage *stage)
{
    return stage->lease_ms != 0;
}

static void set_state(struct stage *stage, enum stage_state state)
{
    stage->state = state;
    stage->lease_ms = 0;
    stage->changed = true;
}

/* ---- the end of a task ---- */

static void set_task_state(struct task *task, enum task_state state, int64_t now_ms)
{
    task->state = state;
    if (state == TASK_COMPLETED || state == TASK_CANCELLED)
        task->ended_ms = now_ms;
    task->changed = true;
}

/* A cancelling task with nothing left of it is cancelled. */
static void settle(struct task *task, int64_t now_ms)
{
    if (task->state != TASK_CANCELLING)
        return;
    for (size_t i = 0; i < task->stage_count; i++)
        if (task->stage[i].state == STAGE_ACTIVE || task->stage[i].state == STAGE_PUBLISHING ||
            task->stage[i].state == STAGE_REMOVING)
            return;
    set_task_state(task, TASK_CANCELLED, now_ms);
}

/* Nobody works on the stage of a task that is to end.  clean: its worker has left no file. */
static void drop(struct stage *stage, bool clean)
{
    bool has_files = stage->kind == STAGE_CONVERT && stage->epoch > 0 &&
                     (stage->state != STAGE_ACTIVE || !clean);

    if (stage->state == STAGE_REMOVING || stage->state == STAGE_CANCELLED)
        return;
    (void)set_message(&stage->status_message, NULL);
    /* a machine that was started stays: only the owner can say what is to become of it */
    set_state(stage, has_files ? STAGE_REMOVING : STAGE_CANCELLED);
}

bool machine_may_stop(const struct task *task)
{
    if (task->state != TASK_ACTIVE)
        return false;
    for (size_t i = 0; i < task->stage_count; i++)
        if (task->stage[i].kind == STAGE_CONVERT && task->stage[i].state != STAGE_PUBLISHING &&
            task->stage[i].state != STAGE_COMPLETED)
            return true;
    return false;
}

int machine_stop(struct task *task, const char *message, int64_t now_ms)
{
    if (task->state != TASK_ACTIVE)
        return 0;
    if (set_message(&task->status_message, message) < 0)
        return -ENOMEM;
    set_task_state(task, TASK_CANCELLING, now_ms);
    for (size_t i = 0; i < task->stage_count; i++)
        if (!is_leased(&task->stage[i]))
            drop(&task->stage[i], false);
    settle(task, now_ms);
    return 0;
}

/* ---- work ---- */

int machine_claim(struct task *task, struct stage *stage, int64_t lease_ms)
{
    (void)task;
    if (is_leased(stage) || (stage->state != STAGE_ACTIVE && stage->state != STAGE_PUBLISHING))
        return -ESTALE;
    stage->epoch++;
    stage->lease_ms = lease_ms;
    stage->changed = true;
    return 0;
}

int machine_publish(struct task *task, struct stage *stage)
{
    if (stage->state == STAGE_PUBLISHING && is_leased(stage) && stage->won_epoch == stage->epoch)
        return 0; /* its answer got lost */
    if (task->state != TASK_ACTIVE || !is_leased(stage) || stage->state != STAGE_ACTIVE ||
        stage->kind != STAGE_CONVERT)
        return -ESTALE;
    stage->state = STAGE_PUBLISHING;
    stage->won_epoch = stage->epoch;
    stage->changed = true;
    return 0;
}

/* All volumes are made: a launch that waits for them may begin. */
static int go_on(struct task *task, int64_t now_ms)
{
    struct stage *last = &task->stage[task->stage_count - 1];
    size_t left = 0;

    for (size_t i = 0; i < task->stage_count; i++)
        left += task->stage[i].state != STAGE_COMPLETED;
    if (left == 0)
        set_task_state(task, TASK_COMPLETED, now_ms);
    if (left != 1 || last->state != STAGE_WAITING)
        return 0;
    set_state(last, STAGE_ACTIVE);
    last->due_ms = now_ms;
    return set_message(&last->status_message, TASK_MESSAGE_LAUNCH);
}

int machine_complete(struct task *task, struct stage *stage, int64_t now_ms)
{
    enum stage_state from = stage->kind == STAGE_CONVERT ? STAGE_PUBLISHING : STAGE_ACTIVE;

    if (!is_leased(stage) || stage->state != from)
        return -ESTALE;
    if (task->state != TASK_ACTIVE) {
        if (stage->kind == STAGE_LAUNCH)
            return -ESTALE;
        drop(stage, false);
        settle(task, now_ms);
        return 0;
    }
    (void)set_message(&stage->status_message, NULL);
    stage->bytes_converted = stage->image_bytes;
    set_state(stage, STAGE_COMPLETED);
    return go_on(task, now_ms);
}

int machine_fail(struct task *task, struct stage *stage, const char *message, int64_t now_ms)
{
    bool first = task->state == TASK_ACTIVE;

    if (!is_leased(stage))
        return -ESTALE;
    drop(stage, stage->epoch == 1);
    if (set_message(&stage->status_message, first ? message : NULL) < 0)
        return -ENOMEM;
    if (first)
        return machine_stop(task, message, now_ms);
    settle(task, now_ms);
    return 0;
}

int machine_postpone(struct task *task, struct stage *stage, int64_t due_ms, enum task_return why,
                     const char *message)
{
    if (task->state != TASK_ACTIVE || !is_leased(stage))
        return -ESTALE;
    if (message && set_message(&stage->status_message, message) < 0)
        return -ENOMEM;
    stage->lease_ms = 0;
    stage->due_ms = due_ms;
    stage->waits += why == TASK_WAITS;
    stage->tries += why == TASK_TRIED;
    stage->deaths += why == TASK_DIED;
    stage->changed = true;
    return 0;
}

int machine_lapse(struct task *task, struct stage *stage, int64_t now_ms)
{
    if (!is_leased(stage))
        return -ESTALE;
    stage->lease_ms = 0;
    stage->changed = true;
    if (task->state == TASK_ACTIVE) {
        stage->deaths++;
        stage->due_ms = now_ms;
        return 0;
    }
    drop(stage, false);
    settle(task, now_ms);
    return 0;
}

int machine_removed(struct task *task, struct stage *stage, int64_t now_ms)
{
    if (stage->state != STAGE_REMOVING)
        return -ESTALE;
    set_state(stage, STAGE_CANCELLED);
    settle(task, now_ms);
    return 0;
}

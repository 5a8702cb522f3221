/* watch - remembers what was shown of each task, and shows what differs. */

#include <config.h>

#include "watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#include "follow.h"
#include "output.h"
#include "task.h"

struct shown {
    char *id;
    char *text; /* its lines as they were printed last */
};

struct state {
    const struct euca_watch *watch;
    bool redraw;
    size_t count;
    struct shown *shown;
    size_t found; /* where the last task was: the next is probably behind it */
};

static void state_done(struct state *state)
{
    for (size_t i = 0; i < state->count; i++) {
        free(state->shown[i].id);
        free(state->shown[i].text);
    }
    free(state->shown);
}

/* The lines of a task as a new string; NULL when out of memory. */
static char *render(const struct euca_task *task, bool json)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    int r = 0;

    if (!out)
        return NULL;
    if (json)
        r = euca_print_task_json(out, task);
    else
        euca_print_task(out, task);
    if (fclose(out) == 0 && r == 0)
        return text;
    free(text);
    return NULL;
}

/* What was shown of this task; NULL when it is new. */
static struct shown *recall(struct state *state, const char *id)
{
    for (size_t i = 0; i < state->count; i++) {
        size_t n = (state->found + 1 + i) % state->count;

        if (strcmp(state->shown[n].id, id) == 0) {
            state->found = n;
            return &state->shown[n];
        }
    }
    return NULL;
}

/* Takes the text in any case. */
static int remember(struct state *state, const char *id, char *text)
{
    struct shown *grown = reallocarray(state->shown, state->count + 1, sizeof(*state->shown));
    struct shown new = { strdup(id), text };

    if (grown)
        state->shown = grown;
    if (!grown || !new.id) {
        free(new.id);
        free(new.text);
        return -ENOMEM;
    }
    state->found = state->count++;
    grown[state->found] = new;
    return 0;
}

/* 1 when something of the task is new, and it is printed; 0 when nothing is, or -ENOMEM. */
static int update(struct state *state, const struct euca_task *task, struct shown *shown)
{
    char *text IM_FREE = render(task, state->watch->json);

    if (!text)
        return -ENOMEM;
    if (shown && strcmp(shown->text, text) == 0)
        return 0;
    if (!state->redraw)
        fputs(text, stdout);
    if (shown) {
        free(shown->text);
        shown->text = im_steal(text);
        return 1;
    }
    return remember(state, task->id, im_steal(text)) < 0 ? -ENOMEM : 1;
}

/* The whole screen. */
static void draw(const struct state *state)
{
    fputs("\033[H\033[J", stdout);
    for (size_t i = 0; i < state->count; i++)
        fputs(state->shown[i].text, stdout);
}

static int seen(void *arg, struct euca_tasks *tasks, struct im_error *err)
{
    struct state *state = arg;
    bool news = false, end = true;
    int r;

    for (size_t i = 0; i < tasks->count; i++) {
        const struct euca_task *task = &tasks->task[i];
        struct shown *shown = task->id ? recall(state, task->id) : NULL;

        if (!task->id || (!shown && !euca_filter_matches(state->watch->filter, task)))
            continue;
        r = update(state, task, shown);
        if (r < 0)
            return im_fail_memory(err);
        news |= r > 0;
        end &= !euca_task_is_active(task);
    }
    if (state->redraw && news)
        draw(state);
    if (fflush(stdout) != 0 || ferror(stdout))
        return im_fail_errno(err, errno ? errno : EIO, "cannot write to standard output");
    r = euca_task_check_ids(tasks, state->watch->ids, state->watch->id_count, err);
    if (r < 0)
        return r;
    return end ? EUCA_SEEN_THE_END : news ? EUCA_SEEN_NEWS : EUCA_SEEN_NOTHING_NEW;
}

int euca_watch(const struct euca_watch *watch, struct im_error *err)
{
    struct state state IM_CLEANUP(state_done) = { .watch = watch,
                                                  .redraw = !watch->json && isatty(STDOUT_FILENO) };
    const struct euca_follow follow = { .program = watch->program,
                                        .ec2 = watch->ec2,
                                        .ids = watch->ids,
                                        .id_count = watch->id_count,
                                        .every_ms = watch->every_ms,
                                        .seen = seen,
                                        .arg = &state };

    return euca_follow(&follow, err);
}

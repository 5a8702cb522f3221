/* state - the parts of a task that no database knows: names of states, ids, memory. */

#include <config.h>

#include "task/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

static const char *const names[] = {
    [TASK_ACTIVE] = "active",
    [TASK_CANCELLING] = "cancelling",
    [TASK_CANCELLED] = "cancelled",
    [TASK_COMPLETED] = "completed",
};

const char *task_state_name(enum task_state state)
{
    return names[state];
}

int task_state_parse(const char *name, enum task_state *ret_state)
{
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret_state = (enum task_state)i;
            return 0;
        }
    }
    return -EINVAL;
}

void task_new_id(char ret_id[TASK_ID_SIZE])
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    static const char prefix[] = "import-vol-";
    size_t n = sizeof(prefix) - 1;

    memcpy(ret_id, prefix, n);
    while (n < TASK_ID_SIZE - 1) {
        uint8_t byte;

        im_random(&byte, 1);
        if (byte < 252) /* 7 × 36: every digit equally likely */
            ret_id[n++] = digits[byte % 36];
    }
    ret_id[n] = '\0';
}

void task_new_volume_id(char ret_id[TASK_VOLUME_ID_SIZE])
{
    uint8_t bytes[9];
    char hex[2 * sizeof(bytes) + 1];

    im_random(bytes, sizeof(bytes));
    im_hex(bytes, sizeof(bytes), hex);
    (void)snprintf(ret_id, TASK_VOLUME_ID_SIZE, "vol-%.17s", hex);
}

void task_done(struct task *task)
{
    free(task->id);
    free(task->account);
    free(task->status_message);
    free(task->format);
    free(task->manifest_url);
    free(task->zone);
    free(task->description);
    free(task->volume_id);
    free(task->digest);
    memset(task, 0, sizeof(*task));
}

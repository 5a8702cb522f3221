/* machine - the states of a task and its stages, and what moves them.
 *
 *   stage   waiting ──► active ──► publishing ──► completed
 *              │         │    │         │             │
 *              │         │    └────► removing ◄───────┘
 *              ▼         ▼              │
 *              cancelled ◄──────────────┘
 *
 *   task    active ──► completed
 *              └─────► cancelling ──► cancelled
 *
 * A task completes with its last stage.  When it is stopped – by its owner, because it expired, or
 * because a stage failed – stages nobody works on end at once, the others when their worker has let
 * go; files of claims, published or not, are removed; then the task is cancelled.
 *
 * Pure: rows in memory, no database and no clock.  What changed is marked in task and stage.  All
 * return 0, -ESTALE when the rows are not in a state for that (nothing has changed), or -ENOMEM. */
#pragma once

#include "task/task.h"

/* True while the task can still be stopped: active, and not all its disks are published. */
bool machine_may_stop(const struct task *task);

/* The task is to end with this message; of one that is not active nothing changes. */
int machine_stop(struct task *task, const char *message, int64_t now_ms);

/* A worker takes the stage, which is active or publishing and not leased. */
int machine_claim(struct task *task, struct stage *stage, int64_t lease_ms);

/* The work of this epoch is the one that counts: active convert → publishing. */
int machine_publish(struct task *task, struct stage *stage);

/* publishing convert, or active launch → completed, and what follows for the task. */
int machine_complete(struct task *task, struct stage *stage, int64_t now_ms);

/* It cannot be done, and this claim has left no file: the stage ends, and with it the task. */
int machine_fail(struct task *task, struct stage *stage, const char *message, int64_t now_ms);

/* The worker gives the stage of an active task back, to be claimed from due_ms on; message NULL:
 * unchanged. */
int machine_postpone(struct task *task, struct stage *stage, int64_t due_ms, enum task_return why,
                     const char *message);

/* The worker died: its lease ran out. */
int machine_lapse(struct task *task, struct stage *stage, int64_t now_ms);

/* Its files are gone: removing → cancelled. */
int machine_removed(struct task *task, struct stage *stage, int64_t now_ms);

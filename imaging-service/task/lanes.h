/* lanes - whose stage is worked on next.
 *
 * A lane is what an account wants in one zone: "account/zone", in each stage.  Whether anything is
 * due is read from one index entry of each lane that waits, however many stages wait in it. */
#pragma once

#include <errno.h>

#include "task/table.h"

/* Lanes with a stage that is due among which one is chosen, where there are many: from the one that
 * was served last on, so that each has its turn. */
#define LANES_MAX 64

struct running;

/* One choice. */
struct lanes {
    const struct task_limits *limits;
    int64_t now_ms;
    const char *served; /* the lane this service served last, lent; NULL: none */
    bool crowded;       /* there are more lanes than LANES_MAX, as it seems */
    /* what was seen */
    size_t seen;
    struct running *running;
    size_t running_count;
    int64_t total;
    /* what came of it */
    char *lane; /* the one to be served; NULL: none */
    int64_t due_ms, load;
    int64_t next_ms; /* when to look again */
};

/* Choose among the lanes with a stage that is due, within the limits: the account with the fewest
 * stages at work, and of those with as few the next one.  0; lanes->next_ms is made earlier when
 * something becomes due. */
int lanes_choose(struct sql_session *session, struct lanes *lanes, struct im_error *err);

/* True when there were more lanes than one choice looks at. */
bool lanes_crowded(const struct lanes *lanes);

void lanes_done(struct lanes *lanes);

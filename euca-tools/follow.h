/* follow - look at conversion tasks again and again, until they have ended. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "credentials.h"
#include "reply.h"

/* What was learnt from a look. */
enum euca_seen { EUCA_SEEN_NOTHING_NEW, EUCA_SEEN_NEWS, EUCA_SEEN_THE_END };

struct euca_follow {
    const char *program;
    const struct euca_endpoint *ec2;
    const char *const *ids; /* of the tasks; none: all there are */
    size_t id_count;
    bool begun;       /* the service has answered before: it is waited for at the first look, too */
    int64_t every_ms; /* between two looks; 0: often while there is news, seldom otherwise */
    /* Gets each answer and may take it (leaving zeros); an enum euca_seen, or -errno to stop. */
    int (*seen)(void *arg, struct euca_tasks *tasks, struct im_error *err);
    void *arg;
};

/* Look until the end.  A service that is away for a while (it restarts, or the network fails) is
 * waited for and that is told once.  Errors: -ECANCELED when interrupted; what `seen` returned; of
 * the network and the server. */
int euca_follow(const struct euca_follow *follow, struct im_error *err);

/* "Converting images, 45% of 8.0 GiB": stage and progress of a task, cut to fit; returns buf. */
const char *euca_task_progress(char *buf, size_t size, const struct euca_task *task);

/* --wait: follow one task that this program has made or resumed.  Stage and progress are told on
 * standard error: on a terminal in one line, else with a line per change and not too often; not at
 * all when quiet.  At its end the task is printed on standard output, and the result is 0 when it
 * completed and -EIO "task ID was cancelled: REASON" otherwise.  Other errors are euca_follow's;
 * when interrupted, and where a later look may succeed, after a word on how to go on watching, for
 * which `common` is. */
int euca_wait(const char *program, const struct euca_common *common,
              const struct euca_endpoint *ec2, const char *id, bool quiet, struct im_error *err);

/* none - nothing is started: the instance is registered and stopped. */

#include <config.h>

#include "launch/launcher.h"

static int start(struct launch *launch, struct im_error *err)
{
    (void)err;
    launch->state = launch_state("stopped");
    return 0;
}

const struct launcher launcher_none = { .name = "none", .start = start };

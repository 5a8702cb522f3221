/* caller - who sent a request, and what he may do. */

#include <config.h>

#include "caller.h"

#include <string.h>

bool svc_caller_may(const struct svc_caller *caller, const char *action)
{
    const char *name = caller->actions;
    size_t len = strlen(action);

    if (strcmp(name, SVC_ALL_ACTIONS) == 0)
        return true;
    for (;;) {
        size_t n = strcspn(name, ",");

        if (n == len && strncmp(name, action, n) == 0)
            return true;
        if (!name[n])
            return false;
        name += n + 1;
    }
}

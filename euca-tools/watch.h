/* watch - show tasks whenever they change, until all have ended. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "credentials.h"
#include "filter.h"

struct euca_watch {
    const char *program;
    const struct euca_endpoint *ec2;
    const char *const *ids; /* of the tasks; none: all there are */
    size_t id_count;
    const struct euca_filter *filter;
    bool json;        /* a line of JSON per change instead of text */
    int64_t every_ms; /* as in struct euca_follow */
};

/* Show on standard output: text on a terminal is drawn anew as a whole, otherwise a task is printed
 * again when something in its lines has changed.  A task that has been shown stays, even if the
 * filter fits it no longer: whoever looks at the active ones wants to see how they end.  Ends when
 * all that are shown have ended, at once when there is none.  Errors: as euca_follow; -ENOENT for
 * an id that the service leaves out; standard output cannot be written. */
int euca_watch(const struct euca_watch *watch, struct im_error *err);

/* cancel - the wish to stop, set by SIGINT, SIGTERM and SIGHUP, looked at by everything that loops.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

/* True once a signal asked to stop. */
extern volatile bool im_cancelled;

/* Catch SIGINT, SIGTERM and (where it is not ignored) SIGHUP; ignore SIGPIPE.  Once, in main. */
void im_cancel_catch_signals(void);

/* 0, or -ECANCELED with a sentence when the wish is there. */
int im_cancel_check(struct im_error *err);

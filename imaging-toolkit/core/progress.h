/* progress - tell how far the work is: JSON Lines for programs, a bar or lines for people. */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct im_progress;

/* fd ≥ 0: JSON Lines go there.  fd -1: standard error gets a bar when it is a terminal, else a line
 * every 10 s.  NULL when out of memory. */
struct im_progress *im_progress_new(int fd);

/* What is being done now ("open", "copy", "commit"); a static string. */
void im_progress_stage(struct im_progress *progress, const char *stage);

/* Bytes done of total (or IM_SIZE_UNKNOWN) in this stage; called often, tells at most five times a
 * second. */
void im_progress_update(struct im_progress *progress, uint64_t done, uint64_t total);

/* Everything of this stage is done, whatever was not worth telling. */
void im_progress_finish(struct im_progress *progress);

/* The end: the result as JSON object text (for the descriptor), or the error. */
void im_progress_result(struct im_progress *progress, const char *json);
void im_progress_error(struct im_progress *progress, const struct im_error *err);

/* Takes NULL, returns NULL; ends the bar's line. */
struct im_progress *im_progress_free(struct im_progress *progress);

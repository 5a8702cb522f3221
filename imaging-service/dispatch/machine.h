/* machine - the launch stage of an instance task. */
#pragma once

#include "dispatch/run.h"

/* Make a machine of the task's volumes and end the claim: completed, given back, or cancelled. */
void machine_do(const struct worker *worker, const struct claim *claim);

/* End a launch that took too many processes with it. */
void machine_give_up(const struct worker *worker, const struct claim *claim, const char *message);

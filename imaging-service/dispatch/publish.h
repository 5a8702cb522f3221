/* publish - the last steps of a convert, in which its part file becomes the volume.
 *
 * The row says whose part file it is, that file gets the volume's name, the row says that it is
 * completed.  Whoever takes over after the first step goes on with that very file, so a process that
 * was stopped for a while, and wakes, can do no harm. */
#pragma once

#include <stdint.h>

#include "dispatch/run.h"

/* The toolkit has ended well: all steps.  boot_mode: what it found, "" nothing; data_bytes: what it
 * wrote, for the metrics.  The claim is over when it returns. */
void publish_part(struct run *run, const char *boot_mode, uint64_t data_bytes);

/* The first step is done (the stage is publishing; run->files are those of the claim that won): the
 * others. */
void publish_finish(struct run *run, uint64_t data_bytes);

/* confined - this process gives up what its job does not need, before the first byte of an image.
 */
#pragma once

#include "base/error.h"
#include "core/job.h"

/* From now on this process, and what it starts, can read what the job names (its source, extents,
 * keys), write where its result and its scratch go, run the programs stages need, and be a client
 * of servers where the source is one's; nothing else (base/confine.h).
 *
 * Where the kernel cannot confine a process, one line of warning says so and the work goes on: on
 * the command line it is the user's decision.  A job may require it (job->confined), as the
 * service's do.  Errors: -EMFILE, -ENOMEM, -EBUSY (there are threads already), -ENOPKG
 * "Unconfined". */
int im_confined(const struct im_job *job, struct im_error *err);

/* The same for a command that only speaks with servers: it reads and writes no file but what every
 * client of servers reads, and starts nothing. */
int im_confined_client(struct im_error *err);

/* The same for a command that only looks; each may be NULL. */
struct im_confined_names {
    const char *source;  /* as of a job */
    const char *extents; /* directory */
    const char *scratch; /* directory; NULL: the default */
    const char *file;    /* that is read, too */
};
int im_confined_look(const struct im_confined_names *names, struct im_error *err);

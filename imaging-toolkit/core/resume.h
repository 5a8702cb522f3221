/* resume - the two files of a conversion that can be gone on with: their names, who holds them, and
 * what becomes of them.
 *
 * While a volume is made for PATH, its bytes are in PATH.partial and its journal in PATH.journal.
 * Whoever works on them holds a lock (flock) on the journal, which ends with the process; so a
 * process that was stopped and wakes again is never disturbed, and disturbs nobody.  What they tell
 * is core/trail.h's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/source.h"
#include "core/trail.h"

struct im_resume {
    char *partial;  /* name of the file the volume is written to */
    char *journal;  /* name of its journal */
    int partial_fd; /* open on them, … */
    int journal_fd; /* … this one locked; -1: there are none yet */
    struct im_trail *trail;
};

/* Find the attempt that came furthest and that nobody is at, give its files our names and hold
 * them; other attempts that nobody is at are removed.  path: where the volume will be.  earlier:
 * names that begin so and end with ".journal" are those of attempts under other names; NULL: there
 * are none. Errors: -EBUSY when another process is at path, -EIO, -ENOMEM. */
int im_resume_take(const char *path, const char *earlier, struct im_resume **ret_resume,
                   struct im_error *err);

/* Begin a trail of source behind what is held when it is of that identity (IM_JOURNAL_IDENTITY
 * bytes), else, or when `afresh`, one of nothing.  1 when the place cannot keep such files: then
 * nothing can be gone on with.  Errors: -EBUSY, -ESTALE as im_trail_new, -EIO, -ENOMEM. */
int im_resume_begin(struct im_resume *resume, const uint8_t *identity, bool afresh,
                    struct im_source *source, struct im_error *err);

/* End the trail and free.  The files stay when `keep`, and there is something to go on with;
 * returns whether they do.  Takes NULL. */
bool im_resume_end(struct im_resume *resume, bool keep);

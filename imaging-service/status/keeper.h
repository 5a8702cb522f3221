/* keeper - the thread that looks whether this service can do its work, and remembers what it saw.
 *
 * It alone waits for disks, the database and the toolkit.  Whoever asks it gets the last look's
 * result at once, and is told when a look does not come to its end. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "status/status.h"

/* Bytes of all reasons, and of all notes, one on each line; a directory's name may be long. */
#define KEEPER_TEXT_SIZE 8192

/* What was seen. */
struct keeper_view {
    bool ready;
    char reasons[KEEPER_TEXT_SIZE]; /* why it is not ready; "" when it is */
    char notes[KEEPER_TEXT_SIZE];   /* what does not work although it is */
    bool has_counts, has_scratch;   /* the following could be found out */
    struct task_counts counts;
    double scratch_size, scratch_free; /* bytes of its file system */
    int64_t look_ms;                   /* monotonic time of the last whole look; 0: none yet */
};

struct keeper;

/* Look once, then go on every KEEPER_LOOK_MS.  options outlives it. */
int keeper_start(const struct status_options *options, struct keeper **ret_keeper,
                 struct im_error *err);
#define KEEPER_LOOK_MS 2000

/* What was seen last, as of now_ms (monotonic); never waits. */
void keeper_view(struct keeper *keeper, int64_t now_ms, struct keeper_view *ret_view);

/* Count the rows at the next look: while nobody asks for them, the database is left alone. */
void keeper_want_counts(struct keeper *keeper);

/* From now on it is not ready. */
void keeper_stopping(struct keeper *keeper);

/* Takes NULL, returns NULL; waits for the look under way. */
struct keeper *keeper_stop(struct keeper *keeper);

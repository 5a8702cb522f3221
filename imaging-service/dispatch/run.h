/* run - one claim in a worker's hands, and the ways it ends without success.
 *
 * What a claim made is removed before its row tells of the end, so that whoever reads "cancelled"
 * finds nothing left. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dispatch/files.h"
#include "dispatch/worker.h"
#include "task/task.h"

/* Heartbeats: at least, with news to tell, and when somebody woke us. */
#define BEAT_MS       2000
#define BEAT_NEWS_MS  500
#define BEAT_WOKEN_MS 100

/* A stage that took so many of its processes with it is not tried again. */
#define DEATHS_MAX 3

/* Attempts of a stage that fail in ways that may heal; the last failure is final. */
#define TRIES_MAX 8

/* Pauses before the next attempt, and before the next look for an upload: they double up to these.
 */
#define PAUSE_MS          1000
#define PAUSE_TRY_MAX_MS  60000
#define PAUSE_WAIT_MAX_MS 15000

/* Bytes of "import-i-xxxxxxxx disk 21". */
#define RUN_NAME_SIZE 48

struct run {
    const struct worker *worker;
    const struct claim *claim;
    const struct stage *stage; /* of the claim */
    char name[RUN_NAME_SIZE];  /* for the log */
    struct claim_files files;  /* of a convert */
    /* Remove what the claim made; for_good: nobody will go on with it. */
    void (*leave)(const struct run *run, bool for_good);
    int64_t beat_ms;    /* monotonic time of the last heartbeat */
    uint64_t told_done; /* bytes of progress it told of */
    uint64_t bytes;     /* of the image, as the row has them */
    bool answered;      /* its store did, and the table of stores knows */
    bool deaf;          /* the last heartbeat failed; said once */
};

/* Name it and begin; the rest is the stage's. */
void run_init(struct run *run, const struct worker *worker, const struct claim *claim,
              void (*leave)(const struct run *run, bool for_good));

/* PAUSE_MS × 2^n, at most max. */
int64_t run_pause_ms(unsigned n, int64_t max);

/* Tell the table that it goes on; message NULL: unchanged.  1 when the task is to stop, -ESTALE
 * when the claim is lost; else 0: a table that cannot be written now may be at the next beat, or
 * the lease runs out. */
int run_beat(struct run *run, uint64_t bytes, const char *message);

/* After a write that returned r: true when the database is away (-EHOSTDOWN) or what it was to
 * write is locked by somebody (-ETIMEDOUT), a while later, unless the service stops; then it is to
 * be tried again. */
bool run_awaits(const struct run *run, int r);

/* End the task as cancelled; a reason it has already wins over message.  1, or why it could not be
 * written. */
int run_end(const struct run *run, const char *message);

/* Give the stage back for another claim in pause ms; 0.  The message is AWS's beginning of what it
 * waits for, then words (NULL: nothing more).  When the task is to stop, end it; as run_end. */
int run_give_back(const struct run *run, enum task_return why, int64_t pause, const char *words);

/* A failure that may heal: again later (0), or the end when it was the last attempt (1).  status
 * and code: as the toolkit's. */
int run_try_again(const struct run *run, int status, const char *code, const char *sentence);

/* The process died of something that is not our doing. */
void run_died(const struct run *run, const char *how);

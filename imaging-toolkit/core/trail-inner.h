/* trail-inner - the state of a trail, shared by the walk's side (core/trail.c) and the side of
 * marks (core/trail-mark.c). */
#pragma once

#include <pthread.h>

#include "base/buffer.h"
#include "core/trail.h"

/* Bytes not used yet that a mark carries: a compressed grain, the headers of a VHDX. */
#define TRAIL_REST_MAX (256u << 10)

/* A mark on its way to the journal. */
struct next_mark {
    uint64_t data, position, rest_offset, generation;
    struct im_buffer log, rest;
};

struct im_trail {
    struct im_source *source;
    int volume;

    /* what an earlier process left */
    struct im_journal start; /* before the first mark */
    uint64_t marks;          /* that count */
    uint64_t past_data, past_position;
    uint64_t rest_offset;
    struct im_buffer rest;
    struct im_journal replay; /* behind `mark` */
    struct im_buffer replayed;
    struct im_journal_mark mark;
    size_t log_at; /* in mark.log */

    /* the walk's */
    bool live; /* nothing of the past is left to give */
    bool off;  /* no more marks are made */
    uint64_t data;
    uint64_t expected; /* where the next piece of structure would follow the last one */
    uint64_t kept;     /* bytes of log in all */
    struct im_buffer log;
    struct im_trail_writer writer;
    uint64_t marked_data, marked_rest; /* as the last mark has them */
    uint64_t unused_offset;            /* of bytes that were fetched and not used, … */
    struct im_buffer unused;           /* … as of the last time the walk waited */
    uint64_t position;                 /* as the progress was told last */

    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool busy; /* `next` is the thread's */
    bool stop;
    bool full;               /* the journal cannot be written any more */
    struct im_error failure; /* the volume could not be written to the disk */
    struct next_mark next;
    struct im_buffer runs[2]; /* of the odd and the even generations */
    int64_t done_ms, took_ms; /* when the last mark was written, and how long it took */
    struct im_journal journal;
};

/* Let the thread make a mark of what has changed since the last one.  Lock held, not busy. */
void trail_hand_over(struct im_trail *trail);

/* Whether anything has. */
bool trail_has_news(const struct im_trail *trail);

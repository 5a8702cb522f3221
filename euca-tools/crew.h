/* crew - threads that share a list of work, each with a connection of its own.
 *
 * They share the list and nothing else; it is the same for uploads and deletions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/http.h"

/* Threads of one crew, those ahead among them. */
#define EUCA_CREW_MAX 96

/* One of the threads. */
struct euca_hand {
    struct im_http *http;
    const volatile bool *stop; /* true: interrupted, or another failed; `cancel` of what is sent */
    struct euca_crew_state *state; /* what crew.c keeps */
    bool has_turn;
};

struct euca_crew {
    unsigned threads; /* at work at a time; no more are started than there are pieces */
    unsigned ahead;   /* threads more, that prepare their pieces and wait for euca_crew_turn */
    size_t count;     /* pieces of work */
    /* Do piece n: 0 or -errno with err filled.  Any thread, each piece once, taken in order. */
    int (*one)(void *arg, struct euca_hand *hand, size_t n, struct im_error *err);
    void (*tick)(void *arg); /* called several times a second, by the caller's thread; or NULL */
    void *arg;               /* of both */
};

/* Do all the work.  The first failure breaks off what the others do, and is the result; so does
 * euca_interrupted, as -ECANCELED.  No thread is left in any case. */
int euca_crew_run(const struct euca_crew *crew, struct im_error *err);

/* In the middle of piece n: wait until all pieces before it have had their turn and fewer than
 * `threads` are in theirs.  A turn lasts to the end of the piece.  Either all pieces call this or
 * none.  -ECANCELED when it does not come any more. */
int euca_crew_turn(struct euca_hand *hand, size_t n, struct im_error *err);

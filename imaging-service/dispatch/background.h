/* background - a thread that looks after one thing: woken, or now and then; stopped when it is told.
 *
 * Embedded in what it works for. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/error.h"

struct background {
    atomic_bool stop;
    int wake_fd; /* eventfd, readable when it was woken or is to stop; -1: not started */
    pthread_t thread;
    void (*work)(void *arg);
    void *arg;
};

/* Run work(arg) in a thread, which takes no signals; it returns when background_stops().  what: for
 * the message, "the thread that removes volumes". */
int background_start(struct background *background, const char *what, void (*work)(void *arg),
                     void *arg, struct im_error *err);

/* For work: is it to end?  Wait until it is woken, at most for ms (-1: for ever); empty wake_fd. */
bool background_stops(const struct background *background);
void background_wait(struct background *background, int ms);
void background_drain(struct background *background);

/* From any thread. */
void background_wake(struct background *background);

/* Tell it to end, and wait for that. */
void background_stop(struct background *background);

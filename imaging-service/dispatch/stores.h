/* stores - which object stores do not answer, and who asks them next.
 *
 * An object store that is away is not the fault of the tasks that wait for it: they neither hammer
 * it nor use up their attempts on it.  After a manifest could not be asked for, one claim at a time
 * asks again, after a pause; the others are told to come back later, spread out.  What is known is
 * this process's own and forgotten with it: no promise rests on it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Stores (scheme, host and port) that are remembered; one more, and the one that was asked least
 * recently is forgotten, which costs it a few requests more. */
#define STORES_MAX 64

/* The pauses of who asks a store that is away: doubled up to the longest.  With two requests each
 * time, three services ask less than once a second together, and work goes on within a quarter of
 * a minute after the store is back. */
#define STORES_PAUSE_MS     1000
#define STORES_PAUSE_MAX_MS 10000

/* Those who are told to come back later do so so far apart, and none later than the last. */
#define STORES_SPREAD_MS     1000
#define STORES_SPREAD_MAX_MS 60000

/* A store that has never answered here and does not for so long is taken for a mistake in the URL;
 * one that has may be away as long as its tasks live. */
#define STORES_UNKNOWN_MAX_MS (15 * 60 * 1000)

struct stores;

/* NULL when out of memory. */
struct stores *stores_new(void);

/* Takes NULL, returns NULL. */
struct stores *stores_free(struct stores *stores);

/* In all of these: stores may be NULL, when nothing is kept account of; url is any URL of the
 * store; now_ms is monotonic. */

/* May a claim ask the store now?  0: yes; what came of it is told by one of the following, or
 * stores_left.  Else so many ms until it may be claimed again. */
int64_t stores_ask(struct stores *stores, const char *url, int64_t now_ms);

/* It answered, whatever it said. */
void stores_answered(struct stores *stores, const char *url, int64_t now_ms);

/* It did not.  Returns the ms until the claim that asked may be claimed again; *ret_counts: it is
 * to be counted as an attempt of its task. */
int64_t stores_failed(struct stores *stores, const char *url, int64_t now_ms, bool *ret_counts);

/* Who was to ask has ended without knowing. */
void stores_left(struct stores *stores, const char *url);

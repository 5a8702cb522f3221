/* metrics - what the service counts about itself, for GET /metrics.
 *
 * Any layer may count, from any thread, without a lock.  A label has one of the few values that
 * metrics.c lists for it; every other text counts as "other", so that nothing a client sends makes
 * a series of its own.  Counts begin at 0 when the process starts; nothing here is stored.  What is
 * looked at instead of counted (tasks by state, free space) is status/'s. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

enum metric {
    METRIC_REQUESTS,            /* answered: action, HTTP status as text */
    METRIC_THROTTLED,           /* refused with RequestLimitExceeded: action */
    METRIC_AUTH_FAILURES,       /* refused for their signature: the code the client saw */
    METRIC_CONNECTIONS_REFUSED, /* turned away: "total", "address" */
    METRIC_CLAIMS,              /* stages claimed: "convert", "launch" */
    METRIC_TAKEOVERS,           /* claims of a stage whose worker let its lease run out */
    METRIC_STALE_WRITES,        /* writes refused because their epoch is not the row's any more */
    METRIC_STAGES_ENDED,        /* by this service: "completed", "cancelled" */
    METRIC_BYTES_IN,            /* of disk images, converted */
    METRIC_BYTES_OUT,           /* of data, written into volumes that were published */
    METRIC_TOOLKIT_EXITS,       /* imaging-toolkit ended by itself: exit status as text */
    METRIC_TOOLKIT_SIGNALS,     /* it died of a signal: "SIGKILL" … */
    METRIC_RETRIES,             /* stages given back to be tried again: cause */
    METRIC_DATABASE_FAILURES,   /* calls of the database that failed: see metric_database */
    METRIC_UPLOAD_DELETE_FAILURES, /* attempts to delete an upload that failed */
    METRICS,                       /* how many */
};

/* Count n more.  first and second are the values of its labels, NULL for those it has not; n 0
 * changes nothing. */
void metric_add(enum metric metric, const char *first, const char *second, uint64_t n);

/* One more, with a number as the value of its only label. */
void metric_add_number(enum metric metric, int value);

/* METRIC_DATABASE_FAILURES of a call that returned r, a negative errno; those that say something
 * about rows and not about the database (-ENOENT, -ESTALE, -EEXIST, -EAGAIN …) are not counted. */
void metric_database(int r);

/* A request was answered: METRIC_REQUESTS, and how long it took from its headers to the beginning
 * of its answer, in microseconds. */
void metric_request(const char *action, unsigned http_status, uint64_t took_us);

/* Of what has been counted so far with these labels; for tests. */
uint64_t metric_value(enum metric metric, const char *first, const char *second);

/* The value of the action label for that name: itself, or "other". */
const char *metric_action(const char *action);

/* Append everything in the text format of Prometheus, version 0.0.4.  0 or as im_buffer_add. */
int metrics_write(struct im_buffer *out);

/* Append one sample of a gauge with its help; label (as "state=\"active\"") may be NULL.  Help is
 * written when it is not NULL: for the first sample of a name.  0 or as im_buffer_add. */
int metric_gauge(struct im_buffer *out, const char *name, const char *help, const char *label,
                 double value);

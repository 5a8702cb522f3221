/* postgres-pool - the connections of a process, each used by one transaction at a time.
 *
 * When the server is away, one caller looks for it and the others are told so at once, instead of
 * waiting in line for the same time-out. */

#include <config.h>

#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "sql/postgres.h"

/* Locked.  Somebody has just failed to reach the server, or did and looks again. */
static bool is_away(const struct postgres *db)
{
    return db->failed_ms &&
           (db->trying || im_clock_monotonic_ms() - db->failed_ms < POSTGRES_AWAY_MS);
}

/* Locked, and unlocked meanwhile.  It counts as made. */
static int make(struct postgres *db, int64_t deadline_ms,
                struct postgres_connection **ret_connection, struct im_error *err)
{
    struct im_error failure = { 0 };
    bool looked = db->failed_ms != 0;
    int r;

    db->made++;
    db->trying = db->trying || looked;
    (void)pthread_mutex_unlock(&db->lock);
    r = postgres_connect(db, deadline_ms, ret_connection, &failure);
    (void)pthread_mutex_lock(&db->lock);
    if (looked)
        db->trying = false;
    if (r == 0) {
        db->failed_ms = 0;
        return 0;
    }
    db->made--;
    db->failed_ms = im_clock_monotonic_ms();
    db->failure = failure;
    (void)pthread_cond_broadcast(&db->returned);
    if (err)
        *err = failure;
    return r;
}

/* Locked.  False when that is too late. */
static bool wait_for_one(struct postgres *db, int64_t deadline_ms)
{
    struct timespec end = { .tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000 };

    return pthread_cond_timedwait(&db->returned, &db->lock, &end) != ETIMEDOUT;
}

/* Locked. */
static int take(struct postgres *db, int64_t deadline_ms,
                struct postgres_connection **ret_connection, struct im_error *err)
{
    for (;;) {
        if (db->idle) {
            *ret_connection = db->idle;
            db->idle = db->idle->next;
            return 0;
        }
        if (is_away(db)) {
            if (err)
                *err = db->failure;
            return -db->failure.number;
        }
        if (db->made < db->most)
            return make(db, deadline_ms, ret_connection, err);
        if (!wait_for_one(db, deadline_ms))
            return im_fail(err, EHOSTDOWN, "%s '%s': all %u connections were busy for %d ms",
                           db->base.schema->what, db->base.where, db->most, POSTGRES_PATIENCE_MS);
    }
}

int postgres_take(struct postgres *db, int64_t deadline_ms,
                  struct postgres_connection **ret_connection, struct im_error *err)
{
    int r;

    (void)pthread_mutex_lock(&db->lock);
    r = take(db, deadline_ms, ret_connection, err);
    (void)pthread_mutex_unlock(&db->lock);
    return r;
}

void postgres_close_idle(struct postgres *db)
{
    struct postgres_connection *idle, *next;

    (void)pthread_mutex_lock(&db->lock);
    idle = db->idle;
    db->idle = NULL;
    for (struct postgres_connection *c = idle; c; c = c->next)
        db->made--;
    (void)pthread_cond_broadcast(&db->returned);
    (void)pthread_mutex_unlock(&db->lock);
    for (; idle; idle = next) {
        next = idle->next;
        (void)postgres_disconnect(idle);
    }
}

void postgres_give(struct postgres *db, struct postgres_connection *connection)
{
    bool fine = connection->state == POSTGRES_FINE;

    (void)pthread_mutex_lock(&db->lock);
    if (fine) {
        connection->next = db->idle;
        db->idle = connection;
    } else {
        db->made--;
        if (connection->state == POSTGRES_SILENT) {
            db->failed_ms = im_clock_monotonic_ms();
            (void)im_fail(&db->failure, EHOSTDOWN, "%s '%s': the server does not answer",
                          db->base.schema->what, db->base.where);
        }
    }
    (void)pthread_cond_broadcast(&db->returned);
    (void)pthread_mutex_unlock(&db->lock);
    if (fine)
        return;
    (void)postgres_disconnect(connection);
    postgres_close_idle(db); /* a server that ended one has probably ended all */
}

/* postgres-news - who waits hears of what others committed: LISTEN and NOTIFY.
 *
 * The one thread that waits has a connection of its own, outside the pool. */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/text.h"
#include "sql/postgres.h"

/* Every schema has its own channel: those who wait for tasks need not hear of accounts. */
#define CHANNEL "imaging_%s"

int postgres_notify(struct sql_session *session, struct im_error *err)
{
    struct sql_statement *tell SQL_STATEMENT = sql_use(session, "SELECT pg_notify(?1, '')");
    char *channel IM_FREE = im_asprintf(CHANNEL, session->db->schema->name);
    int r;

    if (!channel)
        return im_fail(err, ENOMEM, "out of memory");
    sql_text(tell, 1, channel);
    r = sql_step(session, tell, err);
    return r < 0 ? r : 0;
}

static int listen_to(struct postgres *db, struct im_error *err)
{
    char *listen IM_FREE = im_asprintf("LISTEN " CHANNEL, db->base.schema->name);
    int64_t deadline_ms = im_clock_monotonic_ms() + POSTGRES_PATIENCE_MS;
    struct postgres_answer answer = { 0 };
    int r = listen ? postgres_connect(db, deadline_ms, &db->news, err)
                   : im_fail(err, ENOMEM, "out of memory");

    if (r < 0)
        return r;
    postgres_queued(db->news,
                    PQsendQueryParams(db->news->conn, listen, 0, NULL, NULL, NULL, NULL, 0));
    r = postgres_exchange(db->news, deadline_ms + POSTGRES_PATIENCE_MS, &answer, err);
    PQclear(answer.result);
    if (r < 0)
        db->news = postgres_disconnect(db->news);
    return r;
}

/* Until the server said something (1), or wake_fd is readable or time is over (0). */
static int wait_for_word(const struct postgres *db, int wake_fd, int64_t deadline_ms)
{
    struct pollfd fds[] = { { .fd = wake_fd, .events = POLLIN },
                            { .fd = db->news ? PQsocket(db->news->conn) : -1, .events = POLLIN } };

    for (;;) {
        int64_t left_ms = deadline_ms - im_clock_monotonic_ms();
        int r = poll(fds, 2, left_ms > 0 ? (int)left_ms : 0);

        if (r > 0)
            return fds[0].revents == 0;
        if (r == 0 && left_ms <= 0)
            return 0;
    }
}

static int take_news(struct postgres *db)
{
    PGnotify *notify;
    int count = 0;

    while ((notify = PQnotifies(db->news->conn))) {
        PQfreemem(notify);
        count = 1;
    }
    return count;
}

int postgres_await(struct sql *base, int wake_fd, int timeout_ms, struct im_error *err)
{
    struct postgres *db = (struct postgres *)base;
    int64_t deadline_ms = im_clock_monotonic_ms() + timeout_ms;

    if (db->news && take_news(db)) /* it came with an earlier answer */
        return 1;
    while (db->news && wait_for_word(db, wake_fd, deadline_ms)) {
        if (!PQconsumeInput(db->news->conn))
            db->news = postgres_disconnect(db->news);
        else if (take_news(db))
            return 1;
    }
    if (db->news)
        return 0;
    if (listen_to(db, err) == 0)
        return 1;                                  /* there may be, that nobody could tell */
    (void)wait_for_word(db, wake_fd, deadline_ms); /* so that nobody asks all the time */
    return -EHOSTDOWN;
}

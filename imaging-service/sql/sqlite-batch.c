/* sqlite-batch - one commit for all writers that wait for one.
 *
 * Making a commit durable takes the disk longer than everything else a write does, and takes it as
 * long for one write as for ten.  The first writer to come leads: it takes everybody who waits
 * by the time it has the file, writes for all of them in one transaction, and tells them.  Who
 * comes meanwhile waits for the next one, so nobody is passed over. */

#include <config.h>

#include <errno.h>

#include "sql/sqlite.h"

/* One writer; lives on the stack of its thread until `done`. */
struct waiting {
    sql_work_fn *work;
    void *arg;
    struct im_error err;
    int r;
    bool done;
    struct waiting *next;
};

/* One write, which is taken back alone when it fails.  When SQLite has taken back the whole
 * transaction (disk full, say), so do we. */
static int write_one(struct sqlite *file, struct waiting *one, struct im_error *err)
{
    const struct sql_schema *schema = file->base.schema;
    struct sql_session session = { .db = &file->base, .statements = &file->statements };
    int r = sqlite_exec(file->db, schema, "SAVEPOINT one", err);

    if (r < 0)
        return r;
    one->r = sql_call(&session, one->work, one->arg, &one->err);
    if (sqlite3_get_autocommit(file->db))
        return im_fail(err, session.failure.number ? session.failure.number : EIO, "%s",
                       session.failure.message);
    if (one->r < 0)
        r = sqlite_exec(file->db, schema, "ROLLBACK TO one", err);
    return r < 0 ? r : sqlite_exec(file->db, schema, "RELEASE one", err);
}

static struct waiting *take_all(struct sqlite_batch *batch)
{
    struct waiting *first;

    (void)pthread_mutex_lock(&batch->lock);
    first = batch->first;
    batch->first = batch->last = NULL;
    (void)pthread_mutex_unlock(&batch->lock);
    return first;
}

/* Lead: returns who was written for; their results are set. */
static struct waiting *write_all(struct sqlite *file)
{
    WITH_LOCK(file);
    struct waiting *first = take_all(&file->batch);
    struct im_error err = { 0 };
    /* IMMEDIATE: the lock is taken before anything is read */
    int r = sqlite_exec(file->db, file->base.schema, "BEGIN IMMEDIATE", &err);

    for (struct waiting *one = first; one && r >= 0; one = one->next)
        r = write_one(file, one, &err);
    r = sqlite_finish(file, r, &err);
    for (struct waiting *one = first; one && r < 0; one = one->next) {
        one->r = r;
        one->err = err;
    }
    return first;
}

int sqlite_write(struct sql *db, sql_work_fn *work, void *arg, struct im_error *err)
{
    struct sqlite *file = (struct sqlite *)db;
    struct sqlite_batch *batch = &file->batch;
    struct waiting mine = { .work = work, .arg = arg };

    (void)pthread_mutex_lock(&batch->lock);
    if (batch->last)
        batch->last->next = &mine;
    else
        batch->first = &mine;
    batch->last = &mine;
    while (!mine.done && batch->led)
        (void)pthread_cond_wait(&batch->moved, &batch->lock);
    if (!mine.done) {
        struct waiting *one, *next;

        batch->led = true;
        (void)pthread_mutex_unlock(&batch->lock);
        one = write_all(file);
        (void)pthread_mutex_lock(&batch->lock);
        for (; one; one = next) {
            next = one->next;
            one->done = true; /* from here on it may be gone once the lock is free */
        }
        batch->led = false;
        (void)pthread_cond_broadcast(&batch->moved);
    }
    (void)pthread_mutex_unlock(&batch->lock);
    if (mine.r < 0 && err)
        *err = mine.err;
    return mine.r;
}

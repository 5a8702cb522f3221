/* sqlite-batch - one commit for all writers that wait for one.
 *
 * Making a commit durable takes the disk longer than everything else a write does, and takes it as
 * long for one write as for ten.  The first writer to come leads: it takes everybody who waits
 * by the time it has the table, writes for all of them in one transaction, and tells them.  Who
 * comes meanwhile waits for the next one, so nobody is passed over. */

#include <config.h>

#include <errno.h>

#include "task/sqlite.h"

/* One writer; lives on the stack of its thread until `done`. */
struct waiting {
    task_write_fn *write;
    void *arg;
    struct im_error err;
    int r;
    bool done;
    struct waiting *next;
};

/* One write, which is taken back alone when it fails.  A failure of the table itself takes back the
 * whole transaction: then the result is -ECANCELED. */
static int write_one(struct task_table *table, struct waiting *one, struct im_error *err)
{
    int r = task_sqlite_run(table, "SAVEPOINT one", 0, 0, 0, err);

    if (r < 0)
        return r;
    one->r = one->write(table, one->arg, &one->err);
    if (sqlite3_get_autocommit(table->db))
        return im_fail(err, ECANCELED, "%s", one->err.message);
    if (one->r < 0)
        r = task_sqlite_run(table, "ROLLBACK TO one", 0, 0, 0, err);
    return r < 0 ? r : task_sqlite_run(table, "RELEASE one", 0, 0, 0, err);
}

static struct waiting *take_all(struct task_batch *batch)
{
    struct waiting *first;

    (void)pthread_mutex_lock(&batch->lock);
    first = batch->first;
    batch->first = batch->last = NULL;
    (void)pthread_mutex_unlock(&batch->lock);
    return first;
}

/* Lead: returns who was written for; their results are set. */
static struct waiting *write_all(struct task_table *table)
{
    WITH_LOCK(table);
    struct waiting *first = take_all(&table->batch);
    struct im_error err = { 0 };
    int r = task_sqlite_begin(table, &err);

    for (struct waiting *one = first; one && r >= 0; one = one->next)
        r = write_one(table, one, &err);
    r = task_sqlite_finish(table, r, &err);
    for (struct waiting *one = first; one && r < 0; one = one->next) {
        one->r = r;
        one->err = err;
    }
    return first;
}

int task_sqlite_together(struct task_table *table, task_write_fn *write, void *arg,
                         struct im_error *err)
{
    struct task_batch *batch = &table->batch;
    struct waiting mine = { .write = write, .arg = arg };

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
        one = write_all(table);
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

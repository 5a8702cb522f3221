/* news - waits for the database to tell. */

#include <config.h>

#include "dispatch/news.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"

/* It is told; this is how often it makes sure that it can be, and the pause when it cannot. */
#define LISTEN_MS 60000
#define PAUSE_MS  1000

struct news {
    struct task_table *table;
    void (*told)(void *arg);
    void *arg;
    atomic_bool stop;
    int stop_fd;
    pthread_t thread;
};

static void *listen_for(void *arg)
{
    struct news *news = arg;
    struct pollfd fd = { .fd = news->stop_fd, .events = POLLIN };

    while (!atomic_load(&news->stop)) {
        struct im_error err = { 0 };
        int r = task_table_await(news->table, news->stop_fd, LISTEN_MS, &err);

        if (r > 0)
            news->told(news->arg);
        else if (r < 0) /* whoever needs the table says so */
            (void)poll(&fd, 1, PAUSE_MS);
    }
    return NULL;
}

/* Signals are for the main thread. */
static int start_thread(struct news *news)
{
    sigset_t all, before;
    int r;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&news->thread, NULL, listen_for, news);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

int news_start(struct task_table *table, void (*told)(void *arg), void *arg, struct news **ret_news,
               struct im_error *err)
{
    struct news *news = calloc(1, sizeof(*news));
    int r;

    if (!news)
        return im_fail(err, ENOMEM, "out of memory");
    *news = (struct news){ .table = table, .told = told, .arg = arg };
    news->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = news->stop_fd < 0 ? errno : start_thread(news);
    if (r != 0) {
        im_cleanup_close(&news->stop_fd);
        free(news);
        return im_fail_errno(err, r, "cannot start the thread that hears of other services");
    }
    *ret_news = news;
    return 0;
}

struct news *news_stop(struct news *news)
{
    if (!news)
        return NULL;
    atomic_store(&news->stop, true);
    (void)eventfd_write(news->stop_fd, 1);
    (void)pthread_join(news->thread, NULL);
    (void)close(news->stop_fd);
    free(news);
    return NULL;
}

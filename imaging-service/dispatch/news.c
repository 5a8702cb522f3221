/* news - waits for the database to tell. */

#include <config.h>

#include "dispatch/news.h"

#include <errno.h>
#include <stdlib.h>

#include "dispatch/background.h"

/* It is told; this is how often it makes sure that it can be, and the pause when it cannot. */
#define LISTEN_MS 60000
#define PAUSE_MS  1000

struct news {
    struct task_table *table;
    void (*told)(void *arg);
    void *arg;
    struct background background;
};

static void listen_for(void *arg)
{
    struct news *news = arg;

    while (!background_stops(&news->background)) {
        struct im_error err = { 0 };
        int r = task_table_await(news->table, news->background.wake_fd, LISTEN_MS, &err);

        if (r > 0)
            news->told(news->arg);
        else if (r < 0) /* whoever needs the table says so */
            background_wait(&news->background, PAUSE_MS);
    }
}

int news_start(struct task_table *table, void (*told)(void *arg), void *arg, struct news **ret_news,
               struct im_error *err)
{
    struct news *news = calloc(1, sizeof(*news));
    int r;

    if (!news)
        return im_fail(err, ENOMEM, "out of memory");
    *news = (struct news){ .table = table, .told = told, .arg = arg };
    r = background_start(&news->background, "the thread that hears of other services", listen_for,
                         news, err);
    if (r < 0)
        free(news);
    else
        *ret_news = news;
    return r;
}

struct news *news_stop(struct news *news)
{
    if (!news)
        return NULL;
    background_stop(&news->background);
    free(news);
    return NULL;
}

/* news - the thread that hears what other services wrote into the shared task table. */
#pragma once

#include "base/error.h"
#include "task/task.h"

struct news;

/* Start; told(arg) is called, by that thread, whenever there may be news.  table outlives it. */
int news_start(struct task_table *table, void (*told)(void *arg), void *arg, struct news **ret_news,
               struct im_error *err);

/* Takes NULL, returns NULL. */
struct news *news_stop(struct news *news);

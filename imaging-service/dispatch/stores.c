/* stores - which object stores do not answer, and who asks them next. */

#include <config.h>

#include "dispatch/stores.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/http.h"
#include "base/retry.h"
#include "log.h"

/* "https://", a host of 255 bytes, a port. */
#define NAME_SIZE 272

struct store {
    char name[NAME_SIZE]; /* "" in a free place */
    int64_t used_ms;      /* when it was last of interest */
    bool answered;        /* ever */
    bool away;
    /* of one that is away */
    bool asking;      /* somebody is at it now */
    unsigned asked;   /* times somebody was, in vain */
    int64_t since_ms; /* when it was first found so */
    int64_t next_ms;  /* nobody asks before */
    unsigned told;    /* claims that were told to come later since then */
};

struct stores {
    pthread_mutex_t lock;
    struct store store[STORES_MAX];
};

struct stores *stores_new(void)
{
    struct stores *stores = calloc(1, sizeof(*stores));

    if (stores)
        (void)pthread_mutex_init(&stores->lock, NULL);
    return stores;
}

struct stores *stores_free(struct stores *stores)
{
    if (!stores)
        return NULL;
    (void)pthread_mutex_destroy(&stores->lock);
    free(stores);
    return NULL;
}

/* What an URL's store is called; false: it has none, and asking fails by itself. */
static bool name_of(const char *url, char name[NAME_SIZE])
{
    struct im_url split;

    if (im_url_split(url, &split, NULL) < 0)
        return false;
    (void)snprintf(name, NAME_SIZE, "%s://%.*s", split.https ? "https" : "http",
                   (int)split.host_len, split.host);
    for (char *p = name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return true;
}

/* The place of a store, or with `make` one for it; lock held. */
static struct store *find(struct stores *stores, const char *url, int64_t now_ms, bool make)
{
    struct store *oldest = &stores->store[0];
    char name[NAME_SIZE];

    if (!name_of(url, name))
        return NULL;
    for (size_t i = 0; i < STORES_MAX; i++) {
        struct store *store = &stores->store[i];

        if (strcmp(store->name, name) == 0) {
            store->used_ms = now_ms > store->used_ms ? now_ms : store->used_ms;
            return store;
        }
        if (!store->name[0] || (oldest->name[0] && store->used_ms < oldest->used_ms))
            oldest = store;
    }
    if (!make)
        return NULL;
    *oldest = (struct store){ .used_ms = now_ms };
    memcpy(oldest->name, name, sizeof(name));
    return oldest;
}

static int64_t shorter(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Those who come later, one after the other. */
static int64_t spread(const struct store *store)
{
    return im_retry_hasten(shorter((int64_t)store->told * STORES_SPREAD_MS, STORES_SPREAD_MAX_MS));
}

int64_t stores_ask(struct stores *stores, const char *url, int64_t now_ms)
{
    struct store *store;
    int64_t pause = 0;

    if (!stores)
        return 0;
    (void)pthread_mutex_lock(&stores->lock);
    store = find(stores, url, now_ms, false);
    if (store && store->away && !store->asking && now_ms >= store->next_ms) {
        store->asking = true;
    } else if (store && store->away) {
        pause = store->next_ms > now_ms ? store->next_ms - now_ms : STORES_PAUSE_MS;
        pause += spread(store);
        store->told++;
    }
    (void)pthread_mutex_unlock(&stores->lock);
    return pause;
}

void stores_answered(struct stores *stores, const char *url, int64_t now_ms)
{
    struct store *store;

    if (!stores)
        return;
    (void)pthread_mutex_lock(&stores->lock);
    store = find(stores, url, now_ms, true);
    if (store && store->away)
        svc_log(SVC_INFO, "the store %s answers again", store->name);
    if (store) {
        store->away = store->asking = false;
        store->answered = true;
    }
    (void)pthread_mutex_unlock(&stores->lock);
}

/* Found away for the first time. */
static void begin_away(struct store *store, int64_t now_ms)
{
    svc_log(SVC_WARNING, "the store %s does not answer; tasks wait for it", store->name);
    store->away = true;
    store->asking = false;
    store->asked = store->told = 0;
    store->since_ms = store->next_ms = now_ms;
}

/* Others that had begun before it was away fail later, and prolong nothing. */
static int64_t fail(struct store *store, int64_t now_ms)
{
    int64_t pause;

    if (!store->away)
        begin_away(store, now_ms);
    if (now_ms >= store->next_ms) {
        pause = (int64_t)STORES_PAUSE_MS << (store->asked < 10 ? store->asked : 10);
        store->next_ms = now_ms + im_retry_hasten(shorter(pause, STORES_PAUSE_MAX_MS));
        store->asked++;
        store->asking = false;
        pause = store->next_ms - now_ms + shorter(spread(store), STORES_PAUSE_MAX_MS);
        store->told = 0;
        return pause;
    }
    pause = store->next_ms - now_ms + spread(store);
    store->told++;
    return pause;
}

int64_t stores_failed(struct stores *stores, const char *url, int64_t now_ms, bool *ret_counts)
{
    struct store *store = NULL;
    int64_t pause = STORES_PAUSE_MS;

    *ret_counts = true;
    if (!stores)
        return pause;
    (void)pthread_mutex_lock(&stores->lock);
    store = find(stores, url, now_ms, true);
    if (store) {
        pause = fail(store, now_ms);
        *ret_counts = !store->answered && now_ms - store->since_ms >= STORES_UNKNOWN_MAX_MS;
    }
    (void)pthread_mutex_unlock(&stores->lock);
    return pause;
}

void stores_left(struct stores *stores, const char *url)
{
    struct store *store;

    if (!stores)
        return;
    (void)pthread_mutex_lock(&stores->lock);
    store = find(stores, url, 0, false);
    if (store)
        store->asking = false;
    (void)pthread_mutex_unlock(&stores->lock);
}

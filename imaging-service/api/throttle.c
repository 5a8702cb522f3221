/* throttle - how often an account may call an action: one token bucket for each.
 *
 * Accounts are found by a hash and kept in the order of their last call.  Callers have been
 * authenticated, so that nobody fills the table with names he made up. */

#include <config.h>

#include "api/throttle.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Accounts remembered: under 1 MiB.  When one more comes, the one that has not called for longest
 * is forgotten, because its buckets are the likeliest to be full, which is what a new one begins
 * with. */
#define ACCOUNTS_MAX 4096

/* Lists the accounts are spread over. */
#define LISTS 1024

/* Tokens are counted in thousandths: a rate per second is then thousandths per millisecond. */
#define TOKEN 1000

struct rate {
    int64_t per_second; /* 0: no limit */
    int64_t full;       /* thousandths */
};

struct bucket {
    int64_t tokens; /* thousandths, as of … */
    int64_t at_ms;
};

struct account {
    struct account *next;          /* in its list */
    struct account *newer, *older; /* by last call */
    char *name;
    struct bucket bucket[]; /* one for each action, and one for the unknown ones */
};

struct svc_throttle {
    pthread_mutex_t lock;
    size_t action_count;
    bool idle; /* no action has a limit */
    struct account *list[LISTS];
    struct account *newest, *oldest;
    size_t account_count;
    struct rate rate[]; /* as the buckets */
};

static const struct svc_rate *find_rate(const struct svc_conf *conf, const char *action)
{
    for (size_t i = 0; i < conf->rate_count; i++)
        if (strcmp(conf->rates[i].action, action) == 0)
            return &conf->rates[i];
    return NULL;
}

static struct rate rate_of(const struct svc_conf *conf, const char *action)
{
    const struct svc_rate *rate = action ? find_rate(conf, action) : NULL;
    unsigned burst;

    if (!rate)
        rate = find_rate(conf, "*");
    if (!rate)
        return (struct rate){ 0 };
    burst = rate->burst > 0 ? rate->burst : rate->requests_per_second;
    return (struct rate){ .per_second = rate->requests_per_second, .full = (int64_t)burst * TOKEN };
}

/* A name that is mistyped would leave its action without the limit that was meant. */
static int check_names(const struct svc_conf *conf, const char *const *actions, size_t count,
                       struct im_error *err)
{
    for (size_t i = 0; i < conf->rate_count; i++) {
        const char *name = conf->rates[i].action;
        size_t n = 0;

        while (n < count && strcmp(actions[n], name) != 0)
            n++;
        if (n == count && strcmp(name, "*") != 0)
            return im_fail(err, EINVAL,
                           "%s%srate \"%s\": there is no such action; * stands for all that have "
                           "no rate of their own",
                           conf->config ? conf->config : "", conf->config ? ": " : "", name);
    }
    return 0;
}

int svc_throttle_new(const struct svc_conf *conf, const char *const *actions, size_t action_count,
                     struct svc_throttle **ret_throttle, struct im_error *err)
{
    struct svc_throttle *throttle;
    int r = check_names(conf, actions, action_count, err);

    if (r < 0)
        return r;
    throttle = calloc(1, sizeof(*throttle) + (action_count + 1) * sizeof(throttle->rate[0]));
    if (!throttle)
        return im_fail(err, ENOMEM, "out of memory");
    (void)pthread_mutex_init(&throttle->lock, NULL);
    throttle->action_count = action_count;
    throttle->idle = true;
    for (size_t i = 0; i <= action_count; i++) {
        throttle->rate[i] = rate_of(conf, i < action_count ? actions[i] : NULL);
        if (throttle->rate[i].per_second > 0)
            throttle->idle = false;
    }
    *ret_throttle = throttle;
    return 0;
}

/* FNV-1a. */
static size_t list_of(const char *name)
{
    uint32_t hash = UINT32_C(2166136261);

    for (const char *p = name; *p; p++)
        hash = (hash ^ (unsigned char)*p) * UINT32_C(16777619);
    return hash % LISTS;
}

static void unlink_by_age(struct svc_throttle *throttle, struct account *account)
{
    *(account->newer ? &account->newer->older : &throttle->newest) = account->older;
    *(account->older ? &account->older->newer : &throttle->oldest) = account->newer;
}

static void make_newest(struct svc_throttle *throttle, struct account *account)
{
    account->newer = NULL;
    account->older = throttle->newest;
    *(throttle->newest ? &throttle->newest->newer : &throttle->oldest) = account;
    throttle->newest = account;
}

static void forget(struct svc_throttle *throttle, struct account *account)
{
    struct account **place = &throttle->list[list_of(account->name)];

    while (*place != account)
        place = &(*place)->next;
    *place = account->next;
    unlink_by_age(throttle, account);
    throttle->account_count--;
    free(account->name);
    free(account);
}

static struct account *add(struct svc_throttle *throttle, const char *name, int64_t now_ms)
{
    size_t buckets = throttle->action_count + 1, list = list_of(name);
    struct account *account = calloc(1, sizeof(*account) + buckets * sizeof(account->bucket[0]));

    if (account)
        account->name = strdup(name);
    if (!account || !account->name) {
        free(account);
        return NULL;
    }
    if (throttle->account_count == ACCOUNTS_MAX)
        forget(throttle, throttle->oldest);
    for (size_t i = 0; i < buckets; i++)
        account->bucket[i] = (struct bucket){ throttle->rate[i].full, now_ms };
    account->next = throttle->list[list];
    throttle->list[list] = account;
    throttle->account_count++;
    make_newest(throttle, account);
    return account;
}

static struct account *find(struct svc_throttle *throttle, const char *name, int64_t now_ms)
{
    struct account *account = throttle->list[list_of(name)];

    while (account && strcmp(account->name, name) != 0)
        account = account->next;
    if (!account)
        return add(throttle, name, now_ms);
    unlink_by_age(throttle, account);
    make_newest(throttle, account);
    return account;
}

static bool take(struct bucket *bucket, const struct rate *rate, int64_t now_ms)
{
    if (now_ms > bucket->at_ms) { /* threads may come in another order than they read the clock */
        int64_t passed_ms = now_ms - bucket->at_ms;

        if (passed_ms > (rate->full - bucket->tokens) / rate->per_second)
            bucket->tokens = rate->full;
        else
            bucket->tokens += passed_ms * rate->per_second;
        bucket->at_ms = now_ms;
    }
    if (bucket->tokens < TOKEN)
        return false;
    bucket->tokens -= TOKEN;
    return true;
}

bool svc_throttle_take(struct svc_throttle *throttle, const char *name, size_t action,
                       int64_t now_ms)
{
    struct account *account;
    bool taken = true;

    if (!throttle || throttle->idle)
        return true;
    if (action > throttle->action_count)
        action = throttle->action_count;
    if (throttle->rate[action].per_second == 0)
        return true;
    (void)pthread_mutex_lock(&throttle->lock);
    account = find(throttle, name, now_ms);
    if (account) /* else no memory: the call itself will say so */
        taken = take(&account->bucket[action], &throttle->rate[action], now_ms);
    (void)pthread_mutex_unlock(&throttle->lock);
    return taken;
}

struct svc_throttle *svc_throttle_free(struct svc_throttle *throttle)
{
    if (!throttle)
        return NULL;
    while (throttle->oldest)
        forget(throttle, throttle->oldest);
    (void)pthread_mutex_destroy(&throttle->lock);
    free(throttle);
    return NULL;
}

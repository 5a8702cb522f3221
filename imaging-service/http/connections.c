/* connections - who is connected, from where, and since when a request is waited for. */

#include <config.h>

#include "http/connections.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

/* Lists the addresses are spread over; there are as many addresses as connections at most. */
#define LISTS 1024

/* An address as far as it is counted: IPv4 whole, IPv6 its /64, which one customer has for himself.
 */
struct place {
    uint8_t family;
    uint8_t bytes[8];
};

struct peer {
    struct peer *next;
    struct place place;
    unsigned count;
};

struct connection {
    struct peer *peer; /* NULL: there is no such connection */
    enum svc_phase phase;
    bool told; /* that it is overdue */
    int64_t since_ms;
};

struct svc_connections {
    pthread_mutex_t lock;
    pthread_cond_t empty;
    struct svc_connections_limits limits;
    _Atomic bool draining;
    size_t count;
    int fd_max, fd_top; /* no descriptor at or above fd_top was ever let in */
    struct peer *list[LISTS];
    struct connection connection[]; /* by descriptor */
};

int svc_connections_new(const struct svc_connections_limits *limits, int fd_max,
                        struct svc_connections **ret_table, struct im_error *err)
{
    struct svc_connections *table =
        calloc(1, sizeof(*table) + (size_t)fd_max * sizeof(table->connection[0]));
    pthread_condattr_t monotonic;

    if (!table)
        return im_fail(err, ENOMEM, "out of memory");
    table->limits = *limits;
    table->fd_max = fd_max;
    (void)pthread_mutex_init(&table->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&table->empty, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    *ret_table = table;
    return 0;
}

static struct place place_of(const struct sockaddr *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    struct place place = { .family = AF_INET };

    if (address->sa_family == AF_INET) {
        memcpy(place.bytes, &v4->sin_addr, 4);
    } else if (address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        memcpy(place.bytes, v6->sin6_addr.s6_addr + 12, 4);
    } else if (address->sa_family == AF_INET6) {
        place.family = AF_INET6;
        memcpy(place.bytes, &v6->sin6_addr, 8);
    }
    return place;
}

/* FNV-1a. */
static size_t list_of(const struct place *place)
{
    uint32_t hash = UINT32_C(2166136261) ^ place->family;

    for (size_t i = 0; i < sizeof(place->bytes); i++)
        hash = (hash ^ place->bytes[i]) * UINT32_C(16777619);
    return hash % LISTS;
}

/* The peer of that place, made when there is none; NULL when out of memory. */
static struct peer *find_peer(struct svc_connections *table, const struct place *place)
{
    struct peer **list = &table->list[list_of(place)];
    struct peer *peer = *list;

    while (peer && memcmp(&peer->place, place, sizeof(*place)) != 0)
        peer = peer->next;
    if (peer)
        return peer;
    peer = calloc(1, sizeof(*peer));
    if (!peer)
        return NULL;
    peer->place = *place;
    peer->next = *list;
    *list = peer;
    return peer;
}

static void release_peer(struct svc_connections *table, struct peer *peer)
{
    struct peer **place = &table->list[list_of(&peer->place)];

    if (peer->count > 0)
        return;
    while (*place != peer)
        place = &(*place)->next;
    *place = peer->next;
    free(peer);
}

static void leave(struct svc_connections *table, struct connection *connection)
{
    struct peer *peer = connection->peer;

    if (!peer)
        return;
    *connection = (struct connection){ 0 };
    peer->count--;
    release_peer(table, peer);
    if (--table->count == 0)
        (void)pthread_cond_broadcast(&table->empty);
}

static int admit(struct svc_connections *table, int fd, const struct sockaddr *address,
                 int64_t now_ms)
{
    const struct svc_connections_limits *limits = &table->limits;
    struct place place = place_of(address);
    struct peer *peer;

    if (fd >= table->fd_max)
        return -EMFILE;
    /* of one the library lost without a word: the descriptor is a new one now */
    leave(table, &table->connection[fd]);
    if (table->count >= limits->total)
        return -EMFILE;
    peer = find_peer(table, &place);
    if (!peer)
        return -EMFILE;
    if (limits->per_address > 0 && peer->count >= limits->per_address)
        return -EUSERS; /* it has others, so it stays */
    peer->count++;
    table->count++;
    if (fd >= table->fd_top)
        table->fd_top = fd + 1;
    table->connection[fd] = (struct connection){ .peer = peer, .since_ms = now_ms };
    return 0;
}

int svc_connections_admit(struct svc_connections *table, int fd, const struct sockaddr *address,
                          int64_t now_ms)
{
    int r;

    (void)pthread_mutex_lock(&table->lock);
    r = admit(table, fd, address, now_ms);
    (void)pthread_mutex_unlock(&table->lock);
    return r;
}

void svc_connections_gone(struct svc_connections *table, int fd)
{
    (void)pthread_mutex_lock(&table->lock);
    if (fd >= 0 && fd < table->fd_max)
        leave(table, &table->connection[fd]);
    (void)pthread_mutex_unlock(&table->lock);
}

void svc_connections_phase(struct svc_connections *table, int fd, enum svc_phase phase,
                           int64_t now_ms)
{
    struct connection *connection = &table->connection[fd];

    (void)pthread_mutex_lock(&table->lock);
    if (connection->phase != phase) {
        connection->phase = phase;
        connection->since_ms = now_ms;
    }
    if (table->draining && phase == SVC_WAITING)
        (void)shutdown(fd, SHUT_RD);
    (void)pthread_mutex_unlock(&table->lock);
}

static bool is_overdue(const struct svc_connections *table, const struct connection *connection,
                       int64_t now_ms)
{
    int64_t passed_ms = now_ms - connection->since_ms;

    if (!connection->peer || connection->told || connection->phase == SVC_WORKING)
        return false;
    return passed_ms > (connection->phase == SVC_WAITING ? table->limits.waiting_ms
                                                         : table->limits.receiving_ms);
}

void svc_connections_expire(struct svc_connections *table, int64_t now_ms,
                            void (*overdue)(void *arg, int fd), void *arg)
{
    (void)pthread_mutex_lock(&table->lock);
    for (int fd = 0; fd < table->fd_top; fd++)
        if (is_overdue(table, &table->connection[fd], now_ms)) {
            table->connection[fd].told = true;
            overdue(arg, fd);
        }
    (void)pthread_mutex_unlock(&table->lock);
}

void svc_connections_drain(struct svc_connections *table)
{
    (void)pthread_mutex_lock(&table->lock);
    table->draining = true;
    for (int fd = 0; fd < table->fd_top; fd++)
        if (table->connection[fd].peer && table->connection[fd].phase == SVC_WAITING)
            (void)shutdown(fd, SHUT_RD); /* what has arrived can still be read */
    (void)pthread_mutex_unlock(&table->lock);
}

bool svc_connections_draining(const struct svc_connections *table)
{
    return table->draining;
}

size_t svc_connections_count(struct svc_connections *table)
{
    size_t count;

    (void)pthread_mutex_lock(&table->lock);
    count = table->count;
    (void)pthread_mutex_unlock(&table->lock);
    return count;
}

size_t svc_connections_wait(struct svc_connections *table, int64_t timeout_ms)
{
    struct timespec until;
    size_t count;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    (void)pthread_mutex_lock(&table->lock);
    while (table->count > 0 &&
           pthread_cond_timedwait(&table->empty, &table->lock, &until) != ETIMEDOUT)
        continue;
    count = table->count;
    (void)pthread_mutex_unlock(&table->lock);
    return count;
}

struct svc_connections *svc_connections_free(struct svc_connections *table)
{
    if (!table)
        return NULL;
    for (int fd = 0; fd < table->fd_top; fd++)
        leave(table, &table->connection[fd]);
    (void)pthread_cond_destroy(&table->empty);
    (void)pthread_mutex_destroy(&table->lock);
    free(table);
    return NULL;
}

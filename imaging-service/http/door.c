/* door - the listening socket and the thread that lets connections in, or turns them away. */

#include <config.h>

#include "http/door.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "http/refusal.h"
#include "log.h"
#include "metrics.h"

/* How often times are looked at; they are exact to this. */
#define TICK_MS 250

/* Connections let in before times are looked at again. */
#define BATCH 64

/* A connection that was turned away stays this long, so that its answer is not lost in the reset
 * that closing brings when the request is still on its way; the oldest of too many goes first. */
#define LINGER_MS 1000
#define LINGERING 64

/* Between two lines in the log that say so. */
#define LOG_PAUSE_MS 10000

struct lingering {
    int fd; /* -1: none */
    int64_t since_ms;
};

struct svc_door {
    int listener; /* the thread's, once it has started; -1: shut */
    uint16_t port;
    int wake; /* eventfd; readable: look at what is asked */
    _Atomic bool shutting, ending;
    sem_t is_shut;
    bool started;
    pthread_t thread;
    struct svc_connections *connections;
    bool secure;
    bool (*enter)(void *arg, int fd, const struct sockaddr *address, socklen_t len);
    void *arg;
    struct lingering lingering[LINGERING];
    size_t next_lingering;
    int64_t said_ms;  /* when a refusal was last logged */
    unsigned refused; /* since then */
};

/* Parse the address; IPv6 with or without brackets.  Returns its length, 0 when it is none. */
static socklen_t parse_address(const char *text, uint16_t port, struct sockaddr_storage *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

    memset(ret, 0, sizeof(*ret));
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return sizeof(*v4);
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        return sizeof(*v6);
    }
    return 0;
}

static int listen_on(const char *address, uint16_t port, uint16_t *ret_port, struct im_error *err)
{
    struct sockaddr_storage addr;
    socklen_t len = parse_address(address, port, &addr);
    int fd IM_CLOSE = -1;
    int on = 1;

    if (len == 0)
        return im_fail(err, EINVAL, "'%s' is not an IP address to listen on", address);
    fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        return im_fail_errno(err, errno, "cannot listen on %s port %u", address, (unsigned)port);
    *ret_port = ntohs(addr.ss_family == AF_INET ? ((struct sockaddr_in *)&addr)->sin_port
                                                : ((struct sockaddr_in6 *)&addr)->sin6_port);
    return im_steal_fd(&fd);
}

int svc_door_open(const char *address, uint16_t port, struct svc_door **ret_door,
                  struct im_error *err)
{
    struct svc_door *door = calloc(1, sizeof(*door));

    if (!door)
        return im_fail(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < LINGERING; i++)
        door->lingering[i].fd = -1;
    (void)sem_init(&door->is_shut, 0, 0);
    door->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    door->listener = -1;
    if (door->wake < 0)
        (void)im_fail_errno(err, errno, "cannot make an event descriptor");
    else
        door->listener = listen_on(address, port, &door->port, err);
    if (door->listener < 0) {
        int r = -err->number;

        (void)svc_door_free(door);
        return r;
    }
    *ret_door = door;
    return 0;
}

uint16_t svc_door_port(const struct svc_door *door)
{
    return door->port;
}

/* -- turning away */

static void linger(struct svc_door *door, int fd, int64_t now_ms)
{
    struct lingering *place = &door->lingering[door->next_lingering++ % LINGERING];

    if (place->fd >= 0)
        (void)close(place->fd);
    *place = (struct lingering){ fd, now_ms };
}

static void close_lingering(struct svc_door *door, int64_t now_ms)
{
    for (size_t i = 0; i < LINGERING; i++)
        if (door->lingering[i].fd >= 0 && now_ms - door->lingering[i].since_ms >= LINGER_MS) {
            (void)close(door->lingering[i].fd);
            door->lingering[i].fd = -1;
        }
}

/* Nothing has been sent on fd for this request, and a few hundred bytes always fit; what does not
 * is not worth waiting for. */
static void answer(const struct svc_door *door, int fd, enum svc_code code, const char *message)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(4096);

    if (!door->secure && svc_refusal(code, message, &text) == 0)
        (void)send(fd, text.data, text.len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void turn_away(struct svc_door *door, int fd, int reason, int64_t now_ms)
{
    answer(door, fd, SVC_UNAVAILABLE,
           reason == -EUSERS ? "There are too many connections from this address; close some, or "
                               "try again later."
                             : "There are too many connections to this service; try again later.");
    (void)shutdown(fd, SHUT_WR);
    linger(door, fd, now_ms);
    metric_add(METRIC_CONNECTIONS_REFUSED, reason == -EUSERS ? "address" : "total", NULL, 1);
    door->refused++;
    /* a flood is to leave a line, not a full disk */
    if (door->said_ms != 0 && now_ms - door->said_ms < LOG_PAUSE_MS)
        return;
    svc_log(SVC_WARNING, "%u connections turned away: %s", door->refused,
            reason == -EUSERS ? "too many from one address (connections-per-address)"
                              : "too many in all (connections)");
    door->said_ms = now_ms;
    door->refused = 0;
}

static void overdue(void *arg, int fd)
{
    answer(arg, fd, SVC_TIMEOUT, NULL);
    (void)shutdown(fd, SHUT_RDWR);
}

/* -- letting in */

/* One connection: 0; -EAGAIN when there is none; else why none can be. */
static int let_in(struct svc_door *door)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    int64_t now_ms = im_clock_monotonic_ms();
    int fd =
        accept4(door->listener, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int r;

    if (fd < 0)
        return errno == ECONNABORTED || errno == EINTR ? 0 : -errno;
    r = svc_connections_admit(door->connections, fd, (struct sockaddr *)&address, now_ms);
    if (r < 0)
        turn_away(door, fd, r, now_ms);
    else
        (void)door->enter(door->arg, fd, (struct sockaddr *)&address, len);
    return 0;
}

/* Who has been told by the kernel that he is connected is still let in. */
static void shut(struct svc_door *door)
{
    for (int i = 0; i < SOMAXCONN && let_in(door) == 0; i++)
        continue;
    (void)close(door->listener);
    door->listener = -1;
    (void)sem_post(&door->is_shut);
}

/* Let in who stands there; false when that failed and is not worth trying again at once. */
static bool let_batch_in(struct svc_door *door)
{
    int r = 0;

    for (int i = 0; i < BATCH && r == 0; i++)
        r = let_in(door);
    return r == 0 || r == -EAGAIN;
}

static void *attend(void *arg)
{
    struct svc_door *door = arg;
    int64_t looked_ms = 0;
    bool paused = false; /* no descriptors left: poll would say at once that somebody waits */

    while (!door->ending) {
        struct pollfd fds[] = { { .fd = door->wake, .events = POLLIN },
                                { .fd = paused ? -1 : door->listener, .events = POLLIN } };
        int64_t now_ms;
        uint64_t woken;

        (void)poll(fds, 2, TICK_MS);
        (void)!read(door->wake, &woken, sizeof(woken));
        paused = (fds[1].revents & POLLIN) && !let_batch_in(door);
        if (door->shutting && door->listener >= 0)
            shut(door);
        now_ms = im_clock_monotonic_ms();
        if (now_ms - looked_ms < TICK_MS)
            continue;
        looked_ms = now_ms;
        svc_connections_expire(door->connections, now_ms, overdue, door);
        close_lingering(door, now_ms);
    }
    return NULL;
}

int svc_door_start(struct svc_door *door, struct svc_connections *connections, bool secure,
                   bool (*enter)(void *arg, int fd, const struct sockaddr *address, socklen_t len),
                   void *arg, struct im_error *err)
{
    int r;

    door->connections = connections;
    door->secure = secure;
    door->enter = enter;
    door->arg = arg;
    r = pthread_create(&door->thread, NULL, attend, door);
    if (r != 0)
        return im_fail_errno(err, r, "cannot start a thread");
    door->started = true;
    return 0;
}

static void wake(const struct svc_door *door)
{
    const uint64_t one = 1;

    (void)!write(door->wake, &one, sizeof(one));
}

void svc_door_shut(struct svc_door *door)
{
    if (!door->started || door->shutting)
        return;
    door->shutting = true;
    wake(door);
    while (sem_wait(&door->is_shut) < 0)
        continue;
}

struct svc_door *svc_door_free(struct svc_door *door)
{
    if (!door)
        return NULL;
    door->ending = true;
    if (door->started) {
        wake(door);
        (void)pthread_join(door->thread, NULL);
    }
    close_lingering(door, INT64_MAX);
    if (door->listener >= 0)
        (void)close(door->listener);
    if (door->wake >= 0)
        (void)close(door->wake);
    (void)sem_destroy(&door->is_shut);
    free(door);
    return NULL;
}

/* load-client - the clients: connections that stay open, each with one request under way.
 *
 * A latency runs from the write of a request to the last byte of its answer; where requests have a
 * schedule it runs from the moment the schedule names, so that a service that falls behind cannot
 * hide it. */

#include <config.h>

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "load.h"

/* Bytes of an answer: ten thousand tasks with long URLs have a fifth of it. */
#define ANSWER_MAX ((size_t)96 << 20)

/* Bytes of a request. */
#define REQUEST_MAX ((size_t)128 << 10)

/* The service is given up when nothing at all comes for so long. */
#define SILENCE_MS 30000

struct client {
    int fd;
    struct im_buffer request;
    size_t sent;
    char *answer;
    size_t len, capacity;
    uint64_t began_us; /* 0: nothing under way */
};

struct load {
    const struct load_plan *plan;
    int epoll;
    struct client *client; /* plan->connections of them */
    uint64_t *idle;        /* their places, a stack */
    size_t idle_count, busy;
    uint64_t begin_us, sent;        /* the schedule's start, and how far it is */
    uint64_t count_from_us, end_us; /* what is counted; end_us 0: plan->requests ends it */
    uint64_t client_us, watched_us; /* CPU times when counting began */
    bool counting, over;
    struct load_times *times;
    struct load_result result;
};

/* ---- one connection ---- */

static int client_open(struct client *client, const struct load_plan *plan, struct im_error *err)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)plan->port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int on = 1;

    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 ||
        connect(client->fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
        return im_fail_errno(err, errno, "cannot connect to port %" PRIu64, plan->port);
    client->request = IM_BUFFER(REQUEST_MAX);
    return 0;
}

static void client_done(struct client *client)
{
    im_cleanup_close(&client->fd);
    im_buffer_done(&client->request);
    free(client->answer);
}

/* Write what is left of the request.  1 all, 0 the socket is full. */
static int client_write(struct client *client, struct im_error *err)
{
    while (client->sent < client->request.len) {
        ssize_t n = send(client->fd, client->request.data + client->sent,
                         client->request.len - client->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0)
            return im_fail_errno(err, errno, "a request cannot be sent");
        client->sent += (size_t)n;
    }
    return 1;
}

/* One byte more than the answer has is kept for a NUL. */
static int make_room(struct client *client, struct im_error *err)
{
    size_t wanted = client->capacity > 0 ? 2 * client->capacity : 8192;
    char *grown;

    if (client->capacity - client->len > 4096)
        return 0;
    if (wanted > ANSWER_MAX)
        return im_fail(err, EFBIG, "an answer has more than %zu bytes", ANSWER_MAX);
    grown = realloc(client->answer, wanted);
    if (!grown)
        return im_fail(err, ENOMEM, "out of memory");
    client->answer = grown;
    client->capacity = wanted;
    return 0;
}

/* The length the head tells of, head and blank line included; 0 while the head is not complete. */
static int answer_length(const struct client *client, size_t *ret_body, size_t *ret_whole,
                         struct im_error *err)
{
    static const char name[] = "\r\nContent-Length: ";
    const char *end = memmem(client->answer, client->len, "\r\n\r\n", 4);
    const char *field;
    char digits[20];
    uint64_t length;
    size_t n;

    *ret_whole = 0;
    if (!end)
        return 0;
    field = strcasestr(client->answer, name);
    n = field && field < end ? strspn(field + sizeof(name) - 1, "0123456789") : 0;
    if (n == 0 || n >= sizeof(digits))
        return im_fail(err, EBADMSG, "an answer does not tell its length: %.80s", client->answer);
    memcpy(digits, field + sizeof(name) - 1, n);
    digits[n] = '\0';
    if (im_parse_uint(digits, ANSWER_MAX, &length) < 0)
        return im_fail(err, EFBIG, "an answer announces %s bytes", digits);
    *ret_body = (size_t)(end - client->answer) + 4;
    *ret_whole = *ret_body + (size_t)length;
    return 0;
}

/* Read what is there.  1 and the answer's place when it is complete, else 0. */
static int client_read(struct client *client, size_t *ret_body, struct im_error *err)
{
    size_t whole = 0;
    int r = make_room(client, err);
    ssize_t n;

    if (r < 0)
        return r;
    n = recv(client->fd, client->answer + client->len, client->capacity - client->len - 1,
             MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN ? 0 : im_fail_errno(err, errno, "an answer cannot be read");
    if (n == 0)
        return im_fail(err, ECONNRESET,
                       "the service closed a connection after %zu bytes of an "
                       "answer",
                       client->len);
    client->len += (size_t)n;
    client->answer[client->len] = '\0';
    r = answer_length(client, ret_body, &whole, err);
    if (r < 0)
        return r;
    if (whole > 0 && client->len > whole)
        return im_fail(err, EBADMSG, "%zu bytes follow an answer", client->len - whole);
    return whole > 0 && client->len == whole;
}

/* ---- one answer ---- */

static uint64_t count_of(const char *text, const char *word)
{
    uint64_t count = 0;

    while ((text = strstr(text, word)) != NULL) {
        count++;
        text += strlen(word);
    }
    return count;
}

static bool is_right(const struct load_plan *plan, const struct client *client, size_t body)
{
    char wanted[24];

    (void)snprintf(wanted, sizeof(wanted), "HTTP/1.1 %" PRIu64 " ", plan->status);
    return strncmp(client->answer, wanted, strlen(wanted)) == 0 &&
           count_of(client->answer + body, "<conversionTaskId>") == plan->tasks;
}

static void judge(struct load *load, const struct client *client, size_t body, uint64_t now_us)
{
    struct load_result *result = &load->result;

    result->body = client->len - body;
    if (!is_right(load->plan, client, body) && result->wrong++ == 0)
        (void)snprintf(result->first_wrong, sizeof(result->first_wrong), "%.15s … %s",
                       client->answer, client->answer + body);
    if (!load->counting)
        return;
    result->answers++;
    load_times_add(load->times, now_us - client->began_us);
}

/* ---- the whole ---- */

static int listen_to(struct load *load, uint64_t place, uint32_t events, int how,
                     struct im_error *err)
{
    struct epoll_event event = { .events = events, .data.u64 = place };

    if (epoll_ctl(load->epoll, how, load->client[place].fd, &event) < 0)
        return im_fail_errno(err, errno, "cannot wait for a socket");
    return 0;
}

/* Send a request that was due at due_us; 0: now. */
static int begin(struct load *load, uint64_t place, uint64_t due_us, struct im_error *err)
{
    struct client *client = &load->client[place];
    int r = 0;

    if (load->plan->signing == LOAD_SIGN_EACH || client->request.len == 0) {
        im_buffer_clear(&client->request);
        r = load_request(load->plan, im_clock_now_ms(), &client->request, err);
    }
    if (r < 0)
        return r;
    client->sent = client->len = 0;
    client->began_us = due_us > 0 ? due_us : load_now_us();
    load->busy++;
    load->sent++;
    r = client_write(client, err);
    return r == 0 ? listen_to(load, place, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD, err)
                  : (r < 0 ? r : 0);
}

/* When request n of the schedule is due. */
static uint64_t due_us(const struct load *load, uint64_t n)
{
    return load->begin_us + n * 1000000 / load->plan->rate;
}

/* Give the idle clients what there is to do. */
static int feed(struct load *load, struct im_error *err)
{
    const struct load_plan *plan = load->plan;
    int r = 0;

    while (r == 0 && load->idle_count > 0 && !load->over) {
        uint64_t due = plan->rate > 0 ? due_us(load, load->sent) : 0;

        if (due > load_now_us() || (plan->requests > 0 && load->sent == plan->requests))
            break;
        r = begin(load, load->idle[--load->idle_count], due, err);
    }
    return r;
}

static int serve(struct load *load, uint64_t place, uint32_t events, struct im_error *err)
{
    struct client *client = &load->client[place];
    size_t body = 0;
    int r;

    if (events & EPOLLOUT) {
        r = client_write(client, err);
        if (r == 1)
            r = listen_to(load, place, EPOLLIN, EPOLL_CTL_MOD, err);
        if (r < 0)
            return r;
    }
    r = client_read(client, &body, err);
    if (r <= 0)
        return r;
    if (client->began_us == 0)
        return im_fail(err, EBADMSG, "an answer came without a question");
    judge(load, client, body, load_now_us());
    client->began_us = 0;
    load->busy--;
    load->idle[load->idle_count++] = place;
    return 0;
}

static void begin_counting(struct load *load, uint64_t now_us)
{
    load->counting = true;
    load->count_from_us = now_us;
    load->client_us = load_cpu_us((uint64_t)getpid());
    load->watched_us = load_cpu_us(load->plan->watch);
    load->end_us = load->plan->requests > 0 ? 0 : now_us + load->plan->run_ms * 1000;
}

static void end_counting(struct load *load, uint64_t now_us)
{
    struct load_result *result = &load->result;

    load->counting = false;
    load->over = true;
    result->wall_us = now_us - load->count_from_us;
    result->client_us = load_cpu_us((uint64_t)getpid()) - load->client_us;
    result->watched_us = load_cpu_us(load->plan->watch) - load->watched_us;
}

/* See whether a part of the run has come to its end. */
static void turn(struct load *load)
{
    const struct load_plan *plan = load->plan;
    uint64_t now_us = load_now_us();

    if (!load->counting && !load->over && now_us >= load->begin_us + plan->warm_ms * 1000)
        begin_counting(load, now_us);
    if (load->counting && ((load->end_us > 0 && now_us >= load->end_us) ||
                           (plan->requests > 0 && load->result.answers == plan->requests)))
        end_counting(load, now_us);
}

/* Until the next request is due, in steps short enough to see the end of a part. */
static struct timespec pause_of(const struct load *load)
{
    uint64_t us = 10000;

    if (load->plan->rate > 0 && load->idle_count > 0 && !load->over) {
        uint64_t due = due_us(load, load->sent), now_us = load_now_us();

        us = due <= now_us ? 0 : due - now_us < us ? due - now_us : us;
    }
    return (struct timespec){ .tv_nsec = (long)us * 1000 };
}

static int loop(struct load *load, struct im_error *err)
{
    uint64_t heard_us = load_now_us();
    struct epoll_event events[64];
    int r = 0;

    load->begin_us = heard_us;
    while (r == 0 && !(load->over && load->busy == 0)) {
        struct timespec pause;
        int n;

        turn(load);
        r = feed(load, err);
        pause = pause_of(load);
        n = r < 0 ? 0 : epoll_pwait2(load->epoll, events, 64, &pause, NULL);
        if (n > 0)
            heard_us = load_now_us();
        for (int i = 0; i < n && r == 0; i++)
            r = serve(load, events[i].data.u64, events[i].events, err);
        if (r == 0 && load->busy > 0 && load_now_us() - heard_us > SILENCE_MS * 1000)
            r = im_fail(err, ETIMEDOUT, "no answer came for %d ms", SILENCE_MS);
    }
    return r;
}

static int open_all(struct load *load, struct im_error *err)
{
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load->epoll < 0)
        return im_fail_errno(err, errno, "cannot wait for sockets");
    for (uint64_t i = 0; i < load->plan->connections; i++) {
        int r = client_open(&load->client[i], load->plan, err);

        if (r == 0)
            r = listen_to(load, i, EPOLLIN, EPOLL_CTL_ADD, err);
        if (r < 0)
            return r;
        load->idle[load->idle_count++] = i;
    }
    return 0;
}

static void summarise(struct load *load)
{
    struct load_result *result = &load->result;
    const struct load_times *times = load->times;

    result->mean_us = times->total > 0 ? times->sum_us / times->total : 0;
    result->p50_us = load_times_percentile(times, 50);
    result->p99_us = load_times_percentile(times, 99);
    result->max_us = times->max_us;
}

int load_run(const struct load_plan *plan, struct load_result *ret_result, struct im_error *err)
{
    struct client *clients IM_FREE = calloc(plan->connections, sizeof(*clients));
    uint64_t *idle IM_FREE = calloc(plan->connections, sizeof(*idle));
    struct load_times *times IM_FREE = calloc(1, sizeof(*times));
    struct load load = { .plan = plan, .epoll = -1, .client = clients, .idle = idle };
    int r;

    if (!clients || !idle || !times)
        return im_fail(err, ENOMEM, "out of memory");
    load.times = times;
    for (uint64_t i = 0; i < plan->connections; i++)
        clients[i].fd = -1;
    r = open_all(&load, err);
    if (r == 0)
        r = loop(&load, err);
    for (uint64_t i = 0; i < plan->connections; i++)
        client_done(&clients[i]);
    im_cleanup_close(&load.epoll);
    if (r < 0)
        return r;
    summarise(&load);
    *ret_result = load.result;
    return 0;
}

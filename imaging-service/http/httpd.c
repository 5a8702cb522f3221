/* httpd - the HTTP server; the only file that knows libmicrohttpd.
 *
 * The library accepts requests that have two meanings (two Host headers, two lengths); the guard
 * refuses these before anything is believed.  A value that holds a NUL ends there, for the guard as
 * for the signature.  What the library itself cannot read it answers itself, in HTML. */

#include <config.h>

#include "http/httpd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>

#include <microhttpd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "http/connections.h"
#include "http/door.h"
#include "http/refusal.h"
#include "http/tls.h"
#include "log.h"
#include "metrics.h"

/* Request line and headers of one request together.  A presigned manifest URL inside a GET is the
 * largest known, under 20 KiB. */
#define HEAD_MAX (60u * 1024)

#define HEAD_TOO_LONG "its target and headers have more than 61440 bytes"

/* What the library has for a connection: head and body pass through.  More than HEAD_MAX, so that
 * it is us who refuse a head that is somewhat too long: the library does it in HTML. */
#define CONNECTION_MEMORY (128u * 1024)

/* Descriptors beside those of connections: task table, log, workers and their pipes, who lingers at
 * the door. */
#define OTHER_FDS 1024

/* A refused body up to this long is read and dropped, so that a client which sends before it
 * listens gets its answer; a longer one costs the connection.  One upload part is 10 MiB. */
#define DRAIN_MAX (16u * 1024 * 1024)

struct svc_httpd {
    struct svc_httpd_options options;
    struct svc_door *door;
    struct svc_connections *connections;
    struct MHD_Daemon *daemon; /* NULL: not serving yet */
    const struct svc_route *routes;
    size_t route_count;
};

/* One request from its first line to its end. */
struct exchange {
    struct svc_request request;
    struct svc_response response;
    const struct svc_httpd *httpd;
    const struct svc_route *route;
    size_t head_len;   /* bytes of the target and of the headers seen */
    int64_t began_us;  /* monotonic, when the headers were here */
    void *state;       /* of the handler, while a body is taken */
    bool started;      /* begin was called */
    bool draining;     /* the body is of no use any more */
    uint64_t drained;  /* bytes dropped */
    const char *fault; /* why the headers are refused */
};

/* Of each connection, from its first byte to its end. */
struct line {
    struct exchange *early; /* its target is known; the library may refuse what follows by itself,
                               and then does not always tell that it is over */
};

static void exchange_free(struct exchange *x)
{
    if (x->state)
        x->route->handler->release(x->state);
    svc_response_done(&x->response);
    free(x->request.path);
    free(x->request.query);
    free(x);
}

static struct line *line_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

/* The exchange that begins is the connection's early one; one before it came to nothing. */
static void set_early(struct line *line, struct exchange *x)
{
    if (line->early)
        exchange_free(line->early);
    line->early = x;
}

static int descriptor(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    return info ? info->connect_fd : -1;
}

static void enter_phase(const struct svc_httpd *httpd, struct MHD_Connection *connection,
                        enum svc_phase phase)
{
    svc_connections_phase(httpd->connections, descriptor(connection), phase,
                          im_clock_monotonic_ms());
}

/* The request line has arrived: the one moment when the target is seen as it was sent, which is
 * what signatures cover.  The library gives NULL for some junk. */
static void *on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
    struct svc_httpd *httpd = cls;
    size_t path_len = target ? strcspn(target, "?") : 0;
    struct line *line = line_of(connection);
    struct exchange *x = line ? calloc(1, sizeof(*x)) : NULL;

    enter_phase(httpd, connection, SVC_RECEIVING);
    if (!x)
        return NULL;
    x->httpd = httpd;
    x->response = SVC_RESPONSE;
    x->head_len = target ? strlen(target) : 0;
    x->request.path = strndup(target ? target : "", path_len);
    x->request.query = strdup(target && target[path_len] ? target + path_len + 1 : "");
    if (!x->request.path || !x->request.query) {
        exchange_free(x);
        return NULL;
    }
    set_early(line, x);
    return x;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct line *line = line_of(connection);

    (void)code;
    if (line && line->early == *context)
        line->early = NULL;
    if (*context)
        exchange_free(*context);
    *context = NULL;
    enter_phase(cls, connection, SVC_WAITING);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    const struct svc_httpd *httpd = cls;
    struct line *line = *context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = calloc(1, sizeof(*line));
        return;
    }
    svc_connections_gone(httpd->connections, descriptor(connection));
    if (line && line->early)
        exchange_free(line->early);
    free(line);
    *context = NULL;
}

static bool has_control(const char *value, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)value[i] < 0x20 && value[i] != '\t') || value[i] == 0x7f)
            return true;
    return false;
}

/* Headers of which two would leave open which one was meant, or signed. */
static bool is_single(const char *name)
{
    static const char *const single[] = {
        "Host",       "Content-Length",       "Content-Type", "Authorization",
        "X-Amz-Date", "X-Amz-Content-Sha256", "Content-MD5",  "Transfer-Encoding",
        "Range",      "X-Amz-Security-Token", "Date",
    };

    for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++)
        if (strcasecmp(name, single[i]) == 0)
            return true;
    return false;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                 size_t name_len, const char *value, size_t value_len)
{
    struct exchange *x = cls;
    struct svc_request *request = &x->request;

    (void)kind;
    if (!value)
        value = "";
    x->head_len += name_len + value_len + 4;
    if (request->header_count == SVC_HEADERS_MAX)
        x->fault = "it has too many header lines";
    else if (memchr(name, ' ', name_len)) /* RFC 7230, section 3.2.4 */
        x->fault = "there is a blank in the name of a header";
    else if (has_control(name, name_len) || has_control(value, value_len))
        x->fault = "a header holds control characters";
    else if (is_single(name) && svc_request_header(request, name))
        x->fault = "a header that may stand once only is repeated";
    if (x->fault)
        return MHD_NO;
    request->header[request->header_count++] = (struct im_header){ .name = name, .value = value };
    return MHD_YES;
}

/* Read the lengths; NULL, or what is wrong with the request. */
static const char *check_head(struct svc_request *request, const char *version, size_t head_len)
{
    const char *length = svc_request_header(request, "Content-Length");
    const char *coding = svc_request_header(request, "Transfer-Encoding");

    if (head_len > HEAD_MAX)
        return HEAD_TOO_LONG;
    if (request->path[0] != '/')
        return "its target is not a path";
    if (strchr(request->path, ' ') || strchr(request->query, ' '))
        return "its target holds a blank";
    if (strcmp(version, "HTTP/1.0") != 0 && !svc_request_header(request, "Host"))
        return "it has no Host header";
    if (length && coding)
        return "it has both Content-Length and Transfer-Encoding";
    if (coding && strcasecmp(coding, "chunked") != 0)
        return "its Transfer-Encoding is not 'chunked'";
    if (length && im_parse_uint(length, INT64_MAX, &request->content_length) < 0)
        return "its Content-Length is not a number";
    request->chunked = coding != NULL;
    return NULL;
}

static bool leads(const struct svc_route *route, const char *path)
{
    size_t len = strlen(route->path);

    return strncmp(path, route->path, len) == 0 && strchr("/", path[len]);
}

/* The last one takes what no other does. */
static const struct svc_route *find_route(const struct svc_httpd *httpd, const char *path)
{
    const struct svc_route *route = httpd->routes;
    const struct svc_route *last = route + httpd->route_count - 1;

    while (route < last && !leads(route, path))
        route++;
    return route;
}

static struct MHD_Response *make_response(struct svc_response *answer)
{
    struct MHD_Response *response;
    size_t len = answer->body.len;

    if (answer->fd >= 0 && answer->length > 0) {
        response =
            MHD_create_response_from_fd_at_offset64(answer->length, answer->fd, answer->offset);
        if (response)
            (void)im_steal_fd(&answer->fd);
        return response;
    }
    if (len == 0)
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    return MHD_create_response_from_buffer(len, im_buffer_steal(&answer->body),
                                           MHD_RESPMEM_MUST_FREE);
}

/* To the log, and to who counts. */
static void tell(const struct exchange *x)
{
    const struct svc_request *request = &x->request;
    const struct svc_response *answer = &x->response;
    int64_t took_us = im_clock_monotonic_us() - x->began_us;
    char shown[1024]; /* a target may be a whole URL, with a password */

    svc_log(SVC_INFO, "%s %s%s%s%s%s: %u, request %s", request->method,
            im_text_url(shown, sizeof(shown), request->path), answer->action ? " " : "",
            answer->action ? answer->action : "", answer->account[0] ? ", account " : "",
            answer->account, answer->status, request->id);
    metric_request(answer->action, answer->status, (uint64_t)took_us);
}

static enum MHD_Result send_answer(struct MHD_Connection *connection, struct exchange *x)
{
    struct svc_response *answer = &x->response;
    struct MHD_Response *response;
    enum MHD_Result sent;

    enter_phase(x->httpd, connection, SVC_WORKING);
    if (!x->httpd->options.quiet)
        tell(x);
    if (answer->body.len == 0 && answer->fd < 0)
        answer->content_type = NULL;
    response = make_response(answer);
    if (!response)
        return MHD_NO;
    if (x->route->id_field)
        (void)MHD_add_response_header(response, x->route->id_field, x->request.id);
    if (answer->content_type)
        (void)MHD_add_response_header(response, "Content-Type", answer->content_type);
    if (svc_connections_draining(x->httpd->connections))
        (void)MHD_add_response_header(response, "Connection", "close");
    for (size_t i = 0; i < answer->field_count; i++)
        (void)MHD_add_response_header(response, answer->field[i].name, answer->field[i].value);
    sent = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);
    return sent;
}

/* The headers are complete.  MHD_YES without an answer asks for the body, which may be empty (and
 * lets the library send "100 Continue"). */
static enum MHD_Result start(const struct svc_httpd *httpd, struct MHD_Connection *connection,
                             struct exchange *x, const char *version)
{
    struct svc_request *request = &x->request;

    x->started = true;
    x->began_us = im_clock_monotonic_us();
    svc_request_id(request->id);
    x->route = find_route(httpd, request->path);
    (void)MHD_get_connection_values_n(connection, MHD_HEADER_KIND, on_header, x);
    if (!x->fault)
        x->fault = check_head(request, version, x->head_len);
    if (x->fault)
        x->route->handler->malformed(request, &x->response, x->fault);
    else
        x->state = x->route->handler->begin(x->route->service, request, &x->response);
    if (x->state && x->route->long_bodies)
        enter_phase(httpd, connection, SVC_WORKING);
    if (x->state)
        return MHD_YES;
    /* An answer given now ends the connection: for who waits for leave to send, for too much, and
     * where nobody knows where the body ends. */
    if (x->fault || svc_request_header(request, "Expect") || request->content_length > DRAIN_MAX)
        return send_answer(connection, x);
    x->draining = true;
    return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_size, void **context)
{
    const struct svc_httpd *httpd = cls;
    struct line *line = line_of(connection);
    struct exchange *x = *context;

    (void)url;
    if (!line || !x)
        return MHD_NO;
    x->request.method = method;
    line->early = NULL; /* from here on on_completed is called */
    if (!x->started)
        return start(httpd, connection, x, version);
    if (*data_size > 0) {
        if (!x->draining && !x->route->handler->data(x->state, data, *data_size))
            x->draining = true;
        else if (x->draining)
            x->drained += *data_size;
        *data_size = 0;
        return x->drained > DRAIN_MAX ? MHD_NO : MHD_YES;
    }
    enter_phase(httpd, connection, SVC_WORKING);
    if (x->state)
        x->route->handler->end(x->state, &x->response);
    return send_answer(connection, x);
}

/* -- start and stop */

/* Each connection may need a descriptor for a file beside its own.  Returns how many connections
 * there can be, at most what was wished for. */
static unsigned make_descriptors(unsigned wished)
{
    rlim_t needed = 2 * (rlim_t)wished + OTHER_FDS;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= needed)
        return wished;
    limit.rlim_cur = limit.rlim_max < needed ? limit.rlim_max : needed;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= needed)
        return wished;
    wished = limit.rlim_cur > OTHER_FDS + 2 ? (unsigned)(limit.rlim_cur - OTHER_FDS) / 2 : 1;
    svc_log(SVC_WARNING,
            "only %u connections at once: more need a higher limit of open files than %" PRIuMAX,
            wished, (uintmax_t)limit.rlim_cur);
    return wished;
}

static int make_connections(struct svc_httpd *httpd, struct im_error *err)
{
    const struct svc_httpd_options *options = &httpd->options;
    unsigned total = make_descriptors(options->connections);
    const struct svc_connections_limits limits = {
        .total = total,
        .per_address = options->connections_per_address,
        /* silence is ended by the library; this is for who drips a request line */
        .waiting_ms = (options->idle_s + options->request_s) * 1000,
        .receiving_ms = options->request_s * 1000,
    };

    return svc_connections_new(&limits, (int)(2 * (total + options->other_connections) + OTHER_FDS),
                               &httpd->connections, err);
}

int svc_httpd_open(const struct svc_httpd_options *options, struct svc_httpd **ret_httpd,
                   struct im_error *err)
{
    struct svc_httpd *httpd = calloc(1, sizeof(*httpd));
    int r;

    if (!httpd)
        return im_fail(err, ENOMEM, "out of memory");
    httpd->options = *options;
    r = options->certificate ? svc_tls_load(options->certificate, options->key, err) : 0;
    if (r == 0)
        r = make_connections(httpd, err);
    if (r == 0)
        r = svc_door_open(options->address, options->port, &httpd->door, err);
    if (r < 0) {
        (void)svc_httpd_stop(httpd);
        return r;
    }
    *ret_httpd = httpd;
    return 0;
}

/* Of the thread at the door. */
static bool enter(void *arg, int fd, const struct sockaddr *address, socklen_t len)
{
    struct svc_httpd *httpd = arg;

    if (MHD_add_connection(httpd->daemon, fd, address, len) == MHD_YES)
        return true;
    svc_connections_gone(httpd->connections, fd); /* the library has closed it */
    return false;
}

int svc_httpd_serve(struct svc_httpd *httpd, const struct svc_route *routes, size_t route_count,
                    struct im_error *err)
{
    const struct svc_httpd_options *options = &httpd->options;
    /* poll, not epoll: there 0.9.75 misses an end of the connection that comes with the last bytes,
     * and an upload cut short would stay until the idle time-out */
    unsigned flags = MHD_USE_POLL | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ITC |
                     MHD_USE_NO_LISTEN_SOCKET | (options->certificate ? MHD_USE_TLS : 0);
    struct MHD_OptionItem tls[] = {
        { MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)SVC_TLS_PRIORITIES },
        { MHD_OPTION_END, 0, NULL },
    };
    struct MHD_OptionItem plain[] = { { MHD_OPTION_END, 0, NULL } };

    httpd->routes = routes;
    httpd->route_count = route_count;
    httpd->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, httpd, MHD_OPTION_THREAD_POOL_SIZE, options->threads,
        /* the door counts; any one thread may have to take them all */
        MHD_OPTION_CONNECTION_LIMIT, (options->connections + 1) * options->threads,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_CONNECTION_TIMEOUT, options->idle_s,
        /* we are stricter, and say so in the document clients can read */
        MHD_OPTION_STRICT_FOR_CLIENT, 0, MHD_OPTION_URI_LOG_CALLBACK, on_target, httpd,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, httpd, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, httpd, MHD_OPTION_ARRAY, options->certificate ? tls : plain,
        options->certificate ? MHD_OPTION_HTTPS_CERT_CALLBACK2 : MHD_OPTION_END,
        svc_tls_retriever(), MHD_OPTION_END);
    if (!httpd->daemon)
        return im_fail(err, EIO, "the HTTP server on %s port %u could not be started",
                       options->address, (unsigned)svc_httpd_port(httpd));
    return svc_door_start(httpd->door, httpd->connections, options->certificate != NULL, enter,
                          httpd, err);
}

uint16_t svc_httpd_port(const struct svc_httpd *httpd)
{
    return svc_door_port(httpd->door);
}

size_t svc_httpd_connections(const struct svc_httpd *httpd)
{
    return svc_connections_count(httpd->connections);
}

int svc_httpd_reload(struct svc_httpd *httpd, struct im_error *err)
{
    const struct svc_httpd_options *options = &httpd->options;

    return options->certificate ? svc_tls_load(options->certificate, options->key, err) : 0;
}

size_t svc_httpd_drain(struct svc_httpd *httpd, unsigned seconds)
{
    svc_door_shut(httpd->door);
    svc_connections_drain(httpd->connections);
    return svc_connections_wait(httpd->connections, (int64_t)seconds * 1000);
}

struct svc_httpd *svc_httpd_stop(struct svc_httpd *httpd)
{
    if (!httpd)
        return NULL;
    if (httpd->door)
        svc_door_shut(httpd->door);
    httpd->door = svc_door_free(httpd->door);
    if (httpd->daemon)
        MHD_stop_daemon(httpd->daemon);
    httpd->connections = svc_connections_free(httpd->connections);
    if (httpd->options.certificate)
        svc_tls_done();
    free(httpd);
    return NULL;
}

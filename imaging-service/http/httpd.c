/* httpd - the HTTP server; the only file that knows libmicrohttpd.
 *
 * The library accepts requests that have two meanings (two Host headers, two lengths); the guard
 * refuses these before anything is believed.  A value that holds a NUL ends there, for the guard as
 * for the signature.  What the library itself cannot read it answers itself, in HTML. */

#include <config.h>

#include "http/httpd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "base/crypto.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "log.h"

/* Handlers may block on the disk; four of them use a small machine well. */
#define THREADS 4

/* Each connection may need a descriptor for a file beside its own; 1024 is the usual limit. */
#define CONNECTIONS_MAX 400

/* Request line and headers of one request, and the buffer its body passes through.  A presigned
 * manifest URL inside a GET is the largest known, under 20 KiB. */
#define CONNECTION_MEMORY (64u * 1024)

/* Seconds without a byte in either direction. */
#define IDLE_TIMEOUT_S 30u

/* A refused body up to this long is read and dropped, so that a client which sends before it
 * listens gets its answer; a longer one costs the connection.  One upload part is 10 MiB. */
#define DRAIN_MAX (16u * 1024 * 1024)

struct svc_httpd {
    struct MHD_Daemon *daemon;
    const struct svc_route *routes;
    size_t route_count;
    uint16_t port;
};

/* One request from its first line to its end. */
struct exchange {
    struct svc_request request;
    struct svc_response response;
    const struct svc_route *route;
    void *state;       /* of the handler, while a body is taken */
    bool started;      /* begin was called */
    bool draining;     /* the body is of no use any more */
    uint64_t drained;  /* bytes dropped */
    const char *fault; /* why the headers are refused */
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

/* The request line has arrived: the one moment when the target is seen as it was sent, which is
 * what signatures cover.  The library gives NULL for some junk. */
static void *on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
    size_t path_len = target ? strcspn(target, "?") : 0;
    struct exchange *x = calloc(1, sizeof(*x));

    (void)cls;
    (void)connection;
    if (!x)
        return NULL;
    x->response = SVC_RESPONSE;
    x->request.path = strndup(target ? target : "", path_len);
    x->request.query = strdup(target && target[path_len] ? target + path_len + 1 : "");
    if (!x->request.path || !x->request.query) {
        exchange_free(x);
        return NULL;
    }
    return x;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    (void)cls;
    (void)connection;
    (void)code;
    if (*context)
        exchange_free(*context);
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
    if (request->header_count == SVC_HEADERS_MAX)
        x->fault = "it has too many header lines";
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
static const char *check_head(struct svc_request *request)
{
    const char *length = svc_request_header(request, "Content-Length");
    const char *coding = svc_request_header(request, "Transfer-Encoding");

    if (request->path[0] != '/')
        return "its target is not a path";
    if (length && coding)
        return "it has both Content-Length and Transfer-Encoding";
    if (coding && strcasecmp(coding, "chunked") != 0)
        return "its Transfer-Encoding is not 'chunked'";
    if (length && im_parse_uint(length, INT64_MAX, &request->content_length) < 0)
        return "its Content-Length is not a number";
    request->chunked = coding != NULL;
    return NULL;
}

static void make_id(char *id)
{
    uint8_t random[16];
    char hex[33];

    im_random(random, sizeof(random));
    random[6] = (uint8_t)((random[6] & 0x0f) | 0x40); /* RFC 4122, section 4.4 */
    random[8] = (uint8_t)((random[8] & 0x3f) | 0x80);
    im_hex(random, sizeof(random), hex);
    for (size_t i = 0, o = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            id[o++] = '-';
        id[o++] = hex[i];
    }
}

static const struct svc_route *find_route(const struct svc_httpd *httpd, const char *path)
{
    for (size_t i = 0; i < httpd->route_count; i++) {
        const struct svc_route *route = &httpd->routes[i];
        size_t len = strlen(route->path);

        if (strncmp(path, route->path, len) == 0 && (len == 0 || strchr("/", path[len])))
            return route;
    }
    return NULL;
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

static enum MHD_Result send_answer(struct MHD_Connection *connection, struct exchange *x)
{
    struct svc_response *answer = &x->response;
    struct MHD_Response *response;
    enum MHD_Result sent;

    svc_log(SVC_INFO, "%s %s: %u, request %s", x->request.method, x->request.path, answer->status,
            x->request.id);
    if (answer->body.len == 0 && answer->fd < 0)
        answer->content_type = NULL;
    response = make_response(answer);
    if (!response)
        return MHD_NO;
    (void)MHD_add_response_header(response, x->route->id_field, x->request.id);
    if (answer->content_type)
        (void)MHD_add_response_header(response, "Content-Type", answer->content_type);
    for (size_t i = 0; i < answer->field_count; i++)
        (void)MHD_add_response_header(response, answer->field[i].name, answer->field[i].value);
    sent = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);
    return sent;
}

/* The headers are complete.  MHD_YES without an answer asks for the body, which may be empty (and
 * lets the library send "100 Continue"). */
static enum MHD_Result start(const struct svc_httpd *httpd, struct MHD_Connection *connection,
                             struct exchange *x)
{
    struct svc_request *request = &x->request;

    x->started = true;
    make_id(request->id);
    x->route = find_route(httpd, request->path);
    if (!x->route)
        return MHD_NO;
    (void)MHD_get_connection_values_n(connection, MHD_HEADER_KIND, on_header, x);
    if (!x->fault)
        x->fault = check_head(request);
    if (x->fault)
        x->route->handler->malformed(request, &x->response, x->fault);
    else
        x->state = x->route->handler->begin(x->route->service, request, &x->response);
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
    struct exchange *x = *context;

    (void)url;
    (void)version;
    if (!x)
        return MHD_NO;
    x->request.method = method;
    if (!x->started)
        return start(httpd, connection, x);
    if (*data_size > 0) {
        if (!x->draining && !x->route->handler->data(x->state, data, *data_size))
            x->draining = true;
        else if (x->draining)
            x->drained += *data_size;
        *data_size = 0;
        return x->drained > DRAIN_MAX ? MHD_NO : MHD_YES;
    }
    if (x->state)
        x->route->handler->end(x->state, &x->response);
    return send_answer(connection, x);
}

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

/* A listening socket of our own, because the library does not tell a port it was left to choose. */
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
        bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, 256) < 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        return im_fail_errno(err, errno, "cannot listen on %s port %u", address, (unsigned)port);
    *ret_port = ntohs(addr.ss_family == AF_INET ? ((struct sockaddr_in *)&addr)->sin_port
                                                : ((struct sockaddr_in6 *)&addr)->sin6_port);
    return im_steal_fd(&fd);
}

int svc_httpd_start(const char *address, uint16_t port, const struct svc_route *routes,
                    size_t route_count, struct svc_httpd **ret_httpd, struct im_error *err)
{
    struct svc_httpd *httpd IM_FREE = calloc(1, sizeof(*httpd));
    int fd IM_CLOSE = -1;

    if (!httpd)
        return im_fail(err, ENOMEM, "out of memory");
    httpd->routes = routes;
    httpd->route_count = route_count;
    fd = listen_on(address, port, &httpd->port, err);
    if (fd < 0)
        return fd;
    /* poll, not epoll: there 0.9.75 misses an end of the connection that comes with the last bytes,
     * and an upload cut short would stay until the idle time-out */
    httpd->daemon = MHD_start_daemon(
        MHD_USE_POLL | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ITC, 0, NULL, NULL, on_request,
        httpd, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_TIMEOUT_S,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_URI_LOG_CALLBACK, on_target, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    if (!httpd->daemon)
        return im_fail(err, EIO, "the HTTP server on %s port %u could not be started", address,
                       (unsigned)httpd->port);
    (void)im_steal_fd(&fd); /* the library closes it */
    *ret_httpd = im_steal(httpd);
    return 0;
}

uint16_t svc_httpd_port(const struct svc_httpd *httpd)
{
    return httpd->port;
}

struct svc_httpd *svc_httpd_stop(struct svc_httpd *httpd)
{
    if (!httpd)
        return NULL;
    MHD_stop_daemon(httpd->daemon);
    free(httpd);
    return NULL;
}

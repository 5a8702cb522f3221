/* bare-httpd - the ceiling of `make bench-api`: libmicrohttpd and next to nothing behind it.
 *
 *   bare-httpd
 *
 * With the threads, the poll and the limits of imaging-service/http/httpd.c.  A request is read to
 * its end; its path "/SIZE" says how many bytes come back, always the same ones.  No signature, no
 * log, no id.  Prints its port; ends when standard input does. */

#include <config.h>

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "base/text.h"

/* Of the largest answer. */
#define SIZE_BYTES_MAX ((size_t)64 << 20)

static char body[SIZE_BYTES_MAX];

/* Marks a request whose head was seen. */
static char seen;

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_size, void **context)
{
    struct MHD_Response *response;
    enum MHD_Result sent;
    uint64_t size;

    (void)cls;
    (void)method;
    (void)version;
    (void)data;
    if (!*context) {
        *context = &seen;
        return MHD_YES;
    }
    if (*data_size > 0) {
        *data_size = 0;
        return MHD_YES;
    }
    if (im_parse_uint(url + 1, SIZE_BYTES_MAX, &size) < 0)
        return MHD_NO;
    response = MHD_create_response_from_buffer((size_t)size, body, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    (void)MHD_add_response_header(response, "Content-Type", "text/xml;charset=UTF-8");
    sent = MHD_queue_response(connection, 200, response);
    MHD_destroy_response(response);
    return sent;
}

static int listen_on_any_port(uint16_t *ret_port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, len) < 0 || listen(fd, 256) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return -1;
    *ret_port = ntohs(address.sin_port);
    return fd;
}

int main(void)
{
    struct MHD_Daemon *daemon = NULL;
    uint16_t port = 0;
    int fd = listen_on_any_port(&port);

    (void)signal(SIGPIPE, SIG_IGN);
    memset(body, 'x', sizeof(body));
    if (fd >= 0)
        daemon = MHD_start_daemon(MHD_USE_POLL | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ITC, 0,
                                  NULL, NULL, on_request, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
                                  MHD_OPTION_THREAD_POOL_SIZE, 4u, MHD_OPTION_CONNECTION_LIMIT,
                                  400u, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)64 * 1024,
                                  MHD_OPTION_CONNECTION_TIMEOUT, 30u, MHD_OPTION_STRICT_FOR_CLIENT,
                                  1, MHD_OPTION_END);
    if (!daemon) {
        perror("bare-httpd");
        return 1;
    }
    printf("%u\n", (unsigned)port);
    (void)fflush(stdout);
    while (getchar() != EOF)
        ;
    MHD_stop_daemon(daemon);
    return 0;
}

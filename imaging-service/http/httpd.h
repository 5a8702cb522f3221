/* httpd - the HTTP server: bytes in, struct svc_request out, and the answer back.
 *
 * HTTP and HTTPS; knows nothing of tasks, objects or signatures. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "http/message.h"

/* Which handler answers `path` and, with a '/' behind it, everything below. */
struct svc_route {
    const char *path; /* "/objects"; "" in the last one, which takes all the rest */
    const struct svc_handler *handler;
    void *service;        /* given to handler->begin */
    const char *id_field; /* header that carries the request id; NULL: none does */
    bool long_bodies;     /* a body that was asked for may take any time, as long as it moves */
};

struct svc_httpd;

struct svc_httpd_options {
    const char *address;                           /* IP address to listen on */
    uint16_t port;                                 /* 0: any free one */
    const char *certificate, *key;                 /* PEM files; NULL: plain HTTP */
    unsigned connections, connections_per_address; /* at once; per address 0: any */
    unsigned other_connections;                    /* of another server in this process */
    unsigned threads;                              /* at least 2 */
    unsigned idle_s;                               /* without a byte in either direction */
    unsigned request_s; /* for header and body of a request that is not long_bodies */
    bool quiet;         /* requests are neither logged nor counted */
};

/* Read certificate and key, bind and listen.  Texts of options outlive it.  Errors: those of
 * socket, bind and listen, with the address; why the pair cannot be used. */
int svc_httpd_open(const struct svc_httpd_options *options, struct svc_httpd **ret_httpd,
                   struct im_error *err);

/* The port in use. */
uint16_t svc_httpd_port(const struct svc_httpd *httpd);

/* How many connections are open. */
size_t svc_httpd_connections(const struct svc_httpd *httpd);

/* Serve from a pool of threads.  The routes, route_count of them and one at least, outlive the
 * server. */
int svc_httpd_serve(struct svc_httpd *httpd, const struct svc_route *routes, size_t route_count,
                    struct im_error *err);

/* Read certificate and key again, for new connections; the old ones go on when they cannot be used.
 * Without TLS there is nothing to do. */
int svc_httpd_reload(struct svc_httpd *httpd, struct im_error *err);

/* Listen no more, finish the requests under way, close each connection when that is done; wait at
 * most so many seconds.  How many connections are left. */
size_t svc_httpd_drain(struct svc_httpd *httpd, unsigned seconds);

/* End all connections and threads.  Takes NULL, returns NULL. */
struct svc_httpd *svc_httpd_stop(struct svc_httpd *httpd);

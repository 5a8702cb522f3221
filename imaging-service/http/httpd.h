/* httpd - the HTTP server: bytes in, struct svc_request out, and the answer back.
 *
 * Plain HTTP; knows nothing of tasks, objects or signatures. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "http/message.h"

/* Which handler answers `path` and, with a '/' behind it, everything below. */
struct svc_route {
    const char *path; /* "/objects"; "" takes all the rest and comes last */
    const struct svc_handler *handler;
    void *service;        /* given to handler->begin */
    const char *id_field; /* header that carries the request id */
};

struct svc_httpd;

/* Bind address:port (port 0: any free one) and serve from a pool of threads.  The routes,
 * route_count of them, outlive the server.  Errors: those of socket, bind and listen, with the
 * address. */
int svc_httpd_start(const char *address, uint16_t port, const struct svc_route *routes,
                    size_t route_count, struct svc_httpd **ret_httpd, struct im_error *err);

/* The port in use. */
uint16_t svc_httpd_port(const struct svc_httpd *httpd);

/* End all connections and threads.  Takes NULL, returns NULL. */
struct svc_httpd *svc_httpd_stop(struct svc_httpd *httpd);

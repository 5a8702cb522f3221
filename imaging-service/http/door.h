/* door - the listening socket and the thread that lets connections in, or turns them away.
 *
 * A connection too many is answered with 503 and closed, not left waiting: a client tries again
 * after an answer, but hangs without one.  With TLS it is only closed, because an answer would need
 * a handshake first, which is the work that is to be saved.  Connections whose request does not
 * become whole in time are ended here as well. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "http/connections.h"

struct svc_door;

/* Bind address:port (an IP address, IPv6 with or without brackets; port 0: any free one) and
 * listen; nobody is let in yet.  Errors: those of socket, bind and listen, with the address. */
int svc_door_open(const char *address, uint16_t port, struct svc_door **ret_door,
                  struct im_error *err);

/* The port in use. */
uint16_t svc_door_port(const struct svc_door *door);

/* Begin to let in.  enter (of arg) takes over fd, which is non-blocking, and calls
 * svc_connections_gone before it closes it, or when it cannot take it, which it says by false (fd
 * is closed then).  secure: the connections speak TLS. */
int svc_door_start(struct svc_door *door, struct svc_connections *connections, bool secure,
                   bool (*enter)(void *arg, int fd, const struct sockaddr *address, socklen_t len),
                   void *arg, struct im_error *err);

/* Listen no more; times are still kept. */
void svc_door_shut(struct svc_door *door);

/* Takes NULL, returns NULL. */
struct svc_door *svc_door_free(struct svc_door *door);

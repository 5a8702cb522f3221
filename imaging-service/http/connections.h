/* connections - who is connected, from where, and since when a request is waited for.
 *
 * Counts and times only: nothing is read or written here.  Descriptors belong to the HTTP library;
 * one stands here from svc_connections_admit until svc_connections_gone, which is called before it
 * is closed, so that what is done to it under the lock of this table hits the right connection. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"

enum svc_phase {
    SVC_WAITING,   /* for a request: the connection is new, or its last request has been answered */
    SVC_RECEIVING, /* the request line is here, header or body not yet whole */
    SVC_WORKING,   /* whole, or a body that may take any time: only the idle time counts */
};

struct svc_connections_limits {
    unsigned total;       /* at once */
    unsigned per_address; /* at once from one IPv4 address or one IPv6 /64; 0: no such limit */
    unsigned waiting_ms;  /* SVC_WAITING may last this long */
    unsigned receiving_ms;
};

struct svc_connections;

/* A table for descriptors below fd_max. */
int svc_connections_new(const struct svc_connections_limits *limits, int fd_max,
                        struct svc_connections **ret_table, struct im_error *err);
struct svc_connections *svc_connections_free(struct svc_connections *table);

/* Let fd in, which comes from address.  0; -EMFILE when there are too many, -EUSERS when there are
 * too many from there. */
int svc_connections_admit(struct svc_connections *table, int fd, const struct sockaddr *address,
                          int64_t now_ms);

/* fd is about to be closed. */
void svc_connections_gone(struct svc_connections *table, int fd);

/* fd enters a phase; its time begins now, but for SVC_RECEIVING to SVC_RECEIVING. */
void svc_connections_phase(struct svc_connections *table, int fd, enum svc_phase phase,
                           int64_t now_ms);

/* Call overdue (which must not block) for each connection whose phase has lasted too long, once. */
void svc_connections_expire(struct svc_connections *table, int64_t now_ms,
                            void (*overdue)(void *arg, int fd), void *arg);

/* From now on no connection is for more than one request: those that wait for one are told, by
 * shutdown of their receiving side, and so is each whose answer has been sent. */
void svc_connections_drain(struct svc_connections *table);
bool svc_connections_draining(const struct svc_connections *table);

/* How many connections there are. */
size_t svc_connections_count(struct svc_connections *table);

/* Wait until there is no connection; at most for timeout_ms.  How many there are. */
size_t svc_connections_wait(struct svc_connections *table, int64_t timeout_ms);

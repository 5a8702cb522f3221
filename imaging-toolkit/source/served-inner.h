/* served-inner - what a served source and the process that fetches it say to each other.
 *
 * Two pairs of stream sockets.  On the first, one question after the other is asked and answered.
 * The second is for what must not wait for the network meanwhile: the wish to stop, which has no
 * answer, and PROVEN.  Both ends are one program on one machine, so structs go over as they are. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "source/served.h"

enum served_kind {
    SERVED_OPEN = 1, /* open the source, again if it was closed */
    SERVED_CLOSE,    /* no answer */
    SERVED_LEND,     /* the run around offset; what was lent before is given back */
    SERVED_READY,
    SERVED_LOCAL,
    SERVED_FINISH, /* what was lent is given back, too */
    SERVED_IDENTIFY,
    SERVED_TRUST, /* `len` bytes follow */
    SERVED_PROVEN,
    SERVED_CANCEL,
};

struct served_question {
    uint32_t kind;
    uint32_t how; /* IM_LEND_… */
    uint64_t offset, len;
    uint64_t used; /* bytes read of what is lent */
};

#define SERVED_SEQUENTIAL 1u /* im_source.sequential */
#define SERVED_DIRECT     2u /* im_source.direct */
#define SERVED_FILE       4u /* a descriptor comes with the answer: of the run's file, of the memory */

struct served_answer {
    uint32_t number; /* errno value; text is a struct served_failure then, or empty */
    uint32_t flags;
    /* LEND, LOCAL: of a struct im_lent.  READY: len.  OPEN: len is the source's size, at that of
     * its memory, offset that of its name, which text is, with the document behind it. */
    uint64_t offset, len, at;
    uint64_t text; /* bytes that follow */
};

#define SERVED_CODE_MAX 32

struct served_failure {
    char code[SERVED_CODE_MAX];
    char message[IM_ERROR_MAX];
};

/* Bytes of text in a question or an answer: identities (core/job-open.c) are the longest. */
#define SERVED_TEXT_MAX (64u << 20)
/* Bytes of a source's name. */
#define SERVED_NAME_MAX 1024u
/* Bytes of memory that are looked into: seven parts of a bundle. */
#define SERVED_MEMORY_MAX (UINT64_C(256) << 20)

/* ---- served-wire.c: both ends ---- */

/* Send a struct, and text and a descriptor (-1: none) behind it; 0 or -errno. */
int served_send(int socket, const void *head, size_t head_len, const void *text, size_t text_len,
                int fd);

/* Receive exactly len bytes; wait(arg), when there is one, is called before each try and says by 0
 * that there is something, or why not to wait any more.  *ret_fd: the descriptor that came with
 * them, or -1; NULL: none may come.  -ECONNRESET at the end, -EPROTO, -errno, wait's. */
int served_receive(int socket, void *buf, size_t len, int *ret_fd, int (*wait)(void *arg),
                   void *arg);

/* ---- fetcher.c ---- */

/* The sockets, as the fetching process has them. */
#define SERVED_QUESTIONS 3
#define SERVED_CONTROL   4

struct served_order {
    im_served_fn open;
    const char *spec;
};

/* The fetching process's life (struct im_spawn_self); order is a struct served_order. */
int served_fetch(const void *order);

/* ---- served-peer.c ---- */

/* The process that fetches. */
struct served_peer {
    _Atomic pid_t pid; /* 0: there is none to be waited for */
    atomic_int signal; /* that it was ended by, or 0 */
    int questions, control;
    pthread_mutex_t lock;         /* of the first socket … */
    pthread_mutex_t control_lock; /* … and of the second */
    const char *name;             /* of the source, for messages; not owned */
    atomic_bool lost;             /* nothing more is to be had from it */
    _Atomic int64_t stop_ms;      /* when it was told to stop, or 0 */
};

/* An answer, with what came with it. */
struct served_reply {
    struct served_answer answer;
    char *text; /* answer.text bytes, and a NUL */
    int fd;     /* -1: none */
};

#define SERVED_REPLY ((struct served_reply){ .fd = -1 })

void served_reply_done(struct served_reply *reply);
#define SERVED_REPLY_DONE __attribute__((cleanup(served_reply_done)))

/* Start the process; its order stays the caller's.  -errno. */
int served_peer_start(struct served_peer *peer, const struct served_order *order,
                      struct im_error *err);

/* The process pid, or 0, behind these sockets, which are taken over. */
void served_peer_init(struct served_peer *peer, int questions, int control, pid_t pid);

/* End the process, and close the sockets. */
void served_peer_end(struct served_peer *peer);

/* Ask, with question->len bytes of text (NULL: none) behind the question, and have the answer,
 * whose text has at most `most` bytes.  The socket's lock is held.  Errors: those that are told,
 * -EAGAIN and -EPROTO as im_served_open, -ECANCELED. */
int served_ask(struct served_peer *peer, const struct served_question *question, const void *text,
               size_t most, struct served_reply *ret_reply, struct im_error *err);

/* Say that its source is closed.  -EPIPE when nobody is to be told. */
int served_say_close(struct served_peer *peer);

/* The failure of an answer that makes no sense; nothing is asked any more. */
int served_nonsense(struct served_peer *peer, const char *what, struct im_error *err);

/* ---- served.c ---- */

/* Let the process open its source; for tests. */
int served_open_by(struct served_peer *peer, struct im_source **ret_source, struct im_error *err);

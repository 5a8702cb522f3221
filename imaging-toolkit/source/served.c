/* served - a source that another process fetches.
 *
 * Its bytes are copied from the memory that both processes see, once, since they may change at any
 * time.  The process outlives the source, so that the same can be opened again by a process that
 * has given up its network meanwhile. */

#include <config.h>

#include "source/served.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "source/lend.h"
#include "source/served-inner.h"

struct served {
    struct im_source base;
    struct served_peer *peer; /* NULL: it could not be opened; its lock guards what follows */
    const uint8_t *memory;
    uint64_t memory_len;
    struct im_lent lent; /* len 0: nothing is; its file is ours */
    int told;            /* the file that somebody was told of last, which stays open; or -1 */
    bool ahead;          /* … and the other process knows that more will be wanted */
    uint64_t used;       /* bytes read of what is lent in memory */
    struct im_reads reads;
};

/* ---- the processes ---- */

/* One that has been started, and what it opens. */
struct fetching {
    struct served_peer peer;
    struct served_order order;
    bool taken; /* by a source */
    struct fetching *next;
};

/* Sources are opened and closed by one thread. */
static struct fetching *all;

static void end(struct fetching **place)
{
    struct fetching *gone = *place;

    *place = gone->next;
    served_peer_end(&gone->peer);
    free((char *)gone->order.spec);
    free(gone);
}

static void end_all(void)
{
    while (all)
        end(&all);
}

static struct fetching *find(const struct served_order *order)
{
    for (struct fetching *one = all; one; one = one->next)
        if (!one->taken && one->order.open == order->open &&
            strcmp(one->order.spec, order->spec) == 0)
            return one;
    return NULL;
}

static int start(const struct served_order *order, struct fetching **ret, struct im_error *err)
{
    static bool will_end;
    struct fetching *one = calloc(1, sizeof(*one));
    char *spec = strdup(order->spec);
    int r = one && spec ? served_peer_start(&one->peer, order, err)
                        : im_fail(err, ENOMEM, "out of memory");

    if (r < 0) {
        free(spec);
        free(one);
        return r;
    }
    if (!will_end)
        will_end = atexit(end_all) == 0;
    one->order = (struct served_order){ order->open, spec };
    one->next = all;
    all = one;
    *ret = one;
    return 0;
}

/* The source is closed.  A process that still makes sense is kept for the next one. */
static void put_back(struct served_peer *peer)
{
    for (struct fetching **place = &all; *place; place = &(*place)->next)
        if (&(*place)->peer == peer) {
            (*place)->taken = false;
            if (served_say_close(peer) < 0)
                end(place);
            return;
        }
}

/* ---- reading ---- */

static bool covers(const struct im_lent *lent, uint64_t offset)
{
    return offset >= lent->offset && offset - lent->offset < lent->len;
}

static void let_go(struct served *served)
{
    if (served->lent.len > 0 && served->lent.file != served->told)
        im_cleanup_close(&served->lent.file);
    served->lent.len = 0;
}

/* Whether a file holds these bytes. */
static bool is_in_file(int fd, uint64_t at, uint64_t len)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && at <= (uint64_t)st.st_size &&
           len <= (uint64_t)st.st_size - at;
}

/* Take the run that an answer tells of, which is to hold the byte at offset. */
static int take_run(struct served *served, uint64_t offset, struct served_reply *reply,
                    struct im_error *err)
{
    const struct served_answer *answer = &reply->answer;
    struct im_lent lent = { .offset = answer->offset, .len = answer->len, .at = answer->at };
    uint64_t size = served->base.size;

    if (lent.offset > size || lent.len > size - lent.offset || !covers(&lent, offset))
        return served_nonsense(served->peer, "bytes of another place", err);
    if (reply->fd >= 0 ? !is_in_file(reply->fd, lent.at, lent.len)
                       : lent.at > served->memory_len || lent.len > served->memory_len - lent.at)
        return served_nonsense(served->peer, "bytes that are not there", err);
    if (reply->fd < 0)
        lent.bytes = served->memory + lent.at;
    lent.file = im_steal_fd(&reply->fd);
    served->lent = lent;
    return 0;
}

/* Have the run that offset is in. */
static int borrow(struct served *served, uint64_t offset, unsigned how, struct im_error *err)
{
    const struct served_question question = {
        .kind = SERVED_LEND, .how = how, .offset = offset, .used = served->used
    };
    struct served_reply reply SERVED_REPLY_DONE = SERVED_REPLY;
    int r;

    let_go(served);
    r = served_ask(served->peer, &question, NULL, 0, &reply, err);
    served->used = 0;
    served->ahead = how & IM_LEND_FORWARDS;
    return r < 0 ? r : take_run(served, offset, &reply, err);
}

/* Read from the run that offset is in, at most *ret_len bytes. */
static int read_run(struct served *served, void *buf, size_t len, uint64_t offset, bool forwards,
                    size_t *ret_len, struct im_error *err)
{
    unsigned how = forwards ? IM_LEND_FORWARDS : 0;
    const struct im_lent *lent = &served->lent;
    int r = 0;

    if (!covers(lent, offset) || (forwards && !served->ahead && lent->file < 0))
        r = borrow(served, offset, how, err);
    if (r == 0 && im_lend_copy(lent, buf, len, offset, ret_len) < 0) {
        r = borrow(served, offset, how | IM_LEND_MEMORY, err);
        if (r == 0 && im_lend_copy(lent, buf, len, offset, ret_len) < 0)
            r = served_nonsense(served->peer, "a file", err);
    }
    if (r == 0 && lent->file < 0)
        served->used += *ret_len;
    return r;
}

static int served_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                       size_t *ret_len, struct im_error *err)
{
    struct served *served = (struct served *)source;
    bool forwards;
    size_t done = 0, n;
    int r = 0;

    len = offset >= source->size ? 0 : (size_t)im_min(len, source->size - offset);
    (void)pthread_mutex_lock(&served->peer->lock);
    forwards = im_reads_note(&served->reads, offset, len);
    while (r == 0 && done < len) {
        r = read_run(served, (uint8_t *)buf + done, len - done, offset + done, forwards, &n, err);
        if (r == 0)
            done += n;
    }
    (void)pthread_mutex_unlock(&served->peer->lock);
    if (r == 0)
        *ret_len = done;
    return r;
}

/* What cannot be asked for is there at once: a failure. */
static size_t served_ready(struct im_source *source, uint64_t offset, size_t len)
{
    struct served *served = (struct served *)source;
    struct served_reply reply SERVED_REPLY_DONE = SERVED_REPLY;
    size_t here = 0;

    (void)pthread_mutex_lock(&served->peer->lock);
    if (covers(&served->lent, offset))
        here = (size_t)im_min(len, served->lent.len - (offset - served->lent.offset));
    if (here < len) {
        const struct served_question question = { .kind = SERVED_READY,
                                                  .offset = offset + here,
                                                  .len = len - here };

        if (served_ask(served->peer, &question, NULL, 0, &reply, NULL) < 0)
            here = len;
        else
            here += (size_t)im_min(len - here, reply.answer.len);
    }
    (void)pthread_mutex_unlock(&served->peer->lock);
    return here;
}

static int ask_file(struct served *served, uint64_t offset)
{
    const struct served_question question = { .kind = SERVED_LOCAL, .offset = offset };
    struct served_reply reply SERVED_REPLY_DONE = SERVED_REPLY;
    int r;

    r = served_ask(served->peer, &question, NULL, 0, &reply, NULL);
    if (r < 0 || reply.fd < 0)
        return -EOPNOTSUPP;
    let_go(served);
    return take_run(served, offset, &reply, NULL) < 0 ? -EOPNOTSUPP : 0;
}

/* The file of what is lent is told of: of one that was told of before the same descriptor, which
 * somebody may use. */
static int tell_file(struct served *served)
{
    int *file = &served->lent.file;
    struct stat before, now;

    if (*file == served->told)
        return *file;
    if (served->told >= 0 && fstat(served->told, &before) == 0 && fstat(*file, &now) == 0 &&
        im_stat_same(&before, &now)) {
        (void)close(*file);
        *file = served->told;
    } else {
        im_cleanup_close(&served->told);
        served->told = *file;
    }
    return *file;
}

static int served_local(struct im_source *source, uint64_t offset, uint64_t len, int *ret_fd,
                        uint64_t *ret_at, uint64_t *ret_len)
{
    struct served *served = (struct served *)source;
    const struct im_lent *lent = &served->lent;
    int r = -EOPNOTSUPP;

    (void)pthread_mutex_lock(&served->peer->lock);
    if (covers(lent, offset))
        r = lent->file >= 0 ? 0 : -EOPNOTSUPP;
    else if (offset < source->size)
        r = ask_file(served, offset);
    if (r == 0) {
        uint64_t skip = offset - lent->offset;

        *ret_fd = tell_file(served);
        *ret_at = lent->at + skip;
        *ret_len = im_min(len, lent->len - skip);
    }
    (void)pthread_mutex_unlock(&served->peer->lock);
    return r;
}

/* ---- the rest ---- */

static int served_finish(struct im_source *source, struct im_error *err)
{
    struct served *served = (struct served *)source;
    struct served_reply reply SERVED_REPLY_DONE = SERVED_REPLY;
    int r;

    (void)pthread_mutex_lock(&served->peer->lock);
    let_go(served);
    r = served_ask(served->peer,
                   &(struct served_question){ .kind = SERVED_FINISH, .used = served->used }, NULL,
                   0, &reply, err);
    served->used = 0;
    (void)pthread_mutex_unlock(&served->peer->lock);
    return r;
}

static int ask_text(struct served *served, enum served_kind kind, pthread_mutex_t *lock,
                    struct im_buffer *text)
{
    struct served_reply reply SERVED_REPLY_DONE = SERVED_REPLY;
    size_t room = (size_t)im_min(text->ceiling - text->len, SERVED_TEXT_MAX);
    int r;

    (void)pthread_mutex_lock(lock);
    r = served_ask(served->peer, &(struct served_question){ .kind = kind, .len = room }, NULL, room,
                   &reply, NULL);
    (void)pthread_mutex_unlock(lock);
    return r < 0 ? r : im_buffer_add(text, reply.text, (size_t)reply.answer.text);
}

static int served_identify(struct im_source *source, struct im_buffer *text)
{
    struct served *served = (struct served *)source;

    return ask_text(served, SERVED_IDENTIFY, &served->peer->lock, text);
}

static int served_proven(struct im_source *source, struct im_buffer *proof)
{
    struct served *served = (struct served *)source;

    return ask_text(served, SERVED_PROVEN, &served->peer->control_lock, proof);
}

static int served_trust(struct im_source *source, const void *proof, size_t len)
{
    struct served *served = (struct served *)source;
    const struct served_question question = { .kind = SERVED_TRUST, .len = len };
    struct served_reply reply SERVED_REPLY_DONE = SERVED_REPLY;
    int r;

    if (len > SERVED_TEXT_MAX)
        return -EBADMSG;
    (void)pthread_mutex_lock(&served->peer->lock);
    r = served_ask(served->peer, &question, proof, 0, &reply, NULL);
    (void)pthread_mutex_unlock(&served->peer->lock);
    return r;
}

static void served_close(struct im_source *source)
{
    struct served *served = (struct served *)source;

    let_go(served);
    im_cleanup_close(&served->told);
    if (served->memory)
        (void)munmap((void *)served->memory, (size_t)served->memory_len);
    if (served->peer)
        put_back(served->peer);
}

static const struct im_source_ops served_ops = {
    .name = "served",
    .read = served_read,
    .local = served_local,
    .finish = served_finish,
    .ready = served_ready,
    .identify = served_identify,
    .proven = served_proven,
    .trust = served_trust,
    .close = served_close,
};

/* ---- opening ---- */

/* The memory that the other process fills: it must not shrink while it is read. */
static int map_memory(struct served *served, const struct served_reply *reply, struct im_error *err)
{
    uint64_t len = reply->answer.at;
    int seals = reply->fd < 0 ? 0 : fcntl(reply->fd, F_GET_SEALS);
    void *memory;

    if (reply->fd < 0)
        return 0;
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || len == 0 || len > SERVED_MEMORY_MAX ||
        !is_in_file(reply->fd, 0, len))
        return served_nonsense(served->peer, "memory", err);
    memory = mmap(NULL, (size_t)len, PROT_READ, MAP_SHARED, reply->fd, 0);
    if (memory == MAP_FAILED)
        return im_fail_errno(err, errno, "cannot have %" PRIu64 " bytes of memory", len);
    served->memory = memory;
    served->memory_len = len;
    return 0;
}

/* Take what the first answer tells of the source. */
static int take_opened(struct served *served, const struct served_reply *reply,
                       struct im_error *err)
{
    const struct served_answer *answer = &reply->answer;
    struct im_source *source = &served->base;
    uint64_t name_len = answer->offset;
    char name[SERVED_NAME_MAX + 1], shown[SERVED_NAME_MAX + 1];

    if (name_len > SERVED_NAME_MAX || name_len > answer->text || answer->len > INT64_MAX)
        return served_nonsense(served->peer, "a name, or a size", err);
    (void)snprintf(name, sizeof(name), "%.*s", (int)name_len, reply->text);
    served->peer->name = "the image";
    free(source->name);
    source->name = strdup(im_text_printable(shown, sizeof(shown), name));
    source->document_len = (size_t)(answer->text - name_len);
    source->document = malloc(source->document_len + 1);
    if (!source->name || !source->document)
        return im_fail(err, ENOMEM, "out of memory");
    memcpy(source->document, reply->text + name_len, source->document_len + 1);
    served->peer->name = source->name;
    source->size = answer->len;
    source->sequential = answer->flags & SERVED_SEQUENTIAL;
    source->direct = answer->flags & SERVED_DIRECT;
    return map_memory(served, reply, err);
}

int served_open_by(struct served_peer *peer, struct im_source **ret_source, struct im_error *err)
{
    struct served *served = im_source_new(sizeof(*served), &served_ops, "the image");
    struct served_reply reply SERVED_REPLY_DONE = SERVED_REPLY;
    int r;

    if (!served)
        return im_fail(err, ENOMEM, "out of memory");
    served->peer = peer;
    served->told = -1;
    r = served_ask(peer, &(struct served_question){ .kind = SERVED_OPEN }, NULL, SERVED_TEXT_MAX,
                   &reply, err);
    if (r == 0)
        r = take_opened(served, &reply, err);
    if (r < 0)
        im_source_close(&served->base);
    else
        *ret_source = &served->base;
    return r;
}

int im_served_prepare(im_served_fn open, const char *spec, struct im_error *err)
{
    const struct served_order order = { open, spec };
    struct fetching *one;

    return find(&order) ? 0 : start(&order, &one, err);
}

int im_served_open(im_served_fn open, const char *spec, struct im_source **ret_source,
                   struct im_error *err)
{
    const struct served_order order = { open, spec };
    struct fetching *one = find(&order);
    int r = one ? 0 : start(&order, &one, err);

    if (r < 0)
        return r;
    one->taken = true;
    return served_open_by(&one->peer, ret_source, err);
}

/* fetcher - the process that fetches: it opens the source and answers questions about it.
 *
 * Its network is the world's and its reader has parsed an image, so whatever a question says is
 * looked at twice.  It reads no byte of what it fetches but to hash it.  Of the files that whoever
 * started it may use it is left the manifest and the objects of this machine, to read; it starts
 * nothing. */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/confine.h"
#include "base/http.h"
#include "core/cancel.h"
#include "core/objects.h"
#include "source/lend.h"
#include "source/served-inner.h"

/* The other end has gone, or makes no sense. */
#define GONE 0

struct fetcher {
    const struct served_order *order;
    pthread_mutex_t lock; /* held while the source is asked for proofs, and while it is closed */
    struct im_source *source; /* NULL: it is not open */
    struct im_lent lent;      /* len 0: nothing is */
};

/* ---- answers ---- */

static int answer(int socket, const struct served_answer *how, const void *text, int fd)
{
    return served_send(socket, how, sizeof(*how), text, how->text, fd);
}

static int answer_failure(int socket, int number, const struct im_error *err)
{
    struct served_answer how = { .number = (uint32_t)number };
    struct served_failure failure = { 0 };

    if (number > 0 && err && err->number) { /* of what healed since nobody is told */
        (void)snprintf(failure.code, sizeof(failure.code), "%s", err->code);
        memcpy(failure.message, err->message, sizeof(failure.message));
        how.text = sizeof(failure);
    }
    return answer(socket, &how, &failure, -1);
}

static int answer_result(int socket, int r, const struct im_error *err)
{
    return answer_failure(socket, -r, err);
}

/* ---- questions ---- */

static void give_back(struct fetcher *fetcher, uint64_t used)
{
    struct im_source *source = fetcher->source;

    if (fetcher->lent.len > 0)
        source->ops->give_back(source, &fetcher->lent, (size_t)im_min(used, fetcher->lent.len));
    fetcher->lent.len = 0;
}

static void set_source(struct fetcher *fetcher, struct im_source *source)
{
    (void)pthread_mutex_lock(&fetcher->lock);
    fetcher->source = source;
    (void)pthread_mutex_unlock(&fetcher->lock);
}

static int close_source(struct fetcher *fetcher)
{
    struct im_source *source = fetcher->source;

    if (source)
        give_back(fetcher, 0);
    set_source(fetcher, NULL);
    im_source_close(source);
    return 0;
}

static int tell_opened(const struct im_source *source)
{
    struct served_answer how = { .len = source->size, .offset = strlen(source->name) };
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(SERVED_TEXT_MAX);
    int fd = source->ops->memory(source, &how.at);

    if (im_buffer_puts(&text, source->name) < 0 ||
        im_buffer_add(&text, source->document ? source->document : "", source->document_len) < 0)
        return -ENOMEM;
    how.text = text.len;
    how.flags = (source->sequential ? SERVED_SEQUENTIAL : 0) |
                (source->direct ? SERVED_DIRECT : 0) | (fd >= 0 ? SERVED_FILE : 0);
    return answer(SERVED_QUESTIONS, &how, text.data, fd);
}

static int open_source(struct fetcher *fetcher)
{
    struct im_source *source = NULL;
    struct im_error err = { 0 };
    int r;

    close_source(fetcher);
    r = fetcher->order->open(fetcher->order->spec, &source, &err);
    if (r < 0)
        return answer_result(SERVED_QUESTIONS, r, &err);
    set_source(fetcher, source);
    return tell_opened(source);
}

static int lend(struct fetcher *fetcher, struct im_source *source,
                const struct served_question *question)
{
    struct im_lent *lent = &fetcher->lent;
    struct served_answer how = { 0 };
    struct im_error err = { 0 };
    int r;

    give_back(fetcher, question->used);
    if (question->offset >= source->size)
        return -EPROTO;
    r = source->ops->lend(source, question->offset, question->how, lent, &err);
    if (r < 0) {
        lent->len = 0;
        return answer_result(SERVED_QUESTIONS, r, &err);
    }
    how.offset = lent->offset;
    how.len = lent->len;
    how.at = lent->at;
    how.flags = lent->file >= 0 ? SERVED_FILE : 0;
    return answer(SERVED_QUESTIONS, &how, NULL, lent->file);
}

static int tell_ready(struct im_source *source, const struct served_question *question)
{
    struct served_answer how = { 0 };
    size_t len = 0;

    if (question->offset < source->size)
        len = (size_t)im_min(question->len, source->size - question->offset);
    how.len = source->ops->ready ? source->ops->ready(source, question->offset, len) : len;
    return answer(SERVED_QUESTIONS, &how, NULL, -1);
}

static int tell_file(struct im_source *source, const struct served_question *question)
{
    struct served_answer how = { .flags = SERVED_FILE, .offset = question->offset };
    int fd = -1, r = -EOPNOTSUPP;

    if (source->ops->local && question->offset < source->size)
        r = source->ops->local(source, question->offset, source->size - question->offset, &fd,
                               &how.at, &how.len);
    return r < 0 ? answer_result(SERVED_QUESTIONS, r, NULL)
                 : answer(SERVED_QUESTIONS, &how, NULL, fd);
}

static int finish(struct fetcher *fetcher, struct im_source *source,
                  const struct served_question *question)
{
    struct im_error err = { 0 };

    give_back(fetcher, question->used);
    return answer_result(SERVED_QUESTIONS,
                         source->ops->finish ? source->ops->finish(source, &err) : 0, &err);
}

/* identify or proven. */
static int tell_text(int socket, struct im_source *source,
                     int (*find)(struct im_source *source, struct im_buffer *text), uint64_t most)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER((size_t)im_min(most, SERVED_TEXT_MAX));
    int r = find ? find(source, &text) : -EOPNOTSUPP;
    struct served_answer how = { .text = text.len };

    return r < 0 ? answer_result(socket, r, NULL) : answer(socket, &how, text.data, -1);
}

static int trust(struct im_source *source, const struct served_question *question)
{
    size_t len = (size_t)question->len;
    void *proof IM_FREE = question->len <= SERVED_TEXT_MAX ? malloc(len + 1) : NULL;
    int r = proof ? served_receive(SERVED_QUESTIONS, proof, len, NULL, NULL, NULL) : -EPROTO;

    if (r < 0)
        return r;
    return answer_result(SERVED_QUESTIONS,
                         source->ops->trust ? source->ops->trust(source, proof, len) : -EBADMSG,
                         NULL);
}

static int reply(struct fetcher *fetcher, const struct served_question *question)
{
    struct im_source *source = fetcher->source;

    if (question->kind == SERVED_OPEN)
        return open_source(fetcher);
    if (question->kind == SERVED_CLOSE)
        return close_source(fetcher);
    if (!source)
        return -EPROTO;
    switch (question->kind) {
    case SERVED_LEND:
        return lend(fetcher, source, question);
    case SERVED_READY:
        return tell_ready(source, question);
    case SERVED_LOCAL:
        return tell_file(source, question);
    case SERVED_FINISH:
        return finish(fetcher, source, question);
    case SERVED_IDENTIFY:
        return tell_text(SERVED_QUESTIONS, source, source->ops->identify, question->len);
    case SERVED_TRUST:
        return trust(source, question);
    default:
        return -EPROTO;
    }
}

/* ---- the other socket ---- */

static int tell_proven(struct fetcher *fetcher, const struct served_question *question)
{
    struct im_source *source;
    int r = -EPROTO;

    (void)pthread_mutex_lock(&fetcher->lock);
    source = fetcher->source;
    if (question->kind == SERVED_PROVEN && source)
        r = tell_text(SERVED_CONTROL, source, source->ops->proven, question->len);
    (void)pthread_mutex_unlock(&fetcher->lock);
    return r;
}

/* What is asked while the network is waited for.  Its end is that of everything. */
static void *listen_to_control(void *arg)
{
    struct fetcher *fetcher = arg;
    struct served_question question;

    while (served_receive(SERVED_CONTROL, &question, sizeof(question), NULL, NULL, NULL) == 0) {
        if (question.kind == SERVED_CANCEL)
            __atomic_store_n(&im_cancelled, true, __ATOMIC_RELAXED);
        else if (tell_proven(fetcher, &question) < 0)
            break;
    }
    _exit(GONE);
}

/* ---- its life ---- */

/* Where the kernel cannot, whoever started it has told; any other failure is told here, since the
 * other one sees only an end. */
static int give_up_files(const struct served_order *order)
{
    struct im_confine confine IM_CONFINE_DONE = IM_CONFINE;
    struct im_error err = { 0 };
    int r = im_confine_begin_client(&confine, &err);

    if (r == 0) /* of an URL there is none */
        r = im_confine_allow(&confine, order->spec, IM_MAY_READ, &err);
    if (r == 0 && im_objects.dir)
        r = im_confine_allow(&confine, im_objects.dir, IM_MAY_READ, &err);
    if (r == 0)
        r = im_confine_self(&confine, &err);
    if (r == 0 || r == -ENOTSUP)
        return 0;
    im_error_prefix(&err, "the process that fetches");
    im_error_print("imaging-toolkit", &err);
    return r;
}

/* The other process is told to stop, and tells this one. */
static void ignore_signals(void)
{
    static const int numbers[] = { SIGHUP, SIGINT, SIGTERM, SIGPIPE };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        (void)signal(numbers[i], SIG_IGN);
}

int served_fetch(const void *arg)
{
    struct fetcher fetcher = { .order = arg, .lock = PTHREAD_MUTEX_INITIALIZER };
    struct served_question question;
    pthread_t thread;
    int r;

    (void)prctl(PR_SET_NAME, "imaging-fetcher");
    ignore_signals();
    if (give_up_files(fetcher.order) < 0)
        return GONE;
    im_http_global();
    r = pthread_create(&thread, NULL, listen_to_control, &fetcher);
    while (r == 0) {
        r = served_receive(SERVED_QUESTIONS, &question, sizeof(question), NULL, NULL, NULL);
        if (r == 0)
            r = reply(&fetcher, &question);
    }
    return GONE;
}

/* served-peer - the process that fetches, as the other one sees it: questions and answers.
 *
 * It has spoken with the world: an answer is taken only when it makes sense, and its texts are made
 * printable. */

#include <config.h>

#include "source/served-inner.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/spawn.h"
#include "base/text.h"
#include "core/cancel.h"

/* How often a wish to stop is looked for; how long an answer may take after it. */
#define LOOK_MS 100
#define STOP_MS 10000
/* How long it may take to read a question, and to end. */
#define SEND_S 10
#define END_MS 2000

/* ---- failures ---- */

/* Wait for its end, whichever thread is the first to; when it does not come, pid stays. */
static void wait_for_end(struct served_peer *peer, int timeout_ms)
{
    pid_t pid = atomic_exchange(&peer->pid, 0);
    int status;

    if (pid <= 0)
        return;
    if (im_spawn_wait(pid, timeout_ms, &status) <= 0)
        atomic_store(&peer->pid, pid);
    else if (WIFSIGNALED(status))
        atomic_store(&peer->signal, WTERMSIG(status));
}

/* It has ended, or did not listen. */
static int lose(struct served_peer *peer, struct im_error *err)
{
    char how[64] = "";
    int number;

    atomic_store(&peer->lost, true);
    if (im_cancel_check(err) < 0)
        return -ECANCELED;
    wait_for_end(peer, END_MS);
    number = atomic_load(&peer->signal);
    if (number > 0)
        (void)snprintf(how, sizeof(how), " by signal %d (%s)", number, sigabbrev_np(number));
    return im_fail_code(err, EAGAIN, "FetcherLost",
                        "the process that fetches '%s' has ended%s; try again", peer->name, how);
}

/* False when it cannot be killed, or has been reaped: a group of processes would be number 0. */
static bool kill_it(struct served_peer *peer)
{
    pid_t pid = atomic_load(&peer->pid);

    return pid > 0 && kill(pid, SIGKILL) == 0;
}

int served_nonsense(struct served_peer *peer, const char *what, struct im_error *err)
{
    atomic_store(&peer->lost, true);
    kill_it(peer);
    return im_fail_code(err, EPROTO, "FetcherLost",
                        "the process that fetches '%s' has answered what makes no sense (%s)",
                        peer->name, what);
}

static int judge(struct served_peer *peer, int r, struct im_error *err)
{
    return r == -EPROTO ? served_nonsense(peer, "descriptors", err) : lose(peer, err);
}

/* The word as static storage, as an im_error has it; NULL when it is none. */
static const char *code_of(const char code[SERVED_CODE_MAX])
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char known[32][SERVED_CODE_MAX];
    size_t len = strnlen(code, SERVED_CODE_MAX), i = 0;
    const char *found = NULL;

    for (size_t c = 0; c < len; c++)
        if (((code[c] | 0x20) < 'a' || (code[c] | 0x20) > 'z') && (code[c] < '0' || code[c] > '9'))
            return NULL;
    if (len == 0 || len == SERVED_CODE_MAX)
        return NULL;
    (void)pthread_mutex_lock(&lock);
    while (i < sizeof(known) / sizeof(known[0]) && known[i][0] && strcmp(known[i], code) != 0)
        i++;
    if (i < sizeof(known) / sizeof(known[0])) {
        memcpy(known[i], code, len); /* what was zero behind it stays so */
        found = known[i];
    }
    (void)pthread_mutex_unlock(&lock);
    return found;
}

/* ---- asking ---- */

void served_reply_done(struct served_reply *reply)
{
    im_cleanup_close(&reply->fd);
    free(reply->text);
}

struct waiting {
    struct served_peer *peer;
    int socket;
};

/* It is told once.  Nobody else's question is torn: each is sent whole (unix(7)). */
static int64_t tell_to_stop(struct served_peer *peer)
{
    const struct served_question question = { .kind = SERVED_CANCEL };
    int64_t now = im_clock_monotonic_ms(), before = 0;

    if (!atomic_compare_exchange_strong(&peer->stop_ms, &before, now))
        return before;
    (void)served_send(peer->control, &question, sizeof(question), NULL, 0, -1);
    return now;
}

static int wait_for_answer(void *arg)
{
    struct waiting *waiting = arg;
    struct pollfd poller = { .fd = waiting->socket, .events = POLLIN };

    while (poll(&poller, 1, LOOK_MS) <= 0)
        if (im_cancelled && im_clock_monotonic_ms() - tell_to_stop(waiting->peer) > STOP_MS)
            return -ECANCELED;
    return 0;
}

/* The failure an answer tells of. */
static int take_failure(const struct served_peer *peer, const struct served_reply *reply,
                        struct im_error *err)
{
    const struct served_failure *failure = (const void *)reply->text;
    int number = (int)reply->answer.number;
    char message[IM_ERROR_MAX], shown[IM_ERROR_MAX];
    const char *code;

    if (reply->answer.text == 0)
        return im_fail(err, number, "'%s' cannot be read", peer->name);
    (void)snprintf(message, sizeof(message), "%.*s", IM_ERROR_MAX - 1, failure->message);
    im_text_printable(shown, sizeof(shown), message);
    code = code_of(failure->code);
    return code ? im_fail_code(err, number, code, "%s", shown) : im_fail(err, number, "%s", shown);
}

/* Receive an answer whose text has at most `most` bytes; 0 also when it tells of a failure. */
static int receive(struct served_peer *peer, int socket, size_t most, struct served_reply *reply,
                   struct im_error *err)
{
    struct waiting waiting = { peer, socket };
    struct served_answer *answer = &reply->answer;
    int r = served_receive(socket, answer, sizeof(*answer), &reply->fd, wait_for_answer, &waiting);

    if (r < 0)
        return judge(peer, r, err);
    if (answer->number > 4095 ||
        (answer->number > 0 && answer->text != 0 && answer->text != sizeof(struct served_failure)))
        return served_nonsense(peer, "a failure", err);
    if (answer->number == 0 && answer->text > most)
        return served_nonsense(peer, "more text than was asked for", err);
    if ((reply->fd >= 0) != ((answer->flags & SERVED_FILE) != 0))
        return served_nonsense(peer, "descriptors", err);
    reply->text = malloc((size_t)answer->text + 1);
    if (!reply->text) {
        atomic_store(&peer->lost, true);
        return im_fail(err, ENOMEM, "out of memory");
    }
    reply->text[answer->text] = '\0';
    r = served_receive(socket, reply->text, (size_t)answer->text, NULL, wait_for_answer, &waiting);
    return r < 0 ? judge(peer, r, err) : 0;
}

int served_ask(struct served_peer *peer, const struct served_question *question, const void *text,
               size_t most, struct served_reply *reply, struct im_error *err)
{
    int socket = question->kind == SERVED_PROVEN ? peer->control : peer->questions;
    int r = 0;

    if (!atomic_load(&peer->lost))
        r = served_send(socket, question, sizeof(*question), text, text ? (size_t)question->len : 0,
                        -1);
    if (r < 0 || atomic_load(&peer->lost))
        return lose(peer, err);
    r = receive(peer, socket, most, reply, err);
    if (r == 0 && reply->answer.number > 0)
        r = take_failure(peer, reply, err);
    return r;
}

int served_say_close(struct served_peer *peer)
{
    const struct served_question question = { .kind = SERVED_CLOSE };

    peer->name = "the image";
    return atomic_load(&peer->lost)
               ? -EPIPE
               : served_send(peer->questions, &question, sizeof(question), NULL, 0, -1);
}

/* ---- from birth to death ---- */

void served_peer_init(struct served_peer *peer, int questions, int control, pid_t pid)
{
    const struct timeval patience = { .tv_sec = SEND_S };

    *peer = (struct served_peer){ .questions = questions, .control = control };
    atomic_init(&peer->pid, pid);
    peer->name = "the image";
    (void)pthread_mutex_init(&peer->lock, NULL);
    (void)pthread_mutex_init(&peer->control_lock, NULL);
    (void)setsockopt(questions, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    (void)setsockopt(control, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

/* Who has gone offline (base/confine.h) makes no sockets any more, and starts nobody. */
static int cannot_start(int number, struct im_error *err)
{
    if (number != ENOSYS)
        return im_fail_errno(err, number, "cannot make sockets");
    return im_fail_code(err, EAGAIN, "FetcherLost",
                        "the process that fetches has ended, and this one has given up its network "
                        "and cannot start another; try again");
}

int served_peer_start(struct served_peer *peer, const struct served_order *order,
                      struct im_error *err)
{
    struct im_spawn_self self = { .work = served_fetch, .arg = order };
    int questions[2], control[2], r;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, questions) < 0)
        return cannot_start(errno, err);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) < 0) {
        r = cannot_start(errno, err);
        (void)close(questions[0]);
        (void)close(questions[1]);
        return r;
    }
    self.fd3 = questions[1];
    self.fd4 = control[1];
    r = im_spawn_self(&self, &pid, err);
    (void)close(questions[1]);
    (void)close(control[1]);
    if (r == 0) {
        served_peer_init(peer, questions[0], control[0], pid);
        return 0;
    }
    (void)close(questions[0]);
    (void)close(control[0]);
    return r;
}

/* It has nothing to put in order, and would end by its sockets where it cannot be killed. */
void served_peer_end(struct served_peer *peer)
{
    bool dies = kill_it(peer);

    im_cleanup_close(&peer->questions);
    im_cleanup_close(&peer->control);
    wait_for_end(peer, dies ? -1 : END_MS);
    (void)pthread_mutex_destroy(&peer->lock);
    (void)pthread_mutex_destroy(&peer->control_lock);
}

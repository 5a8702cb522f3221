/* A source that another process fetches: what it says is taken whole when it makes sense, and not
 * at all when it does not; and each process knows of the other's end. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/confine.h"
#include "core/cancel.h"
#include "source/served-inner.h"

#define SIZE   10000u /* of the source */
#define MEMORY 4096u
#define NAME   "disk"

/* ---- answers from a table ---- */

/* What this process sends as if it were the one that fetches, before it is asked. */
struct talk {
    int questions, control; /* its ends */
    struct served_peer peer;
    struct im_source *source;
};

static void talk_begin(struct talk *talk)
{
    int questions[2], control[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, questions), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control), 0);
    served_peer_init(&talk->peer, questions[0], control[0], 0);
    talk->questions = questions[1];
    talk->control = control[1];
    talk->source = NULL;
}

static void talk_end(struct talk *talk)
{
    im_source_close(talk->source);
    served_peer_end(&talk->peer);
    (void)close(talk->questions);
    (void)close(talk->control);
}

static void say(int socket, const struct served_answer *answer, const void *text, size_t len,
                int fd)
{
    assert_int_equal(served_send(socket, answer, sizeof(*answer), text, len, fd), 0);
}

/* Memory of the two, each byte its place. */
static int memory_of(size_t size, bool sealed)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    uint8_t byte[MEMORY];

    for (size_t i = 0; i < sizeof(byte); i++)
        byte[i] = (uint8_t)(i % 251);
    assert_int_equal(write(fd, byte, sizeof(byte)), sizeof(byte));
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    if (sealed)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    return fd;
}

static const struct served_answer opened = {
    .flags = SERVED_FILE, .len = SIZE, .at = MEMORY, .offset = strlen(NAME), .text = strlen(NAME)
};

static void open_well(struct talk *talk)
{
    struct im_error err = { 0 };
    int fd = memory_of(MEMORY, true);

    talk_begin(talk);
    say(talk->questions, &opened, NAME, strlen(NAME), fd);
    (void)close(fd);
    assert_int_equal(served_open_by(&talk->peer, &talk->source, &err), 0);
}

static void sound_answers_are_taken(void **state)
{
    struct im_error err = { 0 };
    struct talk talk;
    uint8_t buf[100];
    size_t got;

    (void)state;
    open_well(&talk);
    assert_int_equal(talk.source->size, SIZE);
    assert_string_equal(talk.source->name, NAME);
    say(talk.questions, &(struct served_answer){ .offset = 500, .len = 200, .at = 1000 }, NULL, 0,
        -1);
    say(talk.questions, &(struct served_answer){ .offset = 700, .len = 300, .at = 0 }, NULL, 0, -1);
    assert_int_equal(im_source_read_some(talk.source, buf, sizeof(buf), 650, &got, &err), 0);
    assert_int_equal(got, sizeof(buf));
    for (size_t i = 0; i < sizeof(buf); i++)
        assert_int_equal(buf[i], i < 50 ? (1150 + i) % 251 : (i - 50) % 251);
    /* what is lent is not asked for */
    assert_int_equal(im_source_read_some(talk.source, buf, sizeof(buf), 900, &got, &err), 0);
    assert_int_equal(im_source_ready(talk.source, 900, 100), 100);
    talk_end(&talk);
}

static void a_source_that_makes_no_sense_is_refused(void **state)
{
    static const struct {
        const char *what;
        struct served_answer answer;
        size_t memory; /* 0: none */
        bool unsealed;
    } rows[] = {
        { "a name beyond the text", { .len = SIZE, .offset = 5, .text = 4 }, 0, false },
        { "a long name", { .len = SIZE, .offset = 2000, .text = 2000 }, 0, false },
        { "a size that no file has", { .len = UINT64_MAX, .offset = 4, .text = 4 }, 0, false },
        { "endless text", { .len = SIZE, .offset = 4, .text = UINT64_C(1) << 40 }, 0, false },
        { "memory that may shrink", opened, MEMORY, true },
        { "memory that is smaller", opened, MEMORY / 2, false },
        { "no memory", opened, 0, false },
        { "memory nobody spoke of", { .len = SIZE, .offset = 4, .text = 4 }, MEMORY, false },
        { "memory of no size",
          { .flags = SERVED_FILE, .len = SIZE, .offset = 4, .text = 4 },
          MEMORY,
          false },
        { "a failure that is none", { .number = 100000 }, 0, false },
        { "a failure without end",
          { .number = ENOENT, .text = sizeof(struct served_failure) + 1 },
          0,
          false },
    };
    static const char text[2000] = NAME;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int fd = rows[i].memory ? memory_of(rows[i].memory, !rows[i].unsealed) : -1;
        size_t len = rows[i].answer.text < sizeof(text) ? rows[i].answer.text : sizeof(text);
        struct im_error err = { 0 };
        struct talk talk;

        talk_begin(&talk);
        say(talk.questions, &rows[i].answer, text, len, fd);
        (void)close(fd);
        if (served_open_by(&talk.peer, &talk.source, &err) != -EPROTO)
            fail_msg("%s was taken: %s", rows[i].what, err.message);
        talk.source = NULL;
        talk_end(&talk);
    }
}

/* A pipe, an empty file, a file of SIZE bytes; none. */
enum descriptor { NONE, PIPE, EMPTY, WHOLE };

static int descriptor_of(enum descriptor kind)
{
    int ends[2];

    if (kind == NONE)
        return -1;
    if (kind == PIPE) {
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        (void)close(ends[1]);
        return ends[0];
    }
    return memory_of(kind == WHOLE ? SIZE : 0, false);
}

static void bytes_that_make_no_sense_are_refused(void **state)
{
    static const struct {
        const char *what;
        struct served_answer answer;
        enum descriptor descriptor;
        int wanted;
    } rows[] = {
        { "neighbour", { .offset = 0, .len = SIZE, .flags = SERVED_FILE }, WHOLE, 0 },
        { "neighbour", { .offset = SIZE - 10, .len = 10, .at = MEMORY - 10 }, NONE, 0 },
        { "none", { .offset = SIZE - 10, .len = 0 }, NONE, -EPROTO },
        { "those behind", { .offset = SIZE - 9, .len = 9 }, NONE, -EPROTO },
        { "those before", { .offset = 0, .len = 10 }, NONE, -EPROTO },
        { "beyond the end", { .offset = SIZE - 10, .len = 11 }, NONE, -EPROTO },
        { "round the world", { .offset = SIZE - 10, .len = UINT64_MAX }, NONE, -EPROTO },
        { "round it once more", { .offset = UINT64_MAX - 10, .len = SIZE + 1 }, NONE, -EPROTO },
        { "behind the memory",
          { .offset = SIZE - 10, .len = 10, .at = MEMORY - 9 },
          NONE,
          -EPROTO },
        { "far from it", { .offset = SIZE - 10, .len = 10, .at = UINT64_MAX }, NONE, -EPROTO },
        { "a file nobody sent", { .offset = 0, .len = SIZE, .flags = SERVED_FILE }, NONE, -EPROTO },
        { "a file nobody spoke of", { .offset = SIZE - 10, .len = 10 }, WHOLE, -EPROTO },
        { "a pipe", { .offset = 0, .len = SIZE, .flags = SERVED_FILE }, PIPE, -EPROTO },
        { "an empty file", { .offset = 0, .len = SIZE, .flags = SERVED_FILE }, EMPTY, -EPROTO },
        { "behind a file",
          { .offset = 0, .len = SIZE, .flags = SERVED_FILE, .at = 1 },
          WHOLE,
          -EPROTO },
        { "with text", { .offset = SIZE - 10, .len = 10, .text = 1 }, NONE, -EPROTO },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int fd = descriptor_of(rows[i].descriptor);
        struct im_error err = { 0 };
        struct talk talk;
        uint8_t byte;

        open_well(&talk);
        say(talk.questions, &rows[i].answer, "x", rows[i].answer.text, fd);
        (void)close(fd);
        if (im_source_read(talk.source, &byte, 1, SIZE - 10, &err) != rows[i].wanted)
            fail_msg("%s: %s", rows[i].what, err.message);
        if (rows[i].wanted < 0) /* and nothing is believed any more */
            assert_int_equal(im_source_read(talk.source, &byte, 1, SIZE - 10, &err), -EAGAIN);
        talk_end(&talk);
    }
}

static void other_answers_are_bounded(void **state)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(10);
    uint64_t at, len;
    struct talk talk;
    int fd;

    (void)state;
    open_well(&talk);
    say(talk.questions, &(struct served_answer){ .len = UINT64_MAX }, NULL, 0, -1);
    assert_int_equal(im_source_ready(talk.source, 0, 50), 50);
    say(talk.questions, &(struct served_answer){ .offset = 0, .len = 10 }, NULL, 0, -1);
    assert_int_equal(im_source_local(talk.source, 0, 10, &fd, &at, &len), -EOPNOTSUPP);
    say(talk.questions, &(struct served_answer){ .text = 10 }, "0123456789", 10, -1);
    assert_int_equal(talk.source->ops->identify(talk.source, &text), 0);
    im_buffer_clear(&text);
    say(talk.control, &(struct served_answer){ .text = 11 }, "0123456789a", 11, -1);
    assert_int_equal(talk.source->ops->proven(talk.source, &text), -EPROTO);
    assert_int_equal(text.len, 0);
    talk_end(&talk);
}

/* A descriptor of a file is good as long as the source is, whatever is read meanwhile. */
static void a_file_stays_open(void **state)
{
    struct im_error err = { 0 };
    uint64_t at, len;
    uint8_t byte;
    struct talk talk;
    int file = memory_of(SIZE, false), fd, same;

    (void)state;
    open_well(&talk);
    say(talk.questions, &(struct served_answer){ .len = 1000, .flags = SERVED_FILE }, NULL, 0,
        file);
    assert_int_equal(im_source_local(talk.source, 0, 10, &fd, &at, &len), 0);
    say(talk.questions, &(struct served_answer){ .offset = 1000, .len = 10 }, NULL, 0, -1);
    assert_int_equal(im_source_read(talk.source, &byte, 1, 1000, &err), 0);
    assert_int_equal(pread(fd, &byte, 1, 100), 1);
    assert_int_equal(byte, 100);
    say(talk.questions, &(struct served_answer){ .len = 1000, .flags = SERVED_FILE }, NULL, 0,
        file);
    assert_int_equal(im_source_local(talk.source, 0, 10, &same, &at, &len), 0);
    assert_int_equal(same, fd); /* not one for every question */
    (void)close(file);
    talk_end(&talk);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void failures_are_made_printable(void **state)
{
    struct served_failure failure = { .code = "Bad Code" };
    const struct served_answer answer = { .number = EIO, .text = sizeof(failure) };
    struct im_error err = { 0 };
    struct talk talk;
    uint8_t byte;

    (void)state;
    memset(failure.message, '\n', sizeof(failure.message)); /* and no end */
    open_well(&talk);
    say(talk.questions, &answer, &failure, sizeof(failure), -1);
    assert_int_equal(im_source_read(talk.source, &byte, 1, 0, &err), -EIO);
    assert_string_equal(err.code, "Failed");
    assert_null(strchr(err.message, '\n'));
    for (int i = 0; i < 100; i++) { /* more words than are remembered */
        (void)snprintf(failure.code, sizeof(failure.code), "Code%d", i);
        say(talk.questions, &answer, &failure, sizeof(failure), -1);
        assert_int_equal(im_source_read(talk.source, &byte, 1, 0, &err), -EIO);
        assert_string_equal(err.code, i < 30 ? failure.code : err.code);
    }
    talk_end(&talk);
}

static void an_end_in_an_answer_is_one(void **state)
{
    struct im_error err = { 0 };
    struct talk talk;
    uint8_t byte;

    (void)state;
    open_well(&talk);
    assert_int_equal(send(talk.questions, "half", 4, 0), 4);
    (void)shutdown(talk.questions, SHUT_RDWR);
    assert_int_equal(im_source_read(talk.source, &byte, 1, 0, &err), -EAGAIN);
    assert_string_equal(err.code, "FetcherLost");
    talk_end(&talk);
}

/* ---- sending and receiving ---- */

/* Of both processes: how often a signal came in its way. */
static atomic_int *interrupted;

static void count_signal(int number)
{
    (void)number;
    (*interrupted)++;
}

/* From now on a signal each 20 ms, which ends system calls early. */
static void be_interrupted(void)
{
    const struct sigaction action = { .sa_handler = count_signal };
    const struct itimerval often = { { 0, 20000 }, { 0, 20000 } };

    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
}

static void be_left_alone(void)
{
    assert_int_equal(setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL), 0);
}

/* Wait until `times` more signals came to either process, or it had a minute for that. */
static void wait_for_signals(int times)
{
    int until = *interrupted + times;
    time_t end = time(NULL) + 60;

    while (*interrupted < until && time(NULL) < end)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

#define LONG (4u << 20) /* more than a socket takes at once */

/* The first byte is sent after the receiver was interrupted, and the first is received after the
 * sender was, with the socket full. */
static void signals_lose_no_byte(void **state)
{
    static uint8_t text[LONG], got[LONG];
    uint8_t head[4];
    int ends[2], fd, status, r;
    pid_t pid;

    (void)state;
    interrupted =
        mmap(NULL, sizeof(*interrupted), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(interrupted != MAP_FAILED);
    for (size_t i = 0; i < LONG; i++)
        text[i] = (uint8_t)(i % 251);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        wait_for_signals(3);
        be_interrupted();
        r = served_send(ends[1], "head", 4, text, LONG, STDIN_FILENO);
        be_left_alone();
        _exit(r == 0 ? 0 : 1);
    }
    be_interrupted();
    r = served_receive(ends[0], head, sizeof(head), &fd, NULL, NULL);
    be_left_alone();
    assert_int_equal(r, 0);
    assert_memory_equal(head, "head", 4);
    assert_true(fd >= 0);
    (void)close(fd);
    wait_for_signals(3);
    assert_int_equal(served_receive(ends[0], got, LONG, &fd, NULL, NULL), 0);
    assert_memory_equal(got, text, LONG);
    assert_int_equal(fd, -1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    (void)munmap(interrupted, sizeof(*interrupted));
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* One descriptor may come where it was asked for. */
static void send_descriptors(int socket, size_t count)
{
    const int fds[2] = { STDIN_FILENO, STDERR_FILENO };
    union {
        struct cmsghdr head;
        char buf[CMSG_SPACE(sizeof(fds))];
    } control = { .head = { .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS,
                            .cmsg_len = CMSG_LEN(count * sizeof(int)) } };
    struct iovec piece = { (void *)"x", 1 };
    const struct msghdr message = { .msg_iov = &piece,
                                    .msg_iovlen = 1,
                                    .msg_control = control.buf,
                                    .msg_controllen = CMSG_SPACE(count * sizeof(int)) };

    memcpy(CMSG_DATA(&control.head), fds, count * sizeof(int));
    assert_int_equal(sendmsg(socket, &message, 0), 1);
}

static int lowest_free(void)
{
    int fd = dup(STDIN_FILENO);

    (void)close(fd);
    return fd;
}

static void more_descriptors_than_were_asked_for_are_not_kept(void **state)
{
    static const struct {
        size_t count;
        bool wanted;
        int r;
    } rows[] = { { 1, true, 0 }, { 2, true, -EPROTO }, { 1, false, 0 }, { 2, false, 0 } };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int ends[2], fd = -1, lowest;
        char byte;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        lowest = lowest_free();
        send_descriptors(ends[1], rows[i].count);
        assert_int_equal(served_receive(ends[0], &byte, 1, rows[i].wanted ? &fd : NULL, NULL, NULL),
                         rows[i].r);
        assert_int_equal(fd, rows[i].wanted && rows[i].r == 0 ? lowest : -1);
        if (fd >= 0)
            (void)close(fd);
        assert_int_equal(lowest_free(), lowest);
        (void)close(ends[0]);
        (void)close(ends[1]);
    }
}

/* ---- a process ---- */

/* A source that heals: what failed before says nothing of the result. */
static int finish_healed(struct im_source *source, struct im_error *err)
{
    (void)source;
    (void)im_fail(err, EIO, "the first try failed");
    return 0;
}

static int memory_of_none(const struct im_source *source, uint64_t *ret_len)
{
    (void)source;
    (void)ret_len;
    return -1;
}

static void close_nothing(struct im_source *source)
{
    (void)source;
}

static const struct im_source_ops healed_ops = {
    .name = "healed", .finish = finish_healed, .memory = memory_of_none, .close = close_nothing
};

static int open_healed(const char *spec, struct im_source **ret_source, struct im_error *err)
{
    (void)err;
    *ret_source = im_source_new(sizeof(struct im_source), &healed_ops, spec);
    return *ret_source ? 0 : -ENOMEM;
}

static void what_healed_is_no_failure(void **state)
{
    struct im_source *source = NULL;
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_served_open(open_healed, "x", &source, &err), 0);
    if (im_source_finish(source, &err) < 0)
        fail_msg("%s", err.message);
    im_source_close(source);
}

static int open_never(const char *spec, struct im_source **ret_source, struct im_error *err)
{
    (void)ret_source;
    return im_fail_code(err, ENOENT, "PendingUpload", "%s of %d", spec, (int)getpid());
}

static void failures_come_whole_and_a_process_stays(void **state)
{
    struct im_source *source = NULL;
    struct im_error err = { 0 };
    char before[IM_ERROR_MAX], mine[64];

    (void)state;
    assert_int_equal(im_served_prepare(open_never, "nothing", &err), 0);
    assert_int_equal(im_served_open(open_never, "nothing", &source, &err), -ENOENT);
    assert_string_equal(err.code, "PendingUpload");
    (void)snprintf(mine, sizeof(mine), "nothing of %d", (int)getpid());
    assert_string_not_equal(err.message, mine);
    memcpy(before, err.message, sizeof(before));
    assert_int_equal(im_served_open(open_never, "nothing", &source, &err), -ENOENT);
    assert_string_equal(err.message, before);
    assert_int_equal(im_served_open(open_never, "nothing else", &source, &err), -ENOENT);
    assert_string_not_equal(strrchr(err.message, ' '), strrchr(before, ' '));
}

/* What the process is let do that has spoken with the world, as letters in its failure. */
static int open_trying(const char *spec, struct im_source **ret_source, struct im_error *err)
{
    int given IM_CLOSE = open(spec, O_RDONLY | O_CLOEXEC);
    int changed IM_CLOSE = open(spec, O_RDWR | O_CLOEXEC);
    int other IM_CLOSE = open("/proc/self/environ", O_RDONLY | O_CLOEXEC);
    int made IM_CLOSE = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    int reached IM_CLOSE = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pid_t pid = fork();

    (void)ret_source;
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        (void)waitpid(pid, NULL, 0);
    (void)execl("/nonexistent", "nonexistent", NULL);
    return im_fail_code(err, ENOENT, "PendingUpload", "let:%s%s%s%s%s%s%s", given >= 0 ? "r" : "",
                        changed >= 0 ? "W" : "", other >= 0 ? "R" : "", made >= 0 ? "M" : "",
                        reached >= 0 ? "n" : "", pid > 0 ? "F" : "", errno == ENOENT ? "X" : "");
}

/* valgrind makes calls of its own, and what `make coverage` builds is confined by nothing. */
static bool cannot_be_confined(void)
{
    return getenv("UNDER_VALGRIND") || getenv("UNCONFINED");
}

static void it_is_let_read_what_it_opens_and_no_more(void **state)
{
    char path[] = "/tmp/test-served-XXXXXX";
    struct im_source *source = NULL;
    struct im_error err = { 0 };
    int fd, r;

    (void)state;
    if (cannot_be_confined() || im_confine_check(NULL, &err) == -ENOTSUP)
        skip();
    fd = mkstemp(path);
    assert_true(fd >= 0);
    r = im_served_open(open_trying, path, &source, &err);
    (void)close(fd);
    (void)unlink(path);
    assert_int_equal(r, -ENOENT);
    /* a sanitizer reads /proc and starts a helper */
    assert_string_equal(err.message, IM_SANITIZED ? "let:rRnF" : "let:rn");
}

static int open_dying(const char *spec, struct im_source **ret_source, struct im_error *err)
{
    (void)spec;
    (void)ret_source;
    (void)err;
    (void)raise(SIGKILL);
    return 0;
}

static void the_end_of_the_process_is_told(void **state)
{
    struct im_source *source = NULL;
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_served_open(open_dying, "x", &source, &err), -EAGAIN);
    assert_string_equal(err.code, "FetcherLost");
    assert_non_null(strstr(err.message, "by signal 9 (KILL)"));
    assert_int_equal(im_error_status(&err), IM_TRANSIENT);
}

/* In a process of its own, after the one that fetched has ended. */
static int open_offline(void)
{
    struct im_confine confine = IM_CONFINE;
    struct im_source *source = NULL;
    struct im_error err = { 0 };

    confine.network = confine.programs = true;
    if (im_confine_begin(&confine, &err) < 0 || im_confine_self(&confine, &err) < 0 ||
        im_served_prepare(open_dying, "x", &err) < 0 || im_confine_offline(&err) < 0 ||
        im_served_open(open_dying, "x", &source, &err) != -EAGAIN)
        return 1;
    return im_served_open(open_dying, "x", &source, &err) == -EAGAIN &&
                   strcmp(err.code, "FetcherLost") == 0 && strstr(err.message, "network")
               ? 0
               : 2;
}

static void who_is_offline_starts_none(void **state)
{
    pid_t pid;
    int status;

    (void)state;
    if (cannot_be_confined() || im_confine_check(NULL, NULL) == -ENOTSUP)
        skip();
    pid = fork();
    if (pid == 0)
        _exit(open_offline());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* In a process of its own, which is confined as often as the kernel has it (16 times), so that the
 * one that fetches cannot be once more; its standard error is `fd`. */
static int fetch_from_too_deep(int fd)
{
    const struct landlock_ruleset_attr devices = { .handled_access_fs =
                                                       LANDLOCK_ACCESS_FS_MAKE_BLOCK };
    int rules = (int)syscall(SYS_landlock_create_ruleset, &devices, sizeof(devices), 0);
    struct im_source *source = NULL;
    struct im_error err = { 0 };
    int times = 0;

    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    while (times < 1000 && syscall(SYS_landlock_restrict_self, rules, 0) == 0)
        times++;
    if (errno != E2BIG || dup2(fd, STDERR_FILENO) < 0)
        return 1;
    return im_served_open(open_never, "x", &source, &err) == -EAGAIN ? 0 : 2;
}

static void why_it_cannot_be_confined_is_told(void **state)
{
    char said[IM_ERROR_MAX + 100] = "";
    int ends[2], status;
    size_t len = 0;
    ssize_t n;
    pid_t pid;

    (void)state;
    if (cannot_be_confined() || im_confine_check(NULL, NULL) == -ENOTSUP)
        skip();
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0)
        _exit(fetch_from_too_deep(ends[1]));
    (void)close(ends[1]);
    while (len + 1 < sizeof(said) && (n = read(ends[0], said + len, sizeof(said) - 1 - len)) > 0)
        len += (size_t)n;
    (void)close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_string_equal(said, "imaging-toolkit: error: the process that fetches: cannot confine "
                              "this process: Argument list too long\n");
}

static int open_waiting(const char *spec, struct im_source **ret_source, struct im_error *err)
{
    (void)spec;
    (void)ret_source;
    while (im_cancel_check(err) == 0)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    return -ECANCELED;
}

static void a_wish_to_stop_is_passed_on(void **state)
{
    struct im_source *source = NULL;
    struct im_error err = { 0 };
    int r;

    (void)state;
    assert_int_equal(im_served_prepare(open_waiting, "x", &err), 0);
    im_cancelled = true; /* the process was started before, and does not know */
    r = im_served_open(open_waiting, "x", &source, &err);
    im_cancelled = false;
    assert_int_equal(r, -ECANCELED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_answers_are_taken),
        cmocka_unit_test(a_source_that_makes_no_sense_is_refused),
        cmocka_unit_test(bytes_that_make_no_sense_are_refused),
        cmocka_unit_test(other_answers_are_bounded),
        cmocka_unit_test(a_file_stays_open),
        cmocka_unit_test(an_end_in_an_answer_is_one),
        cmocka_unit_test(signals_lose_no_byte),
        cmocka_unit_test(more_descriptors_than_were_asked_for_are_not_kept),
        cmocka_unit_test(failures_come_whole_and_a_process_stays),
        cmocka_unit_test(what_healed_is_no_failure),
        cmocka_unit_test(it_is_let_read_what_it_opens_and_no_more),
        cmocka_unit_test(the_end_of_the_process_is_told),
        cmocka_unit_test(who_is_offline_starts_none),
        cmocka_unit_test(why_it_cannot_be_confined_is_told),
        cmocka_unit_test(a_wish_to_stop_is_passed_on),
        cmocka_unit_test(failures_are_made_printable), /* last: it fills the memory for words */
    };

    if (getenv("UNDER_VALGRIND")) /* which cannot end a process whose calls are filtered */
        cmocka_set_skip_filter("the_end_of_the_process_is_told");
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* fuzz-served - what a process that fetches might answer (source/served.h).
 *
 * An input is eight bytes, which say what is asked, and then all that is answered; its last 64
 * bytes are answered on the second socket, too.  A finding is a report of a sanitizer, or a source
 * that gives more than it was asked for, or than it has.
 *
 * A program of its own beside those of fuzz-image.h; without libFuzzer main is fuzz-bytes.c's. */

#include <config.h>

#include "fuzz/fuzz-bytes.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "source/served-inner.h"

#define ORDERS  8u
#define CONTROL 64u
#define MEMORY  65536u

/* Memory as an honest process would send it. */
static int make_memory(void)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, MEMORY) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
        abort();
    return fd;
}

/* All answers, before a question; then the end. */
static void answer(int socket, const uint8_t *data, size_t len, int fd)
{
    if (len > 0 && served_send(socket, data, len, NULL, 0, fd) < 0)
        abort();
    (void)shutdown(socket, SHUT_WR);
}

static void read_some(struct im_source *source, uint64_t offset)
{
    uint8_t *buf = malloc(512); /* a sanitizer sees its end */
    size_t got = 0;

    if (!buf)
        abort();
    if (im_source_read_some(source, buf, 512, offset, &got, NULL) == 0 &&
        (got > 512 || (got > 0 && offset + got > source->size)))
        fault("more bytes than there are");
    free(buf);
}

static void ask_files(struct im_source *source, uint64_t offset)
{
    uint64_t at, len;
    int fd;

    if (im_source_local(source, offset, 512, &fd, &at, &len) == 0 && (len > 512 || fd < 0))
        fault("more of a file than was asked for");
}

static void ask_texts(struct im_source *source)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(256);

    (void)source->ops->identify(source, &text);
    (void)source->ops->proven(source, &text);
    (void)source->ops->trust(source, "x", 1);
    if (text.len > 256)
        fault("more text than was asked for");
}

static void ask(struct im_source *source, unsigned order)
{
    uint64_t offset = source->size / 32 * (order / 8);

    switch (order % 8) {
    case 0:
        if (im_source_ready(source, offset, 1000) > 1000)
            fault("more is ready than was asked for");
        break;
    case 1:
        ask_files(source, offset);
        break;
    case 2:
        ask_texts(source);
        break;
    case 3:
        (void)im_source_finish(source, NULL);
        break;
    default:
        read_some(source, offset);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    int questions[2], control[2], fd = make_memory();
    size_t second = len < CONTROL ? len : CONTROL;
    struct im_source *source = NULL;
    struct served_peer peer;

    if (len < ORDERS || len > MEMORY || socketpair(AF_UNIX, SOCK_STREAM, 0, questions) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, control) < 0) {
        (void)close(fd);
        return 0;
    }
    answer(questions[1], data + ORDERS, len - ORDERS, fd);
    answer(control[1], data + len - second, second, -1);
    served_peer_init(&peer, questions[0], control[0], 0);
    if (served_open_by(&peer, &source, NULL) == 0)
        for (size_t i = 0; i < ORDERS; i++)
            ask(source, data[i]);
    im_source_close(source);
    served_peer_end(&peer);
    (void)close(questions[1]);
    (void)close(control[1]);
    (void)close(fd);
    return 0;
}

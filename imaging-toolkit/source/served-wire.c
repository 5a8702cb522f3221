/* served-wire - a served source and the process that fetches it: sending and receiving. */

#include <config.h>

#include "source/served-inner.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

/* One descriptor, and no room for more. */
union control {
    struct cmsghdr head;
    char buf[CMSG_SPACE(sizeof(int))];
};

static void put_descriptor(struct msghdr *message, union control *control, int fd)
{
    struct cmsghdr *head = &control->head;

    *control = (union control){ 0 };
    message->msg_control = control->buf;
    message->msg_controllen = CMSG_SPACE(sizeof(fd));
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(head), &fd, sizeof(fd));
}

/* Pass over what has been sent. */
static void advance(struct msghdr *message, size_t sent)
{
    message->msg_control = NULL;
    message->msg_controllen = 0;
    while (message->msg_iovlen > 0 && sent >= message->msg_iov->iov_len) {
        sent -= message->msg_iov->iov_len;
        message->msg_iov++;
        message->msg_iovlen--;
    }
    if (message->msg_iovlen > 0) {
        message->msg_iov->iov_base = (char *)message->msg_iov->iov_base + sent;
        message->msg_iov->iov_len -= sent;
    }
}

int served_send(int socket, const void *head, size_t head_len, const void *text, size_t text_len,
                int fd)
{
    struct iovec piece[] = { { (void *)head, head_len }, { (void *)text, text_len } };
    struct msghdr message = { .msg_iov = piece, .msg_iovlen = text_len > 0 ? 2 : 1 };
    union control control;

    if (fd >= 0)
        put_descriptor(&message, &control, fd);
    while (message.msg_iovlen > 0) {
        ssize_t n = sendmsg(socket, &message, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        advance(&message, (size_t)n);
    }
    return 0;
}

/* The descriptor that came with a piece, if one did; it is the caller's. */
static int take_descriptor(struct msghdr *message, int *fd)
{
    struct cmsghdr *head = CMSG_FIRSTHDR(message);

    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
        head->cmsg_len == CMSG_LEN(sizeof(*fd))) {
        im_cleanup_close(fd); /* a second one is more than was said */
        memcpy(fd, CMSG_DATA(head), sizeof(*fd));
    }
    return message->msg_flags & MSG_CTRUNC ? -EPROTO : 0;
}

int served_receive(int socket, void *buf, size_t len, int *ret_fd, int (*wait)(void *arg),
                   void *arg)
{
    int fd IM_CLOSE = -1;
    size_t done = 0;

    while (done < len) {
        struct iovec piece = { (char *)buf + done, len - done };
        struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };
        union control control;
        int r = wait ? wait(arg) : 0;
        ssize_t n;

        if (r < 0)
            return r;
        if (ret_fd) { /* without: descriptors that come are closed by the kernel */
            message.msg_control = control.buf;
            message.msg_controllen = CMSG_LEN(sizeof(fd));
        }
        n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ECONNRESET;
        r = ret_fd ? take_descriptor(&message, &fd) : 0;
        if (r < 0)
            return r;
        done += (size_t)n;
    }
    if (ret_fd)
        *ret_fd = im_steal_fd(&fd);
    return 0;
}

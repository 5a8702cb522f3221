/* wait - sleep until something in a place may have been let go.
 *
 * inotify tells at once of a reservation that ends, shrinks or whose process dies, and of an entry
 * nobody uses any more.  What it does not tell (foreign files, a process that dies between its
 * file's closing and the end of its lock) is seen after half a second. */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "cache/place.h"
#include "core/cancel.h"

#define PERIOD_MS 500

static void add(int fd, int dir, uint32_t events)
{
    char path[40];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", dir);
    (void)inotify_add_watch(fd, path, events | IN_ONLYDIR);
}

void im_watch_prepare(struct im_watch *watch, const struct im_place *place)
{
    if (watch->fd >= 0)
        return;
    watch->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch->fd < 0)
        return;
    /* whoever lets an entry go marks when that was */
    add(watch->fd, place->scratch, IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM);
    add(watch->fd, place->entries, IN_ATTRIB | IN_DELETE | IN_MOVED_TO);
    add(watch->fd, place->state, IN_MOVED_TO); /* of new settings */
}

int im_watch_wait(struct im_watch *watch, struct im_error *err)
{
    struct pollfd poll_fd = { .fd = watch->fd, .events = POLLIN }; /* -1 is passed over */
    char events[4096];
    int r = im_cancel_check(err);

    if (r < 0)
        return r;
    (void)poll(&poll_fd, 1, PERIOD_MS);
    while (watch->fd >= 0 && read(watch->fd, events, sizeof(events)) > 0)
        continue;
    return im_cancel_check(err);
}

void im_watch_done(struct im_watch *watch)
{
    if (watch->fd >= 0)
        (void)close(watch->fd);
    watch->fd = -1;
}

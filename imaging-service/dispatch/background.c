/* background - start, wake and stop a thread. */

#include <config.h>

#include "dispatch/background.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"

static void *run(void *arg)
{
    struct background *background = arg;

    background->work(background->arg);
    return NULL;
}

/* Signals are for the main thread. */
static int start_thread(struct background *background)
{
    sigset_t all, before;
    int r;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&background->thread, NULL, run, background);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

int background_start(struct background *background, const char *what, void (*work)(void *arg),
                     void *arg, struct im_error *err)
{
    int r;

    background->work = work;
    background->arg = arg;
    background->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = background->wake_fd < 0 ? errno : start_thread(background);
    if (r == 0)
        return 0;
    im_cleanup_close(&background->wake_fd);
    background->wake_fd = -1;
    return im_fail_errno(err, r, "cannot start %s", what);
}

bool background_stops(const struct background *background)
{
    return atomic_load(&background->stop);
}

void background_drain(struct background *background)
{
    uint64_t count;

    (void)!read(background->wake_fd, &count, sizeof(count));
}

void background_wait(struct background *background, int ms)
{
    struct pollfd fd = { .fd = background->wake_fd, .events = POLLIN };

    if (!background_stops(background) && poll(&fd, 1, ms) > 0)
        background_drain(background);
}

void background_wake(struct background *background)
{
    (void)eventfd_write(background->wake_fd, 1);
}

void background_stop(struct background *background)
{
    atomic_store(&background->stop, true);
    background_wake(background);
    (void)pthread_join(background->thread, NULL);
    (void)close(background->wake_fd);
}

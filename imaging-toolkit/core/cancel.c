/* cancel - the wish to stop. */

#include <config.h>

#include "core/cancel.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

volatile bool im_cancelled;

static void on_signal(int number)
{
    (void)number;
    im_cancelled = true;
}

void im_cancel_catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal }, before;

    /* no SA_RESTART: a blocked read or write returns and the loop around it looks at the flag */
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    /* the terminal is gone; under nohup that is no reason */
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        (void)sigaction(SIGHUP, &action, NULL);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
}

int im_cancel_check(struct im_error *err)
{
    if (im_cancelled)
        return im_fail(err, ECANCELED, "cancelled by a signal; nothing was left behind");
    return 0;
}

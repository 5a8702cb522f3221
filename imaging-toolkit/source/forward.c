/* forward - the window of sources that come in order and only once. */

#include <config.h>

#include "source/forward.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* How far back a format may look: the promise of core/source.h. */
#define LOOK_BACK (1u << 20)
/* Read at once; the window holds what may be looked at again and one such piece. */
#define PIECE  (1u << 20)
#define WINDOW (LOOK_BACK + PIECE)

int im_forward_init(struct im_forward *forward, struct im_error *err)
{
    *forward = (struct im_forward){ .window = malloc(WINDOW) };
    return forward->window ? 0 : im_fail(err, ENOMEM, "out of memory");
}

void im_forward_done(struct im_forward *forward)
{
    free(forward->window);
    forward->window = NULL;
}

/* Make room for another piece by forgetting what lies further back than LOOK_BACK. */
static void make_room(struct im_forward *forward)
{
    size_t forget;

    if (forward->held + PIECE <= WINDOW)
        return;
    forget = forward->held - LOOK_BACK;
    memmove(forward->window, forward->window + forget, LOOK_BACK);
    forward->start += forget;
    forward->held = LOOK_BACK;
}

int im_forward_read(struct im_forward *forward, const char *name, im_forward_fn next, void *arg,
                    void *buf, size_t len, uint64_t offset, size_t *ret_len, struct im_error *err)
{
    size_t done = 0;

    if (offset < forward->start)
        return im_fail(err, EOPNOTSUPP,
                       "this layout needs byte %" PRIu64
                       " again, but %s is already at byte %" PRIu64 "; give the image as a file",
                       offset, name, forward->start + forward->held);
    while (done < len) {
        uint64_t have = forward->start + forward->held;
        size_t n;
        int r;

        if (offset + done < have) {
            n = (size_t)im_min(len - done, have - (offset + done));
            memcpy((uint8_t *)buf + done, forward->window + (offset + done - forward->start), n);
            done += n;
            continue;
        }
        if (forward->ended)
            break;
        make_room(forward);
        r = next(arg, forward->window + forward->held, PIECE, &n, err);
        if (r < 0)
            return r;
        forward->held += n;
        forward->ended = n == 0;
    }
    *ret_len = done;
    return 0;
}

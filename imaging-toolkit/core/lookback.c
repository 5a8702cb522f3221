/* lookback - a window over the bytes that came last. */

#include <config.h>

#include "core/lookback.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* Asked for at once; the window holds what may be looked at again and one such piece. */
#define PIECE  (1u << 20)
#define WINDOW (IM_LOOKBACK + PIECE)

struct im_lookback *im_lookback_new(void)
{
    struct im_lookback *back = calloc(1, sizeof(*back));

    if (!back)
        return NULL;
    back->window = malloc(WINDOW);
    return back->window ? back : im_lookback_free(back);
}

struct im_lookback *im_lookback_free(struct im_lookback *back)
{
    if (back)
        free(back->window);
    free(back);
    return NULL;
}

/* Make room for another piece by forgetting what lies further back than IM_LOOKBACK. */
static void make_room(struct im_lookback *back)
{
    size_t forget;

    if (back->held + PIECE <= WINDOW)
        return;
    forget = back->held - IM_LOOKBACK;
    memmove(back->window, back->window + forget, IM_LOOKBACK);
    back->start += forget;
    back->held = IM_LOOKBACK;
}

static int go_on(struct im_lookback *back, im_more_fn more, void *arg, struct im_error *err)
{
    size_t got = 0;
    int r;

    make_room(back);
    r = more(arg, back->window + back->held, WINDOW - back->held, &got, &back->ended, err);
    if (r == 0)
        back->held += got;
    return r;
}

int im_lookback_read(struct im_lookback *back, const char *what, im_more_fn more, void *arg,
                     void *buf, size_t len, uint64_t offset, size_t *ret_len, struct im_error *err)
{
    size_t done = 0;

    if (offset < back->start)
        return im_fail(err, EOPNOTSUPP,
                       "this layout needs byte %" PRIu64
                       " again, but %s is already at byte %" PRIu64 "; give the image as a file",
                       offset, what, back->start + back->held);
    while (done < len) {
        uint64_t have = back->start + back->held;
        int r;

        if (offset + done < have) {
            size_t n = (size_t)im_min(len - done, have - (offset + done));

            memcpy((uint8_t *)buf + done, back->window + (offset + done - back->start), n);
            done += n;
            continue;
        }
        if (back->ended)
            break;
        r = go_on(back, more, arg, err);
        if (r < 0)
            return r;
    }
    *ret_len = done;
    return 0;
}

int im_lookback_drain(struct im_lookback *back, im_more_fn more, void *arg, struct im_error *err)
{
    int r = 0;

    while (r == 0 && !back->ended)
        r = go_on(back, more, arg, err);
    return r;
}

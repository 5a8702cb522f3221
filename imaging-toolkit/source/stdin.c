/* stdin - standard input as a source: read forwards, with a window to look back into.
 *
 * Headers are read more than once (probe, then open), so the last bytes are kept. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "core/cancel.h"
#include "core/source.h"

/* How far back a format may look: the promise of core/source.h. */
#define LOOK_BACK (1u << 20)
/* Read at once; the window holds what may be looked at again and one such piece. */
#define PIECE  (1u << 20)
#define WINDOW (LOOK_BACK + PIECE)
/* How soon the wish to stop is seen while nothing comes. */
#define CANCEL_LOOK_MS 200

struct standard_input {
    struct im_source base;
    uint8_t *window; /* the bytes from start to start + held */
    uint64_t start;
    size_t held;
    bool ended;
};

/* Make room for another piece by forgetting what lies further back than LOOK_BACK. */
static void make_room(struct standard_input *in)
{
    size_t forget;

    if (in->held + PIECE <= WINDOW)
        return;
    forget = in->held - LOOK_BACK;
    memmove(in->window, in->window + forget, LOOK_BACK);
    in->start += forget;
    in->held = LOOK_BACK;
}

/* Until there is input or its end; looks at the wish to stop, which a signal just before read()
 * would not interrupt. */
static int wait_input(struct im_error *err)
{
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
    int r;

    do {
        r = im_cancel_check(err);
        if (r < 0)
            return r;
    } while (poll(&input, 1, CANCEL_LOOK_MS) <= 0);
    return 0;
}

/* Read what is there; perhaps nothing. */
static int read_piece(struct standard_input *in, struct im_error *err)
{
    ssize_t n;
    int r;

    make_room(in);
    r = wait_input(err);
    if (r < 0)
        return r;
    n = read(STDIN_FILENO, in->window + in->held, PIECE);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n < 0)
        return im_fail_code(err, EIO, "ReadFailed",
                            "cannot read standard input at byte %" PRIu64 ": %s",
                            in->start + in->held, strerrordesc_np(errno));
    in->held += (size_t)n;
    in->ended = n == 0;
    return 0;
}

static int stdin_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                      size_t *ret_len, struct im_error *err)
{
    struct standard_input *in = (struct standard_input *)source;
    size_t done = 0;

    if (offset < in->start)
        return im_fail(err, EOPNOTSUPP,
                       "this layout needs byte %" PRIu64
                       " again, but standard input is already at byte %" PRIu64
                       "; give the image as a file",
                       offset, in->start + in->held);
    while (done < len) {
        uint64_t have = in->start + in->held;
        int r;

        if (offset + done < have) {
            size_t n = (size_t)im_min(len - done, have - (offset + done));

            memcpy((uint8_t *)buf + done, in->window + (offset + done - in->start), n);
            done += n;
            continue;
        }
        if (in->ended)
            break;
        r = read_piece(in, err);
        if (r < 0)
            return r;
    }
    *ret_len = done;
    return 0;
}

static void stdin_close(struct im_source *source)
{
    free(((struct standard_input *)source)->window);
}

static const struct im_source_ops stdin_ops = {
    .name = "stdin",
    .read = stdin_read,
    .close = stdin_close,
};

static int stdin_open(const char *spec, struct im_source **ret_source, struct im_error *err)
{
    struct standard_input *in;
    uint8_t *window;

    (void)spec;
    if (isatty(STDIN_FILENO))
        return im_fail(err, EINVAL, "standard input is a terminal; pipe an image into it");
    window = malloc(WINDOW);
    in = window ? im_source_new(sizeof(*in), &stdin_ops, "standard input") : NULL;
    if (!in) {
        free(window);
        return im_fail(err, ENOMEM, "out of memory");
    }
    in->window = window;
    in->base.size = IM_SIZE_UNKNOWN;
    in->base.sequential = true;
    *ret_source = &in->base;
    return 0;
}

static bool stdin_accepts(const char *spec)
{
    return strcmp(spec, "-") == 0;
}

const struct im_source_type im_source_stdin = {
    .name = "stdin",
    .summary = "-: standard input, where the layout can be read forwards",
    .accepts = stdin_accepts,
    .open = stdin_open,
};

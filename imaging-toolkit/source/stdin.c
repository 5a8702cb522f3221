/* stdin - standard input as a source: read forwards, with a window to look back into.
 *
 * Headers are read more than once (probe, then open), so the last bytes are kept. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "core/cancel.h"
#include "core/lookback.h"
#include "core/source.h"

/* Read at once. */
#define PIECE (1u << 20)
/* How soon the wish to stop is seen while nothing comes. */
#define CANCEL_LOOK_MS 200

struct standard_input {
    struct im_source base;
    struct im_lookback *back;
};

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
static int more(void *arg, void *buf, size_t room, size_t *ret_len, bool *ret_ended,
                struct im_error *err)
{
    const struct im_lookback *back = ((struct standard_input *)arg)->back;
    int r = wait_input(err);
    ssize_t n;

    if (r < 0)
        return r;
    n = read(STDIN_FILENO, buf, im_min(room, PIECE));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n < 0)
        return im_fail_code(err, EIO, "ReadFailed",
                            "cannot read standard input at byte %" PRIu64 ": %s",
                            back->start + back->held, strerrordesc_np(errno));
    *ret_len = (size_t)n;
    *ret_ended = n == 0;
    return 0;
}

static int stdin_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                      size_t *ret_len, struct im_error *err)
{
    struct standard_input *in = (struct standard_input *)source;

    return im_lookback_read(in->back, "standard input", more, in, buf, len, offset, ret_len, err);
}

static void stdin_close(struct im_source *source)
{
    im_lookback_free(((struct standard_input *)source)->back);
}

static const struct im_source_ops stdin_ops = {
    .name = "stdin",
    .read = stdin_read,
    .close = stdin_close,
};

static int stdin_open(const char *spec, struct im_source **ret_source, struct im_error *err)
{
    struct im_lookback *back;
    struct standard_input *in;

    (void)spec;
    if (isatty(STDIN_FILENO))
        return im_fail(err, EINVAL, "standard input is a terminal; pipe an image into it");
    back = im_lookback_new();
    in = back ? im_source_new(sizeof(*in), &stdin_ops, "standard input") : NULL;
    if (!in) {
        im_lookback_free(back);
        return im_fail(err, ENOMEM, "out of memory");
    }
    in->back = back;
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

/* stdin - standard input as a source: read forwards, with a window to look back into. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "core/cancel.h"
#include "core/source.h"
#include "source/forward.h"

/* How soon the wish to stop is seen while nothing comes. */
#define CANCEL_LOOK_MS 200

struct standard_input {
    struct im_source base;
    struct im_forward forward;
    uint64_t taken; /* bytes */
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

static int next_bytes(void *arg, void *buf, size_t len, size_t *ret_len, struct im_error *err)
{
    struct standard_input *in = arg;
    ssize_t n;
    int r;

    do {
        r = wait_input(err);
        if (r < 0)
            return r;
        n = read(STDIN_FILENO, buf, len);
    } while (n < 0 && (errno == EINTR || errno == EAGAIN));
    if (n < 0)
        return im_fail_code(err, EIO, "ReadFailed",
                            "cannot read standard input at byte %" PRIu64 ": %s", in->taken,
                            strerrordesc_np(errno));
    in->taken += (uint64_t)n;
    *ret_len = (size_t)n;
    return 0;
}

static int stdin_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                      size_t *ret_len, struct im_error *err)
{
    struct standard_input *in = (struct standard_input *)source;

    return im_forward_read(&in->forward, source->name, next_bytes, in, buf, len, offset, ret_len,
                           err);
}

static void stdin_close(struct im_source *source)
{
    im_forward_done(&((struct standard_input *)source)->forward);
}

static const struct im_source_ops stdin_ops = {
    .name = "stdin",
    .read = stdin_read,
    .close = stdin_close,
};

static int stdin_open(const char *spec, struct im_source **ret_source, struct im_error *err)
{
    struct standard_input *in;
    int r;

    (void)spec;
    if (isatty(STDIN_FILENO))
        return im_fail(err, EINVAL, "standard input is a terminal; pipe an image into it");
    in = im_source_new(sizeof(*in), &stdin_ops, "standard input");
    if (!in)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_forward_init(&in->forward, err);
    if (r < 0) {
        im_source_close(&in->base);
        return r;
    }
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

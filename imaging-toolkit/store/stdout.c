/* stdout - standard output as a store: bytes in order, zeros written out. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "core/store.h"

static int stdout_write(struct im_store *store, const void *buf, size_t len, uint64_t offset,
                        struct im_error *err)
{
    int r = im_write(STDOUT_FILENO, buf, len);

    (void)store;
    if (r == -ENOSPC || r == -EDQUOT)
        return im_fail_errno(err, -r, "no space behind standard output at byte %" PRIu64, offset);
    if (r < 0)
        return im_fail_code(err, EIO, "CannotWrite",
                            "cannot write standard output at byte %" PRIu64 ": %s", offset,
                            strerrordesc_np(-r));
    return 0;
}

/* A pipe has no name to appear under; a full disk behind it shows at the write. */
static int stdout_commit(struct im_store *store, uint64_t size, struct im_error *err)
{
    (void)store;
    (void)size;
    (void)err;
    return 0;
}

static void stdout_close(struct im_store *store)
{
    (void)store;
}

static const struct im_store_ops stdout_ops = {
    .name = "stdout",
    .write = stdout_write,
    .commit = stdout_commit,
    .close = stdout_close,
};

static int stdout_open(const char *spec, const struct im_store_options *options,
                       struct im_store **ret_store, struct im_error *err)
{
    struct im_store *store;

    (void)spec;
    (void)options;
    if (isatty(STDOUT_FILENO))
        return im_fail(err, EINVAL, "standard output is a terminal; send it to a file or a pipe");
    store = im_store_new(sizeof(*store), &stdout_ops, "standard output");
    if (!store)
        return im_fail(err, ENOMEM, "out of memory");
    store->sequential = true;
    *ret_store = store;
    return 0;
}

static int stdout_check(const char *spec, bool force, uint64_t *ret_free, struct im_error *err)
{
    (void)spec;
    (void)force;
    (void)err;
    *ret_free = IM_SIZE_UNKNOWN;
    return 0;
}

static bool stdout_accepts(const char *spec)
{
    return strcmp(spec, "-") == 0;
}

const struct im_store_type im_store_stdout = {
    .name = "stdout",
    .summary = "-: standard output, zeros written out",
    .accepts = stdout_accepts,
    .open = stdout_open,
    .check = stdout_check,
};

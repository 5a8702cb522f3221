/* store - the part that is the same for every store. */

#include <config.h>

#include "core/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/rate.h"
#include "core/registry.h"

int im_store_open(const char *spec, const struct im_store_options *options,
                  struct im_store **ret_store, struct im_error *err)
{
    for (size_t i = 0; im_store_types[i]; i++)
        if (im_store_types[i]->accepts(spec))
            return im_store_types[i]->open(spec, options, ret_store, err);
    return im_fail(err, EINVAL, "'%s' names no kind of store; give a path or '-'", spec);
}

int im_store_check(const char *spec, bool force, uint64_t *ret_free, struct im_error *err)
{
    for (size_t i = 0; im_store_types[i]; i++)
        if (im_store_types[i]->accepts(spec))
            return im_store_types[i]->check(spec, force, ret_free, err);
    return im_fail(err, EINVAL, "'%s' names no kind of store; give a path or '-'", spec);
}

void *im_store_new(size_t size, const struct im_store_ops *ops, const char *name)
{
    struct im_store *store = calloc(1, size);

    if (!store)
        return NULL;
    store->ops = ops;
    store->fd = -1;
    store->name = strdup(name);
    if (!store->name) {
        free(store);
        return NULL;
    }
    return store;
}

int im_store_write(struct im_store *store, const void *buf, size_t len, uint64_t offset,
                   struct im_error *err)
{
    int r = im_rate_spend(len, err);

    if (r < 0)
        return r;
    r = store->ops->write(store, buf, len, offset, err);
    if (r < 0)
        store->failed = true; /* by whichever thread: none of them takes it back */
    return r;
}

int im_store_share(struct im_store *store, int fd, uint64_t from, uint64_t len, uint64_t offset,
                   struct im_error *err)
{
    return store->ops->share ? store->ops->share(store, fd, from, len, offset, err) : -EOPNOTSUPP;
}

int im_store_clear(struct im_store *store, uint64_t len, uint64_t offset, struct im_error *err)
{
    return store->ops->clear ? store->ops->clear(store, len, offset, err)
                             : im_fail(err, EOPNOTSUPP, "'%s' takes no bytes back", store->name);
}

int im_store_commit(struct im_store *store, uint64_t size, struct im_error *err)
{
    int r = store->ops->commit(store, size, err);

    store->failed |= r < 0;
    return r;
}

struct im_store *im_store_close(struct im_store *store)
{
    if (!store)
        return NULL;
    store->ops->close(store);
    free(store->name);
    free(store);
    return NULL;
}

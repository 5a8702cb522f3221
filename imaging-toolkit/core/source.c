/* source - the part that is the same for every source of bytes. */

#include <config.h>

#include "core/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "core/rate.h"
#include "core/registry.h"
#include "core/trail.h"

static const struct im_source_type *type_of(const char *spec)
{
    for (size_t i = 0; im_source_types[i]; i++)
        if (im_source_types[i]->accepts(spec))
            return im_source_types[i];
    return NULL;
}

int im_source_prepare(const char *spec, struct im_error *err)
{
    const struct im_source_type *type = type_of(spec);

    return type && type->prepare ? type->prepare(spec, err) : 0;
}

bool im_source_is_remote(const char *spec)
{
    const struct im_source_type *type = type_of(spec);

    return type && type->prepare;
}

int im_source_open(const char *spec, struct im_source **ret_source, struct im_error *err)
{
    const struct im_source_type *type = type_of(spec);

    if (type)
        return type->open(spec, ret_source, err);
    return im_fail(err, EINVAL, "'%s' names no kind of source; give a path, an URL or '-'", spec);
}

void *im_source_new(size_t size, const struct im_source_ops *ops, const char *name)
{
    struct im_source *source = calloc(1, size);

    if (!source)
        return NULL;
    source->ops = ops;
    source->name = strdup(name);
    if (!source->name) {
        free(source);
        return NULL;
    }
    return source;
}

/* len, cut off at the source's end. */
static size_t cut(const struct im_source *source, size_t len, uint64_t offset)
{
    if (source->size == IM_SIZE_UNKNOWN)
        return len;
    return offset >= source->size ? 0 : (size_t)im_min(len, source->size - offset);
}

int im_source_fetch(struct im_source *source, void *buf, size_t len, uint64_t offset,
                    size_t *ret_len, struct im_error *err)
{
    size_t kept = source->trail ? im_trail_rest(source->trail, buf, len, offset) : 0;
    int r = 0;

    *ret_len = 0;
    len = cut(source, len, offset);
    if (kept < len)
        r = source->ops->read(source, (uint8_t *)buf + kept, len - kept, offset + kept, ret_len,
                              err);
    source->failed |= r < 0;
    if (r == 0)
        r = im_rate_spend(*ret_len, err);
    *ret_len += kept;
    return r;
}

size_t im_source_ready(struct im_source *source, uint64_t offset, size_t len)
{
    size_t kept = source->trail ? im_trail_rest(source->trail, NULL, len, offset) : 0;

    len = cut(source, len, offset);
    if (kept >= len || !source->ops->ready)
        return len;
    return kept + source->ops->ready(source, offset + kept, len - kept);
}

int im_source_read_some(struct im_source *source, void *buf, size_t len, uint64_t offset,
                        size_t *ret_len, struct im_error *err)
{
    return source->trail ? im_trail_read(source->trail, buf, len, offset, ret_len, err)
                         : im_source_fetch(source, buf, len, offset, ret_len, err);
}

int im_source_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                   struct im_error *err)
{
    size_t got;
    int r = im_source_read_some(source, buf, len, offset, &got, err);

    if (r < 0)
        return r;
    if (got < len)
        return im_fail(err, EBADMSG,
                       "'%s' ends at byte %" PRIu64 ", but %zu bytes at offset %" PRIu64
                       " are needed: the file is truncated",
                       source->name, offset + got, len, offset);
    return 0;
}

int im_source_map(struct im_source *source, uint64_t offset, uint64_t len, struct im_extent *ret,
                  struct im_error *err)
{
    if (source->ops->map)
        return source->ops->map(source, offset, len, ret, err);
    *ret = (struct im_extent){ .offset = offset, .len = len, .zero = false };
    return 0;
}

int im_source_local(struct im_source *source, uint64_t offset, uint64_t len, int *ret_fd,
                    uint64_t *ret_at, uint64_t *ret_len)
{
    if (!source->ops->local)
        return -EOPNOTSUPP;
    return source->ops->local(source, offset, len, ret_fd, ret_at, ret_len);
}

int im_source_finish(struct im_source *source, struct im_error *err)
{
    int r = source->ops->finish ? source->ops->finish(source, err) : 0;

    source->failed |= r < 0;
    return r;
}

struct im_source *im_source_close(struct im_source *source)
{
    if (!source)
        return NULL;
    source->ops->close(source);
    free(source->document);
    free(source->name);
    free(source);
    return NULL;
}

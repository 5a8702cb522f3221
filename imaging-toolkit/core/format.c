/* format - find, recognise and open formats. */

#include <config.h>

#include "core/format.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/registry.h"

static bool is_called(const struct im_format *format, const char *name)
{
    if (strcasecmp(format->name, name) == 0)
        return true;
    for (size_t i = 0; format->aliases && format->aliases[i]; i++)
        if (strcasecmp(format->aliases[i], name) == 0)
            return true;
    return false;
}

const struct im_format *im_format_find(const char *name)
{
    for (size_t i = 0; im_formats[i]; i++)
        if (is_called(im_formats[i], name))
            return im_formats[i];
    return NULL;
}

static int read_probe(struct im_source *source, struct im_probe *probe, struct im_error *err)
{
    int r;

    memset(probe, 0, sizeof(*probe));
    probe->size = source->size;
    r = im_source_read_some(source, probe->head, sizeof(probe->head), 0, &probe->head_len, err);
    if (r < 0 || source->sequential || source->size == IM_SIZE_UNKNOWN ||
        source->size < sizeof(probe->tail))
        return r;
    return im_source_read_some(source, probe->tail, sizeof(probe->tail),
                               source->size - sizeof(probe->tail), &probe->tail_len, err);
}

/* The highest bid; the earlier row wins a tie. */
static const struct im_format *best_of(const struct im_probe *probe, enum im_bid *ret_bid)
{
    const struct im_format *best = NULL;
    enum im_bid best_bid = IM_BID_NO;

    for (size_t i = 0; im_formats[i]; i++) {
        enum im_bid bid = im_formats[i]->probe(probe);

        if (bid > best_bid) {
            best = im_formats[i];
            best_bid = bid;
        }
    }
    *ret_bid = best_bid;
    return best;
}

int im_level_parse(const char *name, enum im_level *ret_level, struct im_error *err)
{
    bool best = strcmp(name, "best") == 0;

    if (!best && strcmp(name, "fast") != 0)
        return im_fail(err, EINVAL, "'%s' is no level; give fast or best", name);
    *ret_level = best ? IM_LEVEL_BEST : IM_LEVEL_FAST;
    return 0;
}

const struct im_format *im_format_certain(const void *p, size_t len)
{
    struct im_probe probe = { .head_len = len < IM_PROBE_HEAD ? len : IM_PROBE_HEAD,
                              .size = IM_SIZE_UNKNOWN };
    const struct im_format *best;
    enum im_bid bid;

    memcpy(probe.head, p, probe.head_len);
    best = best_of(&probe, &bid);
    return bid == IM_BID_CERTAIN ? best : NULL;
}

int im_format_probe(struct im_source *source, const struct im_format **ret_format,
                    struct im_error *err)
{
    struct im_probe probe;
    enum im_bid bid;
    int r = read_probe(source, &probe, err);

    if (r < 0)
        return r;
    *ret_format = best_of(&probe, &bid);
    return 0;
}

const char *im_scratch_default(void)
{
    const char *dir = getenv("TMPDIR");

    return dir && *dir == '/' ? dir : "/var/tmp";
}

int im_format_open(const struct im_format *format, struct im_source *source,
                   const struct im_open *options, struct im_disk **ret_disk, struct im_error *err)
{
    struct im_open with = *options;
    const struct im_format *best;
    struct im_probe probe;
    enum im_bid bid;
    int r = read_probe(source, &probe, err);

    if (r < 0)
        return r;
    best = best_of(&probe, &bid);
    if (best != format && bid == IM_BID_CERTAIN && format->probe(&probe) < IM_BID_CERTAIN)
        return im_fail_code(err, EOPNOTSUPP, "FormatMismatch",
                            "'%s' was declared as %s but it is %s; give -f %s, or the right file",
                            source->name, format->name, best->name, best->name);
    if (!with.scratch)
        with.scratch = im_scratch_default();
    return format->open(source, &with, ret_disk, err);
}

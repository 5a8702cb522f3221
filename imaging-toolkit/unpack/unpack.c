/* unpack - what images are packed in. */

#include <config.h>

#include "unpack/unpack.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

/* By enum im_packing. */
static const struct kind {
    const char *name;
    const char *magic;
    size_t len, at;
} kinds[] = {
    [IM_PACKING_NONE] = { "none", NULL, 0, 0 },
    [IM_PACKING_GZ] = { "gz", "\x1f\x8b\x08", 3, 0 },
    [IM_PACKING_XZ] = { "xz", "\xfd\x37zXZ\0", 6, 0 },
    [IM_PACKING_ZIP] = { "zip", "PK\3\4", 4, 0 },
    [IM_PACKING_OVA] = { "ova", "ustar", 5, 257 }, /* of POSIX and of GNU */
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

const char *im_packing_name(enum im_packing packing)
{
    return kinds[packing].name;
}

int im_packing_parse(const char *name, enum im_packing *ret_packing)
{
    for (size_t i = 0; i < KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0) {
            *ret_packing = (enum im_packing)i;
            return 0;
        }
    return -EINVAL;
}

int im_packing_probe(struct im_source *source, enum im_packing *ret_packing, struct im_error *err)
{
    char head[512];
    size_t got;
    int r = im_source_read_some(source, head, sizeof(head), 0, &got, err);

    if (r < 0)
        return r;
    *ret_packing = IM_PACKING_NONE;
    for (size_t i = 1; i < KINDS; i++)
        if (got >= kinds[i].at + kinds[i].len &&
            memcmp(head + kinds[i].at, kinds[i].magic, kinds[i].len) == 0)
            *ret_packing = (enum im_packing)i;
    return 0;
}

char *im_member_title(const struct im_source *source, const char *member)
{
    return im_asprintf("%s: %s", source->name, member);
}

static int wrap_stream(struct im_source **source, const struct im_unpack *unpack,
                       struct im_error *err)
{
    char *name IM_FREE = strdup((*source)->name);

    if (!name)
        return im_fail(err, ENOMEM, "out of memory");
    return unpack->packing == IM_PACKING_GZ
               ? im_gz_wrap(source, name, unpack->size, &unpack->limits, err)
               : im_xz_wrap(source, name, unpack->size, &unpack->limits, err);
}

static int wrap(struct im_source **source, const struct im_unpack *unpack,
                struct im_contents *contents, struct im_error *err)
{
    switch (unpack->packing) {
    case IM_PACKING_OVA:
        return im_ova_wrap(source, unpack, contents, err);
    case IM_PACKING_ZIP:
        return im_zip_wrap(source, unpack, contents, err);
    case IM_PACKING_GZ:
    case IM_PACKING_XZ:
        return unpack->disk ? im_fail(err, EINVAL,
                                      "a disk can be chosen of an OVA or a zip file; '%s' (%s) "
                                      "holds one thing",
                                      (*source)->name, im_packing_name(unpack->packing))
                            : wrap_stream(source, unpack, err);
    default:
        return 0;
    }
}

int im_unpack(struct im_source **source, const struct im_unpack *unpack,
              struct im_contents *contents, struct im_error *err)
{
    struct im_source *wrapped = *source;
    int r = wrap(&wrapped, unpack, contents, err);

    if (r < 0)
        return r;
    *source = wrapped;
    if (unpack->size == IM_SIZE_UNKNOWN || wrapped->size == IM_SIZE_UNKNOWN ||
        unpack->size == wrapped->size)
        return 0;
    return im_fail(err, EBADMSG, "'%s' holds %" PRIu64 " bytes, and not %" PRIu64 " as was said",
                   wrapped->name, wrapped->size, unpack->size);
}

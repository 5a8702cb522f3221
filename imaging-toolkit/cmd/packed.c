/* packed - how people say what an image is and what it is packed in. */

#include <config.h>

#include "cmd/packed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "core/args.h"

#define STAGE "unpack"

static int unknown(const char *text, struct im_error *err)
{
    return im_fail(
        err, EINVAL,
        "-f '%s' is not a format; there are raw, vmdk, vhd (vpc), vhdx, vdi, qcow2, each "
        "also packed as FORMAT.gz, .xz, .zip or .ova, and ova, which is vmdk.ova",
        text);
}

int im_packed_parse(const char *text, const struct im_format **ret_format,
                    enum im_packing *ret_packing, struct im_error *err)
{
    const struct im_format *format = im_format_find(text);
    const char *dot = strrchr(text, '.');
    char *inner IM_FREE = NULL;
    enum im_packing packing = IM_PACKING_NONE;

    if (!format && strcasecmp(text, "ova") == 0) {
        packing = IM_PACKING_OVA;
        format = im_format_find("vmdk");
    } else if (!format && dot) {
        inner = strndup(text, (size_t)(dot - text));
        if (!inner)
            return im_fail(err, ENOMEM, "out of memory");
        format = im_format_find(inner);
        if (im_packing_parse(dot + 1, &packing) < 0 || packing == IM_PACKING_NONE)
            format = NULL;
    }
    if (!format)
        return unknown(text, err);
    *ret_format = format;
    *ret_packing = packing;
    return 0;
}

/* What may come out of a packing when the disk may have `max` bytes: headers and tables of no
 * format are larger than the disk and some MiB. */
static uint64_t largest(const struct im_format *format, uint64_t max)
{
    const uint64_t tables = UINT64_C(64) << 20;

    if (strcmp(format->name, "raw") == 0)
        return max;
    return max > (IM_UNPACKED_MAX - tables) / 2 ? IM_UNPACKED_MAX : 2 * max + tables;
}

int im_packed_add(struct im_job *job, enum im_packing packing, const char *disk,
                  struct im_error *err)
{
    const struct im_stage *stage = im_stage_find(STAGE);
    struct im_args *args;
    char size[24];
    int r;

    if (packing == IM_PACKING_NONE)
        return disk ? im_fail(err, EINVAL,
                              "--disk chooses one of an archive; say so by -f ova or -f FORMAT.zip")
                    : 0;
    r = im_job_add_stage(job, STAGE, &args, err);
    if (r == 0)
        r = im_args_add(args, STAGE, stage->params, "kind", im_packing_name(packing), err);
    if (r == 0 && disk)
        r = im_args_add(args, STAGE, stage->params, "disk", disk, err);
    if (r < 0 || job->max_size == UINT64_MAX)
        return r;
    (void)snprintf(size, sizeof(size), "%" PRIu64, largest(job->format, job->max_size));
    return im_args_add(args, STAGE, stage->params, "max-size", size, err);
}

/* unpack - take an image out of what it is packed in: gzip, xz, zip, OVA.  Nothing is copied: what
 * comes out is read from what goes in as it is wanted. */

#include <config.h>

#include <string.h>

#include "base/library.h"
#include "core/stage.h"
#include "unpack/unpack.h"

/* What is said, or what the first bytes say. */
static int find_packing(const struct im_args *args, struct im_source *source,
                        enum im_packing *ret_packing, struct im_error *err)
{
    const char *kind = im_arg_text(args, "kind");

    return !kind || strcmp(kind, "auto") == 0 ? im_packing_probe(source, ret_packing, err)
                                              : im_packing_parse(kind, ret_packing);
}

/* Each kind needs its own library; nothing else is missed when one is not here. */
static int unpack_accepts(const struct im_args *args, const struct im_context *context,
                          const struct im_input *input, struct im_error *err)
{
    enum im_packing packing;
    int r = find_packing(args, input->source, &packing, err);

    (void)context;
    if (r == 0 && packing == IM_PACKING_XZ)
        r = im_library_load("liblzma.so.5", NULL, NULL, err);
    else if (r == 0 && packing == IM_PACKING_OVA)
        r = im_library_load("libarchive.so.13", NULL, NULL, err);
    return r;
}

static int unpack_wrap(const struct im_args *args, const struct im_context *context,
                       struct im_source **source, struct im_error *err)
{
    struct im_unpack unpack = {
        .disk = im_arg_text(args, "disk"),
        .size = im_arg_number(args, "size", IM_SIZE_UNKNOWN),
        .limits = { .max_size = im_arg_number(args, "max-size", IM_UNPACKED_MAX),
                    .expansion = im_arg_number(args, "max-expansion", IM_EXPANSION_MAX) },
    };
    int r = find_packing(args, *source, &unpack.packing, err);

    (void)context;
    if (unpack.limits.expansion == 0)
        unpack.limits.expansion = 1;
    return r < 0 ? r : im_unpack(source, &unpack, NULL, err);
}

static const char *const kinds[] = { "auto", "gz", "xz", "zip", "ova", "none", NULL };

static const struct im_param params[] = {
    { "kind", IM_PARAM_CHOICE, false, kinds,
      "what it is packed in; auto: what its first bytes say, else nothing" },
    { "disk", IM_PARAM_TEXT, false, NULL, "which of an ova or zip: a number from 1 on, or a name" },
    { "size", IM_PARAM_SIZE, false, NULL,
      "bytes that must come out, where gz or a pipe cannot tell beforehand" },
    { "max-size", IM_PARAM_SIZE, false, NULL, "most bytes that may come out (65T)" },
    { "max-expansion", IM_PARAM_NUMBER, false, NULL,
      "how many times as large it may become (1100; the first 16 MiB are free)" },
    { 0 },
};

static const struct im_use uses[] = {
    { "libarchive.so.13", "ova" },
    { "liblzma.so.5", "xz" },
    { 0 },
};

const struct im_stage im_stage_unpack = {
    .name = "unpack",
    .summary = "take an image out of gz, xz, zip or an OVA",
    .class = IM_BUNDLER,
    .takes = IM_BYTES,
    .gives = IM_BYTES,
    .uses = uses,
    .params = params,
    .accepts = unpack_accepts,
    .wrap = unpack_wrap,
};

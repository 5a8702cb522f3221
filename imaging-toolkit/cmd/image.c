/* image - the image that a command looks at: the options that say what it is, and opening it. */

#include <config.h>

#include "cmd/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/confined.h"
#include "cmd/packed.h"

int im_image_option(int option, struct im_image_ask *ask, struct im_error *err)
{
    switch (option) {
    case 'f':
        return im_packed_parse(optarg, &ask->format, &ask->packing, err);
    case 'd':
        ask->disk = optarg;
        return 0;
    case 'e':
        ask->extents = optarg;
        return 0;
    case 's':
        ask->scratch = optarg;
        return 0;
    default:
        return 1;
    }
}

/* Find what nobody has said; what is certainly an image is not looked into as an archive. */
static int find_packing(const struct im_image_ask *ask, struct im_image *image,
                        struct im_error *err)
{
    int r = 0;

    image->format = ask->format;
    image->packing = ask->packing;
    if (!ask->format)
        r = im_format_probe(image->source, &image->format, err);
    if (r == 0 && !ask->format && strcmp(image->format->name, "raw") == 0)
        r = im_packing_probe(image->source, &image->packing, err);
    if (r == 0 && ask->disk && image->packing == IM_PACKING_NONE)
        r = im_fail(err, EINVAL, "--disk chooses one of an OVA or a zip file; '%s' is none",
                    image->name);
    return r;
}

static int take_out(const struct im_image_ask *ask, struct im_image *image, struct im_error *err)
{
    const struct im_unpack unpack = {
        .packing = image->packing, .disk = ask->disk, .size = IM_SIZE_UNKNOWN, .limits = IM_LIMITS
    };
    int r;

    if (image->packing == IM_PACKING_NONE)
        return 0;
    r = im_unpack(&image->source, &unpack, image->contents, err);
    return r < 0 || ask->format ? r : im_format_probe(image->source, &image->format, err);
}

int im_image_open(const char *in, const struct im_image_ask *ask, struct im_image *image,
                  struct im_error *err)
{
    const struct im_open open = { .max_size = UINT64_MAX,
                                  .extents = ask->extents,
                                  .scratch = ask->scratch };
    const struct im_confined_names names = {
        .source = in, .extents = ask->extents, .scratch = ask->scratch, .guest = ask->guest
    };
    int r = im_confined_look(&names, err);

    if (r == 0)
        r = im_source_open(in, &image->source, err);
    if (r < 0)
        return r;
    image->size = image->source->size;
    image->name = strdup(image->source->name);
    image->contents = calloc(1, sizeof(*image->contents));
    if (!image->name || !image->contents)
        return im_fail(err, ENOMEM, "out of memory");
    r = find_packing(ask, image, err);
    if (r == 0)
        r = take_out(ask, image, err);
    return r < 0 ? r : im_format_open(image->format, image->source, &open, &image->disk, err);
}

int im_image_need_random(const struct im_image *image, struct im_error *err)
{
    if (!image->source->sequential && image->disk->size != IM_SIZE_UNKNOWN)
        return 0;
    return im_fail(
        err, EOPNOTSUPP,
        "the disk is looked at here and there, and '%s' can only be read forwards: give a "
        "file, or take the image out of %s first ('imaging-toolkit convert')",
        image->name,
        image->packing == IM_PACKING_NONE ? "the pipe" : im_packing_name(image->packing));
}

void im_image_close(struct im_image *image)
{
    im_disk_close(image->disk);
    im_source_close(image->source);
    free(image->contents);
    free(image->name);
}

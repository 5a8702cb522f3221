/* info - say what an image is, after its structure has been checked. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/image.h"

static const char help[] =
    "usage: imaging-toolkit info [options] IN\n"
    "\n"
    "  imaging-toolkit info disk.vmdk\n"
    "  imaging-toolkit info machine.ova\n"
    "\n"
    "Prints format, virtual size and facts of an image whose headers and tables are sound.\n"
    "Nothing is followed out of the file.  What nobody recognises is raw.  Of an OVA or a zip "
    "file\n"
    "all disks are listed.\n"
    "\n" IM_IMAGE_HELP "      --output FORM    text (default) or json\n";

static const struct option options[] = {
    IM_IMAGE_OPTIONS,
    { "output", required_argument, NULL, 'o' },
    { NULL, 0, NULL, 0 },
};

struct request {
    struct im_image_ask ask;
    bool json;
};

static int set_option(int option, struct request *request, struct im_error *err)
{
    int r = im_image_option(option, &request->ask, err);

    if (r <= 0)
        return r;
    return option == 'o' ? im_parse_output(optarg, &request->json, err)
                         : -EINVAL; /* err was filled by im_getopt */
}

/* A number where there is one. */
static void set_size(json_t *object, const char *name, uint64_t size)
{
    if (size != IM_SIZE_UNKNOWN)
        (void)json_object_set_new(object, name, json_integer((json_int_t)size));
}

static json_t *contents_json(const struct im_contents *contents)
{
    json_t *rows = json_array();

    for (unsigned i = 0; i < contents->count; i++) {
        const struct im_content *content = &contents->content[i];
        json_t *row = json_pack("{s:i, s:s*, s:s*, s:s*, s:b}", "number", (int)i + 1, "file",
                                *content->file ? content->file : NULL, "format",
                                *content->format ? content->format : NULL, "compression",
                                content->compression, "chosen", i == contents->chosen);

        set_size(row, "capacity", content->capacity);
        set_size(row, "size", content->size);
        (void)json_array_append_new(rows, row);
    }
    return rows;
}

static int print_json(const struct im_image *image, const struct im_facts *facts,
                      struct im_error *err)
{
    json_t *object =
        json_pack("{s:o, s:s}", "image", im_text_json(image->name), "format", image->format->name);

    if (image->packing != IM_PACKING_NONE)
        (void)json_object_set_new(object, "container",
                                  json_string(im_packing_name(image->packing)));
    set_size(object, "virtual-size", image->disk->size);
    set_size(object, "file-size", image->size);
    for (unsigned i = 0; i < facts->count; i++)
        (void)json_object_set_new(object, facts->fact[i].name, json_string(facts->fact[i].value));
    if (image->contents->count > 0)
        (void)json_object_set_new(object, "disks", contents_json(image->contents));
    if (image->packing == IM_PACKING_OVA) {
        (void)json_object_set_new(object, "digests", json_boolean(image->contents->digests));
        (void)json_object_set_new(object, "certificate",
                                  json_boolean(image->contents->certificate));
    }
    return im_print_json(object, err);
}

static void print_size(const char *name, uint64_t size)
{
    char text[16];

    if (size == IM_SIZE_UNKNOWN)
        printf("%s: known only at its end\n", name);
    else
        printf("%s: %" PRIu64 " bytes (%s)\n", name, size,
               im_format_size(text, sizeof(text), size));
}

static void print_contents(const struct im_contents *contents)
{
    for (unsigned i = 0; i < contents->count; i++) {
        const struct im_content *content = &contents->content[i];

        printf("disk %u: %s", i + 1, *content->file ? content->file : "blank, without a file");
        if (content->capacity != UINT64_MAX)
            printf(", capacity %" PRIu64 " bytes", content->capacity);
        if (content->size != UINT64_MAX && *content->file)
            printf(", %" PRIu64 " bytes in the archive", content->size);
        if (content->compression)
            printf(", %s", content->compression);
        printf("%s%s%s\n", *content->format ? ", " : "", content->format,
               i == contents->chosen ? " (this one)" : "");
    }
}

static void print_text(const struct im_image *image, const struct im_facts *facts)
{
    printf("image: %s\n", image->name);
    if (image->packing != IM_PACKING_NONE)
        printf("container: %s\n", im_packing_name(image->packing));
    printf("format: %s\n", image->format->name);
    print_size("virtual-size", image->disk->size);
    print_size("file-size", image->size);
    for (unsigned i = 0; i < facts->count; i++)
        printf("%s: %s\n", facts->fact[i].name, facts->fact[i].value);
    print_contents(image->contents);
    if (image->contents->digests)
        printf("digests: in a manifest, verified when the disk is read\n");
    if (image->contents->certificate)
        printf("certificate: there is one; it is not verified\n");
}

static int show(const struct request *request, const char *in, struct im_error *err)
{
    struct im_image image IM_IMAGE_CLOSE = { 0 };
    struct im_facts facts = { 0 };
    int r = im_image_open(in, &request->ask, &image, err);

    if (r < 0)
        return r;
    im_disk_describe(image.disk, &facts);
    if (request->json)
        return print_json(&image, &facts, err);
    print_text(&image, &facts);
    return 0;
}

static int info(int argc, char **argv, struct im_error *err)
{
    struct request request = { 0 };
    int r = 0;
    int c;

    while (r == 0 && (c = im_getopt(argc, argv, ":f:", options, err)) != -1)
        r = set_option(c, &request, err);
    if (r == 0 && argc - optind != 1)
        r = im_fail(err, EINVAL, "one image is needed, %d given; see 'info --help'", argc - optind);
    if (r == 0)
        r = show(&request, argv[optind], err);
    return r < 0 ? (int)im_error_status(err) : 0;
}

const struct im_command im_command_info = {
    .name = "info",
    .summary = "say what an image is",
    .help = help,
    .run = info,
};

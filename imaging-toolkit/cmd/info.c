/* info - say what an image is, after its structure has been checked. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include <jansson.h>

#include "base/text.h"
#include "cmd/cmd.h"
#include "core/format.h"
#include "core/source.h"

static const char help[] =
    "usage: imaging-toolkit info [-f FORMAT] [--extents DIR] [--output text|json] IN\n"
    "\n"
    "  imaging-toolkit info disk.vmdk\n"
    "\n"
    "Prints format, virtual size and facts of an image whose headers and tables are sound.\n"
    "Nothing is followed out of the file.  Without -f the format is recognised by its contents;\n"
    "what nobody recognises is raw.  --extents names the directory that holds the other files of "
    "a\n"
    "split or flat VMDK.\n";

static const struct option options[] = {
    { "from", required_argument, NULL, 'f' },
    { "extents", required_argument, NULL, 'e' },
    { "output", required_argument, NULL, 'o' },
    { NULL, 0, NULL, 0 },
};

struct request {
    const struct im_format *format;
    const char *extents;
    bool json;
};

static int set_option(int option, struct request *request, struct im_error *err)
{
    switch (option) {
    case 'f':
        request->format = im_format_find(optarg);
        return request->format ? 0 : im_fail(err, EINVAL, "-f '%s' is not a format", optarg);
    case 'e':
        request->extents = optarg;
        return 0;
    case 'o':
        return im_parse_output(optarg, &request->json, err);
    default:
        return -EINVAL; /* err was filled by im_getopt */
    }
}

static void print_json(const struct im_source *source, const struct im_format *format,
                       const struct im_disk *disk, const struct im_facts *facts)
{
    json_t *object = json_pack("{s:s, s:s}", "image", source->name, "format", format->name);

    if (disk->size != IM_SIZE_UNKNOWN)
        (void)json_object_set_new(object, "virtual-size", json_integer((json_int_t)disk->size));
    if (source->size != IM_SIZE_UNKNOWN)
        (void)json_object_set_new(object, "file-size", json_integer((json_int_t)source->size));
    for (unsigned i = 0; i < facts->count; i++)
        (void)json_object_set_new(object, facts->fact[i].name, json_string(facts->fact[i].value));
    (void)json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(object);
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

static void print_text(const struct im_source *source, const struct im_format *format,
                       const struct im_disk *disk, const struct im_facts *facts)
{
    printf("image: %s\nformat: %s\n", source->name, format->name);
    print_size("virtual-size", disk->size);
    print_size("file-size", source->size);
    for (unsigned i = 0; i < facts->count; i++)
        printf("%s: %s\n", facts->fact[i].name, facts->fact[i].value);
}

static int show(const struct request *request, const char *in, struct im_error *err)
{
    struct im_open open = { .max_size = UINT64_MAX, .extents = request->extents };
    const struct im_format *format = request->format;
    struct im_source *source = NULL;
    struct im_disk *disk = NULL;
    struct im_facts facts = { 0 };
    int r = im_source_open(in, &source, err);

    if (r == 0 && !format)
        r = im_format_probe(source, &format, err);
    if (r == 0)
        r = im_format_open(format, source, &open, &disk, err);
    if (r == 0) {
        im_disk_describe(disk, &facts);
        (request->json ? print_json : print_text)(source, format, disk, &facts);
    }
    im_disk_close(disk);
    im_source_close(source);
    return r;
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

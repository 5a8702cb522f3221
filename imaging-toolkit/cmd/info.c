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
#include "cmd/packed.h"
#include "core/format.h"
#include "core/source.h"

static const char help[] =
    "usage: imaging-toolkit info [-f FORMAT] [--disk N|FILE] [--extents DIR]\n"
    "                            [--output text|json] IN\n"
    "\n"
    "  imaging-toolkit info disk.vmdk\n"
    "  imaging-toolkit info machine.ova\n"
    "\n"
    "Prints format, virtual size and facts of an image whose headers and tables are sound.\n"
    "Nothing is followed out of the file.  Without -f the format is recognised by its contents;\n"
    "what nobody recognises is raw.  Of an OVA or a zip file all disks are listed, and --disk "
    "says\n"
    "which one is looked at (default: the first of an OVA).  --extents names the directory that "
    "holds the other files of "
    "a\n"
    "split or flat VMDK.\n";

static const struct option options[] = {
    { "from", required_argument, NULL, 'f' },
    { "disk", required_argument, NULL, 'd' },
    { "extents", required_argument, NULL, 'e' },
    { "output", required_argument, NULL, 'o' },
    { NULL, 0, NULL, 0 },
};

struct request {
    const struct im_format *format;
    enum im_packing packing;
    const char *disk;
    const char *extents;
    bool json;
};

/* What has been found out about an image. */
struct findings {
    const char *name; /* of the source, or the archive */
    uint64_t size;    /* of that, bytes */
    enum im_packing packing;
    struct im_contents contents;
    const struct im_format *format;
    struct im_facts facts;
};

static int set_option(int option, struct request *request, struct im_error *err)
{
    switch (option) {
    case 'f':
        return im_packed_parse(optarg, &request->format, &request->packing, err);
    case 'd':
        request->disk = optarg;
        return 0;
    case 'e':
        request->extents = optarg;
        return 0;
    case 'o':
        return im_parse_output(optarg, &request->json, err);
    default:
        return -EINVAL; /* err was filled by im_getopt */
    }
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

static void print_json(const struct findings *found, const struct im_disk *disk)
{
    json_t *object = json_pack("{s:s, s:s}", "image", found->name, "format", found->format->name);

    if (found->packing != IM_PACKING_NONE)
        (void)json_object_set_new(object, "container",
                                  json_string(im_packing_name(found->packing)));
    set_size(object, "virtual-size", disk->size);
    set_size(object, "file-size", found->size);
    for (unsigned i = 0; i < found->facts.count; i++)
        (void)json_object_set_new(object, found->facts.fact[i].name,
                                  json_string(found->facts.fact[i].value));
    if (found->contents.count > 0)
        (void)json_object_set_new(object, "disks", contents_json(&found->contents));
    if (found->packing == IM_PACKING_OVA) {
        (void)json_object_set_new(object, "digests", json_boolean(found->contents.digests));
        (void)json_object_set_new(object, "certificate", json_boolean(found->contents.certificate));
    }
    im_print_json(object);
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

static void print_text(const struct findings *found, const struct im_disk *disk)
{
    printf("image: %s\n", found->name);
    if (found->packing != IM_PACKING_NONE)
        printf("container: %s\n", im_packing_name(found->packing));
    printf("format: %s\n", found->format->name);
    print_size("virtual-size", disk->size);
    print_size("file-size", found->size);
    for (unsigned i = 0; i < found->facts.count; i++)
        printf("%s: %s\n", found->facts.fact[i].name, found->facts.fact[i].value);
    print_contents(&found->contents);
    if (found->contents.digests)
        printf("digests: in a manifest, verified when the disk is read\n");
    if (found->contents.certificate)
        printf("certificate: there is one; it is not verified\n");
}

/* Find what nobody has said; what is certainly an image is not looked into as an archive. */
static int find_packing(const struct request *request, struct im_source **source,
                        struct findings *found, struct im_error *err)
{
    struct im_unpack unpack = { .disk = request->disk,
                                .size = IM_SIZE_UNKNOWN,
                                .limits = IM_LIMITS };
    int r = 0;

    found->format = request->format;
    found->packing = request->packing;
    if (!request->format)
        r = im_format_probe(*source, &found->format, err);
    if (r == 0 && !request->format && strcmp(found->format->name, "raw") == 0)
        r = im_packing_probe(*source, &found->packing, err);
    if (r == 0 && request->disk && found->packing == IM_PACKING_NONE)
        r = im_fail(err, EINVAL, "--disk chooses one of an OVA or a zip file; '%s' is none",
                    (*source)->name);
    if (r < 0 || found->packing == IM_PACKING_NONE)
        return r;
    unpack.packing = found->packing;
    r = im_unpack(source, &unpack, &found->contents, err);
    return r < 0 || request->format ? r : im_format_probe(*source, &found->format, err);
}

static int show(const struct request *request, const char *in, struct im_error *err)
{
    struct im_open open = { .max_size = UINT64_MAX, .extents = request->extents };
    struct findings *found IM_FREE = calloc(1, sizeof(*found));
    char *name IM_FREE = NULL;
    struct im_source *source = NULL;
    struct im_disk *disk = NULL;
    int r = found ? im_source_open(in, &source, err) : im_fail(err, ENOMEM, "out of memory");

    if (r < 0)
        return r;
    found->size = source->size;
    found->name = name = strdup(source->name);
    r = name ? find_packing(request, &source, found, err) : im_fail(err, ENOMEM, "out of memory");
    if (r == 0)
        r = im_format_open(found->format, source, &open, &disk, err);
    if (r == 0) {
        im_disk_describe(disk, &found->facts);
        (request->json ? print_json : print_text)(found, disk);
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

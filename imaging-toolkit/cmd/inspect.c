/* inspect - say what is on a disk: operating system, boot mode, file systems, users, cloud-init. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/image.h"
#include "core/job.h"
#include "core/stage.h"
#include "guest/os.h"

static const char help[] =
    "usage: imaging-toolkit inspect [options] IMAGE\n"
    "\n"
    "  imaging-toolkit inspect disk.vmdk\n"
    "\n"
    "Prints what is on the disk: operating system, version, architecture, boot mode, kernels, "
    "file\n"
    "systems, users with passwords (names only), cloud-init.  What nothing tells is \"unknown\".\n"
    "Nothing is mounted, run or changed, and no root is needed.\n"
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

/* What was found. */
struct finding {
    const struct im_image *image;
    const struct im_guest *guest;
    const struct im_os *os;
    const struct im_report *report; /* of boot-layout */
};

static int set_option(int option, struct request *request, struct im_error *err)
{
    int r = im_image_option(option, &request->ask, err);

    if (r <= 0)
        return r;
    return option == 'o' ? im_parse_output(optarg, &request->json, err)
                         : -EINVAL; /* err was filled by im_getopt */
}

static const char *known_name(enum im_known known)
{
    return known == IM_YES ? "yes" : known == IM_NO ? "no" : IM_OS_UNKNOWN;
}

static const char *table_name(enum im_table table)
{
    return table == IM_TABLE_GPT ? "gpt" : table == IM_TABLE_MBR ? "mbr" : "none";
}

static const char *or_unknown(const char *text)
{
    return text && *text ? text : IM_OS_UNKNOWN;
}

static json_t *file_systems_json(const struct im_guest *guest)
{
    static const char *const clean[] = { IM_OS_UNKNOWN, "clean", "dirty" };
    json_t *list = json_array();

    for (unsigned i = 0; i < guest->fs_count; i++) {
        const struct im_fs *fs = &guest->fs[i];
        json_t *row = json_pack("{s:s, s:o, s:o, s:I, s:I, s:s, s:b}", "type",
                                fs->ambivalent ? "ambivalent" : or_unknown(fs->type), "label",
                                im_text_json(fs->label), "uuid", im_text_json(fs->uuid), "offset",
                                (json_int_t)fs->offset, "size", (json_int_t)fs->len, "state",
                                clean[fs->clean], "root", fs == guest->root);

        if (fs->part)
            (void)json_object_set_new(row, "partition", json_integer(fs->part->number));
        if (*fs->dirt)
            (void)json_object_set_new(row, "reason", json_string(fs->dirt));
        (void)json_array_append_new(list, row);
    }
    return list;
}

static json_t *kernels_json(const struct im_os *os)
{
    json_t *list = json_array();

    if (!os->kernels_known) {
        json_decref(list);
        return json_string(IM_OS_UNKNOWN);
    }
    for (unsigned i = 0; i < os->kernel_count; i++) {
        const struct im_kernel *kernel = &os->kernel[i];

        (void)json_array_append_new(
            list, json_pack("{s:o, s:o, s:o}", "version", im_text_json(or_unknown(kernel->version)),
                            "path", im_text_json(kernel->path), "initramfs",
                            *kernel->initramfs ? im_text_json(kernel->initramfs) : json_null()));
    }
    return list;
}

/* The names of users who log in with a password, or with none at all. */
static json_t *users_json(const struct im_os *os, bool empty)
{
    json_t *list = json_array();

    if (!os->users_known) {
        json_decref(list);
        return json_string(IM_OS_UNKNOWN);
    }
    for (unsigned i = 0; i < os->user_count; i++)
        if (os->user[i].empty == empty)
            (void)json_array_append_new(list, im_text_json(os->user[i].name));
    return list;
}

static json_t *finding_json(const struct finding *finding)
{
    const struct im_os *os = finding->os;
    json_t *object = json_pack(
        "{s:o, s:s, s:s, s:o, s:o, s:o, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:{s:s, s:s, s:o}}",
        "image", im_text_json(finding->image->source->name), "format", finding->image->format->name,
        "os", os->family, "distribution", im_text_json(os->distribution), "name",
        im_text_json(os->name), "version", im_text_json(os->version), "architecture", os->arch,
        "boot-mode", or_unknown(finding->report->boot_mode), "partition-table",
        table_name(finding->guest->table), "filesystems", file_systems_json(finding->guest),
        "kernels", kernels_json(os), "users-with-passwords", users_json(os, false),
        "users-without-password", users_json(os, true), "cloud-init", "installed",
        known_name(os->cloud_init), "enabled", known_name(os->cloud_init_enabled), "datasources",
        im_text_json(os->datasources));
    json_t *notes = json_array();

    if (*finding->guest->table_fault)
        (void)json_array_append_new(notes, im_text_json(finding->guest->table_fault));
    for (unsigned i = 0; i < finding->report->count; i++)
        (void)json_array_append_new(notes, im_text_json(finding->report->finding[i].evidence));
    if (*os->unread)
        (void)json_array_append_new(notes, im_text_json(os->unread));
    (void)json_object_set_new(object, "notes", notes);
    return object;
}

/* ---- as text ---- */

static void print_names(const char *title, const json_t *list)
{
    const json_t *name;
    size_t i;

    printf("%s:", title);
    if (json_is_string(list))
        printf(" %s", json_string_value(list));
    json_array_foreach(list, i, name) printf("%s %s", i ? "," : "", json_string_value(name));
    printf("%s\n", json_is_array(list) && json_array_size(list) == 0 ? " none" : "");
}

static void print_file_systems(const json_t *list)
{
    const json_t *row;
    size_t i;

    json_array_foreach(list, i, row)
    {
        const char *label = json_string_value(json_object_get(row, "label"));
        const char *uuid = json_string_value(json_object_get(row, "uuid"));
        const char *reason = json_string_value(json_object_get(row, "reason"));
        char size[16];

        printf("filesystem: ");
        if (json_object_get(row, "partition"))
            printf("partition %" JSON_INTEGER_FORMAT ", ",
                   json_integer_value(json_object_get(row, "partition")));
        printf("%s, %s", json_string_value(json_object_get(row, "type")),
               im_format_size(size, sizeof(size),
                              (uint64_t)json_integer_value(json_object_get(row, "size"))));
        if (*uuid)
            printf(", UUID %s", uuid);
        if (*label)
            printf(", label %s", label);
        printf(", %s%s%s%s\n", json_string_value(json_object_get(row, "state")), reason ? " (" : "",
               reason ? reason : "", reason ? ")" : "");
    }
}

static void print_text(const json_t *object)
{
    static const char *const plain[] = { "image",        "format",    "os",
                                         "distribution", "name",      "version",
                                         "architecture", "boot-mode", "partition-table" };
    const json_t *cloud = json_object_get(object, "cloud-init"), *row;
    size_t i;

    for (i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        printf("%s: %s\n", plain[i], json_string_value(json_object_get(object, plain[i])));
    print_file_systems(json_object_get(object, "filesystems"));
    if (json_is_string(json_object_get(object, "kernels")))
        printf("kernels: " IM_OS_UNKNOWN "\n");
    json_array_foreach(json_object_get(object, "kernels"), i, row)
    {
        const char *initramfs = json_string_value(json_object_get(row, "initramfs"));

        printf("kernel: %s, %s, %s\n", json_string_value(json_object_get(row, "version")),
               json_string_value(json_object_get(row, "path")),
               initramfs ? initramfs : "no initramfs");
    }
    print_names("users-with-passwords", json_object_get(object, "users-with-passwords"));
    print_names("users-without-password", json_object_get(object, "users-without-password"));
    printf("cloud-init: installed %s, enabled %s, datasources %s\n",
           json_string_value(json_object_get(cloud, "installed")),
           json_string_value(json_object_get(cloud, "enabled")),
           json_string_value(json_object_get(cloud, "datasources")));
    json_array_foreach(json_object_get(object, "notes"), i, row)
        printf("note: %s\n", json_string_value(row));
}

/* ---- looking ---- */

/* Which firmware would start the disk; that none would is only told. */
static int find_boot_mode(struct im_look *look, struct im_error *err)
{
    static const struct im_args none;

    return im_stage_look(im_stage_find("boot-layout"), &none, true, look, err);
}

static int look_at(const struct request *request, struct finding *finding, struct im_disk *disk,
                   struct im_error *err)
{
    struct im_context context = {
        .scratch = request->ask.scratch ? request->ask.scratch : im_scratch_default(),
        .jobs = im_jobs_default(),
    };
    struct im_report *report IM_FREE = calloc(1, sizeof(*report));
    struct im_os *os IM_FREE = calloc(1, sizeof(*os));
    struct im_look look = { .disk = disk, .fd = -1, .context = &context, .report = report };
    struct im_guest *guest = NULL;
    json_t *object;
    int r = report && os ? find_boot_mode(&look, err) : im_fail(err, ENOMEM, "out of memory");

    if (r == 0)
        r = im_guest_of(&look, &guest, err);
    if (r == 0)
        r = im_os_of(guest, os, err);
    if (r == 0) {
        finding->guest = guest;
        finding->os = os;
        finding->report = report;
        object = finding_json(finding);
        if (request->json) {
            r = im_print_json(object, err);
        } else {
            r = im_json_lost() ? im_fail_memory(err) : 0;
            if (r == 0)
                print_text(object);
            json_decref(object);
        }
    }
    im_look_done(&look);
    return r;
}

static int show(const struct request *request, const char *in, struct im_error *err)
{
    struct im_image image IM_IMAGE_CLOSE = { 0 };
    struct finding finding = { .image = &image };
    int r = im_image_open(in, &request->ask, &image, err);

    if (r == 0)
        r = im_image_need_random(&image, err);
    return r < 0 ? r : look_at(request, &finding, image.disk, err);
}

static int inspect(int argc, char **argv, struct im_error *err)
{
    struct request request = { .ask.guest = true };
    int r = 0;
    int c;

    while (r == 0 && (c = im_getopt(argc, argv, ":f:", options, err)) != -1)
        r = set_option(c, &request, err);
    if (r == 0 && argc - optind != 1)
        r = im_fail(err, EINVAL, "one image is needed, %d given; see 'inspect --help'",
                    argc - optind);
    if (r == 0)
        r = show(&request, argv[optind], err);
    return r < 0 ? (int)im_error_status(err) : 0;
}

const struct im_command im_command_inspect = {
    .name = "inspect",
    .summary = "say what is on a disk",
    .help = help,
    .run = inspect,
};

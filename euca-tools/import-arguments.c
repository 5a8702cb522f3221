/* import-arguments - the command line of an import: what the words say, before any file is opened.
 */

#include <config.h>

#include <string.h>

#include "base/text.h"

#include "import-private.h"
#include "s3.h"

static const struct euca_option import_options[] = {
    EUCA_TEXTS(euca_import_options, format, "format", 'f'),
    EUCA_TEXT(euca_import_options, zone, "availability-zone", 'z'),
    EUCA_TEXTS(euca_import_options, volume_size, "volume-size", 's'),
    EUCA_TEXTS(euca_import_options, image_size, "image-size", '\0'),
    EUCA_TEXT(euca_import_options, bucket, "bucket", 'b'),
    EUCA_TEXTS(euca_import_options, manifest_url, "manifest-url", '\0'),
    EUCA_TEXT(euca_import_options, prefix, "prefix", '\0'),
    EUCA_TEXT(euca_import_options, expires, "expires", 'x'),
    EUCA_TEXT(euca_import_options, description, "description", 'd'),
    EUCA_FLAG(euca_import_options, no_upload, "no-upload", '\0'),
    EUCA_FLAG(euca_import_options, dry_run, "dry-run", '\0'),
    EUCA_FLAG(euca_import_options, wait, "wait", '\0'),
    EUCA_FLAG(euca_import_options, check, "check", '\0'),
    EUCA_FLAG(euca_import_options, ignore_region_affinity, "ignore-region-affinity", '\0'),
    EUCA_FLAG(euca_import_options, dont_verify_format, "dont-verify-format", '\0'),
    { 0 },
};

/* One value for all files, or one for each; for a single file the last one counts, as ever. */
static int check_lists(const struct euca_import *import, struct im_error *err)
{
    const struct {
        const struct euca_list *list;
        const char *option;
    } lists[] = {
        { &import->own.format, "-f/--format" },
        { &import->own.volume_size, "-s/--volume-size" },
        { &import->own.image_size, "--image-size" },
    };

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        size_t count = lists[i].list->count;

        if (count > 1 && count != import->disk_count && import->disk_count > 1)
            return euca_usage(err,
                              "argument %s: given %zu times for %zu files; give it once, or for "
                              "each",
                              lists[i].option, count, import->disk_count);
    }
    return 0;
}

/* The value for file n; NULL without. */
static const char *nth(const struct euca_list *list, size_t n, size_t files)
{
    if (list->count == 0)
        return NULL;
    if (files == 1)
        return list->value[list->count - 1];
    return list->value[list->count == 1 ? 0 : n];
}

static int check_place(const struct euca_import *import, struct im_error *err)
{
    const struct euca_import_options *own = &import->own;
    size_t urls = own->manifest_url.count;

    if (own->bucket && urls > 0)
        return euca_usage(err, "argument --manifest-url: not allowed with argument -b/--bucket");
    if (!own->bucket && urls == 0)
        return euca_usage(err, "one of the arguments -b/--bucket --manifest-url is required");
    if (import->disk_count > 1 && urls > 0 && urls != import->disk_count)
        return euca_usage(err, "argument --manifest-url: given %zu times for %zu files", urls,
                          import->disk_count);
    return 0;
}

static int check_required(const struct euca_import *import, struct im_error *err)
{
    const struct euca_import_options *own = &import->own;
    int r;

    for (size_t i = 0; i < own->format.count; i++)
        if (!*own->format.value[i])
            return euca_usage(err, "argument -f/--format is required");
    if (own->format.count == 0)
        return euca_usage(err, "argument -f/--format is required");
    r = import->kind->check(own, import->kind->values, err);
    return r < 0 ? r : check_place(import, err);
}

/* The sizes that were given for file n. */
static int check_sizes(struct euca_import *import, size_t n, struct im_error *err)
{
    const char *gib = nth(&import->own.volume_size, n, import->disk_count);
    const char *bytes = nth(&import->own.image_size, n, import->disk_count);
    struct euca_import_disk *disk = &import->disk[n];
    int r = 0;

    if (gib)
        r = euca_option_number("-s/--volume-size", gib, INT32_MAX, &disk->volume_gib, err);
    if (r == 0 && bytes && im_parse_size(bytes, &disk->disk_size) < 0)
        r = euca_usage(err, "argument --image-size: invalid filesize value: '%s'", bytes);
    return r;
}

/* Has the prefix, slashes at its end aside, a component that is empty, "." or ".."?  Servers and
 * proxies may take those out of a path, so that it leads elsewhere. */
static bool has_odd_component(const char *prefix)
{
    size_t len = strlen(prefix);

    while (len > 0 && prefix[len - 1] == '/')
        len--;
    for (const char *p = prefix; p < prefix + len; p++) {
        size_t n = strcspn(p, "/");

        if (n == 0 || (n == 1 && *p == '.') || (n == 2 && strncmp(p, "..", 2) == 0))
            return true;
        p += n;
    }
    return false;
}

static int check_prefix(const char *prefix, struct im_error *err)
{
    char shown[EUCA_KEY_MAX];

    if (!im_text_is_xml(prefix, strlen(prefix)))
        return euca_usage(err, "argument --prefix: it is not text in UTF-8");
    im_text_printable(shown, sizeof(shown), prefix);
    if (!im_text_is_printable(prefix))
        return euca_usage(err, "argument --prefix: '%.200s' holds control characters", shown);
    if (has_odd_component(prefix))
        return euca_usage(err,
                          "argument --prefix: '%.200s' has a component that is empty, '.' or "
                          "'..'; leave it out",
                          shown);
    return 0;
}

/* Names that go into keys and, from there, into the manifest. */
static int check_names(const struct euca_import *import, const struct euca_import_disk *disk,
                       struct im_error *err)
{
    const struct euca_import_options *own = &import->own;
    const char *prefix = own->prefix ? own->prefix : "";
    size_t longest = strlen(prefix) + 1 + EUCA_UUID_LENGTH + 1 + strlen(disk->basename) +
                     strlen(".manifest.xml");

    if (own->bucket && !euca_s3_bucket_is_valid(own->bucket))
        return euca_usage(err,
                          "argument -b/--bucket: '%s' is no bucket name: those have 1 to 255 "
                          "letters, digits, '.', '-' and '_'",
                          own->bucket);
    if (longest > EUCA_KEY_MAX)
        return euca_usage(err,
                          "argument --prefix: with the file's name the keys of the upload have "
                          "%zu bytes; an object store takes %d",
                          longest, EUCA_KEY_MAX);
    return check_prefix(prefix, err);
}

/* What the command line says of file n. */
static int check_file(struct euca_import *import, size_t n, struct im_error *err)
{
    struct euca_import_disk *disk = &import->disk[n];
    int r = check_sizes(import, n, err);

    disk->told_url = nth(&import->own.manifest_url, n, import->disk_count);
    if (r == 0)
        r = check_names(import, disk, err);
    return r < 0
               ? r
               : euca_image_format(import->program, nth(&import->own.format, n, import->disk_count),
                                   disk->disk_size > 0, &disk->format, err);
}

/* As many files as the action takes. */
static int take_files(struct euca_import *import, int count, char **files, struct im_error *err)
{
    int most = import->kind->numbered ? EUCA_DISKS_MAX : 1;

    if (count == 0)
        return euca_usage(err, "too few arguments");
    for (int i = 0; i < count && i < most; i++) {
        struct euca_import_disk *disk = &import->disk[import->disk_count++];
        const char *slash = strrchr(files[i], '/');

        *disk = (struct euca_import_disk){ .file = files[i],
                                           .basename = slash ? slash + 1 : files[i],
                                           .image = EUCA_IMAGE };
    }
    return 0;
}

static int check_arguments(struct euca_import *import, int operands, char **operand,
                           struct im_error *err)
{
    const struct euca_import_options *own = &import->own;
    int r = take_files(import, operands, operand, err);

    if (r == 0)
        r = check_required(import, err);
    if (r < 0)
        return r;
    if ((size_t)operands > import->disk_count)
        return euca_usage(err, "unrecognized arguments: %s", operand[import->disk_count]);
    r = euca_check_progress(&import->progress, &import->uploads, err);
    if (r == 0)
        r = check_lists(import, err);
    if (r == 0)
        r = euca_option_days(own->expires, &import->expires_days, err);
    if (r == 0)
        r = euca_check_s3_options(&import->s3_options, err);
    if (import->own.prefix) /* keys have no slash in front */
        import->own.prefix += strspn(import->own.prefix, "/");
    for (size_t i = 0; r == 0 && i < import->disk_count; i++)
        r = check_file(import, i, err);
    return r;
}

int euca_import_arguments(struct euca_import *import, const struct euca_command *command, int argc,
                          char **argv, struct im_error *err)
{
    const struct euca_option_group groups[] = {
        { import_options, &import->own },
        { import->kind->options, import->kind->values },
        { euca_s3_options_table, &import->s3_options },
        { euca_progress_options_table, &import->progress },
        { NULL, NULL },
    };
    int first;
    int r = euca_options_parse(import->program, command, &import->common, groups, argc, argv,
                               &first, err);

    return r == 0 ? check_arguments(import, argc - first, argv + first, err) : r;
}

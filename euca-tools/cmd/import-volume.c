/* euca-import-volume - import a file to a volume: make the task, upload the file, show the task.
 *
 * The order on the wire is the historical one: bucket, ImportVolume (before any manifest exists),
 * manifest, parts.  Everything that can be wrong with the arguments or the file is found before
 * the first request. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/crypto.h"
#include "aws/sigv4.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

#include "client.h"
#include "command.h"
#include "image.h"
#include "interrupt.h"
#include "options.h"
#include "output.h"
#include "s3.h"
#include "upload.h"

#define GIB   ((uint64_t)1 << 30)
#define DAY_S ((uint64_t)24 * 60 * 60)

/* The historical default was 30 days; S3 honours V4 URLs for 7. */
#define EXPIRES_DAYS (IM_SIGV4_EXPIRES_MAX / DAY_S)

#define UUID_LENGTH 36

struct options {
    struct euca_common common;
    struct euca_s3_options s3;
    struct euca_progress_options progress;
    struct own {
        const char *format;
        const char *zone;
        const char *volume_size;
        const char *image_size;
        const char *bucket;
        const char *manifest_url;
        const char *prefix;
        const char *expires;
        const char *description;
        bool no_upload;
        bool dry_run;
        bool ignore_region_affinity; /* these two never had an effect */
        bool dont_verify_format;
    } own;
};

static const struct euca_option own_options[] = {
    EUCA_TEXT(own, format, "format", 'f'),
    EUCA_TEXT(own, zone, "availability-zone", 'z'),
    EUCA_TEXT(own, volume_size, "volume-size", 's'),
    EUCA_TEXT(own, image_size, "image-size", '\0'),
    EUCA_TEXT(own, bucket, "bucket", 'b'),
    EUCA_TEXT(own, manifest_url, "manifest-url", '\0'),
    EUCA_TEXT(own, prefix, "prefix", '\0'),
    EUCA_TEXT(own, expires, "expires", 'x'),
    EUCA_TEXT(own, description, "description", 'd'),
    EUCA_FLAG(own, no_upload, "no-upload", '\0'),
    EUCA_FLAG(own, dry_run, "dry-run", '\0'),
    EUCA_FLAG(own, ignore_region_affinity, "ignore-region-affinity", '\0'),
    EUCA_FLAG(own, dont_verify_format, "dont-verify-format", '\0'),
    { 0 },
};

/* What is to be done, all of it checked. */
struct import {
    const char *program;
    struct options options;
    const char *file;
    const char *basename; /* within file */
    char *format;         /* in capitals when it is one of the known */
    uint64_t disk_size;   /* 0: not told yet */
    uint64_t volume_gib;  /* 0: not told */
    uint64_t expires_s;
    struct euca_image image;
    struct euca_endpoint ec2, s3;
    bool has_s3;
    char *bucket, *manifest_key; /* where the manifest goes; NULL when nobody needs to know */
    char *manifest_url;          /* as the service gets it */
};

static void import_done(struct import *import)
{
    free(import->format);
    free(import->bucket);
    free(import->manifest_key);
    free(import->manifest_url);
    euca_image_done(&import->image);
    euca_endpoint_done(&import->ec2);
    euca_endpoint_done(&import->s3);
}

/* ---- arguments ---- */

static int check_required(const struct own *own, int operands, struct im_error *err)
{
    if (operands == 0)
        return euca_usage(err, "too few arguments");
    if (!own->format || !*own->format)
        return euca_usage(err, "argument -f/--format is required");
    if (!own->zone || !*own->zone)
        return euca_usage(err, "argument -z/--availability-zone is required");
    if (own->bucket && own->manifest_url)
        return euca_usage(err, "argument --manifest-url: not allowed with argument -b/--bucket");
    if (!own->bucket && !own->manifest_url)
        return euca_usage(err, "one of the arguments -b/--bucket --manifest-url is required");
    return 0;
}

static int check_numbers(struct import *import, struct im_error *err)
{
    const struct own *own = &import->options.own;
    uint64_t days = 0;
    int r = 0;

    if (own->volume_size)
        r = euca_option_number("-s/--volume-size", own->volume_size, INT32_MAX, &import->volume_gib,
                               err);
    if (r == 0 && own->image_size && im_parse_size(own->image_size, &import->disk_size) < 0)
        r = euca_usage(err, "argument --image-size: invalid filesize value: '%s'", own->image_size);
    if (r == 0 && own->expires && own->expires[0] == '-' &&
        im_parse_uint(own->expires + 1, UINT64_MAX, &days) == 0)
        r = euca_usage(err, "argument -x/--expires: value must be positive");
    if (r == 0 && own->expires)
        r = euca_option_number("-x/--expires", own->expires, UINT64_MAX, &days, err);
    if (r == 0 && days > EXPIRES_DAYS) {
        /* the historical default was 30 days, of URLs signed with version 2: not worth a failure */
        euca_say(import->program,
                 "warning: -x %s: URLs signed with version 4 are valid for %" PRIu64
                 " days at most, so it is %" PRIu64,
                 own->expires, EXPIRES_DAYS, EXPIRES_DAYS);
        days = EXPIRES_DAYS;
    }
    import->expires_s = (days > 0 ? days : EXPIRES_DAYS) * DAY_S; /* 0 always meant the default */
    return r;
}

/* Names that go into keys and, from there, into the manifest. */
static int check_names(const struct import *import, struct im_error *err)
{
    const struct own *own = &import->options.own;
    const char *prefix = own->prefix ? own->prefix : "";
    size_t longest =
        strlen(prefix) + 1 + UUID_LENGTH + 1 + strlen(import->basename) + strlen(".manifest.xml");

    if (own->bucket && !euca_s3_bucket_is_valid(own->bucket))
        return euca_usage(err,
                          "argument -b/--bucket: '%s' is no bucket name: those have 1 to 255 "
                          "letters, digits, '.', '-' and '_'",
                          own->bucket);
    if (!im_text_is_xml(prefix, strlen(prefix)))
        return euca_usage(err, "argument --prefix: it is not text in UTF-8");
    if (longest > EUCA_KEY_MAX)
        return euca_usage(err,
                          "argument --prefix: with the file's name the keys of the upload have "
                          "%zu bytes; an object store takes %d",
                          longest, EUCA_KEY_MAX);
    return 0;
}

/* The formats that are known are sent in capitals, others as they are: the service decides. */
static int set_format(struct import *import, struct im_error *err)
{
    static const char *const known[] = { "RAW", "VMDK", "VHD" };
    const char *format = import->options.own.format;

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcasecmp(format, known[i]) == 0) {
            import->format = strdup(known[i]);
            return import->format ? 0 : im_fail(err, ENOMEM, "out of memory");
        }
    }
    if (import->disk_size == 0)
        return euca_usage(err, "argument --image-size is required for %s files", format);
    import->format = strdup(format);
    return import->format ? 0 : im_fail(err, ENOMEM, "out of memory");
}

static int check_arguments(struct import *import, int operands, char **operand,
                           struct im_error *err)
{
    const struct options *options = &import->options;
    const char *slash;
    int r = check_required(&options->own, operands, err);

    if (r < 0)
        return r;
    if (operands > 1)
        return euca_usage(err, "unrecognized arguments: %s", operand[1]);
    if (options->progress.progress && options->progress.no_progress)
        return euca_usage(err, "argument --no-progress: not allowed with argument --progress");
    import->file = operand[0];
    slash = strrchr(import->file, '/');
    import->basename = slash ? slash + 1 : import->file;
    r = check_numbers(import, err);
    if (r == 0)
        r = euca_check_s3_options(&options->s3, err);
    if (r == 0)
        r = check_names(import, err);
    return r < 0 ? r : set_format(import, err);
}

/* ---- the file ---- */

static int look_at_file(struct import *import, struct im_error *err)
{
    int r = euca_image_open(import->file, &import->image, err);

    /* Who tells the size is believed: the way for images that this program cannot read. */
    if (r == 0 && import->disk_size == 0)
        r = euca_image_disk_size(&import->image, import->format, &import->disk_size, err);
    if (r < 0)
        return r;
    if (!im_text_is_xml(import->basename, strlen(import->basename)))
        return im_fail(err, EINVAL,
                       "the name of '%s' is not text in UTF-8 and cannot go into an import "
                       "manifest; please rename the file",
                       import->file);
    if (euca_upload_part_size(import->image.file_size) == 0)
        return im_fail(err, EFBIG, "'%s' of %" PRIu64 " bytes is too large to upload", import->file,
                       import->image.file_size);
    if (import->volume_gib == 0)
        import->volume_gib = import->disk_size / GIB + (import->disk_size % GIB != 0);
    return 0;
}

/* ---- where the manifest goes ---- */

/* A random UUID, version 4 (RFC 9562 section 5.4). */
static char *new_uuid(void)
{
    uint8_t b[16];
    char hex[33];

    im_random(b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    im_hex(b, sizeof(b), hex);
    return im_asprintf("%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

/* "[prefix/]uuid/basename.manifest.xml".  The base name only: the historical clients took the whole
 * path and made keys with double slashes, which not every server keeps. */
static char *new_manifest_key(const struct import *import)
{
    const char *prefix = import->options.own.prefix ? import->options.own.prefix : "";
    size_t len = strlen(prefix);
    char *uuid IM_FREE
    = new_uuid();

    while (len > 0 && prefix[len - 1] == '/')
        len--;
    return uuid ? im_asprintf("%.*s%s%s/%s.manifest.xml", (int)len, prefix, len > 0 ? "/" : "",
                              uuid, import->basename)
                : NULL;
}

static int locate_manifest(struct import *import, struct im_error *err)
{
    const struct own *own = &import->options.own;

    if (own->bucket) {
        import->bucket = strdup(own->bucket);
        import->manifest_key = new_manifest_key(import);
        if (!import->bucket || !import->manifest_key)
            return im_fail(err, ENOMEM, "out of memory");
        return euca_s3_presign(&import->s3, "GET", import->bucket, import->manifest_key,
                               im_clock_now_ms(), import->expires_s, &import->manifest_url, err);
    }
    import->manifest_url = strdup(own->manifest_url);
    if (!import->manifest_url)
        return im_fail(err, ENOMEM, "out of memory");
    return import->has_s3 ? euca_s3_locate(&import->s3, own->manifest_url, &import->bucket,
                                           &import->manifest_key, err)
                          : 0;
}

static int prepare(struct import *import, struct im_error *err)
{
    const struct options *options = &import->options;
    int r = euca_find_ec2(&options->common, &import->ec2, err);

    /* With somebody else's manifest and nothing to upload no object store is needed. */
    import->has_s3 = options->own.bucket || !options->own.no_upload;
    if (r == 0 && import->has_s3)
        r = euca_find_s3(&options->common, &options->s3, &import->ec2, &import->s3, err);
    if (r == 0)
        r = look_at_file(import, err);
    return r < 0 ? r : locate_manifest(import, err);
}

/* ---- the task ---- */

static int call_import_volume(const struct import *import, struct euca_answer *answer,
                              struct im_error *err)
{
    const struct own *own = &import->options.own;
    char bytes[24], gib[24];
    const struct euca_param params[] = {
        { "AvailabilityZone", own->zone },
        { "Image.Format", import->format },
        { "Image.Bytes", bytes },
        { "Image.ImportManifestUrl", import->manifest_url },
        { "Volume.Size", gib },
        { "Description", own->description },
        { "DryRun", own->dry_run ? "true" : NULL },
        { NULL, NULL },
    };

    (void)snprintf(bytes, sizeof(bytes), "%" PRIu64, import->disk_size);
    (void)snprintf(gib, sizeof(gib), "%" PRIu64, import->volume_gib);
    return euca_call(&import->ec2, "ImportVolume", params, true, answer, err);
}

static int make_task(const struct import *import, struct euca_tasks *ret_tasks,
                     struct im_error *err)
{
    struct euca_answer answer EUCA_ANSWER_DONE = { 0 };
    int r = call_import_volume(import, &answer, err);

    if (r == 0)
        r = euca_reply_tasks(answer.text.data, answer.text.len, ret_tasks, err);
    if (r < 0)
        return r;
    if (ret_tasks->count != 1 || !ret_tasks->task[0].id)
        return im_fail_code(err, EBADMSG, "BadReply",
                            "the server's answer to ImportVolume names no conversion task");
    return 0;
}

/* Everything is checked, here and by the service, and nothing made. */
static int dry_run(const struct import *import, struct im_error *err)
{
    struct euca_answer answer EUCA_ANSWER_DONE = { 0 };
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
    int r = call_import_volume(import, &answer, err);

    if (r < 0)
        return strcmp(answer.fault.code, "DryRunOperation") == 0 ? 0 : r;
    r = euca_reply_tasks(answer.text.data, answer.text.len, &tasks, err);
    return im_fail(err, EPROTO,
                   "the service does not know dry runs and made task %s; cancel it with: "
                   "euca-cancel-conversion-task %s",
                   r == 0 && tasks.count > 0 && tasks.task[0].id ? tasks.task[0].id : "?",
                   r == 0 && tasks.count > 0 && tasks.task[0].id ? tasks.task[0].id : "ID");
}

/* ---- upload ---- */

/* What the task's own words are goes into the manifest; ours, where it has none. */
static int upload(const struct import *import, const struct euca_task *task, struct im_error *err)
{
    const struct euca_task_disk *disk = task->disk_count > 0 ? &task->disk[0] : NULL;
    struct euca_upload job = {
        .s3 = &import->s3,
        .image = &import->image,
        .bucket = import->bucket,
        .manifest_key = import->manifest_key,
        .basename = import->basename,
        .file_format = disk && disk->format ? disk->format : import->format,
        .disk_size = import->disk_size,
        .volume_gib = import->volume_gib,
        .expires_s = import->expires_s,
    };
    int r;

    if (disk && disk->volume_size)
        (void)im_parse_uint(disk->volume_size, INT32_MAX, &job.volume_gib);
    job.progress = euca_progress_new(import->program, import->basename, import->image.file_size,
                                     &import->options.progress);
    if (!job.progress)
        return im_fail(err, ENOMEM, "out of memory");
    r = euca_upload(&job, err);
    euca_progress_free(job.progress);
    return r;
}

/* Work that was begun and not finished: which task waits, and how to be rid of it. */
static void tell_remains(const struct import *import, const struct euca_task *task)
{
    euca_say(import->program, "task %s remains and waits for the rest of the upload", task->id);
    euca_say(import->program, "cancel it with: euca-cancel-conversion-task %s", task->id);
}

static int import_volume(struct import *import, struct im_error *err)
{
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
    const struct own *own = &import->options.own;
    int r = prepare(import, err);

    if (r < 0)
        return r;
    if (own->dry_run)
        return dry_run(import, err);
    if (own->bucket)
        r = euca_s3_ensure_bucket(&import->s3, import->bucket, err);
    if (r == 0)
        r = make_task(import, &tasks, err);
    if (r < 0)
        return r;
    if (!own->no_upload)
        r = upload(import, &tasks.task[0], err);
    if (r < 0) {
        tell_remains(import, &tasks.task[0]);
        return r;
    }
    euca_print_task(stdout, &tasks.task[0]); /* as it was before the upload, as ever */
    return 0;
}

static int run(const char *program, const struct euca_command *command, int argc, char **argv,
               struct im_error *err)
{
    struct import import IM_CLEANUP(import_done) = { .program = program, .image = EUCA_IMAGE };
    const struct euca_option_group groups[] = {
        { own_options, &import.options.own },
        { euca_s3_options_table, &import.options.s3 },
        { euca_progress_options_table, &import.options.progress },
        { NULL, NULL },
    };
    int first;
    int r = euca_options_parse(program, command, &import.options.common, groups, argc, argv, &first,
                               err);

    if (r == 0)
        r = check_arguments(&import, argc - first, argv + first, err);
    return r == 0 ? import_volume(&import, err) : r;
}

const struct euca_command euca_command_import_volume = {
    .name = "import-volume",
    .usage = "-f FORMAT -z ZONE\n"
             "       (-b BUCKET | --manifest-url URL) [options] FILE",
    .help = "Examples:\n"
            "  euca-import-volume -f vmdk -z zone-a -b images disk.vmdk\n"
            "  euca-import-volume -f raw -z zone-a -b images -s 20 -d 'data disk' data.img\n"
            "Make an import task, upload FILE in parts, print the task.\n"
            "  -f, --format FORMAT       raw, vmdk (stream-optimized) or vhd\n"
            "  -z, --availability-zone ZONE\n"
            "  -b, --bucket BUCKET       where to upload to; made when it is not there\n"
            "      --manifest-url URL    instead: an import manifest, existing or to be\n"
            "      --prefix PREFIX       in front of the names of the uploaded objects\n"
            "  -s, --volume-size GiB     default: the disk's size, rounded up\n"
            "      --image-size BYTES    4096, 25M, 2GB; default: as the file tells\n"
            "  -x, --expires DAYS        how long the uploaded objects' URLs are valid (1-7)\n"
            "  -d, --description TEXT    of the task\n"
            "      --no-upload           only make the task; --dry-run: only check\n"
            "      --progress, --no-progress   default: shown on a terminal\n"
            "      --s3-url URL          object storage endpoint (default: S3_URL)\n"
            "  -o, --owner-akid ID, -w, --owner-sak KEY   its keys, when others than EC2's\n",
    .run = run,
};

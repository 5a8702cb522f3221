/* import - make the task, upload the files, show the task.
 *
 * The order on the wire is the historical one: bucket, the action (before any manifest exists),
 * manifest, parts.  Everything that can be wrong with the arguments or the files is found before
 * the first request. */

#include <config.h>

#include "import.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/text.h"

#include "events.h"
#include "follow.h"
#include "import-private.h"
#include "interrupt.h"
#include "manifest.h"
#include "output.h"
#include "remains.h"
#include "s3.h"
#include "upload.h"

#define GIB ((uint64_t)1 << 30)

static void import_done(struct euca_import *import)
{
    for (size_t i = 0; i < import->disk_count; i++) {
        free(import->disk[i].format);
        free(import->disk[i].manifest_url);
        free(import->disk[i].bucket);
        free(import->disk[i].key);
        euca_image_done(&import->disk[i].image);
    }
    euca_endpoint_done(&import->ec2);
    euca_endpoint_done(&import->s3);
}

uint64_t euca_volume_gib(uint64_t bytes)
{
    return bytes / GIB + (bytes % GIB != 0);
}

/* ---- the files ---- */

static int look_at_file(const struct euca_import *import, struct euca_import_disk *disk,
                        struct im_error *err)
{
    int r = euca_image_open(disk->file, &disk->image, err);

    /* Who tells the size is believed: the way for images that this program cannot read. */
    if (r == 0)
        r = euca_image_examine(import->program, &disk->image, disk->format,
                               !import->own.dont_verify_format, &disk->disk_size, err);
    if (r < 0)
        return r;
    if (!import->own.no_upload && strcmp(disk->format, "RAW") == 0 &&
        disk->disk_size != disk->image.file_size)
        return im_fail(err, EINVAL,
                       "argument --image-size: a RAW image is as large as its file: '%s' has "
                       "%" PRIu64 " bytes, not %" PRIu64,
                       disk->file, disk->image.file_size, disk->disk_size);
    if (euca_upload_part_size(disk->image.file_size) == 0)
        return im_fail(err, EFBIG, "'%s' of %" PRIu64 " bytes is too large to upload", disk->file,
                       disk->image.file_size);
    if (disk->volume_gib == 0)
        disk->volume_gib = euca_volume_gib(disk->disk_size);
    return 0;
}

/* ---- where the manifests go ---- */

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
static char *new_manifest_key(const struct euca_import *import, const struct euca_import_disk *disk)
{
    const char *prefix = import->own.prefix ? import->own.prefix : "";
    size_t len = strlen(prefix);
    char *uuid IM_FREE = new_uuid();

    while (len > 0 && prefix[len - 1] == '/')
        len--;
    return uuid ? im_asprintf("%.*s%s%s/%s.manifest.xml", (int)len, prefix, len > 0 ? "/" : "",
                              uuid, disk->basename)
                : NULL;
}

static int presign(const struct euca_import *import, struct euca_import_disk *disk,
                   struct im_error *err)
{
    return euca_s3_presign(disk->s3, "GET", disk->bucket, disk->key, im_clock_now_ms(),
                           import->expires_s, &disk->manifest_url, err);
}

static int locate_manifest(const struct euca_import *import, struct euca_import_disk *disk,
                           struct im_error *err)
{
    const struct euca_import_options *own = &import->own;
    int r = 0;

    if (own->bucket) {
        disk->s3 = &import->s3;
        disk->bucket = strdup(own->bucket);
        disk->key = new_manifest_key(import, disk);
        if (!disk->bucket || !disk->key)
            return im_fail_memory(err);
        return presign(import, disk, err);
    }
    if (import->s3.url)
        r = euca_s3_locate(&import->s3, disk->told_url, &disk->s3, &disk->bucket, &disk->key, err);
    if (r == -EINVAL && own->no_upload) /* somebody else's: the service may know it */
        r = 0;
    /* The service has no keys: what is uploaded here, and not public, it reads by a signed URL. */
    if (r == 0 && disk->key && !strchr(disk->told_url, '?'))
        return presign(import, disk, err);
    if (r < 0)
        return r;
    disk->manifest_url = strdup(disk->told_url);
    return disk->manifest_url ? 0 : im_fail_memory(err);
}

/* Parts are called like their file without its directories, so two files may want one name. */
static int check_apart(const struct euca_import_disk *a, const struct euca_import_disk *b,
                       struct im_error *err)
{
    size_t len = euca_manifest_directory(a->key);

    if (a->s3 != b->s3 || strcmp(a->bucket, b->bucket) != 0)
        return 0;
    if (strcmp(a->key, b->key) == 0)
        return euca_usage(err,
                          "argument --manifest-url: '%.100s' and '%.100s' would have the same "
                          "manifest, \"%.60s/%.100s\"; name one for each",
                          a->file, b->file, a->bucket, a->key);
    if (len != euca_manifest_directory(b->key) || strncmp(a->key, b->key, len) != 0 ||
        strcmp(a->basename, b->basename) != 0)
        return 0;
    return euca_usage(
        err,
        "argument --manifest-url: '%.100s' and '%.100s' would be uploaded to the same "
        "objects, \"%.60s/%.*s/%.60s.part.N\"; name manifests in two directories",
        a->file, b->file, a->bucket, len < 60 ? (int)len : 60, a->key, a->basename);
}

/* No disk's objects may be another's: what was uploaded last would be the volume of both. */
static int check_all_apart(const struct euca_import *import, struct im_error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < import->disk_count; i++)
        for (size_t n = 0; r == 0 && n < i; n++)
            r = check_apart(&import->disk[n], &import->disk[i], err);
    return r;
}

/* A manifest whose URL is complete, with nothing to upload, needs no object store; one without a
 * signature gets it where its store is known. */
static int find_services(struct euca_import *import, struct im_error *err)
{
    bool complete = import->own.no_upload && !import->own.bucket;
    bool optional = complete;

    for (size_t i = 0; complete && i < import->disk_count; i++)
        complete = strchr(import->disk[i].told_url, '?');
    if (complete)
        return euca_find_ec2(import->program, &import->common, &import->ec2, err);
    return euca_find_ec2_and_s3(import->program, &import->common, &import->s3_options, optional,
                                &import->ec2, &import->s3, err);
}

static int prepare(struct euca_import *import, struct im_error *err)
{
    int r = find_services(import, err);

    if (r == 0 && import->s3.url)
        import->expires_s = euca_s3_expires_s(import->program, &import->s3, import->expires_days);
    for (size_t i = 0; r == 0 && i < import->disk_count; i++)
        r = look_at_file(import, &import->disk[i], err);
    for (size_t i = 0; r == 0 && import->own.check && i < import->disk_count; i++)
        r = euca_image_check(&import->disk[i].image, import->disk[i].format,
                             import->kind->numbered && i == 0, err);
    for (size_t i = 0; r == 0 && i < import->disk_count; i++)
        r = locate_manifest(import, &import->disk[i], err);
    return r == 0 && !import->own.no_upload ? check_all_apart(import, err) : r;
}

/* ---- upload ---- */

/* What the task's own words are goes into the manifest; ours, where it has none. */
static struct euca_upload job_of(const struct euca_import *import,
                                 const struct euca_import_disk *disk,
                                 const struct euca_task_disk *told)
{
    struct euca_upload job = {
        .program = import->program,
        .s3 = disk->s3,
        .image = &disk->image,
        .bucket = disk->bucket,
        .manifest_key = disk->key,
        .basename = disk->basename,
        .file_format = told && told->format ? told->format : disk->format,
        .disk_size = disk->disk_size,
        .volume_gib = disk->volume_gib,
        .expires_s = import->expires_s,
        .uploads = import->uploads,
        .progress_options = &import->progress,
    };

    if (told && told->volume_size)
        (void)im_parse_uint(told->volume_size, INT32_MAX, &job.volume_gib);
    return job;
}

/* The user's own manifests may be there already, and of other files: no task is made for those. */
static int check_manifests(struct euca_import *import, struct im_error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < import->disk_count && !import->own.no_upload; i++) {
        struct euca_upload job = job_of(import, &import->disk[i], NULL);

        r = euca_upload_check(&job, &import->disk[i].was_there, err);
    }
    return r;
}

static int upload(const struct euca_import *import, const struct euca_task *task,
                  struct im_error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < import->disk_count; i++) {
        struct euca_upload job =
            job_of(import, &import->disk[i], i < task->disk_count ? &task->disk[i] : NULL);

        r = euca_upload(&job, err);
    }
    return r;
}

/* ---- only as if ---- */

/* Is the place good that is uploaded to?  A bucket that is not there is made, or left to be. */
static int check_place(struct euca_import *import, bool make, struct im_error *err)
{
    return import->own.bucket ? euca_s3_ensure_bucket(&import->s3, import->own.bucket, make, err)
                              : check_manifests(import, err);
}

/* Everything is checked, here, by the object store and by the service, and nothing made. */
static int dry_run(struct euca_import *import, struct im_error *err)
{
    int r = check_place(import, false, err);

    return r < 0 ? r : euca_import_ask(import, err);
}

/* ---- what is left of a failure ---- */

/* Work that was begun and not finished: undone where it cannot be gone on with, else told. */
static void leave(const struct euca_import *import, const struct euca_task *task,
                  struct im_error *err)
{
    const struct euca_image *images[EUCA_DISKS_MAX];
    const struct euca_remains remains = { .program = import->program,
                                          .task_id = task->id,
                                          .common = &import->common,
                                          .s3 = &import->s3_options,
                                          .expires = import->own.expires,
                                          .images = images,
                                          .image_count = import->disk_count };

    for (size_t i = 0; i < import->disk_count; i++)
        images[i] = &import->disk[i].image;
    if (!euca_remains_changed(&remains) || !euca_import_undo(import, task->id, err))
        euca_tell_remains(&remains);
}

/* ---- the whole ---- */

static int import_files(struct euca_import *import, struct im_error *err)
{
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
    const struct euca_import_options *own = &import->own;
    int r = prepare(import, err);

    if (r < 0)
        return r;
    if (own->dry_run)
        return dry_run(import, err);
    r = check_place(import, true, err);
    if (r == 0)
        r = euca_import_make_task(import, &tasks, err);
    if (r < 0)
        return r;
    euca_event_task(&tasks.task[0]);
    if (!own->no_upload)
        r = upload(import, &tasks.task[0], err);
    if (r < 0) {
        leave(import, &tasks.task[0], err);
        return r;
    }
    if (own->wait)
        r = euca_wait(import->program, &import->common, &import->ec2, tasks.task[0].id,
                      import->progress.no_progress, err);
    else if (!euca_events())
        euca_print_task(stdout, &tasks.task[0]); /* as it was before the upload, as ever */
    /* main tells of the failure; the id would be lost. */
    if (fflush(stdout) != 0 || ferror(stdout))
        euca_say(import->program, "task %s was made all the same", tasks.task[0].id);
    return r;
}

int euca_import(const char *program, const struct euca_command *command,
                const struct euca_import_kind *kind, int argc, char **argv, struct im_error *err)
{
    struct euca_import import IM_CLEANUP(import_done) = { .program = program, .kind = kind };
    int r = euca_import_arguments(&import, command, argc, argv, err);

    return r == 0 ? import_files(&import, err) : r;
}

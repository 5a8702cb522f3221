/* euca-delete-disk-image - delete what was uploaded for an import: the parts and the manifest. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#include "command.h"
#include "disk-image.h"
#include "hint.h"
#include "interrupt.h"
#include "options.h"
#include "s3.h"
#include "task.h"

struct own {
    const char *task;
    const char *manifest_url;
    bool ignore_active_task;
    bool dry_run;
};

static const struct euca_option own_options[] = {
    EUCA_TEXT(own, task, "task", 't'),
    EUCA_TEXT(own, manifest_url, "manifest-url", 'u'),
    EUCA_FLAG(own, ignore_active_task, "ignore-active-task", '\0'),
    EUCA_FLAG(own, dry_run, "dry-run", '\0'),
    { 0 },
};

/* What is to be deleted, all of it found and proven before anything is. */
struct images {
    struct euca_endpoint ec2, s3;
    size_t count;
    struct euca_disk_image image[EUCA_DISKS_MAX];
};

static void images_done(struct images *images)
{
    for (size_t i = 0; i < images->count; i++)
        euca_disk_image_done(&images->image[i]);
    euca_endpoint_done(&images->ec2);
    euca_endpoint_done(&images->s3);
}

static int check(const struct own *own, const struct euca_s3_options *s3_options, int operands,
                 char **operand, struct im_error *err)
{
    if (own->task && own->manifest_url)
        return euca_usage(err, "argument -u/--manifest-url: not allowed with argument -t/--task");
    if (!own->task && !own->manifest_url)
        return euca_usage(err, "one of the arguments -t/--task -u/--manifest-url is required");
    if (operands > 0)
        return euca_usage(err, "unrecognized arguments: %s", operand[0]);
    if (own->ignore_active_task && !own->task) /* the typing mistake is an old one */
        return euca_usage(err, "argument --ignore-active-task my only be used with -t/--task");
    if (own->task && !*own->task)
        return euca_usage(err, "argument -t/--task: it is empty");
    return euca_check_s3_options(s3_options, err);
}

/* ---- finding ---- */

static int find_image(struct images *images, const char *url, struct im_error *err)
{
    int r = euca_disk_image_find(&images->s3, url, &images->image[images->count], err);

    if (r == 0)
        images->count++;
    return r;
}

/* Somebody may be reading what would be deleted. */
static int check_ended(const char *program, const struct euca_task *task,
                       const struct euca_common *common, const char *id, struct im_error *err)
{
    const char *const cancel[] = { id, NULL }, *const watch[] = { "--watch", id, NULL };
    bool cancelling = task->state && strcmp(task->state, "cancelling") == 0;
    char *hint IM_FREE = NULL;

    if (euca_task_has_ended(task))
        return 0;
    if (!euca_task_is_active(task))
        return euca_task_strange(task, err);
    hint = cancelling ? euca_hint("describe-conversion-tasks", common, watch)
                      : euca_hint("cancel-conversion-task", common, cancel);
    if (!hint)
        return im_fail_memory(err);
    euca_tell_keys(program, common, NULL);
    return im_fail(err, EBUSY,
                   "task %s is still %s; %s with: %s (or delete what it needs all the same, with "
                   "--ignore-active-task)",
                   id, task->state, cancelling ? "wait for its end" : "cancel it first", hint);
}

/* The images of all its disks.  Some may have been deleted before, by a command that did not come
 * to its end; none at all is an error. */
static int find_all(struct images *images, const struct euca_task *task, const char *id,
                    struct im_error *err)
{
    int r = 0;

    if (task->disk_count == 0 || task->disk_count > EUCA_DISKS_MAX)
        return im_fail_code(err, EBADMSG, "BadReply",
                            "the server's answer tells of %zu disks in task %s; from 1 to %d are "
                            "possible",
                            task->disk_count, id, EUCA_DISKS_MAX);
    for (size_t i = 0; i < task->disk_count && (r == 0 || r == -ENOENT); i++)
        if (!task->disk[i].manifest_url)
            r = im_fail_code(err, EBADMSG, "BadReply",
                             "the server's answer names no manifest of task %s", id);
        else
            r = find_image(images, task->disk[i].manifest_url, err);
    return r == -ENOENT && images->count > 0 ? 0 : r;
}

static int find_by_task(const char *program, struct images *images,
                        const struct euca_common *common, const struct own *own,
                        struct im_error *err)
{
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
    int r = euca_task_find(&images->ec2, own->task, &tasks, err);

    if (r == 0 && !own->ignore_active_task)
        r = check_ended(program, &tasks.task[0], common, own->task, err);
    return r < 0 ? r : find_all(images, &tasks.task[0], own->task, err);
}

/* ---- deleting ---- */

static void print_object(const char *bucket, const char *key)
{
    char shown[EUCA_KEY_MAX + 1];

    printf("%s/%s\n", bucket, im_text_printable(shown, sizeof(shown), key));
}

static void list(const struct images *images)
{
    for (size_t i = 0; i < images->count; i++) {
        const struct euca_disk_image *image = &images->image[i];

        for (size_t n = 0; n < image->manifest->part_count; n++)
            print_object(image->bucket, image->manifest->part[n].key);
        print_object(image->bucket, image->key);
    }
}

static int delete_all(const char *program, const struct images *images, struct im_error *err)
{
    for (size_t i = 0; i < images->count; i++) {
        const struct euca_disk_image *image = &images->image[i];
        size_t parts = image->manifest->part_count;
        char shown[EUCA_KEY_MAX + 1];
        int r = euca_disk_image_delete(image, err);

        if (r < 0) {
            euca_say(program, "the manifest is still there: the same command deletes the rest");
            return r;
        }
        printf("Deleted %zu part%s and manifest %s/%s (%" PRIu64 " bytes)\n", parts,
               parts == 1 ? "" : "s", image->bucket,
               im_text_printable(shown, sizeof(shown), image->key), image->manifest->file_size);
    }
    return 0;
}

static int run(const char *program, const struct euca_command *command, int argc, char **argv,
               struct im_error *err)
{
    struct images images IM_CLEANUP(images_done) = { 0 };
    struct euca_common common = { 0 };
    struct euca_s3_options s3_options = { 0 };
    struct own own = { 0 };
    const struct euca_option_group groups[] = { { own_options, &own },
                                                { euca_s3_options_table, &s3_options },
                                                { NULL, NULL } };
    int first;
    int r = euca_options_parse(program, command, &common, groups, argc, argv, &first, err);

    if (r != 0)
        return r;
    r = check(&own, &s3_options, argc - first, argv + first, err);
    if (r == 0)
        r = euca_find_ec2_and_s3(program, &common, &s3_options, false, &images.ec2, &images.s3,
                                 err);
    if (r == 0)
        r = own.task ? find_by_task(program, &images, &common, &own, err)
                     : find_image(&images, own.manifest_url, err);
    if (r < 0)
        return r;
    if (!own.dry_run)
        return delete_all(program, &images, err);
    list(&images);
    return 0;
}

const struct euca_command euca_command_delete_disk_image = {
    .name = "delete-disk-image",
    .usage = "(-t TASK | -u URL) [options]",
    .help = "\n"
            "Examples:\n"
            "  euca-delete-disk-image -t import-vol-1a2b3c4d\n"
            "  euca-delete-disk-image -u http://s3.example/images/0b7c/disk.img.manifest.xml\n"
            "\n"
            "Delete what was uploaded for an import: all parts, and then the manifest.  The\n"
            "volume or instance that was made of it stays.\n"
            "\n"
            "  -t, --task TASK           of this task, which must have ended\n"
            "      --ignore-active-task  or need not\n"
            "  -u, --manifest-url URL    instead: what this import manifest names\n"
            "      --dry-run             only list what would be deleted\n" EUCA_S3_HELP,
    .run = run,
};

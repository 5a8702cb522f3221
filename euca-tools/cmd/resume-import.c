/* euca-resume-import - go on with an upload that was broken off.
 *
 * What is there is found out by asking: the task for its manifest, the manifest for its parts, and
 * each part for its size and digest.  Nothing is kept on this machine. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

#include "command.h"
#include "events.h"
#include "follow.h"
#include "image.h"
#include "import.h"
#include "interrupt.h"
#include "options.h"
#include "remains.h"
#include "s3.h"
#include "task.h"
#include "upload.h"

#define MIB ((uint64_t)1 << 20)

struct own {
    const char *task;
    const char *expires;
    const char *part_size; /* MiB; this and the next three are not in --help: they never were */
    const char *user_threads;
    bool dont_verify_format;
    bool dry_run;
    bool wait;
};

static const struct euca_option own_options[] = {
    EUCA_TEXT(own, task, "task", 't'),
    EUCA_TEXT(own, expires, "expires", 'x'),
    EUCA_TEXT(own, part_size, "part-size", '\0'),
    EUCA_TEXT(own, user_threads, "user-threads", '\0'), /* this and the next never had an effect */
    EUCA_FLAG(own, dont_verify_format, "dont-verify-format", '\0'),
    EUCA_FLAG(own, dry_run, "dry-run", '\0'),
    EUCA_FLAG(own, wait, "wait", '\0'),
    { 0 },
};

/* One disk of the task. */
struct disk {
    struct euca_image image;
    const struct euca_endpoint *s3;
    char *bucket, *key; /* of its manifest */
    bool done;          /* the service has it already */
};

struct resume {
    const char *program;
    struct euca_common common;
    struct euca_s3_options s3_options;
    struct euca_progress_options progress;
    struct own own;
    uint64_t expires_days; /* 0: the default */
    uint64_t expires_s;
    uint64_t part_size; /* bytes; 0: not told */
    unsigned uploads;
    struct euca_endpoint ec2, s3;
    struct euca_tasks tasks; /* the one */
    size_t count;
    const char *file[EUCA_DISKS_MAX];
    struct disk disk[EUCA_DISKS_MAX];
};

static void resume_done(struct resume *resume)
{
    for (size_t i = 0; i < resume->count; i++) {
        euca_image_done(&resume->disk[i].image);
        free(resume->disk[i].bucket);
        free(resume->disk[i].key);
    }
    euca_tasks_done(&resume->tasks);
    euca_endpoint_done(&resume->ec2);
    euca_endpoint_done(&resume->s3);
}

/* ---- arguments ---- */

static int check_part_size(struct resume *resume, struct im_error *err)
{
    const char *text = resume->own.part_size;
    uint64_t mib;
    int r;

    if (!text)
        return 0;
    r = euca_option_number("--part-size", text, UINT64_MAX, &mib, err);
    if (r == 0 && (mib == 0 || mib > EUCA_PART_SIZE_MAX / MIB))
        r = euca_usage(err, "argument --part-size: '%s' is not in the range 1-%" PRIu64, text,
                       EUCA_PART_SIZE_MAX / MIB);
    resume->part_size = mib * MIB;
    return r;
}

static int check_arguments(struct resume *resume, int operands, char **operand,
                           struct im_error *err)
{
    int r;

    if (operands == 0)
        return euca_usage(err, "too few arguments");
    if (!resume->own.task || !*resume->own.task)
        return euca_usage(err, "argument -t/--task is required");
    if (operands > EUCA_DISKS_MAX)
        return euca_usage(err, "unrecognized arguments: %s", operand[EUCA_DISKS_MAX]);
    for (int i = 0; i < operands; i++) {
        resume->file[i] = operand[i];
        resume->disk[resume->count++] = (struct disk){ .image = EUCA_IMAGE };
    }
    r = euca_check_progress(&resume->progress, &resume->uploads, err);
    if (r == 0)
        r = euca_option_days(resume->own.expires, &resume->expires_days, err);
    if (r == 0)
        r = check_part_size(resume, err);
    return r < 0 ? r : euca_check_s3_options(&resume->s3_options, err);
}

/* ---- the task ---- */

/* May anything be uploaded for it?  Of a task that is completed nothing is missing: whoever resumes
 * in a loop until it succeeds has succeeded. */
static int check_task(const struct resume *resume, struct im_error *err)
{
    const struct euca_task *task = &resume->tasks.task[0];
    const char *id = resume->own.task;

    if (task->state && strcmp(task->state, "active") != 0 && !euca_task_has_completed(task))
        return im_fail(err, EALREADY,
                       "task '%s' is %s%s%s%s: it takes no upload any more; import the file anew",
                       id, task->state, task->status_message ? " (" : "",
                       task->status_message ? task->status_message : "",
                       task->status_message ? ")" : "");
    if (task->disk_count != resume->count)
        return euca_usage(err, "task '%s' has %zu disk%s, but %zu file%s given: one for each", id,
                          task->disk_count, task->disk_count == 1 ? "" : "s", resume->count,
                          resume->count == 1 ? " was" : "s were");
    return 0;
}

static int locate(struct resume *resume, size_t n, struct im_error *err)
{
    const struct euca_task_disk *told = &resume->tasks.task[0].disk[n];
    struct disk *disk = &resume->disk[n];
    char until[21];
    int64_t expiry_ms;

    disk->done = euca_task_has_completed(&resume->tasks.task[0]) ||
                 (told->status && strcmp(told->status, "completed") == 0);
    if (!told->manifest_url)
        return im_fail(err, EBADMSG, "task '%s' does not say where the manifest of its disk %zu is",
                       resume->own.task, n + 1);
    expiry_ms = euca_s3_expiry_ms(told->manifest_url);
    if (expiry_ms < im_clock_now_ms() && !disk->done)
        euca_say(
            resume->program,
            "warning: the URL of the manifest, which task %s keeps, expired %s: if the service "
            "has not read the manifest yet, it cannot; cancel the task then, and import anew",
            resume->own.task, im_clock_iso8601(until, sizeof(until), expiry_ms));
    return euca_s3_locate(&resume->s3, told->manifest_url, &disk->s3, &disk->bucket, &disk->key,
                          err);
}

/* All that can be wrong with files and task, before anything is sent. */
static int prepare(struct resume *resume, struct im_error *err)
{
    int r = euca_find_ec2_and_s3(resume->program, &resume->common, &resume->s3_options, false,
                                 &resume->ec2, &resume->s3, err);

    if (r == 0)
        resume->expires_s = euca_s3_expires_s(resume->program, &resume->s3, resume->expires_days);
    for (size_t i = 0; r == 0 && i < resume->count; i++)
        r = euca_image_open(resume->file[i], &resume->disk[i].image, err);
    if (r == 0)
        r = euca_task_find(&resume->ec2, resume->own.task, &resume->tasks, err);
    if (r == 0)
        r = check_task(resume, err);
    for (size_t i = 0; r == 0 && i < resume->count; i++)
        r = locate(resume, i, err);
    return r;
}

/* ---- upload ---- */

/* A number of the task; `preset` when it tells none. */
static uint64_t number(const char *text, uint64_t preset)
{
    uint64_t value;

    return text && im_parse_uint(text, INT64_MAX, &value) == 0 ? value : preset;
}

/* What disk n needs; a manifest that is not there is made of what the task says. */
static struct euca_upload job_of(const struct resume *resume, size_t n)
{
    const struct euca_task_disk *told = &resume->tasks.task[0].disk[n];
    const struct disk *disk = &resume->disk[n];
    uint64_t bytes = number(told->size, disk->image.file_size);

    return (struct euca_upload){
        .program = resume->program,
        .s3 = disk->s3,
        .image = &disk->image,
        .bucket = disk->bucket,
        .manifest_key = disk->key,
        .basename = im_text_basename(resume->file[n]),
        .file_format = told->format ? told->format : "RAW",
        .disk_size = bytes,
        .volume_gib = number(told->volume_size, euca_volume_gib(bytes)),
        .expires_s = resume->expires_s,
        .part_size = resume->part_size,
        .uploads = resume->uploads,
        .progress_options = &resume->progress,
    };
}

/* As the historical command began where it showed progress. */
static void announce(const struct resume *resume)
{
    const struct euca_progress_options *options = &resume->progress;

    if (euca_events())
        euca_event_task(&resume->tasks.task[0]);
    else if (options->progress || (isatty(STDOUT_FILENO) && !options->no_progress))
        printf("Uploading image for task %s\n", resume->own.task);
    (void)fflush(stdout);
}

static void tell_remains(const struct resume *resume)
{
    const struct euca_image *images[EUCA_DISKS_MAX];

    for (size_t i = 0; i < resume->count; i++)
        images[i] = &resume->disk[i].image;
    euca_tell_remains(&(struct euca_remains){ .program = resume->program,
                                              .task_id = resume->own.task,
                                              .common = &resume->common,
                                              .s3 = &resume->s3_options,
                                              .expires = resume->own.expires,
                                              .images = images,
                                              .image_count = resume->count });
}

static int resume_import(struct resume *resume, struct im_error *err)
{
    int r = prepare(resume, err);

    /* One file of the wrong size, and none is sent. */
    for (size_t i = 0; r == 0 && i < resume->count; i++) {
        struct euca_upload job = job_of(resume, i);

        r = resume->disk[i].done ? 0 : euca_upload_check(&job, NULL, err);
    }
    if (r < 0 || resume->own.dry_run)
        return r;
    announce(resume);
    for (size_t i = 0; r == 0 && i < resume->count; i++) {
        struct euca_upload job = job_of(resume, i);

        r = resume->disk[i].done ? 0 : euca_upload(&job, err);
    }
    if (r < 0)
        tell_remains(resume);
    else if (resume->own.wait)
        r = euca_wait(resume->program, &resume->common, &resume->ec2, resume->own.task,
                      resume->progress.no_progress, err);
    return r;
}

static int run(const char *program, const struct euca_command *command, int argc, char **argv,
               struct im_error *err)
{
    struct resume resume IM_CLEANUP(resume_done) = { .program = program };
    const struct euca_option_group groups[] = {
        { own_options, &resume.own },
        { euca_s3_options_table, &resume.s3_options },
        { euca_progress_options_table, &resume.progress },
        { NULL, NULL },
    };
    int first;
    int r = euca_options_parse(program, command, &resume.common, groups, argc, argv, &first, err);

    if (r == 0)
        r = check_arguments(&resume, argc - first, argv + first, err);
    return r == 0 ? resume_import(&resume, err) : r;
}

const struct euca_command euca_command_resume_import = {
    .name = "resume-import",
    .usage = "-t TASK [options] FILE [FILE ...]",
    .help = "\n"
            "Examples:\n"
            "  euca-resume-import -t import-vol-1a2b3c4d disk.vmdk\n"
            "  euca-resume-import -t import-i-1a2b3c4d system.vmdk data.img\n"
            "\n"
            "Send what is missing of an upload that was broken off; what is there is compared\n"
            "with FILE.  A task of several disks gets its files in their order.\n"
            "\n"
            "  -t, --task TASK           as the import told it\n"
            "      --wait                until the task has ended\n" EUCA_UPLOAD_HELP,
    .run = run,
};

/* import-task - ImportVolume and ImportInstance: asked, or only asked about. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#include "client.h"
#include "hint.h"
#include "import-private.h"

/* "DiskImage.1." in front of a disk's parameters, or nothing. */
static const char *disk_prefix(const struct euca_import *import, size_t n, char *buf, size_t size)
{
    buf[0] = '\0';
    if (import->kind->numbered)
        (void)snprintf(buf, size, "DiskImage.%zu.", n + 1);
    return buf;
}

static void add_disk(const struct euca_import *import, size_t n, struct euca_form *form)
{
    const struct euca_import_disk *disk = &import->disk[n];
    char prefix[40], bytes[24], gib[24];

    disk_prefix(import, n, prefix, sizeof(prefix));
    (void)snprintf(bytes, sizeof(bytes), "%" PRIu64, disk->disk_size);
    (void)snprintf(gib, sizeof(gib), "%" PRIu64, disk->volume_gib);
    euca_form_add(form, disk->format, "%sImage.Format", prefix);
    euca_form_add(form, bytes, "%sImage.Bytes", prefix);
    euca_form_add(form, disk->manifest_url, "%sImage.ImportManifestUrl", prefix);
    euca_form_add(form, gib, "%sVolume.Size", prefix);
}

static int call(const struct euca_import *import, struct euca_answer *answer, struct im_error *err)
{
    struct euca_form form EUCA_FORM_DONE = EUCA_FORM;

    for (size_t i = 0; i < import->disk_count; i++)
        add_disk(import, i, &form);
    import->kind->add(&import->own, import->kind->values, &form);
    euca_form_add(&form, import->own.description, "Description");
    euca_form_add(&form, import->own.dry_run ? "true" : NULL, "DryRun");
    return euca_call(&import->ec2, import->kind->action, &form, true, answer, err);
}

/* An id is a word: it stands in names, columns and commands. */
static bool is_id(const char *id)
{
    return id && *id != '-' &&
           id[strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")] == 0;
}

int euca_import_make_task(const struct euca_import *import, struct euca_tasks *ret_tasks,
                          struct im_error *err)
{
    struct euca_answer answer EUCA_ANSWER_DONE = { 0 };
    int r = call(import, &answer, err);

    if (r < 0)
        return r;
    r = euca_reply_tasks(answer.text.data, answer.text.len, ret_tasks, err);
    if (r == 0 && (ret_tasks->count != 1 || !is_id(ret_tasks->task[0].id)))
        r = im_fail_code(err, EBADMSG, "BadReply",
                         "the server's answer to %s names no conversion task",
                         import->kind->action);
    return r < 0 ? euca_maybe_stored(import->kind->action, err) : 0;
}

/* ---- only as if ---- */

/* Services without dry runs refuse the parameter they do not know (Eucalyptus: "Failed to bind the
 * following fields", "Default binding failed"), or do not look at it. */
static bool does_not_know_dry_runs(const struct euca_fault *fault)
{
    return strstr(fault->message, "DryRun") || strstr(fault->message, "Failed to bind") ||
           strstr(fault->message, "binding failed");
}

/* What should only have been looked at was done, and is undone.  id: of the task, NULL when it is
 * not known. */
static int not_dry(const struct euca_import *import, const char *id, struct im_error *err)
{
    const char *const words[] = { id ? id : "ID", NULL };
    struct im_error ignored;
    char *hint IM_FREE = NULL;

    if (is_id(id) && euca_task_cancel(&import->ec2, id, &ignored) == 0)
        return im_fail(err, EPROTO,
                       "the service does not know dry runs: it made task %s, which was cancelled",
                       id);
    hint = euca_hint("cancel-conversion-task", &import->common, words);
    if (!hint)
        return im_fail_memory(err);
    euca_tell_keys(import->program, &import->common, NULL);
    return im_fail(err, EPROTO,
                   "the service does not know dry runs and made task %s; cancel it with: %s",
                   id ? id : "?", hint);
}

int euca_import_ask(const struct euca_import *import, struct im_error *err)
{
    struct euca_answer answer EUCA_ANSWER_DONE = { 0 };
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
    int r = call(import, &answer, err);

    if (r < 0 && strcmp(answer.fault.code, "DryRunOperation") == 0)
        return 0;
    if (r < 0 && does_not_know_dry_runs(&answer.fault))
        return im_fail(err, EOPNOTSUPP,
                       "the service does not know dry runs: the files and the arguments are right "
                       "as far as can be told without it, and nothing was made");
    if (r < 0)
        return r;
    r = euca_reply_tasks(answer.text.data, answer.text.len, &tasks, err);
    return not_dry(import, r == 0 && tasks.count > 0 ? tasks.task[0].id : NULL, err);
}

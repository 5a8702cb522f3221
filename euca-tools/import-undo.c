/* import-undo - an import that cannot be gone on with leaves neither task nor objects. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#include "disk-image.h"
#include "hint.h"
#include "import-private.h"

/* Delete what the upload of a disk has made. */
static int delete_objects(const struct euca_import_disk *disk, struct im_error *err)
{
    struct euca_disk_image image EUCA_DISK_IMAGE_DONE = { 0 };
    int r = euca_disk_image_find(disk->s3, disk->manifest_url, &image, err);

    if (r == 0)
        r = euca_disk_image_delete(&image, err);
    return r == -ENOENT ? 0 : r;
}

/* "and what was uploaded is deleted", or the command that does it; a new string. */
static char *delete_all(const struct euca_import *import, const char *task_id)
{
    const char *s3_url = import->s3_options.s3_url;
    const char *const words[] = { "-t", task_id, s3_url ? "--s3-url" : NULL, s3_url, NULL };
    char *hint IM_FREE = NULL;
    struct im_error ignored;
    int r = 0;

    for (size_t i = 0; r == 0 && i < import->disk_count; i++)
        if (!import->disk[i].was_there)
            r = delete_objects(&import->disk[i], &ignored);
    if (r == 0)
        return strdup("and what was uploaded is deleted");
    hint = euca_hint("delete-disk-image", &import->common, words);
    if (hint)
        euca_tell_keys(import->program, &import->common, &import->s3_options);
    return hint ? im_asprintf("delete what was uploaded with: %s", hint) : NULL;
}

bool euca_import_undo(const struct euca_import *import, const char *task_id, struct im_error *err)
{
    char *objects IM_FREE = NULL;
    struct im_error ignored;
    char why[IM_ERROR_MAX];

    if (euca_task_cancel(&import->ec2, task_id, &ignored) < 0)
        return false;
    objects = delete_all(import, task_id);
    (void)snprintf(why, sizeof(why), "%.*s", IM_ERROR_MAX - 200, err->message);
    (void)im_fail_code(err, err->number, err->code,
                       "%s; as a file has another size now, task %s was cancelled, %s", why,
                       task_id, objects ? objects : "what was uploaded remains");
    return true;
}

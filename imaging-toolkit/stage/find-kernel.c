/* find-kernel - does a bare file system hold a kernel where the boot loader looks for one? */

#include <config.h>

#include "stage/find-kernel.h"

#include <errno.h>
#include <string.h>

#include "base/buffer.h"
#include "guest/guest.h"

/* Bytes of the names in /boot; a distribution's kernels have some hundred. */
#define NAMES_MAX (1u << 20)

/* 1 yes, 0 no, or the failure to look. */
static int is_file(struct im_guest *guest, const char *path, struct im_error *err)
{
    struct im_file file;
    int r = im_fs_stat(guest, &guest->fs[0], path, &file, err);

    if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
        return 0;
    return r < 0 ? r : file.kind == IM_FILE_REGULAR;
}

static int in_boot(struct im_guest *guest, struct im_error *err)
{
    struct im_buffer names IM_BUFFER_DONE = IM_BUFFER(NAMES_MAX);
    size_t count = 0;
    const char *name;
    int r = im_fs_list(guest, &guest->fs[0], "/boot", &names, &count, err);

    if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
        return 0;
    if (r < 0)
        return r;
    name = names.data;
    for (size_t i = 0; i < count; i++, name += strlen(name) + 1)
        if (strncmp(name, "vmlinuz", 7) == 0)
            return 1;
    return 0;
}

int find_kernel(struct im_disk *image, const struct im_context *context, bool *ret_found,
                struct im_error *err)
{
    struct im_look look = { .disk = image, .fd = -1, .context = context };
    struct im_guest *guest = NULL;
    struct im_error local = { 0 }; /* what is not there is no failure */
    int r = im_guest_of(&look, &guest, &local);

    if (r == 0 && guest->fs_count != 1)
        r = im_fail(&local, EOPNOTSUPP, "the image is not one file system");
    if (r == 0)
        r = is_file(guest, "/vmlinuz", &local);
    if (r == 0)
        r = in_boot(guest, &local);
    im_look_done(&look);
    if (r >= 0)
        *ret_found = r > 0;
    else if (err)
        *err = local;
    return r < 0 ? r : 0;
}

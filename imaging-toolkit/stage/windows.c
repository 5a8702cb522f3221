/* windows - what the validators of Windows disks share; see windows.h. */

#include <config.h>

#include "stage/windows.h"

#include <errno.h>
#include <stdio.h>

int windows_of(struct im_look *look, struct im_guest **ret_guest, struct im_error *err)
{
    int r = im_guest_of(look, ret_guest, err);
    const struct im_guest *guest = *ret_guest;

    if (r < 0)
        return r;
    if (guest->root && guest->windows)
        return 1;
    if (guest->root)
        im_report_okay(look->report, "The system is Linux: there is nothing to ask here");
    else
        im_report_unknown(look->report, "No Windows was found%s%s", *guest->unread ? ": " : "",
                          guest->unread);
    return 0;
}

const char *windows_place(const struct im_fs *fs, char *buf, size_t size)
{
    if (fs->part)
        (void)snprintf(buf, size, "partition %u", fs->part->number);
    else
        (void)snprintf(buf, size, "the disk");
    return buf;
}

int windows_answer(struct im_look *look, const char *path, int r, const struct im_error *why,
                   struct im_error *err)
{
    switch (r) {
    case 0:
        return WINDOWS_FOUND;
    case -ENOENT:
    case -ENOTDIR:
        return WINDOWS_ABSENT;
    case -ELOOP:
    case -EISDIR:
    case -EOPNOTSUPP:
    case -EFBIG:
    case -EBADMSG:
        im_report_unknown(look->report, "%s: %s", path, why->message);
        return WINDOWS_UNREADABLE;
    default:
        if (err)
            *err = *why;
        return r;
    }
}

int windows_head(struct im_look *look, struct im_guest *guest, const struct im_fs *fs,
                 const char *path, size_t len, struct im_buffer *bytes, struct im_error *err)
{
    struct im_error why = { 0 };
    int r = im_fs_head(guest, fs, path, len, bytes, &why);

    return windows_answer(look, path, r, &why, err);
}

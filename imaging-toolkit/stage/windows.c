/* windows - what the validators of Windows disks share; see windows.h. */

#include <config.h>

#include "stage/windows.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "guest/hive.h"

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

static int tell(struct im_look *look, const char *path, int r, const struct im_error *why,
                struct im_error *err)
{
    r = im_guest_answer(r);
    if (r == WINDOWS_UNREADABLE)
        im_report_unknown(look->report, "%s: %s", path, why->message);
    else if (r < 0 && err)
        *err = *why;
    return r;
}

int windows_head(struct im_look *look, struct im_guest *guest, const struct im_fs *fs,
                 const char *path, size_t len, struct im_buffer *bytes, struct im_error *err)
{
    struct im_error why = { 0 };
    int r = im_fs_head(guest, fs, path, len, bytes, &why);

    return tell(look, path, r, &why, err);
}

/* ---- the registry ---- */

#define MISSING_FILES "Unknown OS / Missing OS files"
#define PUT_BACK                                                                                   \
    "restore it from its backup in \\Windows\\System32\\config\\RegBack, or repair Windows from "  \
    "its "                                                                                         \
    "installation disc"

int windows_hive(struct im_look *look, struct im_guest *guest, const char *path,
                 struct im_hive **ret_hive, struct im_error *err)
{
    struct im_error why = { 0 };
    int r = im_hive_of(guest, path, ret_hive, &why);

    if (r == -ENOENT || r == -ENOTDIR) {
        im_report_fault(look->report, "MissingFiles", MISSING_FILES, PUT_BACK,
                        "There is no registry hive %s", path);
        return WINDOWS_ABSENT;
    }
    if (r == -EBADMSG) {
        im_report_fault(look->report, "RegistryDamaged", NULL, PUT_BACK,
                        "The registry hive %s cannot be read: %s", path, why.message);
        return WINDOWS_ABSENT;
    }
    return tell(look, path, r, &why, err);
}

bool windows_control_set(struct im_report *report, struct im_hive *hive, char *set)
{
    struct im_buffer names IM_BUFFER_DONE = IM_BUFFER(IM_HIVE_KEYS_MAX * 64);
    uint32_t number = 0;
    size_t count = 0;
    char key[WINDOWS_SET_MAX + 16];
    int r = im_hive_number(hive, "Select", "Current", &number);

    if (r < 0) {
        im_report_fault(report, "RegistryDamaged", NULL, PUT_BACK,
                        "The hive SYSTEM does not say which control set is the current one: it has "
                        "no number Select\\Current");
        return false;
    }
    (void)snprintf(set, WINDOWS_SET_MAX, "ControlSet%03" PRIu32, number);
    (void)snprintf(key, sizeof(key), "%s\\Services", set);
    if (im_hive_keys(hive, key, &names, &count) < 0 || count == 0) {
        im_report_fault(report, "RegistryDamaged", NULL, PUT_BACK,
                        "The hive SYSTEM names %s as its current control set, but that has no "
                        "services",
                        set);
        return false;
    }
    return true;
}

/* check-ntfs - was every NTFS left in order: unmounted, not asleep, not cut?
 *
 * A Windows that was hibernated, or shut down with fast startup, goes on where it was when it is
 * started: on other hardware it cannot.  The file system is not checked beyond that; Windows' own
 * chkdsk does. */

#include <config.h>

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "guest/as-file.h"
#include "stage/windows.h"

#define SECTOR 512u

#define SHUT_DOWN "start it once more where it was, let chkdsk end, and run: shutdown /s /t 0"
#define WAKE_UP                                                                                    \
    "start it once more where it was and run: powercfg /hibernate off, then shutdown /s /t 0"
#define WHOLE_IMAGE "export the disk again, whole"
#define RESTORE     "let chkdsk /f write it again"

static void judge_clean(const struct im_fs *fs, const char *place, struct im_report *report)
{
    if (fs->clean == IM_DIRTY)
        im_report_fault(report, "FileSystemDirty", NULL, SHUT_DOWN,
                        "The NTFS of %s was not left in order: %s", place, fs->dirt);
    else if (fs->clean == IM_CLEAN_UNKNOWN)
        im_report_unknown(report, "Whether the NTFS of %s was left in order cannot be read", place);
    else
        im_report_okay(report, "The NTFS of %s was left in order", place);
}

/* The file begins with "hibr" (since Windows 8 "HIBR") while there is a state to go on from, with
 * "RSTR" while one is being restored, and with "wake", "WAKE" or zeros after that. */
static int judge_hibernation(struct im_look *look, struct im_guest *guest, const struct im_fs *fs,
                             const char *place, struct im_error *err)
{
    struct im_buffer head IM_BUFFER_DONE = IM_BUFFER(16);
    char word[5] = "";
    int r = windows_head(look, guest, fs, "/hiberfil.sys", 4, &head, err);

    if (r != WINDOWS_FOUND)
        return r < 0 ? r : 0;
    for (size_t i = 0; i < head.len && i < 4; i++)
        word[i] = (char)tolower((unsigned char)head.data[i]);
    if (strcmp(word, "hibr") == 0 || strcmp(word, "rstr") == 0)
        im_report_fault(look->report, "Hibernated", NULL, WAKE_UP,
                        "The Windows of %s is hibernated, or was shut down with fast startup: its "
                        "hiberfil.sys begins with \"%s\"",
                        place, head.data);
    return 0;
}

/* The copy of the boot sector stands behind the last sector that the first one counts. */
static int judge_boot_sector(struct im_look *look, const struct im_fs *fs, const char *place,
                             struct im_error *err)
{
    uint8_t first[SECTOR], copy[SECTOR];
    uint64_t unit, end;
    int r = im_disk_read(look->disk, first, sizeof(first), fs->offset, err);

    if (r < 0)
        return r;
    unit = im_le16(first + 11);
    if (__builtin_mul_overflow(im_le64(first + 40), unit, &end) || unit < SECTOR || end > fs->len ||
        fs->len - end < SECTOR) {
        im_report_fault(look->report, "FileSystemCut", NULL, WHOLE_IMAGE,
                        "The NTFS of %s has %" PRIu64 " sectors of %" PRIu64
                        " bytes, but its place has only %" PRIu64 " bytes",
                        place, im_le64(first + 40), unit, fs->len);
        return 0;
    }
    r = im_disk_read(look->disk, copy, sizeof(copy), fs->offset + end, err);
    if (r == 0 && memcmp(first, copy, sizeof(first)) != 0)
        im_report_warning(look->report, RESTORE,
                          "The NTFS of %s has no copy of its boot sector behind its end, at byte "
                          "%" PRIu64,
                          place, fs->offset + end);
    return r;
}

static int look_at(struct im_look *look, struct im_guest *guest, const struct im_fs *fs,
                   struct im_error *err)
{
    char place[32];
    int r;

    (void)windows_place(fs, place, sizeof(place));
    judge_clean(fs, place, look->report);
    r = judge_boot_sector(look, fs, place, err);
    return r < 0 ? r : judge_hibernation(look, guest, fs, place, err);
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct im_guest *guest;
    unsigned count = 0;
    int r = im_guest_of(look, &guest, err);

    (void)args;
    for (unsigned i = 0; r == 0 && i < guest->fs_count; i++)
        if (strcmp(guest->fs[i].type, "ntfs") == 0 && !guest->fs[i].ambivalent) {
            count++;
            r = look_at(look, guest, &guest->fs[i], err);
        }
    if (r == 0 && count == 0)
        im_report_okay(look->report, "There is no NTFS on the disk");
    return r;
}

static const char *const needs[] = { "libblkid.so.1", "grub-fstest", NULL };

const struct im_stage im_stage_check_ntfs = {
    .name = "check-ntfs",
    .summary = "NTFS: unmounted, not hibernated, whole",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .optional = true,
    .needs = needs,
    .required_capacity = im_look_capacity,
    .look = look,
};

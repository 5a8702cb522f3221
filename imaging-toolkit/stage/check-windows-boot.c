/* check-windows-boot - does firmware find the boot manager of this Windows, and that its store of
 * configuration data?
 *
 * A BIOS starts the active partition of an MBR, which has to hold \bootmgr and \Boot\BCD (before
 * Windows Vista \ntldr).  UEFI firmware of a machine that never saw the disk starts
 * \EFI\Boot\bootx64.efi of the EFI system partition; the store is \EFI\Microsoft\Boot\BCD.  What
 * the store says is not asked. */

#include <config.h>

#include <string.h>
#include <strings.h>

#include "guest/as-file.h"
#include "stage/windows.h"

#define ESP_GUID "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
#define ESP_TYPE 0xefu

#define CODE    "NotBootable"
#define NO_BOOT "No bootable partition found."

#define MARK_ACTIVE "mark the partition that holds \\bootmgr as active (diskpart: active)"
#define WHOLE_DISK  "import the whole disk, with its EFI system partition or active partition"
#define REPAIR      "make them again from Windows' installation disc: bcdboot C:\\Windows"
#define ADD_DEFAULT                                                                                \
    "copy \\EFI\\Microsoft\\Boot\\bootmgfw.efi to \\EFI\\Boot\\bootx64.efi, or run: bcdboot "      \
    "C:\\Windows /f UEFI"

static bool is_esp(const struct im_fs *fs)
{
    return fs->part &&
           (strcasecmp(fs->part->gpt_type, ESP_GUID) == 0 || fs->part->mbr_type == ESP_TYPE);
}

/* enum windows_found of a file whatever is in it. */
static int find(struct im_look *look, struct im_guest *guest, const struct im_fs *fs,
                const char *path, struct im_error *err)
{
    struct im_buffer head IM_BUFFER_DONE = IM_BUFFER(16);

    return windows_head(look, guest, fs, path, 1, &head, err);
}

/* Is the store there, and the registry hive it has to be?  Reports what is wrong.  1, 0, errors. */
static int check_store(struct im_look *look, struct im_guest *guest, const struct im_fs *fs,
                       const char *place, const char *path, struct im_error *err)
{
    struct im_buffer head IM_BUFFER_DONE = IM_BUFFER(16);
    int r = windows_head(look, guest, fs, path, 4, &head, err);

    if (r < 0 || r == WINDOWS_UNREADABLE)
        return r < 0 ? r : 0;
    if (r == WINDOWS_FOUND && head.len == 4 && memcmp(head.data, "regf", 4) == 0)
        return 1;
    im_report_fault(look->report, CODE, NULL, REPAIR,
                    r == WINDOWS_FOUND ? "%s of %s is no store of boot configuration data"
                                       : "There is no %s on %s",
                    path, place);
    return 0;
}

/* ---- BIOS ---- */

static int look_at_active(struct im_look *look, struct im_guest *guest, const struct im_fs *fs,
                          struct im_error *err)
{
    char place[32];
    int r = find(look, guest, fs, "/bootmgr", err);

    (void)windows_place(fs, place, sizeof(place));
    if (r == WINDOWS_FOUND) {
        r = check_store(look, guest, fs, place, "/Boot/BCD", err);
        if (r > 0)
            im_report_okay(look->report, "A BIOS finds \\bootmgr and \\Boot\\BCD on %s", place);
        return r < 0 ? r : 0;
    }
    if (r == WINDOWS_ABSENT)
        r = find(look, guest, fs, "/ntldr", err);
    if (r == WINDOWS_FOUND)
        im_report_okay(look->report, "A BIOS finds \\ntldr, of Windows XP or 2003, on %s", place);
    else if (r == WINDOWS_ABSENT)
        im_report_fault(look->report, CODE, NO_BOOT, REPAIR, "The active %s holds no \\bootmgr",
                        place);
    return r < 0 ? r : 0;
}

static int look_at_mbr(struct im_look *look, struct im_guest *guest, struct im_error *err)
{
    for (unsigned i = 0; i < guest->fs_count; i++)
        if (guest->fs[i].part && guest->fs[i].part->active)
            return look_at_active(look, guest, &guest->fs[i], err);
    im_report_fault(look->report, CODE, NO_BOOT, MARK_ACTIVE,
                    "None of the %u partitions of the MBR is active", guest->part_count);
    return 0;
}

/* ---- UEFI ---- */

static int look_at_esp(struct im_look *look, struct im_guest *guest, const struct im_fs *fs,
                       struct im_error *err)
{
    char place[32];
    int own = find(look, guest, fs, "/EFI/Microsoft/Boot/bootmgfw.efi", err);
    int usual = own < 0 ? own : find(look, guest, fs, "/EFI/Boot/bootx64.efi", err);
    int r = usual < 0 ? usual
                      : check_store(look, guest, fs, windows_place(fs, place, sizeof(place)),
                                    "/EFI/Microsoft/Boot/BCD", err);

    if (r <= 0)
        return r;
    if (usual == WINDOWS_FOUND)
        im_report_okay(look->report,
                       "UEFI finds \\EFI\\Boot\\bootx64.efi and \\EFI\\Microsoft\\Boot\\BCD on %s",
                       place);
    else if (own == WINDOWS_FOUND)
        im_report_warning(
            look->report, ADD_DEFAULT,
            "%s holds \\EFI\\Microsoft\\Boot\\bootmgfw.efi, but no "
            "\\EFI\\Boot\\bootx64.efi: firmware that never saw the disk finds nothing",
            place);
    else if (own == WINDOWS_ABSENT && usual == WINDOWS_ABSENT)
        im_report_fault(look->report, CODE, NO_BOOT, REPAIR,
                        "The EFI system partition, %s, holds no boot manager", place);
    return 0;
}

static const struct im_fs *find_esp(const struct im_guest *guest)
{
    for (unsigned i = 0; i < guest->fs_count; i++)
        if (is_esp(&guest->fs[i]))
            return &guest->fs[i];
    return NULL;
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct im_guest *guest;
    const struct im_fs *esp;
    int r = windows_of(look, &guest, err);

    (void)args;
    if (r <= 0)
        return r;
    esp = find_esp(guest);
    if (esp)
        return look_at_esp(look, guest, esp, err);
    if (guest->table == IM_TABLE_MBR)
        return look_at_mbr(look, guest, err);
    im_report_fault(look->report, CODE, NO_BOOT, WHOLE_DISK,
                    guest->table == IM_TABLE_GPT ? "The GPT has no EFI system partition"
                                                 : "The disk has no partition table");
    return 0;
}

static const char *const needs[] = { "libblkid.so.1", "grub-fstest", NULL };

const struct im_stage im_stage_check_windows_boot = {
    .name = "check-windows-boot",
    .summary = "Windows: its boot manager and the store of it where firmware looks",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .optional = true,
    .needs = needs,
    .required_capacity = im_look_capacity,
    .look = look,
};

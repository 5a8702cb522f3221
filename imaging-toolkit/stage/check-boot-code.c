/* check-boot-code - is there something that firmware would start: code in the MBR that finds its
 * next step, or a program on an EFI system partition?
 *
 * Nothing of it is run; that is the matter of boot-test. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "core/stage.h"
#include "guest/as-file.h"
#include "guest/gpt.h"
#include "guest/guest.h"
#include "guest/mbr.h"

#define NO_BOOT "No bootable partition found."

#define INSTALL_BIOS "install a boot loader: grub-install, or the stage disk-from-partition"
#define INSTALL_EFI                                                                                \
    "install the boot loader where firmware looks without being told: grub-install --removable"

/* "EFI System" of a GPT. */
#define ESP_TYPE "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"

/* GRUB's boot.img: where it keeps the sector of its next part, and its words. */
#define GRUB_NEXT_AT 0x5cu
static const char grub_words[] = "GRUB \0Geom\0Hard Disk\0Read\0 Error";

/* Programs firmware starts without an entry in its memory, by the kind of machine. */
static const struct fallback {
    const char *path, *machine;
} fallbacks[] = {
    { "/EFI/BOOT/BOOTX64.EFI", "x86_64" },
    { "/EFI/BOOT/BOOTAA64.EFI", "aarch64" },
};

/* Directories below /EFI that are looked into for a boot loader nobody would find. */
#define VENDORS_MAX   16u
#define EFI_NAMES_MAX 65536u

struct boot {
    struct im_look *look;
    struct mbr mbr;
    struct gpt gpt;
    bool is_gpt;
    bool bios, efi; /* each: there is a way */
};

/* ---- BIOS ---- */

static bool is_grub(const struct mbr *mbr)
{
    return memmem(mbr->sector, MBR_CODE, grub_words, sizeof(grub_words) - 1) != NULL;
}

static int is_blank(struct im_disk *disk, uint64_t sector, bool *ret_blank, struct im_error *err)
{
    static const uint8_t zeros[MBR_SECTOR];
    uint8_t bytes[MBR_SECTOR];
    int r = im_disk_read(disk, bytes, sizeof(bytes), sector * MBR_SECTOR, err);

    *ret_blank = r == 0 && memcmp(bytes, zeros, sizeof(bytes)) == 0;
    return r;
}

/* GRUB goes on at a sector that was written into it: in front of the partitions, or in the BIOS
 * boot partition of a GPT. */
static int judge_grub(struct boot *boot, struct im_error *err)
{
    struct im_report *report = boot->look->report;
    uint64_t next = im_le64(boot->mbr.sector + GRUB_NEXT_AT);
    uint64_t sectors = boot->look->disk->size / MBR_SECTOR;
    bool blank = false;
    int r;

    if (next == 0 || next >= sectors) {
        im_report_fault(report, "NotBootable", NULL, INSTALL_BIOS,
                        "GRUB in the MBR would go on at sector %" PRIu64 " of a disk of %" PRIu64,
                        next, sectors);
        return 0;
    }
    r = is_blank(boot->look->disk, next, &blank, err);
    if (r < 0)
        return r;
    if (blank) {
        im_report_fault(report, "NotBootable", NULL, INSTALL_BIOS,
                        "GRUB in the MBR would go on at sector %" PRIu64 ", which is empty", next);
        return 0;
    }
    if (boot->is_gpt && boot->gpt.bios_boot &&
        (next < boot->gpt.bios_first || next > boot->gpt.bios_last))
        im_report_warning(report, INSTALL_BIOS,
                          "GRUB in the MBR would go on at sector %" PRIu64
                          ", outside the BIOS boot partition (%" PRIu64 " to %" PRIu64 ")",
                          next, boot->gpt.bios_first, boot->gpt.bios_last);
    im_report_okay(report, "GRUB in the MBR goes on at sector %" PRIu64, next);
    boot->bios = true;
    return 0;
}

/* Other code in the MBR starts the first sector of the active partition; what it is cannot be told.
 */
static int judge_active(struct boot *boot, struct im_error *err)
{
    const struct mbr_entry *active = mbr_active(&boot->mbr);
    struct im_report *report = boot->look->report;
    uint8_t sector[MBR_SECTOR];
    int r;

    if (!active || active->first >= boot->look->disk->size / MBR_SECTOR) {
        im_report_okay(report, "there is boot code in the MBR, of a kind that is not known");
        boot->bios = true;
        return 0;
    }
    r = im_disk_read(boot->look->disk, sector, sizeof(sector), active->first * MBR_SECTOR, err);
    if (r < 0)
        return r;
    boot->bios = true;
    if (mbr_is_signed(sector))
        im_report_okay(report, "there is boot code in the MBR and in partition %u, which is active",
                       active->number);
    else
        im_report_okay(report,
                       "there is boot code in the MBR, of a kind that is not known; "
                       "partition %u is active",
                       active->number);
    return 0;
}

static int judge_bios(struct boot *boot, struct im_error *err)
{
    struct im_report *report = boot->look->report;

    if (!mbr_has_code(&boot->mbr)) {
        if (mbr_active(&boot->mbr) || (boot->is_gpt && boot->gpt.bios_boot))
            im_report_warning(
                report, INSTALL_BIOS, "%s, but there is no boot code in the first sector",
                boot->is_gpt ? "there is a BIOS boot partition" : "a partition is active");
        return 0;
    }
    return is_grub(&boot->mbr) ? judge_grub(boot, err) : judge_active(boot, err);
}

/* ---- UEFI ---- */

static bool is_esp(const struct im_fs *fs)
{
    return fs->part && (strcmp(fs->part->gpt_type, ESP_TYPE) == 0 || fs->part->mbr_type == MBR_EFI);
}

/* Failures of the disk or the machine, which end the look. */
static bool is_ours(int r)
{
    return r == -ECANCELED || r == -EIO || r == -ENOMEM || r == -ENOSPC;
}

/* A boot loader in a vendor's directory, which only firmware that remembers it would start. */
static int find_vendor(struct boot *boot, struct im_guest *guest, const struct im_fs *fs,
                       struct im_error *err)
{
    static const char *const loaders[] = { "shimx64.efi", "grubx64.efi", "systemd-bootx64.efi",
                                           "Boot/bootmgfw.efi", "grubaa64.efi" };
    struct im_buffer names IM_BUFFER_DONE = IM_BUFFER(EFI_NAMES_MAX);
    size_t count = 0;
    int r = im_fs_list(guest, fs, "/EFI", &names, &count, err);
    const char *name = names.data;

    for (size_t i = 0; r == 0 && i < count && i < VENDORS_MAX; i++, name += strlen(name) + 1)
        for (size_t j = 0; j < sizeof(loaders) / sizeof(loaders[0]); j++) {
            struct im_file file;
            char path[160];

            (void)snprintf(path, sizeof(path), "/EFI/%.96s/%s", name, loaders[j]);
            if (im_fs_stat(guest, fs, path, &file, NULL) < 0)
                continue;
            im_report_warning(boot->look->report, INSTALL_EFI,
                              "partition %u: %s is there, but firmware that does not know of it "
                              "starts /EFI/BOOT/BOOTX64.EFI alone",
                              fs->part->number, path);
            boot->efi = true;
            return 0;
        }
    return is_ours(r) ? r : 0;
}

static int judge_fallback(struct boot *boot, struct im_guest *guest, const struct im_fs *fs,
                          const struct fallback *fallback, bool *ret_found, struct im_error *err)
{
    struct im_buffer bytes IM_BUFFER_DONE = IM_BUFFER(IM_GUEST_SIZE_MAX);
    int r = im_fs_read(guest, fs, fallback->path, bytes.ceiling, &bytes, err);

    *ret_found = r == 0 || r == -EBADMSG || r == -EFBIG;
    if (r == 0 && (bytes.len < 64 || memcmp(bytes.data, "MZ", 2) != 0)) {
        im_report_fault(boot->look->report, "NotBootable", NULL, INSTALL_EFI,
                        "Partition %u: %s is no program: it does not begin with MZ",
                        fs->part->number, fallback->path);
    } else if (*ret_found) {
        im_report_okay(boot->look->report, "partition %u: %s, for %s", fs->part->number,
                       fallback->path, fallback->machine);
        boot->efi = true;
    }
    return r;
}

static int judge_esp(struct boot *boot, struct im_guest *guest, const struct im_fs *fs,
                     struct im_error *err)
{
    struct im_error local = { 0 };
    bool found = false;
    int r = 0;

    if (strcmp(fs->type, "vfat") != 0) {
        im_report_warning(boot->look->report, INSTALL_EFI,
                          "the EFI system partition %u holds %s, not FAT, which firmware reads",
                          fs->part->number, *fs->type ? fs->type : "nothing that is known");
        return 0;
    }
    for (size_t i = 0; !found && i < sizeof(fallbacks) / sizeof(fallbacks[0]); i++) {
        r = judge_fallback(boot, guest, fs, &fallbacks[i], &found, &local);
        if (r == -ENOPKG || r == -EOPNOTSUPP) {
            im_report_unknown(boot->look->report, "the EFI system partition %u: %s",
                              fs->part->number, local.message);
            boot->efi = true; /* it may be there */
            return 0;
        }
        if (is_ours(r)) {
            if (err)
                *err = local;
            return r;
        }
    }
    if (found)
        return 0;
    r = find_vendor(boot, guest, fs, err);
    if (r == 0 && !boot->efi)
        im_report_warning(boot->look->report, INSTALL_EFI,
                          "the EFI system partition %u has no /EFI/BOOT/BOOTX64.EFI nor another "
                          "boot loader",
                          fs->part->number);
    return r;
}

static int judge_efi(struct boot *boot, struct im_error *err)
{
    struct im_guest *guest;
    int r = im_guest_of(boot->look, &guest, err);

    if (r == -ENOPKG && boot->gpt.efi_system) {
        im_report_unknown(boot->look->report, "the EFI system partition cannot be looked into: "
                                              "libblkid.so.1 is missing");
        boot->efi = true; /* it may be there */
    }
    if (r == -ENOPKG)
        return 0;
    for (unsigned i = 0; r == 0 && i < guest->fs_count; i++)
        if (is_esp(&guest->fs[i]))
            r = judge_esp(boot, guest, &guest->fs[i], err);
    return r;
}

/* ---- whole ---- */

static int judge(struct boot *boot, struct im_error *err)
{
    struct im_report *report = boot->look->report;
    int r = judge_bios(boot, err);

    if (r == 0)
        r = judge_efi(boot, err);
    if (r < 0)
        return r;
    if (!boot->bios && !boot->efi)
        im_report_fault(
            report, "NotBootable", NO_BOOT, INSTALL_BIOS,
            "There is neither boot code in the first sector nor a boot loader on an EFI "
            "system partition");
    else if (!report->boot_mode)
        report->boot_mode = boot->efi ? "uefi" : "legacy-bios";
    return 0;
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct boot *boot IM_FREE = calloc(1, sizeof(*boot));
    int r;

    (void)args;
    if (!boot)
        return im_fail(err, ENOMEM, "out of memory");
    boot->look = look;
    if (look->disk->size < MBR_SECTOR) {
        im_report_fault(look->report, "NotBootable", NO_BOOT, "give a whole disk",
                        "The disk has only %" PRIu64 " bytes", look->disk->size);
        return 0;
    }
    r = mbr_read(look->disk, &boot->mbr, err);
    if (r == 0) {
        struct im_error local = { 0 };

        r = gpt_read(look->disk, 1, &boot->gpt, &local);
        boot->is_gpt = r == 0 && mbr_protective(&boot->mbr);
        if (r < 0 && r != -EILSEQ && err)
            *err = local;
        r = r == -EILSEQ ? 0 : r;
    }
    return r < 0 ? r : judge(boot, err);
}

const struct im_stage im_stage_check_boot_code = {
    .name = "check-boot-code",
    .summary = "there is boot code in the MBR, or a boot loader on an EFI system partition",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .required_capacity = im_look_capacity,
    .uses = im_guest_uses,
    .look = look,
};

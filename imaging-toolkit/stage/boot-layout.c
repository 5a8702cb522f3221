/* boot-layout - is this a disk that firmware could start?
 *
 * Looks at the partition tables alone: an MBR with an active partition or boot code, or a GPT with
 * a partition that firmware or boot loader starts from.  Whether what lies there boots is not
 * asked.  The disk passes through unchanged.  Volumes have sectors of 512 bytes, so the tables are
 * read in those. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/stage.h"
#include "guest/gpt.h"
#include "guest/mbr.h"

#define SECTOR MBR_SECTOR

/* AWS's sentences; ours follow. */
#define NO_TABLE "No valid partitions. Not a valid volume."
#define NO_BOOT  "No bootable partition found."
#define CODE     "NotBootable"

#define WHOLE   "give a whole disk, with its partition table and boot loader"
#define TABLE   "give all of the disk, or write its partition table anew"
#define RESTORE "restore it from there, for example with gdisk"
#define LOADER  "install a boot loader: grub-install, or the stage disk-from-partition"

/* What the entries say together. */
struct summary {
    unsigned partitions; /* without the protective one */
    unsigned active;     /* number from 1 of the active one, 0: none */
    bool code;           /* there is boot code */
    bool protective;     /* the table stands for a GPT */
    bool efi_system;
};

/* What a disk without partition table holds instead; the first that fits is told. */
static const struct content {
    uint64_t offset;
    const char *bytes;
    uint8_t len;
    const char *name;
} contents[] = {
    { 4096, "EFI PART", 8, "a GPT for sectors of 4096 bytes" },
    { 0, "XFSB", 4, "an XFS file system" },
    { 0, "LUKS\xba\xbe", 6, "an encrypted (LUKS) volume" },
    { 0, "hsqs", 4, "a squashfs file system" },
    { 512, "LABELONE", 8, "an LVM physical volume" },
    { 1080, "\x53\xef", 2, "an ext2, ext3 or ext4 file system" },
    { 4086, "SWAPSPACE2", 10, "swap space" },
    { 65600, "_BHRfS_M", 8, "a Btrfs file system" },
    { 3, "NTFS    ", 8, "an NTFS file system" },
    { 3, "EXFAT   ", 8, "an exFAT file system" },
    { 82, "FAT32   ", 8, "a FAT32 file system" },
    { 54, "FAT16   ", 8, "a FAT16 file system" },
    { 54, "FAT12   ", 8, "a FAT12 file system" },
    { 32769, "CD001", 5, "an ISO 9660 file system" },
};

/* The row of what the disk holds, or NULL; 0 or what reading returned. */
static int find_content(struct im_disk *disk, const struct content **ret_content,
                        struct im_error *err)
{
    *ret_content = NULL;
    for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
        const struct content *content = &contents[i];
        char bytes[16];
        int r;

        if (disk->size < content->offset + content->len)
            continue;
        r = im_disk_read(disk, bytes, content->len, content->offset, err);
        if (r < 0)
            return r;
        if (memcmp(bytes, content->bytes, content->len) == 0) {
            *ret_content = content;
            return 0;
        }
    }
    return 0;
}

/* There is no table, or one without partitions: `fault` says so as long as nothing better is known.
 */
static int report_without_table(struct im_look *look, const char *fault, struct im_error *err)
{
    const struct content *content;
    int r = find_content(look->disk, &content, err);

    if (r < 0)
        return r;
    if (content)
        im_report_fault(look->report, CODE, NO_TABLE,
                        "import a whole disk, with its table and boot loader",
                        "The disk holds %s in place of a partition table", content->name);
    else
        im_report_fault(look->report, CODE, NO_TABLE, WHOLE, "%s", fault);
    return 0;
}

/* ---- the master boot record ---- */

static bool overlap(const struct mbr_entry *a, const struct mbr_entry *b)
{
    return a->first < b->first + b->count && b->first < a->first + a->count;
}

/* A partition must lie inside the disk, behind the table and beside the others; the size of a
 * protective one is never right and never used. */
static int check_entry(const struct mbr_entry *entry, uint64_t sectors, struct im_error *err)
{
    if (entry->status != 0 && entry->status != MBR_ACTIVE)
        return im_fail(err, EILSEQ, "Entry %u of the MBR has the status 0x%02x", entry->number,
                       entry->status);
    if (entry->type == 0)
        return 0;
    if (entry->type == MBR_PROTECTS && entry->first >= 1 && entry->first < sectors)
        return 0;
    if (entry->first == 0 || entry->count == 0 || entry->first + entry->count > sectors)
        return im_fail(err, EILSEQ,
                       "Entry %u of the MBR has %" PRIu64 " sectors from sector %" PRIu64
                       " on, of a disk of %" PRIu64,
                       entry->number, entry->count, entry->first, sectors);
    return 0;
}

static int check_beside(const struct mbr_entry *entry, unsigned count, struct im_error *err)
{
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = i + 1; j < count; j++)
            if (entry[i].type && entry[j].type && entry[i].type != MBR_PROTECTS &&
                entry[j].type != MBR_PROTECTS && overlap(&entry[i], &entry[j]))
                return im_fail(err, EILSEQ,
                               "Entries %u and %u of the MBR overlap: %" PRIu64
                               " sectors from %" PRIu64 ", %" PRIu64 " from %" PRIu64,
                               i + 1, j + 1, entry[i].count, entry[i].first, entry[j].count,
                               entry[j].first);
    return 0;
}

static int take_entry(const struct mbr_entry *entry, struct summary *mbr, struct im_error *err)
{
    if (entry->type == 0)
        return 0;
    mbr->protective |= entry->type == MBR_PROTECTS && entry->first == 1;
    mbr->efi_system |= entry->type == MBR_EFI;
    mbr->partitions += entry->type != MBR_PROTECTS;
    if (entry->status != MBR_ACTIVE)
        return 0;
    if (mbr->active)
        return im_fail(err, EILSEQ, "Entries %u and %u of the MBR are both active", mbr->active,
                       entry->number);
    mbr->active = entry->number;
    return 0;
}

/* -EILSEQ with what is wrong when this is no sane table. */
static int parse_mbr(const uint8_t sector[SECTOR], uint64_t sectors, struct summary *ret_mbr,
                     struct im_error *err)
{
    static const uint8_t no_code[MBR_CODE];
    struct summary mbr = { .code = memcmp(sector, no_code, MBR_CODE) != 0 };
    struct mbr_entry entry[MBR_PRIMARY];
    int r = 0;

    if (!mbr_is_signed(sector))
        return im_fail(err, EILSEQ, "The first sector has no MBR: it ends in %02x %02x, not 55 aa",
                       sector[SECTOR - 2], sector[SECTOR - 1]);
    for (unsigned i = 0; r == 0 && i < MBR_PRIMARY; i++) {
        entry[i] = mbr_entry_at(sector, i);
        r = check_entry(&entry[i], sectors, err);
        if (r == 0)
            r = take_entry(&entry[i], &mbr, err);
    }
    if (r == 0)
        r = check_beside(entry, MBR_PRIMARY, err);
    if (r == 0 && mbr.partitions == 0 && !mbr.protective)
        r = im_fail(err, EILSEQ, "The MBR names no partition, and no GPT that begins in sector 1");
    if (r == 0)
        *ret_mbr = mbr;
    return r;
}

/* ---- the verdict ---- */

static void judge_mbr(const struct summary *mbr, struct im_report *report)
{
    if (mbr->active || mbr->code)
        report->boot_mode = "legacy-bios";
    else if (mbr->efi_system)
        report->boot_mode = "uefi";
    else
        im_report_fault(report, CODE, NO_BOOT, LOADER,
                        "The MBR has %u partitions, but none is active or an EFI system partition, "
                        "and there is no boot code",
                        mbr->partitions);
}

static void judge_gpt(const struct summary *mbr, const struct gpt *gpt, struct im_report *report)
{
    bool hybrid = mbr->partitions > 0 && (mbr->active || mbr->code);

    if (gpt->efi_system)
        report->boot_mode = "uefi";
    else if (gpt->bios_boot || gpt->legacy_boot || hybrid)
        report->boot_mode = "legacy-bios";
    else
        im_report_fault(report, CODE, NO_BOOT, LOADER,
                        "The GPT has %u partitions, but none is an EFI system or a BIOS boot "
                        "partition",
                        gpt->partitions);
}

/* The first table is damaged (`fault`); is the copy in the last sector whole?  Then firmware might
 * start the disk, but not every one does, and whatever damaged it may have damaged more. */
static int report_damaged_gpt(struct im_look *look, const char *fault, struct im_error *err)
{
    struct im_error second = { 0 };
    struct gpt copy;
    uint64_t last = look->disk->size / SECTOR - 1;
    int r = gpt_read(look->disk, last, &copy, &second);

    if (r == 0)
        im_report_fault(look->report, CODE, NO_BOOT, RESTORE,
                        "The GPT is damaged (%s), but its copy in sector %" PRIu64 " is whole",
                        fault, last);
    else if (r == -EILSEQ)
        im_report_fault(look->report, CODE, NO_TABLE, TABLE,
                        "The MBR stands for a GPT, but %s; the copy is no help: %s", fault,
                        second.message);
    else if (err)
        *err = second;
    return r == -EILSEQ ? 0 : r;
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct im_disk *disk = look->disk;
    struct im_error fault = { 0 };
    uint8_t sector[SECTOR];
    struct summary mbr = { 0 };
    struct gpt gpt = { 0 };
    int r;

    (void)args;
    if (disk->size < SECTOR) {
        im_report_fault(look->report, CODE, NO_TABLE, WHOLE, "The disk has only %" PRIu64 " bytes",
                        disk->size);
        return 0;
    }
    r = im_disk_read(disk, sector, sizeof(sector), 0, err);
    if (r < 0)
        return r;
    if (parse_mbr(sector, disk->size / SECTOR, &mbr, &fault) < 0)
        return report_without_table(look, fault.message, err);
    if (!mbr.protective) {
        judge_mbr(&mbr, look->report);
        return 0;
    }
    r = gpt_read(disk, 1, &gpt, &fault);
    if (r == -EILSEQ)
        return report_damaged_gpt(look, fault.message, err);
    if (r == 0)
        judge_gpt(&mbr, &gpt, look->report);
    else if (err)
        *err = fault;
    return r;
}

const struct im_stage im_stage_boot_layout = {
    .name = "boot-layout",
    .summary = "refuse a disk whose partition tables name nothing that firmware could start",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .look = look,
};

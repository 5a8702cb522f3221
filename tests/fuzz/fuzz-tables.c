/* fuzz-tables - partition tables: MBR and its extended chain (guest/mbr.h), GPT (guest/gpt.h), and
 * the partitions found by both (guest/table.h).
 *
 * An input is a disk, as it is.  The checksums of a GPT are made right, 15 times of 16, so that
 * what they guard is reached.  A finding is a report of a sanitizer; a partition outside the disk
 * or, in a GPT that is accepted, outside what partitions may have or in another; a text that is not
 * printable; or two readers that tell different things.
 *
 * A program of its own beside those of fuzz-image.h; without libFuzzer main is fuzz-bytes.c's. */

#include <config.h>

#include "fuzz/fuzz-bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/text.h"
#include "guest/gpt.h"
#include "guest/mbr.h"
#include "guest/table.h"

static void put_le32(uint8_t *p, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

/* Make the checksums of a GPT header right, if one is in that sector. */
static void repair(size_t len, uint64_t lba)
{
    uint8_t *header = fuzz_disk_bytes + lba * GPT_SECTOR;
    uint64_t entries, entries_len;

    if ((lba + 1) * GPT_SECTOR > len || memcmp(header, "EFI PART", 8) != 0)
        return;
    entries = im_le64(header + 72);
    entries_len = (uint64_t)im_le32(header + 80) * im_le32(header + 84);
    if (entries <= len / GPT_SECTOR && entries_len <= len - entries * GPT_SECTOR)
        put_le32(header + 88, im_crc32(0, fuzz_disk_bytes + entries * GPT_SECTOR, entries_len));
    put_le32(header + 16, 0);
    put_le32(header + 16, im_crc32(0, header, im_min(im_le32(header + 12), GPT_SECTOR)));
}

static void check_part(const struct im_part *part, uint64_t size)
{
    if (part->number == 0 || part->offset > size || part->len > size - part->offset)
        fault("a partition is outside the disk");
    if (!im_text_is_printable(part->name) || strlen(part->gpt_type) >= sizeof(part->gpt_type) ||
        strlen(part->uuid) >= sizeof(part->uuid))
        fault("a partition has a name that cannot be told");
}

static void check_gpt(const struct gpt *gpt, const struct im_part *part, uint64_t size)
{
    uint64_t first = gpt->first * GPT_SECTOR, end = (gpt->last + 1) * GPT_SECTOR;

    if (gpt->partitions > gpt->count)
        fault("more partitions than entries");
    for (unsigned i = 0; i < gpt->partitions && i < IM_GUEST_PARTS_MAX; i++) {
        check_part(&part[i], size);
        if (part[i].offset < first || part[i].offset + part[i].len > end)
            fault("a partition where none may be");
        for (unsigned j = 0; j < i; j++)
            if (part[i].offset < part[j].offset + part[j].len &&
                part[j].offset < part[i].offset + part[i].len)
                fault("two partitions overlap");
    }
    if (gpt->bios_boot && (gpt->bios_first < gpt->first || gpt->bios_last > gpt->last))
        fault("GRUB's partition is where none may be");
}

static bool is_same(const struct gpt *a, const struct gpt *b)
{
    return a->partitions == b->partitions && a->efi_system == b->efi_system &&
           a->bios_boot == b->bios_boot && a->legacy_boot == b->legacy_boot &&
           a->bios_first == b->bios_first && a->bios_last == b->bios_last && a->other == b->other &&
           a->first == b->first && a->last == b->last && memcmp(a->guid, b->guid, 16) == 0 &&
           a->count == b->count && a->crc == b->crc;
}

static void look_at_gpt(struct im_disk *disk, uint64_t lba)
{
    static struct im_part part[IM_GUEST_PARTS_MAX];
    struct gpt with_parts = { 0 }, without = { 0 };
    struct im_error err = { 0 };
    int r = gpt_read_parts(disk, lba, part, IM_GUEST_PARTS_MAX, &with_parts, &err);

    fault_unless_told(r, &err);
    if (r < 0 && r != -EILSEQ)
        fault("a table is an error of the disk");
    if (gpt_read(disk, lba, &without, NULL) != r || !is_same(&with_parts, &without))
        fault("without its partitions the table is another");
    if (r == 0)
        check_gpt(&with_parts, part, disk->size);
}

static void check_mbr(const struct mbr *mbr)
{
    const struct mbr_entry *active = mbr_active(mbr), *protective = mbr_protective(mbr);

    if (mbr->count < MBR_PRIMARY || mbr->count > MBR_PRIMARY + MBR_LOGICAL_MAX ||
        mbr_partitions(mbr) > mbr->count)
        fault("more entries than there is room for");
    for (unsigned i = 0; i < mbr->count; i++)
        if (mbr->entry[i].number != i + 1 || (i >= MBR_PRIMARY && mbr->entry[i].type == 0))
            fault("an entry has another's number, or a logical one is empty");
    if ((active && active->status != MBR_ACTIVE) || (protective && protective->first != 1))
        fault("an entry is taken for what it is not");
    if (mbr->end == MBR_CHAIN_ENDS && mbr->end_at != 0)
        fault("a sound chain is wrong somewhere");
}

/* An MBR that stands for a GPT, and no boot sector with code in the place of entries. */
static bool stands_for_gpt(const struct mbr *mbr)
{
    for (unsigned i = 0; i < MBR_PRIMARY; i++)
        if (mbr->entry[i].status != 0 && mbr->entry[i].status != MBR_ACTIVE)
            return false;
    return mbr_protective(mbr) != NULL;
}

/* What everybody finds is what the table says. */
static void compare(const struct im_guest *guest, const struct mbr *mbr)
{
    if ((guest->table == IM_TABLE_GPT) != stands_for_gpt(mbr))
        fault("two readers find different tables");
    for (unsigned i = 0; i < guest->part_count && guest->table == IM_TABLE_MBR; i++) {
        const struct im_part *part = &guest->part[i];
        const struct mbr_entry *entry = &mbr->entry[part->number - 1];

        if (part->number > MBR_PRIMARY)
            return;
        if (part->offset != entry->first * MBR_SECTOR || part->mbr_type != entry->type ||
            part->len > entry->count * MBR_SECTOR)
            fault("two readers of an MBR find different partitions");
    }
}

static bool look_at_partitions(struct im_disk *disk, const struct mbr *mbr)
{
    struct im_guest guest = { 0 };
    struct im_error err = { 0 };
    int r = table_read(disk, &guest, &err);

    fault_unless_told(r, &err);
    if (r < 0 || guest.part_count > IM_GUEST_PARTS_MAX)
        fault("a table is an error of the disk, or too long");
    if (!im_text_is_printable(guest.table_fault))
        fault("a fault that cannot be told");
    for (unsigned i = 0; i < guest.part_count; i++)
        check_part(&guest.part[i], disk->size);
    compare(&guest, mbr);
    free(guest.part);
    return guest.part_count > 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct im_disk disk = { .ops = &fuzz_disk_ops, .size = len };
    struct mbr mbr = { 0 };
    struct im_error err = { 0 };
    uint64_t last = len / GPT_SECTOR - 1;

    if (len < GPT_SECTOR || len > FUZZ_DISK_MAX)
        return 0;
    fuzz_disk_fill(data, len);
    if (data[len / 2] % 16 != 15) {
        repair(len, 1);
        repair(len, last);
    }
    if (mbr_read(&disk, &mbr, &err) < 0)
        fault("a table is an error of the disk");
    check_mbr(&mbr);
    look_at_gpt(&disk, 1);
    look_at_gpt(&disk, last);
    fuzz_refused = !look_at_partitions(&disk, &mbr);
    return 0;
}

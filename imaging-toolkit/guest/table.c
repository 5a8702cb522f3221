/* table - the partitions of a disk; see table.h.
 *
 * What firmware would make of the table is not asked (stage/boot-layout.c); here the partitions are
 * found as Linux finds them ("block/partitions/msdos.c", "efi.c" in its documentation of device
 * names), and what cannot be is left out and told. */

#include <config.h>

#include "guest/table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "guest/gpt.h"
#include "guest/mbr.h"

#define SECTOR GPT_SECTOR

/* Extended boot records followed; each names one logical partition, so no more are of use. */
#define LINKS_MAX IM_GUEST_PARTS_MAX

struct reading {
    struct im_disk *disk;
    struct im_guest *guest;
    uint32_t disk_id;
};

bool table_extended(const struct im_part *part)
{
    return mbr_is_extended(part->mbr_type);
}

/* Only the first fault is told. */
static void __attribute__((format(printf, 2, 3)))
fault(struct im_guest *guest, const char *format, ...)
{
    va_list args;

    if (*guest->table_fault)
        return;
    va_start(args, format);
    (void)vsnprintf(guest->table_fault, sizeof(guest->table_fault), format, args);
    va_end(args);
}

/* Add a partition where it is inside the disk; what is past the disk's end is cut off, as Linux
 * does. */
static void add(struct reading *reading, unsigned number, const struct mbr_entry *entry)
{
    struct im_guest *guest = reading->guest;
    uint64_t sectors = reading->disk->size / SECTOR;
    uint64_t count = entry->count;
    struct im_part *part;

    if (entry->first >= sectors || entry->first == 0) {
        fault(guest, "partition %u begins in sector %" PRIu64 " of a disk of %" PRIu64, number,
              entry->first, sectors);
        return;
    }
    if (count > sectors - entry->first) {
        fault(guest,
              "partition %u has %" PRIu64 " sectors from sector %" PRIu64
              " on, of a disk of %" PRIu64,
              number, count, entry->first, sectors);
        count = sectors - entry->first;
    }
    if (guest->part_count == IM_GUEST_PARTS_MAX) {
        fault(guest, "there are more than %u partitions", IM_GUEST_PARTS_MAX);
        return;
    }
    part = &guest->part[guest->part_count++];
    *part = (struct im_part){
        .number = number,
        .offset = entry->first * SECTOR,
        .len = count * SECTOR,
        .mbr_type = entry->type,
        .active = entry->status == MBR_ACTIVE,
    };
    (void)snprintf(part->uuid, sizeof(part->uuid), "%08" PRIx32 "-%02x", reading->disk_id, number);
}

/* ---- logical partitions ---- */

/* Is this record one that was read already?  Then the chain has no end. */
static bool seen_before(const uint64_t *seen, unsigned count, uint64_t lba)
{
    for (unsigned i = 0; i < count; i++)
        if (seen[i] == lba)
            return true;
    return false;
}

/* The logical partition of the record in sector `lba`, and *ret_next, the next record's; 0: this
 * was the last. */
static int read_link(struct reading *reading, const struct mbr_entry *outer, uint64_t lba,
                     unsigned *number, uint64_t *ret_next, struct im_error *err)
{
    uint8_t sector[SECTOR];
    uint64_t next = 0;
    int r = im_disk_read(reading->disk, sector, SECTOR, lba * SECTOR, err);

    if (r < 0)
        return r;
    if (!mbr_is_signed(sector)) {
        fault(reading->guest, "the extended boot record in sector %" PRIu64 " has no signature",
              lba);
        *ret_next = 0;
        return 0;
    }
    for (unsigned i = 0; i < MBR_PRIMARY; i++) {
        struct mbr_entry entry = mbr_entry_at(sector, i);

        if (entry.count == 0 || entry.type == 0)
            continue;
        if (mbr_is_extended(entry.type)) {
            if (next == 0)
                next = outer->first + entry.first;
            continue;
        }
        entry.first += lba;
        add(reading, (*number)++, &entry);
    }
    *ret_next = next;
    return 0;
}

/* The chain of records in an extended partition: it stays inside, meets no record twice and ends.
 */
static int read_chain(struct reading *reading, const struct mbr_entry *outer, unsigned *number,
                      struct im_error *err)
{
    uint64_t *seen IM_FREE = calloc(LINKS_MAX, sizeof(*seen));
    uint64_t end = im_min(outer->first + outer->count, reading->disk->size / SECTOR);
    uint64_t lba = outer->first;
    unsigned count = 0;

    if (!seen)
        return im_fail(err, ENOMEM, "out of memory");
    while (lba != 0) {
        int r;

        if (lba < outer->first || lba >= end) {
            fault(reading->guest,
                  "an extended boot record names sector %" PRIu64 ", outside its partition", lba);
            return 0;
        }
        if (count == LINKS_MAX || seen_before(seen, count, lba)) {
            fault(reading->guest,
                  "the chain of extended boot records comes back to sector %" PRIu64, lba);
            return 0;
        }
        seen[count++] = lba;
        r = read_link(reading, outer, lba, number, &lba, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- the two tables ---- */

/* An MBR: the signature, no status but 0 and 80h, and at least one partition, or an entry that
 * stands for a GPT, whatever its size.  Boot sectors of FAT and NTFS have the same signature and
 * code in the place of entries. */
static bool is_mbr(const uint8_t *sector, bool *ret_protective)
{
    unsigned used = 0;

    *ret_protective = false;
    if (!mbr_is_signed(sector))
        return false;
    for (unsigned i = 0; i < MBR_PRIMARY; i++) {
        struct mbr_entry entry = mbr_entry_at(sector, i);

        if (entry.status != 0 && entry.status != MBR_ACTIVE)
            return false;
        used += entry.type != 0 && entry.count != 0;
        *ret_protective |= entry.type == MBR_PROTECTS && entry.first == 1;
    }
    return used > 0 || *ret_protective;
}

static int read_mbr(struct reading *reading, const uint8_t *sector, struct im_error *err)
{
    unsigned logical = MBR_PRIMARY + 1;
    int r = 0;

    reading->guest->table = IM_TABLE_MBR;
    reading->disk_id = im_le32(sector + MBR_CODE);
    for (unsigned i = 0; r == 0 && i < MBR_PRIMARY; i++) {
        struct mbr_entry entry = mbr_entry_at(sector, i);

        if (entry.count == 0 || entry.type == 0)
            continue;
        add(reading, i + 1, &entry);
        if (mbr_is_extended(entry.type) && entry.first != 0)
            r = read_chain(reading, &entry, &logical, err);
    }
    return r;
}

/* The first table, or where that is damaged its copy in the last sector. */
static int read_gpt(struct im_disk *disk, struct im_guest *guest, struct im_error *err)
{
    struct im_error first = { 0 }, second = { 0 };
    struct gpt gpt = { 0 };
    int r = gpt_read_parts(disk, 1, guest->part, IM_GUEST_PARTS_MAX, &gpt, &first);

    guest->table = IM_TABLE_GPT;
    if (r == -EILSEQ) {
        fault(guest, "%s", first.message);
        r = gpt_read_parts(disk, disk->size / SECTOR - 1, guest->part, IM_GUEST_PARTS_MAX, &gpt,
                           &second);
        if (r == -EILSEQ)
            return 0;
        first = second;
    }
    if (r < 0 && err)
        *err = first;
    if (gpt.partitions > IM_GUEST_PARTS_MAX)
        fault(guest, "there are more than %u partitions", IM_GUEST_PARTS_MAX);
    guest->part_count = (unsigned)im_min(gpt.partitions, IM_GUEST_PARTS_MAX);
    return r;
}

int table_read(struct im_disk *disk, struct im_guest *guest, struct im_error *err)
{
    struct reading reading = { .disk = disk, .guest = guest };
    uint8_t sector[SECTOR];
    bool protective;
    int r;

    guest->table = IM_TABLE_NONE;
    guest->part = calloc(IM_GUEST_PARTS_MAX, sizeof(*guest->part));
    if (!guest->part)
        return im_fail(err, ENOMEM, "out of memory");
    if (disk->size < SECTOR)
        return 0;
    r = im_disk_read(disk, sector, SECTOR, 0, err);
    if (r < 0 || !is_mbr(sector, &protective))
        return r;
    return protective ? read_gpt(disk, guest, err) : read_mbr(&reading, sector, err);
}

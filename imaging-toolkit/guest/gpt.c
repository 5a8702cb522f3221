/* gpt - read a GUID partition table and prove it; see gpt.h. */

#include <config.h>

#include "guest/gpt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/crc32c.h"

/* "GPT Header": what is in use of it, and the room it has. */
#define HEADER_MIN 92u
#define REVISION   0x00010000u

/* Entries have 128 bytes, or a power of two more ("SizeOfPartitionEntry"); nobody writes others. */
#define ENTRY_MIN 128u
#define ENTRY_MAX 4096u

/* Bytes of all entries.  Tools write 128 of them, 16 KiB; here 8192 fit. */
#define ENTRIES_MAX (1u << 20)

#define ATTRIBUTE_LEGACY_BOOT (UINT64_C(1) << 2)

/* GUIDs as they are on the disk: the first three groups little-endian. */
static const uint8_t no_type[16];
static const uint8_t efi_system[16] = { 0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
                                        0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b };
static const uint8_t bios_boot[16] = { 'H', 'a', 'h', '!', 'I', 'd', 'o', 'n',
                                       't', 'N', 'e', 'e', 'd', 'E', 'F', 'I' };

struct header {
    uint64_t lba;         /* where it is … */
    uint64_t other;       /* … and the other one */
    uint64_t sectors;     /* … of so many */
    uint64_t first, last; /* sectors partitions may have */
    uint64_t entries;     /* first sector of the entries */
    uint32_t count, size; /* of entries, bytes of one */
    uint32_t crc;         /* of them all */
    uint8_t guid[16];     /* of the disk */
};

struct range {
    uint64_t first, last;
};

static int check_header_crc(const uint8_t *sector, uint64_t lba, struct im_error *err)
{
    static const uint8_t blank[4];
    uint32_t size = im_le32(sector + 12);
    uint32_t crc;

    if (memcmp(sector, "EFI PART", 8) != 0)
        return im_fail(err, EILSEQ, "sector %" PRIu64 " holds no GPT header", lba);
    if (size < HEADER_MIN || size > GPT_SECTOR)
        return im_fail(err, EILSEQ,
                       "the GPT header in sector %" PRIu64 " says that it has %" PRIu32
                       " bytes, not %u to %u",
                       lba, size, HEADER_MIN, GPT_SECTOR);
    crc = im_crc32(0, sector, 16);
    crc = im_crc32(crc, blank, 4); /* its own place counts as zeros */
    crc = im_crc32(crc, sector + 20, size - 20);
    if (crc != im_le32(sector + 16))
        return im_fail(err, EILSEQ,
                       "the GPT header in sector %" PRIu64 " has the CRC %08" PRIx32 " instead of "
                       "%08" PRIx32,
                       lba, crc, im_le32(sector + 16));
    if (im_le32(sector + 8) != REVISION)
        return im_fail(err, EILSEQ,
                       "the GPT header in sector %" PRIu64 " is of revision %08" PRIx32, lba,
                       im_le32(sector + 8));
    return 0;
}

/* Header, copy and usable sectors where they may be. */
static int check_places(const struct header *header, uint64_t own, uint64_t other,
                        struct im_error *err)
{
    if (own != header->lba)
        return im_fail(err, EILSEQ,
                       "the GPT header in sector %" PRIu64 " says that it is in sector %" PRIu64,
                       header->lba, own);
    if (other >= header->sectors || other == own)
        return im_fail(err, EILSEQ,
                       "the GPT says that its copy is in sector %" PRIu64 " of a disk of %" PRIu64
                       " sectors",
                       other, header->sectors);
    if (header->first > header->last || header->last >= header->sectors)
        return im_fail(err, EILSEQ,
                       "the GPT gives partitions the sectors %" PRIu64 " to %" PRIu64
                       " of a disk of %" PRIu64,
                       header->first, header->last, header->sectors);
    return 0;
}

/* The entries lie between their header and what belongs to the partitions. */
static int check_entries_place(const struct header *header, struct im_error *err)
{
    uint64_t sectors, end;

    if (header->size < ENTRY_MIN || header->size > ENTRY_MAX ||
        (header->size & (header->size - 1)) != 0)
        return im_fail(err, EILSEQ,
                       "the GPT's entries have %" PRIu32 " bytes each, not 128 or a "
                       "power of two above it up to %u",
                       header->size, ENTRY_MAX);
    if (header->count == 0 || header->count > ENTRIES_MAX / header->size)
        return im_fail(err, EILSEQ,
                       "the GPT has %" PRIu32 " entries of %" PRIu32 " bytes; 1 to %" PRIu32
                       " are taken",
                       header->count, header->size, ENTRIES_MAX / header->size);
    sectors = ((uint64_t)header->count * header->size + GPT_SECTOR - 1) / GPT_SECTOR;
    if (__builtin_add_overflow(header->entries, sectors, &end) || header->entries < 2 ||
        end > (header->lba == 1 ? header->first : header->lba) ||
        (header->lba != 1 && header->entries <= header->last))
        return im_fail(err, EILSEQ,
                       "the GPT's %" PRIu64 " sectors of entries begin in sector %" PRIu64
                       ", where they are in the way of something else",
                       sectors, header->entries);
    return 0;
}

static int read_header(struct im_disk *disk, uint64_t lba, struct header *header,
                       struct im_error *err)
{
    uint8_t sector[GPT_SECTOR];
    int r;

    *header = (struct header){ .lba = lba, .sectors = disk->size / GPT_SECTOR };
    if (lba < 1 || lba >= header->sectors)
        return im_fail(err, EILSEQ, "the disk has no sector %" PRIu64 " for a GPT header", lba);
    r = im_disk_read(disk, sector, sizeof(sector), lba * GPT_SECTOR, err);
    if (r == 0)
        r = check_header_crc(sector, lba, err);
    if (r < 0)
        return r;
    header->first = im_le64(sector + 40);
    header->last = im_le64(sector + 48);
    header->entries = im_le64(sector + 72);
    header->count = im_le32(sector + 80);
    header->size = im_le32(sector + 84);
    header->crc = im_le32(sector + 88);
    header->other = im_le64(sector + 32);
    memcpy(header->guid, sector + 56, sizeof(header->guid));
    r = check_places(header, im_le64(sector + 24), header->other, err);
    return r < 0 ? r : check_entries_place(header, err);
}

static int by_first(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

static int check_overlap(struct range *range, size_t count, struct im_error *err)
{
    qsort(range, count, sizeof(*range), by_first);
    for (size_t i = 1; i < count; i++)
        if (range[i].first <= range[i - 1].last)
            return im_fail(err, EILSEQ,
                           "two GPT partitions overlap: sectors %" PRIu64 " to %" PRIu64
                           " and %" PRIu64 " to %" PRIu64,
                           range[i - 1].first, range[i - 1].last, range[i].first, range[i].last);
    return 0;
}

/* 16 bytes as the text of a GUID, in upper or lower case; `text` has 37 bytes or more. */
static void guid_text(const uint8_t *p, bool upper, char *text, size_t size)
{
    static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
    const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    size_t at = 0;

    for (unsigned i = 0; i < 16 && at + 3 < size; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            text[at++] = '-';
        text[at++] = digits[p[order[i]] >> 4];
        text[at++] = digits[p[order[i]] & 15];
    }
    text[at] = '\0';
}

/* The name has 36 characters of UTF-16; what is not ASCII is told as '?'. */
static void take_name(const uint8_t *entry, struct im_part *part)
{
    for (unsigned i = 0; i < 36 && i + 1 < sizeof(part->name); i++) {
        uint16_t c = im_le16(entry + 56 + (size_t)i * 2);

        part->name[i] = (char)(c < 0x20 && c != 0 ? '?' : c < 0x7f ? c : '?');
        if (c == 0)
            break;
    }
}

static void tell_part(const uint8_t *entry, uint32_t number, const struct range *range,
                      struct im_part *part)
{
    *part = (struct im_part){
        .number = number,
        .offset = range->first * GPT_SECTOR,
        .len = (range->last - range->first + 1) * GPT_SECTOR,
        .active = (im_le64(entry + 48) & ATTRIBUTE_LEGACY_BOOT) != 0,
    };
    guid_text(entry, true, part->gpt_type, sizeof(part->gpt_type));
    guid_text(entry + 16, false, part->uuid, sizeof(part->uuid));
    take_name(entry, part);
}

static int take_entry(const struct header *header, const uint8_t *entry, uint32_t number,
                      struct gpt *gpt, struct range *ret_range, struct im_error *err)
{
    struct range range = { .first = im_le64(entry + 32), .last = im_le64(entry + 40) };

    if (range.first > range.last || range.first < header->first || range.last > header->last)
        return im_fail(err, EILSEQ,
                       "GPT partition %" PRIu32 " has the sectors %" PRIu64 " to %" PRIu64
                       ", outside the %" PRIu64 " to %" PRIu64 " that partitions may have",
                       number, range.first, range.last, header->first, header->last);
    gpt->partitions++;
    gpt->efi_system |= memcmp(entry, efi_system, 16) == 0;
    if (!gpt->bios_boot && memcmp(entry, bios_boot, 16) == 0) {
        gpt->bios_boot = true;
        gpt->bios_first = range.first;
        gpt->bios_last = range.last;
    }
    gpt->legacy_boot |= (im_le64(entry + 48) & ATTRIBUTE_LEGACY_BOOT) != 0;
    *ret_range = range;
    return 0;
}

static int take_entries(const struct header *header, const uint8_t *entries, struct im_part *part,
                        unsigned room, struct gpt *gpt, struct im_error *err)
{
    struct range *range IM_FREE = calloc(header->count, sizeof(*range));

    if (!range)
        return im_fail(err, ENOMEM, "out of memory");
    for (uint32_t i = 0; i < header->count; i++) {
        const uint8_t *entry = entries + (size_t)i * header->size;
        unsigned at = gpt->partitions;
        int r;

        if (memcmp(entry, no_type, 16) == 0)
            continue;
        r = take_entry(header, entry, i + 1, gpt, &range[at], err);
        if (r < 0)
            return r;
        if (part && at < room)
            tell_part(entry, i + 1, &range[at], &part[at]);
    }
    return check_overlap(range, gpt->partitions, err);
}

int gpt_read(struct im_disk *disk, uint64_t lba, struct gpt *ret_gpt, struct im_error *err)
{
    return gpt_read_parts(disk, lba, NULL, 0, ret_gpt, err);
}

int gpt_read_parts(struct im_disk *disk, uint64_t lba, struct im_part *part, unsigned room,
                   struct gpt *ret_gpt, struct im_error *err)
{
    uint8_t *entries IM_FREE = NULL;
    struct gpt gpt = { 0 };
    struct header header;
    size_t bytes;
    uint32_t crc;
    int r = read_header(disk, lba, &header, err);

    if (r < 0)
        return r;
    bytes = (size_t)header.count * header.size;
    entries = malloc(bytes);
    if (!entries)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_disk_read(disk, entries, bytes, header.entries * GPT_SECTOR, err);
    if (r < 0)
        return r;
    crc = im_crc32(0, entries, bytes);
    if (crc != header.crc)
        return im_fail(err, EILSEQ,
                       "the GPT's entries in sector %" PRIu64 " have the CRC %08" PRIx32
                       " instead of %08" PRIx32,
                       header.entries, crc, header.crc);
    gpt = (struct gpt){ .other = header.other,
                        .first = header.first,
                        .last = header.last,
                        .count = header.count,
                        .crc = header.crc };
    memcpy(gpt.guid, header.guid, sizeof(gpt.guid));
    r = take_entries(&header, entries, part, room, &gpt, err);
    if (r == 0)
        *ret_gpt = gpt;
    return r;
}

/* mbr - read the partition table of a BIOS disk; see mbr.h.
 *
 * "Legacy Master Boot Record", UEFI 2.10 section 5.2.1; nobody has specified the extended chain:
 * each link is a sector like the first, whose first entry is a partition (sectors counted from the
 * link) and whose second is the next link (counted from the extended partition). */

#include <config.h>

#include "guest/mbr.h"

#include <string.h>

#include "base/bytes.h"

#define ENTRIES_AT 446u
#define ENTRY_LEN  16u
#define SIGNATURE  0xaa55u

struct mbr_entry mbr_entry_at(const uint8_t sector[MBR_SECTOR], unsigned i)
{
    const uint8_t *p = sector + ENTRIES_AT + (size_t)i * ENTRY_LEN;

    return (struct mbr_entry){ .number = i + 1,
                               .status = p[0],
                               .type = p[4],
                               .first = im_le32(p + 8),
                               .count = im_le32(p + 12) };
}

bool mbr_is_signed(const uint8_t sector[MBR_SECTOR])
{
    return im_le16(sector + MBR_SECTOR - 2) == SIGNATURE;
}

bool mbr_is_extended(uint8_t type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

static void end_chain(struct mbr *mbr, enum mbr_end end, uint64_t at)
{
    mbr->end = end;
    mbr->end_at = at;
}

/* Follow the chain of one extended partition.  Links go upwards in every tool's tables, and one
 * that does not could lead in circles: that ends it. */
static int read_chain(struct im_disk *disk, const struct mbr_entry *extended, struct mbr *mbr,
                      struct im_error *err)
{
    uint64_t link = extended->first;
    uint64_t end = im_min(extended->first + extended->count, disk->size / MBR_SECTOR);

    for (;;) {
        uint8_t sector[MBR_SECTOR];
        struct mbr_entry part, next;
        int r;

        if (link >= end) {
            end_chain(mbr, MBR_CHAIN_OUTSIDE, link);
            return 0;
        }
        r = im_disk_read(disk, sector, sizeof(sector), link * MBR_SECTOR, err);
        if (r < 0)
            return r;
        if (!mbr_is_signed(sector)) {
            end_chain(mbr, MBR_CHAIN_NO_SIGN, link);
            return 0;
        }
        part = mbr_entry_at(sector, 0);
        next = mbr_entry_at(sector, 1);
        if (part.type && mbr->count == sizeof(mbr->entry) / sizeof(mbr->entry[0])) {
            end_chain(mbr, MBR_CHAIN_LONG, link);
            return 0;
        }
        if (part.type) {
            part.first += link;
            part.number = mbr->count + 1;
            mbr->entry[mbr->count++] = part;
        }
        if (!next.type)
            return 0;
        if (extended->first + next.first <= link) {
            end_chain(mbr, MBR_CHAIN_LOOPS, link);
            return 0;
        }
        link = extended->first + next.first;
    }
}

int mbr_read(struct im_disk *disk, struct mbr *ret_mbr, struct im_error *err)
{
    int r = im_disk_read(disk, ret_mbr->sector, MBR_SECTOR, 0, err);

    if (r < 0)
        return r;
    ret_mbr->signature = mbr_is_signed(ret_mbr->sector);
    ret_mbr->end = MBR_CHAIN_ENDS;
    ret_mbr->count = MBR_PRIMARY;
    for (unsigned i = 0; i < MBR_PRIMARY; i++)
        ret_mbr->entry[i] = ret_mbr->signature ? mbr_entry_at(ret_mbr->sector, i)
                                               : (struct mbr_entry){ .number = i + 1 };
    for (unsigned i = 0; r == 0 && i < MBR_PRIMARY && ret_mbr->end == MBR_CHAIN_ENDS; i++)
        if (mbr_is_extended(ret_mbr->entry[i].type))
            r = read_chain(disk, &ret_mbr->entry[i], ret_mbr, err);
    return r;
}

const struct mbr_entry *mbr_active(const struct mbr *mbr)
{
    for (unsigned i = 0; i < MBR_PRIMARY; i++)
        if (mbr->entry[i].type && mbr->entry[i].status == MBR_ACTIVE)
            return &mbr->entry[i];
    return NULL;
}

const struct mbr_entry *mbr_protective(const struct mbr *mbr)
{
    for (unsigned i = 0; i < MBR_PRIMARY; i++)
        if (mbr->entry[i].type == MBR_PROTECTS && mbr->entry[i].first == 1)
            return &mbr->entry[i];
    return NULL;
}

unsigned mbr_partitions(const struct mbr *mbr)
{
    unsigned count = 0;

    for (unsigned i = 0; i < mbr->count; i++)
        count += mbr->entry[i].type && mbr->entry[i].type != MBR_PROTECTS &&
                 !mbr_is_extended(mbr->entry[i].type);
    return count;
}

bool mbr_has_code(const struct mbr *mbr)
{
    static const uint8_t no_code[MBR_CODE];

    return memcmp(mbr->sector, no_code, MBR_CODE) != 0;
}

/* mbr - the partition table of BIOS disks: entries of a sector for everybody, and the whole table,
 * its extended chain included, as it is on the disk, for those who judge it.  Where data lie is
 * found by guest/table.c, which follows the chain as Linux does. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/disk.h"

#define MBR_SECTOR   512u
#define MBR_CODE     440u /* bytes of boot code in front of the table */
#define MBR_PRIMARY  4u
#define MBR_ACTIVE   0x80u
#define MBR_PROTECTS 0xeeu /* type: stands for a GPT */
#define MBR_EFI      0xefu /* type: EFI system partition */

/* Logical partitions that are followed; Linux gives names to 60. */
#define MBR_LOGICAL_MAX 124u

struct mbr_entry {
    unsigned number;       /* as Linux counts: 1 to 4, logical ones from 5 */
    uint8_t status, type;  /* type 0: empty */
    uint64_t first, count; /* sectors of the disk */
};

enum mbr_end {
    MBR_CHAIN_ENDS,    /* or there is none */
    MBR_CHAIN_OUTSIDE, /* a link leaves the extended partition */
    MBR_CHAIN_LOOPS,   /* a link does not lead onwards */
    MBR_CHAIN_NO_SIGN, /* a link leads to a sector without 55 aa */
    MBR_CHAIN_LONG,    /* more than MBR_LOGICAL_MAX */
};

struct mbr {
    bool signature; /* the first sector ends in 55 aa */
    uint8_t sector[MBR_SECTOR];
    unsigned count; /* entries: always the four primary ones, then the logical ones */
    struct mbr_entry entry[MBR_PRIMARY + MBR_LOGICAL_MAX];
    enum mbr_end end; /* of the chain */
    uint64_t end_at;  /* sector of the link that is wrong */
};

/* Entry i, from 0, of a sector, which is numbered from 1.  Nothing is checked. */
struct mbr_entry mbr_entry_at(const uint8_t sector[MBR_SECTOR], unsigned i);
/* Does the sector end in 55 aa? */
bool mbr_is_signed(const uint8_t sector[MBR_SECTOR]);

/* Does an entry of this type hold a chain of logical partitions? */
bool mbr_is_extended(uint8_t type);

/* Read the table of a disk.  Whatever it holds is no error; the disk's errors, -EINVAL when it has
 * less than one sector. */
int mbr_read(struct im_disk *disk, struct mbr *ret_mbr, struct im_error *err);

/* The first entry that is active and not empty, or NULL. */
const struct mbr_entry *mbr_active(const struct mbr *mbr);
/* One that stands for a GPT in sector 1, or NULL. */
const struct mbr_entry *mbr_protective(const struct mbr *mbr);
/* How many partitions it names, without extended and protective ones. */
unsigned mbr_partitions(const struct mbr *mbr);
/* Is there boot code in front of the table? */
bool mbr_has_code(const struct mbr *mbr);

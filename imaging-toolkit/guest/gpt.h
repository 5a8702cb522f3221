/* gpt - the partition table of UEFI disks ("GUID Partition Table", UEFI 2.10 section 5.3), read and
 * proven. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/disk.h"
#include "guest/guest.h"

#define GPT_SECTOR 512u

struct gpt {
    unsigned partitions;
    bool efi_system;                /* one of them is an EFI system partition */
    bool bios_boot;                 /* one is where GRUB puts itself on a BIOS */
    bool legacy_boot;               /* one has the attribute "legacy BIOS bootable" */
    uint64_t bios_first, bios_last; /* its sectors, when there is one */
    uint64_t other;                 /* sector of the other header: copy or original */
    uint64_t first, last;           /* sectors partitions may have */
    uint8_t guid[16];               /* of the disk */
    uint32_t count, crc;            /* entries, and their CRC */
};

/* Read the table whose header is in sector `lba`: 1, or the disk's last for the copy.  Header and
 * entries must have the right CRC, lie inside the disk and not in each other's way.
 * Errors: -EILSEQ with what is wrong with the table, or what reading the disk returned. */
int gpt_read(struct im_disk *disk, uint64_t lba, struct gpt *ret_gpt, struct im_error *err);

/* The same, and each partition in `part`, of which there is room for `room`; those past it are
 * counted and not told.  part may be NULL. */
int gpt_read_parts(struct im_disk *disk, uint64_t lba, struct im_part *part, unsigned room,
                   struct gpt *ret_gpt, struct im_error *err);

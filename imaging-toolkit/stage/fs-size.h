/* fs-size - how large a file system says it is, and whether it has noted errors: the two things its
 * superblock tells that a look at its place must be compared with.  Not a recogniser: the type is
 * known (guest/guest.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/disk.h"

struct fs_size {
    uint64_t bytes; /* 0: this type does not tell, or what it tells cannot be */
    bool errors;    /* it was marked as damaged by the system that used it (ext) */
};

/* Read the superblock of a file system of `type` ("ext4", "xfs", "vfat", "ntfs", "btrfs", "swap")
 * at byte `offset` of the disk.  The disk's errors. */
int fs_size_read(struct im_disk *disk, const char *type, uint64_t offset, struct fs_size *ret_size,
                 struct im_error *err);

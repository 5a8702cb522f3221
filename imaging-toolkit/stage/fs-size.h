/* fs-size - how large a file system says it is, and whether it has noted errors: the two things its
 * superblock tells that a look at its place must be compared with.  Not a recogniser: the type is
 * known, from guest/guest.h or stage/superblock.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/disk.h"

/* As the superblock counts; nothing is checked. */
struct fs_blocks {
    uint64_t count;
    uint64_t bytes; /* of each; UINT64_MAX: more than can be said */
};

/* Of superblocks, of which 512 bytes are read. */
struct fs_blocks fs_ext_blocks(const uint8_t *superblock);
struct fs_blocks fs_xfs_blocks(const uint8_t *superblock);
struct fs_blocks fs_fat_blocks(const uint8_t *superblock);

/* The largest block that ext has, bytes. */
#define FS_EXT_BLOCK_MAX 65536u

struct fs_size {
    uint64_t bytes; /* 0: this type does not tell, or what it tells cannot be */
    bool errors;    /* it was marked as damaged by the system that used it (ext) */
};

/* Read the superblock of a file system of `type` ("ext4", "xfs", "vfat", "ntfs", "btrfs", "swap")
 * at byte `offset` of the disk.  The disk's errors. */
int fs_size_read(struct im_disk *disk, const char *type, uint64_t offset, struct fs_size *ret_size,
                 struct im_error *err);

/* fs-size - how large file systems say they are; see fs-size.h.
 *
 * ext: "Super Block" of the kernel's ext4 documentation; XFS: "XFS Algorithms & Data Structures",
 * superblocks; FAT: "FAT File System Specification" 1.03, BPB; NTFS: the same fields and one of 64
 * bits; Btrfs: "On-disk Format", superblock; swap: union swap_header. */

#include <config.h>

#include "stage/fs-size.h"

#include <string.h>

#include "base/bytes.h"

#define EXT_64BIT  0x80u
#define EXT_ERRORS 0x0002u /* of s_state */
#define SWAP_PAGE  4096u

/* Count × unit, 0 when that is no number of bytes. */
static uint64_t times(uint64_t count, uint64_t unit)
{
    uint64_t bytes;

    return __builtin_mul_overflow(count, unit, &bytes) ? 0 : bytes;
}

struct fs_blocks fs_ext_blocks(const uint8_t *p)
{
    uint32_t shift = im_le32(p + 0x18);
    uint64_t high = im_le32(p + 0x60) & EXT_64BIT ? im_le32(p + 0x150) : 0;

    return (struct fs_blocks){ .count = high << 32 | im_le32(p + 4),
                               .bytes = shift < 54 ? UINT64_C(1024) << shift : UINT64_MAX };
}

struct fs_blocks fs_xfs_blocks(const uint8_t *p)
{
    return (struct fs_blocks){ .count = im_be64(p + 8), .bytes = im_be32(p + 4) };
}

struct fs_blocks fs_fat_blocks(const uint8_t *p)
{
    return (struct fs_blocks){ .count = im_le16(p + 19) ? im_le16(p + 19) : im_le32(p + 32),
                               .bytes = im_le16(p + 11) };
}

static struct fs_size ext_size(const uint8_t *p)
{
    struct fs_blocks blocks = fs_ext_blocks(p);

    return (struct fs_size){ .bytes = blocks.bytes > FS_EXT_BLOCK_MAX
                                          ? 0
                                          : times(blocks.count, blocks.bytes),
                             .errors = (im_le16(p + 58) & EXT_ERRORS) != 0 };
}

static struct fs_size xfs_size(const uint8_t *p)
{
    struct fs_blocks blocks = fs_xfs_blocks(p);

    return (struct fs_size){ .bytes = times(blocks.count, blocks.bytes) };
}

static struct fs_size fat_size(const uint8_t *p)
{
    struct fs_blocks blocks = fs_fat_blocks(p);

    return (struct fs_size){ .bytes = times(blocks.count, blocks.bytes) };
}

/* The copy of the boot sector behind the last one is not counted in it. */
static struct fs_size ntfs_size(const uint8_t *p)
{
    uint64_t sectors = im_le64(p + 40);

    return (struct fs_size){ .bytes =
                                 sectors == UINT64_MAX ? 0 : times(sectors + 1, im_le16(p + 11)) };
}

static struct fs_size btrfs_size(const uint8_t *p)
{
    return (struct fs_size){ .bytes = im_le64(p + 0xd1) };
}

static struct fs_size swap_size(const uint8_t *p)
{
    return (struct fs_size){ .bytes = times((uint64_t)im_le32(p + 4) + 1, SWAP_PAGE) };
}

static const struct kind {
    const char *type;
    uint32_t at; /* of the superblock */
    struct fs_size (*size)(const uint8_t *superblock);
} kinds[] = {
    { "ext2", 1024, ext_size },    { "ext3", 1024, ext_size },     { "ext4", 1024, ext_size },
    { "ext4dev", 1024, ext_size }, { "xfs", 0, xfs_size },         { "vfat", 0, fat_size },
    { "ntfs", 0, ntfs_size },      { "btrfs", 65536, btrfs_size }, { "swap", 1024, swap_size },
};

int fs_size_read(struct im_disk *disk, const char *type, uint64_t offset, struct fs_size *ret_size,
                 struct im_error *err)
{
    uint8_t superblock[512];

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        uint64_t at;
        int r;

        if (strcmp(kinds[i].type, type) != 0)
            continue;
        if (__builtin_add_overflow(offset, kinds[i].at, &at) || disk->size < sizeof(superblock) ||
            at > disk->size - sizeof(superblock))
            break;
        r = im_disk_read(disk, superblock, sizeof(superblock), at, err);
        if (r == 0)
            *ret_size = kinds[i].size(superblock);
        return r;
    }
    *ret_size = (struct fs_size){ 0 };
    return 0;
}

/* superblock - recognise a bare file system; see superblock.h.
 *
 * Layouts: Linux Documentation/filesystems/ext4/super.rst; XFS Algorithms & Data Structures,
 * "Superblocks"; Microsoft FAT32 File System Specification 1.03. */

#include <config.h>

#include "stage/superblock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "stage/fs-size.h"

/* How a partition is made of it all the same; in the workflow force=yes is the store's. */
#define AS_IS "the stage's force=yes, in the workflow partition-to-disk as-is=yes,"

#define EXT_AT          1024u
#define EXT_MAGIC       0xef53u
#define EXT_JOURNAL     0x0004u /* s_feature_compat: has a journal */
#define EXT_JOURNAL_DEV 0x0008u /* s_feature_incompat: is a journal and nothing else */
#define EXT_64BIT       0x0080u
#define EXT_EXTENTS     0x0040u

#define XFS_BLOCK_MIN 512u
#define XFS_BLOCK_MAX 65536u

#define FAT_SECTOR_MIN 512u
#define FAT_SECTOR_MAX 4096u

/* "8-4-4-4-12" of 16 bytes; "" when all are zeros. */
static void print_uuid(char text[40], const uint8_t *p)
{
    static const uint8_t none[16];
    size_t n = 0;

    *text = '\0';
    for (size_t i = 0; i < 16 && memcmp(p, none, 16) != 0; i++)
        n += (size_t)snprintf(text + n, 40 - n, "%s%02x",
                              i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", p[i]);
}

/* As many bytes as a disk of any kind can have. */
static int set_bytes(struct superblock *superblock, const struct fs_blocks *blocks,
                     struct im_error *err)
{
    if (blocks->count == 0 ||
        __builtin_mul_overflow(blocks->count, blocks->bytes, &superblock->bytes) ||
        superblock->bytes > INT64_MAX)
        return im_fail(err, EBADMSG,
                       "the superblock of this %s file system says that it has %" PRIu64
                       " blocks of %" PRIu64 " bytes; check it with its fsck",
                       superblock->name, blocks->count, blocks->bytes);
    return 0;
}

static bool is_power(uint64_t value, uint64_t min, uint64_t max)
{
    return value >= min && value <= max && (value & (value - 1)) == 0;
}

static int refuse_block(const struct superblock *superblock, uint64_t value, struct im_error *err)
{
    return im_fail(err, EBADMSG,
                   "the superblock of this %s file system says that its blocks have %" PRIu64
                   " bytes; check it with its fsck",
                   superblock->name, value);
}

static bool is_ext(const uint8_t *head)
{
    return im_le16(head + EXT_AT + 0x38) == EXT_MAGIC;
}

static int read_ext(const uint8_t *head, struct superblock *superblock, struct im_error *err)
{
    const uint8_t *p = head + EXT_AT;
    uint32_t incompat = im_le32(p + 0x60);
    struct fs_blocks blocks = fs_ext_blocks(p);

    superblock->name = incompat & (EXT_64BIT | EXT_EXTENTS) ? "ext4"
                       : im_le32(p + 0x5c) & EXT_JOURNAL    ? "ext3"
                                                            : "ext2";
    if (incompat & EXT_JOURNAL_DEV)
        return im_fail(err, EOPNOTSUPP,
                       "this is the external journal of an ext file system; give the file system");
    if (blocks.bytes > FS_EXT_BLOCK_MAX)
        return refuse_block(superblock, blocks.bytes, err);
    print_uuid(superblock->uuid, p + 0x68);
    return set_bytes(superblock, &blocks, err);
}

static bool is_xfs(const uint8_t *head)
{
    return memcmp(head, "XFSB", 4) == 0;
}

static int read_xfs(const uint8_t *head, struct superblock *superblock, struct im_error *err)
{
    struct fs_blocks blocks = fs_xfs_blocks(head);

    superblock->name = "XFS";
    if (!is_power(blocks.bytes, XFS_BLOCK_MIN, XFS_BLOCK_MAX))
        return refuse_block(superblock, blocks.bytes, err);
    print_uuid(superblock->uuid, head + 32);
    return set_bytes(superblock, &blocks, err);
}

/* The type's name in the boot sector is no proof for Microsoft, but all tools write it, and the
 * numbers before it are looked at as well. */
static bool is_fat(const uint8_t *head)
{
    return head[510] == 0x55 && head[511] == 0xaa && im_le16(head + 14) > 0 &&
           (head[16] == 1 || head[16] == 2) && head[21] >= 0xf0 &&
           (memcmp(head + 54, "FAT1", 4) == 0 || memcmp(head + 82, "FAT32   ", 8) == 0);
}

static int read_fat(const uint8_t *head, struct superblock *superblock, struct im_error *err)
{
    struct fs_blocks sectors = fs_fat_blocks(head);
    const uint8_t *id = head + (memcmp(head + 82, "FAT32   ", 8) == 0 ? 67 : 39);

    superblock->name = "FAT";
    if (!is_power(sectors.bytes, FAT_SECTOR_MIN, FAT_SECTOR_MAX))
        return refuse_block(superblock, sectors.bytes, err);
    if (im_le32(id) != 0)
        (void)snprintf(superblock->uuid, sizeof(superblock->uuid), "%02X%02X-%02X%02X", id[3],
                       id[2], id[1], id[0]);
    return set_bytes(superblock, &sectors, err);
}

static const struct kind {
    enum superblock_kind kind;
    bool (*is)(const uint8_t *head);
    int (*read)(const uint8_t *head, struct superblock *superblock, struct im_error *err);
} kinds[] = {
    { SUPERBLOCK_EXT, is_ext, read_ext },
    { SUPERBLOCK_XFS, is_xfs, read_xfs },
    { SUPERBLOCK_FAT, is_fat, read_fat },
};

static int refuse_unknown(const uint8_t *head, struct im_error *err)
{
    if (head[510] == 0x55 && head[511] == 0xaa)
        return im_fail(err, EOPNOTSUPP,
                       "the image begins with a boot sector or a partition table, not with a file "
                       "system: a whole disk needs no other table (" AS_IS " puts one around it)");
    return im_fail(
        err, EOPNOTSUPP,
        "the image does not begin with an ext2, ext3, ext4, XFS or FAT file system; " AS_IS
        " makes a partition of it as it is");
}

int superblock_read(const uint8_t head[SUPERBLOCK_HEAD], struct superblock *ret_superblock,
                    struct im_error *err)
{
    struct superblock superblock = { 0 };
    const struct kind *found = NULL;
    int r;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!kinds[i].is(head))
            continue;
        if (found)
            return im_fail(err, EOPNOTSUPP,
                           "the image has the superblocks of two kinds of file systems; remove "
                           "the stale one with wipefs (" AS_IS
                           " makes a partition of it as it is)");
        found = &kinds[i];
    }
    if (!found)
        return refuse_unknown(head, err);
    superblock.kind = found->kind;
    r = found->read(head, &superblock, err);
    if (r == 0)
        *ret_superblock = superblock;
    return r;
}

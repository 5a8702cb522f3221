/* clean - was a file system unmounted?  Read from the few bytes in which each kind says so.
 *
 * What has to be repaired or replayed before it can be used is dirty.  Nothing is checked beyond
 * that: a clean file system may still be damaged. */

#include <config.h>

#include "guest/inner.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

/* Attributes in one record of NTFS's $MFT; a record of 1 KiB has room for fewer. */
#define ATTRIBUTES_MAX 64u

static int read_at(struct im_disk *disk, const struct im_fs *fs, void *buf, size_t len,
                   uint64_t offset, struct im_error *err)
{
    if (len > fs->len || offset > fs->len - len) {
        memset(buf, 0, len); /* which is no sign of anything in any kind */
        return 0;
    }
    return im_disk_read(disk, buf, len, fs->offset + offset, err);
}

static void __attribute__((format(printf, 2, 3))) dirty(struct im_fs *fs, const char *why, ...)
{
    va_list args;

    fs->clean = IM_DIRTY;
    va_start(args, why);
    (void)vsnprintf(fs->dirt, sizeof(fs->dirt), why, args);
    va_end(args);
}

/* "The Super Block": s_state, s_feature_incompat. */
static int clean_ext(struct im_disk *disk, struct im_fs *fs, struct im_error *err)
{
    uint8_t super[1024];
    int r = read_at(disk, fs, super, sizeof(super), 1024, err);
    uint16_t state;

    if (r < 0 || im_le16(super + 0x38) != 0xef53)
        return r;
    state = im_le16(super + 0x3a);
    fs->clean = IM_CLEAN;
    if (im_le32(super + 0x60) & 0x4)
        dirty(fs, "its journal holds changes that are not in their places yet");
    else if (state & 0x2)
        dirty(fs, "errors were found in it");
    else if (!(state & 0x1))
        dirty(fs, "it was not unmounted");
    return 0;
}

/* FAT: bit 0 of a reserved byte of the boot sector, as Linux sets it, and a bit of the table's
 * second entry, as Windows clears it. */
static int clean_fat(struct im_disk *disk, struct im_fs *fs, struct im_error *err)
{
    uint8_t boot[512], table[8];
    bool fat32, fat16;
    uint32_t entry;
    int r = read_at(disk, fs, boot, sizeof(boot), 0, err);

    if (r < 0)
        return r;
    fat32 = im_le16(boot + 22) == 0;
    fat16 = !fat32 && memcmp(boot + 54, "FAT16   ", 8) == 0;
    r = read_at(disk, fs, table, sizeof(table), (uint64_t)im_le16(boot + 14) * im_le16(boot + 11),
                err);
    if (r < 0)
        return r;
    entry = fat32 ? im_le32(table + 4) & 0x08000000 : fat16 ? im_le16(table + 2) & 0x8000 : 1;
    fs->clean = IM_CLEAN;
    if ((boot[fat32 ? 0x41 : 0x25] & 1) || !entry)
        dirty(fs, "it was not unmounted");
    return 0;
}

/* A record of $MFT as it was before the end of each sector was replaced by a check. */
static bool restore_record(uint8_t *record, size_t len)
{
    uint16_t at = im_le16(record + 4), count = im_le16(record + 6);

    if (memcmp(record, "FILE", 4) != 0 || count != len / 512 + 1 || at > len - 2u * count)
        return false;
    for (unsigned i = 1; i < count; i++) {
        uint8_t *end = record + (size_t)i * 512 - 2;

        if (memcmp(end, record + at, 2) != 0)
            return false;
        memcpy(end, record + at + 2 * (size_t)i, 2);
    }
    return true;
}

/* The flags in $VOLUME_INFORMATION (type 70h) of a record; false: there are none. */
static bool volume_flags(const uint8_t *record, size_t len, uint16_t *ret_flags)
{
    size_t at = im_le16(record + 20);

    for (unsigned i = 0; i < ATTRIBUTES_MAX && at + 24 <= len; i++) {
        uint32_t type = im_le32(record + at), size = im_le32(record + at + 4);

        if (type == 0xffffffff || size < 24 || size > len - at)
            return false;
        if (type == 0x70 && record[at + 8] == 0) { /* resident */
            size_t value = at + im_le16(record + at + 20);

            if (value + 12 > at + size)
                return false;
            *ret_flags = im_le16(record + value + 10);
            return true;
        }
        at += size;
    }
    return false;
}

/* A byte that is a number, or above `plain` the negative of a power of two; 0: absurd. */
static uint64_t power(uint8_t byte, uint8_t plain)
{
    if (byte <= plain)
        return byte;
    return byte >= 256 - 20 ? UINT64_C(1) << (256 - byte) : 0;
}

/* NTFS: bit 0 of the flags in file record 3, $Volume. */
static int clean_ntfs(struct im_disk *disk, struct im_fs *fs, struct im_error *err)
{
    uint8_t boot[512], record[4096];
    uint64_t cluster, len, at;
    uint16_t flags;
    int r = read_at(disk, fs, boot, sizeof(boot), 0, err);

    if (r < 0)
        return r;
    cluster = (uint64_t)im_le16(boot + 11) * power(boot[13], 128);
    len = boot[64] > 127 ? power(boot[64], 127) : boot[64] * cluster;
    if (len < 512 || len > sizeof(record) || len % 512 != 0 ||
        __builtin_mul_overflow(im_le64(boot + 48), cluster, &at) ||
        __builtin_add_overflow(at, 3 * len, &at))
        return 0;
    r = read_at(disk, fs, record, len, at, err);
    if (r < 0 || !restore_record(record, len) || !volume_flags(record, len, &flags))
        return r;
    fs->clean = IM_CLEAN;
    if (flags & 1)
        dirty(fs, "it was not unmounted, or has to be checked");
    return 0;
}

/* Btrfs is always whole; its log tree holds what was synced since the last commit. */
static int clean_btrfs(struct im_disk *disk, struct im_fs *fs, struct im_error *err)
{
    uint8_t super[512];
    int r = read_at(disk, fs, super, sizeof(super), 65536, err);

    if (r < 0 || memcmp(super + 64, "_BHRfS_M", 8) != 0)
        return r;
    fs->clean = IM_CLEAN;
    if (im_le64(super + 96) != 0)
        dirty(fs, "its log tree holds changes that are not in their places yet");
    return 0;
}

static const struct kind {
    const char *type;
    int (*clean)(struct im_disk *disk, struct im_fs *fs, struct im_error *err);
} kinds[] = {
    { "ext2", clean_ext },      { "ext3", clean_ext },  { "ext4", clean_ext },
    { "vfat", clean_fat },      { "ntfs", clean_ntfs }, { "btrfs", clean_btrfs },
    { "xfs", guest_clean_xfs },
};

int guest_clean(struct im_disk *disk, struct im_fs *fs, struct im_error *err)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].type, fs->type) == 0)
            return kinds[i].clean(disk, fs, err);
    return 0;
}

/* probe - what kind of file system a place of a disk holds, by libblkid.
 *
 * libblkid reads files and looks in a few places of them only.  So the first and the last bytes of
 * the place, and those of NTFS and FAT32 that lie elsewhere, are put into a file in memory that is
 * as long as the place and has a hole between: any disk can be looked at, nothing of it is copied
 * to scratch, and what libblkid can be made to read is bounded. */

#include <config.h>

#include "guest/inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <blkid/blkid.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/library.h"

/* Signatures stand in the first 2 MiB (VMFS is the last of them), or in the last 512 KiB (RAID). */
#define HEAD (2u << 20)
#define TAIL (512u << 10)
/* $MFT's first records, a FAT's root directory. */
#define MORE (64u << 10)

struct blkid {
    typeof(&blkid_new_probe) blkid_new_probe;
    typeof(&blkid_free_probe) blkid_free_probe;
    typeof(&blkid_probe_set_device) blkid_probe_set_device;
    typeof(&blkid_probe_enable_superblocks) blkid_probe_enable_superblocks;
    typeof(&blkid_probe_set_superblocks_flags) blkid_probe_set_superblocks_flags;
    typeof(&blkid_do_safeprobe) blkid_do_safeprobe;
    typeof(&blkid_probe_lookup_value) blkid_probe_lookup_value;
};

static const struct im_symbol symbols[] = {
    IM_SYMBOL(blkid, blkid_new_probe),
    IM_SYMBOL(blkid, blkid_free_probe),
    IM_SYMBOL(blkid, blkid_probe_set_device),
    IM_SYMBOL(blkid, blkid_probe_enable_superblocks),
    IM_SYMBOL(blkid, blkid_probe_set_superblocks_flags),
    IM_SYMBOL(blkid, blkid_do_safeprobe),
    IM_SYMBOL(blkid, blkid_probe_lookup_value),
    { 0 },
};

struct window {
    struct im_disk *disk;
    const struct im_fs *fs;
    int fd;
    uint8_t *buf; /* HEAD */
};

/* Put what there is of `len` bytes at `offset` of the place into the file. */
static int show(struct window *window, uint64_t offset, size_t len, struct im_error *err)
{
    int r;

    if (offset >= window->fs->len)
        return 0;
    len = (size_t)im_min(len, window->fs->len - offset);
    r = im_disk_read(window->disk, window->buf, len, window->fs->offset + offset, err);
    if (r == 0)
        r = im_pwrite(window->fd, window->buf, len, offset);
    return r < 0 && r != -ENOSPC && r != -ENOMEM ? r
           : r < 0                               ? im_fail(err, ENOMEM, "out of memory")
                                                 : 0;
}

/* The place that a boot sector of Windows names for what libblkid reads besides; 0: none. */
static uint64_t elsewhere(const uint8_t *boot)
{
    uint64_t sector = im_le16(boot + 11), cluster = boot[13], at;

    if (memcmp(boot + 3, "NTFS    ", 8) == 0) /* "BIOS parameter block": $MFT's cluster */
        return __builtin_mul_overflow(im_le64(boot + 48), sector * cluster, &at) ? 0 : at;
    if (memcmp(boot + 82, "FAT32   ", 8) == 0 && im_le32(boot + 44) >= 2)
        return (im_le16(boot + 14) + (uint64_t)boot[16] * im_le32(boot + 36) +
                (im_le32(boot + 44) - 2) * cluster) *
               sector;
    return 0;
}

static int fill(struct window *window, struct im_error *err)
{
    const struct im_fs *fs = window->fs;
    uint8_t boot[512] = { 0 };
    int r;

    if (ftruncate(window->fd, (off_t)fs->len) < 0)
        return im_fail_errno(err, errno, "cannot make a file in memory");
    if (fs->len > HEAD + TAIL) {
        r = show(window, fs->len - TAIL, TAIL, err);
        if (r < 0)
            return r;
    }
    r = show(window, 0, HEAD, err);
    if (r < 0 || im_pread(window->fd, boot, sizeof(boot), 0) < (ssize_t)sizeof(boot))
        return r;
    return elsewhere(boot) >= HEAD ? show(window, elsewhere(boot), MORE, err) : 0;
}

static void take_value(const struct blkid *blkid, blkid_probe probe, const char *name, char *out,
                       size_t size)
{
    const char *value;
    size_t len;

    if (blkid->blkid_probe_lookup_value(probe, name, &value, &len) == 0)
        (void)snprintf(out, size, "%.*s", (int)im_min(len, size), value);
}

static int ask(const struct blkid *blkid, int fd, struct im_fs *fs, struct im_error *err)
{
    blkid_probe probe = blkid->blkid_new_probe();
    int r = probe ? blkid->blkid_probe_set_device(probe, fd, 0, (blkid_loff_t)fs->len) : -1;

    if (r == 0) {
        (void)blkid->blkid_probe_enable_superblocks(probe, 1);
        (void)blkid->blkid_probe_set_superblocks_flags(
            probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID);
        r = blkid->blkid_do_safeprobe(probe);
        fs->ambivalent = r == -2;
        if (r == 0) {
            take_value(blkid, probe, "TYPE", fs->type, sizeof(fs->type));
            take_value(blkid, probe, "LABEL", fs->label, sizeof(fs->label));
            take_value(blkid, probe, "UUID", fs->uuid, sizeof(fs->uuid));
        }
        r = 0;
    }
    if (probe)
        blkid->blkid_free_probe(probe);
    return r < 0 ? im_fail(err, ENOMEM, "libblkid cannot look at a file in memory") : 0;
}

int guest_probe(struct im_disk *disk, struct im_fs *fs, struct im_error *err)
{
    uint8_t *buf IM_FREE = NULL;
    int fd IM_CLOSE = -1;
    struct window window = { .disk = disk, .fs = fs };
    struct blkid blkid;
    int r = im_library_load("libblkid.so.1", symbols, &blkid, err);

    if (r < 0)
        return r;
    buf = window.buf = malloc(HEAD);
    fd = window.fd = memfd_create("probe", MFD_CLOEXEC);
    if (!buf || fd < 0)
        return im_fail(err, ENOMEM, "out of memory");
    r = fill(&window, err);
    return r < 0 ? r : ask(&blkid, fd, fs, err);
}

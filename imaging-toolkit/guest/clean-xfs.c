/* clean-xfs - was an XFS unmounted?  Only its log tells: the last thing in it is then an unmount
 * record ("XFS Filesystem Structure", Journaling Log).
 *
 * The log is a ring of sectors that each begin with the number of the round in which they were
 * written, so the end of what was written is found by bisection; nothing is replayed. */

#include <config.h>

#include "guest/inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define SECTOR  512u
#define RECORD  0xfeedbabeu
#define UNMOUNT 0x20u
/* The last record begins at most so far before the end: one buffer of 256 KiB, its headers, and
 * the padding to a stripe of 256 KiB. */
#define BACK 1152u
/* Sectors of a log: 2 GiB is the largest there is. */
#define LOG_MAX (UINT32_C(2) << 21)

struct log {
    struct im_disk *disk;
    uint64_t at;    /* byte of the disk */
    uint32_t count; /* sectors */
};

/* Where the log is; false: outside, in another device, or absurd. */
static bool find_log(const struct im_fs *fs, const uint8_t *super, struct log *log)
{
    uint64_t block = im_be32(super + 4), start = im_be64(super + 48);
    uint64_t group = im_be32(super + 84), blocks = im_be32(super + 96);
    uint8_t shift = super[124];
    uint64_t at, len;

    if (start == 0 || block < SECTOR || block > 65536 || shift == 0 || shift > 31 || blocks == 0)
        return false;
    if (__builtin_mul_overflow(start >> shift, group, &at) ||
        __builtin_add_overflow(at, start & ((UINT64_C(1) << shift) - 1), &at) ||
        __builtin_mul_overflow(at, block, &at))
        return false;
    len = blocks * block;
    if (len > (uint64_t)LOG_MAX * SECTOR || len > fs->len || at > fs->len - len)
        return false;
    log->at = fs->offset + at;
    log->count = (uint32_t)(len / SECTOR);
    return true;
}

static int round_of(const struct log *log, uint32_t sector, uint32_t *ret_round,
                    struct im_error *err)
{
    uint8_t head[8];
    int r = im_disk_read(log->disk, head, sizeof(head), log->at + (uint64_t)sector * SECTOR, err);

    if (r == 0)
        *ret_round = im_be32(head + (im_be32(head) == RECORD ? 4 : 0));
    return r;
}

/* The sector behind the last that was written: the first of an earlier round than sector 0. */
static int find_head(const struct log *log, uint32_t *ret_head, struct im_error *err)
{
    uint32_t low = 0, high = log->count, first = 0, round = 0;
    int r = round_of(log, 0, &first, err);

    while (r == 0 && high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        r = round_of(log, middle, &round, err);
        if (round == first)
            low = middle;
        else
            high = middle;
    }
    *ret_head = high;
    return r;
}

/* Is the record at `p` (len bytes up to the head) one that only says "unmounted", and the last? */
static bool is_unmount(const uint8_t *p, size_t len)
{
    size_t headers = im_be32(p + 8) & 2 ? (im_be32(p + 320) + 32767u) / 32768u : 1;

    headers = headers ? headers : 1;
    return im_be32(p + 40) == 1 && headers < len / SECTOR &&
           (p[headers * SECTOR + 9] & UNMOUNT) != 0 &&
           headers * SECTOR + im_round_up(im_be32(p + 12), SECTOR) == len;
}

static int judge(const struct log *log, uint32_t head, struct im_fs *fs, struct im_error *err)
{
    uint32_t count = head < BACK ? head : BACK;
    uint8_t *buf IM_FREE = malloc((size_t)count * SECTOR);
    int r;

    if (!buf)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_disk_read(log->disk, buf, (size_t)count * SECTOR,
                     log->at + (uint64_t)(head - count) * SECTOR, err);
    for (uint32_t i = count; r == 0 && i > 0; i--) {
        const uint8_t *record = buf + (size_t)(i - 1) * SECTOR;

        if (im_be32(record) != RECORD)
            continue;
        if (is_unmount(record, (size_t)(count - i + 1) * SECTOR)) {
            fs->clean = IM_CLEAN;
        } else {
            fs->clean = IM_DIRTY;
            (void)snprintf(fs->dirt, sizeof(fs->dirt), "its log does not end with an unmount");
        }
        break;
    }
    return r; /* no record: nobody knows */
}

int guest_clean_xfs(struct im_disk *disk, struct im_fs *fs, struct im_error *err)
{
    struct log log = { .disk = disk };
    uint8_t super[512];
    uint32_t head = 0;
    int r;

    if (fs->len < sizeof(super))
        return 0;
    r = im_disk_read(disk, super, sizeof(super), fs->offset, err);
    if (r < 0 || im_be32(super) != 0x58465342 || !find_log(fs, super, &log))
        return r;
    r = find_head(&log, &head, err);
    return r < 0 ? r : judge(&log, head, fs, err);
}

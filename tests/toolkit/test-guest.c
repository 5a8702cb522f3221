/* What file systems say of themselves (guest/clean.c), in a few bytes of each kind: clean, dirty,
 * or nothing that can be believed; names for files that have none (guest/name.c), and copies of a
 * disk (guest/as-file.c). */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "guest/as-file.h"
#include "guest/inner.h"
#include "guest/name.h"

#define PART 4096u /* the file system begins there */

struct disk {
    struct im_disk base;
    uint8_t bytes[PART + 128 * 1024];
    int reads_left; /* the read after them fails */
    bool mapless;   /* nobody knows what lies where */
};

static struct disk disk;
static struct im_fs fs;
static struct im_error err;

static int disk_read(struct im_disk *base, void *buf, size_t len, uint64_t offset,
                     struct im_error *ret_err)
{
    (void)base;
    if (disk.reads_left-- == 0)
        return im_fail(ret_err, EIO, "this disk is broken");
    memcpy(buf, disk.bytes + offset, len);
    return 0;
}

static int disk_map(struct im_disk *base, uint64_t offset, uint64_t len, struct im_extent *ret,
                    struct im_error *ret_err)
{
    (void)base;
    *ret = (struct im_extent){ .offset = offset, .len = len };
    return disk.mapless ? im_fail(ret_err, EIO, "this disk has no map") : 0;
}

static const struct im_disk_ops disk_ops = { .name = "memory", .read = disk_read, .map = disk_map };

static void put(size_t at, unsigned bytes, uint64_t little)
{
    for (unsigned i = 0; i < bytes; i++)
        disk.bytes[PART + at + i] = (uint8_t)(little >> (8 * i));
}

static void put_big(size_t at, uint32_t value)
{
    put(at, 4, __builtin_bswap32(value));
}

static void text(size_t at, const char *words)
{
    memcpy(disk.bytes + PART + at, words, strlen(words));
}

static void begin(const char *type)
{
    memset(&disk, 0, sizeof(disk));
    disk.base = (struct im_disk){ .ops = &disk_ops, .size = sizeof(disk.bytes) };
    disk.reads_left = -1;
    fs = (struct im_fs){ .offset = PART, .len = sizeof(disk.bytes) - PART };
    (void)snprintf(fs.type, sizeof(fs.type), "%s", type);
}

static int judge(void)
{
    fs.clean = IM_CLEAN_UNKNOWN;
    *fs.dirt = '\0';
    err = (struct im_error){ 0 };
    return guest_clean(&disk.base, &fs, &err);
}

static void expect(enum im_clean clean, const char *why)
{
    assert_int_equal(judge(), 0);
    assert_int_equal(fs.clean, clean);
    assert_string_equal(fs.dirt, why);
}

/* With other bytes in a place, and as they were again. */
static void expect_with(size_t at, unsigned bytes, uint64_t little, enum im_clean clean,
                        const char *why)
{
    uint8_t kept[8];

    memcpy(kept, disk.bytes + PART + at, bytes);
    put(at, bytes, little);
    expect(clean, why);
    memcpy(disk.bytes + PART + at, kept, bytes);
    expect(IM_CLEAN, "");
}

/* Whichever of its reads fails, the failure comes back. */
static void expect_faults(void)
{
    int reads = 0;

    for (;; reads++) {
        disk.reads_left = reads;
        if (judge() == 0)
            break;
        assert_int_equal(err.number, EIO);
        assert_int_equal(fs.clean, IM_CLEAN_UNKNOWN);
    }
    assert_int_not_equal(reads, 0);
}

#define NOT_UNMOUNTED "it was not unmounted"
#define IN_LOG        "its log tree holds changes that are not in their places yet"
#define IN_JOURNAL    "its journal holds changes that are not in their places yet"
#define NO_UNMOUNT    "its log does not end with an unmount"
#define TO_BE_CHECKED "it was not unmounted, or has to be checked"

static void ext(void **state)
{
    static const char *const types[] = { "ext2", "ext3", "ext4" };

    (void)state;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        begin(types[i]);
        put(1024 + 0x38, 2, 0xef53);
        put(1024 + 0x3a, 2, 1);
        expect(IM_CLEAN, "");
        expect_with(1024 + 0x3a, 2, 0, IM_DIRTY, NOT_UNMOUNTED);
        expect_with(1024 + 0x3a, 2, 3, IM_DIRTY, "errors were found in it");
        expect_with(1024 + 0x60, 4, 4, IM_DIRTY, IN_JOURNAL);
        expect_with(1024 + 0x38, 2, 0xef54, IM_CLEAN_UNKNOWN, "");
        expect_faults();
        fs.len = 2047; /* what would be behind it says nothing */
        expect(IM_CLEAN_UNKNOWN, "");
    }
}

static void fat(void **state)
{
    (void)state;
    begin("vfat");
    put(11, 2, 512);
    put(14, 2, 1);
    put(22, 2, 9); /* FAT12: only what Linux says */
    expect(IM_CLEAN, "");
    expect_with(0x25, 1, 1, IM_DIRTY, NOT_UNMOUNTED);
    text(54, "FAT16   ");
    expect(IM_DIRTY, NOT_UNMOUNTED);
    put(512 + 2, 2, 0xffff);
    expect_with(512 + 2, 2, 0x7fff, IM_DIRTY, NOT_UNMOUNTED);
    put(22, 2, 0); /* FAT32 */
    put(512 + 4, 4, 0x0fffffff);
    expect_with(0x41, 1, 1, IM_DIRTY, NOT_UNMOUNTED);
    expect_with(512 + 4, 4, 0x07ffffff, IM_DIRTY, NOT_UNMOUNTED);
    expect_faults();
}

enum {
    MFT = 4096,
    VOLUME = MFT + 3 * 1024, /* record 3, of 1 KiB */
    FIRST = VOLUME + 56,     /* its attributes */
    SECOND = FIRST + 96,
    VALUE = SECOND + 24,
};

/* A record of $MFT, with the ends of its two sectors in the header. */
static void make_ntfs(void)
{
    begin("ntfs");
    put(11, 2, 512);
    put(13, 1, 8);
    put(48, 8, 1);    /* the cluster of $MFT */
    put(64, 1, 0xf6); /* 2^10 bytes */
    text(VOLUME, "FILE");
    put(VOLUME + 4, 2, 48);
    put(VOLUME + 6, 2, 3);
    put(VOLUME + 20, 2, 56);
    put(VOLUME + 48, 2, 0x1234);
    put(VOLUME + 510, 2, 0x1234);
    put(VOLUME + 1022, 2, 0x1234);
    put(FIRST, 4, 0x10);
    put(FIRST + 4, 4, 96);
    put(SECOND, 4, 0x70);
    put(SECOND + 4, 4, 40);
    put(SECOND + 20, 2, 24);
    put(SECOND + 40, 4, 0xffffffff);
}

static void ntfs(void **state)
{
    (void)state;
    make_ntfs();
    expect(IM_CLEAN, "");
    expect_with(VALUE + 10, 2, 1, IM_DIRTY, TO_BE_CHECKED);
    expect_with(VALUE + 10, 2, 2, IM_CLEAN, "");
    expect_faults();
}

static void ntfs_that_says_nothing(void **state)
{
    static const struct {
        size_t at;
        unsigned bytes;
        uint64_t value;
    } changes[] = {
        { 48, 8, 2 },                    /* other records */
        { 48, 8, 1000 },                 /* behind the file system */
        { 48, 8, UINT64_MAX / 4096 },    /* the third record behind all numbers */
        { 48, 8, UINT64_MAX },           /* the first one, too */
        { 13, 1, 200 },                  /* clusters of 2^56 sectors */
        { 64, 1, 0x80 },                 /* records of 2^128 bytes */
        { 64, 1, 2 },                    /* of 8 KiB */
        { 64, 1, 0xf8 },                 /* of 256 */
        { VOLUME, 4, 0x44414142 },       /* "BAAD" */
        { VOLUME + 4, 2, 1020 },         /* the ends of the sectors are outside */
        { VOLUME + 6, 2, 2 },            /* or too few */
        { VOLUME + 1022, 2, 0x1233 },    /* half of it is of another time */
        { VOLUME + 20, 2, 1010 },        /* attributes behind the record */
        { FIRST, 4, 0xffffffff },        /* none */
        { FIRST + 4, 4, 0 },             /* one without end */
        { FIRST + 4, 4, 0x7fffffff },    /* one that is larger than the record */
        { FIRST + 4, 4, 1024 - 56 - 8 }, /* one after which nothing has room */
        { SECOND + 8, 1, 1 },            /* its value is elsewhere */
        { SECOND + 20, 2, 30 },          /* or ends outside the attribute */
    };

    (void)state;
    make_ntfs();
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
        expect_with(changes[i].at, changes[i].bytes, changes[i].value, IM_CLEAN_UNKNOWN, "");
}

static void btrfs(void **state)
{
    (void)state;
    begin("btrfs");
    text(65536 + 64, "_BHRfS_M");
    expect(IM_CLEAN, "");
    expect_with(65536 + 96, 8, 4096, IM_DIRTY, IN_LOG);
    expect_with(65536 + 64, 1, 'b', IM_CLEAN_UNKNOWN, "");
    expect_faults();
}

#define LOG (2 * 4096u + 512 * 8u) /* group 2, block 8 */

/* Groups of 8 blocks of 512 bytes; the log has 16 of them: one record, an unmount, in its first
 * round. */
static void make_xfs(void)
{
    begin("xfs");
    text(0, "XFSB");
    put_big(4, 512);
    put_big(52, 2 << 4 | 8);
    put_big(84, 8);
    put_big(96, 16);
    put(124, 1, 4);
    put_big(LOG, 0xfeedbabe);
    put_big(LOG + 4, 1);
    put_big(LOG + 12, 512); /* bytes of the record */
    put_big(LOG + 40, 1);   /* operations */
    put_big(LOG + 512, 1);  /* the round, and then the operation */
    put(LOG + 512 + 9, 1, 0x20);
}

static void xfs(void **state)
{
    (void)state;
    make_xfs();
    expect(IM_CLEAN, "");
    expect_with(LOG + 512 + 9, 1, 0, IM_DIRTY, NO_UNMOUNT);
    expect_with(LOG + 40, 4, 2u << 24, IM_DIRTY, NO_UNMOUNT);
    expect_with(LOG + 12, 4, 0x0004, IM_DIRTY, NO_UNMOUNT); /* it ends later */
    expect_with(LOG + 1024, 4, 1u << 24, IM_DIRTY, NO_UNMOUNT);
    expect_faults();
}

static void xfs_that_says_nothing(void **state)
{
    static const struct {
        size_t at;
        unsigned bytes;
        uint64_t value;
    } changes[] = {
        { 0, 1, 'x' },          /* no XFS */
        { 4, 4, 0x00010000 },   /* blocks of 256 bytes */
        { 48, 8, 0 },           /* the log is in another device */
        { 48, 8, UINT64_MAX },  /* or behind all numbers */
        { 48, 4, 0xff },        /* or behind the file system */
        { 84, 4, 0xffffffff },  /* groups that are larger than it */
        { 96, 4, 0 },           /* no log */
        { 96, 4, 0xffff },      /* one that is longer than the file system */
        { 124, 1, 0 },          /* no bits of a group */
        { 124, 1, 32 },         /* or too many */
        { LOG, 4, 0x12345678 }, /* no record */
    };

    (void)state;
    make_xfs();
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
        expect_with(changes[i].at, changes[i].bytes, changes[i].value, IM_CLEAN_UNKNOWN, "");
    fs.len = 511;
    expect(IM_CLEAN_UNKNOWN, "");
}

static void others(void **state)
{
    (void)state;
    begin("swap");
    disk.reads_left = 0; /* it is not read */
    expect(IM_CLEAN_UNKNOWN, "");
}

static void names(void **state)
{
    char dir[] = "/tmp/test-guest.XXXXXX";
    struct guest_name name = { .fd = -1 };
    int fd = memfd_create("nameless", MFD_CLOEXEC);

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_false(guest_has_name(-1));
    assert_false(guest_has_name(fd));
    err = (struct im_error){ 0 };
    assert_int_equal(guest_name_take(fd, dir, &name, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.message, "use a scratch directory on another file system"));
    assert_non_null(strstr(err.message, dir));
    assert_int_equal(name.fd, -1);
    assert_int_equal(rmdir(dir), 0); /* nothing is in it */
    (void)close(fd);
}

/* What cannot be opened again leaves no name behind. */
static void too_many_files(void **state)
{
    char dir[] = "/tmp/test-guest.XXXXXX";
    struct guest_name name = { .fd = -1 };
    struct rlimit before, few;
    int fd;

    (void)state;
    assert_non_null(mkdtemp(dir));
    fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        skip();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = (struct rlimit){ .rlim_cur = (rlim_t)fd + 1, .rlim_max = before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    err = (struct im_error){ 0 };
    assert_int_equal(guest_name_take(fd, dir, &name, &err), -EMFILE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_non_null(strstr(err.message, "cannot open '/tmp/test-guest."));
    assert_int_equal(name.fd, -1);
    assert_int_equal(rmdir(dir), 0);
    (void)close(fd);
}

/* Part of a disk as a file in scratch, of which nothing is left when it cannot be copied. */
static void copies(void **state)
{
    char dir[] = "/tmp/test-guest.XXXXXX", bytes[9000];
    struct im_context context = { .jobs = 1, .scratch = dir };
    struct im_scratch *copy = NULL;

    (void)state;
    assert_non_null(mkdtemp(dir));
    begin("");
    text(5000, "here it is");
    assert_int_equal(im_range_file(&disk.base, &context, PART, sizeof(bytes), &copy, &err), 0);
    assert_int_equal(pread(copy->fd, bytes, sizeof(bytes), 0), sizeof(bytes));
    assert_memory_equal(bytes, disk.bytes + PART, sizeof(bytes));
    im_scratch_free(copy);
    copy = NULL;
    disk.reads_left = 0;
    assert_int_equal(im_range_file(&disk.base, &context, PART, 9000, &copy, &err), -EIO);
    assert_string_equal(err.message, "this disk is broken");
    disk.mapless = true;
    assert_int_equal(im_range_file(&disk.base, &context, PART, 9000, &copy, &err), -EIO);
    assert_string_equal(err.message, "this disk has no map");
    assert_null(copy);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ext),    cmocka_unit_test(fat),
        cmocka_unit_test(ntfs),   cmocka_unit_test(ntfs_that_says_nothing),
        cmocka_unit_test(btrfs),  cmocka_unit_test(xfs),
        cmocka_unit_test(others), cmocka_unit_test(xfs_that_says_nothing),
        cmocka_unit_test(names),  cmocka_unit_test(too_many_files),
        cmocka_unit_test(copies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a file is, by its first and last bytes, and the size of the disk inside.  For every refusal
 * there is a neighbour that is taken. */

#include <config.h>

#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/error.h"

#include "command.h"
#include "image.h"

#define SIZE 4096
#define GIB  ((uint64_t)1 << 30)

static uint8_t data[SIZE]; /* of the file of a test; zeros when it begins */

static int clear(void **state)
{
    (void)state;
    memset(data, 0, sizeof(data));
    return 0;
}

static void put(size_t at, const void *bytes, size_t len)
{
    memcpy(data + at, bytes, len);
}

static void put_be64(size_t at, uint64_t value)
{
    value = htobe64(value);
    put(at, &value, sizeof(value));
}

static void put_be32(size_t at, uint32_t value)
{
    value = htobe32(value);
    put(at, &value, sizeof(value));
}

static void put_le32(size_t at, uint32_t value)
{
    value = htole32(value);
    put(at, &value, sizeof(value));
}

static void put_le64(size_t at, uint64_t value)
{
    value = htole64(value);
    put(at, &value, sizeof(value));
}

/* Examine the first `len` bytes as a file; *size as euca_image_examine takes and gives it. */
static int examine(size_t len, const char *format, bool verify, uint64_t *size,
                   struct im_error *err)
{
    char path[] = "/tmp/test-image.XXXXXX";
    struct euca_image image EUCA_IMAGE_DONE = EUCA_IMAGE;
    int fd IM_CLOSE = mkstemp(path);
    int r;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    *err = (struct im_error){ .code = "" };
    r = euca_image_open(path, &image, err);
    if (r == 0)
        r = euca_image_examine("test", &image, format, verify, size, err);
    (void)unlink(path);
    return r;
}

/* It is found to be `title` when it is said to be raw, whatever its length; the format it has is
 * believed with a size that is told; and so is everything when nobody is to verify. */
static void is(const char *title, const char *format)
{
    struct im_error err;
    uint64_t size = 0;

    assert_int_equal(examine(SIZE, "RAW", true, &size, &err), -EBADMSG);
    if (!strstr(err.message, title))
        fail_msg("'%s' is not in: %s", title, err.message);
    assert_non_null(strstr(err.message, ", not RAW: "));
    assert_non_null(strstr(err.message, "imaging-toolkit convert"));
    assert_non_null(strstr(err.message, "--dont-verify-format"));
    assert_int_equal(size, 0);
    assert_int_equal(examine(SIZE, "RAW", false, &size, &err), 0);
    assert_int_equal(size, SIZE);
    assert_int_equal(examine(SIZE, format, true, &size, &err), 0);
}

/* It is a raw disk, and none of `format`. */
static void is_raw(const char *format)
{
    struct im_error err;
    uint64_t size = 0;

    if (examine(SIZE, "RAW", true, &size, &err) != 0)
        fail_msg("refused: %s", err.message);
    assert_int_equal(size, SIZE);
    assert_int_equal(examine(SIZE, format, true, &size, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "nothing in it says so"));
    assert_int_equal(examine(SIZE, format, false, &size, &err), 0);
}

/* Its magic is there, and not the rest: taken as a raw disk, and as what its magic says. */
static void may_be(const char *format)
{
    struct im_error err;
    uint64_t size = 0;

    if (examine(SIZE, "RAW", true, &size, &err) != 0)
        fail_msg("refused: %s", err.message);
    assert_int_equal(examine(SIZE, format, true, &size, &err), 0);
}

static void qcow2(void **state)
{
    (void)state;
    put(0, "QFI\xfb\0\0\0\3", 8);
    is("a QCOW2 image", "qcow2");
    data[7] = 4;
    may_be("qcow2");
    data[3] = 0xfa;
    is_raw("qcow2");
}

static void vdi(void **state)
{
    (void)state;
    put_le32(64, 0xbeda107f);
    put_le32(68, 0x00010001);
    is("a VDI", "vdi");
    data[68] = 2;
    may_be("vdi");
    data[64]++;
    is_raw("vdi");
}

static void vhdx(void **state)
{
    (void)state;
    put(0, "vhdxfile", 8);
    is("a VHDX", "vhdx");
    data[7] = 'E';
    is_raw("vhdx");
}

static void packed(void **state)
{
    (void)state;
    put(0, "\x1f\x8b\x08\x08\0\0\0\0\x02\x03", 10);
    is("a gzip file", "raw.gz");
    data[8] = 7;
    may_be("raw.gz");
    data[8] = 0, data[9] = 14;
    may_be("vmdk.gz");
    data[9] = 255, data[3] = 0x20;
    may_be("vmdk.gz");
    data[2] = 7;
    is_raw("raw.gz");

    put(0,
        "\xfd"
        "7zXZ\0",
        6);
    is("an xz file", "RAW.xz");
    data[5] = 1;
    is_raw("raw.xz");

    put(0, "PK\3\4\x14\0\0\0\x08\0", 10);
    is("a zip file", "vhd.zip");
    data[4] = 64;
    may_be("vhd.zip");
    data[3] = 5;
    is_raw("vhd.zip");
}

static void ova(void **state)
{
    (void)state;
    put(0, "machine.OVF", 11);
    put(257, "ustar", 5);
    is("an OVA", "ova");
    is("an OVA", "vmdk.ova");
    put(0, "machine.txt", 11); /* any tar may be written to a disk */
    may_be("ova");
    data[257] = 'U';
    is_raw("ova");
}

static void vmdk(void **state)
{
    struct im_error err;
    uint64_t size = 3;

    (void)state;
    put(0, "KDMV\1", 5);
    is("a VMDK", "VMDK");
    data[4] = 9;
    may_be("VMDK");
    data[0] = 'k';
    assert_int_equal(examine(SIZE, "VMDK", true, &size, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "is not a VMDK: nothing in it says so"));
    put(0, "# Disk DescriptorFile\n", 22);
    is("a VMDK", "VMDK");
    put(0, "# Disk Descriptor    \n", 22);
    is_raw("VMDK");
}

/* What the historical clients said, byte for byte, when no size is told. */
static void vmdk_texts(void **state)
{
    static const struct {
        size_t len;
        uint32_t flags;
        uint8_t unclean, compression, magic;
        const char *text;
    } rows[] = {
        { 511, 3 << 16, 0, 1, 'K', "is to small to be a valid Stream Optimized VMDK" },
        { 512, 3 << 16, 0, 1, 'k', "is not a Stream Optimized VMDK" },
        { 512, 2 << 16, 0, 1, 'K', "does not contain compressed parts" },
        { 512, 1 << 16, 0, 1, 'K', "does not have all data present" },
        { 512, 3 << 16, 1, 1, 'K', "marked with unclean shutdown" },
        { 512, 3 << 16, 0, 2, 'K', "uses unsupported compression algorithm" },
        { 512, 3 << 16, 0, 1, 'K', NULL },
    };
    struct im_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t size = 0;
        int r;

        put(0, "KDMV\1", 5);
        data[0] = rows[i].magic;
        put_le32(8, rows[i].flags);
        put_le64(12, 4097);
        put_le64(56, 20);
        data[72] = rows[i].unclean;
        data[77] = rows[i].compression;
        r = examine(rows[i].len, "VMDK", true, &size, &err);
        assert_int_equal(r, rows[i].text ? -EBADMSG : 0);
        assert_int_equal(size, rows[i].text ? 0 : 4097 * 512);
        if (rows[i].text) /* "File PATH TEXT" and nothing else */
            assert_string_equal(strchr(err.message + 5, ' ') + 1, rows[i].text);
    }
}

/* A footer of `len` bytes at the file's end, of a disk of `size` bytes. */
static void put_footer(size_t len, uint32_t type, uint64_t size)
{
    size_t at = SIZE - len;
    uint32_t sum = 0;

    memset(data + SIZE - 513, 0, 513);
    put(at, "conectix", 8);
    put_be64(at + 48, size);
    put_be32(at + 60, type);
    for (size_t i = at; i < SIZE; i++)
        sum += data[i];
    put_be32(at + 64, ~sum);
}

static void vhd(void **state)
{
    static const size_t lens[] = { 512, 511 }; /* those of old lack a byte */
    struct im_error err;
    uint64_t size;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        put_footer(lens[i], 2, SIZE - lens[i]);
        is("a VHD", "VHD");
        size = 0;
        assert_int_equal(examine(SIZE, "VHD", true, &size, &err), 0);
        assert_int_equal(size, SIZE - lens[i]);
        /* a disk that ends with the footer of another image */
        put_footer(lens[i], 2, SIZE - lens[i] - 512);
        may_be("VHD");
        put_footer(lens[i], 3, SIZE - lens[i]);
        may_be("VHD");
        data[SIZE - 1 - 300]++; /* reserved: only the checksum knows */
        may_be("VHD");
        size = 0;
        assert_int_equal(examine(SIZE, "VHD", true, &size, &err), -EBADMSG);
        assert_non_null(strstr(err.message, "damaged VHD footer"));
        data[SIZE - lens[i]] = 'C';
        is_raw("VHD");
    }
    put(0, "conectix", 8); /* a dynamic one whose end is missing */
    is("a VHD", "VHD");
    size = 0;
    assert_int_equal(examine(SIZE, "VHD", true, &size, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "no footer in its last 512 bytes"));
    assert_int_equal(examine(511, "VHD", true, &size, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "too small to be a VHD: it has 511 bytes"));
}

static void sizes_are_believable(void **state)
{
    static const struct {
        uint64_t size;
        const char *text;
    } rows[] = { { 0, "holds a disk of 0 bytes" },
                 { 1, NULL },
                 { INT32_MAX * GIB - 1, NULL },
                 { INT32_MAX * GIB, "larger than any volume" },
                 { UINT64_MAX, "larger than any volume" } };
    struct im_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t size = 0;

        put_footer(512, 2, rows[i].size);
        assert_int_equal(examine(SIZE, "VHD", true, &size, &err), rows[i].text ? -EBADMSG : 0);
        assert_int_equal(size, rows[i].text ? 0 : rows[i].size);
        if (rows[i].text)
            assert_non_null(strstr(err.message, rows[i].text));
    }
}

/* Disks that hold something in the places where formats have theirs. */
static void raw_disks_are_raw(void **state)
{
    struct im_error err;
    uint64_t size;

    (void)state;
    for (size_t len = 1; len <= SIZE; len += len < 520 ? 1 : 512) {
        size = 0;
        assert_int_equal(examine(len, "RAW", true, &size, &err), 0);
        assert_int_equal(size, len);
    }
    put(0, "\xeb\x63\x90", 3); /* GRUB's sector */
    put(510, "\x55\xaa", 2);
    put(512, "EFI PART", 8);
    is_raw("VMDK");
    put(0, "\xeb\x52\x90NTFS    ", 11);
    is_raw("VHD");
    memset(data, 0, sizeof(data));
    put(0, "XFSB", 4);
    is_raw("qcow2");
    memset(data, 0, sizeof(data));
    put(1080, "\x53\xef", 2); /* ext4 */
    is_raw("vdi");
    put(0, "LUKS\xba\xbe", 6);
    is_raw("raw.xz");
    memset(data, 0, sizeof(data));
    put(512, "LABELONE", 8); /* LVM */
    is_raw("vhdx");
}

static void formats_as_they_are_sent(void **state)
{
    static const char *const rows[][2] = { { "raw", "RAW" },       { "VmDk", "VMDK" },
                                           { "vhd", "VHD" },       { "Vpc", "VHD" },
                                           { "qcow2", "qcow2" },   { "OVA", "OVA" },
                                           { "raw.gz", "raw.gz" }, { "PARTITION", "PARTITION" } };
    struct im_error err = { .code = "" };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *format IM_FREE = NULL;

        assert_int_equal(euca_image_format("test", rows[i][0], true, &format, &err), 0);
        assert_string_equal(format, rows[i][1]);
    }
}

/* Whose size nobody can find without being told. */
static void size_is_required(void **state)
{
    static const char *const unknown[] = { "PARTITION", "foo", "foo.gz", "raw.rar", "gz",
                                           "qcow2",     "",    ".",      "raw.",    ".gz" };
    static const char *const known[] = { "raw", "VMDK", "vhd", "vpc" };
    char *format = NULL;

    (void)state;
    (void)setenv("IMAGING_TOOLKIT", "/none/such", 1);
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        struct im_error err = { .code = "" };
        char text[100];

        assert_int_equal(euca_image_format("test", unknown[i], false, &format, &err), -EINVAL);
        assert_string_equal(err.code, EUCA_USAGE);
        (void)snprintf(text, sizeof(text), "argument --image-size is required for %s files",
                       unknown[i]);
        assert_string_equal(err.message, text);
        assert_null(format);
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct im_error err = { .code = "" };
        char *sent IM_FREE = NULL;

        assert_int_equal(euca_image_format("test", known[i], false, &sent, &err), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(qcow2, clear),
        cmocka_unit_test_setup(vdi, clear),
        cmocka_unit_test_setup(vhdx, clear),
        cmocka_unit_test_setup(packed, clear),
        cmocka_unit_test_setup(ova, clear),
        cmocka_unit_test_setup(vmdk, clear),
        cmocka_unit_test_setup(vmdk_texts, clear),
        cmocka_unit_test_setup(vhd, clear),
        cmocka_unit_test_setup(sizes_are_believable, clear),
        cmocka_unit_test_setup(raw_disks_are_raw, clear),
        cmocka_unit_test(formats_as_they_are_sent),
        cmocka_unit_test(size_is_required),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

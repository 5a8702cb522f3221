/* The VHDX decoder: what is read, what is refused beside what is accepted, and that all faces of a
 * disk agree, whatever is done to the file. */

#include <config.h>

#include "faces.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/crc32c.h"

extern const struct im_format im_format_raw;
extern const struct im_format im_format_vhdx;

/* --- building images --- */

#define KIB 1024u
#define MIB (1u << 20)

#define BLOCK      MIB
#define BLOCKS     6u
#define DISK_BYTES ((BLOCKS - 1) * BLOCK + 3 * 512) /* the last block is partial */

#define HEADER(i)   ((i + 1) * 64 * KIB)
#define REGIONS(i)  ((i + 3) * 64 * KIB)
#define LOG_AT      (1 * MIB)
#define METADATA_AT (2 * MIB)
#define BAT_AT      (3 * MIB)
#define BLOCKS_AT   (4 * MIB)
#define ITEMS_AT    (METADATA_AT + 64 * KIB)
#define IMAGE_BYTES (BLOCKS_AT + (BLOCKS - 1) * BLOCK)

enum {
    CREATOR = 8,
    /* header */
    CHECKSUM = 4,
    SEQUENCE = 8,
    LOG_GUID = 48,
    LOG_VERSION = 64,
    VERSION = 66,
    LOG_LENGTH = 68,
    LOG_OFFSET = 72,
    /* region table, and its entries */
    COUNT = 8,
    OFFSET = 16,
    LENGTH = 24,
    REQUIRED = 28,
    /* metadata table, and its entries */
    ITEM_COUNT = 10,
    ITEM_OFFSET = 16,
    ITEM_LENGTH = 20,
    ITEM_FLAGS = 24,
};

#define REGION(i) (REGIONS(0) + 16 + (i)*32) /* 0: BAT, 1: metadata */
#define ITEM(i)   (METADATA_AT + 32 + (i)*32)

/* The items in the order of the table, and where the value of each is. */
enum { PARAMETERS, SIZE, ID, SECTOR, PHYSICAL, ITEMS };
static const struct {
    const char *guid; /* as it stands in the file */
    uint32_t offset, len;
} items[ITEMS] = {
    { "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b", 0, 8 },
    { "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8", 8, 8 },
    { "\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46", 16, 16 },
    { "\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f", 32, 4 },
    { "\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56", 36, 4 },
};
static const char parent_guid[] =
    "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c";
static const char bat_guid[] = "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
static const char metadata_guid[] =
    "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
static const char other_guid[] = "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10";

enum { NOT_PRESENT = 0, UNDEFINED = 1, ZERO = 2, UNMAPPED = 3, PRESENT = 6, PARTIAL = 7 };

/* Blocks in the order of the file; block 4 is not there.  1 and 2 adjoin. */
static const uint32_t present[BLOCKS - 1] = { 3, 0, 1, 2, 5 };

static uint8_t *the_disk;
static uint8_t *the_image;

static void put16(uint8_t *p, uint16_t v)
{
    v = htole16(v);
    memcpy(p, &v, sizeof(v));
}

static void put32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
}

static void sum_up(uint8_t *p, size_t len)
{
    put32(p + CHECKSUM, 0);
    put32(p + CHECKSUM, im_crc32c(0, p, len));
}

/* Right checksums everywhere; the second region table is a copy of the first. */
static void finish(uint8_t *image)
{
    sum_up(image + HEADER(0), 4096);
    sum_up(image + HEADER(1), 4096);
    sum_up(image + REGIONS(0), 64 * KIB);
    memcpy(image + REGIONS(1), image + REGIONS(0), 64 * KIB);
}

static void put_region(uint8_t *image, unsigned i, const char *guid, uint64_t offset, uint32_t len,
                       uint32_t required)
{
    uint8_t *entry = image + REGION(i);

    memcpy(entry, guid, 16);
    put64(entry + OFFSET, offset);
    put32(entry + LENGTH, len);
    put32(entry + REQUIRED, required);
    if (im_le32(image + REGIONS(0) + COUNT) < i + 1)
        put32(image + REGIONS(0) + COUNT, i + 1);
}

static void put_item(uint8_t *image, unsigned i, const char *guid, uint32_t offset, uint32_t len,
                     uint32_t flags)
{
    uint8_t *entry = image + ITEM(i);

    memcpy(entry, guid, 16);
    put32(entry + ITEM_OFFSET, offset);
    put32(entry + ITEM_LENGTH, len);
    put32(entry + ITEM_FLAGS, flags);
    if (im_le16(image + METADATA_AT + ITEM_COUNT) < i + 1)
        put16(image + METADATA_AT + ITEM_COUNT, (uint16_t)(i + 1));
}

static uint8_t *value_of(uint8_t *image, unsigned item)
{
    return image + ITEMS_AT + items[item].offset;
}

static void set_entry(uint8_t *image, uint64_t index, uint64_t mib, unsigned state)
{
    put64(image + BAT_AT + index * 8, mib << 20 | state);
}

/* Everything but the blocks. */
static void put_front(uint8_t *image, uint64_t size)
{
    memcpy(image, "vhdxfile", 8);
    memcpy(image + CREATOR, "t\0e\0s\0t\0", 8);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *header = image + HEADER(i);

        memcpy(header, "head", 4);
        put64(header + SEQUENCE, 7 + i);
        put16(header + VERSION, 1);
        put64(header + LOG_OFFSET, LOG_AT);
        put32(header + LOG_LENGTH, MIB);
    }
    memcpy(image + REGIONS(0), "regi", 4);
    put_region(image, 0, bat_guid, BAT_AT, MIB, 1);
    put_region(image, 1, metadata_guid, METADATA_AT, MIB, 1);
    memcpy(image + METADATA_AT, "metadata", 8);
    for (unsigned i = 0; i < ITEMS; i++)
        put_item(image, i, items[i].guid, 64 * KIB + items[i].offset, items[i].len, 6);
    put32(value_of(image, PARAMETERS), BLOCK);
    put64(value_of(image, SIZE), size);
    memset(value_of(image, ID), 0xab, 16);
    put32(value_of(image, SECTOR), 512);
    put32(value_of(image, PHYSICAL), 4096);
    finish(image);
}

static int make_disk(void **state)
{
    uint64_t random = 5;

    (void)state;
    the_disk = calloc(1, BLOCKS * BLOCK);
    the_image = calloc(1, IMAGE_BYTES);
    if (!the_disk || !the_image)
        return -1;
    put_front(the_image, DISK_BYTES);
    for (uint32_t i = 0; i < BLOCKS - 1; i++) {
        uint8_t *data = the_image + BLOCKS_AT + i * BLOCK;

        set_entry(the_image, present[i], BLOCKS_AT / MIB + i, PRESENT);
        for (size_t j = 0; j < BLOCK; j += 512 + faces_random(&random) % 2048)
            put32(data + j / 4 * 4, faces_random(&random));
        memcpy(the_disk + present[i] * BLOCK, data, BLOCK);
    }
    return 0;
}

static int drop_disk(void **state)
{
    (void)state;
    free(the_disk);
    free(the_image);
    return 0;
}

static uint8_t *build(void)
{
    uint8_t *image = malloc(IMAGE_BYTES);

    assert_non_null(image);
    memcpy(image, the_image, IMAGE_BYTES);
    return image;
}

static void accept(const uint8_t *image)
{
    faces_accept(&im_format_vhdx, image, IMAGE_BYTES, the_disk, DISK_BYTES);
}

static void damaged(const uint8_t *image, const char *words)
{
    faces_refuse(&im_format_vhdx, image, IMAGE_BYTES, EBADMSG, "DamagedVhdx", words);
}

static void unsupported(const uint8_t *image, const char *words)
{
    faces_refuse(&im_format_vhdx, image, IMAGE_BYTES, EOPNOTSUPP, "UnsupportedVhdx", words);
}

/* A change of the accepted image: a value of `bytes` bytes at a place, with checksums to match. */
struct change {
    size_t at;
    unsigned bytes;
    uint64_t value;
    int number;
    const char *words; /* of the refusal; NULL: it is accepted */
};

static void try_change(const struct change *change)
{
    uint8_t *image = build();
    uint8_t value[8];

    put64(value, change->value);
    memcpy(image + change->at, value, change->bytes);
    finish(image);
    if (!change->words)
        accept(image);
    else if (change->number == EOPNOTSUPP)
        unsupported(image, change->words);
    else
        damaged(image, change->words);
    free(image);
}

#define TRY_ALL(changes)                                                                           \
    for (size_t i_ = 0; i_ < sizeof(changes) / sizeof((changes)[0]); i_++)                         \
    try_change(&(changes)[i_])

/* Open something larger than the faces take, as a file of `size` bytes: the refusal or 0. */
static int open_large(struct memory *memory, const uint8_t *image, size_t len, uint64_t size,
                      struct im_disk **ret_disk, struct im_error *err)
{
    struct im_open options = { .max_size = UINT64_MAX };

    *memory = memory_source(image, len, false);
    memory->base.size = size;
    *err = (struct im_error){ 0 };
    return im_format_vhdx.open(&memory->base, &options, ret_disk, err);
}

/* --- headers and log --- */

static void the_checksum_is_crc_32c(void **state)
{
    (void)state;
    /* RFC 3720, B.4 */
    assert_int_equal(im_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(im_crc32c(im_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
    assert_int_equal(
        im_crc32c(0, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32),
        0x8a9136aa);
}

static void a_dynamic_disk_is_read(void **state)
{
    (void)state;
    accept(the_image);
}

static void a_read_may_cross_blocks(void **state)
{
    struct memory memory;
    struct im_disk *disk = NULL;
    struct im_error err;
    uint8_t *all = malloc(DISK_BYTES);

    (void)state;
    assert_non_null(all);
    assert_int_equal(open_large(&memory, the_image, IMAGE_BYTES, IMAGE_BYTES, &disk, &err), 0);
    for (size_t at = 0; at < DISK_BYTES; at += BLOCK / 2 + 512) {
        assert_int_equal(im_disk_read(disk, all, DISK_BYTES - at, at, &err), 0);
        assert_memory_equal(all, the_disk + at, DISK_BYTES - at);
    }
    im_disk_close(disk);
    free(all);
}

static int failing_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                        size_t *ret_len, struct im_error *err)
{
    (void)source;
    (void)buf;
    (void)len;
    (void)ret_len;
    return im_fail(err, EIO, "byte %" PRIu64 " cannot be read", offset);
}

static void what_the_source_says_is_passed_on(void **state)
{
    static const struct im_source_ops failing_ops = {
        .name = "failing",
        .read = failing_read,
        .close = memory_close,
    };
    struct taken *taken = taken_new();
    struct memory memory;
    struct im_disk *disk = NULL;
    struct im_error err;
    uint8_t got[16];

    (void)state;
    assert_int_equal(open_large(&memory, the_image, IMAGE_BYTES, IMAGE_BYTES, &disk, &err), 0);
    memory.base.ops = &failing_ops;
    assert_int_equal(im_disk_read(disk, got, 16, BLOCK - 8, &err), -EIO);
    assert_int_equal(im_disk_walk(disk, &taken->sink, &err), -EIO);
    im_disk_close(disk);
    taken_free(taken);
}

/* What adjoins on the disk and in the file is one extent; what does not is several. */
static void the_map_joins_what_adjoins(void **state)
{
    static const struct im_extent expected[] = {
        { 0, 3 * BLOCK, false },
        { 3 * BLOCK, BLOCK, false },
        { 4 * BLOCK, BLOCK, true },
        { 5 * BLOCK, DISK_BYTES - 5 * BLOCK, false },
    };
    struct memory memory;
    struct im_disk *disk = NULL;
    struct im_extent extent;
    struct im_error err;
    uint64_t offset = 0;

    (void)state;
    assert_int_equal(open_large(&memory, the_image, IMAGE_BYTES, IMAGE_BYTES, &disk, &err), 0);
    memory.base.ops = &pipe_ops; /* it knows no holes */
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_int_equal(im_disk_map(disk, offset, DISK_BYTES - offset, &extent, &err), 0);
        assert_int_equal(extent.offset, expected[i].offset);
        assert_int_equal(extent.len, expected[i].len);
        assert_int_equal(extent.zero, expected[i].zero);
        offset += extent.len;
    }
    assert_int_equal(im_disk_map(disk, BLOCK + 7, 9, &extent, &err), 0);
    assert_true(extent.offset == BLOCK + 7 && extent.len == 9 && !extent.zero);
    assert_int_equal(im_disk_map(disk, BLOCK + 7, 4 * BLOCK, &extent, &err), 0);
    assert_int_equal(extent.len, 2 * BLOCK - 7);
    im_disk_close(disk);
}

static void a_disk_may_have_whole_blocks_only(void **state)
{
    uint8_t *image = build();

    (void)state;
    for (uint32_t blocks = 3; blocks < BLOCKS; blocks++) {
        put64(value_of(image, SIZE), blocks * BLOCK);
        faces_accept(&im_format_vhdx, image, IMAGE_BYTES, the_disk, blocks * BLOCK);
    }
    free(image);
}

static void blocks_may_lie_apart(void **state)
{
    const size_t len = IMAGE_BYTES + BLOCK;
    uint8_t *image = realloc(build(), len);

    (void)state;
    assert_non_null(image);
    memcpy(image + IMAGE_BYTES, the_disk + 2 * BLOCK, BLOCK);
    memset(image + 7 * MIB, 'x', MIB);
    set_entry(image, 2, IMAGE_BYTES / MIB, PRESENT);
    faces_accept(&im_format_vhdx, image, len, the_disk, DISK_BYTES);
    free(image);
}

static void the_identifier_must_be_there(void **state)
{
    static const struct change changes[] = {
        { 0, 1, 'V', EBADMSG, "no VHDX header" },
        { 7, 1, 0, EBADMSG, "no VHDX header" },
    };

    (void)state;
    TRY_ALL(changes);
}

static void a_file_of_headers_only_is_refused(void **state)
{
    (void)state;
    faces_refuse(&im_format_vhdx, the_image, 4, EBADMSG, "DamagedVhdx", "no VHDX header");
    faces_refuse(&im_format_vhdx, the_image, REGIONS(2) - 1, EBADMSG, "DamagedVhdx",
                 "the file ends at byte 327679, within the headers and region tables of 327680");
    faces_refuse(&im_format_vhdx, the_image, REGIONS(2), EBADMSG, "DamagedVhdx",
                 "the header area at byte 0 with 1048576 bytes does not lie inside the file");
}

static void one_valid_header_is_enough(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *image = build();

        image[HEADER(i) + 4095] ^= 1;
        accept(image);
        memcpy(image + HEADER(i), "HEAD", 4);
        accept(image);
        image[HEADER(1 - i) + 100] ^= 1;
        damaged(image, i == 0 ? "neither header is valid: there is no first header ('head') at "
                                "byte 65536, and the checksum of the second header at byte 131072"
                              : "neither header is valid: the checksum of the first header at byte "
                                "65536 is 0x");
        free(image);
    }
}

static void the_header_with_the_higher_number_counts(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *image = build();

        put64(image + HEADER(i) + SEQUENCE, UINT64_C(1) << 40);
        image[HEADER(1 - i) + LOG_GUID] = 1; /* no longer true */
        finish(image);
        accept(image);
        image[HEADER(i) + LOG_GUID] = 1;
        image[HEADER(1 - i) + LOG_GUID] = 0;
        finish(image);
        unsupported(image, "was not replayed");
        free(image);
    }
}

static void headers_with_the_same_number_must_be_the_same(void **state)
{
    uint8_t *image = build();

    (void)state;
    memcpy(image + HEADER(1), image + HEADER(0), 4096);
    accept(image);
    image[HEADER(1) + 20] ^= 1;
    finish(image);
    damaged(image, "both headers have sequence number 7 but they differ");
    image[HEADER(1) + 21] ^= 1; /* not valid: the other one counts */
    accept(image);
    free(image);
}

static void versions_that_are_not_known_are_refused(void **state)
{
    static const struct change changes[] = {
        { HEADER(1) + VERSION, 2, 0, EOPNOTSUPP, "format version 0" },
        { HEADER(1) + VERSION, 2, 2, EOPNOTSUPP, "format version 2" },
        { HEADER(0) + VERSION, 2, 2, 0, NULL }, /* not the one that counts */
        { HEADER(1) + LOG_VERSION, 2, 1, EOPNOTSUPP, "log version 1" },
    };

    (void)state;
    TRY_ALL(changes);
}

/* With a log area of zeros, and with one that holds something. */
static void a_log_that_must_be_replayed_is_refused(void **state)
{
    uint8_t *image = build();

    (void)state;
    memset(image + LOG_AT, 'l', 4096); /* what remains of a log that was replayed */
    accept(image);
    image[HEADER(1) + LOG_GUID + 15] = 0x5e;
    finish(image);
    unsupported(image, "its log (00000000-0000-0000-0000-00000000005e, 1048576 bytes at byte "
                       "1048576) was not replayed; open and close the image in Hyper-V");
    memset(image + LOG_AT, 0, MIB);
    unsupported(image, "run 'qemu-img check -r all' on it");
    free(image);
}

static void a_log_out_of_place_is_refused(void **state)
{
    static const struct change changes[] = {
        { HEADER(1) + LOG_OFFSET, 8, 0, EBADMSG, "the log is at byte 0 with 1048576 bytes" },
        { HEADER(1) + LOG_OFFSET, 8, MIB + 4096, EBADMSG, "the log is at byte 1052672" },
        { HEADER(1) + LOG_LENGTH, 4, 4096, EBADMSG, "with 4096 bytes; both must be multiples" },
        { HEADER(1) + LOG_LENGTH, 4, 0, 0, NULL },
        { HEADER(1) + LOG_LENGTH, 4, 2 * MIB, EBADMSG,
          "metadata region at byte 2097152 lies on the log at byte 1048576" },
        { HEADER(1) + LOG_OFFSET, 8, IMAGE_BYTES, EBADMSG, "the log at byte 9437184 with 1048576" },
        { HEADER(1) + LOG_OFFSET, 8, UINT64_MAX - MIB + 1, EBADMSG,
          "does not lie inside the file" },
        { HEADER(1) + LOG_OFFSET, 8, BLOCKS_AT, EBADMSG,
          "block 3 at byte 4194304 lies on the log at byte 4194304" },
    };

    (void)state;
    TRY_ALL(changes);
}

/* --- regions --- */

static void region_tables_must_both_be_right(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *image = build();

        image[REGIONS(i) + 65535] ^= 1;
        damaged(image, i == 0 ? "the checksum of the first region table at byte 196608 is 0x"
                              : "the checksum of the second region table at byte 262144 is 0x");
        image[REGIONS(i)] ^= 1;
        damaged(image, i == 0 ? "there is no first region table ('regi') at byte 196608"
                              : "there is no second region table ('regi') at byte 262144");
        free(image);
    }
}

static void region_tables_must_be_the_same(void **state)
{
    uint8_t *image = build();

    (void)state;
    put32(image + REGIONS(1) + 16 + LENGTH, 2 * MIB);
    sum_up(image + REGIONS(1), 64 * KIB);
    damaged(image, "the region tables differ: byte 40 of the first is 0x00100000, of the second "
                   "0x00200000");
    free(image);
}

static void regions_that_are_wrong_are_refused(void **state)
{
    static const struct change changes[] = {
        { REGIONS(0) + COUNT, 4, 0, EBADMSG, "the region table has 0 entries, not 1 to 2047" },
        { REGIONS(0) + COUNT, 4, 2048, EBADMSG, "has 2048 entries, not 1 to 2047" },
        { REGIONS(0) + COUNT, 4, UINT32_MAX, EBADMSG, "has 4294967295 entries" },
        { REGIONS(0) + COUNT, 4, 1, EBADMSG, "no entry for the metadata region" },
        { REGIONS(0) + COUNT, 4, 3, EBADMSG, "is at byte 0 with 0 bytes" },
        { REGION(0), 1, 0, EOPNOTSUPP,
          "requires region 2dc27700-f623-4200-9d64-115e9bfd4a08 at byte 3145728" },
        { REGION(0) + LENGTH, 4, 0, EBADMSG, "no entry for the block table, or an empty one" },
        { REGION(1) + LENGTH, 4, 0, EBADMSG, "no entry for the metadata region, or an empty one" },
        { REGION(0) + OFFSET, 8, 0, EBADMSG, "both must be multiples of 1 MiB" },
        { REGION(0) + OFFSET, 8, BAT_AT + 65536, EBADMSG, "is at byte 3211264" },
        { REGION(0) + LENGTH, 4, 65536, EBADMSG, "with 65536 bytes" },
        { REGION(0) + OFFSET, 8, IMAGE_BYTES, EBADMSG,
          "the block table at byte 9437184 with 1048576 bytes does not lie inside the file" },
        { REGION(0) + OFFSET, 8, UINT64_MAX - MIB + 1, EBADMSG, "does not lie inside the file" },
        { REGION(0) + LENGTH, 4, 0xfff00000, EBADMSG, "does not lie inside the file" },
        { REGION(0) + OFFSET, 8, LOG_AT, EBADMSG, "at byte 1048576 lies on the" },
        { REGION(0) + OFFSET, 8, METADATA_AT, EBADMSG, "at byte 2097152 lies on the" },
        { REGION(1) + LENGTH, 4, 2 * MIB, EBADMSG,
          "block table at byte 3145728 lies on the metadata region at byte 2097152" },
        { REGION(0) + LENGTH, 4, 2 * MIB, EBADMSG,
          "block 3 at byte 4194304 lies on the block table at byte 3145728" },
        /* the flag does not matter where the region is known */
        { REGION(0) + REQUIRED, 4, 0, 0, NULL },
    };

    (void)state;
    TRY_ALL(changes);
}

static void regions_that_are_there_twice_are_refused(void **state)
{
    uint8_t *image = build();

    (void)state;
    put_region(image, 2, bat_guid, BLOCKS_AT, MIB, 1);
    finish(image);
    damaged(image, "two entries for the block table: at byte 3145728 and 4194304");
    put_region(image, 2, metadata_guid, BLOCKS_AT, MIB, 1);
    finish(image);
    damaged(image, "two entries for the metadata region: at byte 2097152 and 4194304");
    free(image);
}

static void optional_regions_are_kept_clear_of(void **state)
{
    const size_t len = IMAGE_BYTES + MIB;
    uint8_t *image = realloc(build(), len);

    (void)state;
    assert_non_null(image);
    memset(image + IMAGE_BYTES, 'o', MIB);
    put_region(image, 2, other_guid, IMAGE_BYTES, MIB, 0);
    finish(image);
    faces_accept(&im_format_vhdx, image, len, the_disk, DISK_BYTES);
    faces_refuse(&im_format_vhdx, image, len - 512, EBADMSG, "DamagedVhdx",
                 "the optional region at byte 9437184 with 1048576 bytes does not lie inside");
    put_region(image, 2, other_guid, IMAGE_BYTES, MIB, 1);
    finish(image);
    faces_refuse(&im_format_vhdx, image, len, EOPNOTSUPP, "UnsupportedVhdx",
                 "requires region 04030201-0605-0807-090a-0b0c0d0e0f10 at byte 9437184, which is "
                 "not known");
    put_region(image, 2, other_guid, BLOCKS_AT + MIB, MIB, 0);
    finish(image);
    faces_refuse(&im_format_vhdx, image, len, EBADMSG, "DamagedVhdx",
                 "block 0 at byte 5242880 lies on the optional region at byte 5242880");
    put_region(image, 2, other_guid, LOG_AT, MIB, 0);
    finish(image);
    faces_refuse(&im_format_vhdx, image, len, EBADMSG, "DamagedVhdx",
                 "at byte 1048576 lies on the");
    free(image);
}

/* As many regions as the table can hold: each is proven, none costs much. */
static void a_full_region_table_is_accepted(void **state)
{
    const uint64_t size = IMAGE_BYTES + (2047 - 2) * (uint64_t)MIB;
    uint8_t *image = build();
    struct memory memory;
    struct im_disk *disk = NULL;
    struct im_error err;

    (void)state;
    for (unsigned i = 2; i < 2047; i++) /* backwards */
        put_region(image, i, other_guid, size - (i - 1) * (uint64_t)MIB, MIB, 0);
    finish(image);
    assert_int_equal(open_large(&memory, image, IMAGE_BYTES, size, &disk, &err), 0);
    im_disk_close(disk);
    put64(image + REGION(1000) + OFFSET, size - MIB);
    finish(image);
    assert_int_equal(open_large(&memory, image, IMAGE_BYTES, size, &disk, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "optional region"));
    free(image);
}

/* --- metadata --- */

static void metadata_that_are_wrong_are_refused(void **state)
{
    static const struct change changes[] = {
        { METADATA_AT, 1, 'M', EBADMSG, "no metadata table ('metadata') at byte 2097152" },
        { METADATA_AT + ITEM_COUNT, 2, 0, EBADMSG, "no item 'file parameters'" },
        { METADATA_AT + ITEM_COUNT, 2, 4, EBADMSG, "no item 'physical sector size'" },
        { METADATA_AT + ITEM_COUNT, 2, 2048, EBADMSG, "has 2048 entries, more than 2047" },
        { METADATA_AT + ITEM_COUNT, 2, 65535, EBADMSG, "has 65535 entries" },
        { METADATA_AT + ITEM_COUNT, 2, 2047, 0, NULL }, /* the rest is empty and optional */
        { ITEM(SIZE), 1, 0, EOPNOTSUPP,
          "the metadata require item 2fa54200-cd1b-4876-b211-5dbed83bf4b8" },
        { ITEM(SIZE) + ITEM_FLAGS, 4, 7, EOPNOTSUPP, "the metadata require item 2fa54224" },
        { ITEM(SIZE) + ITEM_FLAGS, 4, 3, EBADMSG, "no item 'virtual disk size'" }, /* a user's */
        { ITEM(SIZE) + ITEM_FLAGS, 4, 2, 0, NULL },
        { ITEM(SIZE) + ITEM_LENGTH, 4, 4, EBADMSG, "'virtual disk size' has 4 bytes, not 8" },
        { ITEM(SIZE) + ITEM_LENGTH, 4, 0, EBADMSG, "'virtual disk size' has 0 bytes, not 8" },
        { ITEM(SIZE) + ITEM_OFFSET, 4, 65528, EBADMSG, "is at byte 65528 of its region" },
        { ITEM(SIZE) + ITEM_OFFSET, 4, MIB - 7, EBADMSG, "holds items from byte 65536 to 1048576" },
        { ITEM(SIZE) + ITEM_OFFSET, 4, UINT32_MAX, EBADMSG, "is at byte 4294967295" },
        { ITEM(SIZE) + ITEM_OFFSET, 4, 65536, EBADMSG,
          "the metadata item at byte 2162688 lies on the metadata item at byte 2162688" },
        { ITEM(SIZE) + ITEM_OFFSET, 4, 65536 + 9, EBADMSG,
          "metadata item at byte 2162704 lies on the metadata item at byte 2162697" },
    };

    (void)state;
    TRY_ALL(changes);
}

static void every_item_must_be_there_once(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ITEMS; i++) {
        uint8_t *image = build();

        put_item(image, i, other_guid, 64 * KIB + items[i].offset, items[i].len, 2);
        damaged(image, "the metadata have no item '");
        put_item(image, ITEMS, items[i].guid, 64 * KIB + items[i].offset, items[i].len, 6);
        put_item(image, i, other_guid, 64 * KIB + 4096, items[i].len, 2);
        accept(image);
        put_item(image, i, items[i].guid, 64 * KIB + 4096, items[i].len, 6);
        damaged(image, "the metadata have two items '");
        free(image);
    }
}

static void items_may_lie_anywhere_in_their_region(void **state)
{
    uint8_t *image = build();

    (void)state;
    put_item(image, SIZE, items[SIZE].guid, MIB - 8, 8, 6);
    put64(image + METADATA_AT + MIB - 8, DISK_BYTES);
    put64(value_of(image, SIZE), 0);
    accept(image);
    free(image);
}

static void an_item_longer_than_a_mib_is_refused(void **state)
{
    uint8_t *image = build();

    (void)state;
    /* the region takes the place of the BAT as well, which goes where block 3 was */
    put_region(image, 1, metadata_guid, METADATA_AT, 2 * MIB, 1);
    put_region(image, 0, bat_guid, BLOCKS_AT, MIB, 1);
    memcpy(image + BLOCKS_AT, the_image + BAT_AT, MIB);
    put64(image + BLOCKS_AT + 3 * 8, NOT_PRESENT);
    finish(image);
    put_item(image, ITEMS, other_guid, 128 * KIB, MIB + 1, 0);
    damaged(image, "with 1048577 bytes; the region holds items from byte 65536 to 2097152, each "
                   "of at most 1 MiB");
    put_item(image, ITEMS, other_guid, 128 * KIB, MIB, 0);
    memset(the_disk + 3 * BLOCK, 0, BLOCK);
    accept(image);
    memcpy(the_disk + 3 * BLOCK, the_image + BLOCKS_AT, BLOCK);
    free(image);
}

static void parameters_that_are_wrong_are_refused(void **state)
{
    static const struct change changes[] = {
        { ITEMS_AT, 4, 0, EBADMSG, "a block size of 0 bytes" },
        { ITEMS_AT, 4, MIB / 2, EBADMSG, "a block size of 524288 bytes" },
        { ITEMS_AT, 4, 3 * MIB, EBADMSG, "a block size of 3145728 bytes" },
        { ITEMS_AT, 4, 512 * MIB, EBADMSG, "between 1048576 and 268435456" },
        { ITEMS_AT + 4, 4, 1, 0, NULL }, /* a fixed disk */
        { ITEMS_AT + 4, 4, 2, EOPNOTSUPP, "differencing disk" },
        { ITEMS_AT + 8, 8, 0, EBADMSG, "a virtual disk size of 0 bytes" },
        { ITEMS_AT + 8, 8, 513, EBADMSG, "a virtual disk size of 513 bytes" },
        { ITEMS_AT + 8, 8, (UINT64_C(64) << 40) + 512, EBADMSG, "at most 64 TiB" },
        { ITEMS_AT + 8, 8, UINT64_MAX - 511, EBADMSG, "at most 64 TiB" },
        { ITEMS_AT + 32, 4, 520, EBADMSG, "a logical sector size of 520 bytes; it must be 512" },
        { ITEMS_AT + 32, 4, 0, EBADMSG, "a logical sector size of 0 bytes" },
        { ITEMS_AT + 32, 4, 4096, EBADMSG, "it must be a multiple of the sector's 4096" },
        { ITEMS_AT + 36, 4, 512, 0, NULL },
        { ITEMS_AT + 36, 4, 520, EBADMSG, "a physical sector size of 520 bytes" },
    };

    (void)state;
    TRY_ALL(changes);
}

static void sectors_may_have_4096_bytes(void **state)
{
    uint8_t *image = build();

    (void)state;
    put32(value_of(image, SECTOR), 4096);
    put64(value_of(image, SIZE), (BLOCKS - 1) * BLOCK + 4096);
    faces_accept(&im_format_vhdx, image, IMAGE_BYTES, the_disk, (BLOCKS - 1) * BLOCK + 4096);
    free(image);
}

static void a_parent_is_refused_however_it_is_named(void **state)
{
    uint8_t *image = build();

    (void)state;
    put_item(image, ITEMS, parent_guid, 64 * KIB + 4096, 100, 6);
    unsupported(image, "differencing disk and holds only what differs from its parent");
    put_item(image, ITEMS, parent_guid, 64 * KIB + 4096, 100, 1); /* a user's of the same name */
    accept(image);
    free(image);
}

static void a_disk_above_the_limit_is_refused(void **state)
{
    struct memory memory = memory_source(the_image, IMAGE_BYTES, false);
    struct im_open options = { .max_size = DISK_BYTES };
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };
    uint8_t *image = build();

    (void)state;
    put64(value_of(image, SIZE), FACES_MAX + 512);
    faces_refuse(&im_format_vhdx, image, IMAGE_BYTES, EFBIG, "TooLarge",
                 "a disk of 8389120 bytes, more than the 8388608 allowed");
    free(image);
    assert_int_equal(im_format_vhdx.open(&memory.base, &options, &disk, &err), 0);
    im_disk_close(disk);
}

/* --- block table --- */

static void blocks_without_contents_are_zeros(void **state)
{
    static const unsigned states[] = { NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED };

    (void)state;
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        uint8_t *image = build();

        set_entry(image, 4, 0, states[i]);
        accept(image);
        set_entry(image, 4, BLOCKS_AT / MIB, states[i]); /* the place it once had, or anything */
        accept(image);
        set_entry(image, 4, UINT64_C(0xfffffffffff), states[i]);
        accept(image);
        free(image);
    }
}

static void entries_that_are_wrong_are_refused(void **state)
{
#define ENTRY(block, mib, state) BAT_AT + (block)*8, 8, (uint64_t)(mib) << 20 | (state)
    static const struct change changes[] = {
        { ENTRY(4, 0, 4), EBADMSG, "block 4 has state 4, which has no meaning" },
        { ENTRY(4, 0, 5), EBADMSG, "block 4 has state 5" },
        { ENTRY(0, 5, PARTIAL), EBADMSG, "block 0 is partially present (state 7)" },
        { ENTRY(4, 0, 8), EBADMSG, "entry 4 of the block table is 0x0000000000000008" },
        { ENTRY(0, 5, 0x80000 | PRESENT), EBADMSG, "is 0x0000000000580006; its reserved bits" },
        { ENTRY(4, 0, PRESENT), EBADMSG, "block 4 at byte 0 lies on the header area at byte 0" },
        { ENTRY(4, 1, PRESENT), EBADMSG, "block 4 at byte 1048576 lies on the log" },
        { ENTRY(4, 2, PRESENT), EBADMSG, "lies on the metadata region at byte 2097152" },
        { ENTRY(4, 3, PRESENT), EBADMSG, "lies on the block table at byte 3145728" },
        { ENTRY(4, 4, PRESENT), EBADMSG, "overlaps block" },
        { ENTRY(4, 9, PRESENT), EBADMSG, "block 4 at byte 9437184 ends at byte 10485760, past" },
        { ENTRY(4, UINT32_MAX, PRESENT), EBADMSG, "block 4 at byte 4503599626321920 ends" },
        { ENTRY(4, UINT64_C(1) << 32, PRESENT), EBADMSG, "block 4 at MiB 4294967296 lies past" },
        /* beyond what the disk needs: nobody looks */
        { ENTRY(6, 0, 4), 0, NULL },
    };

    (void)state;
    TRY_ALL(changes);
}

/* Larger blocks can share some of their bytes only. */
static void blocks_that_overlap_in_part_are_refused(void **state)
{
    uint8_t *image = build();
    struct memory memory;
    struct im_disk *disk = NULL;
    struct im_error err;

    (void)state;
    memset(image + BAT_AT, 0, MIB);
    put32(value_of(image, PARAMETERS), 2 * MIB);
    set_entry(image, 1, 4, PRESENT);
    set_entry(image, 0, 6, PRESENT);
    assert_int_equal(open_large(&memory, image, IMAGE_BYTES, IMAGE_BYTES, &disk, &err), 0);
    disk = im_disk_close(disk);
    set_entry(image, 0, 5, PRESENT);
    damaged(image, "block 0 at byte 5242880 overlaps block 1 at byte 4194304");
    set_entry(image, 1, 0, ZERO);
    put_region(image, 2, other_guid, 6 * MIB, MIB, 0);
    finish(image);
    damaged(image, "block 0 at byte 5242880 lies on the optional region at byte 6291456");
    free(image);
}

/* As fixed images of qemu-img: the file ends where the disk does, not where the block would. */
static void the_last_block_may_end_with_the_disk(void **state)
{
    const size_t len = BLOCKS_AT + (BLOCKS - 2) * BLOCK + 3 * 512;

    (void)state;
    faces_accept(&im_format_vhdx, the_image, len, the_disk, DISK_BYTES);
    faces_refuse(&im_format_vhdx, the_image, len - 1, EBADMSG, "DamagedVhdx",
                 "block 5 at byte 8388608 ends at byte 8390144, past the end of the file at byte "
                 "8390143: the file is truncated");
}

/* Only the last block of the disk is: one that is last in the file is there whole. */
static void other_blocks_must_be_whole(void **state)
{
    uint8_t *image = build();

    (void)state;
    set_entry(image, 5, 0, ZERO);
    set_entry(image, 4, 8, PRESENT);
    faces_refuse(&im_format_vhdx, image, IMAGE_BYTES - 1, EBADMSG, "DamagedVhdx",
                 "block 4 at byte 8388608 ends at byte 9437184, past the end of the file");
    free(image);
}

static void what_follows_the_blocks_is_skipped(void **state)
{
    const size_t len = IMAGE_BYTES + 3 * MIB + 77;
    uint8_t *image = realloc(build(), len);
    struct im_open options = { .max_size = UINT64_MAX };
    struct taken *taken = taken_new();
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };
    struct memory memory;

    (void)state;
    assert_non_null(image);
    memset(image + IMAGE_BYTES, 0x11, len - IMAGE_BYTES);
    faces_accept(&im_format_vhdx, image, len, the_disk, DISK_BYTES);
    memory = memory_source(image, len, true);
    assert_int_equal(im_format_vhdx.open(&memory.base, &options, &disk, &err), 0);
    assert_int_equal(im_disk_walk(disk, &taken->sink, &err), 0);
    assert_int_equal(memory.position, len); /* who writes into a pipe is heard to the end */
    im_disk_close(disk);
    taken_free(taken);
    free(image);
}

/* Where the entry of a block is depends on the sizes of block and sector: 2^23 sectors are a chunk,
 * and each chunk has an entry for its bitmap, which must not be used. */
static void entries_of_bitmaps_lie_between_the_chunks(void **state)
{
    static const struct {
        uint32_t block, sector, ratio;
    } rows[] = {
        { MIB, 512, 4096 },     { MIB, 4096, 32768 },     { 32 * MIB, 512, 128 },
        { 256 * MIB, 512, 16 }, { 256 * MIB, 4096, 128 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const uint32_t ratio = rows[i].ratio, last = 2 * ratio; /* the first of the third chunk */
        const uint64_t size = (uint64_t)last * rows[i].block + rows[i].sector;
        const uint64_t place = BLOCKS_AT + rows[i].block;
        uint8_t *image = build();
        struct memory memory;
        struct im_disk *disk = NULL;
        struct im_error err;
        uint8_t got[512];

        memset(image + BAT_AT, 0, MIB);
        put32(value_of(image, PARAMETERS), rows[i].block);
        put32(value_of(image, SECTOR), rows[i].sector);
        put64(value_of(image, SIZE), size);
        set_entry(image, ratio - 1, place / MIB, PRESENT);
        set_entry(image, (uint64_t)last + 2, BLOCKS_AT / MIB, PRESENT);
        assert_int_equal(
            open_large(&memory, image, IMAGE_BYTES, place + rows[i].block, &disk, &err), 0);
        assert_int_equal(im_disk_read(disk, got, 512, (uint64_t)last * rows[i].block, &err), 0);
        assert_memory_equal(got, image + BLOCKS_AT, 512);
        if (place < IMAGE_BYTES) {
            assert_int_equal(
                im_disk_read(disk, got, 512, (uint64_t)(ratio - 1) * rows[i].block, &err), 0);
            assert_memory_equal(got, image + place, 512);
        }
        disk = im_disk_close(disk);
        set_entry(image, ratio, BLOCKS_AT / MIB, NOT_PRESENT);
        assert_int_equal(
            open_large(&memory, image, IMAGE_BYTES, place + rows[i].block, &disk, &err), 0);
        disk = im_disk_close(disk);
        set_entry(image, ratio, BLOCKS_AT / MIB, PRESENT);
        assert_int_equal(
            open_large(&memory, image, IMAGE_BYTES, place + rows[i].block, &disk, &err), -EBADMSG);
        assert_non_null(strstr(err.message, "sector bitmap 0 has state 6"));
        free(image);
    }
}

static void a_table_too_small_for_the_disk_is_refused(void **state)
{
    /* a table of 1 MiB has 131072 entries; 31 of them are for bitmaps */
    const uint64_t most = (131072 - 31) * (uint64_t)MIB;
    uint8_t *image = build();
    struct memory memory;
    struct im_disk *disk = NULL;
    struct im_error err;

    (void)state;
    put64(value_of(image, SIZE), most);
    assert_int_equal(open_large(&memory, image, IMAGE_BYTES, IMAGE_BYTES, &disk, &err), 0);
    disk = im_disk_close(disk);
    put64(value_of(image, SIZE), most + 512);
    assert_int_equal(open_large(&memory, image, IMAGE_BYTES, IMAGE_BYTES, &disk, &err), -EBADMSG);
    assert_string_equal(err.message,
                        "a disk of 137406448128 bytes needs 131073 entries of 8 bytes, but the "
                        "block table has only 1048576 bytes");
    free(image);
}

/* --- layouts --- */

/* Move what stands at `from` to `to`, both of 1 MiB. */
static void move(uint8_t *image, size_t from, size_t to)
{
    memcpy(image + to, image + from, MIB);
    memset(image + from, 0, MIB);
}

/* As qemu-img writes it: a pipe keeps the table until the metadata tell what it means. */
static void the_table_may_come_before_the_metadata(void **state)
{
    uint8_t *image = build();
    uint8_t *table = malloc(MIB);

    (void)state;
    assert_non_null(table);
    memcpy(table, image + BAT_AT, MIB);
    move(image, METADATA_AT, BAT_AT);
    memcpy(image + METADATA_AT, table, MIB);
    put_region(image, 0, bat_guid, METADATA_AT, MIB, 1);
    put_region(image, 1, metadata_guid, BAT_AT, MIB, 1);
    finish(image);
    accept(image);
    free(table);
    free(image);
}

/* Right for a file, refused with the reason from a pipe. */
static void needs_a_file(const uint8_t *image, size_t len)
{
    struct taken *taken = taken_new();
    struct im_error err = { 0 };
    uint64_t size = 0;

    for (enum face face = FACE_WALK; face <= FACE_READ; face++) {
        if (faces_take(&im_format_vhdx, image, len, face, taken, &size, &err) < 0)
            fail_msg("face %d: %s", (int)face, err.message);
        assert_int_equal(size, DISK_BYTES);
        assert_memory_equal(taken->bytes, the_disk, DISK_BYTES);
    }
    assert_int_equal(faces_take(&im_format_vhdx, image, len, FACE_PIPE, taken, &size, &err),
                     -EOPNOTSUPP);
    assert_non_null(strstr(err.message, "cannot be read from a pipe; give it as a file"));
    taken_free(taken);
}

static void tables_behind_the_blocks_need_a_file(void **state)
{
    const size_t len = IMAGE_BYTES + MIB;
    uint8_t *image = realloc(build(), len);

    (void)state;
    assert_non_null(image);
    move(image, BAT_AT, IMAGE_BYTES);
    put_region(image, 0, bat_guid, IMAGE_BYTES, MIB, 1);
    finish(image);
    needs_a_file(image, len);
    free(image);

    image = realloc(build(), len);
    assert_non_null(image);
    move(image, METADATA_AT, IMAGE_BYTES);
    put_region(image, 1, metadata_guid, IMAGE_BYTES, MIB, 1);
    finish(image);
    needs_a_file(image, len);
    free(image);
}

/* What a pipe keeps of a table before the metadata has a limit. */
static void a_large_table_before_the_metadata_needs_a_file(void **state)
{
    const uint64_t size = UINT64_C(3) << 40; /* 24 MiB of entries */
    const size_t len = 28 * MIB;
    uint8_t *image = calloc(1, len);
    struct memory memory = memory_source(image, len, true);
    struct im_open options = { .max_size = UINT64_MAX };
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };

    (void)state;
    assert_non_null(image);
    put_front(image, size);
    put_region(image, 0, bat_guid, METADATA_AT, 25 * MIB, 1);
    put_region(image, 1, metadata_guid, 27 * MIB, MIB, 1);
    finish(image);
    move(image, METADATA_AT, 27 * MIB);
    assert_int_equal(im_format_vhdx.open(&memory.base, &options, &disk, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.message, "comes before the metadata, so it cannot be read from a"));
    assert_int_equal(open_large(&memory, image, len, len, &disk, &err), 0);
    im_disk_close(disk);
    free(image);
}

/* --- what it costs, and what is told --- */

/* A blank disk with a table of `len` bytes, all hole. */
static int open_blank(uint64_t size, uint32_t block, uint32_t len, struct memory *memory,
                      struct im_disk **ret_disk, struct im_error *err)
{
    uint8_t *image = calloc(1, BAT_AT);
    int r;

    assert_non_null(image);
    put_front(image, size);
    put_region(image, 0, bat_guid, BAT_AT, len, 1);
    put32(value_of(image, PARAMETERS), block);
    finish(image);
    r = open_large(memory, image, BAT_AT, BAT_AT + (uint64_t)len, ret_disk, err);
    free(image); /* a disk without data does not read any more */
    return r;
}

/* The last chunk needs no entry for its bitmap: 4033 chunks of 64 blocks are 2 MiB of entries. */
static void a_table_that_just_suffices_is_accepted(void **state)
{
    const uint64_t most = UINT64_C(4033) * 64 * 64 * MIB;
    struct memory memory;
    struct im_disk *disk = NULL;
    struct im_error err;

    (void)state;
    assert_int_equal(open_blank(most, 64 * MIB, 2 * MIB, &memory, &disk, &err), 0);
    disk = im_disk_close(disk);
    assert_int_equal(open_blank(most + 512, 64 * MIB, 2 * MIB, &memory, &disk, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "needs 262146 entries of 8 bytes"));
}

static void a_blank_disk_costs_next_to_nothing(void **state)
{
    static const struct {
        uint64_t size;
        uint32_t block, table;
        int r;
    } rows[] = {
        { UINT64_C(8) << 40, MIB, 65 * MIB, 0 },
        { (UINT64_C(8) << 40) + 512, MIB, 65 * MIB, -EOPNOTSUPP },
        { UINT64_C(64) << 40, MIB, 513 * MIB, -EOPNOTSUPP },
        { UINT64_C(64) << 40, 8 * MIB, 65 * MIB, 0 },
        { UINT64_C(64) << 40, 64 * MIB, 9 * MIB, 0 },
        { UINT64_C(64) << 40, 256 * MIB, 3 * MIB, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct taken *taken = taken_new();
        struct im_disk *disk = NULL;
        struct im_extent extent;
        struct im_error err;
        struct memory memory;
        int r = open_blank(rows[i].size, rows[i].block, rows[i].table, &memory, &disk, &err);

        if (r != rows[i].r)
            fail_msg("row %zu: %s", i, err.message);
        if (r == 0) {
            assert_int_equal(disk->size, rows[i].size);
            assert_int_equal(im_disk_walk(disk, &taken->sink, &err), 0);
            assert_int_equal(taken->end, 0);
            assert_int_equal(im_disk_map(disk, 5, disk->size - 5, &extent, &err), 0);
            assert_true(extent.zero && extent.len == disk->size - 5);
        } else {
            assert_non_null(strstr(err.message, "more than the 8388608 supported"));
        }
        assert_true(memory.bytes_read <= 2 * MIB);
        im_disk_close(disk);
        taken_free(taken);
    }
}

/* The same as a pipe, which has no holes. */
static void a_blank_disk_comes_through_a_pipe(void **state)
{
    const size_t len = BAT_AT + 65 * MIB;
    uint8_t *image = calloc(1, len);
    struct memory memory = memory_source(image, len, true);
    struct im_open options = { .max_size = UINT64_MAX };
    struct taken *taken = taken_new();
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };

    (void)state;
    assert_non_null(image);
    put_front(image, UINT64_C(8) << 40);
    put_region(image, 0, bat_guid, BAT_AT, 65 * MIB, 1);
    finish(image);
    assert_int_equal(im_format_vhdx.open(&memory.base, &options, &disk, &err), 0);
    assert_int_equal(im_disk_walk(disk, &taken->sink, &err), 0);
    assert_int_equal(taken->end, 0);
    im_disk_close(disk);
    memory = memory_source(image, len - 512, true);
    assert_int_equal(im_format_vhdx.open(&memory.base, &options, &disk, &err), 0);
    assert_int_equal(im_disk_walk(disk, &taken->sink, &err), -EBADMSG);
    im_disk_close(disk);
    taken_free(taken);
    free(image);
}

static const char *fact(const struct im_facts *facts, const char *name)
{
    for (unsigned i = 0; i < facts->count; i++)
        if (strcmp(facts->fact[i].name, name) == 0)
            return facts->fact[i].value;
    return NULL;
}

static void facts_are_told(void **state)
{
    uint8_t *image = build();
    struct memory memory;
    struct im_disk *disk = NULL;
    struct im_facts facts = { 0 };
    struct im_error err;

    (void)state;
    memcpy(image + CREATOR, "Q\0\x1b\0~\0\xe9\0\x22\x21 \0", 12);
    for (size_t i = 6; i < 256; i++) /* without an end */
        put16(image + CREATOR + 2 * i, 'x');
    assert_int_equal(open_large(&memory, image, IMAGE_BYTES, IMAGE_BYTES, &disk, &err), 0);
    im_disk_describe(disk, &facts);
    disk = im_disk_close(disk);
    assert_string_equal(fact(&facts, "subformat"), "dynamic");
    assert_string_equal(fact(&facts, "creator"),
                        "Q?~?? xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    assert_string_equal(fact(&facts, "block-size"), "1048576");
    assert_string_equal(fact(&facts, "allocated-blocks"), "5");
    assert_string_equal(fact(&facts, "sector-size"), "512");
    assert_string_equal(fact(&facts, "physical-sector-size"), "4096");
    assert_string_equal(fact(&facts, "disk-id"), "abababab-abab-abab-abab-abababababab");

    put16(image + CREATOR, 0);
    put32(value_of(image, PARAMETERS) + 4, 1);
    facts.count = 0;
    assert_int_equal(open_large(&memory, image, IMAGE_BYTES, IMAGE_BYTES, &disk, &err), 0);
    im_disk_describe(disk, &facts);
    im_disk_close(disk);
    assert_string_equal(fact(&facts, "subformat"), "fixed");
    assert_null(fact(&facts, "creator"));
    free(image);
}

static void a_vhdx_declared_raw_is_refused(void **state)
{
    struct memory memory = memory_source(the_image, IMAGE_BYTES, false);
    struct im_open options = { .max_size = UINT64_MAX };
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_format_open(&im_format_raw, &memory.base, &options, &disk, &err),
                     -EOPNOTSUPP);
    assert_string_equal(err.code, "FormatMismatch");
    memory = memory_source(the_image + 1, IMAGE_BYTES - 1, false);
    assert_int_equal(im_format_open(&im_format_raw, &memory.base, &options, &disk, &err), 0);
    im_disk_close(disk);
}

/* --- damage of every kind --- */

static void cut_images_are_refused(void **state)
{
    const size_t used = BLOCKS_AT + (BLOCKS - 2) * BLOCK + 3 * 512;
    struct taken *a = taken_new();
    struct taken *b = taken_new();

    (void)state;
    for (size_t cut = 0; cut < used; cut += 65536 - 512) {
        uint8_t *part = malloc(cut + 1); /* so that the sanitizer sees what is read behind it */

        assert_non_null(part);
        memcpy(part, the_image, cut);
        assert_false(faces_agree(&im_format_vhdx, part, cut, a, b, NULL));
        free(part);
    }
    taken_free(a);
    taken_free(b);
}

/* Flip bits where it matters, with right checksums or without: never a crash, never two answers. */
static void flipped_bits_never_crash_and_faces_agree(void **state)
{
    static const struct {
        size_t at, len;
    } places[] = {
        { 0, 64 },          { HEADER(0), 80 },      { HEADER(1), 80 },
        { REGIONS(0), 80 }, { REGIONS(1), 80 },     { METADATA_AT, 32 + ITEMS * 32 },
        { ITEMS_AT, 40 },   { BAT_AT, BLOCKS * 8 },
    };
    struct taken *a = taken_new();
    struct taken *b = taken_new();
    uint8_t *image = build();
    unsigned accepted = 0;
    uint64_t seed = 3;

    (void)state;
    for (unsigned i = 0; i < 400; i++) {
        for (unsigned n = faces_random(&seed) % 3 + 1; n > 0; n--) {
            unsigned p = faces_random(&seed) % (sizeof(places) / sizeof(places[0]));

            image[places[p].at + faces_random(&seed) % places[p].len] ^=
                (uint8_t)(1u << faces_random(&seed) % 8);
        }
        if (i % 4 != 0)
            finish(image);
        accepted += faces_agree(&im_format_vhdx, image, IMAGE_BYTES, a, b, NULL);
        memcpy(image, the_image, BLOCKS_AT);
    }
    print_message("%u of 400 damaged images were accepted\n", accepted);
    assert_true(accepted > 0 && accepted < 200);
    taken_free(a);
    taken_free(b);
    free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_crc_32c),
        cmocka_unit_test(a_dynamic_disk_is_read),
        cmocka_unit_test(a_read_may_cross_blocks),
        cmocka_unit_test(what_the_source_says_is_passed_on),
        cmocka_unit_test(the_map_joins_what_adjoins),
        cmocka_unit_test(a_disk_may_have_whole_blocks_only),
        cmocka_unit_test(blocks_may_lie_apart),
        cmocka_unit_test(the_identifier_must_be_there),
        cmocka_unit_test(a_file_of_headers_only_is_refused),
        cmocka_unit_test(one_valid_header_is_enough),
        cmocka_unit_test(the_header_with_the_higher_number_counts),
        cmocka_unit_test(headers_with_the_same_number_must_be_the_same),
        cmocka_unit_test(versions_that_are_not_known_are_refused),
        cmocka_unit_test(a_log_that_must_be_replayed_is_refused),
        cmocka_unit_test(a_log_out_of_place_is_refused),
        cmocka_unit_test(region_tables_must_both_be_right),
        cmocka_unit_test(region_tables_must_be_the_same),
        cmocka_unit_test(regions_that_are_wrong_are_refused),
        cmocka_unit_test(regions_that_are_there_twice_are_refused),
        cmocka_unit_test(optional_regions_are_kept_clear_of),
        cmocka_unit_test(a_full_region_table_is_accepted),
        cmocka_unit_test(metadata_that_are_wrong_are_refused),
        cmocka_unit_test(every_item_must_be_there_once),
        cmocka_unit_test(items_may_lie_anywhere_in_their_region),
        cmocka_unit_test(an_item_longer_than_a_mib_is_refused),
        cmocka_unit_test(parameters_that_are_wrong_are_refused),
        cmocka_unit_test(sectors_may_have_4096_bytes),
        cmocka_unit_test(a_parent_is_refused_however_it_is_named),
        cmocka_unit_test(a_disk_above_the_limit_is_refused),
        cmocka_unit_test(blocks_without_contents_are_zeros),
        cmocka_unit_test(entries_that_are_wrong_are_refused),
        cmocka_unit_test(blocks_that_overlap_in_part_are_refused),
        cmocka_unit_test(the_last_block_may_end_with_the_disk),
        cmocka_unit_test(other_blocks_must_be_whole),
        cmocka_unit_test(what_follows_the_blocks_is_skipped),
        cmocka_unit_test(entries_of_bitmaps_lie_between_the_chunks),
        cmocka_unit_test(a_table_too_small_for_the_disk_is_refused),
        cmocka_unit_test(the_table_may_come_before_the_metadata),
        cmocka_unit_test(tables_behind_the_blocks_need_a_file),
        cmocka_unit_test(a_large_table_before_the_metadata_needs_a_file),
        cmocka_unit_test(a_table_that_just_suffices_is_accepted),
        cmocka_unit_test(a_blank_disk_costs_next_to_nothing),
        cmocka_unit_test(a_blank_disk_comes_through_a_pipe),
        cmocka_unit_test(facts_are_told),
        cmocka_unit_test(a_vhdx_declared_raw_is_refused),
        cmocka_unit_test(cut_images_are_refused),
        cmocka_unit_test(flipped_bits_never_crash_and_faces_agree),
    };

    return cmocka_run_group_tests(tests, make_disk, drop_disk);
}

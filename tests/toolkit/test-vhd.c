/* The VHD decoder, fixed and dynamic, and raw beside it: what is read, what is refused beside what
 * is accepted, and that all faces of a disk agree, whatever is done to the file. */

#include <config.h>

#include "faces.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"

extern const struct im_format im_format_raw;
extern const struct im_format im_format_vhd;

/* --- building images --- */

#define BLOCK      4096u
#define BLOCKS     41u
#define DISK_BYTES ((BLOCKS - 1) * BLOCK + 3 * 512) /* the last block is partial */
#define ENTRIES    50u                              /* more than the disk needs */
#define HEADER_AT  512u
#define TABLE_AT   1536u
#define BLOCKS_AT  2048u /* the table takes 200 bytes */
#define BLOCK_LEN  (512 + BLOCK)

enum {
    FEATURES = 8,
    VERSION = 12,
    DATA_OFFSET = 16,
    CREATOR = 28,
    CURRENT = 48,
    GEOMETRY = 56,
    TYPE = 60,
    CHECKSUM = 64,
    SAVED_STATE = 84,
    /* dynamic header, from HEADER_AT */
    TABLE = 16,
    HEADER_VERSION = 24,
    MAX_ENTRIES = 28,
    BLOCK_SIZE = 32,
    HEADER_CHECKSUM = 36,
};

/* Blocks in the order of the file, and the bitmap of each: which of its eight sectors are there. */
static const struct {
    uint32_t block;
    uint8_t bitmap;
} present[] = { { 0, 0xff },          { 7, 0xff },  { 3, 0x81 },
                { BLOCKS - 1, 0xa0 }, { 20, 0x00 }, { 8, 0xff } };
#define PRESENT       (sizeof(present) / sizeof(present[0]))
#define DYNAMIC_BYTES (BLOCKS_AT + PRESENT * BLOCK_LEN + 512)

static uint8_t *the_disk; /* of the dynamic image */
static uint8_t *the_data; /* what its blocks hold, also where a bit is 0 */

static int make_disk(void **state)
{
    uint64_t random = 5;

    (void)state;
    the_disk = calloc(1, BLOCKS * BLOCK);
    the_data = malloc(PRESENT * BLOCK);
    if (!the_disk || !the_data)
        return -1;
    for (size_t i = 0; i < PRESENT * BLOCK; i++)
        the_data[i] = (uint8_t)faces_random(&random);
    for (size_t i = 0; i < PRESENT; i++)
        for (size_t s = 0; s < 8; s++)
            if (present[i].bitmap & 0x80u >> s)
                memcpy(the_disk + (size_t)present[i].block * BLOCK + s * 512,
                       the_data + i * BLOCK + s * 512, 512);
    return 0;
}

static int drop_disk(void **state)
{
    (void)state;
    free(the_disk);
    free(the_data);
    return 0;
}

static void put32(uint8_t *p, uint32_t v)
{
    v = htobe32(v);
    memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
    v = htobe64(v);
    memcpy(p, &v, sizeof(v));
}

static void sum_up(uint8_t *p, size_t len, size_t field)
{
    uint32_t sum = 0;

    put32(p + field, 0);
    for (size_t i = 0; i < len; i++)
        sum += p[i];
    put32(p + field, ~sum);
}

static void put_footer(uint8_t *p, uint32_t type, uint64_t size)
{
    memset(p, 0, 512);
    memcpy(p, "conectix", 8);
    put32(p + FEATURES, 2);
    put32(p + VERSION, 0x10000);
    put64(p + DATA_OFFSET, type == 2 ? UINT64_MAX : HEADER_AT);
    memcpy(p + CREATOR, "test", 4);
    put64(p + CURRENT - 8, size);
    put64(p + CURRENT, size);
    put32(p + TYPE, type);
    sum_up(p, 512, CHECKSUM);
}

/* The place of present[i] in the file, bytes. */
static size_t place(size_t i)
{
    return BLOCKS_AT + i * BLOCK_LEN;
}

static void set_entry(uint8_t *image, uint32_t block, uint32_t value)
{
    put32(image + TABLE_AT + (size_t)block * 4, value);
}

/* Copy the footer at the end to the start, as both must be. */
static void finish(uint8_t *image, size_t len)
{
    sum_up(image + len - 512, 512, CHECKSUM);
    memcpy(image, image + len - 512, 512);
    sum_up(image + HEADER_AT, 1024, HEADER_CHECKSUM);
}

static uint8_t *build_dynamic(void)
{
    uint8_t *image = calloc(1, DYNAMIC_BYTES + 512);
    uint8_t *header = image + HEADER_AT;

    assert_non_null(image);
    put_footer(image + DYNAMIC_BYTES - 512, 3, DISK_BYTES);
    memcpy(header, "cxsparse", 8);
    put64(header + 8, UINT64_MAX);
    put64(header + TABLE, TABLE_AT);
    put32(header + HEADER_VERSION, 0x10000);
    put32(header + MAX_ENTRIES, ENTRIES);
    put32(header + BLOCK_SIZE, BLOCK);
    memset(image + TABLE_AT, 0xff, BLOCKS_AT - TABLE_AT);
    for (size_t i = 0; i < PRESENT; i++) {
        set_entry(image, present[i].block, (uint32_t)(place(i) / 512));
        image[place(i)] = present[i].bitmap;
        memcpy(image + place(i) + 512, the_data + i * BLOCK, BLOCK);
    }
    finish(image, DYNAMIC_BYTES);
    return image;
}

static uint8_t *build_fixed(size_t size)
{
    uint8_t *image = calloc(1, size + 512);
    uint64_t random = 9;

    assert_non_null(image);
    for (size_t i = size / 4; i < size / 2; i++)
        image[i] = (uint8_t)faces_random(&random);
    put_footer(image + size, 2, size);
    return image;
}

static void accept_dynamic(const uint8_t *image, size_t len)
{
    faces_accept(&im_format_vhd, image, len, the_disk, DISK_BYTES);
}

static void damaged(const uint8_t *image, size_t len, const char *words)
{
    faces_refuse(&im_format_vhd, image, len, EBADMSG, "DamagedVhd", words);
}

/* --- dynamic --- */

static void a_dynamic_disk_is_read_with_its_bitmaps(void **state)
{
    uint8_t *image = build_dynamic();

    (void)state;
    accept_dynamic(image, DYNAMIC_BYTES);
    free(image);
}

static void the_last_footer_may_have_511_bytes(void **state)
{
    uint8_t *image = build_dynamic();

    (void)state;
    accept_dynamic(image, DYNAMIC_BYTES - 1);
    damaged(image, DYNAMIC_BYTES - 2, "no VHD footer");
    free(image);
}

static void footers_that_differ_are_refused(void **state)
{
    static const size_t bytes[] = { CHECKSUM + 3, CURRENT + 7, TYPE + 3, 500 };

    (void)state;
    for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
        uint8_t *image = build_dynamic();

        image[bytes[i]] ^= 1; /* the copy at the start: the good one is not believed either */
        faces_refuse(&im_format_vhd, image, DYNAMIC_BYTES, EBADMSG, "FootersNotIdentical",
                     "Footers not identical: byte ");
        free(image);
    }
}

static void the_sentence_about_footers_names_both_values(void **state)
{
    uint8_t *image = build_dynamic();

    (void)state;
    memcpy(image + CREATOR, "TEST", 4);
    sum_up(image, 512, CHECKSUM);
    faces_refuse(&im_format_vhd, image, DYNAMIC_BYTES, EBADMSG, "FootersNotIdentical",
                 "byte 28 of the copy at the start of the file has 0x54455354 where the footer at "
                 "its end has 0x74657374");
    free(image);
}

static void fields_that_do_not_matter_are_ignored(void **state)
{
    uint8_t *image = build_dynamic();
    uint8_t *footer = image + DYNAMIC_BYTES - 512;

    (void)state;
    footer[SAVED_STATE] = 1;
    put32(footer + GEOMETRY, 0x00010101); /* one sector: the current size counts */
    put64(footer + CURRENT - 8, 12345);   /* original size */
    finish(image, DYNAMIC_BYTES);
    accept_dynamic(image, DYNAMIC_BYTES);
    free(image);
}

static void footers_that_are_wrong_are_refused(void **state)
{
    static const struct {
        size_t at;
        uint32_t value;
        int number;
        const char *words;
    } rows[] = {
        { TYPE, 4, EOPNOTSUPP, "differencing disk (type 4)" },
        { TYPE, 0, EOPNOTSUPP, "disk type 0" },
        { TYPE, 6, EOPNOTSUPP, "disk type 6" },
        { VERSION, 0x20000, EOPNOTSUPP, "format version 0x00020000" },
        { CURRENT + 4, 0, EBADMSG, "gives the disk 0 bytes" },
        { CURRENT + 4, 513, EBADMSG, "gives the disk 513 bytes" },
        { CURRENT + 4, ENTRIES * BLOCK + 512, EBADMSG,
          "needs 51 blocks of 4096, but the block table" },
        { CURRENT, 0x80000000, EFBIG, "allowed" },
        { DATA_OFFSET, 1, EBADMSG, "dynamic header at byte 4294967808" },
        { DATA_OFFSET + 4, 0, EBADMSG, "no dynamic header" },
        { DATA_OFFSET + 4, DYNAMIC_BYTES - 512, EBADMSG, "dynamic header at byte" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        static const char *const codes[] = { "DamagedVhd", "UnsupportedVhd", "TooLarge" };
        uint8_t *image = build_dynamic();

        put32(image + DYNAMIC_BYTES - 512 + rows[i].at, rows[i].value);
        finish(image, DYNAMIC_BYTES);
        faces_refuse(&im_format_vhd, image, DYNAMIC_BYTES, rows[i].number,
                     codes[rows[i].number == EOPNOTSUPP ? 1
                           : rows[i].number == EFBIG    ? 2
                                                        : 0],
                     rows[i].words);
        free(image);
    }
}

static void checksums_that_are_wrong_are_refused(void **state)
{
    uint8_t *image = build_dynamic();

    (void)state;
    image[HEADER_AT + 900] ^= 1;
    damaged(image, DYNAMIC_BYTES, "the dynamic header's checksum is 0x");
    image[HEADER_AT + 900] ^= 1;
    image[DYNAMIC_BYTES - 1] ^= 1;
    image[511] ^= 1;
    damaged(image, DYNAMIC_BYTES, "the VHD footer's checksum is 0x");
    free(image);
}

static void headers_that_are_wrong_are_refused(void **state)
{
    static const struct {
        size_t at;
        uint32_t value;
        const char *words;
    } rows[] = {
        { 0, 0, "no dynamic header ('cxsparse') at byte 512" },
        { BLOCK_SIZE, 0, "a block size of 0 bytes" },
        { BLOCK_SIZE, 2048, "a block size of 2048 bytes" },
        { BLOCK_SIZE, 6144, "a block size of 6144 bytes" },
        { BLOCK_SIZE, (1u << 30) + 512, "a block size of 1073742336 bytes" },
        { BLOCK_SIZE, 1u << 30, "a block size of 1073741824 bytes" },
        { MAX_ENTRIES, BLOCKS - 1, "needs 41 blocks of 4096, but the block table has 40 entries" },
        { MAX_ENTRIES, UINT32_MAX, "the block table at byte 1536 with 17179869180 bytes" },
        { TABLE, 1, "the block table at byte" },
        { TABLE + 4, 0, "the block table at byte 0 lies on the footer's copy at byte 0" },
        { TABLE + 4, 1024, "lies on" },
        { TABLE + 4, DYNAMIC_BYTES - 512, "the block table at byte" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t *image = build_dynamic();

        put32(image + HEADER_AT + rows[i].at, rows[i].value);
        finish(image, DYNAMIC_BYTES);
        damaged(image, DYNAMIC_BYTES, rows[i].words);
        free(image);
    }
}

static void exactly_enough_entries_are_accepted(void **state)
{
    uint8_t *image = build_dynamic();

    (void)state;
    put32(image + HEADER_AT + MAX_ENTRIES, BLOCKS);
    finish(image, DYNAMIC_BYTES);
    accept_dynamic(image, DYNAMIC_BYTES);
    free(image);
}

static void blocks_out_of_place_are_refused(void **state)
{
    const uint32_t end = DYNAMIC_BYTES / 512 - 1; /* the footer's sector */
    const struct {
        uint32_t block, sector;
        const char *words;
    } rows[] = {
        { 1, end, "block 1 at byte" },
        { 1, end - BLOCK_LEN / 512 + 1, "past the end of the data" },
        { 1, UINT32_MAX - 1, "past the end of the data" },
        { 1, BLOCKS_AT / 512, "overlaps block" },
        { 1, BLOCKS_AT / 512 + 1, "overlaps block 0" },
        { 1, BLOCKS_AT / 512 + BLOCK_LEN / 512 - 1, "overlaps block" },
        { 1, 0, "lies on the footer's copy" },
        { 1, 2, "lies on the" },
        { 0, 3, "lies on the block table" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t *image = build_dynamic();

        set_entry(image, rows[i].block, rows[i].sector);
        damaged(image, DYNAMIC_BYTES, rows[i].words);
        set_entry(image, rows[i].block, rows[i].block ? UINT32_MAX : BLOCKS_AT / 512);
        accept_dynamic(image, DYNAMIC_BYTES);
        free(image);
    }
}

static void something_between_blocks_and_footer_is_skipped(void **state)
{
    /* the last is more than a pipe can go back; the others end near the border of a piece */
    static const size_t gaps[] = { 1, 511, (1u << 20) - 512, (1u << 20) - 412, 1u << 20, 3u << 20 };
    uint8_t *image = calloc(1, DYNAMIC_BYTES + (3u << 20));
    uint8_t *small = build_dynamic();

    (void)state;
    assert_non_null(image);
    for (size_t i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
        size_t len = DYNAMIC_BYTES + gaps[i];

        memcpy(image, small, DYNAMIC_BYTES);
        memset(image + DYNAMIC_BYTES - 512, 0x11, gaps[i]);
        memcpy(image + len - 512, small, 512);
        accept_dynamic(image, len);
        image[len - 1] ^= 1; /* the footer is compared there as well */
        faces_refuse(&im_format_vhd, image, len, EBADMSG, "DamagedVhd", "checksum");
    }
    free(small);
    free(image);
}

/* The last block's data ends with a footer, of an image in the image; the file's own is cut off. */
static void a_footer_in_a_block_is_not_the_files(void **state)
{
    uint8_t *image = build_dynamic();

    (void)state;
    memcpy(image + DYNAMIC_BYTES - 1024, image + DYNAMIC_BYTES - 512, 512);
    damaged(image, DYNAMIC_BYTES - 512, "past the end of the data");
    free(image);
}

/* The table behind the blocks: right for a file, refused with the reason from a pipe. */
static void a_table_behind_the_blocks_needs_a_file(void **state)
{
    uint8_t *image = calloc(1, DYNAMIC_BYTES + 512);
    uint8_t *front = build_dynamic();
    size_t len = DYNAMIC_BYTES + 512;
    struct taken *taken = taken_new();
    struct im_error err = { 0 };
    uint64_t size = 0;

    (void)state;
    assert_non_null(image);
    memcpy(image, front, DYNAMIC_BYTES - 512);
    memcpy(image + DYNAMIC_BYTES - 512, front + TABLE_AT, 512);
    memcpy(image + len - 512, front, 512);
    put64(image + HEADER_AT + TABLE, DYNAMIC_BYTES - 512);
    finish(image, len);
    for (enum face face = FACE_WALK; face <= FACE_READ; face++) {
        assert_int_equal(faces_take(&im_format_vhd, image, len, face, taken, &size, &err), 0);
        assert_int_equal(size, DISK_BYTES);
        assert_memory_equal(taken->bytes, the_disk, DISK_BYTES);
    }
    assert_int_equal(faces_take(&im_format_vhd, image, len, FACE_PIPE, taken, &size, &err),
                     -EOPNOTSUPP);
    assert_non_null(strstr(err.message, "give it as a file"));
    taken_free(taken);
    free(front);
    free(image);
}

/* --- fixed, and raw --- */

#define FIXED_BYTES ((3u << 20) + 512) /* several pieces, and not whole ones */

static void a_fixed_disk_is_its_file_without_the_footer(void **state)
{
    static const size_t sizes[] = { 512,        1024, (1u << 20) - 512, 1u << 20, (1u << 20) + 512,
                                    FIXED_BYTES };

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (size_t footer = 511; footer <= 512; footer++) {
            uint8_t *image = build_fixed(sizes[i]);

            faces_accept(&im_format_vhd, image, sizes[i] + footer, image, sizes[i]);
            free(image);
        }
}

static void a_fixed_disk_of_another_size_is_refused(void **state)
{
    uint8_t *image = build_fixed(FIXED_BYTES);
    uint8_t *footer = image + FIXED_BYTES;

    (void)state;
    put64(footer + CURRENT, FIXED_BYTES + 512);
    sum_up(footer, 512, CHECKSUM);
    damaged(image, FIXED_BYTES + 512,
            "gives the disk 3146752 bytes, but the file holds 3146240 before the footer");
    put64(footer + CURRENT, FIXED_BYTES - 512);
    sum_up(footer, 512, CHECKSUM);
    damaged(image, FIXED_BYTES + 512, "gives the disk 3145728 bytes, but the file holds 3146240");
    put_footer(footer, 2, FIXED_BYTES);
    put32(footer + TYPE, 4);
    sum_up(footer, 512, CHECKSUM);
    faces_refuse(&im_format_vhd, image, FIXED_BYTES + 512, EOPNOTSUPP, "UnsupportedVhd",
                 "differencing disk (type 4)");
    put_footer(footer, 2, FIXED_BYTES);
    footer[300] ^= 1;
    damaged(image, FIXED_BYTES + 512, "the VHD footer's checksum is 0x");
    damaged(image, FIXED_BYTES, "no VHD footer ('conectix') in the last 512 bytes");
    damaged(image, 100, "has only 100 bytes");
    put_footer(footer, 3, FIXED_BYTES);
    faces_refuse(&im_format_vhd, image, FIXED_BYTES + 512, EBADMSG, "FootersNotIdentical",
                 "byte 0");
    free(image);
}

static void raw_is_what_it_is(void **state)
{
    uint8_t *bytes = build_fixed(FIXED_BYTES);

    (void)state;
    faces_accept(&im_format_raw, bytes, FIXED_BYTES, bytes, FIXED_BYTES);
    faces_accept(&im_format_raw, bytes, 1, bytes, 1);
    faces_accept(&im_format_raw, bytes, 1u << 20, bytes, 1u << 20);
    faces_accept(&im_format_raw, bytes, (2u << 20) + 77, bytes, (2u << 20) + 77);
    free(bytes);
}

/* --- probing --- */

static enum im_bid bid(const uint8_t *image, size_t len)
{
    struct im_probe probe = { .size = len };

    probe.head_len = len < sizeof(probe.head) ? len : sizeof(probe.head);
    memcpy(probe.head, image, probe.head_len);
    if (len >= sizeof(probe.tail)) {
        probe.tail_len = sizeof(probe.tail);
        memcpy(probe.tail, image + len - sizeof(probe.tail), sizeof(probe.tail));
    }
    return im_format_vhd.probe(&probe);
}

static void the_probe_is_certain_of_what_fits_only(void **state)
{
    uint8_t *fixed = build_fixed(8192);
    uint8_t *dynamic = build_dynamic();

    (void)state;
    assert_int_equal(bid(dynamic, DYNAMIC_BYTES), IM_BID_CERTAIN);
    assert_int_equal(bid(fixed, 8192 + 512), IM_BID_CERTAIN);
    assert_int_equal(bid(fixed, 8192 + 511), IM_BID_CERTAIN);
    assert_int_equal(bid(fixed, 8192), IM_BID_NO);
    /* a disk whose last sector is the footer of an image in it */
    assert_int_equal(bid(fixed + 512, 8192), IM_BID_PLAUSIBLE);
    fixed[8192 + 300] ^= 1;
    assert_int_equal(bid(fixed, 8192 + 512), IM_BID_PLAUSIBLE);
    assert_int_equal(bid(fixed, 100), IM_BID_NO);
    free(fixed);
    free(dynamic);
}

static void a_vhd_declared_raw_is_refused(void **state)
{
    uint8_t *image = build_fixed(8192);
    struct memory memory = memory_source(image, 8192 + 512, false);
    struct im_open options = { .max_size = UINT64_MAX };
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_format_open(&im_format_raw, &memory.base, &options, &disk, &err),
                     -EOPNOTSUPP);
    assert_string_equal(err.code, "FormatMismatch");
    memory = memory_source(image, 8192, false);
    assert_int_equal(im_format_open(&im_format_raw, &memory.base, &options, &disk, &err), 0);
    im_disk_close(disk);
    free(image);
}

/* --- what it costs --- */

/* A blank disk near the largest a VHD can be: nothing is read but the table. */
static void a_blank_disk_costs_only_its_table(void **state)
{
    const uint64_t size = UINT64_C(2040) << 30;
    const uint32_t blocks = (uint32_t)(size >> 21);
    size_t len = TABLE_AT + (size_t)blocks * 4 + 512;
    uint8_t *image = calloc(1, len);
    struct memory memory = memory_source(image, len, false);
    struct im_open options = { .max_size = UINT64_MAX };
    struct taken *taken = taken_new();
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };
    struct im_extent extent;
    struct im_facts facts = { 0 };
    uint8_t *small = build_dynamic();

    (void)state;
    assert_non_null(image);
    memcpy(image, small, TABLE_AT);
    memset(image + TABLE_AT, 0xff, (size_t)blocks * 4);
    put_footer(image + len - 512, 3, size);
    put32(image + HEADER_AT + MAX_ENTRIES, blocks);
    put32(image + HEADER_AT + BLOCK_SIZE, 2u << 20);
    finish(image, len);
    if (im_format_vhd.open(&memory.base, &options, &disk, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(disk->size, size);
    assert_int_equal(im_disk_walk(disk, &taken->sink, &err), 0);
    assert_int_equal(taken->end, 0);
    assert_int_equal(im_disk_map(disk, 5, size - 5, &extent, &err), 0);
    assert_true(extent.zero && extent.len == size - 5);
    assert_true(memory.bytes_read < len + (1u << 20));
    im_disk_describe(disk, &facts);
    assert_string_equal(facts.fact[0].value, "dynamic");
    im_disk_close(disk);
    taken_free(taken);
    free(small);
    free(image);
}

/* --- damage of every kind --- */

static void cut_images_are_refused(void **state)
{
    uint8_t *dynamic = build_dynamic();
    uint8_t *fixed = build_fixed(16384);

    (void)state;
    faces_truncate(&im_format_vhd, dynamic, DYNAMIC_BYTES, the_disk);
    faces_truncate(&im_format_vhd, fixed, 16384 + 512, fixed);
    for (size_t cut = 0; cut < DYNAMIC_BYTES; cut += 512)
        faces_refuse(&im_format_vhd, dynamic, cut, EBADMSG, "DamagedVhd",
                     cut < 512 ? "has only 0 bytes" : "");
    free(dynamic);
    free(fixed);
}

static void flipped_bits_never_crash_and_faces_agree(void **state)
{
    uint8_t *dynamic = build_dynamic();
    uint8_t *fixed = build_fixed(4096);
    struct taken *a = taken_new();
    struct taken *b = taken_new();
    uint64_t seed = 3;

    (void)state;
    faces_flip(&im_format_vhd, dynamic, DYNAMIC_BYTES, 1000, 1);
    faces_flip(&im_format_vhd, fixed, 4096 + 512, 1000, 2);
    /* checksums catch nearly all of that: again with right ones */
    for (unsigned i = 0; i < 2000; i++) {
        uint8_t copy[DYNAMIC_BYTES];
        uint32_t at = faces_random(&seed) % (512 + 1024 + ENTRIES * 4);

        memcpy(copy, dynamic, DYNAMIC_BYTES);
        if (at < 512)
            copy[DYNAMIC_BYTES - 512 + at % 100] ^= (uint8_t)(1u << faces_random(&seed) % 8);
        else
            copy[at < HEADER_AT + 1024 ? HEADER_AT + at % 100 : at] ^=
                (uint8_t)(1u << faces_random(&seed) % 8);
        finish(copy, DYNAMIC_BYTES);
        (void)faces_agree(&im_format_vhd, copy, DYNAMIC_BYTES, a, b, NULL);
    }
    taken_free(a);
    taken_free(b);
    free(dynamic);
    free(fixed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dynamic_disk_is_read_with_its_bitmaps),
        cmocka_unit_test(the_last_footer_may_have_511_bytes),
        cmocka_unit_test(footers_that_differ_are_refused),
        cmocka_unit_test(the_sentence_about_footers_names_both_values),
        cmocka_unit_test(fields_that_do_not_matter_are_ignored),
        cmocka_unit_test(footers_that_are_wrong_are_refused),
        cmocka_unit_test(checksums_that_are_wrong_are_refused),
        cmocka_unit_test(headers_that_are_wrong_are_refused),
        cmocka_unit_test(exactly_enough_entries_are_accepted),
        cmocka_unit_test(blocks_out_of_place_are_refused),
        cmocka_unit_test(something_between_blocks_and_footer_is_skipped),
        cmocka_unit_test(a_footer_in_a_block_is_not_the_files),
        cmocka_unit_test(a_table_behind_the_blocks_needs_a_file),
        cmocka_unit_test(a_fixed_disk_is_its_file_without_the_footer),
        cmocka_unit_test(a_fixed_disk_of_another_size_is_refused),
        cmocka_unit_test(raw_is_what_it_is),
        cmocka_unit_test(the_probe_is_certain_of_what_fits_only),
        cmocka_unit_test(a_vhd_declared_raw_is_refused),
        cmocka_unit_test(a_blank_disk_costs_only_its_table),
        cmocka_unit_test(cut_images_are_refused),
        cmocka_unit_test(flipped_bits_never_crash_and_faces_agree),
    };

    return cmocka_run_group_tests(tests, make_disk, drop_disk);
}

/* The VMDK decoder: every layout it reads, everything it refuses beside what it accepts, and that
 * all faces of a disk agree, whatever is done to the file. */

#include <config.h>

#include "faces.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"
#include "format/window.h"

extern const struct im_format im_format_vmdk;
extern const struct im_format im_format_raw;

/* --- building images --- */

enum layout {
    SPARSE, /* monolithicSparse with a redundant directory, as qemu-img and VMware write it */
    FRONT,  /* stream-optimized with the tables in front, as qemu-img writes it */
    STREAM, /* stream-optimized with markers and footer, as VMware writes it */
    LAYOUTS,
};

#define GRAIN          8u /* sectors */
#define GRAIN_BYTES    (GRAIN * 512)
#define GRAINS         600u
#define CAPACITY       (GRAIN * (GRAINS - 1) + 3) /* the last grain is partial, in the second table */
#define DISK_BYTES     (CAPACITY * 512)
#define DESCRIPTOR     1u /* its sector, and how many */
#define DESCRIPTOR_LEN 2u

/* The grains that are in the images, in the order of the file. */
static const uint32_t present[] = { 0, 1, 2, 300, 299, GRAINS - 1, 511 };
#define PRESENT (sizeof(present) / sizeof(present[0]))
#define LAST    5 /* the place of the partial one in that list */

struct image {
    uint8_t *p;
    size_t len;
    uint32_t grain_at[PRESENT]; /* sectors */
    uint32_t table[2], directory, redundant_table[2], redundant;
    uint32_t footer;
};

struct wish {
    enum layout layout;
    uint32_t version;       /* 0: 3 for streams, 1 for sparse */
    const char *descriptor; /* NULL: the right one */
    bool padded;            /* the last grain of a stream is a whole one */
    uint32_t gap;           /* sectors behind the descriptor that are no one's */
    int longer;             /* bytes by which grain 1 of a stream is longer than it must be */
};

static uint8_t *the_disk; /* what every image holds */

static int make_disk(void **state)
{
    uint64_t random = 42;

    (void)state;
    the_disk = calloc(1, DISK_BYTES + GRAIN_BYTES);
    if (!the_disk)
        return -1;
    for (size_t i = 0; i < PRESENT; i++)
        for (size_t j = 0; j < GRAIN_BYTES; j++)
            the_disk[(size_t)present[i] * GRAIN_BYTES + j] =
                j < GRAIN_BYTES / 4 ? (uint8_t)faces_random(&random) : (uint8_t)(i + 1);
    memset(the_disk + DISK_BYTES, 0, GRAIN_BYTES);
    return 0;
}

static int drop_disk(void **state)
{
    (void)state;
    free(the_disk);
    return 0;
}

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

/* The byte offsets of header fields that tests change. */
enum {
    VERSION = 4,
    FLAGS = 8,
    CAPACITY_AT = 12,
    GRAIN_AT = 20,
    DESCRIPTOR_AT = 28,
    ENTRIES = 44,
    REDUNDANT = 48,
    DIRECTORY = 56,
    OVERHEAD = 64,
    UNCLEAN = 72,
    NEWLINES = 73,
    ALGORITHM = 77,
};

/* Append sectors of zeros; gives the number of the first. */
static uint32_t add(struct image *image, size_t sectors)
{
    uint32_t at = (uint32_t)(image->len / 512);

    image->p = realloc(image->p, image->len + sectors * 512);
    assert_non_null(image->p);
    memset(image->p + image->len, 0, sectors * 512);
    image->len += sectors * 512;
    return at;
}

static uint8_t *sector(const struct image *image, uint64_t at)
{
    assert_true(at * 512 < image->len);
    return image->p + at * 512;
}

#define HEAD(type)                                                                                 \
    "# Disk DescriptorFile\nversion=1\nCID=122a5810\nparentCID=ffffffff\ncreateType=\"" type "\""  \
    "\n"
#define EXTENT "RW 4795 SPARSE \"disk.vmdk\"\n"
#define TAIL   "\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n"

static void add_header(struct image *image, const struct wish *wish)
{
    static const uint32_t flags[LAYOUTS] = { 3, 0x30003, 0x30001 };
    const char *text = wish->descriptor         ? wish->descriptor
                       : wish->layout == SPARSE ? HEAD("monolithicSparse") EXTENT TAIL
                                                : HEAD("streamOptimized") EXTENT TAIL;
    uint8_t *p = sector(image, add(image, 1));

    memcpy(p, "KDMV", 4);
    put32(p + VERSION, wish->version ? wish->version : wish->layout == SPARSE ? 1 : 3);
    put32(p + FLAGS, flags[wish->layout]);
    put64(p + CAPACITY_AT, CAPACITY);
    put64(p + GRAIN_AT, GRAIN);
    put64(p + DESCRIPTOR_AT, DESCRIPTOR);
    put64(p + DESCRIPTOR_AT + 8, DESCRIPTOR_LEN);
    put32(p + ENTRIES, 512);
    memcpy(p + NEWLINES, "\n \r\n", 4);
    put16(p + ALGORITHM, wish->layout != SPARSE);
    assert_true(strlen(text) <= (size_t)DESCRIPTOR_LEN * 512);
    memcpy(sector(image, add(image, DESCRIPTOR_LEN)), text, strlen(text));
}

/* A directory and its two tables, the tables still empty. */
static uint32_t add_tables(struct image *image, uint32_t table[2])
{
    uint32_t directory = add(image, 1);

    for (uint32_t t = 0; t < 2; t++) {
        table[t] = add(image, 4);
        put32(sector(image, directory) + (size_t)t * 4, table[t]);
    }
    return directory;
}

static uint8_t *entry(const struct image *image, const uint32_t table[2], uint32_t grain)
{
    return sector(image, table[grain / 512]) + (size_t)(grain % 512) * 4;
}

static void fill_tables(struct image *image, const uint32_t table[2])
{
    for (size_t i = 0; i < PRESENT; i++)
        put32(entry(image, table, present[i]), image->grain_at[i]);
}

static uint32_t add_marker(struct image *image, uint64_t value, uint32_t type)
{
    uint32_t at = add(image, 1);

    put64(sector(image, at), value);
    put32(sector(image, at) + 12, type);
    return at;
}

/* A compressed grain of `len` plain bytes. */
static uint32_t add_packed(struct image *image, uint32_t grain, const uint8_t *plain, size_t len)
{
    struct libdeflate_compressor *deflate = libdeflate_alloc_compressor(6);
    uint8_t packed[2 * GRAIN_BYTES];
    size_t n = libdeflate_zlib_compress(deflate, plain, len, packed, sizeof(packed));
    uint32_t at = add(image, (12 + n + 511) / 512);

    assert_true(n > 0);
    libdeflate_free_compressor(deflate);
    put64(sector(image, at), (uint64_t)grain * GRAIN);
    put32(sector(image, at) + 8, (uint32_t)n);
    memcpy(sector(image, at) + 12, packed, n);
    return at;
}

static void add_grains(struct image *image, const struct wish *wish)
{
    put64(image->p + OVERHEAD, image->len / 512);
    for (size_t i = 0; i < PRESENT; i++) {
        const uint8_t *plain = the_disk + (size_t)present[i] * GRAIN_BYTES;
        size_t len = i == LAST && !wish->padded ? DISK_BYTES % GRAIN_BYTES : GRAIN_BYTES;

        if (wish->layout == SPARSE) {
            image->grain_at[i] = add(image, GRAIN);
            memcpy(sector(image, image->grain_at[i]), plain, GRAIN_BYTES);
        } else {
            len += (size_t)(i == 1 ? wish->longer : 0);
            image->grain_at[i] = add_packed(image, present[i], plain, len);
        }
    }
}

/* What VMware writes behind the grains. */
static void add_end(struct image *image)
{
    for (uint32_t t = 0; t < 2; t++) {
        add_marker(image, 4, 1);
        image->table[t] = add(image, 4);
    }
    add_marker(image, 1, 2);
    image->directory = add(image, 1);
    for (size_t t = 0; t < 2; t++)
        put32(sector(image, image->directory) + t * 4, image->table[t]);
    add_marker(image, 1, 3);
    image->footer = add(image, 1);
    put64(image->p + DIRECTORY, UINT64_MAX);
    memcpy(sector(image, image->footer), image->p, 512);
    put64(sector(image, image->footer) + DIRECTORY, image->directory);
    add_marker(image, 0, 0);
}

static struct image build(const struct wish *wish)
{
    struct image image = { 0 };

    add_header(&image, wish);
    (void)add(&image, wish->gap);
    if (wish->layout != STREAM) {
        image.redundant = add_tables(&image, image.redundant_table);
        image.directory = add_tables(&image, image.table);
        put64(image.p + REDUNDANT, image.redundant);
        put64(image.p + DIRECTORY, image.directory);
    }
    add_grains(&image, wish);
    if (wish->layout == STREAM)
        add_end(&image);
    else
        fill_tables(&image, image.redundant_table);
    fill_tables(&image, image.table);
    return image;
}

static struct image build_layout(enum layout layout)
{
    return build(&(struct wish){ .layout = layout });
}

static void accept_and_free(struct image *image)
{
    faces_accept(&im_format_vmdk, image->p, image->len, the_disk, DISK_BYTES);
    free(image->p);
}

static void refuse_and_free(struct image *image, int number, const char *code, const char *words)
{
    faces_refuse(&im_format_vmdk, image->p, image->len, number, code, words);
    free(image->p);
}

static void damaged(struct image *image, const char *words)
{
    refuse_and_free(image, EBADMSG, "DamagedVmdk", words);
}

static void unsupported(struct image *image, const char *words)
{
    refuse_and_free(image, EOPNOTSUPP, "UnsupportedVmdk", words);
}

/* Is it accepted as a file?  (A pipe cannot have grains before tables.) */
static bool faces_take_file(const struct image *image)
{
    struct taken *taken = taken_new();
    struct im_error err = { 0 };
    uint64_t size;
    int walk = faces_take(&im_format_vmdk, image->p, image->len, FACE_WALK, taken, &size, &err);
    int pipe = faces_take(&im_format_vmdk, image->p, image->len, FACE_PIPE, taken, &size, &err);

    assert_int_equal(pipe, -EOPNOTSUPP);
    assert_non_null(strstr(err.message, "give it as a file"));
    taken_free(taken);
    return walk == 0;
}

/* --- what is accepted --- */

static void the_map_tells_data_from_zeros(void **state)
{
    /* in grains */
    static const struct {
        uint32_t from, to;
        bool zero;
    } rows[] = { { 0, 3, false },    { 3, 299, true },    { 299, 301, false },
                 { 301, 511, true }, { 511, 512, false }, { 512, GRAINS - 1, true },
                 { 4, 299, true },   { 300, 301, false } };

    (void)state;
    for (enum layout layout = 0; layout < LAYOUTS; layout++) {
        struct image image = build_layout(layout);
        struct memory memory = memory_source(image.p, image.len, false);
        struct im_open options = { .max_size = UINT64_MAX };
        struct im_disk *disk = NULL;
        struct im_error err = { 0 };

        assert_int_equal(im_format_vmdk.open(&memory.base, &options, &disk, &err), 0);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            uint64_t at = (uint64_t)rows[i].from * GRAIN_BYTES;
            struct im_extent extent;

            assert_int_equal(im_disk_map(disk, at, DISK_BYTES - at, &extent, &err), 0);
            assert_int_equal(extent.zero, rows[i].zero);
            assert_int_equal(extent.offset + extent.len, (uint64_t)rows[i].to * GRAIN_BYTES);
            assert_int_equal(im_disk_map(disk, at + 5, 7, &extent, &err), 0);
            assert_true(extent.offset == at + 5 && extent.len == 7);
        }
        im_disk_close(disk);
        free(image.p);
    }
}

static void all_layouts_and_versions_give_the_disk(void **state)
{
    (void)state;
    for (enum layout layout = 0; layout < LAYOUTS; layout++)
        for (uint32_t version = 1; version <= 3; version++) {
            struct image image = build(&(struct wish){ .layout = layout, .version = version });

            accept_and_free(&image);
        }
}

static void a_partial_last_grain_may_be_cut_or_padded(void **state)
{
    (void)state;
    for (enum layout layout = FRONT; layout <= STREAM; layout++) {
        struct image cut = build(&(struct wish){ .layout = layout });
        struct image padded = build(&(struct wish){ .layout = layout, .padded = true });

        assert_true(DISK_BYTES % GRAIN_BYTES != 0);
        accept_and_free(&cut);
        accept_and_free(&padded);
    }
}

static void descriptors_of_any_encoding_and_name_are_accepted(void **state)
{
    static const char *const texts[] = {
        HEAD("streamOptimized") "RW 4795 SPARSE \"Caf\xc3\xa9 \xd0\x96.vmdk\"\n" TAIL,
        HEAD("streamOptimized") "RW 4795 SPARSE \"Caf\xe9.vmdk\"\n" TAIL,
        HEAD("streamOptimized") "RDONLY 4795 SPARSE \"x = y.vmdk\"\n" TAIL,
        "# Disk DescriptorFile\r\nversion=1\r\nCREATETYPE = \"StreamOptimized\"\r\n"
        "parentCID=FFFFFFFF\r\n\trw  4795\tsparse \"a\"\r\nddb.comment = \"RW 9 FLAT\"\r\n",
        HEAD("streamOptimized") EXTENT "parentFileNameHint=\"\"\nchangeTrackPath=\"a-ctk.vmdk\"\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct image image = build(&(struct wish){ .layout = STREAM, .descriptor = texts[i] });

        accept_and_free(&image);
    }
}

/* Nothing says that such a file is the whole disk; the pieces of a split one look like it. */
static void an_empty_descriptor_is_that_of_a_piece(void **state)
{
    (void)state;
    for (enum layout layout = 0; layout < LAYOUTS; layout++) {
        struct image image = build(&(struct wish){ .layout = layout, .descriptor = "" });

        unsupported(&image, "it is one piece of a split image; give the descriptor file");
    }
}

static void entry_1_is_zeros_only_with_its_flag(void **state)
{
    (void)state;
    for (enum layout layout = 0; layout < LAYOUTS; layout++) {
        struct image with = build(&(struct wish){ .layout = layout, .version = 2 });
        struct image without = build(&(struct wish){ .layout = layout, .version = 2 });

        put32(with.p + FLAGS, im_le32(with.p + FLAGS) | 4);
        put32(entry(&with, with.table, 77), 1);
        if (layout == STREAM)
            memcpy(sector(&with, with.footer) + FLAGS, with.p + FLAGS, 4);
        else
            put32(entry(&with, with.redundant_table, 77), 1);
        accept_and_free(&with);

        put32(entry(&without, without.table, 77), 1);
        if (layout != STREAM)
            put32(entry(&without, without.redundant_table, 77), 1);
        damaged(&without, layout == SPARSE ? "grain 77 at sector 1 lies on the descriptor"
                                           : "grain 77 is at sector 1, but the file does not hold");
    }
}

static void empty_tables_may_be_absent(void **state)
{
    (void)state;
    for (enum layout layout = 0; layout < LAYOUTS; layout++) {
        struct image image = build_layout(layout);
        size_t at = (size_t)(GRAINS - 1) * GRAIN_BYTES;
        uint8_t *disk = calloc(1, DISK_BYTES);

        assert_non_null(disk);
        memcpy(disk, the_disk, DISK_BYTES);
        memset(disk + at, 0, DISK_BYTES - at); /* the only grain of the second table */
        put32(entry(&image, image.table, GRAINS - 1), 0);
        if (layout == SPARSE) {
            memset(entry(&image, image.redundant_table, GRAINS - 1), 0, 4);
            memset(sector(&image, image.directory) + 4, 0, 4);
            memset(sector(&image, image.redundant) + 4, 0, 4);
            faces_accept(&im_format_vmdk, image.p, image.len, disk, DISK_BYTES);
            free(image.p);
        } else {
            /* in a stream the grain itself is still there */
            if (layout == FRONT)
                put32(entry(&image, image.redundant_table, GRAINS - 1), 0);
            damaged(&image, "grain 599 is in the file, but its grain table says it is not");
        }
        free(disk);
    }
}

static void grains_may_lie_in_any_order_and_at_any_sector(void **state)
{
    struct image image = build_layout(SPARSE);
    uint32_t at;

    (void)state;
    (void)add(&image, 3); /* grains need not be aligned to each other */
    at = add(&image, GRAIN);
    memcpy(sector(&image, at), sector(&image, image.grain_at[0]), GRAIN_BYTES);
    put32(entry(&image, image.table, present[0]), at);
    put32(entry(&image, image.redundant_table, present[0]), at);
    accept_and_free(&image);
}

static void zeros_may_follow_the_end_of_the_stream(void **state)
{
    struct image zeros = build_layout(STREAM);
    struct image data = build_layout(STREAM);

    (void)state;
    (void)add(&zeros, 5);
    accept_and_free(&zeros);
    (void)add(&data, 5);
    data.p[data.len - 1000] = 1;
    damaged(&data, "behind the end-of-stream marker");
}

static void a_stream_may_have_its_directory_in_the_header(void **state)
{
    struct image image = build_layout(STREAM);
    struct image wrong = build_layout(STREAM);

    (void)state;
    put64(image.p + DIRECTORY, image.directory);
    accept_and_free(&image);
    put64(wrong.p + DIRECTORY, wrong.directory + 1);
    damaged(&wrong, "the header says the grain directory is at sector");
}

/* --- what is refused: the descriptor --- */

static void images_with_data_elsewhere_are_refused(void **state)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        { HEAD("streamOptimized") EXTENT "RW 128 FLAT \"../canary\" 0\n", "2 extent lines" },
        { HEAD("streamOptimized") "RW 4795 FLAT \"../canary\" 0\n", "type 'FLAT'" },
        { HEAD("streamOptimized") "\t rw 4795 VMFS \"/etc/passwd\"\n", "type 'VMFS'" },
        { HEAD("streamOptimized") TAIL, "0 extent lines" },
        { HEAD("streamOptimized") "NOACCESS 4795 SPARSE \"a\"\n", "NOACCESS" },
        { HEAD("streamOptimized") EXTENT "parentFileNameHint=\"base.vmdk\"\n",
          "parentFileNameHint" },
        { HEAD("streamOptimized") EXTENT " PARENTFILENAMEHINT = base.vmdk\n",
          "parentFileNameHint" },
        { "# Disk DescriptorFile\nparentCID=12345678\ncreateType=\"streamOptimized\"\n" EXTENT,
          "parentCID=12345678" },
        { HEAD("monolithicFlat") EXTENT, "createType is 'monolithicFlat'" },
        { HEAD("vmfsRawDeviceMap") EXTENT, "createType is 'vmfsRawDeviceMap'" },
        { HEAD("monolithicSparse") EXTENT, "createType is 'monolithicSparse'" },
        { HEAD("streamOptimized") EXTENT "encryptionKeys = \"x\"\n", "encrypted" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct image image = build(&(struct wish){ .layout = STREAM, .descriptor = rows[i].text });

        unsupported(&image, rows[i].words);
    }
}

static void descriptors_that_contradict_are_refused(void **state)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        { HEAD("streamOptimized") "createType=\"monolithicFlat\"\n" EXTENT, "twice" },
        { HEAD("streamOptimized") "parentCID=00000000\n" EXTENT, "twice" },
        { HEAD("streamOptimized") "RW 4796 SPARSE \"a\"\n", "extent line says '4796' sectors" },
        { HEAD("streamOptimized") "RW 4787 SPARSE \"a\"\n", "extent line says '4787' sectors" },
        { HEAD("streamOptimized") "RW 4792 SPARSE \"a\"\n", "extent line says '4792' sectors" },
        { HEAD("streamOptimized") "RW -1 SPARSE \"a\"\n", "extent line says '-1' sectors" },
        { "# Disk DescriptorFile\nparentCID=ffffffff\n" EXTENT, "no createType" },
        { HEAD("streamOptimized") EXTENT "RW\x1f"
                                         "8 ZERO\n",
          "line 7 of the VMDK's descriptor" },
        { HEAD("streamOptimized") EXTENT "Rw8 ZERO\n", "nor an extent" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct image image = build(&(struct wish){ .layout = STREAM, .descriptor = rows[i].text });

        damaged(&image, rows[i].words);
    }
}

/* VirtualBox's header has whole grains where its extent line has the disk's sectors. */
static void a_header_may_be_rounded_up_to_grains(void **state)
{
    static const struct {
        const char *text;
        int r;
    } rows[] = {
        { HEAD("streamOptimized") "RW 4795 SPARSE \"a\"\n", 0 },
        { HEAD("streamOptimized") "RW 4793 SPARSE \"a\"\n", 0 },
        { HEAD("streamOptimized") "RW 4792 SPARSE \"a\"\n", -EBADMSG },
        { HEAD("streamOptimized") "RW 4801 SPARSE \"a\"\n", -EBADMSG },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct image image =
            build(&(struct wish){ .layout = FRONT, .descriptor = rows[i].text, .padded = true });
        struct memory memory = memory_source(image.p, image.len, false);
        struct im_open options = { .max_size = UINT64_MAX };
        struct im_disk *disk = NULL;

        put64(image.p + CAPACITY_AT, GRAINS * GRAIN);
        assert_int_equal(im_format_vmdk.open(&memory.base, &options, &disk, NULL), rows[i].r);
        if (disk)
            assert_int_equal(disk->size, GRAINS * GRAIN_BYTES);
        im_disk_close(disk);
        free(image.p);
    }
}

static void files_of_other_kinds_are_refused(void **state)
{
    (void)state;
    faces_refuse(&im_format_vmdk, "COWD\1\0\0\0 ", 9, EOPNOTSUPP, "UnsupportedVmdk", "COWD");
    faces_refuse(&im_format_vmdk, "\xbe\xba\xfe\xca\0\0\0\0 ", 9, EOPNOTSUPP, "UnsupportedVmdk",
                 "SEsparse");
    faces_refuse(&im_format_vmdk, "hello", 5, EBADMSG, "DamagedVmdk", "does not begin with 'KDMV'");
    faces_refuse(&im_format_vmdk, "", 0, EBADMSG, "DamagedVmdk", "does not begin with 'KDMV'");
    faces_refuse(&im_format_vmdk, "KDMV", 4, EBADMSG, "DamagedVmdk", "less than a VMDK header");
}

/* --- what is refused: the header --- */

static void headers_that_are_wrong_are_refused(void **state)
{
    static const struct {
        size_t at, bytes;
        uint64_t value;
        int number;
        const char *words;
    } rows[] = {
        { VERSION, 4, 0, EOPNOTSUPP, "version 0" },
        { VERSION, 4, 4, EOPNOTSUPP, "version 4" },
        { FLAGS, 4, 0x130003, EOPNOTSUPP, "0x00100000 of them are unknown" },
        { FLAGS, 4, 0x10003, EOPNOTSUPP, "come only together" },
        { FLAGS, 4, 0x20003, EOPNOTSUPP, "come only together" },
        { CAPACITY_AT, 8, 0, EBADMSG, "gives the disk no sectors" },
        { CAPACITY_AT, 8, UINT64_C(1) << 62, EOPNOTSUPP, "grains, more than" },
        { CAPACITY_AT, 8, UINT64_MAX, EOPNOTSUPP, "grains, more than" },
        { GRAIN_AT, 8, 24, EBADMSG, "a grain size of 24 sectors" },
        { GRAIN_AT, 8, 0, EBADMSG, "a grain size of 0 sectors" },
        { GRAIN_AT, 8, 4, EBADMSG, "a grain size of 4 sectors" },
        { GRAIN_AT, 8, 4096, EBADMSG, "a grain size of 4096 sectors" },
        { GRAIN_AT, 8, UINT64_C(1) << 40, EBADMSG, "a grain size of" },
        { DESCRIPTOR_AT, 8, 0, EOPNOTSUPP, "no descriptor inside" },
        { DESCRIPTOR_AT + 8, 8, 0, EOPNOTSUPP, "no descriptor inside" },
        { DESCRIPTOR_AT + 8, 8, 129, EBADMSG, "129 sectors; 128 are the limit" },
        { DESCRIPTOR_AT, 8, UINT64_MAX, EBADMSG, "does not lie inside the file" },
        { DESCRIPTOR_AT, 8, 1 << 20, EBADMSG, "does not lie inside the file" },
        { ENTRIES, 4, 256, EBADMSG, "256 entries, not 512" },
        { ENTRIES, 4, UINT32_MAX, EBADMSG, "entries, not 512" },
        { OVERHEAD, 8, 2, EBADMSG, "grains begin at sector 2" },
        { UNCLEAN, 1, 1, EBADMSG, "unclean shutdown" },
        { NEWLINES + 2, 1, '\n', EBADMSG, "transferred as text" },
        { ALGORITHM, 2, 0, EOPNOTSUPP, "File uses unsupported compression algorithm 0" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct image image = build_layout(FRONT);
        uint64_t value = htole64(rows[i].value);

        memcpy(image.p + rows[i].at, &value, rows[i].bytes);
        refuse_and_free(&image, rows[i].number,
                        rows[i].number == EBADMSG ? "DamagedVmdk" : "UnsupportedVmdk",
                        rows[i].words);
    }
}

static void a_disk_above_the_limit_is_refused_at_open(void **state)
{
    struct image image = build_layout(SPARSE);
    struct memory memory = memory_source(image.p, image.len, false);
    struct im_open options = { .max_size = DISK_BYTES };
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_format_vmdk.open(&memory.base, &options, &disk, &err), 0);
    im_disk_close(disk);
    disk = NULL;
    options.max_size--;
    assert_int_equal(im_format_vmdk.open(&memory.base, &options, &disk, &err), -EFBIG);
    assert_non_null(strstr(err.message, "2455040 bytes, more than the 2455039 allowed"));
    /* 3 TiB, and tables that do not even exist */
    put64(image.p + CAPACITY_AT, UINT64_C(3) << 31);
    put64(image.p + GRAIN_AT, 128);
    options.max_size = UINT64_C(10) << 30;
    assert_int_equal(im_format_vmdk.open(&memory.base, &options, &disk, &err), -EFBIG);
    assert_null(disk);
    assert_true(memory.bytes_read < 65536);
    free(image.p);
}

/* --- what is refused: tables --- */

/* Write the same into the table and its copy. */
static void set_entry(struct image *image, uint32_t grain, uint32_t value)
{
    put32(entry(image, image->table, grain), value);
    if (image->redundant)
        put32(entry(image, image->redundant_table, grain), value);
}

static void grains_outside_the_file_are_refused(void **state)
{
    struct image image = build_layout(SPARSE);
    uint32_t end = (uint32_t)(image.len / 512);
    struct image front = build_layout(FRONT);

    (void)state;
    set_entry(&image, present[2], end - GRAIN); /* the last place there is … */
    set_entry(&image, present[PRESENT - 1], 0); /* … which was the last grain's */
    memcpy(sector(&image, end - GRAIN), the_disk + 2 * GRAIN_BYTES, GRAIN_BYTES);
    {
        uint8_t *disk = malloc(DISK_BYTES);

        assert_non_null(disk);
        memcpy(disk, the_disk, DISK_BYTES);
        memset(disk + (size_t)present[PRESENT - 1] * GRAIN_BYTES, 0, GRAIN_BYTES);
        faces_accept(&im_format_vmdk, image.p, image.len, disk, DISK_BYTES);
        free(disk);
    }
    set_entry(&image, present[2], end + 1 - GRAIN);
    faces_refuse(&im_format_vmdk, image.p, image.len, EBADMSG, "DamagedVmdk", "grain 2 at sector");
    set_entry(&image, present[2], end + 1);
    faces_refuse(&im_format_vmdk, image.p, image.len, EBADMSG, "DamagedVmdk",
                 "reaches past the end of the file");
    set_entry(&image, present[2], UINT32_MAX);
    damaged(&image, "reaches past the end of the file");
    set_entry(&front, present[2], (uint32_t)(front.len / 512) + 1);
    refuse_and_free(&front, EBADMSG, "DamagedVmdk", ", but the file ends at byte");
}

static void grains_that_share_sectors_are_refused(void **state)
{
    static const char words[] = "share sectors of the file";
    struct image image = build_layout(SPARSE);

    (void)state;
    set_entry(&image, 100, image.grain_at[0]);
    faces_refuse(&im_format_vmdk, image.p, image.len, EBADMSG, "DamagedVmdk", words);
    for (uint32_t shift = 1; shift < GRAIN; shift++) {
        set_entry(&image, 100, image.grain_at[3] + shift);
        faces_refuse(&im_format_vmdk, image.p, image.len, EBADMSG, "DamagedVmdk", words);
    }
    set_entry(&image, 100, 0);
    faces_accept(&im_format_vmdk, image.p, image.len, the_disk, DISK_BYTES);
    /* behind the last grain in the file, one sector too near and just behind it */
    (void)add(&image, GRAIN);
    set_entry(&image, 100, image.grain_at[PRESENT - 1] + GRAIN - 1);
    faces_refuse(&im_format_vmdk, image.p, image.len, EBADMSG, "DamagedVmdk", words);
    set_entry(&image, 100, image.grain_at[PRESENT - 1] + GRAIN);
    accept_and_free(&image);
}

static void grains_on_headers_and_tables_are_refused(void **state)
{
    struct image image = build_layout(SPARSE);
    const struct {
        uint32_t at;
        const char *words;
    } rows[] = {
        { 1, "grain 100 at sector 1 lies on the descriptor" },
        { 2, "lies on the descriptor" },
        { image.redundant, "lies on the redundant grain directory" },
        { image.redundant_table[1], "lies on the redundant grain tables" },
        { image.directory, "lies on the grain directory" },
        { image.table[0], "lies on the grain tables" },
        { image.table[1] + 3, "lies on the grain tables" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        set_entry(&image, 100, rows[i].at);
        faces_refuse(&im_format_vmdk, image.p, image.len, EBADMSG, "DamagedVmdk", rows[i].words);
    }
    free(image.p);
    /* in a gap that is one sector too small, and in one that is not */
    image = build(&(struct wish){ .layout = SPARSE, .gap = GRAIN - 1 });
    set_entry(&image, 100, DESCRIPTOR + DESCRIPTOR_LEN);
    damaged(&image, "lies on the redundant grain directory");
    image = build(&(struct wish){ .layout = SPARSE, .gap = GRAIN });
    set_entry(&image, 100, DESCRIPTOR + DESCRIPTOR_LEN);
    assert_true(faces_take_file(&image));
    free(image.p);
}

static void a_grain_behind_the_end_of_the_disk_is_refused(void **state)
{
    (void)state;
    for (enum layout layout = 0; layout < LAYOUTS; layout++) {
        struct image image = build_layout(layout);

        set_entry(&image, GRAINS, image.grain_at[0]);
        damaged(&image, layout == STREAM ? "grain table 1 does not say where"
                                         : "an entry for grain 600, but the disk has only 600");
    }
}

static void tables_out_of_place_are_refused(void **state)
{
    static const struct {
        size_t table;
        int64_t shift;
        const char *front, *stream;
    } rows[] = {
        { 0, 1, "grain tables at sector", "no grain table begins" },
        { 1, -4, "", "another entry has its table" },
        { 1, 1000000, "does not lie inside the file", "no grain table begins" },
    };

    (void)state;
    for (enum layout layout = 0; layout < LAYOUTS; layout++)
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            struct image image = build_layout(layout);
            uint8_t *p = sector(&image, image.directory) + rows[i].table * 4;
            /* in a stream a marker stands between the tables */
            int64_t shift = rows[i].shift - (rows[i].shift == -4 && layout == STREAM);

            put32(p, (uint32_t)(im_le32(p) + shift));
            damaged(&image, layout == STREAM ? rows[i].stream : rows[i].front);
        }
}

static void directories_out_of_place_are_refused(void **state)
{
    static const size_t fields[] = { REDUNDANT, DIRECTORY };

    (void)state;
    for (enum layout layout = SPARSE; layout <= FRONT; layout++)
        for (size_t i = 0; i < 2; i++) {
            struct image past = build_layout(layout);
            struct image on_header = build_layout(layout);

            put64(past.p + fields[i], past.len / 512);
            faces_refuse(&im_format_vmdk, past.p, past.len, EBADMSG, "DamagedVmdk", "");
            put64(past.p + fields[i], UINT64_MAX - 1);
            damaged(&past, "");
            put64(on_header.p + fields[i], 0);
            damaged(&on_header, "");
        }
}

static void a_redundant_table_that_differs_is_refused(void **state)
{
    (void)state;
    for (enum layout layout = SPARSE; layout <= FRONT; layout++) {
        struct image more = build_layout(layout);
        struct image less = build_layout(layout);
        struct image unused = build_layout(layout);

        put32(entry(&more, more.redundant_table, 5), more.grain_at[0]);
        damaged(&more, "grain table 0 (grains 0 to 511) and its redundant copy disagree");
        put32(entry(&less, less.redundant_table, GRAINS - 1), 0);
        damaged(&less, "grain table 1 (grains 512 to 1023) and its redundant copy disagree");
        /* without its flag it is no one's */
        put32(entry(&unused, unused.redundant_table, 5), 12345);
        put32(unused.p + FLAGS, im_le32(unused.p + FLAGS) & ~2u);
        accept_and_free(&unused);
    }
}

/* --- what is refused: streams --- */

static void grains_of_the_wrong_length_are_refused(void **state)
{
    (void)state;
    for (enum layout layout = FRONT; layout <= STREAM; layout++)
        for (int longer = -1; longer <= 1; longer += 2) {
            struct image image = build(&(struct wish){ .layout = layout, .longer = longer });

            refuse_and_free(&image, EBADMSG, "GrainLength",
                            "Uncompressed data has an invalid length");
        }
}

static void damaged_grains_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < PRESENT; i++) {
        struct image image = build_layout(STREAM);
        uint8_t *p = sector(&image, image.grain_at[i]);

        p[12 + im_le32(p + 8) - 1] ^= 1; /* the Adler-32 */
        refuse_and_free(&image, EBADMSG, "DamagedGrain", "");
    }
}

static void markers_that_are_wrong_are_refused(void **state)
{
    static const struct {
        size_t at;
        uint32_t value;
        const char *words;
    } rows[] = {
        { 0, 4, "is for disk sector 4; it must be a multiple of 8 below 4795" },
        { 0, CAPACITY + 5, "is for disk sector 4800" },
        { 4, 1, "is for disk sector" },
        { 8, 4096 + 512 + 65, "has 4673 compressed bytes; a grain of 4096 takes at most 4672" },
        { 8, UINT32_MAX, "compressed bytes" },
        { 0, 2 * GRAIN, "grain 2 is in the file twice" },
        { 0, 3 * GRAIN, "" }, /* a grain that no table has */
    };

    (void)state;
    for (enum layout layout = FRONT; layout <= STREAM; layout++)
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            struct image image = build_layout(layout);

            put32(sector(&image, image.grain_at[1]) + rows[i].at, rows[i].value);
            damaged(&image, rows[i].words);
        }
}

static void tables_that_do_not_say_what_is_there_are_refused(void **state)
{
    (void)state;
    for (enum layout layout = FRONT; layout <= STREAM; layout++) {
        struct image missing = build_layout(layout);
        struct image extra = build_layout(layout);
        struct image swapped = build_layout(layout);

        set_entry(&missing, 300, 0);
        damaged(&missing, "grain 300 is in the file, but its grain table says it is not");
        set_entry(&extra, 4, extra.grain_at[0]);
        damaged(&extra, "the grain table says grain 4 is at sector");
        set_entry(&swapped, 0, swapped.grain_at[1]);
        set_entry(&swapped, 1, swapped.grain_at[0]);
        damaged(&swapped, "the grain table says grain 0 is at sector");
    }
}

/* The bytes of an image but for sectors [from, from + n). */
static struct image without(enum layout layout, uint32_t from, uint32_t n)
{
    struct image image = build_layout(layout);
    size_t end = ((size_t)from + n) * 512;

    memmove(sector(&image, from), image.p + end, image.len - end);
    image.len -= (size_t)n * 512;
    return image;
}

static void streams_without_one_of_their_parts_are_refused(void **state)
{
    struct image whole = build_layout(STREAM);
    struct image no_end = without(STREAM, whole.footer + 1, 1);
    struct image no_footer = without(STREAM, whole.footer - 1, 2);
    struct image no_directory = without(STREAM, whole.directory - 1, 2);
    struct image no_table = without(STREAM, whole.table[0] - 1, 5);
    struct image no_grain =
        without(STREAM, whole.grain_at[1], whole.grain_at[2] - whole.grain_at[1]);
    struct image only_grains =
        without(STREAM, whole.table[0] - 1, (uint32_t)(whole.len / 512) - whole.table[0] + 1);

    (void)state;
    damaged(&no_end, "without an end-of-stream marker: it is truncated");
    damaged(&no_footer, "the image ends without a footer");
    refuse_and_free(&no_directory, EBADMSG, "DamagedVmdk", "says the grain directory is at sector");
    damaged(&no_table, "says the grain directory is at sector");
    damaged(&no_grain, "");
    damaged(&only_grains, "without an end-of-stream marker: it is truncated");
    accept_and_free(&whole);
}

static void a_table_that_the_directory_does_not_name_is_refused(void **state)
{
    struct image image = build_layout(STREAM);

    (void)state;
    put32(sector(&image, image.directory) + 4, 0);
    damaged(&image, "the file holds 2 grain tables, but the directory names only 1");
}

static void footers_that_differ_are_refused(void **state)
{
    struct image version = build_layout(STREAM);
    struct image capacity = build_layout(STREAM);
    struct image directory = build_layout(STREAM);

    (void)state;
    put32(sector(&version, version.footer) + VERSION, 1);
    refuse_and_free(&version, EBADMSG, "FootersNotIdentical",
                    "its byte 4 has 0x00000001 where the header has 0x00000003");
    put32(sector(&capacity, capacity.footer) + CAPACITY_AT, 99);
    refuse_and_free(&capacity, EBADMSG, "FootersNotIdentical", "its byte 12 has 0x00000063");
    put64(sector(&directory, directory.footer) + DIRECTORY, directory.directory - 1);
    damaged(&directory, "but it is at sector");
}

static void special_markers_out_of_place_are_refused(void **state)
{
    struct image front = build_layout(FRONT);
    struct image length = build_layout(STREAM);
    struct image type = build_layout(STREAM);
    struct image late = build_layout(STREAM);
    struct image twice = build_layout(STREAM);
    uint32_t grain;

    (void)state;
    (void)add_marker(&front, 4, 1);
    (void)add(&front, 4);
    damaged(&front, "announces a grain table, but this image has its tables in front");
    put32(sector(&length, length.table[1] - 1), 8);
    damaged(&length, "announces a grain table of 8 sectors; it must have 4");
    put32(sector(&type, type.footer - 1) + 12, 9);
    damaged(&type, "is of unknown type 9");
    /* a second directory, and a grain, between directory and footer */
    twice.len = (size_t)(twice.footer - 1) * 512;
    (void)add_marker(&twice, 1, 2);
    (void)add(&twice, 1);
    (void)add_marker(&twice, 1, 3);
    (void)add(&twice, 1);
    memcpy(sector(&twice, twice.footer), sector(&twice, twice.directory), 512);
    memcpy(sector(&twice, twice.footer + 2), twice.p, 512);
    put64(sector(&twice, twice.footer + 2) + DIRECTORY, twice.footer);
    (void)add_marker(&twice, 0, 0);
    damaged(&twice, "there is a second grain directory");
    late.len = (size_t)(late.footer - 1) * 512;
    grain = add_packed(&late, 9, the_disk, GRAIN_BYTES);
    (void)add(&late, 1);
    assert_int_equal(grain, late.footer - 1);
    damaged(&late, "comes after the grain directory");
}

static void the_tail_of_a_front_image_may_lack_only_padding(void **state)
{
    struct image end = build_layout(FRONT);
    struct image rest = build_layout(FRONT);
    uint32_t last = rest.grain_at[PRESENT - 1];
    size_t whole = (size_t)last * 512 + 12 + im_le32(sector(&rest, last) + 8);

    (void)state;
    (void)add(&end, 2); /* an end-of-stream marker is welcome … */
    accept_and_free(&end);
    end = build_layout(FRONT);
    (void)add(&end, 1); /* … but if it is there it is whole */
    end.len -= 100;
    damaged(&end, "without an end-of-stream marker");
    assert_true(whole < rest.len);
    rest.len = whole;
    faces_accept(&im_format_vmdk, rest.p, rest.len, the_disk, DISK_BYTES);
    rest.len--;
    refuse_and_free(&rest, EBADMSG, "DamagedImage", "the file is truncated");
}

/* Old qemu-img's last grain, all of it shorter than a sector. */
static void a_short_last_grain_may_lack_its_padding(void **state)
{
    struct image image = build_layout(FRONT);
    uint8_t *disk = calloc(1, DISK_BYTES);
    uint32_t at;

    (void)state;
    assert_non_null(disk);
    memcpy(disk, the_disk, DISK_BYTES);
    memset(disk + 9 * GRAIN_BYTES, 7, GRAIN_BYTES);
    at = add_packed(&image, 9, disk + 9 * GRAIN_BYTES, GRAIN_BYTES);
    set_entry(&image, 9, at);
    image.len = (size_t)at * 512 + 12 + im_le32(sector(&image, at) + 8);
    assert_true(image.len < (size_t)at * 512 + 512);
    faces_accept(&im_format_vmdk, image.p, image.len, disk, DISK_BYTES);
    free(image.p);
    free(disk);
}

/* VirtualBox before 4: the tables in front, but only a footer says so. */
static struct image build_old_virtualbox(void)
{
    struct image image = build_layout(FRONT);

    (void)add_marker(&image, 1, 3);
    image.footer = add(&image, 1);
    memcpy(sector(&image, image.footer), image.p, 512);
    put64(image.p + DIRECTORY, UINT64_MAX);
    put64(image.p + REDUNDANT, 0);
    (void)add_marker(&image, 0, 0);
    return image;
}

/* As a file; a pipe's tables have gone by unseen. */
static void old_virtualbox_is(struct image *image, bool accepted, const char *words)
{
    struct taken *taken = taken_new();
    struct im_error err = { 0 };
    uint64_t size = 0;

    for (enum face face = FACE_WALK; face <= FACE_FETCH; face++) {
        int r = faces_take(&im_format_vmdk, image->p, image->len, face, taken, &size, &err);

        if (accepted != (r == 0) || (r < 0 && !strstr(err.message, words)))
            fail_msg("face %d: %s", (int)face, err.message);
        if (accepted)
            assert_memory_equal(taken->bytes, the_disk, DISK_BYTES);
    }
    assert_true(faces_take(&im_format_vmdk, image->p, image->len, FACE_PIPE, taken, &size, &err) <
                0);
    if (accepted)
        assert_non_null(strstr(err.message, "give it as a file"));
    taken_free(taken);
    free(image->p);
}

static void tables_in_front_may_be_named_by_a_footer(void **state)
{
    struct image good = build_old_virtualbox();
    struct image no_footer = build_old_virtualbox();
    struct image moved = build_old_virtualbox();
    struct image missing = build_old_virtualbox();
    struct image table = build_old_virtualbox();

    (void)state;
    old_virtualbox_is(&good, true, "");
    no_footer.len -= 3 * 512; /* and the marker before it; then an end */
    (void)add_marker(&no_footer, 0, 0);
    old_virtualbox_is(&no_footer, false, "without a footer");
    put64(sector(&moved, moved.footer) + DIRECTORY, moved.directory + 1);
    old_virtualbox_is(&moved, false, "");
    set_entry(&missing, 300, 0);
    old_virtualbox_is(&missing, false, "but its grain table says it is not");
    put32(sector(&table, table.footer - 1) + 12, 2);
    old_virtualbox_is(&table, false, "this image has its tables in front");
}

/* --- probing --- */

static enum im_bid bid(const struct im_format *format, const void *bytes, size_t len)
{
    struct im_probe probe = { .head_len = len, .size = len };

    memcpy(probe.head, bytes, len < sizeof(probe.head) ? len : sizeof(probe.head));
    return format->probe(&probe);
}

static void the_probe_knows_vmdk_and_nothing_else(void **state)
{
    static const char *const others[] = { "", "KDM", "conectix", "vhdxfile", "# Disk", "hello" };

    (void)state;
    assert_int_equal(bid(&im_format_vmdk, "KDMV\1\0\0\0", 8), IM_BID_CERTAIN);
    assert_int_equal(bid(&im_format_vmdk, "COWD\1\0\0\0", 8), IM_BID_CERTAIN);
    assert_int_equal(bid(&im_format_vmdk, "# Disk DescriptorFile\n", 22), IM_BID_CERTAIN);
    assert_int_equal(bid(&im_format_vmdk, "#disk descriptor file\n", 22), IM_BID_CERTAIN);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(bid(&im_format_vmdk, others[i], strlen(others[i])), IM_BID_NO);
}

static void a_disk_declared_raw_that_begins_as_a_vmdk_is_refused(void **state)
{
    static const char *const heads[] = { "KDMV", "# Disk DescriptorFile\nversion=1\n", "conectix" };
    uint8_t mbr[1024] = { 0 };
    struct memory memory = memory_source(mbr, sizeof(mbr), false);
    struct im_open options = { .max_size = UINT64_MAX };
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };

    (void)state;
    mbr[446] = 0x80;
    mbr[450] = 0x83;
    mbr[454] = 1;
    mbr[458] = 1;
    mbr[510] = 0x55;
    mbr[511] = 0xaa;
    assert_int_equal(im_format_open(&im_format_raw, &memory.base, &options, &disk, &err), 0);
    disk = im_disk_close(disk);
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        memcpy(mbr, heads[i], strlen(heads[i]));
        assert_int_equal(im_format_open(&im_format_raw, &memory.base, &options, &disk, &err),
                         -EOPNOTSUPP);
        assert_string_equal(err.code, "FormatMismatch");
    }
}

/* --- what it costs --- */

/* 1 TiB and not a byte of data, as qemu-img makes it: a directory and 64 MiB of tables, a hole. */
static void a_blank_terabyte_is_opened_without_reading_its_tables(void **state)
{
    const uint64_t capacity = UINT64_C(1) << 31;
    const uint32_t tables = 32768;
    struct im_open options = { .max_size = UINT64_MAX };
    struct taken *taken = taken_new();
    struct im_facts facts = { 0 };
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };
    struct im_extent extent;
    struct image image = { 0 };
    struct memory memory;

    (void)state;
    add_header(&image, &(struct wish){
                           .layout = SPARSE,
                           .descriptor = HEAD("monolithicSparse") "RW 2147483648 SPARSE \"a\"\n",
                       });
    image.directory = add(&image, tables / 128);
    for (uint32_t t = 0; t < tables; t++)
        put32(sector(&image, image.directory) + (size_t)t * 4, (uint32_t)(image.len / 512) + 4 * t);
    put32(image.p + FLAGS, 1);
    put64(image.p + CAPACITY_AT, capacity);
    put64(image.p + GRAIN_AT, 128);
    put64(image.p + DIRECTORY, image.directory);
    put64(image.p + OVERHEAD, image.len / 512 + 4 * tables);
    memory = memory_source(image.p, image.len, false);
    memory.base.size = image.len + tables * UINT64_C(2048);

    if (im_format_vmdk.open(&memory.base, &options, &disk, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(disk->size, UINT64_C(1) << 40);
    assert_int_equal(im_disk_walk(disk, &taken->sink, &err), 0);
    assert_int_equal(taken->end, 0);
    assert_int_equal(im_disk_map(disk, 0, disk->size, &extent, &err), 0);
    assert_true(extent.zero && extent.len == disk->size);
    assert_true(memory.bytes_read < 4u << 20); /* of 64 MiB */
    im_disk_describe(disk, &facts);
    assert_string_equal(facts.fact[0].value, "monolithicSparse");
    im_disk_close(disk);
    taken_free(taken);
    free(image.p);
}

/* Three tables, nothing in the middle one: the map jumps over it and no further. */
static void the_map_jumps_over_empty_tables(void **state)
{
    const uint64_t size = UINT64_C(1025) * GRAIN_BYTES;
    struct im_open options = { .max_size = UINT64_MAX };
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };
    struct im_extent extent;
    struct image image = { 0 };
    struct memory memory;
    uint32_t table[3];
    uint32_t grain;

    (void)state;
    add_header(&image, &(struct wish){
                           .layout = SPARSE,
                           .descriptor = HEAD("monolithicSparse") "RW 8200 SPARSE \"a\"\n",
                       });
    image.directory = add(&image, 1);
    for (size_t t = 0; t < 3; t++) {
        table[t] = add(&image, 4);
        put32(sector(&image, image.directory) + t * 4, table[t]);
    }
    grain = add(&image, 2 * GRAIN);
    put32(sector(&image, table[0]), grain);
    put32(sector(&image, table[2]), grain + GRAIN);
    put32(image.p + FLAGS, 1);
    put64(image.p + CAPACITY_AT, size / 512);
    put64(image.p + DIRECTORY, image.directory);
    memory = memory_source(image.p, image.len, false);
    if (im_format_vmdk.open(&memory.base, &options, &disk, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(im_disk_map(disk, GRAIN_BYTES, size - GRAIN_BYTES, &extent, &err), 0);
    assert_true(extent.zero);
    assert_int_equal(extent.len, 1023 * GRAIN_BYTES);
    im_disk_close(disk);
    free(image.p);
}

/* A file of 20 GiB with grains of 4 KiB is sorted in three parts of 8 GiB: every grain comes once,
 * and an overlap is seen across the border of two parts. */
static void large_files_are_sorted_in_parts(void **state)
{
    const uint32_t border = 2u << 23; /* sectors */
    struct image image = build_layout(SPARSE);
    struct memory memory = memory_source(image.p, image.len, false);
    struct im_open options = { .max_size = UINT64_MAX };
    struct taken *taken = taken_new();
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };

    (void)state;
    memory.base.ops = &pipe_ops; /* no holes: the zeros at the end of the file are data */
    memory.base.size = UINT64_C(20) << 30;
    set_entry(&image, 100, 2 * border + 5);
    set_entry(&image, 101, border + 4);
    set_entry(&image, 102, border - 4);
    if (im_format_vmdk.open(&memory.base, &options, &disk, &err) < 0 ||
        im_disk_walk(disk, &taken->sink, &err) < 0)
        fail_msg("%s", err.message);
    for (uint32_t grain = 99; grain <= 103; grain++)
        assert_int_equal(taken->given[grain * GRAIN_BYTES], grain >= 100 && grain <= 102);
    assert_memory_equal(taken->bytes, the_disk, DISK_BYTES);
    im_disk_close(disk);
    set_entry(&image, 101, border + 3);
    assert_int_equal(im_format_vmdk.open(&memory.base, &options, &disk, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "grain 102 at sector 16777212 and grain 101"));
    taken_free(taken);
    free(image.p);
}

struct runs {
    struct im_sink sink;
    struct taken *taken;
    unsigned count;
    uint64_t end; /* of the last one, in the source */
};

static int runs_place(struct im_sink *sink, struct im_source *source, uint64_t origin, uint64_t len,
                      uint64_t offset, struct im_error *err)
{
    struct runs *runs = (struct runs *)sink;

    assert_true(origin >= runs->end); /* forwards */
    runs->count++;
    runs->end = origin + len;
    return runs->taken->sink.place(&runs->taken->sink, source, origin, len, offset, err);
}

static void runs_progress(struct im_sink *sink, uint64_t done, uint64_t total)
{
    struct runs *runs = (struct runs *)sink;

    assert_true(done >= runs->end && done <= total);
}

/* Grains 0 to 2 follow each other in the file and on the disk; 300, 299, the last and 511 do not.
 * A run is given at once, however long it is. */
static void neighbouring_grains_are_one_run(void **state)
{
    struct image image = build_layout(SPARSE);
    struct memory memory = memory_source(image.p, image.len, false);
    struct im_open options = { .max_size = UINT64_MAX };
    struct runs runs = { .sink = { .place = runs_place, .progress = runs_progress },
                         .taken = taken_new() };
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };

    (void)state;
    memory.base.direct = true;
    assert_int_equal(im_format_vmdk.open(&memory.base, &options, &disk, &err), 0);
    assert_int_equal(im_disk_walk(disk, &runs.sink, &err), 0);
    assert_memory_equal(runs.taken->bytes, the_disk, DISK_BYTES);
    assert_int_equal(runs.count, 5);
    im_disk_close(disk);
    taken_free(runs.taken);
    free(image.p);
}

/* Grains in backward order: the walk still reads the file once, forwards. */
static void the_walk_reads_forwards_whatever_the_order_of_grains(void **state)
{
    struct image image = { 0 };
    struct taken *taken = taken_new();
    uint8_t *disk = malloc(DISK_BYTES + GRAIN_BYTES);
    uint64_t random = 7;
    uint64_t size = 0;
    struct im_error err = { 0 };

    (void)state;
    assert_non_null(disk);
    for (size_t i = 0; i < DISK_BYTES + GRAIN_BYTES; i++)
        disk[i] = (uint8_t)(faces_random(&random) | 1);
    add_header(&image, &(struct wish){ .layout = SPARSE });
    image.directory = add_tables(&image, image.table);
    put32(image.p + FLAGS, 1);
    put64(image.p + DIRECTORY, image.directory);
    put64(image.p + OVERHEAD, image.len / 512);
    for (uint32_t g = GRAINS; g-- > 0;) {
        uint32_t at = add(&image, GRAIN);

        memcpy(sector(&image, at), disk + (size_t)g * GRAIN_BYTES, GRAIN_BYTES);
        put32(entry(&image, image.table, g), at);
    }
    assert_true(image.len > 2 * FACES_LOOK_BACK); /* else a pipe could go back */
    if (faces_take(&im_format_vmdk, image.p, image.len, FACE_PIPE, taken, &size, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(size, DISK_BYTES);
    assert_memory_equal(taken->bytes, disk, DISK_BYTES);
    assert_int_equal(taken->progress, image.len);
    faces_accept(&im_format_vmdk, image.p, image.len, disk, DISK_BYTES);
    taken_free(taken);
    free(disk);
    free(image.p);
}

/* --- damage of every kind --- */

static void cut_images_are_refused_or_whole(void **state)
{
    (void)state;
    for (enum layout layout = 0; layout < LAYOUTS; layout++) {
        struct image image = build_layout(layout);
        struct taken *a = taken_new();
        struct taken *b = taken_new();

        /* the last sector is data or the end-of-stream marker: without it nothing is whole */
        assert_false(faces_agree(&im_format_vmdk, image.p, image.len - 512, a, b, NULL));
        faces_truncate(&im_format_vmdk, image.p, image.len, the_disk);
        taken_free(a);
        taken_free(b);
        free(image.p);
    }
}

static void flipped_bits_never_crash_and_faces_agree(void **state)
{
    struct taken *a = taken_new();
    struct taken *b = taken_new();

    (void)state;
    for (enum layout layout = 0; layout < LAYOUTS; layout++) {
        struct image image = build_layout(layout);

        faces_flip(&im_format_vmdk, image.p, image.len, 1000, 1 + layout);
        /* most of an image is grains and empty tables: try each bit of the header as well */
        for (size_t i = 0; i < 80 * 8; i++) {
            image.p[i / 8] ^= (uint8_t)(1u << i % 8);
            (void)faces_agree(&im_format_vmdk, image.p, image.len, a, b, NULL);
            image.p[i / 8] ^= (uint8_t)(1u << i % 8);
        }
        free(image.p);
    }
    taken_free(a);
    taken_free(b);
}

/* Nothing of the grains is in the way of the first one: 'overhead' is where a stream begins. */
static void an_overhead_that_is_wrong_is_refused(void **state)
{
    (void)state;
    for (enum layout layout = FRONT; layout <= STREAM; layout++) {
        struct image far = build_layout(layout);
        struct image past = build_layout(layout);

        put64(far.p + OVERHEAD, im_le64(far.p + OVERHEAD) + 1);
        put64(past.p + OVERHEAD, UINT64_C(1) << (layout == FRONT ? 40 : 63));
        if (layout == STREAM) {
            memcpy(sector(&far, far.footer) + OVERHEAD, far.p + OVERHEAD, 8);
            memcpy(sector(&past, past.footer) + OVERHEAD, past.p + OVERHEAD, 8);
        }
        damaged(&far, "");
        damaged(&past, "the grains begin at sector");
    }
}

static void a_blank_front_image_reaches_to_its_overhead(void **state)
{
    struct image image = build_layout(FRONT);
    uint8_t *zeros = calloc(1, DISK_BYTES);

    (void)state;
    assert_non_null(zeros);
    for (size_t i = 0; i < PRESENT; i++)
        set_entry(&image, present[i], 0);
    image.len = im_le64(image.p + OVERHEAD) * 512;
    faces_accept(&im_format_vmdk, image.p, image.len, zeros, DISK_BYTES);
    put64(image.p + OVERHEAD, image.len / 512 + 1);
    faces_refuse(&im_format_vmdk, image.p, image.len, EBADMSG, "DamagedVmdk",
                 "the grains begin at");
    put64(image.p + OVERHEAD, image.directory + 1);
    damaged(&image, "but the grains begin at");
    free(zeros);
}

static void a_cut_stream_is_refused_before_it_is_read(void **state)
{
    struct image image = build_layout(STREAM);
    struct memory memory = memory_source(image.p, image.len - 512, false);
    struct im_open options = { .max_size = UINT64_MAX };
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_format_vmdk.open(&memory.base, &options, &disk, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "without an end-of-stream marker: it is truncated"));
    assert_true(memory.bytes_read < 4096);
    free(image.p);
}

/* A stream of more than one piece, its grains across the borders. */
static void no_byte_is_read_twice(void **state)
{
    struct image image = { 0 };
    uint8_t grain[GRAIN_BYTES];
    struct im_open options = { .max_size = UINT64_MAX };
    struct taken *taken = taken_new();
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };
    struct memory memory;
    uint32_t at[GRAINS - 1];
    uint64_t random = 11;

    (void)state;
    add_header(&image, &(struct wish){ .layout = STREAM });
    put64(image.p + OVERHEAD, image.len / 512);
    for (uint32_t g = 0; g < GRAINS - 1; g++) {
        for (size_t i = 0; i < sizeof(grain); i++)
            grain[i] = (uint8_t)faces_random(&random);
        at[g] = add_packed(&image, g, grain, sizeof(grain));
    }
    add_end(&image);
    for (uint32_t g = 0; g < GRAINS - 1; g++)
        put32(entry(&image, image.table, g), at[g]);
    assert_true(image.len > 2 * IM_WINDOW_SIZE);
    memory = memory_source(image.p, image.len, false);
    if (im_format_vmdk.open(&memory.base, &options, &disk, &err) < 0 ||
        im_disk_walk(disk, &taken->sink, &err) < 0)
        fail_msg("%s", err.message);
    /* but for the end, which is looked at beforehand */
    assert_true(memory.bytes_read <= image.len + 1024 + 1);
    assert_int_equal(taken->end, (GRAINS - 1) * GRAIN_BYTES);
    im_disk_close(disk);
    taken_free(taken);
    free(image.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_map_tells_data_from_zeros),
        cmocka_unit_test(the_map_jumps_over_empty_tables),
        cmocka_unit_test(all_layouts_and_versions_give_the_disk),
        cmocka_unit_test(a_partial_last_grain_may_be_cut_or_padded),
        cmocka_unit_test(descriptors_of_any_encoding_and_name_are_accepted),
        cmocka_unit_test(entry_1_is_zeros_only_with_its_flag),
        cmocka_unit_test(empty_tables_may_be_absent),
        cmocka_unit_test(grains_may_lie_in_any_order_and_at_any_sector),
        cmocka_unit_test(zeros_may_follow_the_end_of_the_stream),
        cmocka_unit_test(a_stream_may_have_its_directory_in_the_header),
        cmocka_unit_test(images_with_data_elsewhere_are_refused),
        cmocka_unit_test(descriptors_that_contradict_are_refused),
        cmocka_unit_test(a_header_may_be_rounded_up_to_grains),
        cmocka_unit_test(files_of_other_kinds_are_refused),
        cmocka_unit_test(an_empty_descriptor_is_that_of_a_piece),
        cmocka_unit_test(headers_that_are_wrong_are_refused),
        cmocka_unit_test(a_disk_above_the_limit_is_refused_at_open),
        cmocka_unit_test(grains_outside_the_file_are_refused),
        cmocka_unit_test(grains_that_share_sectors_are_refused),
        cmocka_unit_test(grains_on_headers_and_tables_are_refused),
        cmocka_unit_test(a_grain_behind_the_end_of_the_disk_is_refused),
        cmocka_unit_test(tables_out_of_place_are_refused),
        cmocka_unit_test(directories_out_of_place_are_refused),
        cmocka_unit_test(a_redundant_table_that_differs_is_refused),
        cmocka_unit_test(grains_of_the_wrong_length_are_refused),
        cmocka_unit_test(damaged_grains_are_refused),
        cmocka_unit_test(markers_that_are_wrong_are_refused),
        cmocka_unit_test(tables_that_do_not_say_what_is_there_are_refused),
        cmocka_unit_test(streams_without_one_of_their_parts_are_refused),
        cmocka_unit_test(a_table_that_the_directory_does_not_name_is_refused),
        cmocka_unit_test(footers_that_differ_are_refused),
        cmocka_unit_test(special_markers_out_of_place_are_refused),
        cmocka_unit_test(the_tail_of_a_front_image_may_lack_only_padding),
        cmocka_unit_test(a_short_last_grain_may_lack_its_padding),
        cmocka_unit_test(tables_in_front_may_be_named_by_a_footer),
        cmocka_unit_test(the_probe_knows_vmdk_and_nothing_else),
        cmocka_unit_test(a_disk_declared_raw_that_begins_as_a_vmdk_is_refused),
        cmocka_unit_test(a_blank_terabyte_is_opened_without_reading_its_tables),
        cmocka_unit_test(large_files_are_sorted_in_parts),
        cmocka_unit_test(neighbouring_grains_are_one_run),
        cmocka_unit_test(the_walk_reads_forwards_whatever_the_order_of_grains),
        cmocka_unit_test(an_overhead_that_is_wrong_is_refused),
        cmocka_unit_test(a_blank_front_image_reaches_to_its_overhead),
        cmocka_unit_test(a_cut_stream_is_refused_before_it_is_read),
        cmocka_unit_test(no_byte_is_read_twice),
        cmocka_unit_test(cut_images_are_refused_or_whole),
        cmocka_unit_test(flipped_bits_never_crash_and_faces_agree),
    };

    return cmocka_run_group_tests(tests, make_disk, drop_disk);
}

/* VMDKs in several files: which are read, and that nothing outside the one directory that was named
 * is ever opened.
 *
 * The files are real ones, in a private directory; the descriptor is one of them where that matters
 * and in memory otherwise. */

#include <config.h>

#include "faces.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "core/source.h"

extern const struct im_format im_format_vmdk;

#define GRAIN       8u /* sectors */
#define GRAIN_BYTES (GRAIN * 512u)
#define A           1003u /* sectors of the pieces: the first ends within a grain … */
#define B           4104u /* … the second has more than one table, … */
#define C           64u   /* … the third has no grain */
#define ALL         (A + B + C)
#define DISK_BYTES  (ALL * 512u)
#define CANARY      "canary-7e57da7a"

static char top[] = "/tmp/test-vmdk-extents.XXXXXX";
static char dir[64]; /* the directory that is named, in top */
static uint8_t *the_disk;

/* --- files --- */

static void put(const char *name, const void *p, size_t len)
{
    char path[256];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    (void)unlink(path);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(p, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void drop(const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(remove(path), 0);
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

struct piece {
    uint8_t *p;
    size_t len;
    size_t table, grains; /* bytes at which they begin */
};

/* A sparse extent of `sectors` of the disk from `from` on, in the layout of VMware: header, room
 * for a text that is not there, directory, tables, grains.  Grains of zeros are absent. */
static struct piece build_piece(uint32_t from, uint32_t sectors)
{
    const uint8_t *plain = the_disk + (size_t)from * 512;
    uint32_t grains = (sectors - 1) / GRAIN + 1;
    uint32_t tables = (grains - 1) / 512 + 1;
    struct piece piece = { .table = 3 * 512 };
    uint32_t next = 3 + 4 * tables;
    static const uint8_t zeros[GRAIN_BYTES];

    piece.grains = (size_t)next * 512;
    piece.p = calloc(next + grains * GRAIN, 512);
    assert_non_null(piece.p);
    memcpy(piece.p, "KDMV\1\0\0\0\1\0\0", 12);
    put64(piece.p + 12, sectors);
    put64(piece.p + 20, GRAIN);
    put64(piece.p + 28, 1);
    put64(piece.p + 36, 1);
    put32(piece.p + 44, 512);
    put64(piece.p + 56, 2);
    put64(piece.p + 64, next);
    memcpy(piece.p + 73, "\n \r\n", 4);
    for (uint32_t t = 0; t < tables; t++)
        put32(piece.p + 1024 + (size_t)t * 4, 3 + 4 * t);
    for (uint32_t g = 0; g < grains; g++) {
        uint32_t some = sectors - g * GRAIN < GRAIN ? sectors - g * GRAIN : GRAIN;
        const uint8_t *data = plain + (size_t)g * GRAIN_BYTES;

        if (memcmp(data, zeros, (size_t)some * 512) == 0)
            continue;
        put32(piece.p + piece.table + (size_t)g * 4, next);
        memcpy(piece.p + (size_t)next * 512, data, (size_t)some * 512);
        next += GRAIN;
    }
    piece.len = (size_t)next * 512;
    return piece;
}

static void put_piece(const char *name, uint32_t from, uint32_t sectors)
{
    struct piece piece = build_piece(from, sectors);

    put(name, piece.p, piece.len);
    free(piece.p);
}

/* Data at both ends of the first two pieces and here and there between; the third is blank. */
static void make_disk(void)
{
    uint64_t random = 3;

    the_disk = calloc(1, DISK_BYTES + GRAIN_BYTES);
    assert_non_null(the_disk);
    for (uint32_t s = 0; s < A + B; s++)
        if (s < 20 || (s > A - 9 && s < A + 9) || s % 700 < 30 || s > A + B - 3)
            for (uint32_t i = 0; i < 512; i++)
                the_disk[(size_t)s * 512 + i] = (uint8_t)faces_random(&random);
}

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(top));
    (void)snprintf(dir, sizeof(dir), "%s/extents", top);
    assert_int_equal(mkdir(dir, 0700), 0);
    faces_extents = dir;
    make_disk();
    put("../canary", CANARY, strlen(CANARY));
    put_piece("a", 0, A);
    put_piece("b", A, B);
    put_piece("c", A + B, C);
    put("flat", the_disk, DISK_BYTES);
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = { "a", "b", "c", "flat", "../canary" };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        drop(names[i]);
    assert_int_equal(rmdir(dir), 0); /* nobody has left anything */
    assert_int_equal(rmdir(top), 0);
    free(the_disk);
    return 0;
}

/* --- descriptors --- */

#define HEAD(type)                                                                                 \
    "# Disk DescriptorFile\nversion=1\nCID=122a5810\nparentCID=ffffffff\ncreateType=\"" type "\""  \
    "\n\n# Extent description\n"
#define SPLIT  HEAD("twoGbMaxExtentSparse")
#define FLAT   HEAD("monolithicFlat")
#define LINE_A "RW 1003 SPARSE \"a\"\n"
#define LINE_B "RW 4104 SPARSE \"b\"\n"
#define LINE_C "RW 64 SPARSE \"c\"\n"
#define TAIL   "\n# The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\n"
#define GOOD   SPLIT LINE_A LINE_B LINE_C TAIL

static void accepted(const char *text)
{
    faces_accept(&im_format_vmdk, text, strlen(text), the_disk, DISK_BYTES);
}

static void refused(const char *text, int number, const char *code, const char *words)
{
    faces_refuse(&im_format_vmdk, text, strlen(text), number, code, words);
}

static void unsupported(const char *text, const char *words)
{
    refused(text, EOPNOTSUPP, "UnsupportedVmdk", words);
}

static void damaged(const char *text, const char *words)
{
    refused(text, EBADMSG, "DamagedVmdk", words);
}

/* Open once; errors that no face of an image in memory can have come this way. */
static int open_with(const char *text, const char *extents, uint64_t max_size,
                     struct im_disk **ret_disk, struct im_error *err)
{
    static struct memory memory;
    struct im_open options = { .max_size = max_size, .extents = extents };

    memory = memory_source(text, strlen(text), false);
    return im_format_vmdk.open(&memory.base, &options, ret_disk, err);
}

static void fails(const char *text, int number, const char *words)
{
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };

    assert_int_equal(open_with(text, dir, UINT64_MAX, &disk, &err), -number);
    assert_null(disk);
    if (!strstr(err.message, words))
        fail_msg("'%s' says nothing of '%s'", err.message, words);
}

/* --- what is accepted --- */

/* The text, a NUL, then `tail`, then NULs, as a descriptor file. */
static int open_with_tail(const char *tail, struct im_error *err)
{
    static struct memory memory;
    static char bytes[2048];
    struct im_open options = { .extents = dir, .max_size = UINT64_MAX };
    struct im_disk *disk = NULL;
    int r;

    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, GOOD, strlen(GOOD));
    memcpy(bytes + strlen(GOOD) + 1, tail, strlen(tail));
    memory = memory_source(bytes, sizeof(bytes), false);
    r = im_format_vmdk.open(&memory.base, &options, &disk, err);
    im_disk_close(disk);
    return r;
}

/* qemu-img writes a shorter CID over a longer one and leaves the old end behind the new one. */
static void what_is_behind_the_text_is_its_own_end(void **state)
{
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(open_with_tail("", &err), 0);
    assert_int_equal(open_with_tail("\n", &err), 0);
    assert_int_equal(open_with_tail(GOOD + strlen(GOOD) - 6, &err), 0);
    assert_int_equal(open_with_tail(GOOD + strlen(GOOD) - 7, &err),
                     -EBADMSG); /* longer than can be */
    assert_int_equal(open_with_tail("x", &err), -EBADMSG);
    assert_non_null(strstr(err.message, "a NUL byte at offset"));
    assert_int_equal(open_with_tail("RW 1 FLAT \"a\" 0\n", &err), -EBADMSG);
}

static void split_disks_are_their_extents_in_order(void **state)
{
    (void)state;
    accepted(GOOD);
    accepted(SPLIT LINE_A "RW 4104 SPARSE \"b\" 0\nRDONLY 64 ZERO\n");
    /* other orders give other disks: the first bytes are those of b */
    {
        const char *text = SPLIT LINE_B LINE_A;
        struct im_disk *disk = NULL;
        struct im_error err = { 0 };
        uint8_t got[1024];

        assert_int_equal(open_with(text, dir, UINT64_MAX, &disk, &err), 0);
        assert_int_equal(disk->size, (A + B) * 512);
        assert_int_equal(im_disk_read(disk, got, 1024, B * 512 - 512, &err), 0);
        assert_memory_equal(got, the_disk + (A + B - 1) * 512, 512);
        assert_memory_equal(got + 512, the_disk, 512);
        im_disk_close(disk);
    }
}

static void flat_disks_are_their_extents_in_order(void **state)
{
    uint8_t *shifted = calloc(1, 7 * 512 + DISK_BYTES + 100);

    (void)state;
    assert_non_null(shifted);
    memcpy(shifted + 7 * 512, the_disk + A * 512, (B + C) * 512);
    put("s", shifted, 7 * 512 + (B + C) * 512 + 100); /* longer than needed is no harm */
    put("vmfs", the_disk, A * 512);
    accepted(FLAT "RW 5171 FLAT \"flat\" 0\n");
    accepted(FLAT "RW 5171 FLAT \"flat\"\n");
    accepted(HEAD("twoGbMaxExtentFlat") "RW 1003 FLAT \"flat\" 0\nRW 4168 FLAT \"s\" 7\n");
    accepted(HEAD("twoGbMaxExtentFlat") "RW 1003 FLAT \"flat\" 0\nRW 4104 FLAT \"s\" 7\n"
                                        "RW 60 ZERO\nRW 4 ZERO\n");
    accepted(HEAD("vmfs") "RW 5171 VMFS \"flat\"\n");
    free(shifted);
    drop("s");
    drop("vmfs");
}

static void descriptors_of_any_writer_and_encoding_are_accepted(void **state)
{
    static const char *const names[] = {
        "Caf\xc3\xa9 \xd0\x96-s001.vmdk",
        "Caf\xe9 windows-1252-s001.vmdk",
        " a = b, #1 ",
        "..hidden..",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char text[1024];

        put_piece(names[i], 0, A);
        (void)snprintf(text, sizeof(text), SPLIT "RW 1003 SPARSE \"%s\"\n" LINE_B LINE_C, names[i]);
        accepted(text);
        drop(names[i]);
    }
    accepted("#DISK DESCRIPTOR FILE\r\n# RW 9 SPARSE \"x\"\r\n\r\nencoding=\"windows-1252\"\r\n"
             "CREATETYPE\t=  twogbmaxextentsparse \r\nparentCID = FFFFFFFF\r\n"
             "\t rw\t1003  Sparse\t\"a\" \t\r\n  RDONLY   4104 sparse   \"b\"\r\n"
             "Rw 64 SPARSE \"c\"\r\nddb.comment = \"RW 9 FLAT\"\r\n");
}

/* --- what is refused --- */

static void without_a_directory_nothing_is_opened(void **state)
{
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(open_with(GOOD, NULL, UINT64_MAX, &disk, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.message, "of type twoGbMaxExtentSparse whose data is in 3 extents"));
    assert_non_null(strstr(err.message, "give --extents DIR"));
    assert_int_equal(open_with(FLAT "RW 1 FLAT \"../canary\" 0\n", NULL, UINT64_MAX, &disk, &err),
                     -EOPNOTSUPP);
    assert_int_equal(open_with(GOOD, "/nonexistent", UINT64_MAX, &disk, &err), -ENOENT);
    assert_int_equal(open_with(GOOD, "/dev/null", UINT64_MAX, &disk, &err), -ENOTDIR);
    assert_null(disk);
}

static void names_that_are_paths_are_refused(void **state)
{
    static const char *const names[] = {
        "../canary", "/etc/passwd", "./a",  "sub/a", "a/",      "/",     "",
        ".",         "..",          "a\ta", "a\x7f", "\x1b[2J", "a\x01",
    };
    char longer[300] = { 0 };

    (void)state;
    memset(longer, 'x', 256);
    for (size_t i = 0; i <= sizeof(names) / sizeof(names[0]); i++) {
        const char *name = i < sizeof(names) / sizeof(names[0]) ? names[i] : longer;
        char text[1024];

        (void)snprintf(text, sizeof(text), FLAT "RW 1 FLAT \"%s\" 0\n", name);
        unsupported(text, "is not the plain name of a file");
        (void)snprintf(text, sizeof(text), SPLIT LINE_A LINE_B LINE_C "RW 1 SPARSE \"%s\"\n", name);
        unsupported(text, "extent 4 of the VMDK: its name '");
    }
}

/* put() the right thing under the same name and it is accepted: only what it is was wrong. */
static void only_regular_files_are_opened(void **state)
{
    static const char text[] = SPLIT "RW 1003 SPARSE \"x\"\n" LINE_B LINE_C;
    char path[128];
    char whole[128];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/x", dir);
    (void)snprintf(whole, sizeof(whole), "%s/a", dir);
    fails(text, ENOENT, "extent 1 of the VMDK ('x'): cannot find 'x'");
    assert_int_equal(symlink("a", path), 0);
    fails(text, EOPNOTSUPP, "'x' is no regular file");
    drop("x");
    assert_int_equal(symlink("../canary", path), 0);
    fails(text, EOPNOTSUPP, "'x' is no regular file");
    drop("x");
    assert_int_equal(symlink("/dev/zero", path), 0);
    fails(text, EOPNOTSUPP, "'x' is no regular file");
    drop("x");
    assert_int_equal(mkfifo(path, 0600), 0);
    fails(text, EOPNOTSUPP, "'x' is no regular file");
    drop("x");
    assert_int_equal(mkdir(path, 0700), 0);
    fails(text, EOPNOTSUPP, "'x' is no regular file");
    drop("x");
    put_piece("x", 0, A);
    accepted(text);
    drop("x");
}

static void a_file_is_used_once(void **state)
{
    char from[128];
    char to[128];

    (void)state;
    fails(HEAD("twoGbMaxExtentFlat") "RW 9 FLAT \"flat\" 0\nRW 9 ZERO\nRW 9 FLAT \"flat\" 9\n",
          EOPNOTSUPP, "extents 1 and 3 of the VMDK are the same file");
    (void)snprintf(from, sizeof(from), "%s/a", dir);
    (void)snprintf(to, sizeof(to), "%s/linked", dir);
    assert_int_equal(link(from, to), 0);
    fails(SPLIT LINE_A LINE_B "RW 1003 SPARSE \"linked\"\n", EOPNOTSUPP,
          "extents 1 and 3 of the VMDK are the same file");
    drop("linked");
    put_piece("linked", 0, A); /* the same bytes in a file of its own */
    {
        struct im_disk *disk = NULL;
        struct im_error err = { 0 };

        assert_int_equal(open_with(SPLIT LINE_A LINE_B "RW 1003 SPARSE \"linked\"\n", dir,
                                   UINT64_MAX, &disk, &err),
                         0);
        assert_int_equal(disk->size, (A + B + A) * 512);
        im_disk_close(disk);
    }
    drop("linked");
}

static void the_descriptor_is_no_extent(void **state)
{
    static const char text[] = FLAT "RW 1 FLAT \"flat\" 0\nRW 1 FLAT \"disk.vmdk\" 0\n#"
                                    "                                                        "
                                    "                                                        "
                                    "                                                        "
                                    "                                                        "
                                    "                                                        "
                                    "                                                        "
                                    "                                                        ";
    struct im_open options = { .max_size = UINT64_MAX, .extents = dir };
    struct im_source *source = NULL;
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };
    char path[128];

    (void)state;
    assert_true(sizeof(text) > 512); /* else it is too short to be one */
    put("disk.vmdk", text, sizeof(text) - 1);
    (void)snprintf(path, sizeof(path), "%s/disk.vmdk", dir);
    assert_int_equal(im_source_open(path, &source, &err), 0);
    assert_int_equal(im_format_vmdk.open(source, &options, &disk, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.message, "extent 2 of the VMDK is its descriptor"));
    im_source_close(source);
    put("disk.vmdk", GOOD, strlen(GOOD));
    assert_int_equal(im_source_open(path, &source, &err), 0);
    assert_int_equal(im_format_vmdk.open(source, &options, &disk, &err), 0);
    im_disk_close(disk);
    im_source_close(source);
    drop("disk.vmdk");
}

static void other_types_are_refused(void **state)
{
    static const char *const devices[] = {
        "fullDevice", "partitionedDevice", "vmfsRaw",
        "vmfsRDM",    "vmfsRawDeviceMap",  "vmfsPassthroughRawDeviceMap",
    };
    static const char *const others[] = { "vmfsSparse", "SEsparse",  "custom",
                                          "",           "x\x1b[2Jx", "monolithicSparse" };
    static const struct {
        const char *text, *words;
    } rows[] = {
        { FLAT "RW 9 SPARSE \"a\"\n", "it is of type 'SPARSE'; a disk of type monolithicFlat has" },
        { SPLIT "RW 9 FLAT \"flat\" 0\n", "it is of type 'FLAT'" },
        { SPLIT "RW 9 VMFSSPARSE \"a\"\n", "it is of type 'VMFSSPARSE'" },
        { HEAD("vmfs") "RW 9 VMFSRDM \"flat\"\n", "it is of type 'VMFSRDM'" },
        { HEAD("vmfs") "RW 9 FLAT \"flat\" 0\n", "has VMFS and ZERO" },
        { FLAT "NOACCESS 9 FLAT \"flat\" 0\n", "NOACCESS" },
        { GOOD "parentFileNameHint=\"a\"\n", "has a parent (parentFileNameHint)" },
        { "# Disk DescriptorFile\nparentCID=12345678\ncreateType=\"twoGbMaxExtentSparse\"\n" LINE_A,
          "parentCID=12345678" },
        { GOOD "encryption.keySafe = \"x\"\n", "encrypted" },
    };
    char text[1024];

    (void)state;
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
        (void)snprintf(text, sizeof(text), HEAD("%s") "RW 9 FLAT \"flat\" 0\n", devices[i]);
        unsupported(text, "its data is on a device, and devices are never opened");
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        (void)snprintf(text, sizeof(text), HEAD("%s") "RW 9 SPARSE \"a\"\n", others[i]);
        unsupported(text, "can be read; convert it first");
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        unsupported(rows[i].text, rows[i].words);
}

static void lines_that_are_wrong_are_refused(void **state)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        { SPLIT, "no extent line" },
        { SPLIT "RW 0 SPARSE \"a\"\n", "says '0' sectors" },
        { SPLIT "RW -1 SPARSE \"a\"\n", "says '-1' sectors" },
        { SPLIT "RW 36028797018963968 SPARSE \"a\"\n", "says '36028797018963968' sectors" },
        { SPLIT "RW 1003 SPARSE a\n", "a file name in quotes is missing" },
        { SPLIT "RW 1003 SPARSE \"a\n", "a file name in quotes is missing" },
        { SPLIT "RW 1003 SPARSE\n", "a file name in quotes is missing" },
        { SPLIT "RW 1003 SPARSE \"a\" 1\n", "has the offset '1'" },
        { SPLIT "RW 1003 SPARSE \"a\" 0 more\n", "ends with 'more'" },
        { SPLIT "RW 1003 ZERO \"a\"\n", "has the offset '\"a\"'" },
        { FLAT "RW 1 FLAT \"flat\" -1\n", "has the offset '-1'" },
        { FLAT "RW 1 FLAT \"flat\" 36028797018963968\n", "has the offset '36028797018963968'" },
        { SPLIT LINE_A "createType=\"monolithicFlat\"\n", "twice" },
        { "# Disk DescriptorFile\n" LINE_A, "no createType" },
        { FLAT "RW 36028797018963967 FLAT \"flat\" 0\nRW 1 ZERO\n", "more bytes in sum" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        damaged(rows[i].text, rows[i].words);
}

static void sizes_that_disagree_are_refused(void **state)
{
    uint8_t *copy = malloc(DISK_BYTES);

    (void)state;
    assert_non_null(copy);
    damaged(SPLIT "RW 1002 SPARSE \"a\"\n",
            "extent 1 of the VMDK ('a'): the descriptor says it has 1002 sectors, but its header "
            "1003");
    damaged(SPLIT LINE_A "RW 4105 SPARSE \"b\"\n", "extent 2 of the VMDK ('b')");
    damaged(FLAT "RW 5172 FLAT \"flat\" 0\n",
            "the file has 2647552 bytes, but 2648064 at offset 0");
    damaged(FLAT "RW 5171 FLAT \"flat\" 1\n", "2647552 at offset 512 are needed: it is truncated");
    damaged(FLAT "RW 5171 FLAT \"flat\" 36028797018963967\n", "it is truncated");
    memcpy(copy, the_disk, DISK_BYTES);
    put("short", copy, DISK_BYTES - 1);
    damaged(FLAT "RW 5171 FLAT \"short\" 0\n", "it is truncated");
    put("short", copy, DISK_BYTES);
    accepted(FLAT "RW 5171 FLAT \"short\" 0\n");
    drop("short");
    free(copy);
}

static void the_size_is_checked_before_anything_is_opened(void **state)
{
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(open_with(GOOD, dir, DISK_BYTES, &disk, &err), 0);
    disk = im_disk_close(disk);
    assert_int_equal(open_with(GOOD, dir, DISK_BYTES - 1, &disk, &err), -EFBIG);
    assert_non_null(strstr(err.message, "2647552 bytes, more than the 2647551 allowed"));
    assert_int_equal(open_with(SPLIT "RW 1003 SPARSE \"missing\"\n", "/nonexistent", 1003 * 512 - 1,
                               &disk, &err),
                     -EFBIG);
    assert_null(disk);
}

static void pieces_are_proven_as_whole_images_are(void **state)
{
    static const char text[] = SPLIT LINE_A "RW 4104 SPARSE \"x\"\n" LINE_C;
    static const char words[] = "extent 2 of the VMDK ('x'): ";
    static const struct {
        size_t at;
        uint32_t value;
        const char *words;
    } rows[] = {
        { 0, 0x12345678, "it does not begin with 'KDMV'" },
        { 20, 24, "a grain size of 24 sectors" },
        { 44, 256, "256 entries, not 512" },
        { 72, 0x0d200a01, "unclean shutdown" },
        { 1024, 0x7fffffff, "does not lie inside the file" },
        { 3 * 512, 0x7fffffff, "reaches past the end of the file" },
        { 3 * 512, 11 + 8, "share sectors of the file" },
        { 3 * 512, 3, "lies on the grain tables" },
    };
    struct piece piece = build_piece(A, B);

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t old = im_le32(piece.p + rows[i].at);

        put32(piece.p + rows[i].at, rows[i].value);
        put("x", piece.p, piece.len);
        damaged(text, rows[i].words);
        damaged(text, words);
        put32(piece.p + rows[i].at, old);
    }
    put("x", piece.p, piece.len - 512);
    damaged(text, words);
    put("x", piece.p, 300);
    damaged(text, "the file has only 300 bytes");
    put("x", "", 0);
    damaged(text, words);
    memcpy(piece.p + 512, "# Disk Desc", 11);
    put("x", piece.p, piece.len);
    unsupported(text, "it has a descriptor of its own");
    memset(piece.p + 512, 0, 11);
    put64(piece.p + 28, 0); /* as VMware has it: no room for a text either */
    put64(piece.p + 36, 0);
    put("x", piece.p, piece.len);
    accepted(text);
    put32(piece.p + 8, 0x30001);
    piece.p[77] = 1;
    put("x", piece.p, piece.len);
    unsupported(text, "it is stream-optimized");
    free(piece.p);
    drop("x");
}

static void descriptors_without_end_are_refused(void **state)
{
    const size_t lines = 16384;
    const size_t longest = 2u << 20;
    char *text = calloc(1, longest + 2);
    size_t len = strlen(SPLIT);

    (void)state;
    assert_non_null(text);
    memcpy(text, SPLIT, len);
    for (size_t i = 0; i < lines; i++)
        len += (size_t)snprintf(text + len, 32, "RW 8 ZERO\n");
    {
        struct im_disk *disk = NULL;
        struct im_error err = { 0 };

        assert_int_equal(open_with(text, dir, UINT64_MAX, &disk, &err), 0);
        assert_int_equal(disk->size, lines * 8 * 512);
        im_disk_close(disk);
    }
    (void)strcpy(text + len, "RW 8 ZERO\n");
    unsupported(text, "more than 16384 extent lines");
    memset(text, 0, longest);
    len = (size_t)snprintf(text, longest, "%s", GOOD);
    memset(text + len, '\n', longest - len);
    accepted(text);
    text[longest] = '\n';
    unsupported(text, "longer than 2097152 bytes");
    memset(text + len, 0, longest - len);
    faces_accept(&im_format_vmdk, text, len + 100, the_disk, DISK_BYTES);
    text[len + 50] = '#';
    faces_refuse(&im_format_vmdk, text, len + 100, EBADMSG, "DamagedVmdk",
                 "has a NUL byte at offset");
    free(text);
}

/* --- under way --- */

static void rename_over(const char *from, const char *to)
{
    char a[128];
    char b[128];

    (void)snprintf(a, sizeof(a), "%s/%s", dir, from);
    (void)snprintf(b, sizeof(b), "%s/%s", dir, to);
    assert_int_equal(rename(a, b), 0);
}

/* … and give it a time of change, seconds since 1970: the kernel's own clock may not have moved. */
static void overwrite(const char *name, const void *p, size_t len, off_t at, time_t when)
{
    const struct timespec times[2] = { { .tv_sec = when }, { .tv_sec = when } };
    char path[128];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, p, len, at), len);
    assert_int_equal(futimens(fd, times), 0);
    (void)close(fd);
}

static void files_that_change_under_way_are_refused(void **state)
{
    static const char text[] = SPLIT "RW 1003 SPARSE \"x\"\n" LINE_B LINE_C;
    static const char *const words[] = { NULL, "changed or exchanged", "changed or exchanged",
                                         "share sectors of the file", "changed or exchanged" };
    static const uint8_t nineteen[] = { 19, 0, 0, 0 };
    struct piece piece = build_piece(0, A);
    struct taken *taken = taken_new();

    (void)state;
    for (unsigned how = 0; how < 5; how++) {
        struct im_disk *disk = NULL;
        struct im_error err = { 0 };
        int r;

        put("x", piece.p, piece.len);
        overwrite("x", piece.p, 1, 0, 1000000000);
        assert_int_equal(open_with(text, dir, UINT64_MAX, &disk, &err), 0);
        put("y", piece.p, piece.len);
        if (how == 1) /* another one with the same bytes */
            rename_over("y", "x");
        else
            drop("y");
        if (how == 2)
            overwrite("x", "more", 4, (off_t)piece.len, 1000000000);
        if (how == 3) /* with the time of before: the tables are proven again */
            overwrite("x", nineteen, 4, (off_t)piece.table, 1000000000);
        if (how == 4)
            overwrite("x", piece.p + piece.len - 1, 1, (off_t)piece.len - 1, 1000000001);
        taken_clear(taken);
        r = im_disk_walk(disk, &taken->sink, &err);
        assert_int_equal(r, how ? -EBADMSG : 0);
        if (how && !strstr(err.message, words[how]))
            fail_msg("%u: %s", how, err.message);
        r = im_disk_read(disk, taken->bytes, 512, 0, &err);
        assert_int_equal(r, how ? -EBADMSG : 0);
        im_disk_close(disk);
    }
    taken_free(taken);
    free(piece.p);
    drop("x");
}

/* Three hundred extents, and no descriptor left but one for the directory and one for a file. */
static void few_files_are_open_at_a_time(void **state)
{
    static char text[300 * 32 + 256] = SPLIT;
    struct rlimit before, few;
    struct taken *taken = taken_new();
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };
    char name[16];
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    size_t len = strlen(text);

    (void)state;
    (void)close(next);
    for (unsigned i = 0; i < 300; i++) {
        (void)snprintf(name, sizeof(name), "p%u", i);
        put_piece(name, 8, 8);
        len += (size_t)snprintf(text + len, 32, "RW 8 SPARSE \"%s\"\n", name);
    }
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = (rlim_t)next + 2;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    if (open_with(text, dir, UINT64_MAX, &disk, &err) < 0 ||
        im_disk_walk(disk, &taken->sink, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (size_t i = 0; i < 300; i++)
        assert_memory_equal(taken->bytes + i * GRAIN_BYTES, the_disk + GRAIN_BYTES, GRAIN_BYTES);
    im_disk_close(disk);
    taken_free(taken);
    for (unsigned i = 0; i < 300; i++) {
        (void)snprintf(name, sizeof(name), "p%u", i);
        drop(name);
    }
}

static void the_map_joins_blank_extents(void **state)
{
    static const char text[] = SPLIT LINE_A LINE_C "RW 100 ZERO\n" LINE_B;
    struct im_extent extent;
    struct im_disk *disk = NULL;
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(open_with(text, dir, UINT64_MAX, &disk, &err), 0);
    assert_int_equal(im_disk_map(disk, A * 512 + 1, (C + 100 + 1) * 512, &extent, &err), 0);
    assert_true(extent.zero && extent.offset == A * 512 + 1);
    assert_int_equal(extent.len, (C + 100) * 512 - 1);
    assert_int_equal(im_disk_map(disk, A * 512 + 1, 5, &extent, &err), 0);
    assert_true(extent.zero && extent.len == 5);
    assert_int_equal(im_disk_map(disk, (A - 1) * 512, 4096, &extent, &err), 0);
    assert_true(!extent.zero && extent.len == 512); /* data, to the end of its extent */
    im_disk_close(disk);
}

/* What a walk tells of itself: from nothing to all, forwards, in the bytes of all files with data.
 */
struct progress {
    struct im_sink sink;
    struct taken *taken;
    uint64_t done, total;
};

static int progress_place(struct im_sink *sink, struct im_source *source, uint64_t origin,
                          uint64_t len, uint64_t offset, struct im_error *err)
{
    struct taken *taken = ((struct progress *)sink)->taken;

    return taken->sink.place(&taken->sink, source, origin, len, offset, err);
}

static void progress_told(struct im_sink *sink, uint64_t done, uint64_t total)
{
    struct progress *progress = (struct progress *)sink;

    assert_true(done >= progress->done && done <= total);
    assert_true(progress->total == 0 || progress->total == total);
    progress->done = done;
    progress->total = total;
}

static void progress_goes_through_all_files(void **state)
{
    static const char *const texts[] = {
        GOOD, HEAD("twoGbMaxExtentFlat") "RW 1003 ZERO\nRW 4168 FLAT \"flat\" 1003\n"
    };
    struct piece a = build_piece(0, A);
    struct piece b = build_piece(A, B);
    const uint64_t totals[] = { a.len + b.len, (B + C) * 512 };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct progress progress = { .sink = { .place = progress_place, .progress = progress_told },
                                     .taken = taken_new() };
        struct im_disk *disk = NULL;
        struct im_error err = { 0 };

        assert_int_equal(open_with(texts[i], dir, UINT64_MAX, &disk, &err), 0);
        assert_int_equal(im_disk_walk(disk, &progress.sink, &err), 0);
        assert_int_equal(progress.total, totals[i]);
        assert_int_equal(progress.done, totals[i]);
        im_disk_close(disk);
        taken_free(progress.taken);
    }
    free(a.p);
    free(b.p);
}

/* --- damage of every kind --- */

static void flipped_bits_never_crash_and_faces_agree(void **state)
{
    static const char text[] = SPLIT "RW 1003 SPARSE \"x\"\n" LINE_B LINE_C;
    struct piece piece = build_piece(0, A);
    struct taken *a = taken_new();
    struct taken *b = taken_new();
    uint64_t random = 5;

    (void)state;
    faces_flip(&im_format_vmdk, GOOD, strlen(GOOD), 1000, 17);
    for (unsigned i = 0; i < 700; i++) {
        /* header and tables, which are where most bits mean something */
        size_t at = i < 80 * 8 ? i / 8 : 1024 + faces_random(&random) % (piece.grains - 1024);
        uint8_t bit = (uint8_t)(1u << i % 8);

        piece.p[at] ^= bit;
        put("x", piece.p, piece.len);
        (void)faces_agree(&im_format_vmdk, text, strlen(text), a, b, NULL);
        piece.p[at] ^= bit;
    }
    for (size_t cut = 0; cut < piece.len; cut += 512) {
        put("x", piece.p, cut);
        /* but for the sectors of the last grain that the disk does not have */
        assert_int_equal(faces_agree(&im_format_vmdk, text, strlen(text), a, b, the_disk),
                         cut >= piece.len - (GRAIN - A % GRAIN) * 512);
    }
    drop("x");
    free(piece.p);
    taken_free(a);
    taken_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split_disks_are_their_extents_in_order),
        cmocka_unit_test(what_is_behind_the_text_is_its_own_end),
        cmocka_unit_test(flat_disks_are_their_extents_in_order),
        cmocka_unit_test(descriptors_of_any_writer_and_encoding_are_accepted),
        cmocka_unit_test(without_a_directory_nothing_is_opened),
        cmocka_unit_test(names_that_are_paths_are_refused),
        cmocka_unit_test(only_regular_files_are_opened),
        cmocka_unit_test(a_file_is_used_once),
        cmocka_unit_test(the_descriptor_is_no_extent),
        cmocka_unit_test(other_types_are_refused),
        cmocka_unit_test(lines_that_are_wrong_are_refused),
        cmocka_unit_test(sizes_that_disagree_are_refused),
        cmocka_unit_test(the_size_is_checked_before_anything_is_opened),
        cmocka_unit_test(pieces_are_proven_as_whole_images_are),
        cmocka_unit_test(descriptors_without_end_are_refused),
        cmocka_unit_test(files_that_change_under_way_are_refused),
        cmocka_unit_test(few_files_are_open_at_a_time),
        cmocka_unit_test(the_map_joins_blank_extents),
        cmocka_unit_test(progress_goes_through_all_files),
        cmocka_unit_test(flipped_bits_never_crash_and_faces_agree),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* Disks out of pieces: their faces agree, a pipe gives the same disk as a file, planning runs
 * nothing; what is recognised as a file system, and the FAT that is written around kernels. */

#include <config.h>

#include "toolkit/faces.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/job.h"
#include "stage/fat.h"
#include "stage/segments.h"
#include "stage/superblock.h"

#define MIB (1u << 20)

static char dir[] = "/tmp/test-layout.XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

/* ---- pieces ---- */

static uint8_t *noise(size_t len, uint64_t *seed)
{
    uint8_t *p = malloc(len);

    assert_non_null(p);
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)faces_random(seed);
    /* holes for the maps */
    for (size_t i = 0; i + 4096 < len; i += 8192)
        memset(p + i, 0, faces_random(seed) % 2 ? 2048 : 0);
    return p;
}

/* The source of a piece is closed with the disk: one on the heap, in a copy of its bytes. */
static struct im_source *file_of(const uint8_t *bytes, size_t len)
{
    struct memory *memory = im_source_new(sizeof(*memory), &memory_ops, "piece");

    assert_non_null(memory);
    memory->base.size = memory->len = len;
    memory->base.direct = true;
    memory->bytes = bytes;
    return &memory->base;
}

static struct im_disk *raw_disk(struct memory *memory)
{
    const struct im_open options = { .max_size = UINT64_MAX };
    struct im_disk *disk = NULL;

    assert_int_equal(im_format_find("raw")->open(&memory->base, &options, &disk, NULL), 0);
    return disk;
}

/* Pieces of odd lengths with gaps between them, added from behind; what they must give in `model`.
 */
static struct im_disk *assemble(uint64_t *seed, uint8_t *model, uint64_t *ret_size,
                                struct memory *below, uint8_t **ret_image, uint8_t **ret_file,
                                enum face face)
{
    size_t gap = faces_random(seed) % 9000, a = faces_random(seed) % 70000 + 1;
    size_t b = faces_random(seed) % 70000 + 1, c = faces_random(seed) % 300000 + 1;
    uint64_t at_a = gap, at_b = at_a + a + faces_random(seed) % 5000;
    uint64_t at_c = at_b + b + gap, size = at_c + c + faces_random(seed) % 2 * 700;
    uint8_t *bytes = noise(a, seed), *file = noise(b, seed), *image = noise(c, seed);
    struct segments *segments;

    *below = memory_source(image, c, face == FACE_PIPE);
    below->base.direct = face == FACE_WALK || face == FACE_READ;
    segments = segments_new(size, raw_disk(below));
    assert_non_null(segments);
    assert_int_equal(segments_add_below(segments, at_c, c, NULL), 0);
    assert_int_equal(segments_add_source(segments, at_b, file_of(file, b), b, NULL), 0);
    memset(model, 0, size);
    memcpy(model + at_a, bytes, a);
    memcpy(model + at_b, file, b);
    memcpy(model + at_c, image, c);
    assert_int_equal(segments_add_bytes(segments, at_a, bytes, a, NULL), 0);
    *ret_size = size;
    *ret_image = image;
    *ret_file = file;
    return segments_finish(segments);
}

static void pieces_say_the_same_through_every_face(void **state)
{
    struct taken *taken = taken_new();
    uint8_t *model = calloc(1, MIB);
    uint64_t seed = 6;

    (void)state;
    assert_non_null(model);
    for (unsigned i = 0; i < 120; i++) {
        enum face face = (enum face)(i % FACES);
        struct memory below;
        uint8_t *image, *file;
        uint64_t size;
        struct im_disk *disk = assemble(&seed, model, &size, &below, &image, &file, face);
        struct im_error err = { 0 };
        int r;

        taken_clear(taken);
        r = face == FACE_READ ? faces_read(disk, taken, &err)
                              : im_disk_walk(disk, &taken->sink, &err);
        if (r < 0)
            fail_msg("round %u, face %d: %s", i, (int)face, err.message);
        assert_true(taken->end <= size);
        assert_memory_equal(taken->bytes, model, size);
        im_disk_close(disk);
        free(image);
        free(file);
    }
    free(model);
    taken_free(taken);
}

/* ---- jobs: a file and a pipe ---- */

/* An ext2 superblock of that many KiB on noise: enough to be taken for a file system. */
static void write_image(const char *path, unsigned kib, size_t len)
{
    uint64_t seed = 7;
    uint8_t *image = noise(len, &seed);
    uint8_t *p = image + 1024;
    FILE *file = fopen(path, "w");

    memset(image, 0, 4096);
    p[4] = (uint8_t)kib;
    p[5] = (uint8_t)(kib >> 8);
    p[0x38] = 0x53;
    p[0x39] = 0xef;
    memset(p + 0x68, 0x5a, 16);
    assert_non_null(file);
    assert_int_equal(fwrite(image, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    free(image);
}

static int run_job(const char *source, const char *store, const char *arguments,
                   struct im_error *err)
{
    struct im_job job IM_JOB_DONE = { 0 };
    struct im_copy_result result = { 0 };
    struct im_progress *progress = im_progress_new(-1);
    char json[2048];
    int r;

    assert_non_null(progress);
    (void)snprintf(json, sizeof(json),
                   "{\"source\":\"%s\",\"format\":\"raw\",\"store\":\"%s\",\"sync\":false,"
                   "\"scratch\":\"%s\",\"stages\":[{\"name\":\"disk-from-partition\"%s}]}",
                   source, store, dir, arguments);
    r = im_job_parse(json, &job, err);
    if (r == 0)
        r = im_job_run(&job, progress, &result, err);
    im_progress_free(progress);
    return r;
}

/* The same with the file on standard input. */
static int run_piped(const char *path, const char *store, const char *arguments,
                     struct im_error *err)
{
    int saved = dup(STDIN_FILENO);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r;

    assert_true(saved >= 0 && fd >= 0);
    assert_true(dup2(fd, STDIN_FILENO) >= 0);
    r = run_job("-", store, arguments, err);
    assert_true(dup2(saved, STDIN_FILENO) >= 0);
    (void)close(saved);
    (void)close(fd);
    return r;
}

static void assert_same_files(const char *a, const char *b)
{
    FILE *file[2] = { fopen(a, "r"), fopen(b, "r") };
    int c[2];

    assert_true(file[0] && file[1]);
    do {
        c[0] = fgetc(file[0]);
        c[1] = fgetc(file[1]);
        assert_int_equal(c[0], c[1]);
    } while (c[0] != EOF);
    (void)fclose(file[0]);
    (void)fclose(file[1]);
}

static char *path_of(const char *name)
{
    char *path = malloc(sizeof(dir) + strlen(name) + 2);

    assert_non_null(path);
    sprintf(path, "%s/%s", dir, name);
    return path;
}

static void a_pipe_gives_the_same_disk_as_a_file(void **state)
{
    static const char *const cases[] = {
        ",\"boot\":\"no\"",
        ",\"boot\":\"no\",\"table\":\"mbr\",\"swap\":\"64K\",\"size\":\"8M\"",
    };
    char *image = path_of("image"), *a = path_of("a"), *b = path_of("b");
    struct im_error err = { 0 };

    (void)state;
    write_image(image, 1500, 1500 * 1024);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (run_job(image, a, cases[i], &err) < 0 || run_piped(image, b, cases[i], &err) < 0)
            fail_msg("%s", err.message);
        assert_same_files(a, b);
        (void)unlink(a);
        (void)unlink(b);
    }
    (void)unlink(image);
    free(image);
    free(a);
    free(b);
}

static void a_pipe_ends_where_its_file_system_does(void **state)
{
    char *image = path_of("image"), *out = path_of("out");
    struct im_error err = { 0 };

    (void)state;
    write_image(image, 1500, 1500 * 1024 - 512);
    assert_int_equal(run_piped(image, out, ",\"boot\":\"no\"", &err), -EBADMSG);
    assert_non_null(strstr(err.message, "ends after 1535488 bytes, but its file system has "
                                        "1536000"));
    assert_int_equal(run_job(image, out, ",\"boot\":\"no\"", &err), -EBADMSG);
    assert_non_null(strstr(err.message, "has 1535488 bytes, but its ext2 file system has 1536000"));
    write_image(image, 1500, 1500 * 1024 + 1);
    assert_int_equal(run_piped(image, out, ",\"boot\":\"no\"", &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.message, "goes on after the 1536000 bytes"));
    assert_int_equal(access(out, F_OK), -1);
    assert_int_equal(run_job(image, out, ",\"boot\":\"no\"", &err), 0);
    (void)unlink(out);
    (void)unlink(image);
    free(image);
    free(out);
}

static void planning_gives_the_size_and_runs_nothing(void **state)
{
    const struct im_stage *stage = im_stage_find("disk-from-partition");
    char nowhere[] = "/nowhere"; /* where nothing can be written */
    const struct im_context context = { .scratch = nowhere, .jobs = 1, .planning = true };
    struct im_args args = { 0 };
    struct im_error err = { 0 };
    uint8_t image[65536] = { 0 };
    struct memory memory = memory_source(image, sizeof(image), false);
    struct im_disk *disk = raw_disk(&memory);
    uint64_t capacity = 0;

    (void)state;
    image[1024 + 4] = 64;
    image[1024 + 0x38] = 0x53;
    image[1024 + 0x39] = 0xef;
    assert_int_equal(im_args_add(&args, "", stage->params, "ephemeral", "1G", &err), 0);
    assert_int_equal(im_args_add(&args, "", stage->params, "boot", "no", &err), 0);
    assert_int_equal(stage->accepts(&args, &context, &(struct im_input){ .disk = disk }, &err), 0);
    assert_int_equal(stage->required_capacity(&args, &context, &(struct im_input){ .disk = disk },
                                              &capacity, &err),
                     0);
    assert_in_range(capacity, MIB, 64 * MIB);
    assert_int_equal(stage->apply(&args, &context, &disk, &err), 0);
    assert_int_equal(disk->size, (1u << 30) + 2 * MIB);
    im_disk_close(disk);
    im_args_done(&args);
}

/* ---- superblocks ---- */

static void no_superblock_is_too_odd(void **state)
{
    uint64_t seed = 11;
    unsigned accepted = 0;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t head[SUPERBLOCK_HEAD] = { 0 };
        struct superblock superblock;

        for (unsigned n = 0; n < 4; n++)
            head[faces_random(&seed) % 128 + n % 2 * 1024] = (uint8_t)faces_random(&seed);
        switch (i % 3) {
        case 0:
            memcpy(head + 1024 + 0x38, "\x53\xef", 2);
            break;
        case 1:
            memcpy(head, "XFSB", 4);
            break;
        default:
            memcpy(head + 54, "FAT16   ", 8);
            memcpy(head + 510, "\x55\xaa", 2);
            head[14] = head[16] = 1;
            head[21] = 0xf8;
        }
        if (superblock_read(head, &superblock, NULL) < 0)
            continue;
        accepted++;
        assert_true(superblock.bytes > 0 && superblock.bytes <= INT64_MAX);
        assert_true(strlen(superblock.uuid) < sizeof(superblock.uuid));
    }
    assert_in_range(accepted, 10, 19000);
}

/* ---- FAT ---- */

static void files_lie_inside_and_beside_each_other(void **state)
{
    static const uint64_t sizes[] = {
        1, 511, 512, 513, 40u * MIB, 255u * MIB, 256u * MIB - 1, 256u * MIB, 300u * MIB, 768u * MIB
    };

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
            struct fat_file file[3] = { { "A          ", false, sizes[i], 0 },
                                        { "B          ", true, 700000, 0 },
                                        { "C          ", false, sizes[j], 0 } };
            uint64_t bytes = fat_bytes(file, 3);
            struct fat fat FAT_DONE = { 0 };
            uint64_t end;

            assert_int_equal(fat_make(file, 3, bytes, MIB, 1, &fat, NULL), 0);
            assert_int_equal(bytes % MIB, 0);
            assert_int_equal(fat.table_at[0], fat.reserved_len);
            assert_int_equal(fat.table_at[1], fat.table_at[0] + fat.table_len);
            assert_int_equal(fat.directories_at, fat.table_at[1] + fat.table_len);
            end = fat.directories_at + fat.directories_len;
            for (size_t k = 0; k < 3; k++) {
                assert_true(file[k].offset >= end);
                end = file[k].offset + file[k].len;
            }
            assert_true(end <= bytes);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_say_the_same_through_every_face),
        cmocka_unit_test(a_pipe_gives_the_same_disk_as_a_file),
        cmocka_unit_test(a_pipe_ends_where_its_file_system_does),
        cmocka_unit_test(planning_gives_the_size_and_runs_nothing),
        cmocka_unit_test(no_superblock_is_too_odd),
        cmocka_unit_test(files_lie_inside_and_beside_each_other),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

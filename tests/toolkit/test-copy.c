/* The copy loop and the file store: zeros stay holes, pipes get every byte, and what is not
 * committed was never there. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "core/copy.h"
#include "core/stage.h"

#define MIB (1u << 20)

/* A disk of 4 MiB: data in the first 100 bytes, at 1 MiB + 5000, and in the last byte. */
#define SIZE (4 * MIB)

static uint8_t content[SIZE];

static int test_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                     struct im_error *err)
{
    (void)disk;
    (void)err;
    memcpy(buf, content + offset, len);
    return 0;
}

static const struct im_disk_ops test_ops = { .name = "test", .read = test_read };

static char dir[] = "/tmp/test-copy-XXXXXX";

static int setup(void **state)
{
    (void)state;
    memset(content, 0, sizeof(content));
    memset(content, 0xa5, 100);
    memset(content + MIB + 5000, 0x5a, 3);
    content[SIZE - 1] = 1;
    return mkdtemp(dir) ? 0 : -1;
}

static int entries(void)
{
    DIR *handle = opendir(dir);
    struct dirent *entry;
    int count = 0;

    while ((entry = readdir(handle)))
        count += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
    (void)closedir(handle);
    return count;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(dir);
}

static void assert_file_is(const char *path, const uint8_t *want, size_t len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *got = malloc(len + 1);

    assert_true(fd >= 0);
    assert_int_equal(read(fd, got, len + 1), len);
    assert_memory_equal(got, want, len);
    free(got);
    (void)close(fd);
}

static int copy_to(const char *path, uint64_t size, bool force, bool commit, struct im_error *err)
{
    struct im_disk *disk = im_disk_new(sizeof(*disk), &test_ops, SIZE, NULL);
    const struct im_stage *grow = im_stage_find("grow");
    const struct im_context context = { .scratch = ".", .jobs = 1 };
    struct im_args args = { 0 };
    char text[24];
    struct im_store_options options = { .size = size, .force = force };
    struct im_copy_limits limits = { .jobs = 1, .max_size = UINT64_MAX };
    struct im_progress *progress = im_progress_new(-1);
    struct im_copy_result result = { 0 };
    struct im_store *store = NULL;
    int r;

    (void)snprintf(text, sizeof(text), "%" PRIu64, size);
    r = im_args_add(&args, "grow", grow->params, "size", text, err);
    if (r == 0)
        r = grow->apply(&args, &context, &disk, err);
    im_args_done(&args);
    if (r == 0)
        r = im_store_open(path, &options, &store, err);
    if (r == 0)
        r = im_copy(disk, store, &limits, progress, &result, err);
    if (r == 0) {
        assert_int_equal(result.size, size);
        assert_int_equal(result.data_bytes, 3 * 4096); /* three blocks, not the disk */
    }
    if (r == 0 && commit)
        r = im_store_commit(store, size, err);
    im_store_close(store);
    im_disk_close(disk);
    im_progress_free(progress);
    return r;
}

static void zeros_stay_holes(void **state)
{
    char *path = im_asprintf("%s/out", dir);
    struct im_error err = { 0 };
    struct stat st;

    (void)state;
    assert_int_equal(copy_to(path, SIZE, false, true, &err), 0);
    assert_file_is(path, content, SIZE);
    assert_int_equal(stat(path, &st), 0);
    assert_in_range(st.st_blocks * 512, 1, 64 * 1024);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(entries(), 0);
    free(path);
}

static void grown_space_reads_as_zeros(void **state)
{
    char *path = im_asprintf("%s/out", dir);
    uint8_t *want = calloc(1, SIZE + MIB);
    struct im_error err = { 0 };

    (void)state;
    memcpy(want, content, SIZE);
    assert_int_equal(copy_to(path, SIZE + MIB, false, true, &err), 0);
    assert_file_is(path, want, SIZE + MIB);
    assert_int_equal(copy_to(path, SIZE - 1, true, true, &err), -EFBIG);
    assert_non_null(strstr(err.message, "4194304 bytes but the volume only 4194303"));
    assert_int_equal(unlink(path), 0);
    free(want);
    free(path);
}

static void what_is_not_committed_was_never_there(void **state)
{
    char *path = im_asprintf("%s/out", dir);
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(copy_to(path, SIZE, false, false, &err), 0);
    assert_int_equal(entries(), 0);
    free(path);
}

static void what_exists_is_replaced_only_when_told(void **state)
{
    char *path = im_asprintf("%s/out", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(write(fd, "old", 3), 3);
    assert_int_equal(copy_to(path, SIZE, false, true, &err), -EEXIST);
    assert_string_equal(err.code, "Exists");
    assert_file_is(path, (const uint8_t *)"old", 3);
    assert_int_equal(copy_to(path, SIZE, true, false, &err), 0);
    assert_file_is(path, (const uint8_t *)"old", 3); /* until the commit */
    assert_int_equal(copy_to(path, SIZE, true, true, &err), 0);
    assert_file_is(path, content, SIZE);
    assert_int_equal(entries(), 1);
    assert_int_equal(unlink(path), 0);
    (void)close(fd);
    free(path);
}

/* A store that is a pipe: remembers what came, insists on order. */
struct pipe_store {
    struct im_store base;
    uint8_t *bytes;
    uint64_t len;
};

static int pipe_write(struct im_store *store, const void *buf, size_t len, uint64_t offset,
                      struct im_error *err)
{
    struct pipe_store *to = (struct pipe_store *)store;

    if (offset != to->len || to->len + len > SIZE)
        return im_fail(err, EIO, "out of order");
    memcpy(to->bytes + to->len, buf, len);
    to->len += len;
    return 0;
}

static void a_pipe_gets_every_byte_in_order(void **state)
{
    static const struct im_store_ops ops = { .name = "pipe", .write = pipe_write };
    struct pipe_store store = { .base = { .ops = &ops, .sequential = true },
                                .bytes = calloc(1, SIZE) };
    struct im_disk *disk = im_disk_new(sizeof(*disk), &test_ops, SIZE, NULL);
    struct im_copy_limits limits = { .jobs = 1, .max_size = UINT64_MAX };
    struct im_progress *progress = im_progress_new(-1);
    struct im_copy_result result;
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_copy(disk, &store.base, &limits, progress, &result, &err), 0);
    assert_int_equal(store.len, SIZE);
    assert_memory_equal(store.bytes, content, SIZE);
    im_disk_close(disk);
    im_progress_free(progress);
    free(store.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeros_stay_holes),
        cmocka_unit_test(grown_space_reads_as_zeros),
        cmocka_unit_test(what_is_not_committed_was_never_there),
        cmocka_unit_test(what_exists_is_replaced_only_when_told),
        cmocka_unit_test(a_pipe_gets_every_byte_in_order),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

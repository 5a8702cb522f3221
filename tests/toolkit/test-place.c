/* What a walk says stands in a source: read in units of the disk, or shared by reference where
 * source, store and numbers allow it; with and without a digest of it. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/copy.h"

#define SIZE  (2u << 20)
#define BLOCK 4096u

/* --- a source in memory that says it is a file with descriptor 7; all-zero blocks are holes --- */

static uint8_t bytes[SIZE + BLOCK];
static bool has_local;

static int source_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                       size_t *ret_len, struct im_error *err)
{
    (void)source;
    (void)err;
    memcpy(buf, bytes + offset, len);
    *ret_len = len;
    return 0;
}

static bool block_is_hole(uint64_t offset)
{
    static const uint8_t zeros[BLOCK];

    return memcmp(bytes + offset / BLOCK * BLOCK, zeros, BLOCK) == 0;
}

static int source_map(struct im_source *source, uint64_t offset, uint64_t len,
                      struct im_extent *ret, struct im_error *err)
{
    uint64_t end = offset - offset % BLOCK + BLOCK;

    (void)source;
    (void)err;
    while (end < offset + len && block_is_hole(end) == block_is_hole(offset))
        end += BLOCK;
    *ret = (struct im_extent){ offset, end < offset + len ? end - offset : len,
                               block_is_hole(offset) };
    return 0;
}

static int source_local(struct im_source *source, uint64_t offset, uint64_t len, int *ret_fd,
                        uint64_t *ret_at, uint64_t *ret_len)
{
    (void)source;
    *ret_fd = 7;
    *ret_at = offset;
    *ret_len = len;
    return has_local ? 0 : -EOPNOTSUPP;
}

static const struct im_source_ops source_ops = {
    .name = "test",
    .read = source_read,
    .map = source_map,
    .local = source_local,
};
static struct im_source source = { .ops = &source_ops, .name = (char[]){ "image" }, .size = SIZE, .direct = true };

/* --- a store in memory; a byte is written or shared once --- */

static uint8_t stored[SIZE], times[SIZE];
static unsigned shares;
static int share_result;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void take(const uint8_t *from, size_t len, uint64_t offset)
{
    (void)pthread_mutex_lock(&lock);
    assert_true(offset + len <= SIZE);
    memcpy(stored + offset, from, len);
    for (size_t i = 0; i < len; i++)
        times[offset + i]++;
    (void)pthread_mutex_unlock(&lock);
}

static int store_write(struct im_store *store, const void *buf, size_t len, uint64_t offset,
                       struct im_error *err)
{
    (void)store;
    (void)err;
    take(buf, len, offset);
    return 0;
}

static int store_share(struct im_store *store, int fd, uint64_t from, uint64_t len, uint64_t offset,
                       struct im_error *err)
{
    (void)store;
    assert_int_equal(fd, 7);
    assert_true(from % BLOCK == 0 && len % BLOCK == 0 && offset % BLOCK == 0 && len > 0);
    if (share_result == -ENOSPC)
        return im_fail(err, ENOSPC, "full");
    shares++;
    if (share_result == 0)
        take(bytes + from, len, offset);
    return share_result;
}

static const struct im_store_ops store_ops = {
    .name = "test",
    .write = store_write,
    .share = store_share,
};

/* --- a disk whose byte 0 stands at byte `shift` of the source --- */

struct shifted {
    struct im_disk base;
    uint64_t shift;
};

static int walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    uint64_t shift = ((struct shifted *)disk)->shift;

    sink->progress(sink, 0, disk->size);
    return sink->place(sink, &source, shift, disk->size, 0, err);
}

static const struct im_disk_ops disk_ops = { .name = "test", .walk = walk };

static int no_read(void *arg, void *buf, size_t len, uint64_t offset, struct im_error *err)
{
    (void)arg;
    (void)err;
    memcpy(buf, stored + offset, len);
    return 0;
}

/* Copy, and compare everything; *ret_result as im_copy gives it. */
static int copy(uint64_t size, uint64_t shift, struct im_digest *digest,
                struct im_copy_result *ret_result, struct im_error *err)
{
    struct im_store store = { .ops = &store_ops, .name = (char[]){ "out" }, .fd = -1 };
    struct shifted *disk = im_disk_new(sizeof(*disk), &disk_ops, size, NULL);
    struct im_copy_limits limits = { .jobs = 2, .max_size = UINT64_MAX, .digest = digest };
    struct im_progress *progress = im_progress_new(-1);
    int r;

    memset(stored, 0, sizeof(stored));
    memset(times, 0, sizeof(times));
    shares = 0;
    disk->shift = shift;
    r = im_copy(&disk->base, &store, &limits, progress, ret_result, err);
    im_disk_close(&disk->base);
    im_progress_free(progress);
    if (r == 0) {
        assert_memory_equal(stored, bytes + shift, size);
        assert_null(memchr(times, 2, size));
    }
    return r;
}

/* Data at the very start, in every eighth block, and in the last. */
static int setup(void **state)
{
    (void)state;
    memset(bytes, 0, sizeof(bytes));
    for (size_t block = 0; block < SIZE / BLOCK; block += 8)
        for (size_t i = 0; i < BLOCK; i++)
            bytes[block * BLOCK + i] = (uint8_t)(1 + i % 251);
    memset(bytes + SIZE - BLOCK, 0x77, BLOCK);
    has_local = true;
    share_result = 0;
    return 0;
}

static void shares_what_is_aligned(void **state)
{
    struct im_copy_result result = { 0 };
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(copy(SIZE, 0, NULL, &result, &err), 0);
    assert_int_equal(result.shared_bytes, (SIZE / BLOCK / 8 + 1) * BLOCK);
    assert_int_equal(result.data_bytes, result.shared_bytes);
    assert_int_equal(shares, SIZE / BLOCK / 8 + 1);

    /* the last block is not whole: it is copied */
    assert_int_equal(copy(SIZE - 100, 0, NULL, &result, &err), 0);
    assert_int_equal(result.shared_bytes, SIZE / BLOCK / 8 * BLOCK);
    assert_int_equal(result.data_bytes, result.shared_bytes + BLOCK - 100);
}

/* One sector off, as the blocks of a dynamic VHD are: read, in whole blocks of the disk. */
static void copies_what_is_not(void **state)
{
    struct im_copy_result result = { 0 };
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(copy(SIZE - BLOCK, 512, NULL, &result, &err), 0);
    assert_int_equal(shares, 0);
    assert_int_equal(result.shared_bytes, 0);
    for (size_t block = 0; block < SIZE / BLOCK - 1; block++) /* holes stay holes */
        if (block % 8 > 0 && block % 8 < 7 && block < SIZE / BLOCK - 3)
            assert_int_equal(times[block * BLOCK], 0);
}

static void asks_once_where_it_cannot(void **state)
{
    struct im_copy_result result = { 0 };
    struct im_error err = { 0 };

    (void)state;
    share_result = -EOPNOTSUPP;
    assert_int_equal(copy(SIZE, 0, NULL, &result, &err), 0);
    assert_int_equal(shares, 1);
    assert_int_equal(result.shared_bytes, 0);

    has_local = false;
    assert_int_equal(copy(SIZE, 0, NULL, &result, &err), 0);
    assert_int_equal(shares, 0);
}

static void a_full_disk_ends_it(void **state)
{
    struct im_copy_result result = { 0 };
    struct im_error err = { 0 };

    (void)state;
    share_result = -ENOSPC;
    assert_int_equal(copy(SIZE, 0, NULL, &result, &err), -ENOSPC);
    assert_string_equal(err.message, "full");
}

static void the_digest_is_the_same_however_it_came(void **state)
{
    static const struct {
        bool local;
        uint64_t shift;
    } ways[] = { { true, 0 }, { false, 0 }, { true, 512 }, { false, 512 } };
    uint8_t value[4][IM_FSVERITY_LEN];
    struct im_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct im_digest *digest = im_digest_new();
        struct im_copy_result result = { 0 };

        has_local = ways[i].local;
        assert_int_equal(copy(SIZE - BLOCK, ways[i].shift, digest, &result, &err), 0);
        assert_int_equal(im_digest_end(digest, SIZE - BLOCK, no_read, NULL, value[i], &err), 0);
        im_digest_free(digest);
        assert_true((result.shared_bytes > 0) == (i == 0));
    }
    assert_memory_equal(value[0], value[1], IM_FSVERITY_LEN);
    assert_memory_equal(value[2], value[3], IM_FSVERITY_LEN);
    assert_memory_not_equal(value[0], value[2], IM_FSVERITY_LEN);
}

/* Shared or copied, a disk that would be taken for an image of its own is refused. */
static void a_hidden_format_is_refused(void **state)
{
    struct im_copy_result result = { 0 };
    struct im_error err = { 0 };

    (void)state;
    for (int local = 0; local < 2; local++) {
        has_local = local;
        memcpy(bytes, "vhdxfile", 8);
        assert_int_equal(copy(SIZE, 0, NULL, &result, &err), -EOPNOTSUPP);
        assert_string_equal(err.code, "HiddenFormat");
        assert_non_null(strstr(err.message, "vhdx"));
        bytes[7] = 'f'; /* one letter less */
        assert_int_equal(copy(SIZE, 0, NULL, &result, &err), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(shares_what_is_aligned, setup),
        cmocka_unit_test_setup(copies_what_is_not, setup),
        cmocka_unit_test_setup(asks_once_where_it_cannot, setup),
        cmocka_unit_test_setup(a_full_disk_ends_it, setup),
        cmocka_unit_test_setup(the_digest_is_the_same_however_it_came, setup),
        cmocka_unit_test_setup(a_hidden_format_is_refused, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

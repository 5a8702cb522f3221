/* Members of a tar archive (unpack/tar.c) whose source fails: what comes back is the source's
 * failure, and not that the archive is damaged.  Archives that are, are in hostile-ova.py. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "unpack/tar.h"

#define RECORD  512u
#define MEMBER  (256u << 10) /* bytes of each: more than is read at once */
#define ARCHIVE (2 * (RECORD + MEMBER) + 2 * RECORD)

static uint8_t archive[ARCHIVE];
static uint64_t broken; /* no byte from there on can be read */

static int read_archive(struct im_source *source, void *buf, size_t len, uint64_t offset,
                        size_t *ret_len, struct im_error *err)
{
    uint64_t left = offset < source->size ? source->size - offset : 0;

    *ret_len = len < left ? len : (size_t)left;
    if (offset + *ret_len > broken)
        return im_fail(err, EIO, "the network is down");
    memcpy(buf, archive + offset, *ret_len);
    return 0;
}

static const struct im_source_ops ops = { .name = "archive", .read = read_archive };
static char name[] = "box.ova";
static struct im_source source = { .ops = &ops, .name = name, .size = ARCHIVE };

/* A header of ustar. */
static void put_header(size_t at, const char *member)
{
    char *header = (char *)archive + at;
    unsigned sum = 0;

    (void)snprintf(header, 100, "%s", member);
    memcpy(header + 100, "0000644\0000000000\0000000000", 24);
    (void)snprintf(header + 124, 12, "%011o", MEMBER);
    (void)snprintf(header + 136, 12, "%011o", 0);
    memcpy(header + 148, "        0", 9);
    memcpy(header + 257, "ustar\00000", 8);
    for (unsigned i = 0; i < RECORD; i++)
        sum += archive[at + i];
    (void)snprintf(header + 148, 8, "%06o", sum);
}

static int make(void **state)
{
    struct im_error err = { 0 };
    struct im_tar *tar = NULL;

    (void)state;
    put_header(0, "first");
    put_header(RECORD + MEMBER, "second");
    broken = UINT64_MAX;
    return im_tar_open(&source, 0, &tar, &err) < 0 ? -1 : im_tar_free(tar) != NULL;
}

/* How many members come before the end, or before r < 0. */
static unsigned count(uint64_t breaks_at, int *ret_result, struct im_error *err)
{
    struct im_tar *tar = NULL;
    struct im_member member;
    unsigned members = 0;
    int r;

    broken = breaks_at;
    r = im_tar_open(&source, 0, &tar, err);
    while (r == 0 && (*ret_result = im_tar_next(tar, &member, err)) > 0) {
        assert_string_equal(member.name, members == 0 ? "first" : "second");
        assert_int_equal(member.size, MEMBER);
        assert_int_equal(member.at, RECORD + members * (RECORD + MEMBER));
        members++;
    }
    if (r < 0)
        *ret_result = r;
    im_tar_free(tar);
    return members;
}

static void whole(void **state)
{
    struct im_error err = { 0 };
    int r = -1;

    (void)state;
    assert_int_equal(count(UINT64_MAX, &r, &err), 2);
    assert_int_equal(r, 0);
}

static void source_fails(void **state)
{
    static const uint64_t places[] = { 0, RECORD + MEMBER, ARCHIVE - RECORD };

    (void)state;
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct im_error err = { 0 };
        int r = 0;

        assert_int_equal(count(places[i], &r, &err), i);
        assert_int_equal(r, -EIO);
        assert_string_equal(err.message, "the network is down");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(source_fails),
    };

    return cmocka_run_group_tests(tests, make, NULL);
}

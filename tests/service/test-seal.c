/* Sealed secrets: a record opens for its account and access key under its master key, unchanged,
 * and in no other way; and which master key files are taken. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
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

#include "auth/seal.h"
#include "base/cleanup.h"
#include "base/io.h"

#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define LEN    (sizeof(SECRET) - 1)
#define SIZE   (LEN + SVC_SEAL_EXTRA)

static char dir[64], path[96];
static struct svc_seal *seal;
static struct im_error err;

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/test-seal.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/master.key", dir);
    return svc_seal_make(path, &err) < 0 ? -1 : svc_seal_open(path, &seal, &err);
}

static int teardown(void **state)
{
    (void)state;
    seal = svc_seal_close(seal);
    (void)unlink(path);
    return rmdir(dir);
}

static void make(const char *account, const char *key, uint8_t record[SIZE])
{
    assert_int_equal(svc_seal_secret(seal, account, key, SECRET, LEN, record, &err), 0);
}

static int open_for(const char *account, const char *key, const uint8_t *record, size_t len)
{
    char out[LEN + 1] = "untouched";
    int r = svc_seal_reveal(seal, account, key, record, len, out, &err);

    if (r == 0)
        assert_string_equal(out, SECRET);
    else if (len >= SVC_SEAL_EXTRA)
        assert_null(strstr(out, "wJ"));
    return r;
}

static void a_record_opens_and_shows_nothing(void **state)
{
    uint8_t one[SIZE], two[SIZE];

    (void)state;
    make("111111111111", "AKIAONE", one);
    make("111111111111", "AKIAONE", two);
    assert_int_equal(open_for("111111111111", "AKIAONE", one, SIZE), 0);
    assert_int_equal(open_for("111111111111", "AKIAONE", two, SIZE), 0);
    assert_int_equal(one[0], SVC_SEAL_VERSION);
    assert_memory_not_equal(one + 1, two + 1, IM_GCM_NONCE);
    for (size_t i = 0; i + 4 <= LEN; i++)
        assert_null(memmem(one, SIZE, &SECRET[i], 4));
}

static void it_opens_for_nobody_else(void **state)
{
    uint8_t record[SIZE];

    (void)state;
    make("111111111111", "AKIAONE", record);
    assert_int_equal(open_for("111111111111", "AKIATWO", record, SIZE), -EBADMSG);
    assert_int_equal(open_for("222222222222", "AKIAONE", record, SIZE), -EBADMSG);
    assert_non_null(strstr(err.message, "AKIAONE"));
    make("ab", "c", record);
    assert_int_equal(open_for("a", "bc", record, SIZE), -EBADMSG);
    assert_int_equal(open_for("ab", "c", record, SIZE), 0);
}

static void the_ciphertexts_of_two_records_are_not_exchanged(void **state)
{
    uint8_t one[SIZE], two[SIZE], mixed[SIZE];

    (void)state;
    make("111111111111", "AKIAONE", one);
    make("111111111111", "AKIATWO", two);
    assert_int_equal(open_for("111111111111", "AKIAONE", two, SIZE), -EBADMSG);
    memcpy(mixed, one, SIZE);
    memcpy(mixed + 1 + IM_GCM_NONCE, two + 1 + IM_GCM_NONCE, LEN);
    assert_int_equal(open_for("111111111111", "AKIAONE", mixed, SIZE), -EBADMSG);
}

static void every_bit_is_proven(void **state)
{
    uint8_t record[SIZE + 1] = { 0 };

    (void)state;
    make("111111111111", "AKIAONE", record);
    for (size_t i = 0; i < 8 * SIZE; i++) {
        record[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(open_for("111111111111", "AKIAONE", record, SIZE), -EBADMSG);
        record[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t len = 0; len < SIZE; len++)
        assert_int_equal(open_for("111111111111", "AKIAONE", record, len), -EBADMSG);
    assert_int_equal(open_for("111111111111", "AKIAONE", record, SIZE), 0);
}

static void another_master_key_opens_nothing(void **state)
{
    struct svc_seal *first = seal;
    uint8_t record[SIZE];

    (void)state;
    make("111111111111", "AKIAONE", record);
    assert_int_equal(svc_seal_make(path, &err), 0);
    assert_int_equal(svc_seal_open(path, &seal, &err), 0);
    assert_int_equal(open_for("111111111111", "AKIAONE", record, SIZE), -EBADMSG);
    (void)svc_seal_close(seal);
    seal = first;
    assert_int_equal(open_for("111111111111", "AKIAONE", record, SIZE), 0);
}

static void names_beyond_all_bounds_are_refused(void **state)
{
    uint8_t record[SIZE];
    char name[400];

    (void)state;
    memset(name, 'A', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(svc_seal_secret(seal, "1", name, SECRET, LEN, record, &err), -EINVAL);
    make("1", "A", record);
    assert_int_equal(open_for("1", name, record, SIZE), -EINVAL);
}

/* ---- master key files ---- */

static int try_file(size_t size, mode_t mode, const char *words)
{
    static const char bytes[64];
    struct svc_seal *other = NULL;
    int fd, r;

    (void)unlink(path);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(im_write(fd, bytes, size), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    (void)close(fd);
    r = svc_seal_open(path, &other, &err);
    assert_true((r == 0) == (other != NULL));
    (void)svc_seal_close(other);
    if (r < 0) {
        assert_non_null(strstr(err.message, path));
        assert_non_null(strstr(err.message, words));
        assert_null(strchr(err.message, '\n'));
    }
    return r;
}

static void a_made_key_is_its_owners_alone(void **state)
{
    struct stat st;

    (void)state;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0400);
    assert_int_equal(st.st_size, SVC_MASTER_KEY);
}

static void sizes_and_modes_of_the_file(void **state)
{
    (void)state;
    assert_int_equal(try_file(32, 0400, ""), 0);
    assert_int_equal(try_file(32, 0600, ""), 0);
    assert_int_equal(try_file(0, 0400, "has 0 bytes and must have 32"), -EBADMSG);
    assert_int_equal(try_file(31, 0400, "has 31 bytes and must have 32"), -EBADMSG);
    assert_int_equal(try_file(33, 0400, "has 33 bytes and must have 32"), -EBADMSG);
    assert_int_equal(try_file(32, 0404, "mode 0404"), -EPERM);
    assert_int_equal(try_file(32, 0402, "mode 0402"), -EPERM);
    assert_int_equal(try_file(32, 0420, "mode 0420"), -EPERM);
    assert_int_equal(try_file(32, 0410, "mode 0410"), -EPERM);
    assert_int_equal(try_file(32, 0644, "mode 0644"), -EPERM);
    /* as systemd shows a credential: root's group */
    assert_int_equal(try_file(32, 0440, "mode 0440"), getgid() == 0 ? 0 : -EPERM);
    if (getuid() == 0) {
        assert_int_equal(chown(path, 0, 12345), 0);
        assert_int_equal(svc_seal_open(path, &seal, &err), -EPERM);
    }
}

static void what_is_no_file_is_not_waited_for(void **state)
{
    struct svc_seal *other = NULL;

    (void)state;
    (void)unlink(path);
    assert_int_equal(svc_seal_open(path, &other, &err), -ENOENT);
    assert_int_equal(mkfifo(path, 0400), 0);
    assert_int_equal(svc_seal_open(path, &other, &err), -EBADMSG);
    assert_int_equal(svc_seal_open(dir, &other, &err), -EBADMSG);
    assert_null(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_record_opens_and_shows_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(it_opens_for_nobody_else, setup, teardown),
        cmocka_unit_test_setup_teardown(the_ciphertexts_of_two_records_are_not_exchanged, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_bit_is_proven, setup, teardown),
        cmocka_unit_test_setup_teardown(another_master_key_opens_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(names_beyond_all_bounds_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_made_key_is_its_owners_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(sizes_and_modes_of_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_not_waited_for, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

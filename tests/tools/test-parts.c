/* How a file is cut into parts, where its objects go, and what the progress line says. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "aws/manifest.h"
#include "base/cleanup.h"

#include "progress.h"
#include "s3.h"
#include "upload.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static void parts_are_ten_mebibytes(void **state)
{
    (void)state;
    assert_int_equal(euca_upload_part_size(1), 10 * MIB);
    assert_int_equal(euca_upload_part_size(4000 * 10 * MIB), 10 * MIB);
}

static void large_files_have_larger_parts(void **state)
{
    static const uint64_t sizes[] = { 4000 * 10 * MIB + 1, 64 * GIB, 1024 * GIB, 16 * 1024 * GIB };

    (void)state;
    assert_int_equal(euca_upload_part_size(4000 * 10 * MIB + 1), 11 * MIB);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t part = euca_upload_part_size(sizes[i]);

        assert_true(part > 10 * MIB && part % MIB == 0);
        assert_true((sizes[i] + part - 1) / part <= 4000);
    }
    assert_int_equal(euca_upload_part_size(4000 * 5 * GIB), 5 * GIB);
    assert_int_equal(euca_upload_part_size(4000 * 5 * GIB + 1), 0);
    assert_int_equal(euca_upload_part_size(UINT64_MAX), 0);
}

static struct euca_endpoint endpoint(char *url)
{
    static char region[] = "undefined-4194304", access_key[] = "AKIAABCDEFGHIJKLMNOP",
                secret_key[] = "secret";

    return (struct euca_endpoint){ .service = "s3",
                                   .url = url,
                                   .region = region,
                                   .access_key = access_key,
                                   .secret_key = secret_key };
}

/* Bytes of manifest that one part takes when names are long: a host of a cloud, a prefix, a file
 * name.  Not a promise, but the reason of EUCA_PARTS_MAX. */
static void so_many_parts_fit_into_a_manifest(void **state)
{
    char url[] = "https://objectstorage.region-one.cloud.example.org:8773/services/objectstorage";
    struct euca_endpoint s3 = endpoint(url);
    static const char key[] =
        "imports/2026/7c1e0c3e-0f0a-4a53-9a4c-2b8a5a1d7f10/web-server-disk.vmdk.part.3999";
    struct im_error err = { 0 };
    size_t bytes = 0;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        static const char *const methods[] = { "HEAD", "GET", "DELETE" };
        char *signed_url IM_FREE
        = NULL;

        assert_int_equal(euca_s3_presign(&s3, methods[i], "import-bucket", key, 1797812384000,
                                         604800, &signed_url, &err),
                         0);
        assert_non_null(strstr(signed_url, "&X-Amz-Expires=604800&"));
        bytes += strlen(signed_url) + 5 * strlen("amp;");
    }
    bytes += 350; /* the elements around them */
    assert_true(bytes * EUCA_PARTS_MAX < IM_MANIFEST_MAX);
}

static void keys_keep_their_slashes(void **state)
{
    char *path IM_FREE
    = euca_s3_path("b", "a//b c/../d+e");

    (void)state;
    assert_string_equal(path, "/b/a//b%20c/../d%2Be");
}

static void objects_are_found_below_the_endpoint_only(void **state)
{
    char url[] = "http://h:1/services/os";
    struct euca_endpoint s3 = endpoint(url);
    static const char *const elsewhere[] = {
        "http://h:1/services/os",
        "http://h:1/services/os/",
        "http://h:1/services/os/b",
        "http://h:1/services/os/b/",
        "http://h:1/services/os//k",
        "http://h:1/services/osx/b/k",
        "http://h:12/services/os/b/k",
        "https://h:1/services/os/b/k",
        "http://h:1/b/k",
        "http://h:1/services/os/b/%0",
        "http://h:1/services/os/b/%00",
        "http://h:1/services/os/../k",
        "http://h:1/services/os/b?x/k",
        "x",
        "",
    };
    struct im_error err = { 0 };
    char *bucket IM_FREE
    = NULL, *key IM_FREE
    = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++)
        assert_true(euca_s3_locate(&s3, elsewhere[i], &bucket, &key, &err) < 0);
    assert_null(bucket);
    assert_int_equal(
        euca_s3_locate(&s3, "http://h:1/services/os/b.u/a//b%20c+d?x=/y#z", &bucket, &key, &err),
        0);
    assert_string_equal(bucket, "b.u");
    assert_string_equal(key, "a//b c+d");
}

static void progress_lines(void **state)
{
    char buf[128];

    (void)state;
    assert_string_equal(euca_progress_text(buf, sizeof(buf), 0, GIB, 0),
                        "  0%  0 B of 1.0 GiB  0 B/s  ETA -:--");
    assert_string_equal(euca_progress_text(buf, sizeof(buf), 512 * MIB, GIB, 8000),
                        " 50%  512.0 MiB of 1.0 GiB  64.0 MiB/s  ETA 0:09");
    assert_string_equal(euca_progress_text(buf, sizeof(buf), GIB / 4, GIB, 3600 * 1000),
                        " 25%  256.0 MiB of 1.0 GiB  72.8 KiB/s  ETA 3:00:01");
    assert_string_equal(euca_progress_text(buf, sizeof(buf), GIB, GIB, 16000),
                        "100%  1.0 GiB of 1.0 GiB  64.0 MiB/s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_ten_mebibytes),
        cmocka_unit_test(large_files_have_larger_parts),
        cmocka_unit_test(so_many_parts_fit_into_a_manifest),
        cmocka_unit_test(keys_keep_their_slashes),
        cmocka_unit_test(objects_are_found_below_the_endpoint_only),
        cmocka_unit_test(progress_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

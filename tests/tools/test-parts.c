/* How a file is cut into parts, where its objects go, and what the progress line says;
 * how long URLs last; the command that resumes. */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "aws/manifest.h"
#include "base/cleanup.h"
#include "base/retry.h"

#include "hint.h"
#include "manifest.h"
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
        char *signed_url IM_FREE = NULL;

        assert_int_equal(euca_s3_presign(&s3, methods[i], "import-bucket", key, 1797812384000,
                                         604800, &signed_url, &err),
                         0);
        assert_non_null(strstr(signed_url, "&X-Amz-Expires=604800&"));
        bytes += strlen(signed_url) + 5 * strlen("amp;");
    }
    bytes += 350; /* the elements around them */
    assert_true(bytes * EUCA_PARTS_MAX < IM_MANIFEST_MAX);
}

/* Names and session tokens may be so long that they do not: then parts grow, and when somebody
 * asked for their size, or they cannot grow any more, that is told.  Nothing is sent before. */
static void parts_grow_until_their_manifest_is_small_enough(void **state)
{
    char url[] = "http://127.0.0.1:1"; /* nobody listens there */
    char token[3001] = "";
    struct euca_endpoint s3 = endpoint(url);
    static const struct {
        uint64_t file_size, part_size; /* 0: any */
        bool token;
        size_t parts; /* of the manifest that nobody takes; 0: of none */
        const char *words;
    } rows[] = {
        { 100 * 10 * MIB + 1, 0, true, 101, "connect" },
        { 900 * 10 * MIB, 0, true, 450, "connect" },
        { 100 * MIB, MIB, true, 100, "connect" },
        { 900 * MIB, MIB, true, 0, "8388607 bytes" },
        { 20000 * MIB, MIB, true, 0, "more than 20000 parts of 1048576 bytes; use larger parts" },
        /* 5 MiB are what Eucalyptus reads; our service, and who asks for it, has more */
        { 38 * GIB, 0, false, 1946, "connect" },
        { 38 * GIB, 10 * MIB, false, 3892, "connect" },
        { 16 * 1024 * GIB, 0, false, 3277, "connect" },
        { 4000 * 5 * GIB, 0, true, 0, "'big' of 21474836480000 bytes is too large for one import" },
    };
    const size_t quick = 5;
    size_t count = sizeof(rows) / sizeof(rows[0]);
    struct im_http *http = im_http_new();

    (void)state;
    memset(token, 't', sizeof(token) - 1);
    if (getenv("UNDER_VALGRIND")) /* which takes minutes to sign so many URLs */
        count = quick;
    for (size_t i = 0; i < count; i++) {
        const struct euca_image image = { .path = "big", .file_size = rows[i].file_size };
        const struct euca_upload upload = {
            .s3 = &s3,
            .image = &image,
            .bucket = "b",
            .manifest_key = "7c1e0c3e-0f0a-4a53-9a4c-2b8a5a1d7f10/web.manifest.xml",
            .basename = "big",
            .file_format = "RAW",
            .disk_size = rows[i].file_size,
            .volume_gib = rows[i].file_size / GIB + 1,
            .expires_s = 3600,
            .part_size = rows[i].part_size
        };
        struct im_manifest *manifest = NULL;
        struct im_error err = { 0 };

        s3.token = rows[i].token ? token : NULL;
        assert_true(euca_manifest_make(http, &upload, &manifest, &err) < 0);
        if (!strstr(err.message, rows[i].words))
            fail_msg("'%s' is not in: %s", rows[i].words, err.message);
        assert_int_equal(manifest ? manifest->part_count : 0, rows[i].parts);
        im_manifest_free(manifest);
    }
    im_http_free(http);
}

static void keys_keep_their_slashes(void **state)
{
    char *path IM_FREE = euca_s3_path("b", "a//b c/../d+e");

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
        "http://h:1?/services/os/b/k",
        "x",
        "",
    };
    static const char *const there[] = {
        "http://h:1/services/os/b.u/a//b%20c+d?x=/y#z",
        "HTTP://H:1/services/os/b.u/a//b%20c+d",
    };
    const struct euca_endpoint *store = NULL;
    struct im_error err = { 0 };
    char *bucket = NULL, *key = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++)
        assert_true(euca_s3_locate(&s3, elsewhere[i], &store, &bucket, &key, &err) < 0);
    assert_null(bucket);
    assert_null(store);
    for (size_t i = 0; i < sizeof(there) / sizeof(there[0]); i++) {
        assert_int_equal(euca_s3_locate(&s3, there[i], &store, &bucket, &key, &err), 0);
        assert_ptr_equal(store, &s3);
        assert_string_equal(bucket, "b.u");
        assert_string_equal(key, "a//b c+d");
        free(bucket);
        free(key);
    }
}

/* Whose port is that of the scheme, told or not, is the same; the stores of other regions are known
 * too. */
static void objects_are_found_in_any_store(void **state)
{
    char own[] = "http://h", west[] = "https://West.example:8773/os", east[] = "https://east:443";
    struct euca_endpoint others[] = { endpoint(west), endpoint(east) };
    struct euca_endpoint s3 = endpoint(own);
    const struct {
        const char *url;
        const struct euca_endpoint *store; /* NULL: none */
    } rows[] = {
        { "http://h/b/k", &s3 },
        { "http://H:80/b/k", &s3 },
        { "http://h:443/b/k", NULL },
        { "https://h:80/b/k", NULL },
        { "http://user@h/b/k", NULL },
        { "https://west.EXAMPLE:8773/os/b/k", &others[0] },
        { "https://west.example:8773/OS/b/k", NULL },
        { "https://east/b/k", &others[1] },
        { "https://east:443/b/k?X-Amz-Signature=x", &others[1] },
    };

    (void)state;
    s3.other = others;
    s3.other_count = 2;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct euca_endpoint *store = NULL;
        char *bucket IM_FREE = NULL, *key IM_FREE = NULL;
        struct im_error err = { 0 };
        int r = euca_s3_locate(&s3, rows[i].url, &store, &bucket, &key, &err);

        if (r != (rows[i].store ? 0 : -EINVAL) || store != rows[i].store)
            fail_msg("%s: %d", rows[i].url, r);
        if (store)
            assert_string_equal(key, "k");
    }
}

static void progress_lines(void **state)
{
    static const struct {
        struct euca_progress_state state;
        const char *text;
    } rows[] = {
        { { .total = GIB }, "  0%  0 B of 1.0 GiB  0 B/s  ETA -:--" },
        { { 512 * MIB, GIB, 512 * MIB, 8000, 51, 103 },
          " 50%  512.0 MiB of 1.0 GiB  64.0 MiB/s  ETA 0:09  parts 51/103" },
        { { GIB / 4, GIB, GIB / 4, 3600 * 1000, 1, 4 },
          " 25%  256.0 MiB of 1.0 GiB  72.8 KiB/s  ETA 3:00:01  parts 1/4" },
        { { GIB, GIB, GIB, 16000, 4, 4 }, "100%  1.0 GiB of 1.0 GiB  64.0 MiB/s  parts 4/4" },
        /* a resumed one is as fast as what it sends, not as what was there */
        { { 768 * MIB, GIB, 256 * MIB, 4000, 3, 4 },
          " 75%  768.0 MiB of 1.0 GiB  64.0 MiB/s  ETA 0:05  parts 3/4" },
        { { GIB, GIB, 0, 1000, 4, 4 }, "100%  1.0 GiB of 1.0 GiB  0 B/s  parts 4/4" },
    };
    char buf[128];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(euca_progress_text(buf, sizeof(buf), &rows[i].state), rows[i].text);
}

static void a_quoted_word_is_one_line_of_one_word(void **state)
{
    static const struct {
        const char *word, *quoted;
    } rows[] = {
        { "/data/disk-1.img", "/data/disk-1.img" },
        { "", "''" },
        { "a b", "'a b'" },
        { "it's;$(rm x)", "'it'\\''s;$(rm x)'" },
        { "gr\303\266\303\237e", "'gr\303\266\303\237e'" },
        { "a\nb'\\\377", "$'a\\x0ab\\'\\\\\\xff'" },
        { "\033[2J", "$'\\x1b[2J'" },
        /* U+009B, which some terminals take for ESC [; U+202E turns the writing around */
        { "a\302\233b.img", "$'a\\xc2\\x9bb.img'" },
        { "a\342\200\256b", "$'a\\xe2\\x80\\xaeb'" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(1024);

        assert_int_equal(euca_shell_quote(&out, rows[i].word), 0);
        assert_string_equal(out.data, rows[i].quoted);
    }
}

static void urls_tell_when_they_expire(void **state)
{
    char url[] = "http://h:1/s";
    struct euca_endpoint s3 = endpoint(url);
    int64_t now_ms = INT64_C(1797812384000);
    struct im_error err;

    (void)state;
    for (int version = 0; version < 2; version++) {
        char *signed_url IM_FREE = NULL;

        s3.sigv2 = version == 0;
        assert_int_equal(euca_s3_presign(&s3, "GET", "b", "k", now_ms, 7200, &signed_url, &err), 0);
        assert_non_null(strstr(signed_url, s3.sigv2 ? "/b/k?AWSAccessKeyId=" : "X-Amz-Signature="));
        assert_true(euca_s3_expiry_ms(signed_url) == now_ms + 7200 * 1000);
    }
    assert_true(euca_s3_expiry_ms("http://h/b/k") == INT64_MAX);
    assert_true(euca_s3_expiry_ms("http://h/b/k?Expires=1") == INT64_MAX);
    assert_true(euca_s3_expiry_ms("http://h/b/k?AWSAccessKeyId=x&Expires=1&Signature=y") == 1000);
    assert_true(euca_s3_expiry_ms("http://h/b/k?AWSAccessKeyId=x&Expires=-1") == INT64_MAX);
    assert_true(euca_s3_expiry_ms("http://h/b/k?X-Amz-Date=20261121&X-Amz-Expires=1") == INT64_MAX);
    assert_true(euca_s3_expiry_ms("http://h/b/k?%zz") == INT64_MAX);
}

static void days_have_a_default_and_a_limit(void **state)
{
    char url[] = "http://h:1/s";
    struct euca_endpoint s3 = endpoint(url);
    const uint64_t day = 86400;

    (void)state;
    assert_int_equal(euca_s3_expires_s("test", &s3, 0), 7 * day);
    assert_int_equal(euca_s3_expires_s("test", &s3, 1), day);
    assert_int_equal(euca_s3_expires_s("test", &s3, 8), 7 * day);
    s3.sigv2 = true;
    assert_int_equal(euca_s3_expires_s("test", &s3, 0), 30 * day);
    assert_int_equal(euca_s3_expires_s("test", &s3, 365), 365 * day);
    assert_int_equal(euca_s3_expires_s("test", &s3, UINT64_MAX), 36500 * day);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_ten_mebibytes),
        cmocka_unit_test(large_files_have_larger_parts),
        cmocka_unit_test(so_many_parts_fit_into_a_manifest),
        cmocka_unit_test(parts_grow_until_their_manifest_is_small_enough),
        cmocka_unit_test(keys_keep_their_slashes),
        cmocka_unit_test(objects_are_found_below_the_endpoint_only),
        cmocka_unit_test(objects_are_found_in_any_store),
        cmocka_unit_test(progress_lines),
        cmocka_unit_test(a_quoted_word_is_one_line_of_one_word),
        cmocka_unit_test(urls_tell_when_they_expire),
        cmocka_unit_test(days_have_a_default_and_a_limit),
    };

    (void)setenv(IM_RETRY_HASTE, "1000000", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

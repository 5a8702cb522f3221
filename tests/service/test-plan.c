/* test-plan - task row to job, and the names of a claim's files. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "dispatch/plan.h"

static char volumes[] = "/srv/volumes", scratch[] = "/srv/scratch";
static char https[] = "https", host[] = "*.example.com:443", network[] = "10.1.0.0/16";
static char *schemes[] = { https }, *hosts[] = { host }, *networks[] = { network };
static const struct svc_conf conf = { .volumes_dir = volumes,
                                      .scratch_dir = scratch,
                                      .manifest_schemes = { 1, schemes },
                                      .manifest_hosts = { 1, hosts },
                                      .manifest_networks = { 1, networks } };

static char id[] = "import-vol-0123abcd", volume_id[] = "vol-00112233445566778", vmdk[] = "VMDK",
            url[] = "http://h:1//b//k?Signature=a%2B\"b\\&c=\xd0\x96";

static struct stage a_stage(void)
{
    return (struct stage){
        .number = 1,
        .volume_id = volume_id,
        .format = vmdk,
        .manifest_url = url,
        .volume_gib = 8,
        .epoch = 3,
    };
}

static int plan_with(struct stage *stage, const struct plan_objects *objects, char **ret_json,
                     struct im_error *err)
{
    const struct claim claim = { .task = { .id = id }, .stage = stage };
    struct claim_files files CLAIM_FILES_DONE = { 0 };

    assert_int_equal(claim_files_init(&conf, &claim, stage->epoch, &files, err), 0);
    return plan_job(&conf, &claim, &files, objects, ret_json, err);
}

static int plan(struct stage *stage, char **ret_json, struct im_error *err)
{
    return plan_with(stage, NULL, ret_json, err);
}

/* The directory of the claim. */
#define JOB "/srv/volumes/.import-vol-0123abcd.1.3.part.job/"

static void test_names(void **state)
{
    struct claim_files files CLAIM_FILES_DONE = { 0 };
    struct stage stage = a_stage();
    const struct claim claim = { .task = { .id = id }, .stage = &stage };
    struct im_error err;

    (void)state;
    assert_int_equal(claim_files_init(&conf, &claim, stage.epoch, &files, &err), 0);
    assert_string_equal(files.part, "/srv/volumes/.import-vol-0123abcd.1.3.part");
    assert_string_equal(files.store, JOB ".import-vol-0123abcd.1.3.part");
    assert_string_equal(files.volume, "/srv/volumes/vol-00112233445566778.raw");
    assert_string_equal(files.scratch, "/srv/scratch/import-vol-0123abcd.1.3");
}

static void test_job(void **state)
{
    struct stage stage = a_stage();
    char *json IM_FREE = NULL;
    struct im_error err;

    (void)state;
    assert_int_equal(plan(&stage, &json, &err), 0);
    assert_string_equal(
        json, "{\"source\":\"manifest:http://h:1//b//k?Signature=a%2B\\\"b\\\\&c=\xd0\x96\","
              "\"format\":\"vmdk\",\"max_size\":8589934592,"
              "\"stages\":[{\"name\":\"grow\",\"size\":8589934592}],"
              "\"store\":\"" JOB ".import-vol-0123abcd.1.3.part\","
              "\"volume\":\"vol-00112233445566778.raw\",\"digest\":\"fs-verity\",\"force\":true,"
              "\"resume\":true,\"confined\":true,\"earlier\":\"" JOB ".import-vol-0123abcd.1.\","
              "\"scratch\":\"/srv/scratch/import-vol-0123abcd.1.3\","
              "\"urls\":{\"schemes\":[\"https\"],\"hosts\":[\"*.example.com:443\"],"
              "\"networks\":[\"10.1.0.0/16\"]}}");
}

/* What was announced of a raw image is all of it; of others it may be the file or the disk. */
static void test_bytes(void **state)
{
    static char raw[] = "Raw";
    struct stage stage = a_stage();
    char *json IM_FREE = NULL;
    char wanted[64];
    struct im_error err;

    (void)state;
    stage.format = raw;
    assert_int_equal(plan(&stage, &json, &err), 0);
    (void)snprintf(wanted, sizeof(wanted), ",\"bytes\":%" PRIu64 ",\"format\":\"raw\",",
                   stage.image_bytes);
    assert_non_null(strstr(json, wanted));
}

/* Where the service's own object store is goes along when it is known. */
static void test_objects(void **state)
{
    static const struct plan_objects objects = { .url = "http://127.0.0.1:8773/objects/",
                                                 .dir = "/srv/objects" };
    struct stage stage = a_stage();
    char *json IM_FREE = NULL;
    struct im_error err;

    (void)state;
    assert_int_equal(plan_with(&stage, &objects, &json, &err), 0);
    assert_non_null(strstr(json, ",\"objects\":{\"prefix\":\"http://127.0.0.1:8773/objects/\","
                                 "\"dir\":\"/srv/objects\"}}"));
}

static void test_formats(void **state)
{
    static const struct {
        char format[24];
        int result;
    } cases[] = {
        { "RAW", 0 },
        { "vhd", 0 },
        { "Qcow2", 0 },
        { "", -EINVAL },
        { "a/b", -EINVAL },
        { "raw,x", -EINVAL },
        { "seventeen17letters", -EINVAL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct stage stage = a_stage();
        char format[24], *json IM_FREE = NULL;
        struct im_error err;

        memcpy(format, cases[i].format, sizeof(format));
        stage.format = format;
        assert_int_equal(plan(&stage, &json, &err), cases[i].result);
        if (i == 2)
            assert_non_null(strstr(json, "\"format\":\"qcow2\""));
        if (cases[i].result < 0)
            assert_null(json);
    }
}

static void test_volume_bytes(void **state)
{
    struct stage stage = a_stage();
    char *json IM_FREE = NULL;
    struct im_error err;
    uint64_t bytes = 7;

    (void)state;
    stage.volume_gib = UINT64_C(0x1ffffffff); /* the largest: 2^63 - 2^30 bytes */
    assert_int_equal(plan_volume_bytes(&stage, &bytes, &err), 0);
    assert_int_equal(bytes, UINT64_C(0x7fffffffc0000000));
    stage.volume_gib++;
    assert_int_equal(plan_volume_bytes(&stage, &bytes, &err), -EFBIG);
    assert_non_null(strstr(err.message, "8589934592 GiB"));
    assert_int_equal(plan(&stage, &json, &err), -EFBIG);
    stage.volume_gib = 0;
    assert_int_equal(plan_volume_bytes(&stage, &bytes, &err), -EFBIG);
}

/* JSON is UTF-8; a row that is not says so instead of starting something else. */
static void test_bad_text(void **state)
{
    struct stage stage = a_stage();
    char bad[] = "http://h/\xff", *json IM_FREE = NULL;
    struct im_error err;

    (void)state;
    stage.manifest_url = bad;
    assert_int_equal(plan(&stage, &json, &err), -EINVAL);
    assert_null(json);
    assert_null(strstr(err.message, "http:")); /* an URL may hold a signature */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),    cmocka_unit_test(test_job),
        cmocka_unit_test(test_formats),  cmocka_unit_test(test_volume_bytes),
        cmocka_unit_test(test_bad_text), cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_objects),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test-launch - descriptor and launch specification: as a record, as EC2 parameters; answers. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "launch/ec2-form.h"
#include "launch/ec2-reply.h"
#include "launch/launcher.h"
#include "launch/record.h"

static const struct launch_disk disks[] = {
    { .volume_id = "vol-1", .path = "/v/1", .gib = 8, .digest = "sha256:ab" },
    { .volume_id = "vol-2", .path = "/v/2", .gib = 1, .description = "data" },
};

static struct launch_machine a_machine(void)
{
    return (struct launch_machine){
        .task_id = "import-i-1",
        .account = "000000000001",
        .image_id = "ami-0123456789abcdef0",
        .instance_id = "i-0123456789abcdef0",
        .architecture = "x86_64",
        .platform = "WINDOWS",
        .disk = disks,
        .disk_count = 2,
    };
}

static json_t *image_of(const struct launch_machine *machine)
{
    json_t *spec = NULL, *image = NULL;
    struct im_error err;

    assert_int_equal(record_parse_spec(machine->launch_spec, &spec, &err), 0);
    assert_int_equal(record_image(machine, spec, &image, &err), 0);
    json_decref(spec);
    return image;
}

static void test_descriptor(void **state)
{
    struct launch_machine machine = a_machine();
    json_t *image = image_of(&machine);
    char *text IM_FREE = json_dumps(image, JSON_COMPACT | JSON_SORT_KEYS);

    (void)state;
    assert_string_equal(
        text, "{\"account\":\"000000000001\",\"architecture\":\"x86_64\",\"block_device_mapping\":["
              "{\"device_name\":\"/dev/sda1\",\"digest\":\"sha256:ab\",\"path\":\"/v/1\","
              "\"size_gib\":8,\"volume_id\":\"vol-1\"},"
              "{\"description\":\"data\",\"device_name\":\"xvdb\",\"path\":\"/v/2\","
              "\"size_gib\":1,\"volume_id\":\"vol-2\"}],\"image_id\":\"ami-0123456789abcdef0\","
              "\"name\":\"ami-0123456789abcdef0\",\"platform\":\"WINDOWS\","
              "\"root_device_name\":\"/dev/sda1\",\"root_device_type\":\"ebs\","
              "\"task_id\":\"import-i-1\",\"version\":1,\"virtualization_type\":\"hvm\"}");
    json_decref(image);
}

/* JSON is UTF-8, and a row of the table may hold anything. */
static void test_bad_text(void **state)
{
    struct launch_machine machine = a_machine();
    json_t *spec = json_object(), *image = NULL;
    struct im_error err;

    (void)state;
    machine.description = "\xff";
    assert_int_equal(record_image(&machine, spec, &image, &err), -EINVAL);
    assert_null(image);
    json_decref(spec);
    spec = NULL;
    assert_int_equal(record_parse_spec("{\"UserData\": \"c2VjcmV0\", ", &spec, &err), -EINVAL);
    assert_null(strstr(err.message, "c2VjcmV0"));
    assert_null(spec);
}

static void test_ids(void **state)
{
    (void)state;
    assert_true(record_is_id("ami-0123456789abcdef0", "ami-"));
    assert_false(record_is_id("ami-0123456789abcdef01", "ami-"));
    assert_false(record_is_id("ami-0123456789abcdef/", "ami-"));
    assert_false(record_is_id("i-0123456789abcdef0", "ami-"));
    assert_false(record_is_id(NULL, "i-"));
    assert_true(launch_is_id("VM-17"));
    assert_false(launch_is_id(""));
    assert_false(launch_is_id("vm_17"));
    assert_ptr_equal(launch_state("running"), launch_state("running"));
    assert_null(launch_state("terminated"));
}

static void test_parameters(void **state)
{
    static const char snapshots[2][LAUNCH_ID_SIZE] = { "snap-1", "snap-2" };
    struct im_buffer form IM_BUFFER_DONE = EC2_FORM;
    struct launch_machine machine = a_machine();
    char text[EC2_KEY_SIZE];
    json_t *image = image_of(&machine);

    (void)state;
    assert_int_equal(ec2_form_image(&form, image, snapshots), 0);
    assert_string_equal(
        form.data, "Name=ami-0123456789abcdef0%20%28import-i-1%29&Architecture=x86_64&"
                   "RootDeviceName=%2Fdev%2Fsda1&VirtualizationType=hvm&"
                   "BlockDeviceMapping.1.DeviceName=%2Fdev%2Fsda1&"
                   "BlockDeviceMapping.1.Ebs.SnapshotId=snap-1&"
                   "BlockDeviceMapping.1.Ebs.VolumeSize=8&BlockDeviceMapping.2.DeviceName=xvdb&"
                   "BlockDeviceMapping.2.Ebs.SnapshotId=snap-2&"
                   "BlockDeviceMapping.2.Ebs.VolumeSize=1");
    ec2_snapshot_description(image, 1, text);
    assert_string_equal(text, "import-i-1 vol-2");
    ec2_client_token(image, text);
    assert_string_equal(text, "import-i-1");
    assert_int_equal(ec2_disk_count(image), 2);
    json_decref(image);
}

static void test_too_large(void **state)
{
    struct im_buffer form IM_BUFFER_DONE = EC2_FORM;
    char *long_text IM_FREE = calloc(1, EC2_FORM_MAX + 1);

    (void)state;
    memset(long_text, 'x', EC2_FORM_MAX);
    assert_int_equal(ec2_form_add(&form, "UserData", long_text), -EFBIG);
}

static void test_replies(void **state)
{
    char first[8], second[4], missing[4] = "old";
    const struct ec2_field fields[] = {
        { "set/item/id", first, sizeof(first) },
        { "set/item/state/name", second, sizeof(second) },
        { "set/id", missing, sizeof(missing) },
    };
    static const char good[] = "<R><id>0</id><set><item><id>one\n</id><state><name>pending</name>"
                               "</state></item><item><id>two</id></item></set></R>";
    static const char dtd[] = "<!DOCTYPE R><R/>";
    struct im_error err;

    (void)state;
    assert_int_equal(ec2_reply_read(good, strlen(good), fields, 3, &err), 0);
    assert_string_equal(first, "one ");
    assert_string_equal(second, "pen");
    assert_string_equal(missing, "");
    assert_int_equal(ec2_reply_read(dtd, strlen(dtd), fields, 3, &err), -EBADMSG);
    assert_int_equal(ec2_reply_read(dtd + 12, strlen(dtd) - 12, fields, 3, &err), 0);
    assert_int_equal(ec2_reply_read("", 0, fields, 3, &err), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptor), cmocka_unit_test(test_bad_text),
        cmocka_unit_test(test_ids),        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_too_large),  cmocka_unit_test(test_replies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The lines that programs parse, byte for byte (section 3.3 of the clients' description), and JSON
 * as the AWS CLI prints it. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"

#include "output.h"

static char text_id[] = "import-vol-00000000";
static char text_time[] = "2026-11-28T00:00:00Z";
static char text_active[] = "active";
static char text_pending[] = "Pending import-image upload";
static char text_raw[] = "RAW";
static char text_bytes[] = "25000000";
static char text_one[] = "1";
static char text_zone[] = "zone-a";
static char text_zero[] = "0";
static char text_empty[] = "";
static char text_volume[] = "vol-99aabbcc";
static char text_instance[] = "i-12345678";
static char text_hostile[] = "a\tb\nTaskType\x1b[31m\x7f\xff";

static void prints(const struct euca_task *task, const char *wanted)
{
    char *text IM_FREE = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    euca_print_task(out, task);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, wanted);
}

static void the_documented_example(void **state)
{
    struct euca_task_disk disk = { .format = text_raw,
                                   .size = text_bytes,
                                   .volume_size = text_one,
                                   .zone = text_zone,
                                   .bytes_converted = text_zero };
    struct euca_task task = { .id = text_id,
                              .expiration_time = text_time,
                              .state = text_active,
                              .status_message = text_pending,
                              .disk_count = 1,
                              .disk = &disk };

    (void)state;
    prints(&task, "TaskType\tIMPORTVOLUME\tTaskId\timport-vol-00000000\tExpirationTime\t"
                  "2026-11-28T00:00:00Z\tStatus\tactive\tStatusMessage\tPending import-image "
                  "upload\nDISKIMAGE\tDiskImageFormat\tRAW\tDiskImageSize\t25000000\tVolumeSize\t1"
                  "\tAvailabilityZone\tzone-a\tApproximateBytesConverted\t0\n");
}

static void instance_tasks_have_status_per_disk(void **state)
{
    struct euca_task_disk disks[] = { { .format = text_raw,
                                        .volume_id = text_volume,
                                        .status = text_active,
                                        .status_message = text_pending },
                                      { .size = text_bytes } };
    struct euca_task task = { .id = text_id,
                              .state = text_active,
                              .instance_id = text_instance,
                              .instance = true,
                              .disk_count = 2,
                              .disk = disks };

    (void)state;
    prints(&task, "TaskType\tIMPORTINSTANCE\tTaskId\timport-vol-00000000\tStatus\tactive\t"
                  "InstanceID\ti-12345678\n"
                  "DISKIMAGE\tDiskImageFormat\tRAW\tVolumeId\tvol-99aabbcc\tStatus\tactive\t"
                  "StatusMessage\tPending import-image upload\n"
                  "DISKIMAGE\tDiskImageSize\t25000000\n");
}

static void absent_and_empty_pairs_are_left_out(void **state)
{
    struct euca_task_disk disk = { .format = text_empty };
    struct euca_task task = {
        .id = text_id, .status_message = text_empty, .disk_count = 1, .disk = &disk
    };

    (void)state;
    prints(&task, "TaskType\tIMPORTVOLUME\tTaskId\timport-vol-00000000\nDISKIMAGE\n");
}

static void a_task_without_an_import_prints_nothing(void **state)
{
    struct euca_task task = { .id = text_id, .state = text_active };

    (void)state;
    prints(&task, "");
}

static void what_servers_send_starts_no_line_or_column(void **state)
{
    struct euca_task task = { .id = text_id, .status_message = text_hostile, .instance = true };

    (void)state;
    prints(&task, "TaskType\tIMPORTINSTANCE\tTaskId\timport-vol-00000000\tStatusMessage\ta b "
                  "TaskType?[31m??\n");
}

static const char answer[] =
    "<R><conversionTasks><item><conversionTaskId>import-vol-1</conversionTaskId>"
    "<expirationTime>2026-11-28T00:00:00Z</expirationTime><importVolume>"
    "<availabilityZone>zone-a</availabilityZone><bytesConverted>7</bytesConverted>"
    "<description>data \"disk\"</description><image><checksum>0a</checksum><format>RAW</format>"
    "<importManifestUrl>http://u:p@s3/b/x.xml?Signature=secret</importManifestUrl>"
    "<size>25000000</size></image><volume><id>vol-1</id><size>1</size></volume></importVolume>"
    "<state>completed</state><statusMessage>done</statusMessage>"
    "<tagSet><item><key>Name</key><value>web 1</value></item><item/></tagSet></item>"
    "<item><conversionTaskId>import-i-1</conversionTaskId><importInstance>"
    "<description>web</description><instanceId>i-1</instanceId><platform>Linux</platform><volumes>"
    "<item><bytesConverted>x</bytesConverted><image><size>-1</size></image><status>active</status>"
    "<statusMessage>m</statusMessage><volume/></item><item/></volumes></importInstance>"
    "<state>active</state></item><item><conversionTaskId>import-vol-2</conversionTaskId></item>"
    "</conversionTasks></R>";

static void json_is_in_the_names_of_the_api(void **state)
{
    static const char *const wanted[] = {
        "{\"ConversionTaskId\":\"import-vol-1\",\"ExpirationTime\":\"2026-11-28T00:00:00Z\","
        "\"ImportVolume\":{\"AvailabilityZone\":\"zone-a\",\"BytesConverted\":7,"
        "\"Description\":\"data \\\"disk\\\"\",\"Image\":{\"Checksum\":\"0a\",\"Format\":\"RAW\","
        "\"ImportManifestUrl\":\"http://s3/b/x.xml\",\"Size\":25000000},"
        "\"Volume\":{\"Id\":\"vol-1\",\"Size\":1}},\"State\":\"completed\","
        "\"StatusMessage\":\"done\",\"Tags\":[{\"Key\":\"Name\",\"Value\":\"web 1\"},{}]}\n",
        "{\"ConversionTaskId\":\"import-i-1\",\"ImportInstance\":{\"Description\":\"web\","
        "\"InstanceId\":\"i-1\",\"Platform\":\"Linux\",\"Volumes\":[{\"Image\":{},"
        "\"Status\":\"active\",\"StatusMessage\":\"m\",\"Volume\":{}},{\"Image\":{},"
        "\"Volume\":{}}]},\"State\":\"active\"}\n",
        "{\"ConversionTaskId\":\"import-vol-2\"}\n",
    };
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };

    (void)state;
    assert_int_equal(euca_reply_tasks(answer, strlen(answer), &tasks, NULL), 0);
    assert_int_equal(tasks.count, 3);
    for (size_t i = 0; i < tasks.count; i++) {
        char *text IM_FREE = NULL;
        size_t len;
        FILE *out = open_memstream(&text, &len);

        assert_non_null(out);
        assert_int_equal(euca_print_task_json(out, &tasks.task[i]), 0);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(text, wanted[i]);
    }
}

/* A key may have 1024 bytes, and three times as many where they are percent-encoded. */
static void urls_are_whole(void **state)
{
    char url[4001], wanted[4200];
    struct euca_task_disk disk = { .manifest_url = url };
    struct euca_task task = { .id = text_id, .disk_count = 1, .disk = &disk };
    char *text IM_FREE = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    memset(url, 'k', sizeof(url) - 1);
    url[sizeof(url) - 1] = '\0';
    memcpy(url, "http://s3/", 10);
    (void)snprintf(wanted, sizeof(wanted), "\"Image\":{\"ImportManifestUrl\":\"%s\"}", url);
    assert_int_equal(euca_print_task_json(out, &task), 0);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, wanted));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_documented_example),
        cmocka_unit_test(instance_tasks_have_status_per_disk),
        cmocka_unit_test(absent_and_empty_pairs_are_left_out),
        cmocka_unit_test(a_task_without_an_import_prints_nothing),
        cmocka_unit_test(what_servers_send_starts_no_line_or_column),
        cmocka_unit_test(json_is_in_the_names_of_the_api),
        cmocka_unit_test(urls_are_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

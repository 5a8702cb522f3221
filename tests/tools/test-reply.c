/* What is read from the answers of services: tasks of both kinds, results, faults, and rubbish. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "reply.h"

#define NS " xmlns=\"http://ec2.amazonaws.com/doc/2015-10-01/\""

static const char import_volume[] =
    "<ImportVolumeResponse" NS "><requestId>r</requestId><conversionTask>"
    "<conversionTaskId>import-vol-1a2b3c4d</conversionTaskId>"
    "<expirationTime>Wed May 14 15:37:44 PDT 2014</expirationTime><importVolume>"
    "<bytesConverted>0</bytesConverted><availabilityZone>zone-a</availabilityZone>"
    "<description>data disk</description><image><format>RAW</format><size>25000000</size>"
    "<importManifestUrl>http://s3/b/x.xml?a=1&amp;b=2</importManifestUrl></image>"
    "<volume><size>1</size><id>vol-99aabbcc</id></volume><status>not for volumes</status>"
    "</importVolume><state>active</state><statusMessage></statusMessage><tagSet/>"
    "</conversionTask></ImportVolumeResponse>";

static const char import_instance[] =
    "<conversionTask><conversionTaskId>import-i-1</conversionTaskId><importInstance><volumes>"
    "<item><bytesConverted>7</bytesConverted><image><format>VMDK</format></image>"
    "<status>active</status><statusMessage>m</statusMessage></item>"
    "<other><volume><size>8</size></volume></other>"
    "</volumes><instanceId>i-1</instanceId><platform>Linux</platform></importInstance>"
    "<state>completed</state></conversionTask>";

static int read_tasks(const char *xml, struct euca_tasks *tasks)
{
    struct im_error err = { 0 };
    int r = euca_reply_tasks(xml, strlen(xml), tasks, &err);

    if (r < 0)
        assert_true(err.number == -r && err.message[0]);
    return r;
}

static void a_volume_task(void **state)
{
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
    const struct euca_task *task;

    (void)state;
    assert_int_equal(read_tasks(import_volume, &tasks), 0);
    assert_int_equal(tasks.count, 1);
    task = &tasks.task[0];
    assert_string_equal(task->id, "import-vol-1a2b3c4d");
    assert_string_equal(task->expiration_time, "Wed May 14 15:37:44 PDT 2014");
    assert_string_equal(task->state, "active");
    assert_null(task->status_message);
    assert_null(task->instance_id);
    assert_false(task->instance);
    assert_int_equal(task->disk_count, 1);
    assert_string_equal(task->disk[0].format, "RAW");
    assert_string_equal(task->disk[0].size, "25000000");
    assert_string_equal(task->disk[0].manifest_url, "http://s3/b/x.xml?a=1&b=2");
    assert_string_equal(task->disk[0].volume_id, "vol-99aabbcc");
    assert_string_equal(task->disk[0].volume_size, "1");
    assert_string_equal(task->disk[0].zone, "zone-a");
    assert_string_equal(task->disk[0].bytes_converted, "0");
    assert_null(task->disk[0].status);
}

static void an_instance_task(void **state)
{
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
    char xml[2048];

    (void)state;
    strcpy(xml, "<R>");
    strcat(strcat(xml, import_instance), "</R>");
    assert_int_equal(read_tasks(xml, &tasks), 0);
    assert_true(tasks.task[0].instance);
    assert_string_equal(tasks.task[0].instance_id, "i-1");
    assert_int_equal(tasks.task[0].disk_count, 2);
    assert_string_equal(tasks.task[0].disk[0].status, "active");
    assert_string_equal(tasks.task[0].disk[0].status_message, "m");
    assert_string_equal(tasks.task[0].disk[0].bytes_converted, "7");
    assert_string_equal(tasks.task[0].disk[1].volume_size, "8");
    assert_null(tasks.task[0].disk[1].format);
}

static void a_list_whatever_its_items_are_called(void **state)
{
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };

    (void)state;
    assert_int_equal(read_tasks("<R><conversionTasks> <item><conversionTaskId>a</conversionTaskId>"
                                "<importVolume/></item>"
                                "<member><conversionTaskId>b</conversionTaskId></member>"
                                "</conversionTasks></R>",
                                &tasks),
                     0);
    assert_int_equal(tasks.count, 2);
    assert_string_equal(tasks.task[0].id, "a");
    assert_string_equal(tasks.task[1].id, "b");
    assert_int_equal(tasks.task[0].disk_count, 0);
    assert_false(tasks.task[1].instance);
}

static void tags_in_their_order(void **state)
{
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
    const struct euca_task *task;

    (void)state;
    assert_int_equal(
        read_tasks("<R><conversionTask><tagSet>\n <!-- two --><item><key>a</key> "
                   "<value>1 &lt; 2</value></item> <item><key>b</key><value/></item>"
                   "</tagSet><conversionTaskId>t</conversionTaskId></conversionTask></R>",
                   &tasks),
        0);
    task = &tasks.task[0];
    assert_string_equal(task->id, "t");
    assert_int_equal(task->tag_count, 2);
    assert_string_equal(task->tag[0].key, "a");
    assert_string_equal(task->tag[0].value, "1 < 2");
    assert_string_equal(task->tag[1].key, "b");
    assert_null(task->tag[1].value);
}

static void an_empty_list(void **state)
{
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };

    (void)state;
    assert_int_equal(read_tasks("<R><requestId/><conversionTasks/></R>", &tasks), 0);
    assert_int_equal(tasks.count, 0);
}

static void rubbish_is_refused(void **state)
{
    static const char *const rubbish[] = {
        "",
        "x",
        "<html><body>hello</body></html>",
        "<R><conversionTasks>",
        "<R><conversionTasks/></R><R/>",
        /* a document that would grow by its entities */
        "<!DOCTYPE R [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]>"
        "<R><conversionTasks><item><conversionTaskId>&b;</conversionTaskId></item>"
        "</conversionTasks></R>",
        "<!DOCTYPE R SYSTEM \"file:///etc/passwd\"><R><conversionTasks/></R>",
        /* the same words to a decoder that the document would choose */
        "<?xml version=\"1.0\" encoding=\"UTF-7\"?>+ADw-R+AD4APA-conversionTasks/+AD4APA-/R+AD4-",
    };
    struct euca_tasks tasks = { .count = 77 };

    (void)state;
    for (size_t i = 0; i < sizeof(rubbish) / sizeof(rubbish[0]); i++)
        assert_true(read_tasks(rubbish[i], &tasks) < 0);
    assert_int_equal(tasks.count, 77);
}

static void results(void **state)
{
    static const char yes[] = "<R" NS "><requestId>r</requestId><return>true</return></R>";
    static const char no[] = "<R><return>false</return></R>";
    static const char none[] = "<R><requestId>true</requestId></R>";
    struct im_error err = { 0 };
    bool value = false;

    (void)state;
    assert_int_equal(euca_reply_return(yes, strlen(yes), &value, &err), 0);
    assert_true(value);
    assert_int_equal(euca_reply_return(no, strlen(no), &value, &err), 0);
    assert_false(value);
    assert_true(euca_reply_return(none, strlen(none), &value, &err) < 0);
}

static void faults_of_all_dialects(void **state)
{
    static const struct {
        const char *xml, *code, *message;
    } cases[] = {
        { "<Response><Errors><Error><Code>400</Code><Message>Unsupported image format</Message>"
          "</Error></Errors><RequestID>x</RequestID></Response>",
          "400", "Unsupported image format" },
        { "<ErrorResponse" NS "><Error><Type>Sender</Type><Code>C</Code><Message>M</Message>"
          "</Error></ErrorResponse>",
          "C", "M" },
        { "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchKey</Code><Message>a &lt; b</Message>"
          "</Error>",
          "NoSuchKey", "a < b" },
        { "<Error><Code>OnlyCode</Code></Error>", "OnlyCode", "" },
        { "<Response><Errors/></Response>", "", "" },
        { "<html/>", "", "" },
        { "Service Unavailable", "", "" },
        { "", "", "" },
    };
    struct euca_fault fault;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        euca_reply_fault(cases[i].xml, strlen(cases[i].xml), &fault);
        assert_string_equal(fault.code, cases[i].code);
        assert_string_equal(fault.message, cases[i].message);
    }
    euca_reply_fault(NULL, 0, &fault);
    assert_string_equal(fault.code, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_volume_task),
        cmocka_unit_test(an_instance_task),
        cmocka_unit_test(a_list_whatever_its_items_are_called),
        cmocka_unit_test(tags_in_their_order),
        cmocka_unit_test(an_empty_list),
        cmocka_unit_test(rubbish_is_refused),
        cmocka_unit_test(results),
        cmocka_unit_test(faults_of_all_dialects),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

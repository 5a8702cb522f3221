/* Which tasks a --filter chooses, by the rules of EC2's filters; and what is told of their
 * progress. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "filter.h"
#include "follow.h"
#include "reply.h"
#include "task.h"

static const char answer[] =
    "<DescribeConversionTasksResponse><conversionTasks>"
    "<item><conversionTaskId>import-vol-1a</conversionTaskId><importVolume>"
    "<availabilityZone>zone-a</availabilityZone><bytesConverted>25</bytesConverted>"
    "<description>data, disk*</description><image><format>RAW</format><size>100</size></image>"
    "<volume><id>vol-7</id></volume></importVolume><state>active</state>"
    "<statusMessage>Converting images</statusMessage></item>"
    "<item><conversionTaskId>import-i-2b</conversionTaskId><importInstance>"
    "<description>web</description><instanceId>i-9</instanceId><platform>Linux</platform><volumes>"
    "<item><availabilityZone>zone-b</availabilityZone><bytesConverted>1073741824</bytesConverted>"
    "<image><format>VMDK</format><size>4294967296</size></image>"
    "<statusMessage>first</statusMessage></item>"
    "<item><bytesConverted>2000</bytesConverted><description>second disk</description>"
    "<image><format>RAW</format><size>1000</size></image></item>"
    "</volumes></importInstance><state>cancelling</state></item>"
    "</conversionTasks></DescribeConversionTasksResponse>";

/* The numbers of the tasks that fit: "12", "1", "2" or "". */
static void chooses(const char *wanted, const struct euca_list *filters)
{
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
    struct euca_filter filter EUCA_FILTER_DONE = { 0 };
    struct im_error err = { 0 };
    char chosen[3] = "";
    size_t n = 0;

    assert_int_equal(euca_reply_tasks(answer, strlen(answer), &tasks, &err), 0);
    assert_int_equal(euca_filter_parse(filters, &filter, &err), 0);
    for (size_t i = 0; i < tasks.count; i++)
        if (euca_filter_matches(&filter, &tasks.task[i]))
            chosen[n++] = (char)('1' + i);
    chosen[n] = '\0';
    assert_string_equal(chosen, wanted);
}

#define CHOOSES(wanted, ...)                                                                       \
    chooses(wanted, &(struct euca_list){ .count = sizeof((const char *[]){ __VA_ARGS__ }) /        \
                                                  sizeof(char *),                                  \
                                         .value = { __VA_ARGS__ } })

static void every_name_finds_its_value(void **state)
{
    (void)state;
    chooses("12", &(struct euca_list){ 0 });
    CHOOSES("1", "conversion-task-id=import-vol-1a");
    CHOOSES("2", "state=cancelling");
    CHOOSES("1", "task-type=IMPORTVOLUME");
    CHOOSES("2", "task-type=IMPORTINSTANCE");
    CHOOSES("1", "status-message=Converting images");
    CHOOSES("2", "status-message=first");
    CHOOSES("1", "volume-id=vol-7");
    CHOOSES("2", "instance-id=i-9");
    CHOOSES("2", "availability-zone=zone-b");
    CHOOSES("2", "format=VMDK");
    CHOOSES("12", "format=RAW");
    CHOOSES("2", "platform=Linux");
    CHOOSES("2", "description=web");
    CHOOSES("2", "description=second disk");
    CHOOSES("", "state=Active");
    CHOOSES("", "state=activ");
}

static void values_are_alternatives_and_names_are_not(void **state)
{
    (void)state;
    CHOOSES("12", "state=active,cancelling");
    CHOOSES("12", "state=active", "state=cancelling");
    CHOOSES("2", "state=active,cancelling", "format=VMDK");
    CHOOSES("", "state=active", "format=VMDK");
    CHOOSES("12", "conversion-task-id=import-*");
    CHOOSES("1", "conversion-task-id=import-?o?-*");
    CHOOSES("1", "description=data\\, disk\\*");
    CHOOSES("", "description=data\\, dis\\*");
    CHOOSES("1", "description=data*\\,*");
}

static void refuses(const char *text, const char *sentence)
{
    const struct euca_list filters = { .count = 1, .value = { text } };
    struct euca_filter filter;
    struct im_error err = { 0 };

    assert_true(euca_filter_parse(&filters, &filter, &err) < 0);
    assert_string_equal(err.code, EUCA_USAGE);
    assert_string_equal(err.message, sentence);
}

static void what_is_no_filter_is_told(void **state)
{
    char many[2 * EUCA_FILTER_VALUES_MAX + 16] = "state=a";

    (void)state;
    refuses("state", "argument --filter: 'state' is not of the form NAME=VALUE");
    refuses("State=x",
            "argument --filter: invalid name: 'State' (choose from conversion-task-id, state, "
            "task-type, status-message, volume-id, instance-id, availability-zone, format, "
            "platform, description)");
    refuses("state=", "argument --filter: 'state=' lacks a value");
    refuses("state=a,,b", "argument --filter: 'state=a,,b' lacks a value");
    refuses("state=a,", "argument --filter: 'state=a,' lacks a value");
    for (size_t i = 1; i < EUCA_FILTER_VALUES_MAX; i++)
        strcat(many, ",a");
    CHOOSES("", many);
    strcat(many, ",a");
    refuses(many, "argument --filter: there are more than 200 values");
}

static void progress_is_of_each_disk(void **state)
{
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
    char text[128];

    (void)state;
    assert_int_equal(euca_reply_tasks(answer, strlen(answer), &tasks, NULL), 0);
    assert_string_equal(euca_task_progress(text, sizeof(text), &tasks.task[0]),
                        "Converting images, 25% of 100 B");
    assert_string_equal(euca_task_progress(text, sizeof(text), &tasks.task[1]),
                        "cancelling, disk 1: 25% of 4.0 GiB, disk 2: 100% of 1000 B");
    assert_string_equal(euca_task_progress(text, 24, &tasks.task[1]), "cancelling, disk 1: 25%");
    assert_ptr_equal(euca_task_among(&tasks, "IMPORT-I-2B"), &tasks.task[1]);
    assert_null(euca_task_among(&tasks, "import-i-2"));
    assert_false(euca_task_has_ended(&tasks.task[0]) || euca_task_has_ended(&tasks.task[1]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_finds_its_value),
        cmocka_unit_test(values_are_alternatives_and_names_are_not),
        cmocka_unit_test(what_is_no_filter_is_told),
        cmocka_unit_test(progress_is_of_each_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The lines that programs parse, byte for byte (section 3.3 of the clients' description). */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

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
    char *text IM_FREE
    = NULL;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_documented_example),
        cmocka_unit_test(instance_tasks_have_status_per_disk),
        cmocka_unit_test(absent_and_empty_pairs_are_left_out),
        cmocka_unit_test(a_task_without_an_import_prints_nothing),
        cmocka_unit_test(what_servers_send_starts_no_line_or_column),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

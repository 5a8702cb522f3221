/* test-messages - from exit status, code and sentence to what the owner of a task reads. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "dispatch/message.h"

#define INTERNAL "ServerError: an internal error has occurred during conversion: "

static const struct expected {
    int status;
    const char *code, *sentence, *message;
} table[] = {
    { 4, "UnsupportedVmdk", "it is flat",
      "ClientError: Disk validation failed [Unsupported VMDK File Format]: it is flat" },
    { 4, "DamagedVmdk", "grain 7 lies past the end",
      "ClientError: Disk validation failed [Unsupported VMDK File Format]: grain 7 lies past the "
      "end" },
    { 4, "DamagedGrain", "the grain at byte 512 is bad",
      "ClientError: Disk validation failed [Unsupported VMDK File Format]: the grain at byte 512 "
      "is "
      "bad" },
    { 4, "UnsupportedVhd", "type 4",
      "ClientError: Disk validation failed [Unsupported VHD File Format]: type 4" },
    { 4, "DamagedVhd", "checksum",
      "ClientError: Disk validation failed [Unsupported VHD File Format]: checksum" },
    { 4, "FormatMismatch", "it is a VHD",
      "ClientError: Disk validation failed [Unsupported specified file format]: it is a VHD" },
    /* AWS's words once, whichever code they come with */
    { 4, "GrainLength", "the grain at byte 9",
      "ClientError: Uncompressed data has an invalid "
      "length: the grain at byte 9" },
    { 4, "GrainLength", "Uncompressed data has an invalid length: the grain at byte 9",
      "ClientError: Uncompressed data has an invalid length: the grain at byte 9" },
    { 4, "DamagedVmdk", "uncompressed data has an invalid length: the grain at byte 9",
      "ClientError: uncompressed data has an invalid length: the grain at byte 9" },
    { 4, "FootersNotIdentical", "Footers not identical: byte 40",
      "ClientError: Footers not identical: byte 40" },
    { 4, "FootersNotIdentical", "byte 40", "ClientError: Footers not identical: byte 40" },
    { 3, "AccessDenied",
      "We do not have access to the given resource. Reason 403 Forbidden: part 3; expired",
      "ClientError: Disk validation failed [We do not have access to the given resource. Reason "
      "403 "
      "Forbidden]: part 3; expired" },
    { 3, "AccessDenied", "We do not have access to the given resource. Reason 403 Forbidden",
      "ClientError: Disk validation failed [We do not have access to the given resource. Reason "
      "403 "
      "Forbidden]" },
    { 3, "AccessDenied", "part 3",
      "ClientError: Disk validation failed [We do not have access to the given resource. Reason "
      "403 "
      "Forbidden]: part 3" },
    { 4, "InvalidManifest", "size is 'x'", "ClientError: Invalid import manifest: size is 'x'" },
    { 4, "DamagedPart", "part 2 is short",
      "ClientError: The upload is not what its manifest says: part 2 is short" },
    { 8, "VerificationFailed", "md5",
      "ClientError: The upload is not what its manifest says: md5" },
    /* limits are the client's, space is ours */
    { 5, "TooLarge", "11 bytes, more than 10", "ClientError: 11 bytes, more than 10" },
    { 4, "NotBootable", "No bootable partition found. The MBR",
      "ClientError: No bootable partition found. The MBR" },
    { 5, "NoSpace", "no space", INTERNAL "no space" },
    { 5, "", "something", INTERNAL "something" },
    /* codes that are not in the table: the status decides */
    { 3, "NotFound", "part 3", "ClientError: The upload cannot be read: part 3" },
    { 3, "DownloadFailed", "500", "ClientError: The upload cannot be read: 500" },
    { 4, "DamagedImage", "qcow2", "ClientError: Disk validation failed: qcow2" },
    { 4, "BrandNewCode", "odd", "ClientError: Disk validation failed: odd" },
    { 6, "ConnectionFailed", "refused", "ClientError: The upload cannot be read: refused" },
    { 6, "TimedOut", "slow", "ClientError: The upload cannot be read: slow" },
    { 6, "StoreAway", "refused", "ClientError: The upload cannot be read: refused" },
    { 6, "ServerBusy", "503", INTERNAL "503" },
    { 1, "CannotWrite", "EIO", INTERNAL "EIO" },
    { 1, "", "x", INTERNAL "x" },
    { 2, "InvalidArgument", "job", INTERNAL "job" },
    { 7, "DependencyMissing", "qemu-img", INTERNAL "qemu-img" },
    { 99, "DamagedImag", "x", INTERNAL "x" },
};

static void test_table(void **state)
{
    char buf[MESSAGE_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        assert_string_equal(message_failure(buf, table[i].status, table[i].code, table[i].sentence),
                            table[i].message);
}

static void test_internal(void **state)
{
    char buf[MESSAGE_SIZE];

    (void)state;
    assert_string_equal(message_internal(buf, "why"), INTERNAL "why");
}

/* The longest sentence of the toolkit comes through whole. */
static void test_longest(void **state)
{
    char sentence[IM_ERROR_MAX], buf[MESSAGE_SIZE];

    (void)state;
    memset(sentence, 'x', sizeof(sentence) - 1);
    sentence[sizeof(sentence) - 1] = '\0';
    sentence[sizeof(sentence) - 2] = 'y';
    message_failure(buf, 3, "AccessDenied", sentence);
    assert_int_equal(buf[strlen(buf) - 1], 'y');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_internal),
        cmocka_unit_test(test_longest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Descriptions of machines and the manifests beside them: what is read, in which order, and what is
 * refused.  OVAs as whole files are toolkit/ova.py's. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "unpack/digests.h"
#include "unpack/ovf.h"
#include "unpack/tar.h"

#define HEAD                                                                                       \
    "<?xml version=\"1.0\"?><o:Envelope xmlns:o=\"http://schemas.dmtf.org/ovf/envelope/2\" "       \
    "xmlns:r=\"r\">"
#define DISK(id, more) "<o:Disk o:diskId='" id "' o:fileRef='f' " more "/>"
#define ONE(disks, hardware)                                                                       \
    HEAD "<o:References><o:File o:id='f' o:href='d.vmdk'/></o:References><o:DiskSection>" disks    \
         "</o:DiskSection><o:VirtualSystem><o:VirtualHardwareSection>" hardware                    \
         "</o:VirtualHardwareSection></o:VirtualSystem></o:Envelope>"

static int parse(const char *text, struct im_ovf **ret_ovf, struct im_error *err)
{
    *ret_ovf = NULL;
    return im_ovf_parse(text, strlen(text), ret_ovf, err);
}

static void reads_what_is_there(void **state)
{
    struct im_ovf *ovf;

    (void)state;
    assert_int_equal(parse(HEAD
                           "<!-- a comment --><References><File id='a' href='x y.vmdk' size='17' "
                           "compression='gzip'/><File id='b' href='z'/></References>"
                           "<DiskSection><Info><b>in</b> text</Info><Disk diskId='d' capacity='3' "
                           "capacityAllocationUnits='byte * 2^20' fileRef='b' format='u:ri'/>"
                           "<Disk diskId='e' capacity='5'/></DiskSection></o:Envelope>",
                           &ovf, NULL),
                     0);
    assert_int_equal(ovf->file_count, 2);
    assert_string_equal(ovf->file[0].href, "x y.vmdk");
    assert_int_equal(ovf->file[0].size, 17);
    assert_int_equal(ovf->file[0].compression, IM_OVF_GZIP);
    assert_true(ovf->file[1].size == UINT64_MAX);
    assert_int_equal(ovf->file[1].compression, IM_OVF_PLAIN);
    assert_int_equal(ovf->disk_count, 2);
    assert_int_equal(ovf->disk[0].capacity, 3 << 20);
    assert_int_equal(ovf->disk[0].file, 1);
    assert_string_equal(ovf->disk[0].format, "u:ri");
    assert_int_equal(ovf->disk[1].file, -1);
    assert_null(ovf->disk[1].format);
    im_ovf_free(ovf);
}

/* The ids of the disks, in their order. */
static void assert_order(const char *text, const char *order)
{
    struct im_error err = { 0 };
    struct im_ovf *ovf;
    char got[64] = "";

    if (parse(text, &ovf, &err) < 0)
        fail_msg("%s", err.message);
    for (unsigned i = 0; i < ovf->disk_count; i++)
        (void)strcat(got, ovf->disk[i].id);
    assert_string_equal(got, order);
    im_ovf_free(ovf);
}

#define A DISK("a", "o:capacity='1'")
#define B DISK("b", "o:capacity='1'")
#define C DISK("c", "o:capacity='1'")
#define CONTROLLER(id, address)                                                                    \
    "<o:Item><r:Address>" address "</r:Address><r:InstanceID>" id "</r:InstanceID></o:Item>"
#define ON(disk, id, unit)                                                                         \
    "<o:Item><r:AddressOnParent>" unit "</r:AddressOnParent><r:HostResource>ovf:/disk/" disk       \
    "</r:HostResource><r:InstanceID>x" disk "</r:InstanceID><r:Parent>" id "</r:Parent></o:Item>"

static void hardware_gives_the_order(void **state)
{
    (void)state;
    assert_order(ONE(A B C, ""), "abc");
    assert_order(ONE(A B C, ON("c", "1", "0") CONTROLLER("1", "0")), "cab");
    assert_order(
        ONE(A B C, CONTROLLER("1", "0") ON("a", "1", "2") ON("b", "1", "10") ON("c", "1", "1")),
        "cab");
    assert_order(ONE(A B C, CONTROLLER("1", "1") CONTROLLER("2", "0") ON("a", "1", "0")
                                ON("b", "2", "7") ON("c", "2", "3")),
                 "cba");
    /* the same address: by where the controllers stand */
    assert_order(ONE(A B C, CONTROLLER("9", "0") CONTROLLER("2", "0") ON("a", "2", "0")
                                ON("b", "9", "1") ON("c", "9", "0")),
                 "cba");
    /* a second hardware section is for somebody else */
    assert_order(
        ONE(A B, "</o:VirtualHardwareSection><o:VirtualHardwareSection>" ON("b", "1", "0")), "ab");
}

static void assert_refused(const char *text, int number, const char *says)
{
    struct im_error err = { 0 };
    struct im_ovf *ovf;

    assert_int_equal(parse(text, &ovf, &err), -number);
    assert_null(ovf);
    if (!strstr(err.message, says))
        fail_msg("'%s' does not tell '%s'", err.message, says);
}

static void the_rest_is_refused(void **state)
{
    (void)state;
    assert_refused("", EBADMSG, "OVF file parsing error");
    assert_refused("<x/>", EBADMSG, "<x>");
    assert_refused("<!DOCTYPE x>" HEAD "</o:Envelope>", EBADMSG, "DOCTYPE");
    assert_refused(HEAD "</o:Envelope>", EBADMSG, "no disk");
    assert_refused(ONE(A, "<undeclared:Item/>"), EBADMSG, "not well-formed");
    assert_refused(ONE(A A, ""), EBADMSG, "two disks");
    assert_refused(ONE(A, "&amp;&e;"), EBADMSG, "e");
    assert_refused(ONE(DISK("a", "o:capacity='1' o:parentRef='b'"), ""), EBADMSG, "parent");
    assert_refused(ONE(DISK("a", "o:capacity='${x}'"), ""), EBADMSG, "${x}");
    assert_refused(ONE(A, ON("a", "1", "-1")), EBADMSG, "-1");
    assert_refused(HEAD "<References><File id='f' href='d' chunkSize='7'/></References>"
                        "</o:Envelope>",
                   EOPNOTSUPP, "OVA with chunked disk files is not supported");
}

#define SUM "da39a3ee5e6b4b0d3255bfef95601890afd80709" /* SHA-1 of nothing */

static void manifests(void **state)
{
    static const char text[] = "SHA1(a b.ovf)= " SUM "\r\n\n sha1 (d(1).vmdk) =" SUM "\n";
    static const char *const bad[] = { "SHA1(a)= " SUM "0",
                                       "SHA1(a) " SUM,
                                       "SHA1 a = " SUM,
                                       "MD5(a)= d41d8cd98f00b204e9800998ecf8427e",
                                       "SHA1(a)= " SUM "\nSHA1(a)= " SUM,
                                       "x" };
    struct im_digest_list *list = NULL;
    struct im_error err = { 0 };
    uint8_t digest[IM_HASH_MAX];
    enum im_hash hash;

    (void)state;
    assert_int_equal(im_digest_list_parse(text, strlen(text), &list, NULL), 0);
    assert_int_equal(im_digest_list_kind(list, "d(1).vmdk", &hash, NULL), 0);
    assert_int_equal(hash, IM_SHA1);
    assert_int_equal(im_digest_list_kind(list, "other", &hash, &err), -EBADMSG);
    im_hash(IM_SHA1, "", 0, digest);
    assert_int_equal(im_digest_list_check(list, "a b.ovf", digest, NULL), 0);
    digest[19] ^= 1;
    assert_int_equal(im_digest_list_check(list, "a b.ovf", digest, &err), -EBADMSG);
    assert_string_equal(err.code, "DigestMismatch");
    list = im_digest_list_free(list);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(im_digest_list_parse(bad[i], strlen(bad[i]), &list, NULL), -EBADMSG);
    assert_int_equal(im_digest_list_parse("a\0b", 3, &list, NULL), -EBADMSG);
}

static void names(void **state)
{
    static const char *const good[] = { "a", "a/b.c", "..a", "a..", "...", "%2e%2e/x", "\xc3\xa9" };
    static const char *const bad[] = { "",       "/a",   "a/",   "a//b", ".",    "..",   "./a",
                                       "a/../b", "a/..", "a\\b", "a\tb", "\xff", "a\x7f" };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(im_member_check_name("x", good[i], NULL), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(im_member_check_name("x", bad[i], NULL), -EOPNOTSUPP);
    assert_int_equal(im_member_check_name("x", NULL, NULL), -EOPNOTSUPP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_is_there),
        cmocka_unit_test(hardware_gives_the_order),
        cmocka_unit_test(the_rest_is_refused),
        cmocka_unit_test(manifests),
        cmocka_unit_test(names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The import manifest: what stock clients write is read, and every refusal has an accepted
 * neighbour that differs in nothing but the defect. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/manifest.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include "../lib/manifest-example.h"

static void free_manifest(struct im_manifest **manifest)
{
    im_manifest_free(*manifest);
}

static int parse(const char *xml, struct im_error *err)
{
    struct im_manifest *manifest IM_CLEANUP(free_manifest) = NULL;
    int r = im_manifest_parse(xml, strlen(xml), &manifest, err);

    assert_int_equal(manifest != NULL, r == 0);
    return r;
}

static void accept_text(const char *what, const char *xml)
{
    struct im_error err = { 0 };

    if (parse(xml, &err) < 0)
        fail_msg("%s was refused: %s", what, err.message);
}

/* Refused, and the sentence says so. */
static void refuse_text(const char *what, const char *xml, const char *says)
{
    struct im_error err = { 0 };
    int r = parse(xml, &err);

    if (r != -EBADMSG)
        fail_msg("%s gave %d", what, r);
    assert_string_equal(err.code, "InvalidManifest");
    if (!strstr(err.message, says))
        fail_msg("%s: '%s' does not say '%s'", what, err.message, says);
}

static void a_stock_manifest_is_read(void **state)
{
    struct im_manifest *manifest IM_CLEANUP(free_manifest) = NULL;
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_manifest_parse(manifest_example, strlen(manifest_example), &manifest, &err),
                     0);
    assert_string_equal(manifest->file_format, "RAW");
    assert_string_equal(manifest->importer_name, "euca2ools");
    assert_string_equal(manifest->importer_version, "3.4.1");
    assert_string_equal(manifest->self_destruct_url,
                        "http://s3:8773/b/web.img.manifest.xml?AWSAccessKeyId=A&Expires=1");
    assert_int_equal(manifest->size, 12582912);
    assert_int_equal(manifest->volume_gib, 1);
    assert_int_equal(manifest->file_size, 12582912);
    assert_int_equal(manifest->part_count, 2);
    assert_int_equal(manifest->part[1].start, 10485760);
    assert_int_equal(manifest->part[1].end, 12582911);
    assert_string_equal(manifest->part[1].key, "u//web.img.part.1");
    assert_string_equal(manifest->part[1].head_url,
                        "http://s3:8773/b/u//web.img.part.1?m=h&s=d%3D");
    assert_string_equal(manifest->part[1].get_url, "http://s3:8773/b/u//web.img.part.1?m=g&s=e%3D");
    assert_string_equal(manifest->part[0].delete_url,
                        "http://s3:8773/b/u//web.img.part.0?m=d&s=c%3D");
}

static void written_again_it_is_the_same(void **state)
{
    struct im_manifest *manifest IM_CLEANUP(free_manifest) = NULL;
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(IM_MANIFEST_MAX);

    (void)state;
    assert_int_equal(im_manifest_parse(manifest_example, strlen(manifest_example), &manifest, NULL),
                     0);
    assert_int_equal(im_manifest_write(manifest, &out, NULL), 0);
    assert_string_equal(out.data, manifest_example);
}

static void odd_texts_come_back(void **state)
{
    static char key[] = " <a>&amp;\r\n\"'\xc3\xa9]]> ", url[] = "http://h/x?a=1&b=%22",
                name[] = "n";
    struct im_manifest_part part = {
        .end = 9, .key = key, .head_url = url, .get_url = url, .delete_url = url
    };
    struct im_manifest manifest = { .file_format = name,
                                    .importer_name = name,
                                    .importer_version = name,
                                    .self_destruct_url = url,
                                    .size = INT64_MAX,
                                    .volume_gib = 16384,
                                    .part_count = 1,
                                    .part = &part };
    struct im_manifest *back IM_CLEANUP(free_manifest) = NULL;
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(IM_MANIFEST_MAX);
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_manifest_write(&manifest, &out, &err), 0);
    if (im_manifest_parse(out.data, out.len, &back, &err) < 0)
        fail_msg("%s", err.message);
    assert_string_equal(back->part[0].key, key);
    assert_string_equal(back->part[0].get_url, url);
    assert_true(back->size == INT64_MAX);
}

static void an_upload_of_nothing_comes_back(void **state)
{
    static char text[] = "n", url[] = "http://h/x";
    struct im_manifest manifest = { .file_format = text,
                                    .importer_name = text,
                                    .importer_version = text,
                                    .self_destruct_url = url };
    struct im_manifest *back IM_CLEANUP(free_manifest) = NULL;
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(IM_MANIFEST_MAX);

    (void)state;
    assert_int_equal(im_manifest_write(&manifest, &out, NULL), 0);
    assert_non_null(strstr(out.data, "    <parts count=\"0\"/>\n  </import>\n</manifest>"));
    assert_int_equal(im_manifest_parse(out.data, out.len, &back, NULL), 0);
    assert_int_equal(back->part_count, 0);
    assert_int_equal(back->file_size, 0);
}

static void an_importer_without_a_name_comes_back(void **state)
{
    char *text IM_FREE =
        change_example("    <name>euca2ools</name>\n    <version>3.4.1</version>\n", "");
    struct im_manifest *manifest IM_CLEANUP(free_manifest) = NULL;
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(IM_MANIFEST_MAX);

    (void)state;
    assert_int_equal(im_manifest_parse(text, strlen(text), &manifest, NULL), 0);
    assert_int_equal(im_manifest_write(manifest, &out, NULL), 0);
    assert_string_equal(out.data, text);
}

static void what_xml_cannot_carry_is_not_written(void **state)
{
    static char text[] = "n", url[] = "http://h/x", bell[] = "a\ab", latin[] = "\xe9";
    struct im_manifest manifest = { .file_format = text,
                                    .importer_name = bell,
                                    .importer_version = text,
                                    .self_destruct_url = url };
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(IM_MANIFEST_MAX);
    struct im_buffer tight IM_BUFFER_DONE = IM_BUFFER(200);
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_manifest_write(&manifest, &out, &err), -EINVAL);
    assert_non_null(strstr(err.message, "<name>"));
    manifest.importer_name = latin;
    assert_int_equal(im_manifest_write(&manifest, &out, &err), -EINVAL);
    manifest.importer_name = text;
    assert_int_equal(im_manifest_write(&manifest, &tight, &err), -EFBIG);
}

static void rows_of_defects(void **state)
{
    static const struct {
        const char *old, *bad, *says, *fine; /* fine: the neighbour; NULL: the example itself */
    } rows[] = {
        /* documents */
        { "<manifest>", "<!DOCTYPE manifest [<!ENTITY a \"b\">]><manifest>", "DOCTYPE",
          "<!-- no type --><manifest>" },
        { "<manifest>", "<!DOCTYPE manifest SYSTEM \"file:///etc/passwd\"><manifest>", "DOCTYPE",
          "<?pi?><manifest>" },
        { "RAW<", "&a;<", "XML", "R&#65;W<" },
        { "encoding='UTF-8'", "encoding='ISO-8859-1'", "only UTF-8", "encoding='us-ascii'" },
        /* libxml2 would ask iconv, and tell standard error */
        { "encoding='UTF-8'", "encoding='EBCDIC-US'", "only UTF-8", "encoding = \"utf-8\"" },
        { "euca2ools", "\xe9", "UTF-8", "\xc3\xa9" },
        { "euca2ools", "a\x01", "UTF-8", "a\t" },
        { "</manifest>", "", "XML", NULL },
        { "</manifest>", "</manifest><x/>", "XML", "</manifest><!-- x -->" },
        { "<manifest>", "<other><manifest>", "<other>", NULL },
        { "<manifest>", "<m:manifest xmlns:m='u'>", "<m:manifest>", "<manifest xmlns:m='u'>" },
        /* elements */
        { "<version>2010-11-15</version>", "", "no <version>", NULL },
        { "2010-11-15", "2014-01-14", "2014-01-14", " 2010-11-15 " },
        { "<file-format>RAW</file-format>", "", "no <file-format>", NULL },
        { "RAW", "", "<file-format> is empty", "VHD" },
        { "RAW", "R<b>A</b>W", "<file-format> holds", "R<![CDATA[A]]>W" },
        { "<size>12582912</size>", "", "no <size>", NULL },
        { "<size>12582912</size>", "<size>1</size><size>1</size>", "<size> occurs twice",
          "<size>1</size><unknown/><unknown><size>x</size></unknown>" },
        { "<volume-size>1</volume-size>", "", "no <volume-size>", NULL },
        { "<version>3.4.1</version>", "<version>3</version><version>3</version>",
          "<version> occurs twice", "" },
        { "<key>u//web.img.part.0</key>", "", "part index 0: there is no <key>", "<key>k</key>" },
        { "<key>u//web.img.part.0</key>", "<key>a</key><key>b</key>", "<key> occurs twice",
          "<key>a</key><note>b</note>" },
        { "<byte-range start=\"0\" end=\"10485759\"/>", "", "no <byte-range>",
          "<byte-range start=\"0\" end=\"10485759\"></byte-range>" },
        { "</self-destruct-url>", "</self-destruct-url><import/>", "no <size>",
          "</self-destruct-url><imports/>" },
        /* numbers */
        { "<size>12582912", "<size>+12582912", "'+12582912'", "<size> 12582912" },
        { "<size>12582912", "<size>-1", "'-1'", "<size>12582912\n " },
        { "<size>12582912", "<size>4e6", "'4e6'", "<size>4000000" },
        { "<size>12582912", "<size>0x10", "'0x10'", "<size>0" },
        { "<size>12582912", "<size>12 34", "'12 34'", "<size>1234" },
        { "<size>12582912", "<size>", "<size> is ''", "<size>00" },
        { "<size>12582912", "<size>9223372036854775808", "not a number up to",
          "<size>9223372036854775807" },
        { "<size>12582912", "<size>18446744073709551616", "not a number up to", "<size>1" },
        { "<volume-size>1", "<volume-size>8589934592", "not a number up to",
          "<volume-size>8589934591" },
        { "count=\"2\"", "", "no attribute 'count'", "x=\"1\" count=\"2\"" },
        { "count=\"2\"", "count=\"-2\"", "count=\"-2\"", "count=\"02\"" },
        { "count=\"2\"", "count=\"20001\"", "20001", NULL },
        { "count=\"2\"", "count=\"4294967298\"", "4294967298", NULL },
        { "count=\"2\"", "count=\"3\"", "3 parts are announced, but there are 2", NULL },
        { "count=\"2\"", "count=\"1\"", "has index 1, but there are 1", NULL },
        { "index=\"1\"", "index=\"2\"", "has index 2, but there are 2", NULL },
        { "index=\"1\"", "index=\"0\"", "two parts have index 0", NULL },
        { "index=\"1\"", "index=\"\"", "index=\"\"", NULL },
        { "index=\"1\"", "index=\"1\" index=\"1\"", "XML", NULL },
        /* ranges */
        { "start=\"10485760\"", "start=\"10485759\"", "starts at byte 10485759 instead of 10485760",
          NULL },
        { "start=\"10485760\"", "start=\"10485761\"", "instead of 10485760", NULL },
        { "start=\"0\"", "start=\"1\"", "instead of 0", "start=\"00\"" },
        { "end=\"12582911\"", "end=\"10485759\"", "inverted", "end=\"10485760\"" },
        { "end=\"12582911\"", "end=\"9223372036854775807\"", "no number up to",
          "end=\"9223372036854775806\"" },
        { "end=\"12582911\"", "end=\" 12582911\"", "no number", NULL },
        { "end=\"12582911\"", "", "no attribute 'end'", NULL },
        /* URLs */
        { "<get-url>http://s3", "<get-url>http://user:pw@s3", "user name", "<get-url>https://s3" },
        { "<get-url>http://s3", "<get-url>file://s3", "http", "<get-url> \n http://s3" },
        { "<head-url>http://s3", "<head-url>s3", "http", "<head-url>HTTP://s3" },
        { "<delete-url>http://s3", "<delete-url>http://s 3", "0x20", "<delete-url>http://s_3" },
        { "<self-destruct-url>http", "<self-destruct-url>ftp", "http", "<self-destruct-url>https" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *bad IM_FREE = change_example(rows[i].old, rows[i].bad);
        char *fine IM_FREE = change_example(rows[i].old, rows[i].fine ? rows[i].fine : rows[i].old);

        refuse_text(rows[i].bad, bad, rows[i].says);
        accept_text(rows[i].fine ? rows[i].fine : "the example", fine);
    }
}

static void parts_may_come_in_any_order(void **state)
{
    char *without IM_FREE = change_example(MANIFEST_PART_1, "");
    char *xml IM_FREE = malloc(2 * sizeof(manifest_example));
    char *at = strstr(without, "      <part index=\"0\">");

    (void)state;
    (void)sprintf(xml, "%.*s%s%s", (int)(at - without), without, MANIFEST_PART_1, at);
    accept_text("the second part first", xml);
}

static void texts_have_a_limit(void **state)
{
    static const struct {
        const char *old;
        size_t most;
        const char *name;
    } rows[] = {
        { "http://s3:8773/b/u//web.img.part.0?m=g&amp;s=b%3D", 4096, "<get-url>" },
        { "u//web.img.part.0", 1024, "<key>" },
        { "RAW", 64, "<file-format>" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t len = rows[i].most; len <= rows[i].most + 1; len++) {
            char *value IM_FREE = calloc(1, len + 1);
            char *xml IM_FREE = NULL;

            memset(value, 'x', len);
            if (rows[i].most == 4096)
                memcpy(value, "http://h/", 9);
            xml = change_example(rows[i].old, value);
            if (len == rows[i].most)
                accept_text(rows[i].name, xml);
            else
                refuse_text(rows[i].name, xml, rows[i].name);
        }
}

/* The example with `unit` repeated so many times before, and `end` after, its <version>. */
static char *inflate(const char *unit, size_t times, const char *end, size_t end_times)
{
    size_t unit_len = strlen(unit), end_len = strlen(end);
    char *middle IM_FREE = malloc(unit_len * times + end_len * end_times + 32);
    char *at = middle;

    for (size_t i = 0; i < times; i++, at += unit_len)
        memcpy(at, unit, unit_len);
    for (size_t i = 0; i < end_times; i++, at += end_len)
        memcpy(at, end, end_len);
    strcpy(at, "<version>");
    return change_example("<version>", middle);
}

/* An unknown element with so many attributes in front of <version>. */
static char *with_attributes(int count)
{
    char element[1024] = "<a";

    for (int i = 0; i < count; i++)
        (void)snprintf(element + strlen(element), sizeof(element) - strlen(element), " a%d=''", i);
    strcat(element, "/><version>");
    return change_example("<version>", element);
}

static void bombs_do_not_go_off(void **state)
{
    int64_t start = im_clock_monotonic_ms();
    char *deep IM_FREE = inflate("<a>", 100000, "</a>", 100000);
    char *deeper IM_FREE = inflate("<a>", 16, "</a>", 16);
    char *shallow IM_FREE = inflate("<a>", 15, "</a>", 15);
    char *comments IM_FREE = inflate("<!-- 5678901234567890 -->", 100000, "", 0);
    char *many IM_FREE = with_attributes(17), *few IM_FREE = with_attributes(16);
    char *tag IM_FREE = inflate("<a b='>' c=", 1, "'>1234567890123456789'    d=", 4000);

    (void)state;
    refuse_text("depth 100000", deep, "deep");
    refuse_text("depth 17", deeper, "deep");
    accept_text("depth 16", shallow);
    accept_text("many comments", comments);
    refuse_text("17 attributes", many, "attributes");
    accept_text("16 attributes", few);
    refuse_text("a tag of 100 kB", tag, "longer than");
    assert_true(im_clock_monotonic_ms() - start < (getenv("UNDER_VALGRIND") ? 60000 : 5000));
}

static void eight_mebibytes_are_too_much(void **state)
{
    char *xml IM_FREE = malloc(IM_MANIFEST_MAX + 2);
    struct im_manifest *manifest IM_CLEANUP(free_manifest) = NULL;
    struct im_error err = { 0 };
    size_t head = strlen("<?xml version='1.0' encoding='UTF-8' standalone='yes'?>\n");

    (void)state;
    /* comments up to the size, in front of the root */
    memcpy(xml, manifest_example, head);
    for (size_t i = head; i + strlen(manifest_example) - head < IM_MANIFEST_MAX + 1;) {
        size_t left = IM_MANIFEST_MAX + 1 - (strlen(manifest_example) - head) - i;

        if (left < 40) {
            memset(xml + i, ' ', left);
            i += left;
        } else {
            memcpy(xml + i, "<!-- 56789-12345 -->", 20);
            i += 20;
        }
    }
    strcpy(xml + IM_MANIFEST_MAX + 1 - (strlen(manifest_example) - head), manifest_example + head);
    assert_int_equal(strlen(xml), IM_MANIFEST_MAX + 1);
    assert_int_equal(im_manifest_parse(xml, IM_MANIFEST_MAX + 1, &manifest, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "8388608 bytes"));
    memmove(xml + head, xml + head + 20, strlen(xml + head + 20) + 1);
    if (im_manifest_parse(xml, strlen(xml), &manifest, &err) < 0)
        fail_msg("%s", err.message);
}

static void twenty_thousand_parts_are_read(void **state)
{
    static char key[] = "k", url[] = "http://h/p", text[] = "n";
    struct im_manifest_part *part IM_FREE = calloc(IM_MANIFEST_PARTS_MAX, sizeof(*part));
    struct im_manifest manifest = { .file_format = text,
                                    .importer_name = text,
                                    .importer_version = text,
                                    .self_destruct_url = url,
                                    .part_count = IM_MANIFEST_PARTS_MAX,
                                    .part = part };
    struct im_manifest *back IM_CLEANUP(free_manifest) = NULL;
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(IM_MANIFEST_MAX);
    struct im_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < IM_MANIFEST_PARTS_MAX; i++)
        part[i] = (struct im_manifest_part){ .start = i * 5,
                                             .end = i * 5 + 4,
                                             .key = key,
                                             .head_url = url,
                                             .get_url = url,
                                             .delete_url = url };
    assert_int_equal(im_manifest_write(&manifest, &out, &err), 0);
    if (im_manifest_parse(out.data, out.len, &back, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(back->file_size, IM_MANIFEST_PARTS_MAX * 5);
}

static void every_cut_and_flip_is_survived(void **state)
{
    char copy[sizeof(manifest_example)];
    struct im_error err = { 0 };

    (void)state;
    for (size_t len = 0; len < strlen(manifest_example); len++) {
        struct im_manifest *manifest = NULL;

        assert_int_equal(im_manifest_parse(manifest_example, len, &manifest, &err), -EBADMSG);
    }
    for (size_t i = 0; i < strlen(manifest_example); i++) {
        memcpy(copy, manifest_example, sizeof(manifest_example));
        copy[i] = (char)(copy[i] ^ 0x08);
        (void)parse(copy, &err); /* any answer, but an answer */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stock_manifest_is_read),
        cmocka_unit_test(written_again_it_is_the_same),
        cmocka_unit_test(odd_texts_come_back),
        cmocka_unit_test(an_upload_of_nothing_comes_back),
        cmocka_unit_test(an_importer_without_a_name_comes_back),
        cmocka_unit_test(what_xml_cannot_carry_is_not_written),
        cmocka_unit_test(rows_of_defects),
        cmocka_unit_test(parts_may_come_in_any_order),
        cmocka_unit_test(texts_have_a_limit),
        cmocka_unit_test(bombs_do_not_go_off),
        cmocka_unit_test(eight_mebibytes_are_too_much),
        cmocka_unit_test(twenty_thousand_parts_are_read),
        cmocka_unit_test(every_cut_and_flip_is_survived),
    };

    return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}

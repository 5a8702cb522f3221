/* schemas/xml/import-manifest.xsd beside the reader: what one takes or refuses the other does, too,
 * but for what no schema of this kind can say. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <libxml/parser.h>
#include <libxml/xmlschemas.h>

#include "aws/manifest.h"
#include "base/cleanup.h"
#include "base/text.h"

#include "../lib/manifest-example.h"

static xmlSchemaPtr schema;

static int load(void **state)
{
    const char *top = getenv("top_srcdir");
    char *path IM_FREE = im_asprintf("%s/schemas/xml/import-manifest.xsd", top ? top : "..");
    xmlSchemaParserCtxtPtr parser = xmlSchemaNewParserCtxt(path);

    (void)state;
    schema = xmlSchemaParse(parser);
    xmlSchemaFreeParserCtxt(parser);
    return schema ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    xmlSchemaFree(schema);
    xmlCleanupParser();
    return 0;
}

/* Which defect it is stands in the row. */
static void say_nothing(void *context, const char *format, ...)
{
    (void)context;
    (void)format;
}

static bool schema_takes(const char *text)
{
    xmlDocPtr document = xmlReadMemory(text, (int)strlen(text), "manifest.xml", NULL,
                                       XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    xmlSchemaValidCtxtPtr valid = xmlSchemaNewValidCtxt(schema);
    bool taken;

    xmlSchemaSetValidErrors(valid, say_nothing, say_nothing, NULL);
    assert_non_null(document);
    taken = xmlSchemaValidateDoc(valid, document) == 0;
    xmlSchemaFreeValidCtxt(valid);
    xmlFreeDoc(document);
    return taken;
}

static bool reader_takes(const char *text)
{
    struct im_manifest *manifest = NULL;
    struct im_error err;
    int r = im_manifest_parse(text, strlen(text), &manifest, &err);

    im_manifest_free(manifest);
    return r == 0;
}

struct row {
    const char *old, *new;
    bool reader, schema;
};

static void judge(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *text IM_FREE = change_example(rows[i].old, rows[i].new);

        if (reader_takes(text) != rows[i].reader)
            fail_msg("the reader of '%s' instead of '%s'", rows[i].new, rows[i].old);
        if (schema_takes(text) != rows[i].schema)
            fail_msg("the schema of '%s' instead of '%s'", rows[i].new, rows[i].old);
    }
}

static void both_take_what_is_written(void **state)
{
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(IM_MANIFEST_MAX);
    struct im_manifest *manifest = NULL;
    struct im_error err;

    (void)state;
    assert_true(schema_takes(manifest_example));
    assert_int_equal(im_manifest_parse(manifest_example, strlen(manifest_example), &manifest, &err),
                     0);
    assert_int_equal(im_manifest_write(manifest, &out, &err), 0);
    assert_true(schema_takes(out.data));
    assert_true(reader_takes(out.data));
    im_manifest_free(manifest);
}

static void both_take_other_ways_to_write_it(void **state)
{
    static const struct row rows[] = {
        { "  <version>2010-11-15</version>\n  <file-format>RAW</file-format>\n",
          "<file-format> VMDK\n</file-format><version> 2010-11-15 </version>", true, true },
        { "  <importer>\n    <name>euca2ools</name>\n    <version>3.4.1</version>\n"
          "    <release>0</release>\n  </importer>\n",
          "", true, true },
        { "    <release>0</release>\n", "", true, true },
        { "<size>12582912</size>", "<size>9223372036854775807</size>", true, true },
        { "start=\"0\"", "start=\"000\"", true, true },
        { "http://s3", "HTTPS://s3", true, true },
        { "<key>u//web.img.part.0</key>", "<key> ..//\xc3\xa9 </key>", true, true },
    };

    (void)state;
    judge(rows, sizeof(rows) / sizeof(rows[0]));
}

static void both_refuse_what_is_wrong(void **state)
{
    static const struct row rows[] = {
        { "2010-11-15", "2010-11-16", false, false },
        { "  <version>2010-11-15</version>\n", "", false, false },
        { "<file-format>RAW<", "<file-format> <", false, false },
        { "<file-format>RAW</file-format>",
          "<file-format>RAW</file-format><file-format>RAW</file-format>", false, false },
        { "<name>euca2ools</name>", "<name/>", false, false },
        { "<size>12582912</size>", "<size>-1</size>", false, false },
        { "<size>12582912</size>", "<size>+1</size>", false, false },
        { "<size>12582912</size>", "<size>1e3</size>", false, false },
        { "<size>12582912</size>", "<size>9223372036854775808</size>", false, false },
        { "<size>12582912</size>", "<size/>", false, false },
        { "<volume-size>1<", "<volume-size>8589934592<", false, false },
        { "count=\"2\"", "", false, false },
        { "count=\"2\"", "count=\"20001\"", false, false },
        { "index=\"1\"", "index=\"0\"", false, false },
        { "index=\"1\"", "index=\"x\"", false, false },
        { "start=\"10485760\"", "", false, false },
        { "start=\"10485760\"", "start=\"0\"", false, false },
        { "end=\"10485759\"", "end=\"-1\"", false, false },
        { "<key>u//web.img.part.0</key>", "<key></key>", false, false },
        { "<key>u//web.img.part.0</key>", "", false, false },
        { "<get-url>http://s3", "<get-url>ftp://s3", false, false },
        { "<get-url>http://s3", "<get-url>http://me@s3", false, false },
        { "<get-url>http://s3", "<get-url>http:///s3", false, false },
        { "<get-url>http://s3:", "<get-url>http://s\\3:", false, false },
        { "part.0?m=h", "part.0 ?m=h", false, false },
        { "part.0?m=h", "\xc3\xa9?m=h", false, false },
        { "  <import>\n", "  <import>text\n", true, false }, /* the reader skips it */
    };

    (void)state;
    judge(rows, sizeof(rows) / sizeof(rows[0]));
}

/* The reader counts and adds; and it skips what it does not know. */
static void only_the_reader_proves_that_parts_adjoin(void **state)
{
    static const struct row rows[] = {
        { "count=\"2\"", "count=\"3\"", false, true },
        { "index=\"1\"", "index=\"2\"", false, true },
        { "start=\"10485760\"", "start=\"10485761\"", false, true },
        { "end=\"10485759\"", "end=\"10485758\"", false, true },
        { "end=\"12582911\"", "end=\"0\"", false, true },
        { "  <import>\n", "  <import><new/>\n", true, false },
    };

    (void)state;
    judge(rows, sizeof(rows) / sizeof(rows[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_take_what_is_written),
        cmocka_unit_test(both_take_other_ways_to_write_it),
        cmocka_unit_test(both_refuse_what_is_wrong),
        cmocka_unit_test(only_the_reader_proves_that_parts_adjoin),
    };

    return cmocka_run_group_tests(tests, load, unload);
}

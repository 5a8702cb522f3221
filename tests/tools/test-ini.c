/* The grammar of INI files, and how options of regions and users are found in them. */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"

#include "ini.h"
#include "lookup.h"

#define INI struct euca_ini ini IM_CLEANUP(euca_ini_done) = { 0 }

static void parse(struct euca_ini *ini, const char *text)
{
    struct im_error err = { 0 };

    if (euca_ini_parse(ini, "f", text, strlen(text), &err) < 0)
        fail_msg("%s", err.message);
}

/* The text is refused with that number and these words. */
static void refuse(const char *text, size_t len, int number, const char *words)
{
    struct im_error err = { 0 };
    INI;

    assert_int_equal(euca_ini_parse(&ini, "f", text, len, &err), -number);
    assert_string_equal(err.message, words);
}

static const char *value(const struct euca_ini *ini, const char *section, const char *option)
{
    const char *text = euca_ini_value(euca_ini_find(ini, section), option);

    return text ? text : "(none)";
}

static void test_grammar(void **state)
{
    static const struct {
        const char *text, *section, *option, *value;
    } cases[] = {
        { "[a]\nb = c", "a", "b", "c" },
        { "[a]\r\nb=c\r\n", "a", "b", "c" },
        { "\xef\xbb\xbf[a]\nb:c\n", "a", "b", "c" },
        { "[ region \t x ]\n b = c\n", "region x", "b", "c" },
        { "[a]\nKey-ID = C\n", "a", "key-id", "C" },
        { "[a]\nb = c = d:e\n", "a", "b", "c = d:e" },
        { "[a]\nu: http://h:1/\n", "a", "u", "http://h:1/" },
        { "[a]\nb = c ; d\n", "a", "b", "c" },
        { "[a]\nb = c\t# d\n", "a", "b", "c" },
        { "[a]\nb = c;d#e\n", "a", "b", "c;d#e" },
        { "[a]\nb = %(c)s%\n", "a", "b", "%(c)s%" },
        { "[a]\nb = \"c\"\n", "a", "b", "\"c\"" },
        { "[a] ; x\nb =\n", "a", "b", "" },
        { "# x\n  ; y\n[a]\n;b = 1\n#b = 2\n", "a", "b", "(none)" },
        { "[a]\nb = 1\n[c]\nb = 2\n[a]\nb = 3\n", "a", "b", "3" },
        { "[a]\nb = 1\n[c]\nb = 2\n[a]\nb = 3\n", "c", "b", "2" },
        /* lines that go on: deeper than the option began, blank ones and comments between */
        { "[a]\nb = 1\n  2\n\n\t3 ; x\n# y\nc = 4\n", "a", "b", "1\n2\n3" },
        { "[a]\nb =\n  c = 1\n  [d]\n", "a", "b", "\nc = 1\n[d]" },
        { "[a]\n  b = 1\n  c = 2\n", "a", "c", "2" },
        { "  [a]\n  b = 1\n  [c]\n", "c", "b", "(none)" },
        { "[a]\nb = 1\n[c]\n  d = 2\n", "c", "d", "2" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        INI;

        parse(&ini, cases[i].text);
        assert_non_null(euca_ini_find(&ini, cases[i].section));
        assert_string_equal(value(&ini, cases[i].section, cases[i].option), cases[i].value);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "b = 1\n", "f:1: an option stands before the first [SECTION]" },
        { "[a]\n\nsecret\n", "f:3: neither [SECTION] nor NAME = VALUE" },
        { "[a]\n= secret\n", "f:2: the option has no name" },
        { "[a\n", "f:1: a section is written [NAME]" },
        { "[a] b\n", "f:1: a section is written [NAME]" },
        { "[ ]\n", "f:1: the section has no name" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        refuse(cases[i].text, strlen(cases[i].text), EINVAL, cases[i].words);
    refuse("[a]\nb\0c = 1\n", 12, EINVAL, "f:2: a zero byte: this is no text");
}

/* "PREFIX" and `count` times what the format makes of a number (or not), as a new string. */
static char *many(const char *prefix, unsigned count, const char *format)
{
    char *text = malloc(strlen(prefix) + count * (strlen(format) + 12ul) + 1);
    size_t len;

    assert_non_null(text);
    len = (size_t)sprintf(text, "%s", prefix);
    for (unsigned i = 0; i < count; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        len += (size_t)sprintf(text + len, format, i);
#pragma GCC diagnostic pop
    }
    return text;
}

static void test_ceilings(void **state)
{
    static const struct {
        const char *prefix, *format;
        unsigned count; /* as many are taken, one more is not */
        const char *words;
    } cases[] = {
        { "", "[s%u]\n", 5000, "f:5001: more than 5000 sections" },
        { "[a]\n", "o%u = 1\n", 500, "f:502: more than 500 options in a section" },
        { "[a]\nb=", "1", 16382, "f:2: more than 16384 bytes in a line" },
        { "[a]\nb=\n", " 123\n", 4096, "f:4099: more than 16384 bytes in a value" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *good IM_FREE = many(cases[i].prefix, cases[i].count, cases[i].format);
        char *bad IM_FREE = many(cases[i].prefix, cases[i].count + 1, cases[i].format);
        INI;

        parse(&ini, good);
        refuse(bad, strlen(bad), EFBIG, cases[i].words);
    }
}

static void test_all_files_have_a_ceiling(void **state)
{
    size_t len = 1024 * 1024;
    char *text IM_FREE = calloc(1, len);
    struct im_error err = { 0 };
    INI;

    (void)state;
    assert_non_null(text);
    memset(text, '\n', len);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(euca_ini_parse(&ini, "f", text, len, &err), 0);
    assert_int_equal(euca_ini_parse(&ini, "f", text, 1, &err), -EFBIG);
}

static const char regions[] = "[region *]\n"
                              "everywhere = star\n"
                              "[region aws:*]\n"
                              "group = aws\n"
                              "iam = use aws:one\n"
                              "both = group\n"
                              "[region aws:one]\n"
                              "url = http://one/\n"
                              "iam = http://iam/\n"
                              "both = own\n"
                              "[region aws:two]\n"
                              "url = use aws:one\n"
                              "renamed = use aws:one url\n"
                              "swap = use aws:two renamed\n"
                              "nowhere = use none\n"
                              "nothing = use aws:one missing\n"
                              "empty = use \t\n"
                              "ring = use aws:ring\n"
                              "[region aws:ring]\n"
                              "ring = use aws:two\n"
                              "[region *:three]\n"
                              "both = tail\n"
                              "[region x:y:deep]\n"
                              "url = deep\n"
                              "[region z:deep]\n"
                              "url = nearer\n"
                              "[region l:twice]\n"
                              "url = left\n"
                              "[region r:twice]\n"
                              "url = right\n"
                              "only = right\n"
                              "[region plain]\n"
                              "url = plain\n"
                              "[region a:plain]\n"
                              "more = a\n"
                              "[region itself]\n"
                              "[region a:itself]\n"
                              "url = a\n"
                              "[region b:itself]\n"
                              "url = b\n"
                              "[region b:three]\n"
                              "group = b\n"
                              "[user one]\n"
                              "url = user\n";

/* "value SECTION", "(none)", or the error */
static void looked_up(const char *name, const char *option, char *text, size_t size)
{
    struct euca_setting setting = { 0 };
    struct im_error err = { 0 };
    INI;

    parse(&ini, regions);
    if (euca_look_up(&ini, "region", name, option, &setting, &err) < 0)
        (void)snprintf(text, size, "%s", err.message);
    else if (setting.value)
        (void)snprintf(text, size, "%s %s", setting.value, setting.section);
    else
        (void)snprintf(text, size, "(none)");
}

static void test_look_up(void **state)
{
    static const struct {
        const char *name, *option, *answer;
    } cases[] = {
        { "aws:one", "url", "http://one/ aws:one" },
        { "one", "url", "http://one/ aws:one" },
        { "aws:two", "url", "http://one/ aws:one" },
        { "two", "renamed", "http://one/ aws:one" },
        { "two", "swap", "http://one/ aws:one" },
        { "aws:two", "nothing", "(none)" },
        { "aws:two", "nowhere",
          "region 'aws:two': nowhere = use none leads nowhere: there is no such section" },
        { "aws:two", "ring",
          "region 'aws:ring': ring is sent on by 'use' more than 10 times: a circle?" },
        { "aws:two", "group", "aws aws:two" },
        { "aws:two", "iam", "http://iam/ aws:one" },
        { "aws:one", "both", "own aws:one" },
        { "aws:unheard", "both", "group aws:unheard" },
        { "aws:three", "both", "group aws:three" },
        { "b:three", "both", "tail b:three" },
        { "deep", "url", "nearer z:deep" },
        { "y:deep", "url", "deep x:y:deep" },
        { "twice", "url", "region 'twice' is ambiguous; closest matches are l:twice, r:twice" },
        { "twice", "only", "region 'twice' is ambiguous; closest matches are l:twice, r:twice" },
        { "plain", "url", "plain plain" },
        { "plain", "more", "a a:plain" },
        { "plain", "everywhere", "star a:plain" },
        /* two ends are no fault where there is the very name */
        { "itself", "url", "(none)" },
        { "itself", "everywhere", "star itself" },
        { "unheard", "everywhere", "star unheard" },
        { "unheard", "url", "(none)" },
        { "aws", "url", "(none)" },
        { "ne", "url", "(none)" },
        { "aws:", "url", "(none)" },
        { ":one", "url", "(none)" },
        { "", "everywhere", "(none)" },
        { NULL, "everywhere", "(none)" },
        { "a:b:c:d:e:f", "everywhere", "star a:b:c:d:e:f" },
        { "a:b:c:d:e:f:g", "everywhere", "(none)" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[IM_ERROR_MAX];

        looked_up(cases[i].name, cases[i].option, text, sizeof(text));
        assert_string_equal(text, cases[i].answer);
    }
}

/* Ten jumps are taken, an eleventh is not. */
static void test_jumps(void **state)
{
    char text[1024] = "";
    INI;

    (void)state;
    for (unsigned i = 0; i < 11; i++)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text),
                       "[region s%u]\nurl = use s%u\n", i, i + 1);
    parse(&ini, text);
    parse(&ini, "[region s11]\nurl = end\n");
    for (unsigned i = 0; i < 2; i++) {
        struct euca_setting setting = { 0 };
        struct im_error err = { 0 };
        int r = euca_look_up(&ini, "region", i == 0 ? "s0" : "s1", "url", &setting, &err);

        assert_int_equal(r, i == 0 ? -EINVAL : 0);
        assert_string_equal(setting.value ? setting.value : "", i == 0 ? "" : "end");
    }
}

static void test_known(void **state)
{
    static const char *const known[] = {
        "aws:one", "one", "twice", "aws:unheard", "plain", "y:deep"
    };
    static const char *const unknown[] = { "unheard", "ne", "aws", "user", "" };
    INI;

    (void)state;
    parse(&ini, regions);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        assert_true(euca_is_known(&ini, "region", known[i]));
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        assert_false(euca_is_known(&ini, "region", unknown[i]));
    assert_true(euca_is_known(&ini, "user", "one"));
    assert_false(euca_is_known(&ini, "user", "two"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grammar),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_ceilings), cmocka_unit_test(test_all_files_have_a_ceiling),
        cmocka_unit_test(test_look_up),  cmocka_unit_test(test_jumps),
        cmocka_unit_test(test_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

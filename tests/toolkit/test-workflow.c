/* The text of workflows: what is understood, and that everything else is refused with its line. */

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

#include "base/cleanup.h"
#include "core/workflow.h"

#define INPUTS                                                                                     \
    "# Sum of it\n"                                                                                \
    "input image -- read\n"                                                                        \
    "input volume -- written\n"                                                                    \
    "input size optional -- of it\n"                                                               \
    "input format default raw -- of image\n"
#define WHOLE                                                                                      \
    INPUTS "fetch from=$image\n"                                                                   \
           "decode format=$format\n"                                                               \
           "grow? size=$size\n"                                                                    \
           "boot-layout optional\n"                                                                \
           "store to=$volume force=yes\n"

static struct im_workflow *parsed(const char *text)
{
    struct im_workflow *workflow = NULL;
    struct im_error err = { 0 };

    if (im_workflow_parse("w", text, strlen(text), &workflow, &err) < 0)
        fail_msg("%s", err.message);
    return workflow;
}

static int chain_of(const struct im_workflow *workflow, const char *const *inputs, const char *from,
                    const char *until, struct im_chain *chain, struct im_error *err)
{
    struct im_workflow_ask ask = { .inputs = inputs, .from = from, .until = until };

    while (inputs[ask.count])
        ask.count++;
    return im_workflow_chain(workflow, &ask, chain, err);
}

/* "fetch from=a decode format=raw": the chain as text. */
static const char *shown(const struct im_chain *chain)
{
    static char text[1024];
    size_t used = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < chain->count; i++) {
        const struct im_link *link = &chain->link[i];

        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s%s", i ? " " : "",
                                 link->stage->name, link->optional ? "?" : "");
        for (unsigned j = 0; j < link->args.count; j++)
            used += (size_t)snprintf(text + used, sizeof(text) - used, " %s=%s",
                                     link->args.arg[j].param->name, link->args.arg[j].text);
    }
    return text;
}

static void expect_chain(const char *const *inputs, const char *from, const char *until,
                         const char *expected)
{
    struct im_workflow *workflow IM_WORKFLOW_FREE = parsed(WHOLE);
    struct im_chain chain IM_CHAIN_DONE = { 0 };
    struct im_error err = { 0 };

    if (chain_of(workflow, inputs, from, until, &chain, &err) < 0)
        fail_msg("%s", err.message);
    assert_string_equal(shown(&chain), expected);
}

static void refuses_chain(const char *const *inputs, const char *from, const char *until,
                          const char *why)
{
    struct im_workflow *workflow IM_WORKFLOW_FREE = parsed(WHOLE);
    struct im_chain chain IM_CHAIN_DONE = { 0 };
    struct im_error err = { 0 };

    assert_int_equal(chain_of(workflow, inputs, from, until, &chain, &err), -EINVAL);
    if (!strstr(err.message, why))
        fail_msg("'%s' does not say '%s'", err.message, why);
    assert_int_equal(chain.count, 0);
}

static void refuses(const char *text, size_t len, const char *why)
{
    struct im_workflow *workflow = NULL;
    struct im_error err = { 0 };

    assert_int_equal(im_workflow_parse("w", text, len, &workflow, &err), -EINVAL);
    assert_null(workflow);
    if (!strstr(err.message, why))
        fail_msg("'%s' does not say '%s'", err.message, why);
}

#define REFUSES(text, why) refuses(text, sizeof(text) - 1, why)

static void a_whole_one_is_understood(void **state)
{
    struct im_workflow *workflow IM_WORKFLOW_FREE = parsed(WHOLE);

    (void)state;
    assert_string_equal(workflow->summary, "Sum of it");
    assert_int_equal(workflow->input_count, 4);
    assert_string_equal(workflow->input[0].name, "image");
    assert_string_equal(workflow->input[0].summary, "read");
    assert_false(workflow->input[0].optional);
    assert_true(workflow->input[2].optional);
    assert_null(workflow->input[2].otherwise);
    assert_string_equal(workflow->input[3].otherwise, "raw");
    assert_int_equal(workflow->line_count, 5);
    assert_int_equal(workflow->line[0].line, 6);
    assert_true(workflow->line[2].when_given);
    assert_true(workflow->line[3].optional);
}

static void inputs_become_arguments(void **state)
{
    (void)state;
    expect_chain((const char *[]){ "image=a", "volume=b", NULL }, NULL, NULL,
                 "fetch from=a decode format=raw boot-layout? store to=b force=yes");
    expect_chain((const char *[]){ "volume=b", "size=1G", "format=vhd", "image=-", NULL }, NULL,
                 NULL,
                 "fetch from=- decode format=vhd grow size=1G boot-layout? store to=b force=yes");
}

static void a_chain_can_begin_and_end_anywhere(void **state)
{
    const char *const inputs[] = { "image=a", "volume=b", "size=4096", NULL };

    (void)state;
    expect_chain(inputs, "grow", NULL,
                 "fetch from=a grow size=4096 boot-layout? store to=b force=yes");
    expect_chain(inputs, NULL, "decode", "fetch from=a decode format=raw store to=b force=yes");
    expect_chain(inputs, NULL, "fetch", "fetch from=a store to=b force=yes");
    expect_chain(inputs, "grow", "grow", "fetch from=a grow size=4096 store to=b force=yes");
    expect_chain(inputs, "store", NULL, "fetch from=a store to=b force=yes");
    expect_chain(inputs, NULL, "store",
                 "fetch from=a decode format=raw grow size=4096 boot-layout? store to=b force=yes");
    refuses_chain(inputs, "fetch", NULL, "nothing flows into it");
    refuses_chain(inputs, "grow", "decode", "stands behind");
    refuses_chain(inputs, "shrink", NULL, "w has no such stage");
    refuses_chain((const char *[]){ "image=a", "volume=b", NULL }, "grow", NULL,
                  "for these inputs");
}

static void wrong_inputs_are_named(void **state)
{
    (void)state;
    refuses_chain((const char *[]){ "image=a", NULL }, NULL, NULL, "w needs volume=: written");
    refuses_chain((const char *[]){ "image=a", "volume=b", "colour=red", NULL }, NULL, NULL,
                  "no input 'colour'; it has image, volume, size, format");
    refuses_chain((const char *[]){ "image=a", "volume=b", "image=c", NULL }, NULL, NULL,
                  "image is given twice");
    refuses_chain((const char *[]){ "image=a", "volume=b", "size", NULL }, NULL, NULL,
                  "'size' is no input");
    refuses_chain((const char *[]){ "image=a", "volume=b", "size=big", NULL }, NULL, NULL,
                  "size=big is not a size");
    refuses_chain((const char *[]){ "image=a", "volume=", NULL }, NULL, NULL, "to= is not a text");
    refuses_chain((const char *[]){ "imag=a", "volume=b", NULL }, NULL, NULL, "no input 'imag'");
}

static void what_is_not_understood_is_refused_with_its_line(void **state)
{
    (void)state;
    REFUSES("", "names no stage");
    REFUSES("# nothing\n\n", "names no stage");
    REFUSES("fetch from=a\nshrink\n", "line 2: there is no stage 'shrink'");
    REFUSES("fetch from=a\n\nfetch from=b\n", "line 3: the stage 'fetch' is there already");
    REFUSES("fetch from=a colour=red\n", "line 1: 'fetch' has no parameter 'colour'");
    REFUSES("input c -- c\nfetch from=a colour=$c\n", "line 2: 'fetch' has no parameter 'colour'");
    REFUSES("fetch from=a from=b\n", "line 1: fetch: from is given twice");
    REFUSES("fetch\n", "line 1: 'fetch' needs from=");
    REFUSES("fetch from=$image\n", "line 1: from=$image: there is no input 'image'");
    REFUSES("grow size=big\n", "line 1: grow: size=big is not a size");
    REFUSES("fetch from=a maybe\n", "line 1: 'maybe' is no argument");
    REFUSES("fetch from=a =b\n", "line 1: '=b' is no argument");
    REFUSES("grow? size=1G\n", "line 1: 'grow?' names no input");
    REFUSES("input a -- b\nfetch from=b\n", "line 1: no stage uses the input 'a'");
    REFUSES("input a -- b\ninput a -- b\n", "line 2: there is an input 'a' already");
    REFUSES("input A -- b\n", "line 1: 'input' is followed by a name");
    REFUSES("input 1 -- b\n", "line 1: 'input' is followed by a name");
    REFUSES("input -- b\n", "line 1: ");
    REFUSES("input a\n", "line 1: an input is told");
    REFUSES("input a default -- b\n", "line 1: behind the name");
    REFUSES("input a sometimes -- b\n", "line 1: behind the name");
    REFUSES("input a default b c -- d\n", "line 1: behind the name");
    REFUSES("fetch from=a\ninput a -- b\n", "line 2: inputs stand in front");
    REFUSES("input aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa -- b\n", "at most 32");
    REFUSES("fetch from=a\r\n", "line 1: byte 0x0d is no text");
    REFUSES("# a\nfetch \0from=a\n", "line 2: byte 0x00 is no text");
    REFUSES("# \xff\n", "line 1: the line is not UTF-8");
    REFUSES("fetch a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1 i=1 j=1 k=1 l=1 m=1 n=1 o=1 p=1 q=1 r=1 s=1\n",
            "line 1: more than");
}

static void a_file_has_a_ceiling(void **state)
{
    char *text IM_FREE = malloc(IM_WORKFLOW_BYTES_MAX + 1);
    struct im_workflow *workflow IM_WORKFLOW_FREE = NULL;
    const char stage[] = "\nfetch from=a";

    (void)state;
    assert_non_null(text);
    memset(text, '#', IM_WORKFLOW_BYTES_MAX + 1);
    memcpy(text + IM_WORKFLOW_BYTES_MAX - strlen(stage), stage, strlen(stage));
    assert_int_equal(im_workflow_parse("w", text, IM_WORKFLOW_BYTES_MAX, &workflow, NULL), 0);
    refuses(text, IM_WORKFLOW_BYTES_MAX + 1, "longer than");
}

static void inputs_have_a_ceiling(void **state)
{
    char text[8192];
    size_t used = 0;

    (void)state;
    for (unsigned i = 0; i <= IM_WORKFLOW_INPUTS_MAX; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "input a%u -- b\n", i);
    refuses(text, used, "line 33: more than 32 inputs");
}

/* So many that each byte of the text is changed some dozen times. */
#define MUTATIONS 20000

/* Whatever is accepted keeps its promises: inputs that are used, stages of the table, arguments
 * that these declare, and a chain that fits or a sentence. */
static void check_accepted(const struct im_workflow *workflow)
{
    static const char *const inputs[] = { "image=a", "volume=b", "size=4096", NULL };
    struct im_chain chain IM_CHAIN_DONE = { 0 };
    struct im_error err = { 0 };

    assert_in_range(workflow->line_count, 1, IM_CHAIN_MAX);
    assert_in_range(workflow->input_count, 0, IM_WORKFLOW_INPUTS_MAX);
    for (unsigned i = 0; i < workflow->input_count; i++)
        assert_true(workflow->input[i].used);
    for (unsigned i = 0; i < workflow->line_count; i++)
        assert_ptr_equal(workflow->line[i].stage, im_stage_find(workflow->line[i].stage->name));
    if (chain_of(workflow, inputs, NULL, NULL, &chain, &err) == 0)
        assert_int_equal(im_chain_check(&chain, &err), 0);
    else
        assert_true(*err.message);
}

static void mutations_of_a_sound_one_are_taken_or_refused(void **state)
{
    uint32_t random = 1;
    unsigned accepted = 0;

    (void)state;
    for (unsigned i = 0; i < MUTATIONS; i++) {
        struct im_workflow *workflow IM_WORKFLOW_FREE = NULL;
        struct im_error err = { 0 };
        size_t len = strlen(WHOLE);
        char *text IM_FREE = malloc(len); /* so long that a sanitizer sees its end */

        assert_non_null(text);
        memcpy(text, WHOLE, len);
        for (unsigned n = i % 4 + 1; n > 0; n--) {
            random = random * 1664525u + 1013904223u;
            text[random / 256 % len] = WHOLE[random / 7 % len];
        }
        if (im_workflow_parse("w", text, len - (i % 64 ? 0 : random % len), &workflow, &err) == 0) {
            check_accepted(workflow);
            accepted++;
        } else {
            assert_non_null(strstr(err.message, "w"));
        }
    }
    assert_in_range(accepted, MUTATIONS / 100, MUTATIONS - MUTATIONS / 100);
}

static void stages_must_fit(void **state)
{
    static const struct {
        const char *text, *why;
    } wrong[] = {
        { "decode format=raw\nstore to=b\n", "put a 'fetch' in front" },
        { "fetch from=a\ngrow size=1\nstore to=b\n", "put a 'decode' between" },
        { "fetch from=a\ndecode format=raw\n", "put a 'store' behind it" },
        { "fetch from=a\nstore to=b\ngrow size=1\n", "cannot stand behind 'store'" },
        { "fetch from=a\ndecode format=raw\nencode to=raw\ngrow size=1\nstore to=b\n",
          "what is encoded is stored" },
        { "fetch from=a\nencode to=raw\nstore to=b\n", "put a 'decode' between" },
    };
    const char *const none[] = { NULL };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct im_workflow *workflow IM_WORKFLOW_FREE = parsed(wrong[i].text);
        struct im_chain chain IM_CHAIN_DONE = { 0 };
        struct im_error err = { 0 };

        assert_int_equal(chain_of(workflow, none, NULL, NULL, &chain, &err), -EINVAL);
        if (!strstr(err.message, wrong[i].why))
            fail_msg("'%s' does not say '%s'", err.message, wrong[i].why);
    }
}

static void words_are_a_chain_with_pipes_for_ends(void **state)
{
    static const struct {
        const char *words[8];
        const char *chain;
        bool raw_disk;
    } good[] = {
        { { "decode", "format=vhd" }, "fetch from=- decode format=vhd store to=-", false },
        { { "grow", "size=1G" }, "fetch from=- grow size=1G store to=-", true },
        { { "fetch", "from=a" }, "fetch from=a store to=-", false },
        { { "store", "to=b" }, "fetch from=- store to=b", false },
        { { "fetch", "from=a", "decode", "format=raw", "boot-layout", "optional" },
          "fetch from=a decode format=raw boot-layout?",
          false },
    };
    const char *const none[] = { NULL };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct im_workflow *workflow IM_WORKFLOW_FREE = NULL;
        struct im_chain chain IM_CHAIN_DONE = { 0 };
        unsigned count = 0;

        while (good[i].words[count])
            count++;
        assert_int_equal(im_workflow_of_words(good[i].words, count, &workflow, NULL), 0);
        assert_int_equal(chain_of(workflow, none, NULL, NULL, &chain, NULL), 0);
        assert_string_equal(shown(&chain), good[i].chain);
        assert_int_equal(chain.raw_disk, good[i].raw_disk);
    }
}

static void a_job_is_made_of_a_chain(void **state)
{
    struct im_workflow *workflow IM_WORKFLOW_FREE = parsed(WHOLE);
    const char *const inputs[] = { "image=a", "volume=b", "size=4096", "format=vpc", NULL };
    struct im_chain chain IM_CHAIN_DONE = { 0 };
    struct im_job job IM_JOB_DONE = { 0 };

    (void)state;
    assert_int_equal(chain_of(workflow, inputs, NULL, NULL, &chain, NULL), 0);
    assert_int_equal(im_chain_job(&chain, &job, NULL), 0);
    assert_string_equal(job.source, "a");
    assert_string_equal(job.store, "b");
    assert_string_equal(job.format->name, "vhd");
    assert_string_equal(job.to->name, "raw");
    assert_true(job.force);
    assert_false(job.as_is);
    assert_false(job.only_look);
    assert_int_equal(job.stage_count, 2);
    assert_true(job.stage[1].optional);
    assert_int_equal(chain.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_one_is_understood),
        cmocka_unit_test(inputs_become_arguments),
        cmocka_unit_test(a_chain_can_begin_and_end_anywhere),
        cmocka_unit_test(wrong_inputs_are_named),
        cmocka_unit_test(what_is_not_understood_is_refused_with_its_line),
        cmocka_unit_test(a_file_has_a_ceiling),
        cmocka_unit_test(inputs_have_a_ceiling),
        cmocka_unit_test(mutations_of_a_sound_one_are_taken_or_refused),
        cmocka_unit_test(stages_must_fit),
        cmocka_unit_test(words_are_a_chain_with_pipes_for_ends),
        cmocka_unit_test(a_job_is_made_of_a_chain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

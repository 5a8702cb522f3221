/* Jobs as JSON: what is understood, and what is refused with a reason. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/job.h"
#include "core/objects.h"

static void a_whole_job_is_understood(void **state)
{
    struct im_job job IM_JOB_DONE = { 0 };
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_job_parse("{\"source\":\"manifest:http://h/m\",\"format\":\"VPC\","
                                  "\"store\":\"/v/x\",\"max_size\":1073741824,\"force\":true,"
                                  "\"scratch\":\"/s\",\"jobs\":3,"
                                  "\"stages\":[{\"name\":\"grow\",\"size\":1073741824}]}",
                                  &job, &err),
                     0);
    assert_string_equal(job.source, "manifest:http://h/m");
    assert_string_equal(job.format->name, "vhd");
    assert_string_equal(job.store, "/v/x");
    assert_string_equal(job.scratch, "/s");
    assert_int_equal(job.max_size, 1073741824);
    assert_true(job.force);
    assert_int_equal(job.jobs, 3);
    assert_int_equal(job.stage_count, 1);
    assert_string_equal(job.stage[0].stage->name, "grow");
    assert_int_equal(im_arg_number(&job.stage[0].args, "size", 0), 1073741824);
}

static void the_object_store_of_this_machine_is_known(void **state)
{
    struct im_job job IM_JOB_DONE = { 0 };

    (void)state;
    assert_int_equal(im_job_parse("{\"source\":\"a\",\"format\":\"raw\",\"store\":\"b\","
                                  "\"objects\":{\"prefix\":\"http://h/o/\",\"dir\":\"/o\"}}",
                                  &job, NULL),
                     0);
    assert_string_equal(im_objects.prefix, "http://h/o/");
    assert_string_equal(im_objects.dir, "/o");
    free(im_objects.prefix);
    free(im_objects.dir);
    im_objects = (struct im_objects){ 0 };
}

static void what_is_left_out_has_a_default(void **state)
{
    struct im_job job IM_JOB_DONE = { 0 };
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(
        im_job_parse("{\"source\":\"a\",\"format\":\"raw\",\"store\":\"b\"}", &job, &err), 0);
    assert_true(job.max_size == UINT64_MAX);
    assert_false(job.force);
    assert_int_equal(job.stage_count, 0);
    assert_null(job.scratch);
}

static void a_bad_job_is_refused_with_the_reason(void **state)
{
#define GOOD "\"source\":\"a\",\"format\":\"raw\",\"store\":\"b\""
    static const struct {
        const char *json, *says;
    } cases[] = {
        { "", "job: line 1" },
        { "[]", "a JSON object is expected" },
        { "{\"format\":\"raw\",\"store\":\"b\"}", "required" },
        { "{\"source\":\"a\",\"format\":\"raw\"}", "required" },
        { "{\"source\":\"a\",\"store\":\"b\"}", "required" },
        { "{\"source\":\"\",\"format\":\"raw\",\"store\":\"b\"}", "\"source\"" },
        { "{\"source\":\"a\",\"format\":\"tar\",\"store\":\"b\"}", "'tar'" },
        { "{" GOOD ",\"max_size\":-1}", "\"max_size\"" },
        { "{" GOOD ",\"max_size\":\"1\"}", "\"max_size\"" },
        { "{" GOOD ",\"force\":1}", "\"force\"" },
        { "{" GOOD ",\"jobs\":0}", "not 1 to 8" },
        { "{" GOOD ",\"jobs\":9}", "not 1 to 8" },
        { "{" GOOD ",\"stages\":{}}", "must be a list" },
        { "{" GOOD ",\"stages\":[{\"name\":\"shrink\"}]}", "no stage 'shrink'" },
        { "{" GOOD ",\"stages\":[1]}", "no stage" },
        { "{" GOOD ",\"stages\":[{\"name\":\"grow\"}]}", "'grow' needs size" },
        { "{" GOOD ",\"stages\":[{\"name\":\"grow\",\"size\":\"1\",\"depth\":1}]}",
          "no parameter" },
        { "{" GOOD ",\"stages\":[{\"name\":\"grow\",\"size\":-1}]}", "not a size" },
        { "{" GOOD ",\"stages\":[{\"name\":\"grow\",\"size\":[]}]}", "neither text" },
        { "{" GOOD ",\"stages\":[{\"name\":\"boot-layout\"},{\"name\":\"partition-from-disk\"}]}",
          "has to look behind it" },
        { "{" GOOD ",\"objects\":\"/o\"}", "\"objects.prefix\"" },
        { "{" GOOD ",\"objects\":{\"dir\":\"/o\"}}", "\"objects.prefix\"" },
        { "{" GOOD ",\"urls\":1}", "must be an object" },
        { "{" GOOD ",\"urls\":{\"own\":\"ftp://h/\"}}", "\"urls.own\" must be" },
        { "{" GOOD ",\"urls\":{\"schemes\":\"http\"}}", "\"urls.schemes\" must be a list" },
        { "{" GOOD ",\"urls\":{\"hosts\":[1]}}", "\"urls.hosts\" has an entry 'not a string'" },
        { "{" GOOD ",\"urls\":{\"networks\":[\"10.0.0.0/99\"]}}", "entry '10.0.0.0/99'" },
        { "{" GOOD ",\"urls\":{\"colour\":[]}}", "\"urls.colour\" is not known" },
        { "{" GOOD ",\"confined\":1}", "\"confined\"" },
        { "{" GOOD ",\"colour\":\"red\"}", "\"colour\" is not known" },
        { "{" GOOD ",\"source\":\"twice\"}", "duplicate" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct im_job job = { .jobs = 77 };
        struct im_error err = { 0 };

        assert_int_equal(im_job_parse(cases[i].json, &job, &err), -EINVAL);
        assert_int_equal(im_error_status(&err), IM_USAGE);
        if (!strstr(err.message, cases[i].says))
            fail_msg("'%s' says '%s', not '%s'", cases[i].json, err.message, cases[i].says);
        assert_int_equal(job.jobs, 77); /* untouched on failure */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_job_is_understood),
        cmocka_unit_test(the_object_store_of_this_machine_is_known),
        cmocka_unit_test(what_is_left_out_has_a_default),
        cmocka_unit_test(a_bad_job_is_refused_with_the_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a region's options make of an endpoint; which place wins is for config.py to see. */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"

#include "credentials.h"

static const struct euca_common options = {
    .url = "http://ec2/", .access_key = "A", .secret_key = "S", .region = "r"
};
static const struct euca_s3_options s3_options = { .s3_url = "https://s3:443/x//" };

/* Both endpoints, with a file of that text; the first failure. */
static int find(const char *text, struct euca_endpoint *ec2, struct euca_endpoint *s3)
{
    char path[] = "/tmp/test-credentials.XXXXXX";
    int fd IM_CLOSE = mkstemp(path);
    struct im_error err = { 0 };
    int r;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)setenv("EUCA_CONFIG_PATH", path, 1);
    r = euca_find_ec2_and_s3("test", &options, &s3_options, false, ec2, s3, &err);
    (void)unlink(path);
    return r;
}

static void test_without_configuration(void **state)
{
    struct euca_endpoint ec2 EUCA_ENDPOINT_DONE = { 0 };
    struct euca_endpoint s3 EUCA_ENDPOINT_DONE = { 0 };

    (void)state;
    assert_int_equal(find("", &ec2, &s3), 0);
    assert_string_equal(ec2.url, "http://ec2/");
    assert_string_equal(s3.url, "https://s3/x");
    assert_string_equal(s3.region, "r");
    assert_string_equal(s3.access_key, "A");
    assert_string_equal(s3.secret_key, "S");
    assert_null(s3.token);
    assert_null(s3.location);
    assert_null(s3.ca_file);
    assert_false(s3.sigv2);
    assert_false(s3.any_certificate);
    assert_int_equal(s3.tries, 0);
    assert_int_equal(s3.timeout_s, 0);
}

static void test_options_of_the_object_store(void **state)
{
    static const struct {
        const char *text;
        bool sigv2;
        const char *location;
    } cases[] = {
        { "[region r]\ns3-force-sigv4 = false\n", true, NULL },
        { "[region r]\ns3-force-sigv4 = OFF\ns3-location-constraint = EU\n", true, "EU" },
        { "[region r]\ns3-force-sigv4 = true\n", false, NULL },
        { "[region r]\ns3-location-constraint =\n", false, NULL },
        { "[region *]\ns3-location-constraint = use g:r x\n[region g:r]\nx = eu-1\n", false,
          "eu-1" },
        { "[region other]\ns3-force-sigv4 = false\n", false, NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct euca_endpoint ec2 EUCA_ENDPOINT_DONE = { 0 };
        struct euca_endpoint s3 EUCA_ENDPOINT_DONE = { 0 };

        assert_int_equal(find(cases[i].text, &ec2, &s3), 0);
        assert_false(ec2.sigv2);
        assert_null(ec2.location);
        assert_int_equal(s3.sigv2, cases[i].sigv2);
        assert_string_equal(s3.location ? s3.location : "(none)",
                            cases[i].location ? cases[i].location : "(none)");
    }
}

static void test_patience(void **state)
{
    static const struct {
        const char *text;
        unsigned tries, timeout_s;
    } cases[] = {
        { "[global]\nmax-retries = 0\n", 1, 0 }, { "[global]\nmax-retries = 100\n", 101, 0 },
        { "[global]\ntimeout = 30\n", 0, 30 },   { "[global]\ntimeout = 0.01\n", 0, 1 },
        { "[global]\ntimeout = 1.5\n", 0, 2 },   { "[global]\ntimeout = 3600\n", 0, 3600 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct euca_endpoint ec2 EUCA_ENDPOINT_DONE = { 0 };
        struct euca_endpoint s3 EUCA_ENDPOINT_DONE = { 0 };

        assert_int_equal(find(cases[i].text, &ec2, &s3), 0);
        assert_int_equal(ec2.tries, cases[i].tries);
        assert_int_equal(ec2.timeout_s, cases[i].timeout_s);
        assert_int_equal(s3.tries, cases[i].tries);
        assert_int_equal(s3.timeout_s, cases[i].timeout_s);
    }
}

static void test_refused(void **state)
{
    struct euca_endpoint ec2 EUCA_ENDPOINT_DONE = { 0 };
    struct euca_endpoint s3 EUCA_ENDPOINT_DONE = { 0 };

    (void)state;
    assert_int_equal(find("[region r]\ns3-force-sigv4 = maybe\n", &ec2, &s3), -EINVAL);
}

/* Nothing of the user's own. */
static int clean(void **state)
{
    static const char *const names[] = { "AWS_CA_BUNDLE", "SSL_CERT_FILE", "EUCA_DEFAULT_REGION",
                                         "AWS_DEFAULT_REGION", "AWS_SECURITY_TOKEN" };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)unsetenv(names[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_configuration),
        cmocka_unit_test(test_options_of_the_object_store),
        cmocka_unit_test(test_patience),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, clean, NULL);
}

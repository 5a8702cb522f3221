/* test-manifest-url - which manifest URLs are let in, by scheme and by host. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/manifest-url.h"

static char http[] = "http", https[] = "https";
static char *schemes[] = { http, https };
static struct svc_conf conf;
static struct svc_api api;
static struct svc_call call;

/* Is url let in where these hosts (ended by NULL) are allowed? */
static bool lets_in(const char *url, const char *const *hosts)
{
    size_t count = 0;
    int r;

    while (hosts[count])
        count++;
    conf = (struct svc_conf){ .manifest_schemes = { 2, schemes },
                              .manifest_hosts = { count, (char **)(uintptr_t)hosts } };
    api = (struct svc_api){ .conf = &conf, .objects_url = "http://127.0.0.1:8773/objects/" };
    call = (struct svc_call){ .api = &api };
    r = svc_check_manifest_url(&call, "Image.ImportManifestUrl", url);
    if (r < 0) {
        assert_int_equal(call.code, SVC_INVALID_VALUE);
        assert_non_null(strstr(call.err.message, "Image.ImportManifestUrl"));
        assert_null(strstr(call.err.message, "secret"));
    }
    return r == 0;
}

#define IN(url, ...)  assert_true(lets_in(url, (const char *const[]){ __VA_ARGS__, NULL }))
#define OUT(url, ...) assert_false(lets_in(url, (const char *const[]){ __VA_ARGS__, NULL }))

static void any_host_without_a_list(void **state)
{
    const char *const none[] = { NULL };

    (void)state;
    assert_true(lets_in("http://anywhere:81/m?Signature=secret", none));
    assert_true(lets_in("https://[2606:4700::1]/m", none));
    assert_false(lets_in("https://[fd00::1]/m?Signature=secret", none));
    assert_non_null(strstr(call.err.message, "manifest-networks"));
    assert_false(lets_in("http://2130706433/m", none));
    assert_false(lets_in("ftp://anywhere/m?Signature=secret", none));
    assert_false(lets_in("http://", none));
    assert_false(lets_in("file:///etc/passwd", none));
    assert_false(lets_in("http://user:secret@s3/m", none));
    assert_non_null(strstr(call.err.message, "user name"));
}

static void exact_names(void **state)
{
    (void)state;
    IN("https://s3.example.com/b/m", "s3.example.com");
    IN("https://S3.Example.COM/b/m", "s3.example.com");
    IN("https://s3.example.com:8443/b/m", "s3.example.com");
    IN("http://b/m", "a", "b");
    IN("http://[::1]:80/m", "[::1]");
    OUT("https://s3.example.com.evil.net/m", "s3.example.com");
    OUT("https://xs3.example.com/m", "s3.example.com");
    OUT("https://b.s3.example.com/m", "s3.example.com");
    OUT("https://evil.net/s3.example.com", "s3.example.com");
    OUT("https://evil.net?s3.example.com", "s3.example.com");
    OUT("http://[::2]/m", "[::1]");
    OUT("http://c/m?x=secret", "a", "b");
    assert_non_null(strstr(call.err.message, "allowed are: a, b."));
}

static void wildcards(void **state)
{
    (void)state;
    IN("https://b.example.com/m", "*.example.com");
    IN("https://a.b.example.com/m", "*.example.com");
    IN("https://b.example.com:9/m", "*.example.com:9");
    OUT("https://example.com/m", "*.example.com");
    OUT("https://.example.com/m", "*.example.com");
    OUT("https://bexample.com/m", "*.example.com");
    OUT("https://b.example.com.evil.net/m", "*.example.com");
    OUT("https://b.example.com/m", "*.example.com:9");
}

static void ports(void **state)
{
    (void)state;
    IN("http://anywhere/m", "*");
    IN("https://anywhere/m", "*:443");
    OUT("http://anywhere/m", "*:443");
    IN("http://s3:8080/m", "s3:8080");
    IN("http://s3/m", "s3:80");
    IN("https://s3/m", "s3:443");
    IN("http://[::1]:81/m", "[::1]:81");
    OUT("http://s3:8081/m", "s3:8080");
    OUT("http://s3/m", "s3:8080");
    OUT("https://s3/m", "s3:80");
    OUT("http://[::1]/m", "[::1]:81");
}

static void the_own_store_is_always_allowed(void **state)
{
    (void)state;
    IN("http://127.0.0.1:8773/objects/b/m", "s3");
    OUT("http://127.0.0.1:8774/objects/b/m", "s3");
    OUT("http://127.0.0.1/objects/b/m", "s3");
    OUT("https://127.0.0.1:8773/objects/b/m", "s3");
}

static void schemes_can_be_fewer(void **state)
{
    (void)state;
    IN("http://s3/m", "s3");
    conf.manifest_schemes = (struct svc_words){ 1, schemes + 1 };
    assert_true(svc_check_manifest_url(&call, "P", "http://s3/m") < 0);
    assert_non_null(strstr(call.err.message, "allowed are: https."));
    assert_int_equal(svc_check_manifest_url(&call, "P", "https://s3/m"), 0);
    assert_int_equal(svc_check_manifest_url(&call, "P", "http://127.0.0.1:8773/objects/m"), 0);
}

static void a_long_list_is_cut(void **state)
{
    const char *hosts[200] = { NULL };

    (void)state;
    for (size_t i = 0; i < 199; i++)
        hosts[i] = "host.example.com";
    assert_false(lets_in("http://c/m", hosts));
    assert_non_null(strstr(call.err.message, "host.example.com, host.example.com"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_host_without_a_list),
        cmocka_unit_test(exact_names),
        cmocka_unit_test(wildcards),
        cmocka_unit_test(ports),
        cmocka_unit_test(the_own_store_is_always_allowed),
        cmocka_unit_test(schemes_can_be_fewer),
        cmocka_unit_test(a_long_list_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

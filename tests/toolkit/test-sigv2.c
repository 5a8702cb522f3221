/* Signature Version 2: every vector, its string to sign and its verdict; what is accepted is
 * refused after every single change.  The directory comes from $srcdir, as automake sets it. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "aws/canonical.h"
#include "aws/sigv2.h"
#include "base/clock.h"
#include "base/text.h"

#define CASES     39
#define KNOWN_KEY "AKIAIOSFODNN7EXAMPLE"

static json_t *suite;

/* A request as a server has it, and what the server has on file. */
struct vector {
    const json_t *given;
    struct im_header host;
    struct im_signable request;
    struct im_query params;
    const char *secret_key;
    int64_t now_ms;
};

static const char *text_of(const json_t *given, const char *name)
{
    const char *text = json_string_value(json_object_get(given, name));

    if (!text)
        fail_msg("a case lacks '%s'", name);
    return text;
}

static const char *name_of(const struct vector *v)
{
    return text_of(v->given, "name");
}

static void load(struct vector *v, const json_t *given)
{
    const char *body = text_of(given, "body"), *query = text_of(given, "query");
    const char *list = *body ? body : query;

    *v = (struct vector){
        .given = given,
        .host = { "Host", text_of(given, "host") },
        .secret_key = text_of(given, "secret_key"),
    };
    v->request = (struct im_signable){ .method = text_of(given, "method"),
                                       .path = text_of(given, "path"),
                                       .query = query,
                                       .headers = &v->host,
                                       .header_count = 1 };
    assert_int_equal(im_query_parse(list, strlen(list), &v->params, NULL), 0);
    assert_int_equal(im_clock_parse_iso8601(text_of(given, "now"), &v->now_ms), 0);
    assert_true(im_sigv2_present(&v->params));
}

/* "ok" or the code of the refusal, as a server that knows one key. */
static const char *verdict(const struct vector *v)
{
    struct im_sigv2_claim claim;
    struct im_error err = { 0 };

    if (im_sigv2_parse(&v->params, &claim, &err) < 0)
        return err.code;
    if (strcmp(claim.access_key, KNOWN_KEY) != 0)
        return "AuthFailure";
    return im_sigv2_verify(&v->request, &v->params, &claim, v->secret_key, v->now_ms, &err) == 0
               ? "ok"
               : err.code;
}

static void assert_verdict(const struct vector *v, const char *what, const char *wanted)
{
    const char *said = verdict(v);

    if (strcmp(said, wanted) != 0)
        fail_msg("%s, %s: expected %s, got %s", name_of(v), what, wanted, said);
}

static void assert_refused(const struct vector *v, const char *what)
{
    if (strcmp(verdict(v), "ok") == 0)
        fail_msg("%s: %s may be changed", name_of(v), what);
}

static void check_string_to_sign(const struct vector *v)
{
    struct im_buffer out = IM_BUFFER(IM_CANONICAL_MAX);
    const char *wanted = text_of(v->given, "string_to_sign");

    assert_int_equal(im_sigv2_string_to_sign(v->request.method, v->host.value, v->request.path,
                                             &v->params, &out),
                     0);
    if (strcmp(out.data, wanted) != 0)
        fail_msg("%s: to be signed is\n%s\nbut this was computed\n%s", name_of(v), wanted,
                 out.data);
    im_buffer_done(&out);
}

static void change_request(struct vector *v)
{
    const struct vector kept = *v;

    v->secret_key = "another secret";
    assert_verdict(v, "another secret", "SignatureDoesNotMatch");
    v->secret_key = "";
    assert_verdict(v, "no secret", "SignatureDoesNotMatch");
    *v = kept;
    v->request.headers = &v->host;
    v->request.method = strcmp(kept.request.method, "GET") == 0 ? "POST" : "GET";
    assert_verdict(v, "another method", "SignatureDoesNotMatch");
    v->request.method = kept.request.method;
    v->request.path = "/elsewhere";
    assert_verdict(v, "another path", "SignatureDoesNotMatch");
    v->request.path = kept.request.path;
    v->host.value = "evil.example.com";
    assert_verdict(v, "another host", "SignatureDoesNotMatch");
    v->host.value = "";
    assert_verdict(v, "no host", "IncompleteSignature");
    v->host.value = kept.host.value;
    v->now_ms += (int64_t)365 * 24 * 3600 * 1000;
    assert_verdict(v, "a year later", "RequestExpired");
    v->now_ms = kept.now_ms;
    assert_verdict(v, "unchanged", "ok");
}

/* Each parameter with another value, another name, and twice. */
static void change_params(struct vector *v)
{
    for (size_t i = 0; i < v->params.count; i++) {
        struct im_param *param = &v->params.param[i], kept = *param;
        char *value = im_asprintf("%sx", kept.value), *name = im_asprintf("%sx", kept.name);

        param->value = value;
        assert_refused(v, kept.name);
        *param = kept;
        param->name = name;
        assert_refused(v, kept.name);
        *param = kept;
        free(value);
        free(name);
    }
    for (size_t i = 0; i < v->params.count; i++) {
        struct im_query kept = v->params;

        v->params.param = calloc(kept.count + 1, sizeof(struct im_param));
        memcpy(v->params.param, kept.param, kept.count * sizeof(struct im_param));
        v->params.param[v->params.count++] = kept.param[i];
        assert_refused(v, "the number of parameters");
        free(v->params.param);
        v->params = kept;
    }
}

/* Each character of the signature; a base64 digit's last bits may be padding, its first are not. */
static void change_signature(struct vector *v)
{
    for (size_t i = 0; i < v->params.count; i++) {
        char *signature = v->params.param[i].value;

        if (strcmp(v->params.param[i].name, "Signature") != 0)
            continue;
        for (char *p = signature; *p; p++) {
            char kept = *p;

            *p = kept == 'A' ? 'g' : 'A';
            assert_verdict(v, "a digit of the signature", "SignatureDoesNotMatch");
            *p = kept;
        }
    }
}

static void every_vector(void **state)
{
    size_t index;
    json_t *given;

    (void)state;
    json_array_foreach(json_object_get(suite, "cases"), index, given)
    {
        const char *expect = text_of(given, "expect");
        struct vector v;

        load(&v, given);
        if (strcmp(expect, "ok") == 0) {
            check_string_to_sign(&v);
            assert_verdict(&v, "as it is", "ok");
            change_request(&v);
            change_params(&v);
            change_signature(&v);
        } else if (strncmp(expect, "either", 6) != 0) {
            assert_verdict(&v, "as it is", expect);
        }
        im_query_done(&v.params);
    }
    assert_int_equal(index, CASES);
}

/* The vector that was signed for a host without a port, sent with every port, and the other way. */
static void host_with_and_without_port(void **state)
{
    static const struct {
        const char *name, *host, *verdict;
    } cases[] = {
        { "get-minimal", "ec2.us-east-1.amazonaws.com:8773", "ok" },
        { "get-minimal", "EC2.us-east-1.amazonaws.com:443", "ok" },
        { "get-minimal", "ec2.us-east-1.amazonaws.com.", "SignatureDoesNotMatch" },
        { "get-host-port", "127.0.0.1", "SignatureDoesNotMatch" },
        { "get-host-port", "127.0.0.1:8774", "SignatureDoesNotMatch" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t index;
        json_t *given;

        json_array_foreach(json_object_get(suite, "cases"), index, given)
        {
            struct vector v;

            if (strcmp(text_of(given, "name"), cases[i].name) != 0)
                continue;
            load(&v, given);
            v.host.value = cases[i].host;
            assert_verdict(&v, cases[i].host, cases[i].verdict);
            im_query_done(&v.params);
        }
    }
}

static void times_of_clients(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } cases[] = {
        { "2026-11-20T10:00:00Z", INT64_C(1795168800000) },
        { "2026-11-20T10:00:00", INT64_C(1795168800000) },
        { "2026-11-20T10:00:00.5Z", INT64_C(1795168800500) },
        { "2026-11-20T10:00:00.123000Z", INT64_C(1795168800123) },
        { "2026-11-20T10:00:00.123456789Z", INT64_C(1795168800123) },
        { "2026-11-20T11:30:00+01:30", INT64_C(1795168800000) },
        { "2026-11-20T02:00:00-08:00", INT64_C(1795168800000) },
        { "2026-11-20T10:00:00.Z", -1 },
        { "2026-11-20T10:00:00.1234567890Z", -1 },
        { "2026-11-20T10:00:00ZZ", -1 },
        { "2026-11-20T10:00:00+0130", -1 },
        { "2026-11-20T10:00:00+15:00", -1 },
        { "2026-02-30T10:00:00Z", -1 },
        { "2026-11-20T24:00:00Z", -1 },
        { "2026-11-20 10:00:00Z", -1 },
        { "2026-1-20T10:00:00Z", -1 },
        { "20261120T100000Z", -1 },
        { "", -1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t ms = -1;
        int r = im_clock_parse_iso8601(cases[i].text, &ms);

        if (ms != cases[i].ms || (r < 0) != (cases[i].ms < 0))
            fail_msg("'%s' is read as %lld (%d)", cases[i].text, (long long)ms, r);
    }
}

static int load_suite(void **state)
{
    const char *srcdir = getenv("srcdir");
    char *path = im_asprintf("%s/vectors/sigv2/cases.json", srcdir ? srcdir : ".");

    (void)state;
    suite = json_load_file(path, 0, NULL);
    free(path);
    return suite ? 0 : -1;
}

static int free_suite(void **state)
{
    (void)state;
    json_decref(suite);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector),
        cmocka_unit_test(host_with_and_without_port),
        cmocka_unit_test(times_of_clients),
    };

    return cmocka_run_group_tests(tests, load_suite, free_suite);
}

/* The published V4 vectors: every case, both forms, each step compared with its file; then
 * "verified", and refused after every single change.  The directory comes from $srcdir, as automake
 * sets it. */

#include <config.h>

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>
#include <jansson.h>

#include "aws/canonical.h"
#include "base/crypto.h"
#include "base/clock.h"
#include "base/text.h"

#define CASES   38
#define HEADERS 16

struct vector {
    char *folder;
    json_t *context;
    char *text; /* the signed request, cut into pieces where it stands */
    char hash[65];
    struct im_header headers[HEADERS];
    struct im_signable request;
    struct im_sigv4_claim claim;
    int64_t now_ms;
};

static char *read_file(const char *folder, const char *form, const char *name)
{
    char *path = im_asprintf("%s/%s%s", folder, form, name);
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, 65536);

    if (!file)
        fail_msg("cannot open '%s'", path);
    assert_true(fread(text, 1, 65535, file) > 0);
    fclose(file);
    free(path);
    return text;
}

static const char *context_text(const struct vector *v, const char *name)
{
    return json_string_value(json_object_get(v->context, name));
}

static const char *secret_of(const struct vector *v)
{
    return json_string_value(
        json_object_get(json_object_get(v->context, "credentials"), "secret_access_key"));
}

static bool is_true(const struct vector *v, const char *name)
{
    return json_is_true(json_object_get(v->context, name));
}

/* Give back the line at *text without its LF and step over it. */
static char *take_line(char **text)
{
    char *line = *text;
    size_t n = strcspn(line, "\n");

    *text = line + n + (line[n] == '\n');
    line[n] = '\0';
    return line;
}

static void split_target(struct vector *v, char *line)
{
    char *first = strchr(line, ' '), *last = strrchr(line, ' ');
    char *question;

    assert_non_null(first);
    *first = *last = '\0';
    v->request.method = line;
    v->request.path = first + 1;
    question = strchr(first + 1, '?');
    if (question)
        *question = '\0';
    v->request.query = question ? question + 1 : "";
}

static void split_headers(struct vector *v, char **text)
{
    size_t *n = &v->request.header_count;

    while (**text && **text != '\n') {
        char *line = take_line(text);
        char *colon;

        if (*line == ' ') { /* a fold: put the LF back */
            line[-1] = '\n';
            continue;
        }
        colon = strchr(line, ':');
        assert_non_null(colon);
        *colon = '\0';
        assert_true(*n < HEADERS);
        v->headers[(*n)++] = (struct im_header){ .name = line, .value = colon + 1 };
    }
    (void)take_line(text);
    v->request.headers = v->headers;
}

static void set_time(struct vector *v)
{
    const char *iso = context_text(v, "timestamp");
    char basic[32];
    size_t n = 0;

    for (; *iso; iso++)
        if (*iso != '-' && *iso != ':')
            basic[n++] = *iso;
    basic[n] = '\0';
    assert_int_equal(im_clock_parse_basic(basic, &v->now_ms), 0);
}

static void load(struct vector *v, const char *folder, const char *form)
{
    char *context = read_file(folder, "", "context.json");
    struct im_error err = { 0 };
    uint8_t digest[IM_HASH_MAX];
    char *rest;

    *v = (struct vector){ .folder = strdup(folder), .context = json_loads(context, 0, NULL) };
    free(context);
    assert_non_null(v->context);
    rest = v->text = read_file(folder, form, "signed-request.txt");
    split_target(v, take_line(&rest));
    split_headers(v, &rest);
    im_hash(IM_SHA256, rest, strlen(rest), digest);
    im_hex(digest, 32, v->hash);
    v->request.payload_hash = v->hash;
    v->request.s3 = !is_true(v, "normalize");
    set_time(v);
    assert_true(im_sigv4_present(&v->request));
    if (im_sigv4_parse(&v->request, &v->claim, &err) < 0)
        fail_msg("%s%s: %s", folder, form, err.message);
}

static void unload(struct vector *v)
{
    json_decref(v->context);
    free(v->folder);
    free(v->text);
}

static void assert_file(const struct vector *v, const char *form, const char *name,
                        const char *computed)
{
    char *wanted = read_file(v->folder, form, name);

    if (strcmp(wanted, computed) != 0)
        fail_msg("%s/%s%s holds\n%s\nbut this was computed\n%s", v->folder, form, name, wanted,
                 computed);
    free(wanted);
}

/* Parse and verify as a server would; the code of the refusal, or NULL. */
static const char *refusal(const struct vector *v, const char *secret, int64_t now_ms)
{
    struct im_sigv4_claim claim;
    struct im_error err = { 0 };

    if (im_sigv4_parse(&v->request, &claim, &err) == 0)
        (void)im_sigv4_verify(&v->request, &claim, secret, now_ms, &err);
    return err.code;
}

static void assert_refused_with(const struct vector *v, const char *what, const char *secret,
                                int64_t now_ms, const char *code)
{
    const char *said = refusal(v, secret, now_ms);

    if (!said || strcmp(said, code) != 0)
        fail_msg("%s, %s: expected %s, got %s", v->folder, what, code, said ? said : "ok");
}

static void check_steps(const struct vector *v, const char *form)
{
    struct im_buffer canonical = IM_BUFFER(IM_CANONICAL_MAX), to_sign = IM_BUFFER(4096);
    struct im_sigv4_reading reading = { .without_token = is_true(v, "omit_session_token") };
    struct im_query query;
    char signature[65];

    assert_int_equal(im_query_parse(v->request.query, strlen(v->request.query), &query, NULL), 0);
    assert_int_equal(im_sigv4_add_canonical(&v->request, &query, &reading, v->claim.signed_headers,
                                            &canonical, NULL),
                     0);
    assert_file(v, form, "canonical-request.txt", canonical.data);
    assert_int_equal(im_sigv4_string_to_sign(canonical.data, v->claim.date, v->claim.region,
                                             v->claim.service, &to_sign),
                     0);
    assert_file(v, form, "string-to-sign.txt", to_sign.data);
    assert_int_equal(im_sigv4_signature(secret_of(v), v->claim.date, v->claim.region,
                                        v->claim.service, to_sign.data, signature),
                     0);
    assert_file(v, form, "signature.txt", signature);
    assert_string_equal(signature, v->claim.signature);
    assert_string_equal(v->claim.region, context_text(v, "region"));
    assert_string_equal(v->claim.service, context_text(v, "service"));
    im_query_done(&query);
    im_buffer_done(&canonical);
    im_buffer_done(&to_sign);
}

static void check_clock(const struct vector *v)
{
    int64_t late = IM_SIGV4_SKEW_MS;

    if (v->claim.presigned) {
        assert_int_equal(v->claim.expires_s,
                         json_integer_value(json_object_get(v->context, "expiration_in_seconds")));
        late = (int64_t)v->claim.expires_s * 1000;
    }
    assert_null(refusal(v, secret_of(v), v->now_ms));
    assert_null(refusal(v, secret_of(v), v->now_ms - IM_SIGV4_SKEW_MS));
    assert_null(refusal(v, secret_of(v), v->now_ms + late));
    assert_refused_with(v, "too early", secret_of(v), v->now_ms - IM_SIGV4_SKEW_MS - 1000,
                        "RequestExpired");
    assert_refused_with(v, "too late", secret_of(v), v->now_ms + late + 1000, "RequestExpired");
}

/* One field of the claim at a time, as a forger of signatures would change it. */
static void check_claim_changes(const struct vector *v)
{
    for (int change = 0; change < 4; change++) {
        struct im_sigv4_claim claim = v->claim;
        struct im_error err = { 0 };

        if (change == 0)
            claim.signature[17] = claim.signature[17] == '0' ? '1' : '0';
        else if (change == 1)
            claim.region[0] = 'x';
        else if (change == 2)
            claim.service[0] = 'x';
        else
            claim.date[14] = claim.date[14] == '0' ? '1' : '0'; /* some seconds */
        assert_true(im_sigv4_verify(&v->request, &claim, secret_of(v), v->now_ms, &err) < 0);
        assert_string_equal(err.code, "SignatureDoesNotMatch");
    }
    assert_refused_with(v, "wrong secret", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEX", v->now_ms,
                        "SignatureDoesNotMatch");
}

/* Every signed header with another value, then gone. */
static void check_header_changes(struct vector *v)
{
    for (size_t i = 0; i < v->request.header_count; i++) {
        struct im_header kept = v->headers[i];

        if (!im_signable_is_listed(v->claim.signed_headers, kept.name))
            continue;
        v->headers[i].value = "changed";
        if (!refusal(v, secret_of(v), v->now_ms))
            fail_msg("%s: header %s may be changed", v->folder, kept.name);
        v->headers[i] = (struct im_header){ .name = "X-Other", .value = kept.value };
        if (!refusal(v, secret_of(v), v->now_ms))
            fail_msg("%s: header %s may be missing", v->folder, kept.name);
        v->headers[i] = kept;
    }
}

static void check_request_changes(struct vector *v)
{
    struct im_signable kept = v->request;
    char *more = im_asprintf("%s%sadded=1", kept.query, *kept.query ? "&" : "");
    char *longer = im_asprintf("%s%s", kept.query, "x");
    char *elsewhere = im_asprintf("%s%s", kept.path, "x");

    v->request.query = more;
    assert_refused_with(v, "a parameter more", secret_of(v), v->now_ms, "SignatureDoesNotMatch");
    v->request.query = longer;
    if (!refusal(v, secret_of(v), v->now_ms))
        fail_msg("%s: the query may grow", v->folder);
    v->request = kept;
    v->request.path = elsewhere;
    assert_refused_with(v, "another path", secret_of(v), v->now_ms, "SignatureDoesNotMatch");
    v->request = kept;
    v->request.method = "PUT";
    assert_refused_with(v, "another method", secret_of(v), v->now_ms, "SignatureDoesNotMatch");
    v->request = kept;
    v->request.payload_hash = "0000000000000000000000000000000000000000000000000000000000000000";
    assert_refused_with(v, "another body", secret_of(v), v->now_ms, "SignatureDoesNotMatch");
    v->request = kept;
    free(more);
    free(longer);
    free(elsewhere);
}

/* Our signer must write the very header of the suite, which also signs all headers there are. */
static void check_authorization(struct vector *v)
{
    const char *wanted = im_signable_header(&v->request, "authorization");
    struct im_buffer out = IM_BUFFER(8192);
    struct im_sigv4_key key = { .access_key = v->claim.access_key,
                                .secret_key = secret_of(v),
                                .region = v->claim.region,
                                .service = v->claim.service };

    if (!is_true(v, "omit_session_token")) {
        assert_int_equal(im_sigv4_authorization(&v->request, &key, v->claim.date, &out, NULL), 0);
        assert_string_equal(out.data, wanted);
    }
    im_buffer_done(&out);
}

static void check_case(const char *folder, const char *form)
{
    struct vector v;

    load(&v, folder, form);
    assert_int_equal(v.claim.presigned, strcmp(form, "query-") == 0);
    check_steps(&v, form);
    check_clock(&v);
    check_claim_changes(&v);
    check_header_changes(&v);
    if (!v.claim.presigned)
        check_authorization(&v);
    check_request_changes(&v);
    unload(&v);
}

static void every_vector(void **state)
{
    const char *srcdir = getenv("srcdir");
    char *path = im_asprintf("%s/vectors/sigv4/v4", srcdir ? srcdir : ".");
    DIR *dir = opendir(path);
    struct dirent *entry;
    unsigned cases = 0;

    (void)state;
    if (!dir)
        fail_msg("cannot open '%s'; set srcdir to the tests directory", path);
    while ((entry = readdir(dir))) {
        char *folder;

        if (entry->d_name[0] == '.')
            continue;
        folder = im_asprintf("%s/%s", path, entry->d_name);
        check_case(folder, "header-");
        check_case(folder, "query-");
        free(folder);
        cases++;
    }
    closedir(dir);
    free(path);
    assert_int_equal(cases, CASES);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_vector) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The operations without sockets, on a real task table: replies to the letter, every refusal with
 * its code, and that what was refused left no task. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/api.h"
#include "xml.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

#define ACCOUNT "123456789012"
#define ID      "3be1508e-c444-4fef-89cc-0b1223c4f02f"
#define HEAD    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define NEW     "2016-11-15"
#define OLD     "2015-10-01"

/* A good request; each refusal below is this with one thing changed. */
#define IMPORT                                                                                     \
    "Action=ImportVolume&Version=" NEW "&AvailabilityZone=standalone&Image.Format=VHD"             \
    "&Image.Bytes=128696320&Image.ImportManifestUrl=https%3A%2F%2Fs3%2Fb%2Fk%3Fa%3D1%26c%3D2"      \
    "&Volume.Size=8"

struct fixture {
    char dir[64], path[96];
    struct svc_conf conf;
    struct svc_api api;
    struct im_buffer body;
    unsigned status;
    int woken;
    const char *actions; /* what the caller may do; NULL: all */
    const char *trouble; /* what dispatch would say */
};

static void wake(void *worker)
{
    ((struct fixture *)worker)->woken++;
}

static const char *trouble(void *worker, char *buf, size_t size)
{
    const char *sentence = ((struct fixture *)worker)->trouble;

    if (!sentence)
        return NULL;
    (void)snprintf(buf, size, "%s", sentence);
    return buf;
}

static int setup(void **state)
{
    static char zone[] = "standalone";
    static char *zones[] = { zone };
    struct fixture *f = calloc(1, sizeof(*f));
    struct task_options options;
    struct im_error err;

    assert_non_null(f);
    strcpy(f->dir, "/tmp/test-api.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/tasks.db", f->dir);
    f->conf = (struct svc_conf){ .zones = { 1, zones }, .max_active = 3, .max_volume_gib = 16384 };
    f->api = (struct svc_api){ .conf = &f->conf, .wake = wake, .trouble = trouble, .worker = f };
    f->body = IM_BUFFER(1 << 20);
    options = (struct task_options){ .where = f->path, .worker = "here", .alone = true };
    assert_int_equal(task_table_open(&options, &f->api.tasks, &err), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char name[128];

    (void)task_table_close(f->api.tasks);
    (void)unlink(f->path);
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(name, sizeof(name), "%s-%s", f->path, i ? "wal" : "shm");
        (void)unlink(name);
    }
    assert_int_equal(rmdir(f->dir), 0);
    im_buffer_done(&f->body);
    free(f);
    return 0;
}

/* Do what the query string says, as an account; the document. */
static const char *call_as(struct fixture *f, const char *account, const char *text)
{
    struct svc_answer answer = { .body = &f->body };
    struct im_query query IM_QUERY_DONE = { 0 };
    struct svc_caller caller;
    struct im_error err;

    im_buffer_clear(&f->body);
    assert_int_equal(im_query_parse(text, strlen(text), &query, &err), 0);
    (void)snprintf(caller.account, sizeof(caller.account), "%s", account);
    (void)snprintf(caller.actions, sizeof(caller.actions), "%s", f->actions ? f->actions : "all");
    svc_api_run(&f->api, &caller, ID, &query, &answer);
    f->status = answer.status;
    assert_true(f->body.len > 0);
    return f->body.data;
}

static const char *call(struct fixture *f, const char *text)
{
    return call_as(f, ACCOUNT, text);
}

static void assert_refused(struct fixture *f, const char *text, unsigned status, const char *code,
                           const char *words)
{
    const char *body = call(f, text);
    char *start IM_FREE =
        im_asprintf(HEAD "<Response><Errors><Error><Code>%s</Code><Message>", code);

    if (f->status != status || strncmp(body, start, strlen(start)) != 0 || !strstr(body, words))
        fail_msg("%.300s\nwanted %u %s '%s', got %u %s", text, status, code, words, f->status,
                 body);
    assert_non_null(
        strstr(body, "</Message></Error></Errors><RequestID>" ID "</RequestID></Response>"));
}

static int count_row(void *arg, const struct task *task)
{
    (void)task;
    ++*(int *)arg;
    return 0;
}

static int rows(struct fixture *f)
{
    struct im_error err;
    int count = 0;

    assert_int_equal(task_list(f->api.tasks, ACCOUNT, count_row, &count, &err), 0);
    return count;
}

/* Import; the task's id, in a static buffer per call. */
static void import(struct fixture *f, char id[20])
{
    const char *start = strstr(call(f, IMPORT), "<conversionTaskId>");

    assert_int_equal(f->status, 200);
    assert_non_null(start);
    (void)snprintf(id, 20, "%.19s", start + strlen("<conversionTaskId>"));
}

static void get(struct fixture *f, const char *id, struct task *task)
{
    struct im_error err;

    assert_int_equal(task_get(f->api.tasks, ACCOUNT, id, task, &err), 0);
}

/* Work on the one task there is and complete it. */
static void complete(struct fixture *f)
{
    static const struct stage_result result = { 0 };
    struct claim claim CLAIM_DONE = { 0 };
    struct im_error err;
    bool cancel;
    int64_t wait;

    assert_int_equal(task_claim(f->api.tasks, 60000, &claim, &wait, &err), 0);
    assert_int_equal(
        task_heartbeat(f->api.tasks, &claim, 60000, 128696000, "Progress: 50%", &cancel, &err), 0);
    assert_int_equal(task_publish(f->api.tasks, &claim, &result, &err), 0);
    assert_int_equal(task_complete(f->api.tasks, &claim, NULL, &err), 0);
}

static void import_volume_replies_to_the_letter(void **state)
{
    struct fixture *f = *state;
    struct task task TASK_DONE = { 0 };
    char *wanted IM_FREE = NULL;
    char *said IM_FREE = NULL;
    char id[20], expires[24];
    int64_t seven_days = INT64_C(7) * 24 * 3600 * 1000;

    said = strdup(call(f, IMPORT "&Description=data+disk"));
    assert_int_equal(f->status, 200);
    assert_int_equal(f->woken, 1);
    (void)snprintf(id, sizeof(id), "%.19s",
                   strstr(said, "<conversionTaskId>") + strlen("<conversionTaskId>"));
    get(f, id, &task);
    assert_int_equal(task.expires_ms - task.created_ms, seven_days);
    im_clock_iso8601(expires, sizeof(expires), task.expires_ms);
    wanted = im_asprintf(
        HEAD "<ImportVolumeResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">"
             "<requestId>" ID "</requestId><conversionTask><conversionTaskId>%s</conversionTaskId>"
             "<expirationTime>%s</expirationTime><importVolume>"
             "<availabilityZone>standalone</availabilityZone><bytesConverted>0</bytesConverted>"
             "<description>data disk</description><image><format>VHD</format>"
             "<importManifestUrl>https://s3/b/k?a=1&amp;c=2</importManifestUrl>"
             "<size>128696320</size></image><volume><size>8</size></volume></importVolume>"
             "<state>active</state>%s%s%s</conversionTask></ImportVolumeResponse>\n",
        id, expires, "<statusMessage>", "Pending", "</statusMessage>");
    assert_string_equal(said, wanted);
}

static void describe_shows_nothing_as_an_empty_element(void **state)
{
    assert_string_equal(call(*state, "Action=DescribeConversionTasks&Version=" OLD), HEAD
                        "<DescribeConversionTasksResponse xmlns=\"http://ec2.amazonaws.com/doc/" OLD
                        "/\">"
                        "<requestId>" ID "</requestId><conversionTasks/>"
                        "</DescribeConversionTasksResponse>\n");
}

static void describe_shows_the_volume_when_it_exists(void **state)
{
    struct fixture *f = *state;
    struct task task TASK_DONE = { 0 };
    char *volume IM_FREE = NULL;
    const char *said;
    char id[20];

    import(f, id);
    assert_null(strstr(call(f, "Action=DescribeConversionTasks&Version=" NEW), "<id>"));
    complete(f);
    get(f, id, &task);
    volume = im_asprintf("<bytesConverted>%" PRIu64 "</bytesConverted>"
                         "<image><format>VHD</format><importManifestUrl>https://s3/b/k?a=1&amp;c=2"
                         "</importManifestUrl><size>128696320</size></image><volume><id>%s</id>"
                         "<size>8</size></volume></importVolume><state>completed</state></item>"
                         "</conversionTasks></DescribeConversionTasksResponse>\n",
                         task.stage[0].bytes_converted, task.stage[0].volume_id);
    said = call(f, "Action=DescribeConversionTasks&Version=" NEW);
    assert_non_null(strstr(said, "<conversionTasks><item><conversionTaskId>"));
    if (!strstr(said, volume))
        fail_msg("%s\nis not the end of\n%s", volume, said);
}

static void describe_takes_ids_in_the_order_of_their_indexes(void **state)
{
    struct fixture *f = *state;
    char first[20], second[20];
    char *text IM_FREE = NULL;
    const char *said, *a, *b;

    import(f, first);
    import(f, second);
    text = im_asprintf("Action=DescribeConversionTasks&Version=" NEW "&ConversionTaskId.10=%s"
                       "&ConversionTaskId.9=%s&ConversionTaskId.11=%s",
                       first, second, second);
    said = call(f, text);
    a = strstr(said, first);
    b = strstr(said, second);
    assert_non_null(a);
    assert_non_null(b);
    assert_true(b < a);
    assert_null(strstr(b + 1, second)); /* named twice, shown once */
}

static void one_unknown_id_fails_the_whole_call(void **state)
{
    struct fixture *f = *state;
    char id[20];
    char *text IM_FREE = NULL;

    import(f, id);
    text = im_asprintf("Action=DescribeConversionTasks&Version=" NEW "&ConversionTaskId.1=%s"
                       "&ConversionTaskId.2=import-vol-zzzzzzzz",
                       id);
    assert_refused(f, text, 400, "InvalidConversionTaskId",
                   "The conversion task ID 'import-vol-zzzzzzzz' is not valid.");
}

struct bad_request {
    const char *text;
    unsigned status;
    const char *code, *words;
};

static void assert_all_refused(struct fixture *f, const struct bad_request *bad, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_refused(f, bad[i].text, bad[i].status, bad[i].code, bad[i].words);
    assert_int_equal(rows(f), 0);
    assert_int_equal(f->woken, 0);
}

#define ASSERT_ALL_REFUSED(state, bad)                                                             \
    assert_all_refused(*(state), bad, sizeof(bad) / sizeof((bad)[0]))

static void bad_requests_are_refused_with_their_code(void **state)
{
#define BASE "Action=ImportVolume&Version=" NEW "&"
#define ZONE "AvailabilityZone=standalone&"
#define URL  "Image.ImportManifestUrl=http%3A%2F%2Fs3%2Fk&"
    static const struct bad_request bad[] = {
        { "Version=" NEW, 400, "MissingAction", "Action" },
        { "Action=&Version=" NEW, 400, "MissingAction", "Action" },
        { "Action=DescribeFish&Version=" NEW, 400, "InvalidAction",
          "The action DescribeFish is not valid for this web service." },
        { "Action=ImportVolume", 400, "MissingParameter",
          "The request must contain the parameter Version" },
        { "Action=ImportVolume&Version=2016-11-16", 400, "NoSuchVersion", "2016-11-16" },
        { "Action=ImportVolume&Version=2016-11-1", 400, "NoSuchVersion", "2016-11-1" },
        { "Action=ImportVolume&Version=latest", 400, "NoSuchVersion", "latest" },
        { "Action=ImportVolume&Version=1999-01-01", 400, "NoSuchVersion", "1999" },
        { IMPORT "&Colour=red", 400, "UnknownParameter", "The parameter Colour is not recognized" },
        { IMPORT "&Volume.Size.1=8", 400, "UnknownParameter", "Volume.Size.1" },
        { IMPORT "&Volume.Size=8", 400, "MalformedQueryString", "Volume.Size" },
        { IMPORT "&Action=ImportVolume", 400, "MalformedQueryString", "Action" },
        { IMPORT "&Description=a%01b", 400, "InvalidCharacter", "Description" },
        { IMPORT "&Descri%1Bption=a", 400, "InvalidCharacter", "Descri?ption" },
        { IMPORT "&Description=%EF%BF%BF", 400, "InvalidCharacter", "Description" },
        { IMPORT "&DryRun=maybe", 400, "InvalidParameterValue",
          "Value (maybe) for parameter DryRun is invalid." },
        { IMPORT "&AvailabilityZoneId=standalone", 400, "InvalidParameterCombination", "together" },
        { BASE URL "Image.Format=RAW&Image.Bytes=1&Volume.Size=1", 400, "MissingParameter",
          "AvailabilityZone" },
        { BASE ZONE URL "Image.Bytes=1&Volume.Size=1", 400, "MissingParameter", "Image.Format" },
        { BASE ZONE URL "Image.Format=&Image.Bytes=1&Volume.Size=1", 400, "MissingParameter",
          "Image.Format" },
        { BASE ZONE URL "Image.Format=RAW&Volume.Size=1", 400, "MissingParameter", "Image.Bytes" },
        { BASE ZONE "Image.Format=RAW&Image.Bytes=1&Volume.Size=1", 400, "MissingParameter",
          "Image.ImportManifestUrl" },
        { BASE ZONE URL "Image.Format=RAW&Image.Bytes=1", 400, "MissingParameter", "Volume.Size" },
    };

    ASSERT_ALL_REFUSED(state, bad);
}

static void bad_values_of_an_import_are_refused_with_their_code(void **state)
{
    static const struct bad_request bad[] = {
        { BASE URL "AvailabilityZone=us-east-1a&Image.Format=RAW&Image.Bytes=1&Volume.Size=1", 400,
          "InvalidZone.NotFound", "us-east-1a" },
        { BASE ZONE URL "Image.Format=QCOW2&Image.Bytes=1&Volume.Size=1", 400, "InvalidFormat",
          "QCOW2" },
        { BASE ZONE URL "Image.Format=RAW&Image.Bytes=0&Volume.Size=1", 400,
          "InvalidParameterValue", "Value (0) for parameter Image.Bytes is invalid." },
        { BASE ZONE URL "Image.Format=RAW&Image.Bytes=-1&Volume.Size=1", 400,
          "InvalidParameterValue", "Image.Bytes" },
        { BASE ZONE URL "Image.Format=RAW&Image.Bytes=%2B1&Volume.Size=1", 400,
          "InvalidParameterValue", "Image.Bytes" },
        { BASE ZONE URL "Image.Format=RAW&Image.Bytes=1e3&Volume.Size=1", 400,
          "InvalidParameterValue", "Image.Bytes" },
        { BASE ZONE URL "Image.Format=RAW&Image.Bytes=9223372036854775808&Volume.Size=1", 400,
          "InvalidParameterValue", "Image.Bytes" },
        { BASE ZONE URL "Image.Format=RAW&Image.Bytes=18446744073709551617&Volume.Size=1", 400,
          "InvalidParameterValue", "Image.Bytes" },
        { BASE ZONE URL "Image.Format=RAW&Image.Bytes=9223372036854775807&Volume.Size=1", 400,
          "DiskImageSizeTooLarge", "9223372036854775807" },
        { BASE ZONE URL "Image.Format=VMDK&Image.Bytes=17592186044416&Volume.Size=16384", 400,
          "DiskImageSizeTooLarge", "17592186044416" },
        { BASE ZONE URL "Image.Format=RAW&Image.Bytes=1&Volume.Size=0", 400,
          "InvalidParameterValue", "Value (0) for parameter Volume.Size is invalid." },
        { BASE ZONE URL "Image.Format=RAW&Image.Bytes=1&Volume.Size=16385", 400,
          "InvalidParameterValue", "16384" },
        { BASE ZONE URL "Image.Format=RAW&Image.Bytes=1073741825&Volume.Size=1", 400,
          "InvalidParameterValue", "at least 2 GiB" },
        { BASE ZONE URL "Image.Format=VHD&Image.Bytes=1300000000&Volume.Size=1", 400,
          "InvalidParameterValue", "at least 2 GiB" },
    };

    ASSERT_ALL_REFUSED(state, bad);
}

static void bad_ids_and_tags_are_refused_with_their_code(void **state)
{
#define TAGS "Action=CreateTags&Version=" NEW "&ResourceId.1=import-vol-12345678&"
    static const struct bad_request bad[] = {
        { "Action=DescribeConversionTasks&Version=" NEW "&ConversionTaskId.1=vol-1", 400,
          "InvalidConversionTaskId.Malformed", "vol-1" },
        { "Action=DescribeConversionTasks&Version=" NEW "&ConversionTaskId.1=import-vol-ABCDEFGH",
          400, "InvalidConversionTaskId.Malformed", "ABCDEFGH" },
        { "Action=DescribeConversionTasks&Version=" NEW "&ConversionTaskId.1=import-vol-1234567",
          400, "InvalidConversionTaskId.Malformed", "1234567" },
        { "Action=DescribeConversionTasks&Version=" NEW "&ConversionTaskId.1=import-i-12345678",
          400, "InvalidConversionTaskId", "import-i-12345678" },
        { "Action=DescribeConversionTasks&Version=" NEW "&ConversionTaskId.0=import-vol-12345678",
          400, "UnknownParameter", "ConversionTaskId.0" },
        { "Action=DescribeConversionTasks&Version=" NEW "&ConversionTaskId.01=import-vol-12345678",
          400, "UnknownParameter", "ConversionTaskId.01" },
        { "Action=DescribeConversionTasks&Version=" NEW "&Filter.1.Name=x&Filter.1.Value.1=y", 400,
          "UnknownParameter", "Filter.1.Name" },
        { "Action=CancelConversionTask&Version=" NEW, 400, "MissingParameter", "ConversionTaskId" },
        { "Action=CancelConversionTask&Version=" NEW "&ConversionTaskId=import-vol-zzzzzzzz", 400,
          "InvalidConversionTaskId", "import-vol-zzzzzzzz" },
        { TAGS "Tag.1.Value=x", 400, "MissingParameter", "Tag.1.Key" },
        { TAGS "Tag.1.Key=a&Tag.7.Key=a", 400, "InvalidParameterValue",
          "Duplicate tag key 'a' specified." },
    };

    ASSERT_ALL_REFUSED(state, bad);
}

static void manifest_urls_must_be_usable(void **state)
{
    static const char *const bad[] = {
        "ftp%3A%2F%2Fs3%2Fk",
        "file%3A%2F%2F%2Fetc%2Fpasswd",
        "s3%2Fk",
        "http%3A%2F%2F",
        "http%3A%2F%2Fu%3Ap%40s3%2Fk",
        "http%3A%2F%2Fs3%2Fa+b",
        "http%3A%2F%2Fs3%2F%C3%A9",
        "%20",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char *text IM_FREE = im_asprintf(BASE ZONE "Image.Format=RAW&Image.Bytes=1&Volume.Size=1"
                                                   "&Image.ImportManifestUrl=%s",
                                         bad[i]);

        assert_refused(f, text, 400, "InvalidParameterValue", "Image.ImportManifestUrl");
        assert_null(strstr(f->body.data, "u:p")); /* passwords are not repeated */
    }
}

static void the_longest_values_are_taken_and_one_byte_more_is_not(void **state)
{
    struct fixture *f = *state;
    char *url = calloc(1, 4098), *text;

    memset(url, 'k', 4097);
    memcpy(url, "http://s3/", 10);
    for (int extra = 1; extra >= 0; extra--) {
        url[4096 + extra] = '\0';
        text = im_asprintf(BASE ZONE "Image.Format=RAW&Image.Bytes=1&Volume.Size=1"
                                     "&Image.ImportManifestUrl=%s",
                           url);
        if (extra)
            assert_refused(f, text, 400, "InvalidParameterValue", "4097 bytes; at most 4096");
        else
            (void)call(f, text);
        free(text);
    }
    assert_int_equal(f->status, 200);
    free(url);
}

static void sizes_at_the_edge_are_taken(void **state)
{
    static const char *const good[] = {
        "Image.Format=RAW&Image.Bytes=1073741824&Volume.Size=1",
        "Image.Format=vhd&Image.Bytes=1073742336&Volume.Size=1", /* fixed: a footer behind 1 GiB */
        "Image.Format=VMDK&Image.Bytes=17592186044415&Volume.Size=16384",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        char *text IM_FREE = im_asprintf("%s%s", BASE ZONE URL, good[i]);

        (void)call(f, text);
        if (f->status != 200)
            fail_msg("%s: %s", good[i], f->body.data);
    }
}

static void old_versions_may_say_more_than_we_know(void **state)
{
    struct fixture *f = *state;

    (void)call(f, "Action=DescribeConversionTasks&Version=" OLD
                  "&Filter.1.Name=state&Filter.1.Value.1=active&Colour=red");
    assert_int_equal(f->status, 200);
    /* but a filter that is not there would show what was not asked for */
    assert_refused(f,
                   "Action=DescribeConversionTasks&Version=" OLD
                   "&Filter.1.Name=colour&Filter.1.Value.1=red",
                   400, "InvalidParameterValue", "The filter 'colour' is invalid");
}

static void add_numbered(struct im_buffer *text, const char *before, const char *after, int n)
{
    assert_int_equal(im_buffer_printf(text, "%s%d%s%d", before, n, after, n), 0);
}

static void lists_that_are_too_long_are_refused(void **state)
{
    static const struct {
        const char *head, *before, *after; /* of a number, and the number again */
        int most;
        const char *code, *words;
    } rows[] = {
        { "Action=DescribeConversionTasks&Version=" OLD "&Filter.1.Name=state", "&Filter.1.Value.",
          "=", 200, "FilterLimitExceeded", "have 201 values, and 200 are allowed" },
        { "Action=DescribeConversionTasks&Version=" OLD, "&Filter.", ".Name=tag:", 200,
          "InvalidParameterValue", "more than 200 of Filter" },
        { "Action=DeleteTags&Version=" NEW "&ResourceId.1=import-vol-12345678", "&Tag.",
          ".Key=", 50, "TagLimitExceeded", "51 tags are more than the 50" },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(1 << 16);

        assert_int_equal(im_buffer_puts(&text, rows[i].head), 0);
        for (int n = 1; n <= rows[i].most; n++)
            add_numbered(&text, rows[i].before, rows[i].after, n);
        assert_null(strstr(call(f, text.data), rows[i].code));
        add_numbered(&text, rows[i].before, rows[i].after, rows[i].most + 1);
        assert_refused(f, text.data, 400, rows[i].code, rows[i].words);
    }
}

/* Describe with this behind it shows exactly the tasks of a mask: 1 the first, 2 the second. */
static void assert_shown(struct fixture *f, const char *filters, const char *first,
                         const char *second, int mask)
{
    char *text IM_FREE = im_asprintf("Action=DescribeConversionTasks&Version=" OLD "&%s", filters);
    const char *said = call(f, text);
    int shown = (strstr(said, first) ? 1 : 0) | (strstr(said, second) ? 2 : 0);

    if (f->status != 200 || shown != mask)
        fail_msg("%s: %u, %d instead of %d", filters, f->status, shown, mask);
}

static void filters_choose_tasks(void **state)
{
#define ONE(name, value) "Filter.1.Name=" name "&Filter.1.Value.1=" value
#define TWO(name, value) "&Filter.2.Name=" name "&Filter.2.Value.9=" value
    static const struct {
        const char *filters;
        int mask;
    } rows[] = {
        { ONE("state", "completed"), 1 },
        { ONE("state", "cancelled"), 0 },
        { ONE("state", "act*"), 2 },
        { ONE("state", "active") "&Filter.1.Value.2=completed", 3 },
        { "Filter.1.Name=state", 0 }, /* none of no values */
        { ONE("availability-zone", "stand%3Flone"), 3 },
        { ONE("availability-zone", "elsewhere"), 0 },
        { ONE("instance-id", "*"), 0 },
        { ONE("volume-id", "vol-*"), 1 },
        { ONE("volume-id", "vol-1"), 0 },
        { ONE("tag-key", "e*"), 1 },
        { ONE("tag-key", "prod"), 0 },
        { ONE("tag:env", "prod"), 1 },
        { ONE("tag:env", "test"), 0 },
        { ONE("tag:e*", "prod"), 0 }, /* keys are no patterns */
        { ONE("state", "*") TWO("tag:env", "prod"), 1 },
        { ONE("state", "active") TWO("tag:env", "prod"), 0 },
    };
    struct fixture *f = *state;
    char *tag IM_FREE = NULL;
    char *by_id IM_FREE = NULL;
    char first[20], second[20];

    import(f, first);
    complete(f);
    import(f, second);
    tag = im_asprintf("Action=CreateTags&Version=" NEW "&ResourceId.1=%s&Tag.1.Key=Name"
                      "&Tag.2.Key=env&Tag.2.Value=prod",
                      first);
    assert_non_null(strstr(call(f, tag), "<return>true</return>"));
    by_id = im_asprintf(ONE("conversion-task-id", "%s"), second);
    assert_shown(f, by_id, first, second, 2);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_shown(f, rows[i].filters, first, second, rows[i].mask);
}

static void a_dry_run_stores_nothing(void **state)
{
    struct fixture *f = *state;

    assert_refused(f, IMPORT "&DryRun=true", 412, "DryRunOperation",
                   "Request would have succeeded, but DryRun flag is set.");
    assert_refused(f, "Action=DescribeConversionTasks&DryRun=1&Version=" NEW, 412,
                   "DryRunOperation", "succeeded");
    /* what would not have succeeded says so */
    assert_refused(f, IMPORT "&DryRun=true&AvailabilityZoneId=x", 400,
                   "InvalidParameterCombination", "together");
    assert_int_equal(rows(f), 0);
    (void)call(f, IMPORT "&DryRun=false");
    assert_int_equal(f->status, 200);
}

static void without_a_toolkit_imports_are_refused_and_the_rest_works(void **state)
{
    struct fixture *f = *state;

    f->trouble = "imaging-toolkit was not found: '/x'";
    assert_refused(f, IMPORT, 503, "Unavailable", "imaging-toolkit was not found: '/x'");
    assert_int_equal(rows(f), 0);
    (void)call(f, "Action=DescribeConversionTasks&Version=" NEW);
    assert_int_equal(f->status, 200);
}

static void the_limit_on_tasks_holds(void **state)
{
    struct fixture *f = *state;
    char id[20];

    for (int i = 0; i < 3; i++)
        import(f, id);
    assert_refused(f, IMPORT, 400, "ResourceLimitExceeded", "3 conversion tasks");
    assert_int_equal(rows(f), 3);
}

static void cancelling_is_idempotent_and_shows_the_reason(void **state)
{
    struct fixture *f = *state;
    char *text IM_FREE = NULL;
    char id[20];

    import(f, id);
    text = im_asprintf("Action=CancelConversionTask&Version=" OLD "&ConversionTaskId=%s"
                       "&ReasonMessage=not+%%3Cneeded%%3E",
                       id);
    for (int i = 0; i < 2; i++)
        assert_string_equal(
            call(f, text),
            HEAD "<CancelConversionTaskResponse xmlns=\"http://ec2.amazonaws.com/doc/" OLD "/\">"
                 "<requestId>" ID "</requestId><return>true</return>"
                 "</CancelConversionTaskResponse>\n");
    assert_int_equal(f->woken, 3);
    assert_non_null(strstr(call(f, "Action=DescribeConversionTasks&Version=" NEW),
                           "<state>cancelled</state><statusMessage>not &lt;needed&gt;"
                           "</statusMessage></item>"));
}

static void a_completed_task_cannot_be_cancelled(void **state)
{
    struct fixture *f = *state;
    char *text IM_FREE = NULL;
    char id[20];

    import(f, id);
    complete(f);
    text = im_asprintf("Action=CancelConversionTask&Version=" NEW "&ConversionTaskId=%s", id);
    assert_refused(f, text, 400, "DeleteConversionTaskError", id);
}

static void another_account_s_task_is_unknown(void **state)
{
    struct fixture *f = *state;
    char *describe IM_FREE = NULL;
    char *cancel IM_FREE = NULL;
    char id[20];

    import(f, id);
    describe =
        im_asprintf("Action=DescribeConversionTasks&Version=" NEW "&ConversionTaskId.1=%s", id);
    cancel = im_asprintf("Action=CancelConversionTask&Version=" NEW "&ConversionTaskId=%s", id);
    assert_non_null(
        strstr(call_as(f, "999999999999", describe), "<Code>InvalidConversionTaskId</Code>"));
    assert_non_null(
        strstr(call_as(f, "999999999999", cancel), "<Code>InvalidConversionTaskId</Code>"));
    assert_null(
        strstr(call_as(f, "999999999999", "Action=DescribeConversionTasks&Version=" NEW), id));
}

static void what_is_not_allowed_is_refused(void **state)
{
    struct fixture *f = *state;
    char id[20];

    import(f, id);
    f->actions = "DescribeConversionTasks,ReadObjects";
    assert_non_null(
        strstr(call(f, "Action=DescribeConversionTasks&Version=" NEW), "<conversionTaskId>"));
    assert_refused(f, IMPORT, 403, "UnauthorizedOperation",
                   "You are not authorized to perform this operation.");
    assert_refused(f, IMPORT "&DryRun=true", 403, "UnauthorizedOperation", "");
    assert_refused(f, IMPORT "&Volume.Size=x", 403, "UnauthorizedOperation", "");
    assert_refused(f,
                   "Action=CancelConversionTask&ConversionTaskId=import-vol-zzzzzzzz&Version=" NEW,
                   403, "UnauthorizedOperation", "");
    assert_refused(f, "Action=NoSuchThing&Version=" NEW, 400, "InvalidAction", "");
    assert_int_equal(rows(f), 1);
    f->actions = "ImportVolume";
    (void)call(f, IMPORT);
    assert_int_equal(f->status, 200);
}

static void customers_text_comes_back_as_it_was(void **state)
{
    struct fixture *f = *state;

    assert_non_null(strstr(call(f, IMPORT "&Description=%5D%5D%3E%26%3C%22%0Aa+b%2Bc~%2A%C3%A9"),
                           "<description>]]&gt;&amp;&lt;&quot;\na b+c~*\xc3\xa9</description>"));
    assert_int_equal(f->status, 200);
}

static void xml_never_holds_what_xml_cannot_hold(void **state)
{
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(1000);
    struct svc_xml *xml = svc_xml_new(&out);

    (void)state;
    svc_xml_open(xml, "a", NULL);
    svc_xml_text(xml, "b", "x\001y\xff\x1b[31m");
    svc_xml_text(xml, "c", NULL);
    svc_xml_close(xml);
    assert_int_equal(svc_xml_end(xml), 0);
    assert_string_equal(out.data, HEAD "<a><b>x?y??[31m</b></a>\n");
}

static void a_document_above_the_ceiling_is_an_error(void **state)
{
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(60);
    struct svc_xml *xml = svc_xml_new(&out);

    (void)state;
    svc_xml_open(xml, "a", NULL);
    for (int i = 0; i < 10000; i++)
        svc_xml_uint(xml, "n", 18446744073709551615u);
    svc_xml_close(xml);
    assert_int_equal(svc_xml_end(xml), -EFBIG);
}

static void a_failure_of_ours_tells_the_client_nothing_of_it(void **state)
{
    struct fixture *f = *state;

    f->body.ceiling = 300; /* the reply does not fit, the error does */
    assert_refused(f, IMPORT, 500, "InternalError", "An internal error has occurred");
}

static void a_database_that_is_away_is_no_fault_of_the_request(void **state)
{
    (void)state;
    assert_string_equal(svc_code_name(svc_code_of_failure(-EHOSTDOWN)), "ServiceUnavailable");
    assert_string_equal(svc_code_name(svc_code_of_failure(ECONNABORTED)), "ServiceUnavailable");
    assert_int_equal(svc_code_status(svc_code_of_failure(-ECONNABORTED)), 503);
    assert_int_equal(svc_code_of_failure(-EIO), SVC_INTERNAL_ERROR);
    assert_int_equal(svc_code_of_failure(0), SVC_INTERNAL_ERROR);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(import_volume_replies_to_the_letter),
        TEST(describe_shows_nothing_as_an_empty_element),
        TEST(describe_shows_the_volume_when_it_exists),
        TEST(describe_takes_ids_in_the_order_of_their_indexes),
        TEST(one_unknown_id_fails_the_whole_call),
        TEST(bad_requests_are_refused_with_their_code),
        TEST(bad_values_of_an_import_are_refused_with_their_code),
        TEST(bad_ids_and_tags_are_refused_with_their_code),
        TEST(manifest_urls_must_be_usable),
        TEST(the_longest_values_are_taken_and_one_byte_more_is_not),
        TEST(sizes_at_the_edge_are_taken),
        TEST(old_versions_may_say_more_than_we_know),
        TEST(lists_that_are_too_long_are_refused),
        TEST(filters_choose_tasks),
        TEST(a_dry_run_stores_nothing),
        TEST(without_a_toolkit_imports_are_refused_and_the_rest_works),
        TEST(the_limit_on_tasks_holds),
        TEST(cancelling_is_idempotent_and_shows_the_reason),
        TEST(a_completed_task_cannot_be_cancelled),
        TEST(another_account_s_task_is_unknown),
        TEST(what_is_not_allowed_is_refused),
        TEST(customers_text_comes_back_as_it_was),
        TEST(xml_never_holds_what_xml_cannot_hold),
        TEST(a_document_above_the_ceiling_is_an_error),
        TEST(a_failure_of_ours_tells_the_client_nothing_of_it),
        cmocka_unit_test(a_database_that_is_away_is_no_fault_of_the_request),
    };

    svc_xml_global();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

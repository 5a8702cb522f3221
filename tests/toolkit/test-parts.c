/* The fetching sources against a server that misbehaves by script: no wrong byte is ever given out,
 * what may heal heals, what may not is not asked for again, and memory stays bounded. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/fault-server.h"
#include "aws/manifest.h"
#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/http.h"
#include "base/io.h"
#include "core/cancel.h"
#include "core/objects.h"
#include "core/source.h"
#include "source/fetch.h"
#include "source/local.h"
#include "source/parts.h"
#include "source/pool.h"

extern const struct im_source_type im_source_http, im_source_manifest;

#define MIB   (1024u * 1024)
#define SMALL 100000           /* bytes of the object most faults are tried on */
#define LARGE (20 * MIB + 777) /* three ranges */
#define MANY  40               /* parts of SMALL bytes */

static uint8_t large[LARGE];
static uint8_t small[MANY * SMALL];

static int group_setup(void **state)
{
    char name[32];

    (void)state;
    im_http_global();
    server_start();
    fill_pattern(large, sizeof(large), 1);
    fill_pattern(small, sizeof(small), 2);
    server_put("large", large, sizeof(large));
    server_put("small", small, SMALL);
    server_put("empty", "", 0);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof(name), "small%d", i);
        server_put(name, small + i * SMALL, SMALL);
    }
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    server_stop();
    return 0;
}

static int setup(void **state)
{
    (void)state;
    server_forget();
    im_cancelled = false;
    return 0;
}

static struct im_source *open_pieces(const struct im_piece *pieces, size_t count, unsigned tries)
{
    /* short only where it is waited for: a busy machine stalls, too */
    const struct im_parts_options options = { .tries = tries,
                                              .stall_timeout_s =
                                                  strstr(pieces[0].url, "stall") ? 1 : 0 };
    struct im_source *source = NULL;

    assert_int_equal(im_parts_open("test", pieces, count, &options, &source, NULL), 0);
    return source;
}

static struct im_source *open_one(const char *script, const char *name, uint64_t len,
                                  unsigned tries)
{
    const struct im_piece piece = { .url = server_url(script, name), .len = len, .etag = "" };

    return open_pieces(&piece, 1, tries);
}

/* MANY parts of SMALL bytes each; `script` for the part `odd`, "ok" for all others. */
static struct im_source *open_many(const char *script, size_t odd)
{
    struct im_piece pieces[MANY];
    char url[MANY][128];

    for (size_t i = 0; i < MANY; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "small%zu", i);
        (void)snprintf(url[i], sizeof(url[i]), "%s", server_url(i == odd ? script : "ok", name));
        pieces[i] = (struct im_piece){ .url = url[i], .len = SMALL, .etag = "" };
    }
    return open_pieces(pieces, MANY, 2);
}

static void read_and_compare(struct im_source *source, const uint8_t *want, uint64_t offset,
                             size_t len)
{
    struct im_error err = { 0 };
    uint8_t *buf IM_FREE = malloc(len + 1);

    if (im_source_read(source, buf, len, offset, &err) < 0)
        fail_msg("read at %" PRIu64 ": %s", offset, err.message);
    assert_memory_equal(buf, want + offset, len);
}

static void finish(struct im_source *source)
{
    struct im_error err = { 0 };

    if (im_source_finish(source, &err) < 0)
        fail_msg("finish: %s", err.message);
}

/* Whoever is given the memory that proven bytes are in cannot change them. */
static void memory_that_is_lent_is_only_read(void **state)
{
    struct im_source *source = open_one("ok", "small", SMALL, 1);
    uint64_t len = 0;
    int fd = source->ops->memory(source, &len), again;
    void *memory;
    char path[64];

    (void)state;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    again = open(path, O_RDWR | O_CLOEXEC);
    assert_true(again >= 0); /* which nothing forbids who has been given it */
    assert_int_equal(pwrite(again, "x", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_ptr_equal(mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0), MAP_FAILED);
    memory = mmap(NULL, len, PROT_READ, MAP_SHARED, again, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(mprotect(memory, len, PROT_READ | PROT_WRITE), -1);
    assert_int_equal(munmap(memory, len), 0);
    (void)close(again);
    read_and_compare(source, small, 0, SMALL); /* and it is filled all the same */
    im_source_close(source);
}

/* ---- what may heal ---- */

static void faults_heal(void **state)
{
    static const struct {
        const char *script;
        unsigned requests;
    } faults[] = {
        { "ok", 1 },
        { "resethead*1", 2 },
        { "resetbody*1", 2 },
        { "cut*1", 2 },
        { "short*1", 2 },
        { "long*1", 2 },
        { "wrongetag*1", 2 },
        { "corrupt*1", 2 },
        { "xml*1", 2 },
        { "gzip*1", 2 },
        { "500*1", 2 },
        { "503*2", 3 },
        { "429*1", 2 },
        { "stall*1", 2 },
        { "weaketag", 1 },
        { "noetag", 1 },
        { "noetag+cut*1", 2 },
        { "nosize", 1 },
        { "cutwhole+forget*2", 3 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct im_source *source = open_one(faults[i].script, "small", SMALL, 4);

        read_and_compare(source, small, 0, SMALL);
        finish(source);
        im_source_close(source);
        if (server_saw(faults[i].script, "/small", NULL) != faults[i].requests)
            fail_msg("%s: %u requests instead of %u", faults[i].script,
                     server_saw(faults[i].script, "/small", NULL), faults[i].requests);
        server_forget();
    }
}

static void a_cut_transfer_goes_on_where_it_stopped(void **state)
{
    struct im_source *source = open_one("cut*1", "small0", SMALL, 2);
    char line[SERVER_LINE];

    (void)state;
    read_and_compare(source, small, 0, SMALL);
    assert_int_equal(server_saw("GET", "range=bytes=50000-99999", line), 1);
    assert_non_null(strstr(line, "if-match=\""));
    im_source_close(source);
}

static void without_an_etag_a_cut_transfer_starts_again(void **state)
{
    struct im_source *source = open_one("cut+noetag*1", "small", SMALL, 2);

    (void)state;
    read_and_compare(source, small, 0, SMALL);
    assert_int_equal(server_saw("GET", "range=", NULL), 0);
    im_source_close(source);
}

static void wrong_ranges_heal(void **state)
{
    struct im_source *source = open_one("wrongrange*1", "large", LARGE, 3);

    (void)state;
    read_and_compare(source, large, 0, LARGE);
    finish(source);
    assert_int_equal(server_saw("GET", "large", NULL), 4);
    im_source_close(source);
}

/* ---- what may not ---- */

static void lasting_faults_end(void **state)
{
    static const struct {
        const char *script;
        int number;
        const char *code, *says;
        unsigned requests;
    } faults[] = {
        { "403", EACCES, "AccessDenied",
          "We do not have access to the given resource. Reason 403 Forbidden", 1 },
        { "404", ENOENT, "NotFound", "404", 1 },
        { "416", EACCES, "DownloadFailed", "416", 1 },
        { "503", EAGAIN, "ServerBusy", "503", 2 },
        { "short", EBADMSG, "DamagedPart", "99990 bytes instead of 100000", 2 },
        { "short+nosize", EBADMSG, "DamagedPart", "99990 bytes instead of 100000", 2 },
        { "long", EBADMSG, "DamagedPart", "100010 bytes instead of 100000", 2 },
        { "long+nosize", EBADMSG, "DamagedPart", "more than 100000 bytes", 2 },
        { "corrupt", EBADMSG, "DamagedPart", "MD5", 2 },
        { "wrongetag", EBADMSG, "DamagedPart", "MD5", 2 },
        { "xml", EBADMSG, "DamagedPart", "bytes instead of 100000", 2 },
        { "gzip", EBADMSG, "DamagedPart", "in the encoding 'gzip'", 2 },
        { "stall", ETIMEDOUT, "TimedOut", "", 2 },
        { "resetbody", ECONNRESET, "ConnectionFailed", "", 2 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct im_source *source = open_one(faults[i].script, "small?Signature=sEcReT", SMALL, 2);
        struct im_error err = { 0 };
        uint8_t byte;

        assert_int_equal(im_source_read(source, &byte, 1, 0, &err), -faults[i].number);
        assert_string_equal(err.code, faults[i].code);
        if (!strstr(err.message, faults[i].says) || !strstr(err.message, "part 1 of 1") ||
            !strstr(err.message, "/small") || strstr(err.message, "sEcReT"))
            fail_msg("%s: %s", faults[i].script, err.message);
        assert_int_equal(server_saw("GET", "/small", NULL), faults[i].requests);
        im_source_close(source);
        server_forget();
    }
}

static void damaged_bytes_are_asked_for_three_times_at_most(void **state)
{
    struct im_source *source = open_one("corrupt", "small", SMALL, 8);
    uint8_t byte;

    (void)state;
    assert_int_equal(im_source_read(source, &byte, 1, 0, NULL), -EBADMSG);
    assert_int_equal(server_saw("GET", "/small", NULL), 3);
    im_source_close(source);
}

/* Parts are proven several at once: one that is damaged is asked for again, and its neighbours are
 * not. */
static void among_others_a_damaged_part_heals_alone(void **state)
{
    struct im_source *source = open_many("corrupt*1", 7);

    (void)state;
    for (uint64_t offset = 0; offset < source->size; offset += SMALL)
        read_and_compare(source, small, offset, SMALL);
    finish(source);
    assert_int_equal(server_saw("GET", "/small7\t", NULL), 2);
    assert_int_equal(server_saw("GET", "/small", NULL), MANY + 1);
    im_source_close(source);
}

static void among_others_a_damaged_part_ends_the_source(void **state)
{
    struct im_source *source = open_many("corrupt", 7);
    uint8_t *buf IM_FREE = malloc(MANY * SMALL);
    struct im_error err = { 0 };

    (void)state;
    read_and_compare(source, small, 0, 7 * SMALL);
    assert_int_equal(im_source_read(source, buf, SMALL, 7 * SMALL, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "part 8 of 40"));
    assert_non_null(strstr(err.message, "MD5"));
    read_and_compare(source, small, 8 * SMALL, SMALL);
    assert_int_equal(im_source_finish(source, NULL), -EBADMSG);
    im_source_close(source);
}

/* With SSE-KMS the ETag is 32 hex digits and no MD5: it only says whether the object changed. */
static void an_etag_of_a_key_service_is_no_md5(void **state)
{
    struct im_source *source = open_one("kms", "small", SMALL, 2);

    (void)state;
    read_and_compare(source, small, 0, SMALL);
    finish(source);
    im_source_close(source);
    source = open_one("kms", "large", LARGE, 2);
    read_and_compare(source, large, 0, LARGE);
    finish(source);
    im_source_close(source);
    source = open_one("kms+short", "small", SMALL, 2); /* lengths are still proven */
    assert_int_equal(im_source_finish(source, NULL), -EBADMSG);
    im_source_close(source);
}

static void the_server_may_ask_for_patience(void **state)
{
    static const struct {
        long status;
        const char *value;
        int64_t ms;
    } rows[] = {
        { 503, "", 0 },
        { 503, "0", 0 },
        { 503, "7", 7000 },
        { 429, "59", 59000 },
        { 503, "60", 60000 },
        { 503, "86400", 60000 },
        { 503, "-1", 0 },
        { 503, "soon", 0 },
        { 404, "7", 0 },
        { 200, "7", 0 },
        { 503, "99999999999999999999", 0 },
        { 503, "Fri, 20 Nov 2009 10:00:00 GMT", 0 },
        { 503, "Fri, 20 Nov 2099 10:00:00 GMT", 60000 },
    };
    struct im_source *source = open_one("503+after*1", "small", SMALL, 2);
    int64_t start = im_clock_monotonic_ms();

    (void)state;
    read_and_compare(source, small, 0, SMALL);
    assert_true(im_clock_monotonic_ms() - start >= 1000);
    im_source_close(source);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct im_http_response response = { .status = rows[i].status };

        (void)snprintf(response.retry_after, sizeof(response.retry_after), "%s", rows[i].value);
        assert_int_equal(im_http_retry_after_ms(&response), rows[i].ms);
    }
}

static void a_redirect_is_not_followed(void **state)
{
    char target[256], script[512];
    struct im_source *source;
    struct im_error err = { 0 };
    uint8_t byte;

    (void)state;
    (void)snprintf(target, sizeof(target), "%s", server_url("ok", "small1"));
    (void)snprintf(script, sizeof(script), "small?%s", target);
    source = open_one("redirect", script, SMALL, 2);
    assert_int_equal(im_source_read(source, &byte, 1, 0, &err), -EACCES);
    assert_non_null(strstr(err.message, "302"));
    assert_int_equal(server_saw("GET", "", NULL), 1);
    im_source_close(source);
}

static void nobody_listens(void **state)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001) };
    socklen_t len = sizeof(address);
    int fd IM_CLOSE = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* bound, never listening */
    struct im_piece piece = { .len = SMALL, .etag = "" };
    struct im_source *source;
    struct im_error err = { 0 };
    char url[64];
    uint8_t byte;

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/part", ntohs(address.sin_port));
    piece.url = url;
    source = open_pieces(&piece, 1, 2);
    assert_int_equal(im_source_read(source, &byte, 1, 0, &err), -ECONNREFUSED);
    im_source_close(source);
}

static void a_server_without_ranges_is_told_apart(void **state)
{
    struct im_source *source = open_one("norange", "large", LARGE, 1);
    struct im_error err = { 0 };
    uint8_t byte;

    (void)state;
    assert_int_equal(im_source_read(source, &byte, 1, 0, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "must know ranges"));
    im_source_close(source);
}

static void a_wrong_digest_of_a_large_object_ends_the_source(void **state)
{
    struct im_source *source = open_one("wrongetag", "large", LARGE, 1);
    struct im_error err = { 0 };
    uint8_t *buf IM_FREE = malloc(LARGE);

    (void)state;
    /* If-Match makes this server notice first; either way nothing is committed */
    (void)im_source_read(source, buf, LARGE, 0, NULL);
    assert_int_equal(im_source_finish(source, &err), -EBADMSG);
    im_source_close(source);

    source = open_one("corrupt", "large", LARGE, 1);
    (void)im_source_read(source, buf, LARGE, 0, NULL);
    assert_int_equal(im_source_finish(source, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "MD5"));
    im_source_close(source);
}

static void an_object_that_changes_is_noticed(void **state)
{
    const struct im_piece piece = { .url = server_url("ok", "small"),
                                    .len = SMALL,
                                    .etag = "0123456789abcdef0123456789abcdef" };
    struct im_source *source = open_pieces(&piece, 1, 2);
    struct im_error err = { 0 };
    uint8_t byte;

    (void)state;
    assert_int_equal(im_source_read(source, &byte, 1, 0, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "changed while it was read"));
    im_source_close(source);
}

static void the_budget_ends_retries(void **state)
{
    atomic_int budget = 2 * IM_FETCH_RETRY_COST;
    const struct im_fetch_rules rules = { .cancel = &im_cancelled, .budget = &budget };
    struct im_fetch_tries tries = { .rules = &rules };

    (void)state;
    assert_true(im_fetch_again(&tries, -ECONNRESET));
    assert_true(im_fetch_again(&tries, -EAGAIN));
    assert_false(im_fetch_again(&tries, -ECONNRESET));
    im_fetch_healed(&tries); /* what the last one took */
    assert_int_equal(atomic_load(&budget), IM_FETCH_RETRY_COST);
    assert_false(im_fetch_again(&tries, -EACCES));
    tries.done = 0;
    im_fetch_healed(&tries);
    assert_int_equal(atomic_load(&budget), IM_FETCH_RETRY_COST + IM_FETCH_SUCCESS);
    atomic_store(&budget, IM_FETCH_BUDGET - 1);
    im_fetch_healed(&tries);
    im_fetch_healed(&tries);
    assert_int_equal(atomic_load(&budget), IM_FETCH_BUDGET);
}

/* Without a single success: a hundred retries, however many requests they are spread over. */
static void a_dead_store_is_left_alone(void **state)
{
    struct im_piece pieces[MANY];
    char url[MANY][128];
    const struct im_parts_options options = { .budget = 3 * IM_FETCH_RETRY_COST };
    struct im_source *source = NULL;

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        (void)snprintf(url[i], sizeof(url[i]), "%s", server_url("503", "small"));
        pieces[i] = (struct im_piece){ .url = url[i], .len = SMALL, .etag = "" };
    }
    assert_int_equal(im_parts_open("test", pieces, MANY, &options, &source, NULL), 0);
    for (uint64_t i = 0; i < 10; i++) {
        uint8_t byte;

        assert_int_equal(im_source_read(source, &byte, 1, i * SMALL, NULL), -EAGAIN);
    }
    assert_int_equal(server_saw("GET", "/small", NULL), 10 + 3);
    im_source_close(source);
}

static void *cancel_when_asked(void *arg)
{
    (void)arg;
    (void)server_sees("GET", "/small", 1);
    im_cancelled = true;
    return NULL;
}

static void a_stalled_read_can_be_cancelled(void **state)
{
    const struct im_piece piece = { .url = server_url("stall", "small"), .len = SMALL, .etag = "" };
    const struct im_parts_options options = { .stall_timeout_s = 60 };
    struct im_source *source = NULL;
    int64_t start = im_clock_monotonic_ms();
    pthread_t thread;
    uint8_t byte;

    (void)state;
    assert_int_equal(im_parts_open("test", &piece, 1, &options, &source, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, cancel_when_asked, NULL), 0);
    assert_int_equal(im_source_read(source, &byte, 1, 0, NULL), -ECANCELED);
    im_source_close(source);
    (void)pthread_join(thread, NULL);
    assert_true(im_clock_monotonic_ms() - start < 5000);
}

/* ---- the window ---- */

static void parts_are_fetched_once_and_memory_is_bounded(void **state)
{
    struct im_source *source = open_many("ok", 0);

    (void)state;
    assert_int_equal(source->size, MANY * SMALL);
    for (uint64_t offset = 0; offset < source->size; offset += 30000) {
        size_t len = source->size - offset < 30000 ? (size_t)(source->size - offset) : 30000;

        read_and_compare(source, small, offset, len);
    }
    finish(source);
    for (int i = 0; i < MANY; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "/small%d\t", i);
        assert_int_equal(server_saw("GET", name, NULL), 1);
    }
    assert_int_equal(im_parts_memory(source), IM_POOL_SLOTS * SMALL);
    im_source_close(source);
}

static void header_then_footer_then_forwards(void **state)
{
    struct im_source *source = open_many("ok", 0);

    (void)state;
    read_and_compare(source, small, 0, 4096);
    read_and_compare(source, small, MANY * SMALL - 512, 512);
    read_and_compare(source, small, 0, MANY * SMALL);
    assert_int_equal(server_saw("GET", "/small0\t", NULL), 1);
    assert_int_equal(server_saw("GET", "/small39\t", NULL), 1);
    assert_int_equal(server_saw("GET", "/small", NULL), MANY);
    im_source_close(source);
}

static void what_was_used_last_stays_longest(void **state)
{
    static const uint64_t order[] = { 0, 10, 20, 30, 39, 0, 5, 0, 7, 0 };
    struct im_source *source = open_many("ok", 0);

    (void)state;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        read_and_compare(source, small, order[i] * SMALL + 50, 10);
    assert_int_equal(server_saw("GET", "/small0\t", NULL), 1);
    assert_int_equal(server_saw("GET", "/small", NULL), 7);
    im_source_close(source);
}

static void skimming_fetches_each_part_once(void **state)
{
    struct im_source *source = open_many("ok", 0);

    (void)state;
    for (uint64_t i = 0; i < MANY; i++)
        read_and_compare(source, small, i * SMALL, 10);
    assert_int_equal(server_saw("GET", "/small", NULL), MANY);
    im_source_close(source);
}

static void random_reads_are_right(void **state)
{
    struct im_source *source = open_many("ok", 0);
    uint8_t dice[3 * 150];

    (void)state;
    fill_pattern(dice, sizeof(dice), 3);
    for (size_t i = 0; i < sizeof(dice); i += 3) {
        uint64_t offset = (uint64_t)(dice[i] << 8 | dice[i + 1]) * 59; /* up to 3.9 MB */

        read_and_compare(source, small, offset, 1 + (size_t)dice[i + 2] * 400);
    }
    for (uint64_t offset = MANY * SMALL; offset >= 50000; offset -= 50000)
        read_and_compare(source, small, offset - 50000, 50000);
    assert_true(im_parts_memory(source) <= IM_POOL_SLOTS * SMALL);
    im_source_close(source);
}

static void only_forward_readers_are_read_ahead_for(void **state)
{
    static const char *const ahead[] = { "/small3\t", "/small4\t", "/small5\t",
                                         "/small6\t", "/small7\t", NULL };
    struct im_source *source = open_many("ok", 0);
    struct im_source *jumping = open_many("ok", 0);

    (void)state;
    read_and_compare(source, small, 0, 3 * SMALL);       /* in the third part: read ahead five */
    for (const char *const *name = ahead; *name; name++) /* none of them is told of later */
        assert_true(server_sees("GET", *name, 1));
    assert_int_equal(server_saw("GET", "/small8\t", NULL), 0);
    im_source_close(source);

    server_forget();
    read_and_compare(jumping, small, 0, 100);
    read_and_compare(jumping, small, 20 * SMALL, 100);
    read_and_compare(jumping, small, 10 * SMALL, 100);
    im_source_close(jumping);
    assert_int_equal(server_saw("GET", "/small", NULL), 3);
}

static void reads_end_with_the_source(void **state)
{
    struct im_source *source = open_one("ok", "small", SMALL, 1);
    uint8_t buf[100];
    size_t got = 7;

    (void)state;
    assert_int_equal(im_source_read_some(source, buf, 100, SMALL - 30, &got, NULL), 0);
    assert_int_equal(got, 30);
    assert_int_equal(source->ops->read(source, buf, 100, SMALL + 1, &got, NULL), 0);
    assert_int_equal(got, 0);
    im_source_close(source);
}

static void a_large_object_is_fetched_in_ranges(void **state)
{
    struct im_source *source;
    uint8_t md5[IM_HASH_MAX];
    char etag[33], line[SERVER_LINE];

    (void)state;
    im_hash(IM_MD5, large, LARGE, md5);
    im_hex(md5, 16, etag);
    source = open_pieces(
        &(struct im_piece){ .url = server_url("ok", "large"), .len = LARGE, .etag = etag }, 1, 1);
    for (uint64_t offset = 0; offset < LARGE; offset += MIB)
        read_and_compare(source, large, offset,
                         LARGE - offset < MIB ? (size_t)(LARGE - offset) : MIB);
    finish(source);
    assert_int_equal(server_saw("GET", "/large", NULL), 3);
    assert_int_equal(server_saw("GET", "range=bytes=8388608-16777215", NULL), 1);
    assert_int_equal(server_saw("GET", "range=bytes=16777216-20972296", line), 1);
    assert_non_null(strstr(line, "if-match=\""));
    im_source_close(source);
}

/* ---- finish ---- */

static void finish_fetches_what_was_never_read(void **state)
{
    struct im_source *source = open_many("ok", 0);

    (void)state;
    for (uint64_t i = 0; i < MANY; i += 2)
        read_and_compare(source, small, i * SMALL, 10);
    assert_int_equal(server_saw("GET", "/small", NULL), MANY / 2);
    finish(source);
    assert_int_equal(server_saw("GET", "/small", NULL), MANY);
    im_source_close(source);
}

static void finish_finds_the_damaged_part_nobody_read(void **state)
{
    struct im_source *source = open_many("corrupt", 33);
    struct im_error err = { 0 };

    (void)state;
    read_and_compare(source, small, 0, 10);
    assert_int_equal(im_source_finish(source, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "part 34 of 40"));
    im_source_close(source);
}

static void finish_proves_a_large_object_read_out_of_order(void **state)
{
    struct im_source *source = open_one("ok", "large", LARGE, 1);

    (void)state;
    read_and_compare(source, large, LARGE - 10, 10);
    read_and_compare(source, large, 0, 10);
    finish(source);
    assert_in_range(server_saw("GET", "/large", NULL), 3, 4);
    im_source_close(source);
}

/* ---- an URL as a source ---- */

static int open_url(const char *url, struct im_source **ret_source, struct im_error *err)
{
    assert_true(im_source_http.accepts(url));
    return im_source_http.open(url, ret_source, err);
}

static void an_url_is_a_source(void **state)
{
    static const struct {
        const char *script, *name;
        uint64_t size;
    } urls[] = { { "ok", "small", SMALL },     { "nohead", "small", SMALL },
                 { "nohead", "large", LARGE }, { "nohead+norange", "small", SMALL },
                 { "nosize", "small", SMALL }, { "ok", "empty", 0 },
                 { "nohead", "empty", 0 },     { "ok", "small?key=value", SMALL } };

    (void)state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct im_source *source = NULL;
        struct im_error err = { 0 };

        if (open_url(server_url(urls[i].script, urls[i].name), &source, &err) < 0)
            fail_msg("%s/%s: %s", urls[i].script, urls[i].name, err.message);
        assert_int_equal(err.number, 0); /* nothing that a person would be shown */
        assert_int_equal(source->size, urls[i].size);
        assert_null(strchr(source->name, '?'));
        if (urls[i].size > 0)
            read_and_compare(source, urls[i].size == LARGE ? large : small, 0, 5000);
        finish(source);
        im_source_close(source);
    }
    assert_false(im_source_http.accepts("/tmp/http://x"));
}

static void an_url_that_is_no_source_says_why(void **state)
{
    static const struct {
        const char *script, *name;
        int number;
        const char *code;
    } urls[] = { { "nosize+norange", "small", EACCES, "SizeUnknown" },
                 { "nohead+endless", "small", EACCES, "SizeUnknown" },
                 { "bighead", "small", ECONNRESET, "ConnectionFailed" },
                 { "ok", "absent", ENOENT, "NotFound" },
                 { "nohead+403", "small", EACCES, "AccessDenied" } };
    struct im_source *source = NULL;
    struct im_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        assert_int_equal(open_url(server_url(urls[i].script, urls[i].name), &source, &err),
                         -urls[i].number);
        assert_string_equal(err.code, urls[i].code);
    }
    assert_int_equal(open_url("http://user:pw@127.0.0.1:1/x", &source, &err), -EINVAL);
    assert_null(strstr(err.message, "pw"));
}

/* ---- a manifest as a source ---- */

#define PARTS 30

/* Write a manifest of PARTS parts of SMALL bytes; HEAD and GET of part `odd` by these scripts. */
static void put_manifest_of(const char *name, char *format, uint64_t size, size_t odd,
                            const char *head, const char *get)
{
    static char importer[] = "test", key[] = "k", url[] = "http://h/x";
    struct im_manifest_part part[PARTS];
    char heads[PARTS][128], gets[PARTS][128];
    struct im_manifest manifest = { .file_format = format,
                                    .importer_name = importer,
                                    .importer_version = importer,
                                    .self_destruct_url = url,
                                    .size = size,
                                    .volume_gib = 1,
                                    .part_count = PARTS,
                                    .part = part };
    struct im_buffer out IM_BUFFER_DONE = IM_BUFFER(IM_MANIFEST_MAX);

    for (size_t i = 0; i < PARTS; i++) {
        char object[32];

        (void)snprintf(object, sizeof(object), "small%zu", i);
        (void)snprintf(heads[i], sizeof(heads[i]), "%s",
                       server_url(i == odd ? head : "ok", object));
        (void)snprintf(gets[i], sizeof(gets[i]), "%s", server_url(i == odd ? get : "ok", object));
        part[i] = (struct im_manifest_part){ .start = i * SMALL,
                                             .end = (i + 1) * SMALL - 1,
                                             .key = key,
                                             .head_url = heads[i],
                                             .get_url = gets[i],
                                             .delete_url = url };
    }
    assert_int_equal(im_manifest_write(&manifest, &out, NULL), 0);
    server_put(name, out.data, out.len);
}

static void put_manifest(const char *name, size_t odd, const char *head, const char *get)
{
    static char format[] = "RAW";

    put_manifest_of(name, format, PARTS * SMALL, odd, head, get);
}

static int open_manifest(const char *place, struct im_source **ret_source, struct im_error *err)
{
    char spec[512];

    (void)snprintf(spec, sizeof(spec), "manifest:%s", place);
    assert_true(im_source_manifest.accepts(spec));
    return im_source_manifest.open(spec, ret_source, err);
}

static void a_manifest_is_a_source(void **state)
{
    struct im_source *source = NULL;
    struct im_error err = { 0 };
    char path[256], line[SERVER_LINE];

    (void)state;
    put_manifest("manifest", 0, "ok", "ok");
    if (open_manifest(server_url("ok", "manifest"), &source, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(source->size, PARTS * SMALL);
    assert_int_equal(server_saw("HEAD", "/small", line), PARTS);
    read_and_compare(source, small, 0, PARTS * SMALL);
    finish(source);
    assert_int_equal(server_saw("GET", "/small", line), PARTS);
    /* what presigned V4 URLs of stock clients have signed */
    assert_non_null(strstr(line, "\taccept=*/*\taccept-encoding=gzip, deflate\t"));
    im_source_close(source);

    (void)snprintf(path, sizeof(path), "%s/manifest", server.dir);
    assert_int_equal(open_manifest(path, &source, &err), 0);
    im_source_close(source);
    assert_false(im_source_manifest.accepts(path));
}

/* Of other formats clients mean the disk by it. */
static void the_size_of_a_raw_image_is_that_of_its_parts(void **state)
{
    static char raw[] = "raw", vmdk[] = "VMDK";

    (void)state;
    for (int i = 0; i < 2; i++)
        for (uint64_t size = PARTS * SMALL - 1; size <= PARTS * SMALL + 1; size++) {
            struct im_source *source = NULL;
            struct im_error err = { 0 };
            int wanted = i == 0 && size != PARTS * SMALL ? -EBADMSG : 0;

            put_manifest_of("manifest", i == 0 ? raw : vmdk, size, 0, "ok", "ok");
            assert_int_equal(open_manifest(server_url("ok", "manifest"), &source, &err), wanted);
            if (wanted < 0)
                assert_string_equal(err.code, "InvalidManifest");
            im_source_close(source);
        }
}

static void what_is_not_uploaded_yet_is_pending(void **state)
{
    static const struct {
        const char *script, *name, *head;
        const char *says;
    } rows[] = {
        { "ok", "absent", "ok", "the manifest is not there yet" },
        { "nosuchkey", "manifest", "ok", "the manifest is not there yet" },
        { "ok", "manifest", "head404", "part 3 of 30 is not there yet" },
    };
    struct im_source *source = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct im_error err = { 0 };

        put_manifest("manifest", 2, rows[i].head, "ok");
        assert_int_equal(open_manifest(server_url(rows[i].script, rows[i].name), &source, &err),
                         -ENOENT);
        assert_string_equal(err.code, "PendingUpload");
        assert_string_equal(err.message, rows[i].says);
    }
    assert_int_equal(server_saw("GET", "/small", NULL), 0);
}

static void while_an_upload_runs_few_parts_are_asked_for(void **state)
{
    struct im_source *source = NULL;
    struct im_error err = { 0 };

    (void)state;
    put_manifest("manifest", PARTS - 1, "head404", "ok");
    assert_int_equal(open_manifest(server_url("ok", "manifest"), &source, &err), -ENOENT);
    assert_string_equal(err.message, "part 30 of 30 is not there yet");
    assert_in_range(server_saw("HEAD", "/small", NULL), 1, PARTS - 1); /* four at a time */
}

static void broken_manifests_and_parts_are_refused(void **state)
{
    struct im_source *source = NULL;
    struct im_error err = { 0 };
    char *big IM_FREE = malloc(IM_MANIFEST_MAX + 1);

    (void)state;
    memset(big, ' ', IM_MANIFEST_MAX + 1);
    server_put("big", big, IM_MANIFEST_MAX + 1);
    assert_int_equal(open_manifest(server_url("ok", "big"), &source, &err), -EBADMSG);
    assert_string_equal(err.code, "InvalidManifest");
    assert_non_null(strstr(err.message, "larger than the 8388607 bytes"));

    put_manifest("manifest", 4, "headshort", "ok");
    assert_int_equal(open_manifest(server_url("ok", "manifest"), &source, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "part 5 of 30 holds 99999 bytes"));

    put_manifest("manifest", 4, "nohead", "ok");
    assert_int_equal(open_manifest(server_url("ok", "manifest"), &source, &err), -EACCES);
    assert_string_equal(err.code, "AccessDenied");

    put_manifest("manifest", 4, "ok", "404");
    assert_int_equal(open_manifest(server_url("ok", "manifest"), &source, &err), 0);
    assert_int_equal(im_source_finish(source, &err), -ENOENT);
    assert_string_equal(err.message, "part 5 of 30 is not there yet");
    im_source_close(source);
}

/* ---- parts that stand in files of this machine ---- */

/* The server tells that a part stands in this file, if it is `told` of it. */
static void tell_file(const char *object, const char *file)
{
    char path[256], name[64], told[400];
    struct stat st;

    (void)snprintf(path, sizeof(path), "%s/%s", server.dir, file);
    assert_int_equal(stat(path, &st), 0);
    (void)snprintf(name, sizeof(name), "%s.told", object);
    (void)snprintf(told, sizeof(told), "%s %s", file, im_file_id(&st).text);
    server_put(name, told, strlen(told));
}

/* The manifest with HEAD and GET of part 3 by these scripts; URLs with the script "told…" are those
 * of this machine's object store, which says that the part stands in `file`. */
static struct im_source *open_told_of(const char *file, const char *head, const char *get)
{
    static char prefix[64];
    struct im_source *source = NULL;
    struct im_error err = { 0 };

    server_forget();
    tell_file("small3", file);
    (void)snprintf(prefix, sizeof(prefix), "http://127.0.0.1:%u/told", server.port);
    /* the process that fetches has these settings for good: another manifest, another process */
    put_manifest("manifest-told", 3, head, get);
    im_objects = (struct im_objects){ .prefix = prefix, .dir = server.dir };
    if (open_manifest(server_url("ok", "manifest-told"), &source, &err) < 0)
        fail_msg("%s", err.message);
    im_objects = (struct im_objects){ 0 };
    return source;
}

static struct im_source *open_local(const char *head, const char *get)
{
    return open_told_of("small3", head, get);
}

/* Whole GETs of part 3: all but the question for its file. */
static unsigned fetched_part(void)
{
    return server_saw("GET", "/small3", NULL) - server_saw("/small3", "range=bytes=0-0", NULL);
}

/* … also where only HEAD says so. */
static void what_head_says_of_an_etag_counts(void **state)
{
    struct im_source *source = NULL;

    (void)state;
    put_manifest("manifest", 3, "kms", "kms+quiet");
    assert_int_equal(open_manifest(server_url("ok", "manifest"), &source, NULL), 0);
    read_and_compare(source, small, 0, PARTS * SMALL);
    finish(source);
    im_source_close(source);
}

static void a_part_of_this_machine_is_read_from_its_file(void **state)
{
    struct im_source *source = open_local("ok", "told");
    uint64_t at, len;
    char byte;
    int fd;

    (void)state;
    assert_int_equal(server_saw("x-euca-object-file", "", NULL), 1); /* only that store is asked */
    assert_false(source->direct);
    assert_int_equal(im_source_local(source, 3 * SMALL + 10, 5 * SMALL, &fd, &at, &len), 0);
    assert_int_equal(at, 10);
    assert_int_equal(len, SMALL - 10);
    assert_int_equal(im_pread(fd, &byte, 1, at), 1);
    assert_memory_equal(&byte, small + 3 * SMALL + 10, 1);
    assert_int_equal(im_source_local(source, 4 * SMALL, 1, &fd, &at, &len), -EOPNOTSUPP);
    assert_int_equal(im_source_local(source, 3 * SMALL - 1, 1, &fd, &at, &len), -EOPNOTSUPP);
    read_and_compare(source, small, 0, PARTS * SMALL);
    finish(source);
    assert_int_equal(fetched_part(), 0);
    assert_int_equal(server_saw("GET", "/small", NULL), PARTS); /* once each, that question among */
    im_source_close(source);
}

static void finish_asks_for_no_part_of_this_machine(void **state)
{
    struct im_source *source = open_local("ok", "told");

    (void)state;
    finish(source);
    assert_int_equal(fetched_part(), 0);
    im_source_close(source);
}

static void a_part_that_is_odd_is_fetched(void **state)
{
    static const struct {
        const char *head, *get;
        int number; /* of reading the part */
    } rows[] = {
        { "ok", "ok", 0 },                   /* another store's */
        { "ok", "told+norange", 0 },         /* the answer is not to the question */
        { "noetag", "told+noetag", 0 },      /* nothing says that it is the same object */
        { "ok", "told+403", EACCES },        /* no valid signature: no bytes either way */
        { "ok", "told+wrongetag", EBADMSG }, /* HEAD and GET mean two objects */
        { "ok", "told+wrongrange", 0 },
    };
    uint64_t at, len;
    int fd;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct im_source *source = open_local(rows[i].head, rows[i].get);
        uint8_t buf[SMALL];

        assert_int_equal(im_source_local(source, 3 * SMALL, 1, &fd, &at, &len), -EOPNOTSUPP);
        assert_int_equal(im_source_read(source, buf, SMALL, 3 * SMALL, NULL), -rows[i].number);
        if (rows[i].number == 0)
            assert_memory_equal(buf, small + 3 * SMALL, SMALL);
        im_source_close(source);
    }
}

/* A disk that forgets: the file is the one that was written, but a bit of it is not.  Nobody is
 * given any of its bytes, nor those of an object that another header names. */
static void a_part_damaged_on_this_machine_is_refused(void **state)
{
    static const char *const reads[] = { "local", "read", "finish" };

    (void)state;
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
        uint64_t at, len;
        struct im_error err = { 0 };
        struct im_source *source;
        uint8_t byte;
        int fd, r;

        server_put("damaged", small + 3 * SMALL + 1, SMALL);
        source = open_told_of("damaged", "ok", "told");
        if (i == 0)
            r = im_source_local(source, 3 * SMALL, 1, &fd, &at, &len);
        else if (i == 1)
            r = im_source_read(source, &byte, 1, 3 * SMALL, &err);
        else
            r = im_source_finish(source, &err);
        if (r != (i == 0 ? -EOPNOTSUPP : -EBADMSG))
            fail_msg("%s: %d", reads[i], r);
        if (i > 0) {
            assert_string_equal(err.code, "DamagedPart");
            assert_non_null(strstr(err.message, "part 4 of"));
            assert_non_null(strstr(err.message, "MD5"));
        }
        im_source_close(source);
    }
}

/* One of several segments. */
static void a_large_part_of_this_machine_is_proven(void **state)
{
    const struct im_parts_options options = { .local_dir = server.dir };
    uint8_t digest[IM_HASH_MAX];
    char etag[33], name[256], told[400];
    struct im_piece piece = {
        .url = server_url("404", "large"), .len = LARGE, .etag = etag, .file = told
    };
    struct stat st;

    (void)state;
    im_hash(IM_MD5, large, LARGE, digest);
    im_hex(digest, 16, etag);
    (void)snprintf(name, sizeof(name), "%s/large", server.dir);
    assert_int_equal(stat(name, &st), 0);
    (void)snprintf(told, sizeof(told), "large %s", im_file_id(&st).text);
    for (int damaged = 0; damaged < 2; damaged++) {
        struct im_source *source = NULL;
        struct im_error err = { 0 };
        uint8_t byte;

        if (damaged)
            etag[5] = etag[5] == '0' ? '1' : '0';
        assert_int_equal(im_parts_open("test", &piece, 1, &options, &source, NULL), 0);
        assert_int_equal(im_source_read(source, &byte, 1, LARGE - 1, &err), damaged ? -EBADMSG : 0);
        if (damaged)
            assert_string_equal(err.code, "DamagedPart");
        assert_int_equal(im_source_finish(source, NULL), damaged ? -EBADMSG : 0);
        im_source_close(source);
    }
    assert_int_equal(server_saw("GET", "large", NULL), 0);
}

/* The object is replaced by another while it is read: its new bytes are not taken for the old. */
static void a_part_that_was_replaced_is_noticed(void **state)
{
    struct im_source *source = open_local("ok", "told");
    char from[256], to[256];
    struct im_error err = { 0 };
    uint64_t at, len;
    uint8_t byte;
    int fd;

    (void)state;
    server_put("new", small, SMALL);
    (void)snprintf(from, sizeof(from), "%s/new", server.dir);
    (void)snprintf(to, sizeof(to), "%s/small3", server.dir);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(im_source_local(source, 3 * SMALL, 1, &fd, &at, &len), -EOPNOTSUPP);
    assert_int_equal(im_source_read(source, &byte, 1, 3 * SMALL, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "it changed while it was read"));
    assert_int_equal(im_source_finish(source, NULL), -EBADMSG);
    im_source_close(source);
    server_put("small3", small + 3 * SMALL, SMALL);
}

/* A file that is open stays what it is. */
static void a_part_that_is_replaced_later_stays(void **state)
{
    struct im_source *source = open_local("ok", "told");
    char from[256], to[256];

    (void)state;
    read_and_compare(source, small, 3 * SMALL, 10);
    server_put("new", small, SMALL);
    (void)snprintf(from, sizeof(from), "%s/new", server.dir);
    (void)snprintf(to, sizeof(to), "%s/small3", server.dir);
    assert_int_equal(rename(from, to), 0);
    read_and_compare(source, small, 3 * SMALL, SMALL);
    im_source_close(source);
    server_put("small3", small + 3 * SMALL, SMALL);
}

static void only_plain_files_of_this_machine(void **state)
{
    static const struct {
        const char *name, *told;
        bool good;
    } rows[] = {
        { "file", "sub/file", true },
        { "file", "sub/../sub/file", true },
        { "file", "/sub/file", false },
        { "outside", "../outside", false },
        { "file", "sub/link", false },
        { "outside", "sub/up", false },
        { "outside", "up/outside", false },
        { "pipe", "sub/pipe", false },
        { "sub", "sub", false },
        { "file", "sub/absent", false },
        { "file", "other/file", false },
        { "file", "", false },
    };
    char dir[] = "/tmp/test-parts.XXXXXX", command[512], path[256], told[400];
    struct im_local *local;
    struct stat st;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(command, sizeof(command),
                   "cd %s && mkdir in in/sub && echo 12345 >in/sub/file && echo 12345 >outside && "
                   "ln -s file in/sub/link && ln -s ../../outside in/sub/up && ln -s .. in/up && "
                   "ln -s sub in/other && "
                   "mkfifo in/sub/pipe",
                   dir);
    assert_int_equal(system(command), 0);
    (void)snprintf(path, sizeof(path), "%s/in", dir);
    local = im_local_new(path);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        static const char *const places[] = { "in/sub", "in", "." };

        for (size_t p = 0; p < 3; p++) { /* where the file that is meant stands */
            (void)snprintf(path, sizeof(path), "%s/%s/%s", dir, places[p], rows[i].name);
            if (stat(path, &st) == 0)
                break;
        }
        (void)snprintf(told, sizeof(told), "%s %s", rows[i].told, im_file_id(&st).text);
        if ((im_local_file(local, told, 6) >= 0) != rows[i].good)
            fail_msg("%s: %s", told, rows[i].good ? "refused" : "opened");
    }
    (void)snprintf(path, sizeof(path), "%s/in/sub/file", dir);
    assert_int_equal(stat(path, &st), 0);
    (void)snprintf(told, sizeof(told), "sub/file %s", im_file_id(&st).text);
    assert_true(im_local_file(local, told, 6) >= 0);
    assert_int_equal(im_local_file(local, told, 7), -1); /* shorter than what is wanted */
    assert_int_equal(im_local_file(local, "sub/file", 6), -1);
    assert_int_equal(im_local_file(local, "sub/file 1-2.3", 6), -1);
    assert_int_equal(im_local_file(NULL, told, 6), -1);
    assert_null(im_local_free(local));
    assert_null(im_local_new("/nonexistent"));
    (void)snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(memory_that_is_lent_is_only_read),
        TEST(faults_heal),
        TEST(a_cut_transfer_goes_on_where_it_stopped),
        TEST(without_an_etag_a_cut_transfer_starts_again),
        TEST(wrong_ranges_heal),
        TEST(lasting_faults_end),
        TEST(damaged_bytes_are_asked_for_three_times_at_most),
        TEST(among_others_a_damaged_part_heals_alone),
        TEST(among_others_a_damaged_part_ends_the_source),
        TEST(an_etag_of_a_key_service_is_no_md5),
        TEST(the_server_may_ask_for_patience),
        TEST(a_redirect_is_not_followed),
        TEST(nobody_listens),
        TEST(a_server_without_ranges_is_told_apart),
        TEST(a_wrong_digest_of_a_large_object_ends_the_source),
        TEST(an_object_that_changes_is_noticed),
        TEST(the_budget_ends_retries),
        TEST(a_dead_store_is_left_alone),
        TEST(a_stalled_read_can_be_cancelled),
        TEST(parts_are_fetched_once_and_memory_is_bounded),
        TEST(header_then_footer_then_forwards),
        TEST(what_was_used_last_stays_longest),
        TEST(skimming_fetches_each_part_once),
        TEST(random_reads_are_right),
        TEST(only_forward_readers_are_read_ahead_for),
        TEST(reads_end_with_the_source),
        TEST(a_large_object_is_fetched_in_ranges),
        TEST(finish_fetches_what_was_never_read),
        TEST(finish_finds_the_damaged_part_nobody_read),
        TEST(finish_proves_a_large_object_read_out_of_order),
        TEST(an_url_is_a_source),
        TEST(an_url_that_is_no_source_says_why),
        TEST(a_manifest_is_a_source),
        TEST(the_size_of_a_raw_image_is_that_of_its_parts),
        TEST(what_is_not_uploaded_yet_is_pending),
        TEST(while_an_upload_runs_few_parts_are_asked_for),
        TEST(broken_manifests_and_parts_are_refused),
        TEST(what_head_says_of_an_etag_counts),
        TEST(a_part_of_this_machine_is_read_from_its_file),
        TEST(finish_asks_for_no_part_of_this_machine),
        TEST(a_part_that_is_odd_is_fetched),
        TEST(a_part_that_was_replaced_is_noticed),
        TEST(a_part_that_is_replaced_later_stays),
        TEST(a_part_damaged_on_this_machine_is_refused),
        TEST(a_large_part_of_this_machine_is_proven),
        TEST(only_plain_files_of_this_machine),
    };

    if (getenv("UNDER_VALGRIND")) /* Debian 12's does not know openat2 */
        cmocka_set_skip_filter("*this_machine*");
    return cmocka_run_group_tests_name("parts", tests, group_setup, group_teardown);
}

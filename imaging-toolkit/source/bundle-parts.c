/* bundle-parts - the parts of a bundle: fetched or read, proven, in order. */

#include <config.h>

#include "source/bundle-parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/http.h"
#include "base/io.h"
#include "base/text.h"
#include "source/fetch.h"
#include "source/pool.h"

/* The parts of all tools have 10 MiB, the last one less. */
#define USUAL_PART (10u * 1024 * 1024)

struct im_bundle_parts {
    const struct im_bundle *bundle;
    int dir;
    char *prefix;
    size_t room; /* bytes a part may have */
    struct im_pool *pool;
    struct im_fetch_rules rules;
    atomic_int budget;
    volatile bool stop;
    size_t next;     /* index of the part to give next; the one before it is held */
    size_t held_len; /* its bytes */
    bool holds;
    uint64_t given; /* bytes of all parts so far */
};

/* "part 3 of 12 ('image.part.02')" */
struct subject {
    char text[320];
};

static struct subject subject_of(const struct im_bundle *bundle, size_t index)
{
    struct subject subject;
    const char *name = bundle->part[index].name;
    char shown[256];

    if (bundle->download)
        im_text_url(shown, sizeof(shown), name);
    else
        im_text_printable(shown, sizeof(shown), name);
    (void)snprintf(subject.text, sizeof(subject.text), "part %zu of %zu ('%s')", index + 1,
                   bundle->part_count, shown);
    return subject;
}

static int prove(const struct im_bundle *bundle, size_t index, const uint8_t *buf, size_t len,
                 struct im_error *err)
{
    const uint8_t *want = bundle->part[index].sha1;
    uint8_t have[IM_HASH_MAX];
    char have_text[2 * IM_BUNDLE_SHA1 + 1], want_text[2 * IM_BUNDLE_SHA1 + 1];

    im_hash(IM_SHA1, buf, len, have);
    if (memcmp(have, want, IM_BUNDLE_SHA1) == 0)
        return 0;
    im_hex(have, IM_BUNDLE_SHA1, have_text);
    im_hex(want, IM_BUNDLE_SHA1, want_text);
    return im_fail_code(err, EBADMSG, "DamagedPart",
                        "%s has SHA-1 %s, but the manifest says %s; get it again",
                        subject_of(bundle, index).text, have_text, want_text);
}

static int too_large(const struct im_bundle_parts *parts, size_t index, struct im_error *err)
{
    return im_fail_code(err, EBADMSG, "SizeMismatch",
                        "%s has more than the %zu bytes that the manifest's sizes leave it",
                        subject_of(parts->bundle, index).text, parts->room);
}

/* ---- files beside the manifest ---- */

static int open_file(const struct im_bundle_parts *parts, size_t index, uint64_t *ret_size,
                     struct im_error *err)
{
    int fd IM_CLOSE = openat(parts->dir, parts->bundle->part[index].name,
                             O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return im_fail_errno(err, errno == ELOOP ? EOPNOTSUPP : errno, "cannot open %s",
                             subject_of(parts->bundle, index).text);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return im_fail(err, EOPNOTSUPP, "%s is not a regular file",
                       subject_of(parts->bundle, index).text);
    *ret_size = (uint64_t)st.st_size;
    return im_steal_fd(&fd);
}

static int read_file(const struct im_bundle_parts *parts, size_t index, uint8_t *buf,
                     size_t *ret_len, struct im_error *err)
{
    uint64_t size;
    int fd IM_CLOSE = open_file(parts, index, &size, err);
    ssize_t n;

    if (fd < 0)
        return fd;
    if (size > parts->room)
        return too_large(parts, index, err);
    n = im_pread(fd, buf, (size_t)size, 0);
    if (n < 0)
        return im_fail_code(err, EIO, "ReadFailed", "cannot read %s: %s",
                            subject_of(parts->bundle, index).text, strerrordesc_np((int)-n));
    *ret_len = (size_t)n;
    return prove(parts->bundle, index, buf, *ret_len, err);
}

/* All of them before the first is read: what is missing is told at once. */
static int look_at_files(struct im_bundle_parts *parts, struct im_error *err)
{
    const struct im_bundle *bundle = parts->bundle;
    uint64_t sum = 0, largest = 0;

    for (size_t i = 0; i < bundle->part_count; i++) {
        uint64_t size;
        int fd IM_CLOSE = open_file(parts, i, &size, err);

        if (fd < 0)
            return fd;
        if (size > IM_BUNDLE_PART_MAX)
            return too_large(parts, i, err);
        sum += size;
        largest = size > largest ? size : largest;
    }
    if (sum != bundle->bundled_size)
        return im_fail_code(err, EBADMSG, "SizeMismatch",
                            "the parts have %" PRIu64 " bytes, but the manifest says %" PRIu64, sum,
                            bundle->bundled_size);
    parts->room = (size_t)largest;
    return 0;
}

/* ---- URLs ---- */

/* One try to fetch a part. */
struct
try {
    struct im_bundle_parts *parts;
    size_t index, got;
    uint8_t *buf;
    struct im_error *err;
};

static int on_data(void *arg, const void *data, size_t len)
{
    struct try *try = arg;

    if (len > try->parts->room - try->got)
        return too_large(try->parts, try->index, try->err);
    memcpy(try->buf + try->got, data, len);
    try->got += len;
    return 0;
}

static int fetch_once(struct try *try, struct im_http *http, const char *url, int64_t *ret_after_ms)
{
    const struct im_fetch_rules *rules = &try->parts->rules;
    struct im_http_response response IM_HTTP_RESPONSE_DONE;
    struct im_http_request request = {
        .method = "GET",
        .url = url,
        .on_data = on_data,
        .arg = try,
        .stall_timeout_s = rules->stall_timeout_s,
        .cancel = rules->cancel,
    };
    struct im_error why = { 0 };
    char what[48];
    int r = im_http_do(http, &request, &response, &why);

    (void)snprintf(what, sizeof(what), "part %zu of %zu", try->index + 1,
                   try->parts->bundle->part_count);
    *ret_after_ms = im_fetch_retry_after_ms(&response);
    if (r == -EBADMSG) /* ours, from on_data: the sentence is there already */
        return r;
    if (r < 0)
        return im_fail_code(try->err, -r, why.code, "%s: %s", what, why.message);
    r = im_fetch_status(&response, what, url, NULL, try->err);
    if (r == 0 && response.content_encoding[0] &&
        strcasecmp(response.content_encoding, "identity") != 0)
        return im_fail_code(try->err, EBADMSG, "DamagedPart",
                            "%s: the server sent it in the encoding '%s', which nobody asked for",
                            what, response.content_encoding);
    return r < 0 ? r : prove(try->parts->bundle, try->index, try->buf, try->got, try->err);
}

static int fetch(struct im_bundle_parts *parts, struct im_http *http, size_t index, const char *url,
                 uint8_t *buf, size_t *ret_len, struct im_error *err)
{
    struct try try = { .parts = parts, .index = index, .buf = buf, .err = err };
    struct im_fetch_tries tries = { .rules = &parts->rules };
    int r;

    do {
        try.got = 0;
        r = fetch_once(&try, http, url, &tries.after_ms);
    } while (r < 0 && im_fetch_again(&tries, r));
    if (r < 0)
        return parts->stop ? im_fail(err, ECANCELED, "cancelled") : r;
    im_fetch_healed(&tries);
    *ret_len = try.got;
    return 0;
}

static int fetch_named(struct im_bundle_parts *parts, struct im_http *http, size_t index,
                       uint8_t *buf, size_t *ret_len, struct im_error *err)
{
    struct im_buffer url IM_BUFFER_DONE = IM_BUFFER(16384); /* a prefix of 4096, a name of 255 */
    const char *name = parts->bundle->part[index].name;
    int r = parts->prefix ? im_buffer_puts(&url, parts->prefix) : 0;

    if (r == 0)
        r = parts->prefix ? im_url_encode(&url, name, strlen(name), false)
                          : im_buffer_puts(&url, name);
    return r < 0 ? im_fail(err, -r, "the URL of part %zu has no room", index + 1)
                 : fetch(parts, http, index, url.data, buf, ret_len, err);
}

/* ---- the pool ---- */

static int fill(void *arg, struct im_http *http, size_t segment, unsigned damaged, uint8_t *buf,
                size_t *ret_len, struct im_error *err)
{
    struct im_bundle_parts *parts = arg;

    (void)damaged;
    return parts->dir >= 0 ? read_file(parts, segment, buf, ret_len, err)
                           : fetch_named(parts, http, segment, buf, ret_len, err);
}

static void filled(void *arg, size_t segment)
{
    (void)arg;
    (void)segment;
}

static bool is_wanted(void *arg, size_t segment)
{
    (void)arg;
    (void)segment;
    return true;
}

/* What a part can have when all but the last are of one size. */
static size_t fair_room(const struct im_bundle *bundle)
{
    uint64_t others = bundle->part_count > 1 ? bundle->part_count - 1 : 1;
    uint64_t room = bundle->bundled_size / others + 1;

    room = room > USUAL_PART ? room : USUAL_PART;
    return (size_t)im_min(im_min(room, IM_BUNDLE_PART_MAX), bundle->bundled_size);
}

int im_bundle_parts_open(const struct im_bundle *bundle, int dir, const char *prefix,
                         struct im_bundle_parts **ret_parts, struct im_error *err)
{
    struct im_bundle_parts *parts = calloc(1, sizeof(*parts));
    struct im_pool_owner owner = {
        .fill = fill, .filled = filled, .is_wanted = is_wanted, .arg = parts
    };
    int r = 0;

    if (!parts) {
        im_cleanup_close(&dir);
        return im_fail(err, ENOMEM, "out of memory");
    }
    parts->bundle = bundle;
    parts->dir = dir;
    parts->room = fair_room(bundle);
    atomic_init(&parts->budget, IM_FETCH_BUDGET);
    parts->rules = (struct im_fetch_rules){ .cancel = &parts->stop, .budget = &parts->budget };
    if (prefix) {
        parts->prefix = strdup(prefix);
        r = parts->prefix ? 0 : im_fail(err, ENOMEM, "out of memory");
    }
    if (r == 0 && dir >= 0)
        r = look_at_files(parts, err);
    if (r == 0)
        r = im_pool_new(&owner, bundle->part_count, parts->room > 0 ? parts->room : 1, &parts->pool,
                        err);
    if (r < 0)
        im_bundle_parts_free(parts);
    else
        *ret_parts = parts;
    return r;
}

static void let_go(struct im_bundle_parts *parts)
{
    if (parts->holds)
        im_pool_release(parts->pool, parts->next - 1, parts->held_len);
    parts->holds = false;
}

int im_bundle_parts_next(struct im_bundle_parts *parts, const uint8_t **ret_bytes, size_t *ret_len,
                         struct im_error *err)
{
    const struct im_bundle *bundle = parts->bundle;
    int r;

    let_go(parts);
    *ret_len = 0;
    if (parts->next < bundle->part_count) {
        r = im_pool_acquire(parts->pool, parts->next, true, ret_bytes, ret_len, err);
        if (r < 0)
            return r;
        parts->holds = true;
        parts->held_len = *ret_len;
        parts->given += *ret_len;
        parts->next++;
        if (*ret_len == 0)
            return im_fail_code(err, EBADMSG, "SizeMismatch", "%s is empty",
                                subject_of(bundle, parts->next - 1).text);
    }
    if (parts->given > bundle->bundled_size ||
        (*ret_len == 0 && parts->given != bundle->bundled_size))
        return im_fail_code(err, EBADMSG, "SizeMismatch",
                            "the first %zu parts have %" PRIu64
                            " bytes, but the manifest says %" PRIu64 " for all",
                            parts->next, parts->given, bundle->bundled_size);
    return 0;
}

struct im_bundle_parts *im_bundle_parts_free(struct im_bundle_parts *parts)
{
    if (!parts)
        return NULL;
    let_go(parts);
    __atomic_store_n(&parts->stop, true, __ATOMIC_RELAXED);
    im_pool_free(parts->pool);
    im_cleanup_close(&parts->dir);
    free(parts->prefix);
    free(parts);
    return NULL;
}

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
#include "source/bundle-manifest.h"
#include "source/fetch.h"
#include "source/lend.h"
#include "source/pool.h"
#include "source/served.h"

/* The parts of all tools have 10 MiB, the last one less. */
#define USUAL_PART (10u * 1024 * 1024)

struct parts {
    struct im_source base;
    struct im_bundle_place place;
    const struct im_bundle *bundle; /* of the place */
    size_t room;                    /* bytes a part may have */
    struct im_pool *pool;           /* NULL: nothing of files has been looked at */
    struct im_fetch_rules rules;
    atomic_int budget;
    volatile bool stop;
    size_t next;       /* index of the part behind the one that is read, … */
    uint64_t from, to; /* … which has these bytes of all */
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

static int too_large(const struct parts *parts, size_t index, struct im_error *err)
{
    return im_fail_code(err, EBADMSG, "SizeMismatch",
                        "%s has more than the %zu bytes that the manifest's sizes leave it",
                        subject_of(parts->bundle, index).text, parts->room);
}

/* ---- files beside the manifest ---- */

static int open_file(const struct parts *parts, size_t index, uint64_t *ret_size,
                     struct im_error *err)
{
    int fd IM_CLOSE = openat(parts->place.dir, parts->bundle->part[index].name,
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

static int read_file(const struct parts *parts, size_t index, uint8_t *buf, size_t *ret_len,
                     struct im_error *err)
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
static int look_at_files(struct parts *parts, struct im_error *err)
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
    struct parts *parts;
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
    *ret_after_ms = im_http_retry_after_ms(&response);
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

static int fetch(struct parts *parts, struct im_http *http, size_t index, const char *url,
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

static int fetch_named(struct parts *parts, struct im_http *http, size_t index, uint8_t *buf,
                       size_t *ret_len, struct im_error *err)
{
    struct im_buffer url IM_BUFFER_DONE = IM_BUFFER(16384); /* a prefix of 4096, a name of 255 */
    const char *name = parts->bundle->part[index].name;
    int r = parts->place.prefix ? im_buffer_puts(&url, parts->place.prefix) : 0;

    if (r == 0)
        r = parts->place.prefix ? im_url_encode(&url, name, strlen(name), false)
                                : im_buffer_puts(&url, name);
    return r < 0 ? im_fail(err, -r, "the URL of part %zu has no room", index + 1)
                 : fetch(parts, http, index, url.data, buf, ret_len, err);
}

/* ---- the pool ---- */

static int fill(void *arg, struct im_http *http, size_t segment, unsigned damaged, uint8_t *buf,
                size_t *ret_len, struct im_error *err)
{
    struct parts *parts = arg;

    (void)damaged;
    return parts->place.dir >= 0 ? read_file(parts, segment, buf, ret_len, err)
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

/* Where there are files, all of them are looked at first. */
static int start_pool(struct parts *parts, struct im_error *err)
{
    const struct im_pool_owner owner = {
        .fill = fill, .filled = filled, .is_wanted = is_wanted, .arg = parts
    };
    int r = parts->place.dir >= 0 ? look_at_files(parts, err) : 0;

    return r < 0 ? r
                 : im_pool_new(&owner, parts->bundle->part_count, parts->room > 0 ? parts->room : 1,
                               &parts->pool, err);
}

/* ---- the source ---- */

static int check_end(const struct parts *parts, struct im_error *err)
{
    uint64_t size = parts->bundle->bundled_size;

    if (parts->to <= size && (parts->next < parts->bundle->part_count || parts->to == size))
        return 0;
    return im_fail_code(err, EBADMSG, "SizeMismatch",
                        "the first %zu parts have %" PRIu64 " bytes, but the manifest says %" PRIu64
                        " for all",
                        parts->next, parts->to, size);
}

/* Have the part in memory that follows the one that was read. */
static int lend_next(struct parts *parts, struct im_lent *ret, struct im_error *err)
{
    size_t len;
    int r = im_pool_acquire(parts->pool, parts->next, true, &ret->bytes, &len, err);

    if (r < 0)
        return r;
    ret->file = -1;
    ret->offset = parts->from = parts->to;
    ret->len = len;
    ret->at = im_pool_place(parts->pool, ret->bytes);
    ret->segment = parts->next++;
    parts->to += len;
    r = len > 0 ? check_end(parts, err)
                : im_fail_code(err, EBADMSG, "SizeMismatch", "%s is empty",
                               subject_of(parts->bundle, ret->segment).text);
    if (r < 0)
        im_pool_release(parts->pool, ret->segment, len);
    return r;
}

/* The part that was read last, or the one behind it. */
static int parts_lend(struct im_source *source, uint64_t offset, unsigned how, struct im_lent *ret,
                      struct im_error *err)
{
    struct parts *parts = (struct parts *)source;
    int r = parts->pool ? 0 : start_pool(parts, err);

    (void)how;
    if (r == 0 && offset >= parts->from && offset < parts->to) {
        parts->next--;
        parts->to = parts->from;
    } else if (r == 0 && (offset != parts->to || parts->next == parts->bundle->part_count))
        r = im_fail(err, EOPNOTSUPP, "byte %" PRIu64 " of '%s' is not the next to be read", offset,
                    source->name);
    return r < 0 ? r : lend_next(parts, ret, err);
}

static void parts_give_back(struct im_source *source, const struct im_lent *lent, size_t used)
{
    im_pool_release(((struct parts *)source)->pool, lent->segment, used);
}

static int parts_memory(const struct im_source *source, uint64_t *ret_len)
{
    return im_pool_file(((const struct parts *)source)->pool, ret_len);
}

static int parts_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                      size_t *ret_len, struct im_error *err)
{
    return im_lend_read(source, buf, len, offset, true, ret_len, err);
}

static int parts_finish(struct im_source *source, struct im_error *err)
{
    struct parts *parts = (struct parts *)source;
    struct im_lent lent;
    int r = parts->pool ? 0 : start_pool(parts, err);

    while (r == 0 && parts->next < parts->bundle->part_count) {
        r = lend_next(parts, &lent, err);
        if (r == 0)
            parts_give_back(source, &lent, (size_t)lent.len);
    }
    return r;
}

static void parts_close(struct im_source *source)
{
    struct parts *parts = (struct parts *)source;

    __atomic_store_n(&parts->stop, true, __ATOMIC_RELAXED);
    im_pool_free(parts->pool);
    im_bundle_place_done(&parts->place);
}

static const struct im_source_ops parts_ops = {
    .name = "bundle-parts",
    .read = parts_read,
    .finish = parts_finish,
    .lend = parts_lend,
    .give_back = parts_give_back,
    .memory = parts_memory,
    .close = parts_close,
};

/* ---- opening ---- */

static bool is_url(const char *from)
{
    return strncasecmp(from, "http://", 7) == 0 || strncasecmp(from, "https://", 8) == 0;
}

/* The place is taken over. */
static int open_at(const char *from, struct im_bundle_place *place, struct im_source **ret_source,
                   struct im_error *err)
{
    char name[1024];
    struct parts *parts;
    int r = 0;

    if (strstr(from, "://"))
        im_text_url(name, sizeof(name), from);
    else
        im_text_printable(name, sizeof(name), from);
    parts = im_source_new(sizeof(*parts), &parts_ops, name);
    if (!parts)
        return im_fail(err, ENOMEM, "out of memory");
    parts->place = *place;
    *place = (struct im_bundle_place){ .dir = -1 };
    parts->bundle = parts->place.bundle;
    parts->base.size = parts->bundle->bundled_size;
    parts->base.sequential = true;
    parts->base.document = im_steal(parts->place.text);
    parts->base.document_len = parts->place.text_len;
    parts->room = fair_room(parts->bundle);
    atomic_init(&parts->budget, IM_FETCH_BUDGET);
    parts->rules = (struct im_fetch_rules){ .cancel = &parts->stop, .budget = &parts->budget };
    if (parts->place.dir < 0)
        r = start_pool(parts, err);
    if (r < 0)
        im_source_close(&parts->base);
    else
        *ret_source = &parts->base;
    return r;
}

static int open_here(const char *from, struct im_source **ret_source, struct im_error *err)
{
    struct im_bundle_place place IM_BUNDLE_PLACE_DONE = { .dir = -1 };
    int r = im_bundle_find(from, &place, err);

    return r < 0 ? r : open_at(from, &place, ret_source, err);
}

/* A manifest in a file may name parts by URLs. */
static int find_file(const char *from, struct im_bundle_place *ret_place, bool *ret_remote,
                     struct im_error *err)
{
    int r = is_url(from) ? 0 : im_bundle_find(from, ret_place, err);

    if (r == 0)
        *ret_remote = is_url(from) || ret_place->bundle->download;
    return r;
}

/* Whether the other process will be needed the manifest tells, which is read offline; so there is
 * one also where all parts are local. */
int im_bundle_parts_prepare(const char *from, struct im_error *err)
{
    return im_served_prepare(open_here, from, err);
}

int im_bundle_parts_open(const char *from, struct im_source **ret_source, struct im_error *err)
{
    struct im_bundle_place place IM_BUNDLE_PLACE_DONE = { .dir = -1 };
    bool remote = false;
    int r = find_file(from, &place, &remote, err);

    if (r < 0)
        return r;
    return remote ? im_served_open(open_here, from, ret_source, err)
                  : open_at(from, &place, ret_source, err);
}

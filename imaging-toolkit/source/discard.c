/* discard - delete an upload through the URLs its manifest carries.
 *
 * DELETE is a weapon in a document that a stranger wrote: see is_object_of for what may be hit. */

#include <config.h>

#include "source/discard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/http.h"
#include "base/text.h"
#include "core/cancel.h"
#include "source/fetch.h"
#include "source/manifest-fetch.h"

/* The answer to a DELETE has nothing, or the sentence of a fault. */
#define ANSWER_MAX 4096
#define ANSWER_MS  60000

static void free_http(struct im_http **http)
{
    im_http_free(*http);
}

static void free_manifest(struct im_manifest **manifest)
{
    im_manifest_free(*manifest);
}

/* ---- what may be deleted ---- */

static bool is_place_of(const struct im_url *url, const struct im_url *other)
{
    return url->https == other->https && url->host_len == other->host_len &&
           strncasecmp(url->host, other->host, url->host_len) == 0;
}

/* Whether a URL names the object that another does: all but the query, which holds the signature,
 * byte for byte.  Two spellings of one name are two names here. */
static bool is_object_of(const struct im_url *url, const struct im_url *other)
{
    return is_place_of(url, other) && url->path_len == other->path_len &&
           memcmp(url->path, other->path, url->path_len) == 0;
}

/* Bytes of the path up to its last slash, with it. */
static size_t directory_len(const struct im_url *url)
{
    const char *slash = memrchr(url->path, '/', url->path_len);

    return slash ? (size_t)(slash + 1 - url->path) : 0;
}

/* Is the next piece of a path "." or "..", in any spelling that a server may decode? */
static bool is_dots(const char *piece, size_t len)
{
    size_t dots = 0;

    for (size_t i = 0; i < len; dots++)
        if (piece[i] == '.')
            i++;
        else if (len - i >= 3 && strncasecmp(piece + i, "%2e", 3) == 0)
            i += 3;
        else
            return false;
    return dots == 1 || dots == 2;
}

/* Whether a URL names something in or below the directory of the other's object.  Dots could lead
 * out of it again. */
static bool is_beside(const struct im_url *url, const struct im_url *other)
{
    size_t len = directory_len(other);

    if (url->path_len < len || memcmp(url->path, other->path, len) != 0)
        return false;
    for (size_t i = 0; i < url->path_len;) {
        const char *piece = url->path + i;
        const char *slash = memchr(piece, '/', url->path_len - i);
        size_t piece_len = slash ? (size_t)(slash - piece) : url->path_len - i;

        if (is_dots(piece, piece_len))
            return false;
        i += piece_len + 1;
    }
    return true;
}

__attribute__((format(printf, 3, 4))) static int
refuse(struct im_error *err, const char *delete_url, const char *format, ...)
{
    char why[160], shown[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    return im_fail_code(err, EBADMSG, "UnsafeDeleteUrl",
                        "%s (%s); nothing of the upload is deleted", why,
                        im_text_url(shown, sizeof(shown), delete_url));
}

static int check_part(const struct im_manifest *manifest, size_t index, const struct im_url *home,
                      struct im_error *err)
{
    const struct im_manifest_part *part = &manifest->part[index];
    struct im_url get, delete;
    int r = im_url_split(part->get_url, &get, err);

    if (r == 0)
        r = im_url_split(part->delete_url, &delete, err);
    if (r < 0)
        return r;
    if (!is_place_of(&delete, home))
        return refuse(err, part->delete_url,
                      "the delete-url of part %zu of %zu is of another server than the manifest",
                      index + 1, manifest->part_count);
    if (!is_beside(&delete, home))
        return refuse(err, part->delete_url,
                      "the delete-url of part %zu of %zu leads out of the manifest's directory",
                      index + 1, manifest->part_count);
    if (!is_object_of(&delete, &get))
        return refuse(err, part->delete_url,
                      "the delete-url of part %zu of %zu names another object than its get-url",
                      index + 1, manifest->part_count);
    return 0;
}

/* All of them, before the first is followed. */
static int check(const struct im_manifest *manifest, const char *manifest_url, struct im_error *err)
{
    struct im_url home, destruct;
    int r = im_url_split(manifest_url, &home, err);

    if (r == 0)
        r = im_url_split(manifest->self_destruct_url, &destruct, err);
    if (r == 0 && !is_object_of(&destruct, &home))
        r = refuse(err, manifest->self_destruct_url,
                   "the self-destruct-url names another object than the manifest");
    for (size_t i = 0; r == 0 && i < manifest->part_count; i++)
        r = check_part(manifest, i, &home, err);
    return r;
}

/* ---- deleting ---- */

static int delete_object(struct im_http *http, const struct im_fetch_rules *rules, const char *url,
                         const char *what, struct im_error *err)
{
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    struct im_http_request request = {
        .method = "DELETE",
        .url = url,
        .total_timeout_ms = ANSWER_MS,
        .text_max = ANSWER_MAX,
    };
    int r = im_fetch_exchange(http, &request, rules, what, &response, err);

    return r == -ENOENT ? 0 : r;
}

static int delete_all(const struct im_manifest *manifest, const struct im_fetch_rules *rules,
                      struct im_error *err)
{
    struct im_http *http IM_CLEANUP(free_http) = im_http_new();
    char what[64];
    int r = 0;

    if (!http)
        return im_fail(err, ENOMEM, "out of memory");
    for (size_t i = 0; r == 0 && i < manifest->part_count; i++) {
        (void)snprintf(what, sizeof(what), "deleting part %zu of %zu", i + 1, manifest->part_count);
        r = delete_object(http, rules, manifest->part[i].delete_url, what, err);
    }
    if (r == 0)
        r = delete_object(http, rules, manifest->self_destruct_url, "deleting the manifest", err);
    return r;
}

int im_discard_upload(const char *manifest_url, struct im_discarded *ret_discarded,
                      struct im_error *err)
{
    struct im_manifest *manifest IM_CLEANUP(free_manifest) = NULL;
    atomic_int budget = IM_FETCH_BUDGET;
    const struct im_fetch_rules rules = { .cancel = &im_cancelled, .budget = &budget };
    struct im_error why = { 0 };
    int r = im_manifest_fetch(manifest_url, &rules, &manifest, &why);
    bool was_gone = r == -ENOENT;

    if (r == 0)
        r = check(manifest, manifest_url, &why);
    if (r == 0)
        r = delete_all(manifest, &rules, &why);
    if (r < 0 && !was_gone) {
        if (err)
            *err = why;
        return r;
    }
    *ret_discarded =
        (struct im_discarded){ .parts = was_gone ? 0 : manifest->part_count, .was_gone = was_gone };
    return 0;
}

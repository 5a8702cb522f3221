/* bundle-manifest - a bundle's manifest, from its place. */

#include <config.h>

#include "source/bundle-manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/http.h"
#include "base/io.h"
#include "base/text.h"
#include "core/cancel.h"
#include "source/fetch.h"

#define WHAT "the manifest"

/* A mark that the front end puts before the host of a download manifest's URL. */
#define MARK "imaging@"

static int too_large(struct im_error *err)
{
    return im_fail_code(err, EBADMSG, "InvalidManifest",
                        WHAT " is larger than the %u bytes allowed", IM_BUNDLE_MANIFEST_MAX);
}

static int read_path(const char *path, struct im_bundle_place *place, struct im_error *err)
{
    const char *slash = strrchr(path, '/');
    char *dir IM_FREE = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int r = im_read_file(path, IM_BUNDLE_MANIFEST_MAX, &place->text, &place->text_len, err);

    if (r < 0)
        return r == -EFBIG ? too_large(err) : r;
    if (!dir)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_bundle_parse(place->text, place->text_len, &place->bundle, err);
    if (r < 0 || place->bundle->download)
        return r;
    place->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return place->dir < 0 ? im_fail_errno(err, errno, "cannot open the directory of '%s'", path)
                          : 0;
}

static void free_http(struct im_http **http)
{
    im_http_free(*http);
}

static int fetch(const char *url, struct im_bundle_place *place, struct im_error *err)
{
    struct im_http *http IM_CLEANUP(free_http) = im_http_new();
    struct im_http_request request = { .method = "GET",
                                       .url = url,
                                       .text_max = IM_BUNDLE_MANIFEST_MAX };
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    atomic_int budget = IM_FETCH_BUDGET;
    const struct im_fetch_rules rules = { .cancel = &im_cancelled, .budget = &budget };
    struct im_error why = { 0 }; /* of a try that was not the last, too */
    int r;

    if (!http)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_fetch_exchange(http, &request, &rules, WHAT, &response, &why);
    if (r == -EFBIG)
        return too_large(err);
    if (r < 0) {
        if (err)
            *err = why;
        return r;
    }
    place->text_len = response.text.len;
    place->text = im_buffer_steal(&response.text);
    if (!place->text)
        return im_fail(err, ENOMEM, "out of memory");
    return im_bundle_parse(place->text, place->text_len, &place->bundle, err);
}

/* The URL without the mark. */
static char *without_mark(const char *url)
{
    const char *host = strstr(url, "://") + 3;
    size_t skip = strncmp(host, MARK, strlen(MARK)) == 0 ? strlen(MARK) : 0;

    return im_asprintf("%.*s%s", (int)(host - url), url, host + skip);
}

static int fetch_url(const char *from, struct im_bundle_place *place, struct im_error *err)
{
    char *url IM_FREE = without_mark(from);
    struct im_url split;
    const char *slash;
    size_t len;
    int r = url ? im_url_split(url, &split, err) : im_fail(err, ENOMEM, "out of memory");

    if (r == 0 && split.has_user_info)
        r = im_fail(err, EINVAL, "the URL of the manifest carries a user name; leave it out");
    if (r == 0)
        r = fetch(url, place, err);
    if (r < 0 || place->bundle->download)
        return r;
    slash = memrchr(split.path, '/', split.path_len);
    len = slash ? (size_t)(slash + 1 - url) : (size_t)(split.host + split.host_len - url);
    place->prefix = im_asprintf("%.*s%s", (int)len, url, slash ? "" : "/");
    return place->prefix ? 0 : im_fail(err, ENOMEM, "out of memory");
}

int im_bundle_find(const char *from, struct im_bundle_place *ret_place, struct im_error *err)
{
    struct im_bundle_place place IM_BUNDLE_PLACE_DONE = { .dir = -1 };
    bool is_url = strncasecmp(from, "http://", 7) == 0 || strncasecmp(from, "https://", 8) == 0;
    int r = is_url ? fetch_url(from, &place, err) : read_path(from, &place, err);

    if (r < 0)
        return r;
    *ret_place = place;
    place = (struct im_bundle_place){ .dir = -1 };
    return 0;
}

void im_bundle_place_done(struct im_bundle_place *place)
{
    im_bundle_free(place->bundle);
    im_cleanup_close(&place->dir);
    free(place->prefix);
    free(place->text);
}

/* manifest-fetch - an import manifest's document, from its URL to a proven structure.
 *
 * The manifest says which bytes stand where, so it is proven like a part: an answer in a coding
 * nobody wants or with another MD5 than its ETag is the way's fault, and asked for again.  What is
 * wrong in a document that arrived as it was stored is its author's, and final. */

#include <config.h>

#include "source/manifest-fetch.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/http.h"
#include "base/retry.h"
#include "base/text.h"

#define WHAT "the manifest"

static void free_http(struct im_http **http)
{
    im_http_free(*http);
}

/* 0, or -EBADMSG when the document is not what the server has. */
static int prove(const struct im_http_response *response, const char *url, struct im_error *err)
{
    const char *coding = response->content_encoding;
    uint8_t want[16], have[IM_HASH_MAX];
    char shown[256], text[33];

    im_text_url(shown, sizeof(shown), url);
    if (coding[0] && strcasecmp(coding, "identity") != 0)
        return im_fail_code(err, EBADMSG, "InvalidManifest",
                            WHAT " (%s): the server sent it in the encoding '%s', which nobody "
                                 "asked for",
                            shown, coding);
    if (im_http_is_sealed(response) || !im_fetch_md5_of_etag(response->etag, want))
        return 0;
    im_hash(IM_MD5, response->text.len ? response->text.data : "", response->text.len, have);
    if (memcmp(want, have, sizeof(want)) == 0)
        return 0;
    im_hex(have, sizeof(want), text);
    return im_fail_code(err, EBADMSG, "InvalidManifest",
                        WHAT " (%s): the bytes have MD5 %s, but the server's ETag says %s", shown,
                        text, response->etag);
}

static int fetch_once(struct im_http *http, const char *url, const struct im_fetch_rules *rules,
                      struct im_http_response *response, struct im_error *err)
{
    struct im_http_request request = { .method = "GET", .url = url, .text_max = IM_MANIFEST_MAX };
    int r = im_fetch_exchange(http, &request, rules, WHAT, response, err);

    if (r == -EFBIG)
        return im_fail_code(err, EBADMSG, "InvalidManifest",
                            WHAT " is larger than the %u bytes allowed", IM_MANIFEST_MAX);
    if (r == -EAGAIN || im_retry_errno(r)) {
        struct im_error why = *err;

        return im_fail_code(err, -r, IM_MANIFEST_STORE_AWAY, "%s", why.message);
    }
    return r;
}

int im_manifest_fetch(const char *url, const struct im_fetch_rules *rules,
                      struct im_manifest **ret_manifest, struct im_error *err)
{
    struct im_http *http IM_CLEANUP(free_http) = im_http_new();
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    struct im_fetch_tries tries = { .rules = rules };
    struct im_error why = { 0 };
    bool damaged;
    int r;

    if (!http)
        return im_fail(err, ENOMEM, "out of memory");
    do {
        im_http_response_done(&response);
        r = fetch_once(http, url, rules, &response, &why);
        damaged = r == 0 && (r = prove(&response, url, &why)) < 0;
    } while (damaged && im_fetch_again(&tries, r));
    if (r == 0)
        return im_manifest_parse(response.text.len ? response.text.data : "", response.text.len,
                                 ret_manifest, err);
    if (err)
        *err = why;
    return r;
}

/* manifest-url - may the service fetch from there?
 *
 * Names are compared as they are written, not as they resolve: whoever may put names into the DNS
 * of an allowed domain decides where they lead. */

#include <config.h>

#include "api/manifest-url.h"

#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/http.h"
#include "base/text.h"

/* Where the port of "name", "name:port", "[v6]" or "[v6]:port" begins, with its colon; len: none.
 */
static size_t port_at(const char *host, size_t len)
{
    const char *bracket = memchr(host, ']', len);
    size_t from = bracket ? (size_t)(bracket - host) : 0;
    const char *colon = memchr(host + from, ':', len - from);

    return colon ? (size_t)(colon - host) : len;
}

static bool same(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return a_len == b_len && strncasecmp(a, b, a_len) == 0;
}

/* Does the entry of manifest-hosts allow the URL's host?  A port that is not written is the
 * scheme's. */
static bool allows(const char *entry, const struct im_url *url)
{
    size_t entry_len = strlen(entry), entry_name = port_at(entry, entry_len);
    size_t name = port_at(url->host, url->host_len);
    const char *port = name < url->host_len ? url->host + name : url->https ? ":443" : ":80";
    size_t port_len = name < url->host_len ? url->host_len - name : strlen(port);

    if (entry_name < entry_len && !same(entry + entry_name, entry_len - entry_name, port, port_len))
        return false;
    if (strncmp(entry, "*.", 2) != 0)
        return same(entry, entry_name, url->host, name);
    entry++; /* ".NAME", with something before it */
    entry_name--;
    return name > entry_name && same(entry, entry_name, url->host + name - entry_name, entry_name);
}

static bool is_own(const struct svc_api *api, const struct im_url *url)
{
    struct im_url own;

    return api->objects_url && im_url_split(api->objects_url, &own, NULL) == 0 &&
           own.https == url->https && same(own.host, own.host_len, url->host, url->host_len);
}

static bool has_scheme(const struct svc_words *schemes, const struct im_url *url)
{
    for (size_t i = 0; i < schemes->count; i++)
        if (strcmp(schemes->item[i], url->https ? "https" : "http") == 0)
            return true;
    return schemes->count == 0;
}

static bool has_host(const struct svc_words *hosts, const struct im_url *url)
{
    for (size_t i = 0; i < hosts->count; i++)
        if (allows(hosts->item[i], url))
            return true;
    return hosts->count == 0;
}

/* "a, b, c"; of a long list its beginning, which is longer than any one host. */
static const char *join(const struct svc_words *words, struct im_buffer *out)
{
    for (size_t i = 0; i < words->count; i++)
        if (im_buffer_printf(out, "%s%s", i > 0 ? ", " : "", words->item[i]) < 0)
            break;
    return out->len > 0 ? out->data : "";
}

int svc_check_manifest_url(struct svc_call *call, const char *parameter, const char *url)
{
    const struct svc_conf *conf = call->api->conf;
    struct im_buffer allowed IM_BUFFER_DONE = IM_BUFFER(300);
    struct im_error err = { 0 };
    struct im_url split;
    char shown[160];

    (void)im_text_url(shown, sizeof(shown), url);
    if (im_url_split(url, &split, &err) < 0)
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "Value (%s) for parameter %s is invalid. An http or https URL is "
                          "expected: %s.",
                          shown, parameter, err.message);
    if (split.has_user_info)
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "Value (%s) for parameter %s is invalid. An http or https URL is "
                          "expected: it must not hold a user name or password.",
                          shown, parameter);
    if (is_own(call->api, &split))
        return 0;
    if (!has_scheme(&conf->manifest_schemes, &split))
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "Value (%s) for parameter %s is invalid. Its scheme is not allowed; "
                          "allowed are: %s.",
                          shown, parameter, join(&conf->manifest_schemes, &allowed));
    if (!has_host(&conf->manifest_hosts, &split))
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "Value (%s) for parameter %s is invalid. Its host is not allowed; "
                          "allowed are: %s.",
                          shown, parameter, join(&conf->manifest_hosts, &allowed));
    return 0;
}

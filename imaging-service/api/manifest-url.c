/* manifest-url - may the service fetch from there?
 *
 * What the name of a host leads to is judged when it is connected to, by the toolkit. */

#include <config.h>

#include "api/manifest-url.h"

#include <errno.h>

#include "base/http.h"
#include "base/text.h"
#include "base/url-policy.h"

static struct im_url_list list_of(const struct svc_words *words)
{
    return (struct im_url_list){ words->count, words->item };
}

int svc_check_manifest_url(struct svc_call *call, const char *parameter, const char *url)
{
    const struct svc_conf *conf = call->api->conf;
    const struct im_url_policy policy = {
        .strict = true,
        .schemes = list_of(&conf->manifest_schemes),
        .hosts = list_of(&conf->manifest_hosts),
        .networks = list_of(&conf->manifest_networks),
        .own = call->api->objects_url,
    };
    struct im_error err = { 0 };
    char shown[160];
    int r = im_url_policy_check(&policy, url, NULL, &err);

    if (r == 0)
        return 0;
    return svc_refuse(call, SVC_INVALID_VALUE, "Value (%s) for parameter %s is invalid. %s: %s.",
                      im_text_url(shown, sizeof(shown), url), parameter,
                      r == -EACCES ? "It is not to be followed"
                                   : "An http or https URL is expected",
                      err.message);
}

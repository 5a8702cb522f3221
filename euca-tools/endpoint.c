/* endpoint - the URL of a service, and the region that signatures to it name.
 *
 * Every search below is a list of places in the order of section 3.6 of the clients' description;
 * AWS's own variables and files are the last. */

#include <config.h>

#include "endpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/http.h"
#include "base/text.h"

/* Bytes of a list of regions: what fits into a sentence. */
#define LIST_BYTES 256

/* ---- URL ---- */

static int no_endpoint(const struct euca_configuration *conf, const char *service,
                       const char *option, struct im_error *err)
{
    struct im_buffer list IM_BUFFER_DONE = IM_BUFFER(LIST_BYTES);

    euca_configuration_regions_with(conf, option, &list);
    if (conf->region && !euca_is_known(&conf->ini, "region", conf->region))
        return im_fail(err, EDESTADDRREQ,
                       "region '%s' is not known: no configuration file has [region %s]; regions "
                       "with an %s endpoint: %s",
                       conf->region, conf->region, service, list.len > 0 ? list.data : "none");
    if (list.len > 0)
        return im_fail(err, EDESTADDRREQ,
                       "No %s endpoint to connect to was given. Configured regions with %s "
                       "endpoints are: %s",
                       service, service, list.data);
    return im_fail(err, EDESTADDRREQ,
                   "No %s endpoint to connect to was given. %s endpoints may be specified in a "
                   "config file with \"%s\".",
                   service, service, option);
}

/* The URL of the region that is meant, then what AWS's own programs are told. */
static int locate(struct euca_places *places, const char *service, char **ret_url,
                  char **ret_section, struct im_error *err)
{
    bool s3 = strcmp(service, "s3") == 0;
    const char *option = s3 ? "s3-url" : "ec2-url";
    struct euca_setting setting;
    const char *url;
    int r = euca_configuration_region(&places->conf, option, &setting, err);

    if (r < 0)
        return r;
    url = euca_first_of(setting.value, NULL);
    if (url) {
        *ret_section = strdup(setting.section);
        if (!*ret_section)
            return im_fail_memory(err);
    } else {
        url = euca_first_of(euca_environment(s3 ? "AWS_ENDPOINT_URL_S3" : "AWS_ENDPOINT_URL_EC2"),
                            euca_environment("AWS_ENDPOINT_URL"));
    }
    if (url) {
        *ret_url = strdup(url);
        return *ret_url ? 0 : im_fail_memory(err);
    }
    r = euca_profile_url(&places->profile, service, ret_url, err);
    return r == 0 && !*ret_url ? no_endpoint(&places->conf, service, option, err) : r;
}

/* HTTP clients leave a port that the scheme implies out of the Host header, so a URL signed with it
 * could not be fetched. */
size_t euca_endpoint_host_length(const struct im_url *url)
{
    const char *implied = url->https ? ":443" : ":80";
    size_t len = strlen(implied);

    if (url->host_len > len && memcmp(url->host + url->host_len - len, implied, len) == 0)
        return url->host_len - len;
    return url->host_len;
}

/* Fill in the endpoint's URL from a text without a region. */
static int set_url(struct euca_endpoint *endpoint, const char *text, struct im_error *err)
{
    bool s3 = strcmp(endpoint->service, "s3") == 0;
    struct im_url url;
    const char *path;
    size_t path_len;
    int r = im_url_split(text, &url, err);

    if (r < 0)
        return r;
    if (url.has_user_info || url.query)
        return im_fail(err, EINVAL,
                       "the %s endpoint may hold neither a user name nor a query: it is a plain "
                       "URL such as http://host:8773/services/",
                       endpoint->service);
    path = url.path_len > 0 ? url.path : "/";
    path_len = url.path_len > 0 ? url.path_len : 1;
    while (s3 && path_len > 0 && path[path_len - 1] == '/')
        path_len--;
    endpoint->url =
        im_asprintf("%s://%.*s%.*s", url.https ? "https" : "http",
                    (int)euca_endpoint_host_length(&url), url.host, (int)path_len, path);
    return endpoint->url ? 0 : im_fail_memory(err);
}

int euca_endpoint_find_url(struct euca_endpoint *endpoint, struct euca_places *places,
                           const char *told, char **ret_section, struct im_error *err)
{
    char *found IM_FREE = NULL;
    const char *scheme, *colons, *text;
    int r = told ? 0 : locate(places, endpoint->service, &found, ret_section, err);

    if (r < 0)
        return r;
    text = told ? told : found;
    scheme = strstr(text, "://");
    colons = strstr(text, "::"); /* also inside http://[::1]: only before the scheme */
    if (colons && scheme && colons < scheme) {
        endpoint->region = strndup(text, (size_t)(colons - text));
        if (!endpoint->region)
            return im_fail_memory(err);
        text = colons + 2;
    }
    return set_url(endpoint, text, err);
}

/* ---- region of the signature ---- */

/* What AWS's variables say, and the profile when it had to be read for URL or keys. */
static int region_of_aws(struct euca_places *places, const char **ret_name, struct im_error *err)
{
    struct euca_profile *profile = &places->profile;

    *ret_name = euca_first_of(euca_environment("AWS_AUTH_REGION"), euca_environment("AWS_REGION"));
    if (*ret_name || !profile->is_read)
        return 0;
    return euca_profile_value(profile, "region", ret_name, err);
}

/* When the endpoint's text does not name one: the section it is of; the region that is meant, but
 * for a default, which is not for a URL from elsewhere; then AWS's; then `other`.  Without any the
 * historical clients invent "undefined-PID"; servers take whatever the scope says. */
static int choose_region(struct euca_endpoint *endpoint, struct euca_places *places,
                         const char *section, const char *other, struct im_error *err)
{
    const struct euca_configuration *conf = &places->conf;
    const char *region = section || conf->region_is_default ? section : conf->region;
    const char *name;
    int r;

    if (region)
        return euca_configuration_signing_name(conf, region, &endpoint->region, err);
    r = region_of_aws(places, &name, err);
    if (r < 0)
        return r;
    name = euca_first_of(name, other);
    endpoint->region = name ? strdup(name) : im_asprintf("undefined-%ld", (long)getpid());
    return endpoint->region ? 0 : im_fail_memory(err);
}

/* It is one word of the signature's scope, between slashes. */
static int check_region(const char *region, struct im_error *err)
{
    for (const char *p = region; *p; p++)
        if (*p <= ' ' || *p >= 0x7f || strchr("/,=", *p))
            return im_fail(err, EINVAL, "the region '%s' holds a character that no region has",
                           region);
    return 0;
}

int euca_endpoint_find_region(struct euca_endpoint *endpoint, struct euca_places *places,
                              const char *section, const char *other, struct im_error *err)
{
    int r = endpoint->region ? 0 : choose_region(endpoint, places, section, other, err);

    return r < 0 ? r : check_region(endpoint->region, err);
}

void euca_endpoint_done(struct euca_endpoint *endpoint)
{
    free(endpoint->url);
    free(endpoint->region);
    free(endpoint->access_key);
    free(endpoint->secret_key);
    free(endpoint->token);
    free(endpoint->location);
    free(endpoint->ca_file);
    for (size_t i = 0; i < endpoint->other_count; i++)
        euca_endpoint_done(&endpoint->other[i]);
    free(endpoint->other);
    *endpoint = (struct euca_endpoint){ 0 };
}

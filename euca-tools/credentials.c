/* credentials - endpoint, keys and trust of the services, put together.
 *
 * Searches go through the places in the order of section 3.6 of the clients' description. */

#include <config.h>

#include "credentials.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#include "interrupt.h"
#include "keys.h"

/* Ceilings of max-retries and of timeout. */
#define RETRIES_MAX   100
#define TIMEOUT_MAX_S 3600

static void places_done(struct euca_places *places)
{
    euca_configuration_done(&places->conf);
    euca_profile_done(&places->profile);
}

/* ---- how to speak with it ---- */

static int set_timeout(struct euca_endpoint *endpoint, const char *text, struct im_error *err)
{
    char *end = NULL;
    double seconds = strtod(text, &end);

    /* also false for "not a number" */
    if (end == text || *end || !(seconds > 0 && seconds <= TIMEOUT_MAX_S))
        return im_fail(err, EINVAL, "configuration: timeout = %s is no number of seconds up to %d",
                       text, TIMEOUT_MAX_S);
    endpoint->timeout_s = (unsigned)seconds + (seconds > (unsigned)seconds);
    return 0;
}

static int wants_debug(const struct euca_configuration *conf, struct im_error *err)
{
    const char *debug = euca_configuration_global(conf, "debug");

    if (!debug)
        return 0;
    return strcmp(debug, "color") == 0 || strcmp(debug, "colour") == 0
               ? 1
               : euca_configuration_yes("debug", debug, err);
}

/* What [global] says. */
static int set_globals(struct euca_endpoint *endpoint, const struct euca_places *places,
                       struct im_error *err)
{
    const char *retries = euca_configuration_global(&places->conf, "max-retries");
    const char *timeout = euca_configuration_global(&places->conf, "timeout");
    int debug = wants_debug(&places->conf, err);
    uint64_t number = 0;

    if (debug < 0)
        return debug;
    endpoint->debug = places->options->debug || debug;
    if (retries && im_parse_uint(retries, RETRIES_MAX, &number) < 0)
        return im_fail(err, EINVAL, "configuration: max-retries = %s is no number up to %d",
                       retries, RETRIES_MAX);
    if (retries)
        endpoint->tries = (unsigned)number + 1;
    return timeout ? set_timeout(endpoint, timeout, err) : 0;
}

/* Who signs certificates that are believed: a file of the environment's, or of the region whose
 * endpoint this is.  Only such a region can do without, and each run says so; that a setting's mere
 * absence did it was the historical default. */
static int set_trust(struct euca_endpoint *endpoint, const struct euca_places *places,
                     const char *region, struct im_error *err)
{
    struct euca_setting setting = { 0 };
    const char *file =
        euca_first_of(euca_environment("AWS_CA_BUNDLE"), euca_environment("SSL_CERT_FILE"));
    int verify = 1, r = 0;

    if (region)
        verify = euca_configuration_flag(&places->conf, "verify-ssl", 1, err);
    if (verify < 0)
        return verify;
    endpoint->any_certificate = !verify && strncmp(endpoint->url, "https:", 6) == 0;
    if (region && !file)
        r = euca_configuration_region(&places->conf, "ca-file", &setting, err);
    file = file ? file : setting.value;
    if (r < 0 || !file || !*file)
        return r;
    endpoint->ca_file = euca_home_path(file);
    return endpoint->ca_file ? 0 : im_fail_memory(err);
}

/* ---- EC2 ---- */

/* What is left when URL and keys are known. */
static int finish(struct euca_places *places, const char *section, const char *other_region,
                  struct euca_keys *keys, struct euca_endpoint *endpoint, struct im_error *err)
{
    int r = euca_endpoint_find_region(endpoint, places, section, other_region, err);

    if (r == 0)
        r = set_globals(endpoint, places, err);
    if (r == 0)
        r = set_trust(endpoint, places, section, err);
    if (r < 0)
        return r;
    endpoint->access_key = im_steal(keys->access_key);
    endpoint->secret_key = im_steal(keys->secret_key);
    endpoint->token = im_steal(keys->token);
    return 0;
}

static void warn(const struct euca_places *places, const struct euca_endpoint *endpoint)
{
    euca_say(places->program,
             "warning: region '%s' has verify-ssl = false: whoever answers for %s is believed, and "
             "may read and change what is sent",
             places->conf.region, endpoint->url);
}

static int find_ec2(struct euca_places *places, struct euca_endpoint *ec2, struct im_error *err)
{
    const char *told = euca_first_of(places->options->url, euca_environment("EC2_URL"));
    struct euca_keys keys IM_CLEANUP(euca_keys_done) = { 0 };
    char *section IM_FREE = NULL;
    int r = euca_endpoint_find_url(ec2, places, told, &section, err);

    if (r == 0)
        r = euca_keys_find(places->options, &places->conf, &places->profile, &keys, err);
    if (r == 0)
        r = finish(places, section, NULL, &keys, ec2, err);
    if (r == 0 && ec2->any_certificate)
        warn(places, ec2);
    return r;
}

/* ---- the object store ---- */

/* What only an object store has. */
static int set_s3(const struct euca_places *places, struct euca_endpoint *s3, struct im_error *err)
{
    struct euca_setting location;
    int sigv4 = euca_configuration_flag(&places->conf, "s3-force-sigv4", 1, err);
    int r = sigv4 < 0 ? sigv4
                      : euca_configuration_region(&places->conf, "s3-location-constraint",
                                                  &location, err);

    if (r < 0)
        return r;
    s3->sigv2 = !sigv4;
    if (!euca_first_of(location.value, NULL))
        return 0;
    s3->location = strdup(location.value);
    return s3->location ? 0 : im_fail_memory(err);
}

/* The token belongs to EC2's keys, not to another owner's. */
static int set_owner(const struct euca_s3_options *s3_options, const struct euca_endpoint *ec2,
                     struct euca_keys *keys, struct im_error *err)
{
    if (euca_first_of(s3_options->owner_akid, NULL))
        return euca_keys_set(keys, s3_options->owner_akid, s3_options->owner_sak, NULL, err);
    return euca_keys_set(keys, ec2->access_key, ec2->secret_key, ec2->token, err);
}

/* An object store: at the URL that was told, or (NULL) of the region that is meant. */
static int find_store(struct euca_places *places, const struct euca_s3_options *s3_options,
                      const struct euca_endpoint *ec2, const char *told, struct euca_endpoint *s3,
                      struct im_error *err)
{
    struct euca_keys keys IM_CLEANUP(euca_keys_done) = { 0 };
    char *section IM_FREE = NULL;
    int r = euca_endpoint_find_url(s3, places, told, &section, err);

    if (r == 0)
        r = set_owner(s3_options, ec2, &keys, err);
    if (r == 0)
        r = finish(places, section, ec2->region, &keys, s3, err);
    if (r == 0)
        r = set_s3(places, s3, err);
    if (r == 0 && s3_options->signature)
        s3->sigv2 = strcmp(s3_options->signature, "2") == 0;
    return r;
}

/* The object stores of all regions: manifests may lie there.  What is wrong with a region that
 * nobody has named is no fault; nor has anybody been warned of it, so its certificates are checked.
 */
static int find_others(struct euca_places *places, const struct euca_s3_options *s3_options,
                       const struct euca_endpoint *ec2, struct euca_endpoint *s3,
                       struct im_error *err)
{
    size_t count;
    const char **names IM_FREE = euca_configuration_names_with(&places->conf, "s3-url", &count);
    char *meant = places->conf.region;

    if (!names)
        return im_fail_memory(err);
    s3->other = calloc(count + 1, sizeof(*s3->other));
    for (size_t i = 0; s3->other && i < count; i++) {
        struct euca_endpoint other = { .service = "s3" };
        struct im_error ignored;

        places->conf.region = strdup(names[i]);
        if (places->conf.region &&
            find_store(places, s3_options, ec2, NULL, &other, &ignored) == 0) {
            other.any_certificate = false;
            s3->other[s3->other_count++] = other;
        } else {
            euca_endpoint_done(&other);
        }
        free(places->conf.region);
    }
    places->conf.region = meant;
    return s3->other ? 0 : im_fail_memory(err);
}

static int find_s3(struct euca_places *places, const struct euca_s3_options *s3_options,
                   const struct euca_endpoint *ec2, struct euca_endpoint *s3, struct im_error *err)
{
    const char *told = euca_first_of(s3_options->s3_url, euca_environment("S3_URL"));
    int r = find_store(places, s3_options, ec2, told, s3, err);

    if (r == 0 && s3->any_certificate && !ec2->any_certificate)
        warn(places, s3);
    return r < 0 ? r : find_others(places, s3_options, ec2, s3, err);
}

/* ---- all of it ---- */

static int find(const struct euca_s3_options *s3_options, struct euca_places *places,
                struct euca_endpoint *ec2, struct euca_endpoint *s3, struct im_error *err)
{
    int r = euca_configuration_open(places->options->region, &places->conf, err);

    euca_profile_open(&places->profile);
    if (r == 0)
        r = find_ec2(places, ec2, err);
    return r == 0 && s3 ? find_s3(places, s3_options, ec2, s3, err) : r;
}

int euca_find_ec2(const char *program, const struct euca_common *options,
                  struct euca_endpoint *ret_ec2, struct im_error *err)
{
    struct euca_places places IM_CLEANUP(places_done) = { .program = program, .options = options };

    *ret_ec2 = (struct euca_endpoint){ .service = "ec2" };
    return find(NULL, &places, ret_ec2, NULL, err);
}

int euca_find_ec2_and_s3(const char *program, const struct euca_common *options,
                         const struct euca_s3_options *s3_options, bool optional,
                         struct euca_endpoint *ret_ec2, struct euca_endpoint *ret_s3,
                         struct im_error *err)
{
    int r;
    struct euca_places places IM_CLEANUP(places_done) = { .program = program, .options = options };

    *ret_ec2 = (struct euca_endpoint){ .service = "ec2" };
    *ret_s3 = (struct euca_endpoint){ .service = "s3" };
    r = find(s3_options, &places, ret_ec2, ret_s3, err);
    /* without EC2's endpoint there would be no keys either */
    return r == -EDESTADDRREQ && optional && ret_ec2->access_key ? 0 : r;
}

int euca_check_s3_options(const struct euca_s3_options *s3_options, struct im_error *err)
{
    const char *id = euca_first_of(s3_options->owner_akid, NULL);
    const char *secret = euca_first_of(s3_options->owner_sak, NULL);

    if (id && !secret)
        return euca_usage(err, "argument -o/--owner-akid also requires -w/--owner-sak");
    if (secret && !id)
        return euca_usage(err, "argument -w/--owner-sak also requires -o/--owner-akid");
    if (s3_options->signature && strcmp(s3_options->signature, "2") != 0 &&
        strcmp(s3_options->signature, "4") != 0)
        return euca_usage(err, "argument --signature: invalid choice: '%s' (choose from '2', '4')",
                          s3_options->signature);
    return 0;
}

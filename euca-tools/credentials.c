/* credentials - endpoints, regions and keys from options, environment and AWS_CREDENTIAL_FILE.
 *
 * Every search below is a list of places in the order of section 3.6 of the clients' description.
 * Configuration files are one place more, at the end of each list: euca_find_ec2, euca_find_s3,
 * region_of and find_keys are where they join. */

#include <config.h>

#include "credentials.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/http.h"
#include "base/io.h"
#include "base/text.h"

/* A credential file is two lines and a few comments. */
#define CREDENTIAL_FILE_MAX 65536

/* One place's answer.  Only a complete pair counts, so that two places are never mixed. */
struct keys {
    char *access_key;
    char *secret_key;
    char *token;
};

static void keys_done(struct keys *keys)
{
    free(keys->access_key);
    free(keys->secret_key);
    free(keys->token);
}

/* Value of the environment variable; NULL when it is unset or empty. */
static const char *environment(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static const char *first_of(const char *a, const char *b)
{
    return a && *a ? a : b && *b ? b : NULL;
}

static char *copy(const char *text)
{
    return text && *text ? strdup(text) : NULL;
}

/* Text between blanks, as a new string. */
static char *trimmed(const char *text, size_t len)
{
    while (len > 0 && isspace((unsigned char)text[0])) {
        text++;
        len--;
    }
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    return strndup(text, len);
}

/* One "AWSAccessKeyId=…" or "AWSSecretKey=…" line; the first of each counts, '#' starts a comment.
 */
static void credential_line(const char *line, size_t len, struct keys *keys)
{
    static const char id[] = "AWSAccessKeyId", secret[] = "AWSSecretKey";
    const char *comment = memchr(line, '#', len);
    const char *equals;
    char *name IM_FREE
    = NULL;
    char **field = NULL;

    if (comment)
        len = (size_t)(comment - line);
    equals = memchr(line, '=', len);
    if (!equals)
        return;
    name = trimmed(line, (size_t)(equals - line));
    if (name && strcmp(name, id) == 0)
        field = &keys->access_key;
    else if (name && strcmp(name, secret) == 0)
        field = &keys->secret_key;
    if (field && !*field)
        *field = trimmed(equals + 1, (size_t)(line + len - equals - 1));
}

static int read_credential_file(const char *path, struct keys *keys, struct im_error *err)
{
    const char *home = environment("HOME");
    char *full IM_FREE
    = NULL;
    char *text IM_FREE
    = NULL;
    int r;

    if (strncmp(path, "~/", 2) == 0 && home)
        full = im_asprintf("%s%s", home, path + 1);
    else
        full = strdup(path);
    if (!full)
        return im_fail(err, ENOMEM, "out of memory");
    if (access(full, R_OK) < 0)
        return im_fail(err, errno, "%s: %s", strerrordesc_np(errno), full);
    r = im_read_file(full, CREDENTIAL_FILE_MAX, &text, NULL, err);
    if (r < 0)
        return r;
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");

        credential_line(line, len, keys);
        line += len + (line[len] == '\n');
    }
    return 0;
}

/* AWS_CREDENTIAL_EXPIRATION tells when keys of the environment end; an unreadable time is no
 * reason to refuse keys that may be good. */
static int check_expiration(struct im_error *err)
{
    const char *text = environment("AWS_CREDENTIAL_EXPIRATION");
    struct tm tm = { 0 };

    if (text && strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) && timegm(&tm) < im_clock_now_ms() / 1000)
        return im_fail(err, EACCES, "credentials have expired (at %s); please get new ones", text);
    return 0;
}

/* Both given: 1; neither: 0.  Half a pair on the command line is an error, elsewhere it is skipped
 * before this is asked. */
static int pair(const char *access_key, const char *secret_key, struct im_error *err)
{
    if (access_key && secret_key)
        return 1;
    if (access_key)
        return im_fail(err, EACCES, "missing secret key; please supply one with -S");
    if (secret_key)
        return im_fail(err, EACCES, "missing access key ID; please supply one with -I");
    return 0;
}

static int keys_set(struct keys *keys, const char *access_key, const char *secret_key,
                    const char *token, struct im_error *err)
{
    keys->access_key = copy(access_key);
    keys->secret_key = copy(secret_key);
    keys->token = copy(token);
    if (!keys->access_key || !keys->secret_key || (token && *token && !keys->token))
        return im_fail(err, ENOMEM, "out of memory");
    return 0;
}

static int find_keys(const struct euca_common *options, struct keys *keys, struct im_error *err)
{
    const char *id = first_of(environment("AWS_ACCESS_KEY_ID"), environment("AWS_ACCESS_KEY"));
    const char *secret =
        first_of(environment("AWS_SECRET_ACCESS_KEY"), environment("AWS_SECRET_KEY"));
    const char *token =
        first_of(environment("AWS_SECURITY_TOKEN"), environment("AWS_SESSION_TOKEN"));
    const char *path = environment("AWS_CREDENTIAL_FILE");
    int r = pair(first_of(options->access_key, NULL), first_of(options->secret_key, NULL), err);

    if (r < 0)
        return r;
    if (r > 0)
        return keys_set(keys, options->access_key, options->secret_key, options->token, err);
    if (id && secret) {
        r = check_expiration(err);
        return r < 0 ? r : keys_set(keys, id, secret, first_of(options->token, token), err);
    }
    if (path) {
        r = read_credential_file(path, keys, err);
        if (r < 0)
            return r;
        if (options->token)
            keys->token = copy(options->token);
    }
    if (keys->access_key && *keys->access_key && keys->secret_key && *keys->secret_key)
        return 0;
    return im_fail(err, EACCES, "missing access key ID; please supply one with -I");
}

/* A line feed in a key would become a header of its own. */
static int check_keys(const struct keys *keys, struct im_error *err)
{
    const char *const texts[] = { keys->access_key, keys->secret_key, keys->token };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        for (const char *p = texts[i]; p && *p; p++)
            if (*p <= ' ' || *p >= 0x7f)
                return im_fail(err, EACCES,
                               "the %s holds a character that no key has (number %u, at place "
                               "%zu); please check where it was copied from",
                               i == 0   ? "access key ID"
                               : i == 1 ? "secret key"
                                        : "security token",
                               (unsigned char)*p, (size_t)(p - texts[i]) + 1);
    return 0;
}

/* Region for the signature when the endpoint does not name one.  Without any the historical
 * clients invent "undefined-PID"; servers take whatever the scope says. */
static char *region_of(const struct euca_common *options)
{
    const char *named = first_of(options->region, environment("EUCA_DEFAULT_REGION"));
    const char *at;

    named = first_of(named, environment("AWS_DEFAULT_REGION"));
    at = named ? strchr(named, '@') : NULL;
    named = first_of(at ? at + 1 : named, environment("AWS_AUTH_REGION"));
    return named ? strdup(named) : im_asprintf("undefined-%ld", (long)getpid());
}

/* Length of "host:port" without a port that the scheme implies.  HTTP clients leave such a port out
 * of the Host header, so a URL signed with it could not be fetched. */
static size_t host_length(const struct im_url *url)
{
    const char *implied = url->https ? ":443" : ":80";
    size_t len = strlen(implied);

    if (url->host_len > len && memcmp(url->host + url->host_len - len, implied, len) == 0)
        return url->host_len - len;
    return url->host_len;
}

/* Fill in URL and region from "URL" or "REGION::URL". */
static int set_url(struct euca_endpoint *endpoint, const struct euca_common *options,
                   const char *text, struct im_error *err)
{
    const char *scheme = strstr(text, "://");
    const char *colons = strstr(text, "::"); /* also inside http://[::1]: only before the scheme */
    bool s3 = strcmp(endpoint->service, "s3") == 0;
    struct im_url url;
    const char *path;
    size_t path_len;
    int r;

    if (colons && scheme && colons < scheme) {
        endpoint->region = strndup(text, (size_t)(colons - text));
        text = colons + 2;
    } else {
        endpoint->region = region_of(options);
    }
    r = im_url_split(text, &url, err);
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
    endpoint->url = im_asprintf("%s://%.*s%.*s", url.https ? "https" : "http",
                                (int)host_length(&url), url.host, (int)path_len, path);
    if (!endpoint->url || !endpoint->region)
        return im_fail(err, ENOMEM, "out of memory");
    return 0;
}

static int no_endpoint(const char *service, struct im_error *err)
{
    return im_fail(err, EDESTADDRREQ,
                   "No %s endpoint to connect to was given. %s endpoints may be specified in a "
                   "config file with \"%s-url\".",
                   service, service, service);
}

int euca_find_ec2(const struct euca_common *options, struct euca_endpoint *ret_ec2,
                  struct im_error *err)
{
    const char *url = first_of(options->url, environment("EC2_URL"));
    struct keys keys IM_CLEANUP(keys_done) = { 0 };
    int r;

    *ret_ec2 = (struct euca_endpoint){ .service = "ec2", .debug = options->debug };
    if (!url)
        return no_endpoint("ec2", err);
    r = set_url(ret_ec2, options, url, err);
    if (r < 0)
        return r;
    r = find_keys(options, &keys, err);
    if (r < 0)
        return r;
    r = check_keys(&keys, err);
    if (r < 0)
        return r;
    ret_ec2->access_key = im_steal(keys.access_key);
    ret_ec2->secret_key = im_steal(keys.secret_key);
    ret_ec2->token = im_steal(keys.token);
    return 0;
}

int euca_find_s3(const struct euca_common *options, const struct euca_s3_options *s3_options,
                 const struct euca_endpoint *ec2, struct euca_endpoint *ret_s3,
                 struct im_error *err)
{
    const char *url = first_of(s3_options->s3_url, environment("S3_URL"));
    bool owner = first_of(s3_options->owner_akid, NULL);
    struct keys keys IM_CLEANUP(keys_done) = { 0 };
    int r;

    *ret_s3 = (struct euca_endpoint){ .service = "s3", .debug = options->debug };
    if (!url)
        return no_endpoint("s3", err);
    r = set_url(ret_s3, options, url, err);
    if (r < 0)
        return r;
    /* The token belongs to EC2's keys, not to another owner's. */
    r = owner ? keys_set(&keys, s3_options->owner_akid, s3_options->owner_sak, NULL, err)
              : keys_set(&keys, ec2->access_key, ec2->secret_key, ec2->token, err);
    if (r < 0)
        return r;
    r = check_keys(&keys, err);
    if (r < 0)
        return r;
    ret_s3->access_key = im_steal(keys.access_key);
    ret_s3->secret_key = im_steal(keys.secret_key);
    ret_s3->token = im_steal(keys.token);
    return 0;
}

int euca_check_s3_options(const struct euca_s3_options *s3_options, struct im_error *err)
{
    const char *id = first_of(s3_options->owner_akid, NULL);
    const char *secret = first_of(s3_options->owner_sak, NULL);

    if (id && !secret)
        return euca_usage(err, "argument -o/--owner-akid also requires -w/--owner-sak");
    if (secret && !id)
        return euca_usage(err, "argument -w/--owner-sak also requires -o/--owner-akid");
    return 0;
}

void euca_endpoint_done(struct euca_endpoint *endpoint)
{
    free(endpoint->url);
    free(endpoint->region);
    free(endpoint->access_key);
    free(endpoint->secret_key);
    free(endpoint->token);
    *endpoint = (struct euca_endpoint){ 0 };
}

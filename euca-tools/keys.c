/* keys - ask the places that may have keys, one after the other. */

#include <config.h>

#include "keys.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"

#include "file.h"

/* A credential file is two lines and a few comments. */
#define CREDENTIAL_FILE_MAX 65536

/* The historical sentences. */
#define NO_ID     "missing access key ID; please supply one with -I"
#define NO_SECRET "missing secret key; please supply one with -S"

void euca_keys_done(struct euca_keys *keys)
{
    free(keys->access_key);
    free(keys->secret_key);
    free(keys->token);
    *keys = (struct euca_keys){ 0 };
}

/* NULL for "", which is as good as nothing. */
static const char *filled(const char *text)
{
    return text && *text ? text : NULL;
}

/* A line feed in a key would become a header of its own. */
static int check(const char *what, const char *text, struct im_error *err)
{
    for (const char *p = text; p && *p; p++)
        if (*p <= ' ' || *p >= 0x7f)
            return im_fail(err, EACCES,
                           "the %s holds a character that no key has (number %u, at place %zu); "
                           "please check where it was copied from",
                           what, (unsigned char)*p, (size_t)(p - text) + 1);
    return 0;
}

int euca_keys_set(struct euca_keys *keys, const char *access_key, const char *secret_key,
                  const char *token, struct im_error *err)
{
    int r = check("access key ID", access_key, err);

    if (r == 0)
        r = check("secret key", secret_key, err);
    if (r == 0)
        r = check("security token", token, err);
    if (r < 0)
        return r;
    keys->access_key = strdup(access_key);
    keys->secret_key = strdup(secret_key);
    keys->token = filled(token) ? strdup(token) : NULL;
    if (!keys->access_key || !keys->secret_key || (filled(token) && !keys->token))
        return im_fail_memory(err);
    return 0;
}

/* AWS_CREDENTIAL_EXPIRATION tells when keys of the environment end; an unreadable time is no
 * reason to refuse keys that may be good. */
static int check_expiration(struct im_error *err)
{
    const char *text = euca_environment("AWS_CREDENTIAL_EXPIRATION");
    struct tm tm = { 0 };

    if (text && strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) && timegm(&tm) < im_clock_now_ms() / 1000)
        return im_fail(err, EACCES, "credentials have expired (at %s); please get new ones", text);
    return 0;
}

/* Half a pair on the command line is an error. */
static int from_options(const struct euca_common *options, struct euca_keys *keys,
                        struct im_error *err)
{
    const char *id = filled(options->access_key), *secret = filled(options->secret_key);
    int r;

    if (!id && !secret)
        return 0;
    if (!secret)
        return im_fail(err, EACCES, NO_SECRET);
    if (!id)
        return im_fail(err, EACCES, NO_ID);
    r = euca_keys_set(keys, id, secret, options->token, err);
    return r < 0 ? r : 1;
}

/* Half a pair elsewhere is none, but that it has the id is remembered, to tell what is missing. */
static int from_environment(const struct euca_common *options, struct euca_keys *keys, bool *has_id,
                            struct im_error *err)
{
    const char *id =
        euca_first_of(euca_environment("AWS_ACCESS_KEY_ID"), euca_environment("AWS_ACCESS_KEY"));
    const char *secret = euca_first_of(euca_environment("AWS_SECRET_ACCESS_KEY"),
                                       euca_environment("AWS_SECRET_KEY"));
    const char *token = euca_first_of(euca_environment("AWS_SECURITY_TOKEN"),
                                      euca_environment("AWS_SESSION_TOKEN"));
    int r;

    *has_id = *has_id || id;
    if (!id || !secret)
        return 0;
    r = check_expiration(err);
    if (r == 0)
        r = euca_keys_set(keys, id, secret, filled(options->token) ? options->token : token, err);
    return r < 0 ? r : 1;
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
static void credential_line(const char *line, size_t len, struct euca_keys *keys)
{
    static const char id[] = "AWSAccessKeyId", secret[] = "AWSSecretKey";
    const char *comment = memchr(line, '#', len);
    const char *equals;
    char *name IM_FREE = NULL;
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

static int read_credential_file(const char *path, struct euca_keys *keys, struct im_error *err)
{
    char *text IM_FREE = NULL;
    int r = euca_read_file(path, CREDENTIAL_FILE_MAX, &text, NULL, err);

    if (r < 0)
        return r;
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");

        credential_line(line, len, keys);
        line += len + (line[len] == '\n');
    }
    return 0;
}

static int from_credential_file(const struct euca_common *options, struct euca_keys *keys,
                                bool *has_id, struct im_error *err)
{
    const char *named = euca_environment("AWS_CREDENTIAL_FILE");
    struct euca_keys read IM_CLEANUP(euca_keys_done) = { 0 };
    char *path IM_FREE = named ? euca_home_path(named) : NULL;
    int r;

    if (!named)
        return 0;
    if (!path)
        return im_fail_memory(err);
    r = read_credential_file(path, &read, err);
    if (r < 0)
        return r;
    *has_id = *has_id || filled(read.access_key);
    if (!filled(read.access_key) || !filled(read.secret_key))
        return 0;
    r = euca_keys_set(keys, read.access_key, read.secret_key, options->token, err);
    return r < 0 ? r : 1;
}

/* A user that is meant must have keys: those of somebody else are no substitute. */
static int from_user(const struct euca_common *options, const struct euca_configuration *conf,
                     struct euca_keys *keys, struct im_error *err)
{
    const char *id = NULL, *secret = NULL, *token = NULL;
    int r = euca_configuration_user(conf, "key-id", &id, err);

    if (!conf->user)
        return 0;
    if (r == 0)
        r = euca_configuration_user(conf, "secret-key", &secret, err);
    if (r == 0)
        r = euca_configuration_user(conf, "security-token", &token, err);
    if (r < 0)
        return r;
    if (filled(id) && filled(secret)) {
        r = euca_keys_set(keys, id, secret, filled(options->token) ? options->token : token, err);
        return r < 0 ? r : 1;
    }
    if (!euca_is_known(&conf->ini, "user", conf->user))
        return im_fail(err, EACCES, "user '%s' is not known: no configuration file has [user %s]",
                       conf->user, conf->user);
    return im_fail(err, EACCES, "user '%s' of the configuration has no %s", conf->user,
                   filled(id) ? "secret-key" : "key-id");
}

static int from_profile(const struct euca_common *options, struct euca_profile *profile,
                        struct euca_keys *keys, struct im_error *err)
{
    const char *id = NULL, *secret = NULL, *token = NULL;
    int r = euca_profile_keys(profile, &id, &secret, &token, err);

    if (r <= 0)
        return r;
    r = euca_keys_set(keys, id, secret, filled(options->token) ? options->token : token, err);
    return r < 0 ? r : 1;
}

int euca_keys_find(const struct euca_common *options, const struct euca_configuration *conf,
                   struct euca_profile *profile, struct euca_keys *ret_keys, struct im_error *err)
{
    bool has_id = false;
    int r = from_options(options, ret_keys, err);

    if (r == 0)
        r = from_environment(options, ret_keys, &has_id, err);
    if (r == 0)
        r = from_credential_file(options, ret_keys, &has_id, err);
    if (r == 0)
        r = from_user(options, conf, ret_keys, err);
    if (r == 0)
        r = from_profile(options, profile, ret_keys, err);
    if (r == 0)
        return im_fail(err, EACCES, "%s", has_id ? NO_SECRET : NO_ID);
    return r < 0 ? r : 0;
}

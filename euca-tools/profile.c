/* profile - what AWS's shared files say of one profile.
 *
 * Sections are [NAME] in the credentials file, [profile NAME] or [default] in the other. */

#include <config.h>

#include "profile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#include "configuration.h"

#define DEFAULT "default"

void euca_profile_open(struct euca_profile *ret_profile)
{
    const char *name = euca_environment("AWS_PROFILE");

    if (!name)
        name = euca_environment("AWS_DEFAULT_PROFILE");
    *ret_profile = (struct euca_profile){ .name = name ? name : DEFAULT, .is_named = name };
}

void euca_profile_done(struct euca_profile *profile)
{
    euca_ini_done(&profile->credentials);
    euca_ini_done(&profile->config);
}

/* A file that is not there says nothing. */
static int read_file(struct euca_ini *ini, const char *variable, const char *usual,
                     struct im_error *err)
{
    const char *named = euca_environment(variable);
    char *path IM_FREE = euca_home_path(named ? named : usual);
    int r;

    if (!path)
        return im_fail_memory(err);
    r = euca_ini_read(ini, path, err);
    return r == -ENOENT ? 0 : r;
}

/* The profile's section in the config file; a name with blanks may be quoted there. */
static const struct euca_ini_section *config_section(const struct euca_profile *profile)
{
    const struct euca_ini_section *section = NULL;
    char *plain IM_FREE = im_asprintf("profile %s", profile->name);
    char *quoted IM_FREE = im_asprintf("profile \"%s\"", profile->name);

    if (plain)
        section = euca_ini_find(&profile->config, plain);
    if (!section && quoted)
        section = euca_ini_find(&profile->config, quoted);
    if (!section && strcmp(profile->name, DEFAULT) == 0)
        section = euca_ini_find(&profile->config, DEFAULT);
    return section;
}

static const struct euca_ini_section *credentials_section(const struct euca_profile *profile)
{
    return euca_ini_find(&profile->credentials, profile->name);
}

static int read_files(struct euca_profile *profile, struct im_error *err)
{
    int r;

    if (profile->is_read)
        return 0;
    r = read_file(&profile->credentials, "AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", err);
    if (r == 0)
        r = read_file(&profile->config, "AWS_CONFIG_FILE", "~/.aws/config", err);
    if (r < 0)
        return r;
    if (profile->is_named && !credentials_section(profile) && !config_section(profile))
        return im_fail(err, EINVAL,
                       "AWS_PROFILE: there is no profile '%s' in ~/.aws/credentials or "
                       "~/.aws/config, nor in files named in their place",
                       profile->name);
    profile->is_read = true;
    return 0;
}

int euca_profile_value(struct euca_profile *profile, const char *option, const char **ret_value,
                       struct im_error *err)
{
    const char *value;
    int r = read_files(profile, err);

    if (r < 0)
        return r;
    value = euca_ini_value(credentials_section(profile), option);
    if (!value || !*value)
        value = euca_ini_value(config_section(profile), option);
    *ret_value = value && *value ? value : NULL;
    return 0;
}

/* Does the profile want what we cannot do?  AWS's own programs let these win over keys. */
static int check_elsewhere(struct euca_profile *profile, const char *const *options,
                           struct im_error *err)
{
    const char *value = NULL;

    for (; *options; options++) {
        int r = euca_profile_value(profile, *options, &value, err);

        if (r < 0)
            return r;
        if (value)
            return im_fail(err, EACCES,
                           "profile '%s' gets its keys by %s, which is not supported here; put "
                           "them into the environment: eval \"$(aws configure export-credentials "
                           "--profile %s --format env)\"",
                           profile->name, *options, profile->name);
    }
    return 0;
}

int euca_profile_keys(struct euca_profile *profile, const char **ret_access_key,
                      const char **ret_secret_key, const char **ret_token, struct im_error *err)
{
    static const char *const before[] = { "role_arn", "web_identity_token_file", "sso_session",
                                          "sso_start_url", NULL };
    static const char *const behind[] = { "credential_process", "login_session", NULL };
    const struct euca_ini_section *sections[2];
    int r = check_elsewhere(profile, before, err);

    if (r < 0)
        return r;
    sections[0] = credentials_section(profile);
    sections[1] = config_section(profile);
    for (size_t i = 0; i < 2; i++) {
        const char *id = euca_ini_value(sections[i], "aws_access_key_id");
        const char *secret = euca_ini_value(sections[i], "aws_secret_access_key");
        const char *token = euca_ini_value(sections[i], "aws_session_token");

        if (!id && !secret)
            continue;
        if (!id || !secret)
            return im_fail(err, EACCES, "profile '%s' has %s, but no %s", profile->name,
                           id ? "aws_access_key_id" : "aws_secret_access_key",
                           id ? "aws_secret_access_key" : "aws_access_key_id");
        *ret_access_key = id;
        *ret_secret_key = secret;
        *ret_token = token ? token : euca_ini_value(sections[i], "aws_security_token");
        return 1;
    }
    return check_elsewhere(profile, behind, err);
}

/* An option of the indented lines behind "SERVICE =", which are an INI file of their own. */
static int nested_url(const char *service, const char *lines, char **ret_url, struct im_error *err)
{
    struct euca_ini ini IM_CLEANUP(euca_ini_done) = { 0 };
    char *text IM_FREE = im_asprintf("[%s]\n%s", service, lines);
    const char *url;
    int r;

    if (!text)
        return im_fail_memory(err);
    r = euca_ini_parse(&ini, "AWS's services section", text, strlen(text), err);
    if (r < 0)
        return r;
    url = euca_ini_value(euca_ini_find(&ini, service), "endpoint_url");
    *ret_url = url && *url ? strdup(url) : NULL;
    return url && *url && !*ret_url ? im_fail_memory(err) : 0;
}

int euca_profile_url(struct euca_profile *profile, const char *service, char **ret_url,
                     struct im_error *err)
{
    const char *services = NULL, *lines = NULL, *url = NULL;
    int r = euca_profile_value(profile, "services", &services, err);

    *ret_url = NULL;
    if (r == 0 && services) {
        char *name IM_FREE = im_asprintf("services %s", services);

        if (!name)
            return im_fail_memory(err);
        lines = euca_ini_value(euca_ini_find(&profile->config, name), service);
    }
    if (r == 0 && lines)
        r = nested_url(service, lines, ret_url, err);
    if (r == 0 && !*ret_url)
        r = euca_profile_value(profile, "endpoint_url", &url, err);
    if (r == 0 && url) {
        *ret_url = strdup(url);
        r = *ret_url ? 0 : im_fail_memory(err);
    }
    return r;
}

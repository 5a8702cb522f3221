/* configuration - find and read euca2ools' files, choose region and user. */

#include <config.h>

#include "configuration.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"

/* Ceiling of files that one pattern names. */
#define FILES_MAX 1000

/* Patterns, between colons; later files win. */
static const char default_files[] =
    "/etc/euca2ools/euca2ools.ini:/etc/euca2ools/conf.d/*.ini:~/.euca/*.ini";

const char *euca_environment(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

const char *euca_first_of(const char *a, const char *b)
{
    return a && *a ? a : b && *b ? b : NULL;
}

char *euca_home_path(const char *path)
{
    const char *home = euca_environment("HOME");

    return strncmp(path, "~/", 2) == 0 && home ? im_asprintf("%s%s", home, path + 1) : strdup(path);
}

/* ---- files ---- */

/* Add a file.  One of the system's that is for others' eyes is passed over, as ever. */
static int read_file(struct euca_ini *ini, const char *path, struct im_error *err)
{
    int r = euca_ini_read(ini, path, err);

    if (r == -EACCES && strncmp(path, "/etc/", strlen("/etc/")) == 0)
        return 0;
    return r < 0 ? r : euca_check_sections(ini, path, err);
}

/* All that a pattern names, sorted; one that names nothing is no fault. */
static int read_pattern(struct euca_ini *ini, const char *pattern, struct im_error *err)
{
    glob_t names IM_CLEANUP(globfree) = { 0 };
    int r = glob(pattern, GLOB_TILDE, NULL, &names);

    if (r == GLOB_NOMATCH)
        return 0;
    if (r != 0)
        return im_fail(err, r == GLOB_NOSPACE ? ENOMEM : EIO,
                       "cannot look for configuration files called '%s'", pattern);
    if (names.gl_pathc > FILES_MAX)
        return im_fail(err, EFBIG, "more than %d configuration files are called '%s'", FILES_MAX,
                       pattern);
    for (size_t i = 0; r == 0 && i < names.gl_pathc; i++)
        r = read_file(ini, names.gl_pathv[i], err);
    return r;
}

/* EUCA_CONFIG_PATH is obeyed when it is empty, too: then there are no files. */
static int read_all(struct euca_ini *ini, struct im_error *err)
{
    const char *path = getenv("EUCA_CONFIG_PATH");
    char *patterns IM_FREE = strdup(path ? path : default_files);
    char *rest = patterns;
    char *pattern;
    int r = 0;

    if (!patterns)
        return im_fail_memory(err);
    while (r == 0 && (pattern = strsep(&rest, ":")))
        if (*pattern)
            r = read_pattern(ini, pattern, err);
    return r;
}

/* ---- region and user ---- */

static int set_name(char **name, const char *text, size_t len, struct im_error *err)
{
    if (*name || len == 0)
        return 0;
    *name = strndup(text, len);
    return *name ? 0 : im_fail_memory(err);
}

/* Take from "[USER@][REGION]" what is not known yet. */
static int take(struct euca_configuration *conf, const char *text, struct im_error *err)
{
    const char *at = text ? strchr(text, '@') : NULL;
    const char *region = at ? at + 1 : text;
    int r = 0;

    if (at)
        r = set_name(&conf->user, text, (size_t)(at - text), err);
    if (r == 0 && region)
        r = set_name(&conf->region, region, strlen(region), err);
    return r;
}

static int choose(struct euca_configuration *conf, const char *told, struct im_error *err)
{
    const char *named = euca_environment("EUCA_DEFAULT_REGION");
    struct euca_setting user = { 0 };
    int r = take(conf, told, err);

    if (r == 0)
        r = take(conf, named ? named : euca_environment("AWS_DEFAULT_REGION"), err);
    conf->region_is_default = !conf->region;
    if (r == 0)
        r = take(conf, euca_configuration_global(conf, "default-region"), err);
    if (r == 0 && !conf->user)
        r = euca_configuration_region(conf, "user", &user, err);
    return r == 0 && user.value ? set_name(&conf->user, user.value, strlen(user.value), err) : r;
}

int euca_configuration_open(const char *told, struct euca_configuration *ret_conf,
                            struct im_error *err)
{
    int r;

    *ret_conf = (struct euca_configuration){ 0 };
    r = read_all(&ret_conf->ini, err);
    return r < 0 ? r : choose(ret_conf, told, err);
}

void euca_configuration_done(struct euca_configuration *conf)
{
    euca_ini_done(&conf->ini);
    free(conf->region);
    free(conf->user);
    *conf = (struct euca_configuration){ 0 };
}

/* ---- options ---- */

const char *euca_configuration_global(const struct euca_configuration *conf, const char *option)
{
    return euca_ini_value(euca_ini_find(&conf->ini, "global"), option);
}

int euca_configuration_region(const struct euca_configuration *conf, const char *option,
                              struct euca_setting *ret_setting, struct im_error *err)
{
    return euca_look_up(&conf->ini, "region", conf->region, option, ret_setting, err);
}

int euca_configuration_user(const struct euca_configuration *conf, const char *option,
                            const char **ret_value, struct im_error *err)
{
    struct euca_setting setting;
    int r = euca_look_up(&conf->ini, "user", conf->user, option, &setting, err);

    if (r == 0)
        *ret_value = setting.value;
    return r;
}

int euca_configuration_yes(const char *option, const char *value, struct im_error *err)
{
    static const char *const yes[] = { "true", "1", "yes", "on" };
    static const char *const no[] = { "false", "0", "no", "off" };

    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (strcasecmp(value, yes[i]) == 0)
            return 1;
        if (strcasecmp(value, no[i]) == 0)
            return 0;
    }
    return im_fail(err, EINVAL, "configuration: %s = %s is neither true nor false", option, value);
}

int euca_configuration_flag(const struct euca_configuration *conf, const char *option, int preset,
                            struct im_error *err)
{
    struct euca_setting setting;
    int r = euca_configuration_region(conf, option, &setting, err);

    if (r < 0)
        return r;
    return setting.value ? euca_configuration_yes(option, setting.value, err) : preset;
}

int euca_configuration_signing_name(const struct euca_configuration *conf, const char *region,
                                    char **ret_name, struct im_error *err)
{
    const struct euca_ini_section *section = euca_find_section(&conf->ini, "region", region);
    const char *colon = strrchr(region, ':');
    struct euca_setting name = { .value = euca_ini_value(section, "name") };
    int r = 0;

    /* A name given to a group is not that of a region with a section of its own. */
    if (!section || name.value)
        r = euca_look_up(&conf->ini, "region", region, "name", &name, err);
    if (r < 0)
        return r;
    *ret_name = strdup(name.value && *name.value ? name.value : colon ? colon + 1 : region);
    return *ret_name ? 0 : im_fail_memory(err);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **euca_configuration_names_with(const struct euca_configuration *conf,
                                           const char *option, size_t *ret_count)
{
    const char **names = calloc(conf->ini.count + 1, sizeof(*names));
    size_t count = 0;

    for (size_t i = 0; names && i < conf->ini.count; i++) {
        const char *name = euca_section_name(&conf->ini.section[i], "region");

        if (name && !strchr(name, '*') && euca_ini_value(&conf->ini.section[i], option))
            names[count++] = name;
    }
    if (count > 1)
        qsort(names, count, sizeof(*names), compare_names);
    *ret_count = count;
    return names;
}

void euca_configuration_regions_with(const struct euca_configuration *conf, const char *option,
                                     struct im_buffer *out)
{
    size_t count;
    const char **names IM_FREE = euca_configuration_names_with(conf, option, &count);

    for (size_t i = 0; i < count; i++)
        if (im_buffer_printf(out, "%s%s", i > 0 ? ", " : "", names[i]) < 0)
            break;
}

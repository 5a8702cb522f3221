/* settings - the table of all settings, and how values of each type are set and released. */

#include <config.h>

#include "conf/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/http.h"
#include "base/text.h"
#include "base/url-policy.h"
#include "conf/database.h"

/* Bytes of DIR: the names below it must still fit into a path. */
#define DIR_MAX (PATH_MAX - 512)

/* Bytes of a name: the longest host name (RFC 1035) with a port. */
#define NAME_MAX_BYTES 262

/* Sections rate "…"; there are fewer actions. */
#define RATES_MAX 64

/* Words are looked for one after the other. */
#define ZONES_MAX 64
#define HOSTS_MAX IM_URL_LIST_MAX

static const char name_bytes[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

static bool is_path(const char *text)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return false;
    return text[0] == '/' && strlen(text) < PATH_MAX;
}

static bool is_dir(const char *text)
{
    return is_path(text) && strlen(text) <= DIR_MAX;
}

static bool is_name(const char *text)
{
    size_t len = strlen(text);

    return len > 0 && len <= 64 && strspn(text, name_bytes) == len;
}

static bool is_switch(const char *text)
{
    return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
}

bool svc_conf_is(const char *setting)
{
    return setting && strcmp(setting, "true") == 0;
}

static bool is_action(const char *text)
{
    return strcmp(text, "*") == 0 || is_name(text);
}

static bool is_scheme(const char *text)
{
    return strcmp(text, "http") == 0 || strcmp(text, "https") == 0;
}

/* What may stand behind "http://" and `before`, up to "/": the same judge as for the URLs of
 * customers. */
static bool is_host_behind(const char *before, const char *text)
{
    char url[NAME_MAX_BYTES + 16];
    struct im_url split;

    if (strlen(text) > NAME_MAX_BYTES || strpbrk(text, "@/?#"))
        return false;
    (void)snprintf(url, sizeof(url), "http://%s%s/", before, text);
    return im_url_split(url, &split, NULL) == 0;
}

static bool is_host(const char *text)
{
    return is_host_behind("", text);
}

/* "NAME", "*.NAME", "*", with ":PORT" or not. */
static bool is_host_pattern(const char *text)
{
    if (text[0] != '*')
        return is_host(text);
    if (text[1] == '.')
        return is_host(text + 2);
    return (text[1] == '\0' || text[1] == ':') && is_host_behind("any", text + 1);
}

static bool is_bare_host(const char *text)
{
    return is_host(text) && (text[0] == '[' ? strchr(text, ']')[1] == '\0' : !strchr(text, ':'));
}

static bool is_url(const char *text)
{
    struct im_url split;

    return im_url_split(text, &split, NULL) == 0 && !split.has_user_info && !split.query;
}

static bool is_instance(const char *text)
{
    size_t len = strlen(text);

    return len > 0 && len <= SVC_INSTANCE_MAX && strspn(text, SVC_INSTANCE_BYTES) == len;
}

static bool is_launcher(const char *text)
{
    return strcmp(text, "none") == 0 || strcmp(text, "command") == 0 || strcmp(text, "ec2") == 0;
}

#define FIELD(field) offsetof(struct svc_conf, field), sizeof(((struct svc_conf *)0)->field)
#define RATE(field)  offsetof(struct svc_rate, field), sizeof(((struct svc_rate *)0)->field)
#define ZONE(field)                                                                                \
    offsetof(struct svc_zone_limit, field), sizeof(((struct svc_zone_limit *)0)->field)
#define TEXT(section, name, field, check, allowed, preset)                                         \
    {                                                                                              \
        section, name, SVC_SETTING_TEXT, FIELD(field), 0, 0, check, allowed, preset, false, false  \
    }
#define SHARED_DIR(name, field)                                                                    \
    {                                                                                              \
        "", name, SVC_SETTING_TEXT, FIELD(field), 0, 0, is_dir, "an absolute path", NULL, false,   \
            true                                                                                   \
    }
#define NUMBER(section, name, field, min, max, preset)                                             \
    {                                                                                              \
        section, name, SVC_SETTING_NUMBER, FIELD(field), min, max, NULL, NULL, preset, false,      \
            false                                                                                  \
    }
#define WORDS(name, field, min, max, check, allowed, preset)                                       \
    {                                                                                              \
        "", name, SVC_SETTING_WORDS, FIELD(field), min, max, check, allowed, preset, false, false  \
    }

/* In the order in which they are shown.  The ceilings are there to catch a slip of the pen, but
 * for: workers, each a process with threads of its own; max-volume-gib, 64 TiB, the largest volume
 * EBS has. */
const struct svc_setting svc_settings[] = {
    TEXT("", "standalone", dir, is_dir, "an absolute path", NULL),
    { "", "database", SVC_SETTING_TEXT, FIELD(database), 0, 0, svc_database_ok,
      "a URI like postgresql://USER@HOST/NAME, a password before the '@' if anywhere, '@' and '/' "
      "in "
      "it as %40 and %2F",
      NULL, true, true },
    SHARED_DIR("volumes-directory", volumes_dir),
    SHARED_DIR("scratch-directory", scratch_dir),
    SHARED_DIR("state-directory", state_dir),
    TEXT("", "instance-name", instance_name, is_instance,
         "at most 64 letters, digits, '-', '_', '.' and ':'", NULL),
    { "", "listen", SVC_SETTING_LISTEN, FIELD(listen), 0, 0, NULL, NULL, "127.0.0.1:8773", false,
      false },
    { "", "status-listen", SVC_SETTING_LISTEN, FIELD(status), 0, 0, NULL, NULL, NULL, false,
      false },
    TEXT("", "public-host", public_host, is_bare_host, "a host name or address without a port",
         NULL),
    TEXT("", "toolkit", toolkit, is_path, "the absolute path of a program", NULL),
    TEXT("", "master-key", master_key, is_path, "the absolute path of a file", NULL),
    NUMBER("", "workers", workers, 1, 64, "2"),
    WORDS("zones", zones, 1, ZONES_MAX, is_name,
          "names of at most 64 letters, digits, '-', '_' and '.'", "standalone"),
    NUMBER("", "conversions", conversions, 0, 100000, "0"),
    NUMBER("", "conversions-per-account", conversions_per_account, 0, 100000, "0"),
    NUMBER("", "scratch-reserve", scratch_reserve, 0, 1u << 30, "64"),
    NUMBER("", "max-active-tasks", max_active, 1, 100000, "20"),
    NUMBER("", "max-volume-gib", max_volume_gib, 1, 65536, "16384"),
    TEXT("", "unconfined", unconfined, is_switch, "true or false", "false"),
    TEXT("", "delete-uploads", delete_uploads, is_switch, "true or false", "false"),
    WORDS("manifest-schemes", manifest_schemes, 1, 2, is_scheme, "http and https", "http,https"),
    WORDS("manifest-hosts", manifest_hosts, 0, HOSTS_MAX, is_host_pattern,
          "hosts like s3.example.com, *.example.com, s3.example.com:8080 or *:443", NULL),
    WORDS("manifest-networks", manifest_networks, 0, IM_URL_LIST_MAX, im_url_is_network,
          "addresses and networks like 10.1.2.3, 10.1.0.0/16 or fd00:1::/64, no bit set behind "
          "those that count",
          NULL),
    TEXT("", "launcher", launcher, is_launcher, "none, command or ec2", "none"),
    TEXT("", "launcher-command", launcher_command, is_path, "the absolute path of a program", NULL),
    TEXT("", "launcher-endpoint", launcher_endpoint, is_url, "an http or https URL", NULL),
    TEXT("", "launcher-credentials", launcher_credentials, is_path, "the absolute path of a file",
         NULL),
    TEXT("", "launcher-region", launcher_region, is_name, "the name of a region", "us-east-1"),
    /* a snapshot of a large volume takes its time */
    NUMBER("", "launcher-seconds", launcher_seconds, 1, 86400, "3600"),
    TEXT("tls", "certificate", tls_certificate, is_path, "the absolute path of a PEM file", NULL),
    TEXT("tls", "key", tls_key, is_path, "the absolute path of a PEM file", NULL),
    NUMBER("limits", "connections", connections, 1, 65536, "2048"),
    NUMBER("limits", "connections-per-address", connections_per_address, 0, 65536, "1536"),
    NUMBER("limits", "idle-seconds", idle_seconds, 1, 3600, "30"),
    NUMBER("limits", "request-seconds", request_seconds, 1, 3600, "30"),
    NUMBER("limits", "stop-delay-seconds", stop_delay_seconds, 0, 3600, "0"),
    NUMBER("limits", "stop-seconds", stop_seconds, 0, 3600, "30"),
    { "rate", "requests-per-second", SVC_SETTING_NUMBER, RATE(requests_per_second), 0, 1000000,
      NULL, NULL, NULL, false, false },
    { "rate", "burst", SVC_SETTING_NUMBER, RATE(burst), 0, 1000000, NULL, NULL, NULL, false,
      false },
    { "zone", "conversions", SVC_SETTING_NUMBER, ZONE(conversions), 0, 100000, NULL, NULL, NULL,
      false, false },
    { 0 }
};

/* Sections that may stand several times.  The first member of their rows is the title. */
static const struct titled {
    const char *section;
    size_t rows, count; /* offsets in struct svc_conf */
    size_t size;        /* of a row */
    size_t max;
    bool (*is_allowed)(const char *title);
    const char *allowed;
} titled[] = {
    { "rate", offsetof(struct svc_conf, rates), offsetof(struct svc_conf, rate_count),
      sizeof(struct svc_rate), RATES_MAX, is_action, "the name of an action, or *" },
    { "zone", offsetof(struct svc_conf, zone_limits), offsetof(struct svc_conf, zone_limit_count),
      sizeof(struct svc_zone_limit), ZONES_MAX, is_name, "the name of a zone" },
};
#define TITLED (sizeof(titled) / sizeof(titled[0]))

static const struct titled *find_titled(const char *section)
{
    for (size_t i = 0; i < TITLED; i++)
        if (strcmp(titled[i].section, section) == 0)
            return &titled[i];
    return NULL;
}

bool svc_section_has_titles(const char *section)
{
    return find_titled(section) != NULL;
}

const struct svc_setting *svc_setting_find(const char *section, const char *name)
{
    for (const struct svc_setting *s = svc_settings; s->name; s++)
        if (strcmp(s->section, section) == 0 && strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

int svc_conf_no_memory(struct im_error *err)
{
    return im_fail(err, ENOMEM, "out of memory");
}

int svc_conf_replace(char **text, const char *value, struct im_error *err)
{
    char *copy = strdup(value);

    if (!copy)
        return svc_conf_no_memory(err);
    free(*text);
    *text = copy;
    return 0;
}

static void words_done(struct svc_words *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->item[i]);
    free(words->item);
    *words = (struct svc_words){ 0 };
}

static int refuse(const char *shown, const char *allowed, const char *value, struct im_error *err)
{
    char printable[200];

    return im_fail(err, EINVAL, "%s wants %s, not '%s'", shown, allowed,
                   im_text_printable(printable, sizeof(printable), value));
}

static int set_text(const struct svc_setting *setting, const char *shown, void *field,
                    const char *value, struct im_error *err)
{
    if (!setting->is_allowed(value))
        return setting->secret
                   ? im_fail(err, EINVAL, "%s wants %s; what stands there is not repeated", shown,
                             setting->allowed)
                   : refuse(shown, setting->allowed, value, err);
    return svc_conf_replace(field, value, err);
}

static int set_number(const struct svc_setting *setting, const char *shown, void *field,
                      const char *value, struct im_error *err)
{
    char allowed[80];
    uint64_t number;

    (void)snprintf(allowed, sizeof(allowed), "a whole number from %" PRIu64 " to %" PRIu64,
                   setting->min, setting->max);
    if (im_parse_uint(value, setting->max, &number) < 0 || number < setting->min)
        return refuse(shown, allowed, value, err);
    if (setting->size == sizeof(uint64_t))
        *(uint64_t *)field = number;
    else
        *(unsigned *)field = (unsigned)number;
    return 0;
}

static int set_words(const struct svc_setting *setting, const char *shown, struct svc_words *field,
                     const char *const *values, size_t count, struct im_error *err)
{
    struct svc_words words = { 0 };

    if (count < setting->min || count > setting->max)
        return im_fail(err, EINVAL,
                       "%s wants from %" PRIu64 " to %" PRIu64 " of %s, and was given %zu", shown,
                       setting->min, setting->max, setting->allowed, count);
    for (size_t i = 0; i < count; i++)
        if (!setting->is_allowed(values[i]))
            return refuse(shown, setting->allowed, values[i], err);
    words.item = calloc(count + 1, sizeof(*words.item));
    for (size_t i = 0; i < count && words.item; i++) {
        words.item[i] = strdup(values[i]);
        if (!words.item[i])
            break;
        words.count++;
    }
    if (words.count < count || !words.item) {
        words_done(&words);
        return svc_conf_no_memory(err);
    }
    words_done(field);
    *field = words;
    return 0;
}

/* "ADDR:PORT", "[ADDR]:PORT". */
static int set_listen(const char *shown, struct svc_listen *field, const char *value,
                      struct im_error *err)
{
    const char *colon = strrchr(value, ':');
    char *address IM_FREE = colon ? strndup(value, (size_t)(colon - value)) : NULL;
    size_t len = address ? strlen(address) : 0;
    uint64_t port;

    if (!address || len == 0 || im_parse_uint(colon + 1, UINT16_MAX, &port) < 0)
        return refuse(shown, "ADDR:PORT with a port from 0 to 65535", value, err);
    if (address[0] == '[' && address[len - 1] == ']') {
        memmove(address, address + 1, len - 2);
        address[len - 2] = '\0';
    }
    field->port = (uint16_t)port;
    return svc_conf_replace(&field->address, address, err);
}

int svc_setting_set(const struct svc_setting *setting, const char *shown, struct svc_conf *conf,
                    void *row, const char *const *values, size_t count, struct im_error *err)
{
    void *field = (row ? (char *)row : (char *)conf) + setting->offset;

    switch (setting->type) {
    case SVC_SETTING_TEXT:
        return set_text(setting, shown, field, values[0], err);
    case SVC_SETTING_NUMBER:
        return set_number(setting, shown, field, values[0], err);
    case SVC_SETTING_WORDS:
        return set_words(setting, shown, field, values, count, err);
    default:
        return set_listen(shown, field, values[0], err);
    }
}

/* Defaults are short: no more than two words are ever needed. */
static int preset(const struct svc_setting *setting, struct svc_conf *conf, struct im_error *err)
{
    char *text IM_FREE = strdup(setting->preset);
    char *comma = text ? strchr(text, ',') : NULL;
    const char *values[2] = { text, comma ? comma + 1 : NULL };

    if (!text)
        return svc_conf_no_memory(err);
    if (comma)
        *comma = '\0';
    return svc_setting_set(setting, setting->name, conf, NULL, values, comma ? 2 : 1, err);
}

int svc_settings_preset(struct svc_conf *conf, struct im_error *err)
{
    int r = 0;

    for (const struct svc_setting *s = svc_settings; s->name && r == 0; s++)
        if (s->preset)
            r = preset(s, conf, err);
    return r;
}

static char *title_of(const char *row)
{
    return *(char *const *)row;
}

int svc_settings_row(struct svc_conf *conf, const char *section, const char *title, void **ret_row,
                     struct im_error *err)
{
    const struct titled *t = find_titled(section);
    char **rows = t ? (char **)((char *)conf + t->rows) : NULL;
    size_t *count = t ? (size_t *)((char *)conf + t->count) : NULL;
    char *grown;

    for (size_t i = 0; t && i < *count; i++)
        if (strcmp(title_of(*rows + i * t->size), title) == 0) {
            *ret_row = *rows + i * t->size;
            return 0;
        }
    if (!t) {
        *ret_row = NULL;
        return 0;
    }
    if (!t->is_allowed(title))
        return refuse(section, t->allowed, title, err);
    if (*count == t->max)
        return im_fail(err, EINVAL, "there may be at most %zu sections %s", t->max, section);
    grown = reallocarray(*rows, *count + 1, t->size);
    if (!grown)
        return svc_conf_no_memory(err);
    *rows = grown;
    grown += *count * t->size;
    memset(grown, 0, t->size);
    *(char **)grown = strdup(title);
    if (!*(char **)grown)
        return svc_conf_no_memory(err);
    ++*count;
    *ret_row = grown;
    return 0;
}

void svc_settings_done(struct svc_conf *conf)
{
    for (const struct svc_setting *s = svc_settings; s->name; s++) {
        void *field = (char *)conf + s->offset;

        if (s->type == SVC_SETTING_TEXT)
            free(*(char **)field);
        else if (s->type == SVC_SETTING_WORDS)
            words_done(field);
        else if (s->type == SVC_SETTING_LISTEN)
            free(((struct svc_listen *)field)->address);
    }
    for (size_t i = 0; i < conf->rate_count; i++)
        free(conf->rates[i].action);
    free(conf->rates);
    for (size_t i = 0; i < conf->zone_limit_count; i++)
        free(conf->zone_limits[i].zone);
    free(conf->zone_limits);
}

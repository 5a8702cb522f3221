/* settings - the table of all settings, and how values of each type are set, shown and released. */

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

/* Bytes of DIR: the names below it must still fit into a path. */
#define DIR_MAX (PATH_MAX - 512)

/* Bytes of a name: the longest host name (RFC 1035) with a port. */
#define NAME_MAX_BYTES 262

/* Sections rate "…"; there are fewer actions. */
#define RATES_MAX 64

/* Words are looked for one after the other. */
#define ZONES_MAX 64
#define HOSTS_MAX 256

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

static bool is_scheme(const char *text)
{
    return strcmp(text, "http") == 0 || strcmp(text, "https") == 0;
}

/* What may stand between "http://" and "/": the same judge as for the URLs of customers. */
static bool is_host(const char *text)
{
    char url[NAME_MAX_BYTES + 16];
    struct im_url split;

    if (strlen(text) > NAME_MAX_BYTES || strpbrk(text, "@/?#"))
        return false;
    (void)snprintf(url, sizeof(url), "http://%s/", text);
    return im_url_split(url, &split, NULL) == 0;
}

static bool is_host_pattern(const char *text)
{
    return is_host(strncmp(text, "*.", 2) == 0 ? text + 2 : text);
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

static bool is_launcher(const char *text)
{
    return strcmp(text, "none") == 0 || strcmp(text, "command") == 0 || strcmp(text, "ec2") == 0;
}

#define FIELD(field) offsetof(struct svc_conf, field), sizeof(((struct svc_conf *)0)->field)
#define RATE(field)  offsetof(struct svc_rate, field), sizeof(((struct svc_rate *)0)->field)
#define TEXT(section, name, field, check, allowed, preset)                                         \
    {                                                                                              \
        section, name, SVC_SETTING_TEXT, FIELD(field), 0, 0, check, allowed, preset                \
    }
#define NUMBER(section, name, field, min, max, preset)                                             \
    {                                                                                              \
        section, name, SVC_SETTING_NUMBER, FIELD(field), min, max, NULL, NULL, preset              \
    }
#define WORDS(name, field, min, max, check, allowed, preset)                                       \
    {                                                                                              \
        "", name, SVC_SETTING_WORDS, FIELD(field), min, max, check, allowed, preset                \
    }

/* In the order in which they are shown.  The ceilings are there to catch a slip of the pen, but
 * for: workers, each a process with threads of its own; max-volume-gib, 64 TiB, the largest volume
 * EBS has. */
const struct svc_setting svc_settings[] = {
    TEXT("", "standalone", dir, is_dir, "an absolute path", NULL),
    { "", "listen", SVC_SETTING_LISTEN, 0, 0, 0, 0, NULL, NULL, "127.0.0.1:8773" },
    TEXT("", "public-host", public_host, is_bare_host, "a host name or address without a port",
         NULL),
    TEXT("", "toolkit", toolkit, is_path, "the absolute path of a program", NULL),
    TEXT("", "master-key", master_key, is_path, "the absolute path of a file", NULL),
    NUMBER("", "workers", workers, 1, 64, "2"),
    WORDS("zones", zones, 1, ZONES_MAX, is_name,
          "names of at most 64 letters, digits, '-', '_' and '.'", "standalone"),
    NUMBER("", "max-active-tasks", max_active, 1, 100000, "20"),
    NUMBER("", "max-volume-gib", max_volume_gib, 1, 65536, "16384"),
    TEXT("", "delete-uploads", delete_uploads, is_switch, "true or false", "false"),
    WORDS("manifest-schemes", manifest_schemes, 1, 2, is_scheme, "http and https", "http,https"),
    WORDS("manifest-hosts", manifest_hosts, 0, HOSTS_MAX, is_host_pattern,
          "hosts like s3.example.com, *.example.com or s3.example.com:8080", NULL),
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
    NUMBER("limits", "stop-seconds", stop_seconds, 0, 3600, "30"),
    { "rate", "requests-per-second", SVC_SETTING_NUMBER, RATE(requests_per_second), 0, 1000000,
      NULL, NULL, NULL },
    { "rate", "burst", SVC_SETTING_NUMBER, RATE(burst), 0, 1000000, NULL, NULL, NULL },
    { 0 }
};

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
        return refuse(shown, setting->allowed, value, err);
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
static int set_listen(struct svc_conf *conf, const char *shown, const char *value,
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
    conf->port = (uint16_t)port;
    return svc_conf_replace(&conf->address, address, err);
}

int svc_setting_set(const struct svc_setting *setting, const char *shown, struct svc_conf *conf,
                    struct svc_rate *rate, const char *const *values, size_t count,
                    struct im_error *err)
{
    char *base = strcmp(setting->section, "rate") == 0 ? (char *)rate : (char *)conf;
    void *field = base + setting->offset;

    switch (setting->type) {
    case SVC_SETTING_TEXT:
        return set_text(setting, shown, field, values[0], err);
    case SVC_SETTING_NUMBER:
        return set_number(setting, shown, field, values[0], err);
    case SVC_SETTING_WORDS:
        return set_words(setting, shown, field, values, count, err);
    default:
        return set_listen(conf, shown, values[0], err);
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

int svc_settings_rate(struct svc_conf *conf, const char *action, struct svc_rate **ret_rate,
                      struct im_error *err)
{
    struct svc_rate *grown;

    for (size_t i = 0; i < conf->rate_count; i++)
        if (strcmp(conf->rates[i].action, action) == 0) {
            *ret_rate = &conf->rates[i];
            return 0;
        }
    if (strcmp(action, "*") != 0 && !is_name(action))
        return refuse("rate", "the name of an action, or *", action, err);
    if (conf->rate_count == RATES_MAX)
        return im_fail(err, EINVAL, "there may be at most %d sections rate", RATES_MAX);
    grown = reallocarray(conf->rates, conf->rate_count + 1, sizeof(*grown));
    if (!grown)
        return svc_conf_no_memory(err);
    conf->rates = grown;
    grown[conf->rate_count] = (struct svc_rate){ .action = strdup(action) };
    if (!grown[conf->rate_count].action)
        return svc_conf_no_memory(err);
    *ret_rate = &grown[conf->rate_count++];
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
    }
    free(conf->address);
    for (size_t i = 0; i < conf->rate_count; i++)
        free(conf->rates[i].action);
    free(conf->rates);
}

/* -- showing */

/* As a configuration file writes it: '"', '\' and '$' mean something inside quotes. */
static void print_text(FILE *out, const char *text)
{
    (void)fputc('"', out);
    for (const char *p = text; *p; p++) {
        if (strchr("\"\\$", *p))
            (void)fputc('\\', out);
        (void)fputc(*p, out);
    }
    (void)fputc('"', out);
}

static void print_words(FILE *out, const struct svc_words *words)
{
    (void)fputc('{', out);
    for (size_t i = 0; i < words->count; i++) {
        (void)fputs(i > 0 ? ", " : "", out);
        print_text(out, words->item[i]);
    }
    (void)fputc('}', out);
}

static void print_row(FILE *out, const struct svc_setting *s, const struct svc_conf *conf,
                      const struct svc_rate *rate)
{
    const void *field = (rate ? (const char *)rate : (const char *)conf) + s->offset;
    const char *text = s->type == SVC_SETTING_TEXT ? *(const char *const *)field : "";

    (void)fprintf(out, "%s%s%s = ", text ? "" : "# ", s->section[0] ? "    " : "", s->name);
    if (s->type == SVC_SETTING_NUMBER)
        (void)fprintf(out, "%" PRIu64,
                      s->size == sizeof(uint64_t) ? *(const uint64_t *)field
                                                  : *(const unsigned *)field);
    else if (s->type == SVC_SETTING_WORDS)
        print_words(out, field);
    else if (s->type == SVC_SETTING_LISTEN)
        (void)fprintf(out, strchr(conf->address, ':') ? "\"[%s]:%u\"" : "\"%s:%u\"", conf->address,
                      (unsigned)conf->port);
    else
        print_text(out, text ? text : "");
    (void)fputc('\n', out);
}

static void print_rate(FILE *out, const struct svc_conf *conf, const struct svc_rate *rate)
{
    (void)fputs("rate ", out);
    print_text(out, rate->action);
    (void)fputs(" {\n", out);
    for (const struct svc_setting *s = svc_settings; s->name; s++)
        if (strcmp(s->section, "rate") == 0)
            print_row(out, s, conf, rate);
    (void)fputs("}\n", out);
}

int svc_conf_print(const struct svc_conf *conf, FILE *out)
{
    const char *section = "", *mark = "";

    for (const struct svc_setting *s = svc_settings; s->name; s++) {
        if (strcmp(s->section, "rate") == 0)
            continue;
        if (strcmp(s->section, section) != 0) {
            if (section[0])
                (void)fprintf(out, "%s}\n", mark);
            /* a section tls that says nothing would be refused */
            mark = strcmp(s->section, "tls") == 0 && !conf->tls_certificate ? "# " : "";
            (void)fprintf(out, "%s%s {\n", mark, s->section);
        }
        section = s->section;
        print_row(out, s, conf, NULL);
    }
    (void)fprintf(out, "%s}\n", mark);
    for (size_t i = 0; i < conf->rate_count; i++)
        print_rate(out, conf, &conf->rates[i]);
    return fflush(out) != 0 || ferror(out) ? -EIO : 0;
}

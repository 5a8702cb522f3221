/* file - read a configuration file; the only code that knows libconfuse.
 *
 * All values are texts to the library: judging them is the table's work (settings.c), so that a
 * wrong one is told with its value and what is allowed.  The library gives its callbacks nothing of
 * ours, therefore `reading`. */

#include <config.h>

#include "conf/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <confuse.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "conf/database.h"
#include "conf/settings.h"

/* Bytes of a file; the largest sane one has a few KiB. */
#define FILE_MAX_BYTES (1024u * 1024)

/* Rows of one section, and their end. */
#define ROWS_MAX 64

/* What is being read by this thread. */
static _Thread_local struct {
    const char *path;
    struct svc_conf *conf;
    struct im_error *err; /* number 0 until the first fault, which is the one that is told */
} reading;

static const char *const sections[] = { "tls", "limits", "rate", "zone" };
#define SECTIONS (sizeof(sections) / sizeof(sections[0]))

/* "zones, limits, rate": what may stand here. */
static void list_names(cfg_t *cfg, struct im_buffer *out)
{
    for (unsigned i = 0; i < cfg_num(cfg); i++) {
        const char *name = cfg_opt_name(cfg_getnopt(cfg, i));

        if (strncmp(name, "__", 2) != 0) /* the library's own */
            (void)im_buffer_printf(out, "%s%s", out->len > 0 ? ", " : "", name);
    }
}

/* The library's own complaints: syntax and names. */
__attribute__((format(printf, 2, 0))) static void on_error(cfg_t *cfg, const char *format,
                                                           va_list args)
{
    struct im_buffer names IM_BUFFER_DONE = IM_BUFFER(1024);
    char sentence[200], printable[200];

    if (reading.err->number != 0)
        return;
    (void)vsnprintf(sentence, sizeof(sentence), format, args);
    (void)im_text_printable(printable, sizeof(printable), sentence);
    if (strncmp(printable, "no such option", 14) == 0)
        list_names(cfg, &names);
    (void)im_fail(reading.err, EINVAL, "%s:%d: %s%s%s", reading.path, cfg->line, printable,
                  names.len > 0 ? "; allowed are " : "", names.len > 0 ? names.data : "");
}

static int take(cfg_t *cfg, cfg_opt_t *opt, const struct svc_setting *setting)
{
    unsigned count = cfg_opt_size(opt);
    const char **values IM_FREE = calloc(count + 1, sizeof(*values));
    void *row = NULL;
    char shown[80];
    int r;

    if (!values)
        return im_fail(reading.err, ENOMEM, "out of memory");
    for (unsigned i = 0; i < count; i++)
        values[i] = cfg_opt_getnstr(opt, i);
    r = svc_settings_row(reading.conf, setting->section, cfg_title(cfg), &row, reading.err);
    (void)snprintf(shown, sizeof(shown), "%s%s%s", setting->section,
                   setting->section[0] ? ": " : "", setting->name);
    if (r == 0)
        r = svc_setting_set(setting, shown, reading.conf, row, values, count, reading.err);
    return r;
}

/* A value has arrived; of a list this is called with every word, and the list so far. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt)
{
    const char *section = strcmp(cfg_name(cfg), "root") == 0 ? "" : cfg_name(cfg);
    const struct svc_setting *setting = svc_setting_find(section, cfg_opt_name(opt));
    int r = setting ? take(cfg, opt, setting) : -EINVAL;

    if (r < 0)
        im_error_prefix(reading.err, "%s:%d", reading.path, cfg->line);
    return r < 0 ? -1 : 0;
}

/* The library's options for the rows of a section. */
static void make_options(const char *section, cfg_opt_t *options)
{
    size_t n = 0;

    for (const struct svc_setting *s = svc_settings; s->name; s++) {
        if (strcmp(s->section, section) != 0 || n == ROWS_MAX - SECTIONS - 1)
            continue;
        options[n] = s->type == SVC_SETTING_WORDS
                         ? (cfg_opt_t)CFG_STR_LIST(s->name, NULL, CFGF_NODEFAULT)
                         : (cfg_opt_t)CFG_STR(s->name, NULL, CFGF_NODEFAULT);
        options[n++].validcb = on_value;
    }
    for (size_t i = 0; i < SECTIONS && !section[0]; i++)
        options[n++] = (cfg_opt_t)CFG_SEC(sections[i], NULL, CFGF_NONE);
    options[n] = (cfg_opt_t)CFG_END();
}

/* An empty list is no value, for which on_value would be called. */
static int take_empty_lists(cfg_t *cfg)
{
    for (const struct svc_setting *s = svc_settings; s->name; s++) {
        cfg_opt_t *opt = s->type == SVC_SETTING_WORDS ? cfg_getopt(cfg, s->name) : NULL;

        if (!opt || !(opt->flags & CFGF_MODIFIED) || cfg_opt_size(opt) > 0)
            continue;
        if (take(cfg, opt, s) < 0) {
            im_error_prefix(reading.err, "%s", reading.path);
            return -1;
        }
    }
    return 0;
}

/* Who writes a section tls does not want plain HTTP. */
static int check_tls(cfg_t *cfg)
{
    if (cfg_size(cfg, "tls") == 0 || reading.conf->tls_certificate || reading.conf->tls_key)
        return 0;
    return im_fail(reading.err, EINVAL, "'%s': the section tls wants both certificate and key",
                   reading.path);
}

static int parse(const char *text, struct im_error *err)
{
    cfg_opt_t top[ROWS_MAX], inner[SECTIONS][ROWS_MAX];
    cfg_t *cfg;
    int r;

    make_options("", top);
    for (size_t i = 0; i < SECTIONS; i++) {
        cfg_opt_t *opt = top;

        make_options(sections[i], inner[i]);
        while (strcmp(opt->name, sections[i]) != 0)
            opt++;
        opt->subopts = inner[i];
        if (svc_section_has_titles(sections[i]))
            opt->flags = CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES;
        else
            opt->flags = CFGF_NODEFAULT; /* it is there when it stands there */
    }
    cfg = cfg_init(top, CFGF_NONE);
    if (!cfg)
        return im_fail(err, ENOMEM, "out of memory");
    (void)cfg_set_error_function(cfg, on_error);
    r = cfg_parse_buf(cfg, text);
    if (r == CFG_SUCCESS)
        r = take_empty_lists(cfg);
    if (r == CFG_SUCCESS)
        r = check_tls(cfg);
    (void)cfg_free(cfg);
    if (r != CFG_SUCCESS && err->number == 0)
        (void)im_fail(err, EINVAL, "'%s' is no configuration file", reading.path);
    return -err->number;
}

/* A password is for those who run the service. */
static int check_password(const char *path, const struct svc_conf *conf, struct im_error *err)
{
    struct stat st;
    size_t len;

    if (!conf->database || !svc_database_password(conf->database, &len))
        return 0;
    if (stat(path, &st) < 0)
        return im_fail_errno(err, errno, "cannot look at '%s'", path);
    if (st.st_mode & 0037)
        return im_fail(err, EINVAL,
                       "'%s' has mode %04o and holds the password of the database: chmod 0640 it, "
                       "or keep the password in the file that PGPASSFILE names",
                       path, (unsigned)st.st_mode & 07777);
    return 0;
}

int svc_conf_read(const char *path, struct svc_conf *conf, struct im_error *err)
{
    struct im_error fault = { 0 };
    char *text IM_FREE = NULL;
    size_t len;
    int r = im_read_file(path, FILE_MAX_BYTES, &text, &len, &fault);

    if (r < 0)
        return im_fail(err, EINVAL, "%s; --config wants a file that can be read", fault.message);
    if (strlen(text) != len)
        return im_fail(err, EINVAL, "'%s' holds a NUL byte, so it is no configuration file", path);
    reading.path = path;
    reading.conf = conf;
    reading.err = &fault;
    r = parse(text, &fault);
    memset(&reading, 0, sizeof(reading));
    if (r == 0)
        r = check_password(path, conf, &fault);
    if (r < 0 && err)
        *err = fault;
    return r;
}

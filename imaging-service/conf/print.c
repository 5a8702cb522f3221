/* print - the settings in force, in the form of a configuration file that can be read again. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "conf/database.h"
#include "conf/settings.h"

/* Bytes of a database's URI with its NUL; svc_database_ok has the ceiling. */
#define DATABASE_SIZE 2048

const char *svc_conf_database(const struct svc_conf *conf, char *buf, size_t size)
{
    const char *uri = conf->database ? conf->database : "";
    size_t len = 0;
    const char *password = conf->database ? svc_database_password(uri, &len) : NULL;

    (void)snprintf(buf, size, "%.*s%s", password ? (int)(password - uri) : 0, uri,
                   password ? password + len : uri);
    return buf;
}

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

/* A text as it is to be shown; NULL: it is not set. */
static const char *text_of(const struct svc_setting *s, const struct svc_conf *conf,
                           const void *field, char buf[DATABASE_SIZE])
{
    if (s->shared && !conf->database)
        return NULL; /* derived from the directory */
    if (s->secret)
        return svc_conf_database(conf, buf, DATABASE_SIZE);
    return *(const char *const *)field;
}

static void print_row(FILE *out, const struct svc_setting *s, const struct svc_conf *conf,
                      const void *row)
{
    const void *field = (row ? (const char *)row : (const char *)conf) + s->offset;
    char buf[DATABASE_SIZE];
    const char *text = s->type == SVC_SETTING_TEXT     ? text_of(s, conf, field, buf)
                       : s->type == SVC_SETTING_LISTEN ? ((const struct svc_listen *)field)->address
                                                       : "";

    (void)fprintf(out, "%s%s%s = ", text ? "" : "# ", s->section[0] ? "    " : "", s->name);
    if (s->type == SVC_SETTING_NUMBER)
        (void)fprintf(out, "%" PRIu64,
                      s->size == sizeof(uint64_t) ? *(const uint64_t *)field
                                                  : *(const unsigned *)field);
    else if (s->type == SVC_SETTING_WORDS)
        print_words(out, field);
    else if (s->type == SVC_SETTING_LISTEN && text)
        (void)fprintf(out, strchr(text, ':') ? "\"[%s]:%u\"" : "\"%s:%u\"", text,
                      (unsigned)((const struct svc_listen *)field)->port);
    else
        print_text(out, text ? text : "");
    (void)fputc('\n', out);
}

/* One section with a title; row begins with it. */
static void print_titled(FILE *out, const struct svc_conf *conf, const char *section,
                         const void *row)
{
    (void)fprintf(out, "%s ", section);
    print_text(out, *(const char *const *)row);
    (void)fputs(" {\n", out);
    for (const struct svc_setting *s = svc_settings; s->name; s++)
        if (strcmp(s->section, section) == 0)
            print_row(out, s, conf, row);
    (void)fputs("}\n", out);
}

int svc_conf_print(const struct svc_conf *conf, FILE *out)
{
    const char *section = "", *mark = "";
    size_t len;

    if (conf->database && svc_database_password(conf->database, &len))
        (void)fputs("# the password of the database is not shown\n", out);
    for (const struct svc_setting *s = svc_settings; s->name; s++) {
        if (svc_section_has_titles(s->section))
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
        print_titled(out, conf, "rate", &conf->rates[i]);
    for (size_t i = 0; i < conf->zone_limit_count; i++)
        print_titled(out, conf, "zone", &conf->zone_limits[i]);
    return fflush(out) != 0 || ferror(out) ? -EIO : 0;
}

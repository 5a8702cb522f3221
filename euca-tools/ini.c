/* ini - INI files, line by line. */

#include <config.h>

#include "ini.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#include "file.h"

/* Ceilings.  A line may hold a session token (AWS: some KiB); an organisation may have thousands of
 * profiles; the rest is what nobody writes by hand. */
#define LINE_BYTES    16384
#define VALUE_BYTES   16384
#define SECTIONS_MAX  5000
#define OPTIONS_MAX   500 /* of a section */
#define FILE_BYTES    (1024 * 1024)
#define ALL_BYTES_MAX (4 * 1024 * 1024)

struct parser {
    struct euca_ini *ini;
    const char *file;
    unsigned line;
    struct euca_ini_section *section; /* NULL before the first */
    struct euca_ini_option *option;   /* NULL before the first of the section */
    size_t indent;                    /* of the line the option began in */
};

static int wrong(const struct parser *parser, const char *what, struct im_error *err)
{
    return im_fail(err, EINVAL, "%s:%u: %s", parser->file, parser->line, what);
}

static int too_many(const struct parser *parser, const char *what, size_t max, struct im_error *err)
{
    return im_fail(err, EFBIG, "%s:%u: more than %zu %s", parser->file, parser->line, max, what);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* Put what a line says, between its indentation and its comment, into text; true when there is
 * anything. */
static bool cut_line(const char *line, size_t len, char *text, size_t *ret_indent)
{
    size_t start = 0, end;

    while (start < len && is_blank(line[start]))
        start++;
    if (start == len || line[start] == '#' || line[start] == ';')
        return false;
    for (end = start + 1; end < len; end++)
        if ((line[end] == ';' || line[end] == '#') && is_blank(line[end - 1]))
            break;
    while (is_blank(line[end - 1]))
        end--;
    memcpy(text, line + start, end - start);
    text[end - start] = '\0';
    *ret_indent = start;
    return true;
}

/* One blank in place of several, none at the ends. */
static void squeeze(char *text)
{
    char *out = text;

    for (const char *p = text; *p; p++)
        if (!is_blank(*p) || (out > text && p[1] && !is_blank(p[1])))
            *out++ = is_blank(*p) ? ' ' : *p;
    *out = '\0';
}

static struct euca_ini_section *find_section(const struct euca_ini *ini, const char *name)
{
    for (size_t i = 0; i < ini->count; i++)
        if (strcmp(ini->section[i].name, name) == 0)
            return &ini->section[i];
    return NULL;
}

static int open_section(struct parser *parser, char *text, struct im_error *err)
{
    char *end = strchr(text, ']');
    struct euca_ini *ini = parser->ini;
    struct euca_ini_section *sections;

    if (!end || end[1])
        return wrong(parser, "a section is written [NAME]", err);
    *end = '\0';
    squeeze(++text);
    if (!*text)
        return wrong(parser, "the section has no name", err);
    parser->option = NULL;
    parser->section = find_section(ini, text);
    if (parser->section)
        return 0;
    if (ini->count == SECTIONS_MAX)
        return too_many(parser, "sections", SECTIONS_MAX, err);
    sections = reallocarray(ini->section, ini->count + 1, sizeof(*sections));
    if (!sections)
        return im_fail_memory(err);
    ini->section = sections;
    sections[ini->count] = (struct euca_ini_section){ .name = strdup(text) };
    if (!sections[ini->count].name)
        return im_fail_memory(err);
    parser->section = &sections[ini->count++];
    return 0;
}

static struct euca_ini_option *find_option(const struct euca_ini_section *section, const char *name)
{
    for (size_t i = 0; i < section->count; i++)
        if (strcmp(section->option[i].name, name) == 0)
            return &section->option[i];
    return NULL;
}

/* The section's option of that name, made when it is not there. */
static int open_option(struct parser *parser, const char *name, struct im_error *err)
{
    struct euca_ini_section *section = parser->section;
    struct euca_ini_option *options;

    parser->option = find_option(section, name);
    if (parser->option)
        return 0;
    if (section->count == OPTIONS_MAX)
        return too_many(parser, "options in a section", OPTIONS_MAX, err);
    options = reallocarray(section->option, section->count + 1, sizeof(*options));
    if (!options)
        return im_fail_memory(err);
    section->option = options;
    options[section->count] = (struct euca_ini_option){ .name = strdup(name) };
    if (!options[section->count].name)
        return im_fail_memory(err);
    parser->option = &options[section->count++];
    return 0;
}

static int set_option(struct parser *parser, char *text, size_t indent, struct im_error *err)
{
    char *sign = text + strcspn(text, "=:");
    char *name, *value;
    int r;

    if (!*sign)
        return wrong(parser, "neither [SECTION] nor NAME = VALUE", err);
    if (!parser->section)
        return wrong(parser, "an option stands before the first [SECTION]", err);
    *sign = '\0';
    name = im_text_trim(text);
    if (!*name)
        return wrong(parser, "the option has no name", err);
    for (char *p = name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    r = open_option(parser, name, err);
    if (r < 0)
        return r;
    value = strdup(im_text_trim(sign + 1));
    if (!value)
        return im_fail_memory(err);
    free(parser->option->value);
    parser->option->value = value;
    parser->indent = indent;
    return 0;
}

static int continue_option(struct parser *parser, const char *text, struct im_error *err)
{
    char *longer;

    if (strlen(parser->option->value) + 1 + strlen(text) > VALUE_BYTES)
        return too_many(parser, "bytes in a value", VALUE_BYTES, err);
    longer = im_asprintf("%s\n%s", parser->option->value, text);
    if (!longer)
        return im_fail_memory(err);
    free(parser->option->value);
    parser->option->value = longer;
    return 0;
}

static int parse_line(struct parser *parser, const char *line, size_t len, struct im_error *err)
{
    char text[LINE_BYTES + 1];
    size_t indent;

    if (len > LINE_BYTES)
        return too_many(parser, "bytes in a line", LINE_BYTES, err);
    if (memchr(line, '\0', len))
        return wrong(parser, "a zero byte: this is no text", err);
    if (!cut_line(line, len, text, &indent))
        return 0;
    if (parser->option && indent > parser->indent)
        return continue_option(parser, text, err);
    return text[0] == '[' ? open_section(parser, text, err) : set_option(parser, text, indent, err);
}

int euca_ini_parse(struct euca_ini *ini, const char *file, const char *text, size_t len,
                   struct im_error *err)
{
    struct parser parser = { .ini = ini, .file = file };

    if (len > ALL_BYTES_MAX - ini->bytes)
        return im_fail(err, EFBIG, "%s: with it the files hold more than %d bytes", file,
                       ALL_BYTES_MAX);
    ini->bytes += len;
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* some editors' sign of UTF-8 */
        text += 3;
        len -= 3;
    }
    while (len > 0) {
        const char *end = memchr(text, '\n', len);
        size_t line = end ? (size_t)(end - text) : len;
        int r;

        parser.line++;
        r = parse_line(&parser, text, line, err);
        if (r < 0)
            return r;
        line += end != NULL;
        text += line;
        len -= line;
    }
    return 0;
}

int euca_ini_read(struct euca_ini *ini, const char *path, struct im_error *err)
{
    char *text IM_FREE = NULL;
    size_t len;
    int r = euca_read_file(path, FILE_BYTES, &text, &len, err);

    return r < 0 ? r : euca_ini_parse(ini, path, text, len, err);
}

const struct euca_ini_section *euca_ini_find(const struct euca_ini *ini, const char *name)
{
    return find_section(ini, name);
}

const char *euca_ini_value(const struct euca_ini_section *section, const char *name)
{
    const struct euca_ini_option *option = section ? find_option(section, name) : NULL;

    return option ? option->value : NULL;
}

void euca_ini_done(struct euca_ini *ini)
{
    for (size_t i = 0; i < ini->count; i++) {
        struct euca_ini_section *section = &ini->section[i];

        for (size_t j = 0; j < section->count; j++) {
            free(section->option[j].name);
            free(section->option[j].value);
        }
        free(section->option);
        free(section->name);
    }
    free(ini->section);
    *ini = (struct euca_ini){ 0 };
}
